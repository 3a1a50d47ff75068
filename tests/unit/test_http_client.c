/* test_http_client.c: dialogues of the client with a scripted server on the same loop. */
#include "base/http_client.h"

#include "base/loop.h"
#include "base/mem.h"
#include "base/tls.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

enum { SCRIPT_MAX = 4, ANSWER_MAX = 4096 };

/* What the server does with its nth request. */
enum after { KEEP, CLOSE, RESET };
struct step {
    const char *say; /* NULL: nothing */
    enum after after;
    bool byte_by_byte;
    bool early; /* speaks at the connection's first byte, reads no further */
};

struct server {
    struct event_base *base;
    struct evconnlistener *listener;
    char url[128];
    const struct step *steps;
    unsigned n_requests, n_connections;
    struct bufferevent *open[16];
    char last_request[8192];
};

struct peer {
    struct server *server;
    struct bufferevent *bev;
    const char *left; /* to say, byte by byte */
    enum after after;
    bool spoken;
};

static void peer_close(struct peer *peer, bool reset) {
    if (reset) {
        struct linger now = {1, 0};
        setsockopt(bufferevent_getfd(peer->bev), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    for (size_t i = 0; i < LH_COUNT(peer->server->open); i++)
        if (peer->server->open[i] == peer->bev)
            peer->server->open[i] = NULL;
    bufferevent_free(peer->bev);
    free(peer);
}

static void peer_written(struct bufferevent *bev, void *arg) {
    struct peer *peer = arg;
    if (peer->left && *peer->left)
        bufferevent_write(bev, peer->left++, 1);
    else if (peer->left && peer->after != KEEP)
        peer_close(peer, peer->after == RESET);
}

static bool request_whole(struct bufferevent *bev, size_t *ret_len) {
    struct evbuffer *in = bufferevent_get_input(bev);
    size_t len = evbuffer_get_length(in);
    const char *text = (const char *)evbuffer_pullup(in, -1);
    const char *end = text ? memmem(text, len, "\r\n\r\n", 4) : NULL;
    if (!end)
        return false;
    const char *length = memmem(text, (size_t)(end - text), "Content-Length: ", 16);
    *ret_len = (size_t)(end - text) + 4 + (length ? strtoul(length + 16, NULL, 10) : 0);
    return len >= *ret_len;
}

static void peer_speak(struct peer *peer) {
    const struct step *step = &peer->server->steps[peer->server->n_requests++];
    peer->after = step->after;
    if (!step->say) {
        if (step->after != KEEP)
            peer_close(peer, step->after == RESET);
        return;
    }
    peer->left = "";
    if (step->byte_by_byte) {
        peer->left = step->say;
        bufferevent_write(peer->bev, peer->left++, 1);
    } else {
        bufferevent_write(peer->bev, step->say, strlen(step->say));
    }
}

static void peer_read(struct bufferevent *bev, void *arg) {
    struct peer *peer = arg;
    struct server *server = peer->server;
    size_t len = 0;
    if (server->steps[server->n_requests].early && !peer->spoken) {
        peer->spoken = true;
        bufferevent_disable(bev, EV_READ);
        peer_speak(peer);
    } else if (request_whole(bev, &len)) {
        assert_true(len < sizeof server->last_request);
        evbuffer_remove(bufferevent_get_input(bev), server->last_request, len);
        server->last_request[len] = '\0';
        peer_speak(peer);
    }
}

static void peer_event(struct bufferevent *bev, short what, void *arg) {
    (void)bev;
    (void)what;
    peer_close(arg, false);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from,
                      int len, void *arg) {
    (void)listener;
    (void)from;
    (void)len;
    struct server *server = arg;
    struct peer *peer = calloc(1, sizeof *peer);
    peer->server = server;
    peer->bev = bufferevent_socket_new(server->base, fd, BEV_OPT_CLOSE_ON_FREE);
    bufferevent_setcb(peer->bev, peer_read, peer_written, peer_event, peer);
    bufferevent_enable(peer->bev, EV_READ | EV_WRITE);
    server->open[server->n_connections++ % LH_COUNT(server->open)] = peer->bev;
}

static void server_listen(struct server *server, const struct sockaddr *address, int len) {
    server->listener =
        evconnlistener_new_bind(server->base, on_accept, server,
                                LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, 16, address, len);
    assert_non_null(server->listener);
}

static void server_open(struct server *server, const struct step *steps) {
    *server = (struct server){.base = event_base_new(), .steps = steps};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    server_listen(server, (struct sockaddr *)&address, sizeof address);
    socklen_t len = sizeof address;
    getsockname(evconnlistener_get_fd(server->listener), (struct sockaddr *)&address, &len);
    snprintf(server->url, sizeof server->url, "http://127.0.0.1:%d", ntohs(address.sin_port));
}

static void server_close(struct server *server) {
    for (size_t i = 0; i < LH_COUNT(server->open); i++)
        if (server->open[i]) {
            struct peer *peer = NULL;
            bufferevent_getcb(server->open[i], NULL, NULL, NULL, (void **)&peer);
            peer_close(peer, false);
        }
    if (server->listener)
        evconnlistener_free(server->listener);
    loop_free(server->base);
}

/* What came back from a call. */
struct got {
    struct event_base *base;
    unsigned times;
    enum rc rc;
    bool sent;
    int status;
    char body[ANSWER_MAX], text[256], retry_after[16];
};

static void on_done(const struct http_answer *answer, void *arg) {
    struct got *got = arg;
    got->times++;
    got->rc = answer->rc;
    got->sent = answer->sent;
    got->status = answer->status;
    assert_true(answer->len < sizeof got->body);
    memcpy(got->body, answer->body, answer->len + 1);
    mem_copy_str(got->text, sizeof got->text, answer->text ? answer->text : "");
    const char *after = http_answer_header(answer, "retry-after");
    mem_copy_str(got->retry_after, sizeof got->retry_after, after ? after : "");
    event_base_loopbreak(got->base);
}

static struct http_client *client_open(struct event_base *base, const char *url) {
    struct http_client *client = NULL;
    struct error err;
    struct http_client_options options = {.url = url, .answer_max_bytes = 1000, .idle_max = 2};
    assert_int_equal(http_client_create(base, &options, &client, &err), RC_OK);
    return client;
}

static void run_call(struct http_client *client, struct event_base *base,
                     const struct http_call_options *options, struct got *got) {
    *got = (struct got){.base = base};
    assert_non_null(http_call_start(client, options, on_done, got));
    event_base_dispatch(base);
    assert_int_equal(got->times, 1);
}

static const struct http_call_options get = {.method = "GET", .path = "/x", .timeout_ms = 60000};

#define OK_HEAD "HTTP/1.1 200 OK\r\n"
#define OK_HI OK_HEAD "Content-Length: 2\r\n\r\nhi"

/* One answer → what the caller gets. */
struct answer_case {
    const char *say;
    enum after after;
    enum rc rc;
    int status;
    const char *expect; /* the body, or the text of the failure */
};

static const struct answer_case answer_cases[] = {
    {OK_HI, KEEP, RC_OK, 200, "hi"},
    {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", KEEP, RC_OK, 200, ""},
    {"HTTP/1.1 2000 OK\r\n\r\n", KEEP, RC_IO, 0, "the answer is not HTTP/1.1"},
    {"HTTP/1.1 204 None\r\n\r\n", KEEP, RC_OK, 204, ""},
    {"HTTP/1.1 503 Busy\r\nRetry-After:  2 \r\nContent-Length: 1\r\n\r\nx", KEEP, RC_OK, 503, "x"},
    {"HTTP/1.1 100 Continue\r\nContent-Length: 3\r\n\r\n" OK_HI, KEEP, RC_OK, 200, "hi"},
    {OK_HEAD
     "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
     KEEP, RC_OK, 200, "abc0123456789"},
    {OK_HEAD "\r\nto the end", CLOSE, RC_OK, 200, "to the end"},
    {"HTTP/1.0 200 OK\nContent-Length: 2\n\nhi", KEEP, RC_OK, 200, "hi"},
    {OK_HEAD "Content-Length: 1001\r\n\r\n", KEEP, RC_TOO_LARGE, 0,
     "the answer has more than 1000 bytes"},
    {OK_HEAD "Content-Length: -1\r\n\r\n", KEEP, RC_IO, 0,
     "the answer's Content-Length is not a number"},
    {OK_HEAD "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", KEEP, RC_IO, 0,
     "the answer has two different Content-Length headers"},
    {OK_HEAD "Transfer-Encoding: gzip\r\n\r\n", KEEP, RC_IO, 0,
     "the answer has an unknown transfer coding"},
    {OK_HEAD "Transfer-Encoding: chunked\r\n\r\nzz\r\n", KEEP, RC_IO, 0,
     "the answer has a malformed chunk"},
    {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", KEEP, RC_IO, 0,
     "the answer has a malformed chunk"},
    {OK_HEAD "no colon\r\n\r\n", KEEP, RC_IO, 0, "the answer has a malformed header"},
    {OK_HEAD "Content-Length: 5\r\n\r\nhi", CLOSE, RC_IO, 0,
     "the server closed the connection in the middle of its answer"},
    {"SSH-2.0-x\r\n", KEEP, RC_IO, 0, "the answer is not HTTP/1.1"},
    {NULL, CLOSE, RC_IO, 0, "the server closed the connection without an answer"},
    {NULL, RESET, RC_IO, 0, "Connection reset by peer"},
};

static void check_answer(const struct answer_case *c, bool byte_by_byte) {
    struct step steps[SCRIPT_MAX] = {{c->say, c->after, byte_by_byte, false}};
    struct server server;
    server_open(&server, steps);
    struct http_client *client = client_open(server.base, server.url);
    struct got got;
    run_call(client, server.base, &get, &got);
    assert_string_equal(got.rc == RC_OK ? got.body : got.text, c->expect);
    assert_int_equal(got.rc, c->rc);
    assert_int_equal(got.status, c->status);
    assert_string_equal(got.retry_after, c->status == 503 ? "2" : "");
    assert_int_equal(server.n_requests, 1);
    http_client_destroy(client);
    server_close(&server);
}

static void test_answers(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(answer_cases); i++) {
        check_answer(&answer_cases[i], false);
        if (answer_cases[i].say)
            check_answer(&answer_cases[i], true);
    }
}

static void test_request_is_as_asked(void **state) {
    (void)state;
    struct step steps[SCRIPT_MAX] = {{OK_HI, KEEP, false, false}, {OK_HI, KEEP, false, false}};
    struct server server;
    server_open(&server, steps);
    char url[160], expect[sizeof server + 256];
    snprintf(url, sizeof url, "%s/below/", server.url);
    struct http_client *client = client_open(server.base, url);
    struct http_field fields[] = {{"Authorization", "t"}, {"Content-Type", "application/json"}};
    struct http_call_options post = {"POST", "/x", fields, 2, "{}", 2, 60000, true};
    struct got got;
    run_call(client, server.base, &post, &got);
    snprintf(expect, sizeof expect,
             "POST /below/x HTTP/1.1\r\nHost: %s\r\nAuthorization: t\r\n"
             "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
             server.url + 7);
    assert_string_equal(server.last_request, expect);
    run_call(client, server.base, &get, &got); /* and the connection is used again */
    assert_int_equal(server.n_connections, 1);
    http_client_destroy(client);
    server_close(&server);
}

/* A kept connection ends as the second call is sent on it: repeated once, and only where allowed.
 */
static void check_second_call(bool once, enum after after, unsigned n_requests, enum rc rc) {
    struct step steps[SCRIPT_MAX] = {
        {OK_HI, KEEP, false, false}, {NULL, after, false, false}, {OK_HI, KEEP, false, false}};
    struct server server;
    server_open(&server, steps);
    struct http_client *client = client_open(server.base, server.url);
    struct got got;
    run_call(client, server.base, &get, &got);
    struct http_call_options second = get;
    second.once = once;
    run_call(client, server.base, &second, &got);
    assert_int_equal(got.rc, rc);
    assert_true(got.sent);
    assert_int_equal(server.n_requests, n_requests);
    http_client_destroy(client);
    server_close(&server);
}

static void test_repeat(void **state) {
    (void)state;
    check_second_call(false, CLOSE, 3, RC_OK);
    check_second_call(false, RESET, 3, RC_OK);
    check_second_call(true, CLOSE, 2, RC_IO);
    check_second_call(true, RESET, 2, RC_IO);
}

/* The server closed the kept connection before the next call: noticed, and not used. */
static void test_closed_while_idle(void **state) {
    (void)state;
    struct step steps[SCRIPT_MAX] = {{OK_HI, KEEP, false, false}, {OK_HI, KEEP, false, false}};
    struct server server;
    server_open(&server, steps);
    struct http_client *client = client_open(server.base, server.url);
    struct got got;
    run_call(client, server.base, &get, &got);
    struct peer *peer = NULL;
    bufferevent_getcb(server.open[0], NULL, NULL, NULL, (void **)&peer);
    peer_close(peer, false);
    struct http_call_options once = get;
    once.once = true;
    run_call(client, server.base, &once, &got);
    assert_int_equal(got.rc, RC_OK);
    assert_int_equal(server.n_connections, 2);
    http_client_destroy(client);
    server_close(&server);
}

/* The server refuses a large body without reading it: its answer is read all the same. */
static void test_answer_before_the_end(void **state) {
    (void)state;
    struct step steps[SCRIPT_MAX] = {
        {"HTTP/1.1 413 Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig", KEEP, false,
         true}};
    struct server server;
    server_open(&server, steps);
    struct http_client *client = client_open(server.base, server.url);
    size_t len = 32 << 20;
    LH_FREE char *body = calloc(1, len);
    struct http_call_options post = {"POST", "/x", NULL, 0, body, len, 60000, false};
    struct got got;
    run_call(client, server.base, &post, &got);
    assert_int_equal(got.status, 413);
    assert_string_equal(got.body, "big");
    http_client_destroy(client);
    server_close(&server);
}

static void test_timeout_and_refusal(void **state) {
    (void)state;
    struct step steps[SCRIPT_MAX] = {{NULL, KEEP, false, false}};
    struct server server;
    server_open(&server, steps);
    struct http_client *client = client_open(server.base, server.url);
    struct http_call_options brief = get;
    brief.timeout_ms = 25;
    struct got got = {0};
    while (!got.sent && brief.timeout_ms < get.timeout_ms) { /* once there is time to connect */
        brief.timeout_ms *= 2;
        run_call(client, server.base, &brief, &got);
    }
    char text[64];
    snprintf(text, sizeof text, "no answer within %d ms", brief.timeout_ms);
    assert_int_equal(got.rc, RC_IO);
    assert_string_equal(got.text, text);
    assert_true(got.sent);
    evconnlistener_free(TAKE(server.listener));
    run_call(client, server.base, &get, &got);
    assert_string_equal(got.text, "Connection refused");
    assert_false(got.sent);
    http_client_destroy(client);
    server_close(&server);
}

static void run_until_requested(struct server *server, unsigned n_requests) {
    while (server->n_requests < n_requests)
        event_base_loop(server->base, EVLOOP_ONCE);
}

static void test_cancel_and_destroy(void **state) {
    (void)state;
    struct step steps[SCRIPT_MAX] = {
        {NULL, KEEP, false, false}, {OK_HI, KEEP, false, false}, {NULL, KEEP, false, false}};
    struct server server;
    server_open(&server, steps);
    struct http_client *client = client_open(server.base, server.url);
    struct got got = {.base = server.base}, other;
    struct http_call *call = http_call_start(client, &get, on_done, &got);
    assert_non_null(call);
    http_call_cancel(call);
    call = http_call_start(client, &get, on_done, &got);
    assert_non_null(call);
    run_until_requested(&server, 1);
    http_call_cancel(call);
    run_call(client, server.base, &get, &other);
    assert_non_null(http_call_start(client, &get, on_done, &got));
    run_until_requested(&server, 3);
    http_client_destroy(client);
    event_base_loop(server.base, EVLOOP_NONBLOCK);
    assert_int_equal(got.times, 0);
    server_close(&server);
}

static void destroy_done(const struct http_answer *answer, void *arg) {
    (void)answer;
    struct http_client **client = arg;
    http_client_destroy(TAKE(*client));
}

static void test_destroy_from_done(void **state) {
    (void)state;
    struct step steps[SCRIPT_MAX] = {{OK_HI, KEEP, false, false}};
    struct server server;
    server_open(&server, steps);
    struct http_client *client = client_open(server.base, server.url);
    assert_non_null(http_call_start(client, &get, destroy_done, &client));
    while (client)
        event_base_loop(server.base, EVLOOP_ONCE);
    server_close(&server);
}

struct pair {
    struct event_base *base;
    struct http_client *client;
};

static void pair_done(const struct http_answer *answer, void *arg) {
    (void)answer;
    struct pair *pair = arg;
    http_client_destroy(TAKE(pair->client));
    event_base_loopbreak(pair->base);
}

/* The other connection's callback is due when the loop breaks: LeakSanitizer tells if it goes. */
static void test_destroy_with_an_answer_unread(void **state) {
    (void)state;
    struct step steps[SCRIPT_MAX] = {{OK_HI, KEEP, false, false}, {OK_HI, KEEP, false, false}};
    struct server server;
    server_open(&server, steps);
    struct pair pair = {server.base, client_open(server.base, server.url)};
    for (int i = 0; i < 2; i++)
        assert_non_null(http_call_start(pair.client, &get, pair_done, &pair));
    run_until_requested(&server, 2);
    event_base_dispatch(server.base);
    assert_null(pair.client);
    server_close(&server);
}

static void test_unix_socket(void **state) {
    (void)state;
    struct step steps[SCRIPT_MAX] = {{OK_HI, KEEP, false, false}};
    struct server server = {.base = event_base_new(), .steps = steps};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "/tmp/test_http_client.%d", (int)getpid());
    snprintf(server.url, sizeof server.url, "unix:%s", address.sun_path);
    struct http_client *client = client_open(server.base, server.url);
    struct got got;
    run_call(client, server.base, &get, &got);
    assert_string_equal(got.text, "No such file or directory");
    server_listen(&server, (struct sockaddr *)&address, sizeof address);
    run_call(client, server.base, &get, &got);
    assert_string_equal(got.body, "hi");
    unlink(address.sun_path);
    http_client_destroy(client);
    server_close(&server);
}

static void test_host_name(void **state) {
    (void)state;
    struct step steps[SCRIPT_MAX] = {{OK_HI, KEEP, false, false}};
    struct server server;
    server_open(&server, steps);
    char url[64];
    snprintf(url, sizeof url, "http://localhost:%s", strrchr(server.url, ':') + 1);
    struct http_client *client = client_open(server.base, url);
    struct got got;
    run_call(client, server.base, &get, &got);
    assert_string_equal(got.body, "hi");
    http_client_destroy(client);
    server_close(&server);
}

/* Fills memory that has just been freed, where no sanitizer keeps it: who still reads there, in
 * libraries too, does not find what was there. */
static void spoil_freed(void) {
    for (size_t size = 24; size <= 1024; size += 16) {
        volatile char *freed = malloc(size);
        for (size_t i = 0; freed && i < size; i++)
            freed[i] = (char)0xa5;
        free((void *)freed);
    }
}

/* The resolver still has callbacks on the loop when the client is gone. */
static void test_destroy_while_a_name_is_looked_up(void **state) {
    (void)state;
    struct event_base *base = event_base_new();
    for (int i = 0; i < 3; i++) {
        struct http_client *client = client_open(base, "http://nobody.invalid:1");
        struct got got = {.base = base};
        struct http_call *call = http_call_start(client, &get, on_done, &got);
        assert_non_null(call);
        event_base_loop(base, EVLOOP_NONBLOCK);
        if (i > 0 && got.times == 0)
            http_call_cancel(call);
        unsigned times = got.times;
        http_client_destroy(client);
        spoil_freed();
        if (i > 1)
            event_base_loop(base, EVLOOP_NONBLOCK);
        assert_int_equal(got.times, times);
    }
    loop_free(base);
}

static bool event_memory_is_out;

static void *event_malloc(size_t size) {
    return event_memory_is_out ? NULL : malloc(size);
}

static void *event_realloc(void *old, size_t size) {
    return event_memory_is_out ? NULL : realloc(old, size);
}

/* What is left is freed once, and the socket stays its owner's. */
static void test_tls_without_memory(void **state) {
    (void)state;
    struct event_base *base = event_base_new();
    struct tls *tls = NULL;
    struct error err = {.text = ""};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(tls_open(NULL, &tls, &err), RC_OK);
    event_memory_is_out = true;
    struct bufferevent *bev = tls_wrap(tls, base, fd, "localhost");
    event_memory_is_out = false;
    assert_null(bev);
    assert_int_equal(close(fd), 0);
    tls_destroy(tls);
    loop_free(base);
}

static const struct {
    const char *url;
    bool good;
} url_cases[] = {
    {"http://127.0.0.1:8080", true},
    {"http://127.0.0.1", true},
    {"http://[::1]:80/a/b", true},
    {"http://[::1]", true},
    {"unix:/run/x.sock", true},
    {"HTTP://localhost:1", true},
    {"https://x", true},
    {"http://", false},
    {"http://a:", false},
    {"http://a:x", false},
    {"http://a:70000", false},
    {"http://[::1", false},
    {"http://a/?q", false},
    {"http://u@a", false},
    {"unix:", false},
    {"127.0.0.1:80", false},
};

static void test_urls(void **state) {
    (void)state;
    struct event_base *base = event_base_new();
    for (size_t i = 0; i < LH_COUNT(url_cases); i++) {
        struct http_client *client = NULL;
        struct error err;
        struct http_client_options options = {.url = url_cases[i].url};
        enum rc rc = http_client_create(base, &options, &client, &err);
        if ((rc == RC_OK) != url_cases[i].good)
            fail_msg("%s: %d", url_cases[i].url, rc);
        http_client_destroy(client);
    }
    loop_free(base);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    event_set_mem_functions(event_malloc, event_realloc, free);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_request_is_as_asked),
        cmocka_unit_test(test_repeat),
        cmocka_unit_test(test_closed_while_idle),
        cmocka_unit_test(test_answer_before_the_end),
        cmocka_unit_test(test_timeout_and_refusal),
        cmocka_unit_test(test_cancel_and_destroy),
        cmocka_unit_test(test_destroy_from_done),
        cmocka_unit_test(test_destroy_with_an_answer_unread),
        cmocka_unit_test(test_unix_socket),
        cmocka_unit_test(test_host_name),
        cmocka_unit_test(test_destroy_while_a_name_is_looked_up),
        cmocka_unit_test(test_tls_without_memory),
        cmocka_unit_test(test_urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
