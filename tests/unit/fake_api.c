/* fake_api.c: on libevent's own HTTP server. */
#include "fake_api.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

static void send_body(struct evhttp_request *req, const char *body) {
    struct evbuffer *out = evbuffer_new();
    evbuffer_add(out, body, strlen(body));
    evhttp_send_reply(req, 200, "OK", out);
    evbuffer_free(out);
}

static json_t *read_body(struct evhttp_request *req) {
    struct evbuffer *in = evhttp_request_get_input_buffer(req);
    json_t *root =
        json_loadb((const char *)evbuffer_pullup(in, -1), evbuffer_get_length(in), 0, NULL);
    assert_non_null(root);
    return root;
}

static void on_request(struct evhttp_request *req, void *arg) {
    struct fake_api *api = arg;
    assert_true(api->n_calls < FAKE_CALLS_MAX);
    const char *token = evhttp_find_header(evhttp_request_get_input_headers(req), "Authorization");
    assert_string_equal(token, "Bearer secret");
    struct fake_call *call = &api->calls[api->n_calls++];
    snprintf(call->route, sizeof call->route, "%s", evhttp_request_get_uri(req));
    call->body = read_body(req);
    call->data = json_object_get(call->body, "data");
    assert_non_null(call->data);
    const char *body = api->answer(api, call->route, call->data);
    if (!body) {
        assert_true(api->n_held < FAKE_HELD_MAX);
        api->held[api->n_held++] = req;
    } else if (!*body) {
        evhttp_connection_free(evhttp_request_get_connection(req));
    } else {
        send_body(req, body);
    }
}

void fake_api_open(struct fake_api *api, struct event_base *base, fake_answer *answer, void *arg) {
    *api = (struct fake_api){.base = base, .answer = answer, .arg = arg};
    api->http = evhttp_new(base);
    struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(api->http, "127.0.0.1", 0);
    assert_non_null(bound);
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&address, &len);
    snprintf(api->url, sizeof api->url, "http://127.0.0.1:%d",
             ntohs(((struct sockaddr_in *)&address)->sin_port));
    evhttp_set_gencb(api->http, on_request, api);
}

void fake_api_close(struct fake_api *api) {
    evhttp_free(api->http);
    for (unsigned i = 0; i < api->n_calls; i++)
        json_decref(api->calls[i].body);
}

void fake_api_release(struct fake_api *api, const char *body) {
    assert_true(api->n_held > 0);
    struct evhttp_request *req = api->held[0];
    api->n_held--;
    memmove(api->held, api->held + 1, api->n_held * sizeof *api->held);
    send_body(req, body);
}

static void on_tick(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    unsigned *ticks = arg;
    ++*ticks;
}

void run_until(struct event_base *base, const unsigned *count, unsigned at_least) {
    unsigned ticks = 0;
    struct timeval tick = {0, 10000};
    struct event *timer = event_new(base, -1, EV_PERSIST, on_tick, &ticks);
    event_add(timer, &tick);
    while (*count < at_least && ticks < 1000)
        event_base_loop(base, EVLOOP_ONCE);
    event_free(timer);
    if (*count < at_least)
        fail_msg("waited for %u, there are %u", at_least, *count);
}

void run_for(struct event_base *base, int ms) {
    unsigned ticks = 0;
    struct timeval after = {ms / 1000, ms % 1000 * 1000};
    struct event *timer = event_new(base, -1, 0, on_tick, &ticks);
    event_add(timer, &after);
    while (ticks == 0)
        event_base_loop(base, EVLOOP_ONCE);
    event_free(timer);
}
