/* http_echo.c: a small server on api/http/http.h for the raw-socket tests: answers with what it
 * understood, as JSON.
 *
 * It prints its address on one line and serves until SIGTERM, then drains; SIGINT drops what waits.
 * Paths with a meaning of their own: /big/N        a body of N bytes         /status/N   that
 * status, the body {} /late/MS the echo after MS ms      /header/X   {"value": the header X or
 * null} /gone         replies once the client has gone /stats        {"pending", "gone"}, of
 * requests before this one
 * Streams: see http_echo_streams.h.
 * --no-guard serves the echo by evhtp alone, to show what the guard is for.
 */
#include "api/http/http.h"
#include "base/buf.h"
#include "base/mem.h"
#include "tests/contract/http_echo_streams.h"

#include <event2/event.h>
#include <evhtp/evhtp.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <unistd.h>

enum { REPLY_MAX_BYTES = 64 << 20 };

static struct event_base *base;
static struct http_server *server;
static int late_ms = -1;
static unsigned gone;

/* --- replies --------------------------------------------------------------------------------- */

struct echo {
    const char *method, *path, *id;
    const char *body;
    size_t len;
};

static void put_echo(struct buf *to, const struct echo *echo) {
    buf_str(to, "{\"method\":");
    buf_json_str(to, echo->method);
    buf_str(to, ",\"path\":");
    buf_json_str(to, echo->path);
    buf_str(to, ",\"id\":");
    buf_json_str(to, echo->id);
    buf_printf(to, ",\"len\":%zu,\"body\":", echo->len);
    buf_json(to, echo->body, echo->len);
    buf_char(to, '}');
}

static void reply_buf(struct http_req *req, int status, struct buf *buf) {
    http_reply(req, &(struct http_reply){.status = status, .body = buf->data, .len = buf->len});
    buf_finish(buf);
}

static void reply_echo(struct http_req *req, int status) {
    struct echo echo = {http_req_method_name(req), http_req_path(req), http_req_id(req), NULL, 0};
    echo.body = http_req_body(req, &echo.len);
    struct buf buf;
    buf_init(&buf, REPLY_MAX_BYTES);
    put_echo(&buf, &echo);
    reply_buf(req, status, &buf);
}

static void reply_big(struct http_req *req, size_t len) {
    LH_FREE char *body = malloc(len + 1);
    if (!body) {
        http_reply_error(req, RC_NO_MEMORY, NULL);
        return;
    }
    memset(body, 'x', len);
    http_reply(req, &(struct http_reply){
                        .status = 200, .content_type = "text/plain", .body = body, .len = len});
}

static void reply_header(struct http_req *req, const char *name) {
    struct buf buf;
    buf_init(&buf, REPLY_MAX_BYTES);
    buf_str(&buf, "{\"value\":");
    buf_json_str(&buf, http_req_header(req, name));
    buf_char(&buf, '}');
    reply_buf(req, 200, &buf);
}

static void reply_stats(struct http_req *req) {
    struct buf buf;
    buf_init(&buf, REPLY_MAX_BYTES);
    buf_printf(&buf, "{\"pending\":%u,\"gone\":%u}", http_server_pending(server) - 1,
               gone + streams_gone());
    reply_buf(req, 200, &buf);
}

/* --- suspended requests ---------------------------------------------------------------------- */

struct wait {
    LIST_ENTRY(wait) link;
    struct http_req *req;
    struct event *timer;
    bool until_gone;
};

static LIST_HEAD(, wait) waits = LIST_HEAD_INITIALIZER(waits);

static void wait_destroy(struct wait *wait) {
    LIST_REMOVE(wait, link);
    event_free(wait->timer);
    free(wait);
}

static void on_wait(evutil_socket_t fd, short events, void *arg) {
    (void)fd;
    (void)events;
    struct wait *wait = arg;
    if (wait->until_gone && !http_req_client_gone(wait->req)) {
        event_add(wait->timer, &(struct timeval){.tv_usec = 20000});
        return;
    }
    gone += wait->until_gone;
    reply_echo(wait->req, 200);
    wait_destroy(wait);
}

static void wait_for(struct http_req *req, int ms, bool until_gone) {
    struct wait *wait = calloc(1, sizeof *wait);
    if (!wait || !(wait->timer = evtimer_new(base, on_wait, wait)))
        abort();
    wait->req = req;
    wait->until_gone = until_gone;
    LIST_INSERT_HEAD(&waits, wait, link);
    event_add(wait->timer, &(struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000});
}

static const char *after(const char *path, const char *prefix) {
    size_t len = strlen(prefix);
    return strncmp(path, prefix, len) == 0 ? path + len : NULL;
}

static void on_request(struct http_req *req, void *arg) {
    (void)arg;
    const char *path = http_req_path(req), *rest;
    if ((rest = after(path, "/big/")))
        reply_big(req, strtoul(rest, NULL, 10));
    else if ((rest = after(path, "/status/")))
        reply_echo(req, (int)strtol(rest, NULL, 10));
    else if ((rest = after(path, "/header/")))
        reply_header(req, rest);
    else if ((rest = after(path, "/late/")))
        wait_for(req, (int)strtol(rest, NULL, 10), false);
    else if (strcmp(path, "/gone") == 0)
        wait_for(req, 20, true);
    else if ((rest = after(path, "/stream/")))
        streams_begin(req, rest);
    else if (strcmp(path, "/stats") == 0)
        reply_stats(req);
    else if (late_ms >= 0)
        wait_for(req, late_ms, false);
    else
        reply_echo(req, 200);
}

/* --- evhtp alone ----------------------------------------------------------------------------- */

static void bare_echo(evhtp_request_t *request) {
    static const char *const names[] = {
        [htp_method_GET] = "GET", [htp_method_HEAD] = "HEAD", [htp_method_POST] = "POST"};
    struct evbuffer *in = request->buffer_in;
    unsigned method = (unsigned)request->method;
    struct echo echo = {
        .method = method < LH_COUNT(names) && names[method] ? names[method] : "?",
        .path = request->uri->path->full,
        .body = (const char *)evbuffer_pullup(in, -1),
        .len = evbuffer_get_length(in),
    };
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, REPLY_MAX_BYTES);
    put_echo(&buf, &echo);
    evbuffer_add(request->buffer_out, buf.data, buf.len);
    evhtp_headers_add_header(request->headers_out,
                             evhtp_header_new("Content-Type", "application/json", 0, 0));
}

static void bare_reply(evhtp_request_t *request) {
    const char *status = after(request->uri->path->full, "/status/");
    if (!status)
        bare_echo(request);
    evhtp_send_reply(request, status ? (evhtp_res)strtol(status, NULL, 10) : EVHTP_RES_OK);
}

static void on_bare_late(evutil_socket_t fd, short events, void *arg) {
    (void)fd;
    (void)events;
    bare_reply(arg);
    evhtp_request_resume(arg);
}

static void on_bare_request(evhtp_request_t *request, void *arg) {
    (void)arg;
    if (late_ms < 0) {
        bare_reply(request);
        return;
    }
    evhtp_request_pause(request);
    event_base_once(base, -1, EV_TIMEOUT, on_bare_late, request,
                    &(struct timeval){.tv_sec = late_ms / 1000, .tv_usec = late_ms % 1000 * 1000});
}

static int serve_bare(const struct http_options *options) {
    evhtp_t *htp = evhtp_new(base, NULL);
    evhtp_set_gencb(htp, on_bare_request, NULL);
    evhtp_set_max_body_size(htp, options->body_max_bytes);
    if (evhtp_bind_socket(htp, "127.0.0.1", 0, 128) < 0)
        return 1;
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    getsockname(evconnlistener_get_fd(htp->server), (struct sockaddr *)&at, &len);
    printf("http://127.0.0.1:%u\n", ntohs(at.sin_port));
    fflush(stdout);
    event_base_dispatch(base);
    return 0;
}

/* --- the program ----------------------------------------------------------------------------- */

static void on_tick(evutil_socket_t fd, short events, void *arg) {
    (void)fd;
    (void)events;
    (void)arg;
    if (http_server_pending(server) == 0)
        event_base_loopexit(base, NULL); /* not loopbreak: deferred callbacks hold connections */
}

static void on_term(evutil_socket_t fd, short events, void *arg) {
    (void)fd;
    (void)events;
    http_server_stop(server);
    streams_end_all();
    event_add(arg, &(struct timeval){.tv_usec = 10000});
}

static void on_int(evutil_socket_t fd, short events, void *arg) {
    (void)fd;
    (void)events;
    (void)arg;
    event_base_loopexit(base, NULL);
}

static int serve(const struct http_options *options) {
    struct error err;
    if (http_server_create(base, options, on_request, NULL, &server, &err) != RC_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    struct event *tick = event_new(base, -1, EV_PERSIST, on_tick, NULL);
    struct event *term = evsignal_new(base, SIGTERM, on_term, tick);
    struct event *interrupt = evsignal_new(base, SIGINT, on_int, NULL);
    event_add(term, NULL);
    event_add(interrupt, NULL);
    printf("%s\n", http_server_address(server));
    fflush(stdout);
    event_base_dispatch(base);
    event_free(interrupt);
    event_free(term);
    event_free(tick);
    http_server_destroy(server);
    while (!LIST_EMPTY(&waits))
        wait_destroy(LIST_FIRST(&waits));
    return 0;
}

enum {
    OPT_LISTEN,
    OPT_BODY,
    OPT_HEADER,
    OPT_HEADERS,
    OPT_CONNECTIONS,
    OPT_HEADER_MS,
    OPT_BODY_MS,
    OPT_IDLE_MS,
    OPT_LATE,
    OPT_NOFILE,
    OPT_NO_GUARD
};

static const struct option flags[] = {
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"body-max", required_argument, NULL, OPT_BODY},
    {"header-max", required_argument, NULL, OPT_HEADER},
    {"headers-max", required_argument, NULL, OPT_HEADERS},
    {"connections", required_argument, NULL, OPT_CONNECTIONS},
    {"header-ms", required_argument, NULL, OPT_HEADER_MS},
    {"body-ms", required_argument, NULL, OPT_BODY_MS},
    {"idle-ms", required_argument, NULL, OPT_IDLE_MS},
    {"late", required_argument, NULL, OPT_LATE},
    {"nofile", required_argument, NULL, OPT_NOFILE},
    {"no-guard", no_argument, NULL, OPT_NO_GUARD},
    {0},
};

static void limit_files(unsigned long n) {
    if (setrlimit(RLIMIT_NOFILE, &(struct rlimit){n, n}) < 0)
        abort();
}

static bool read_flag(int flag, struct http_options *options, bool *ret_guard) {
    unsigned long n = optarg ? strtoul(optarg, NULL, 10) : 0;
    switch (flag) {
    case OPT_LISTEN:
        options->listen = optarg;
        break;
    case OPT_BODY:
        options->body_max_bytes = n;
        break;
    case OPT_HEADER:
        options->header_max_bytes = n;
        break;
    case OPT_HEADERS:
        options->headers_max = (unsigned)n;
        break;
    case OPT_CONNECTIONS:
        options->connections_max = (unsigned)n;
        break;
    case OPT_HEADER_MS:
        options->header_ms = (int)n;
        break;
    case OPT_BODY_MS:
        options->body_ms = (int)n;
        break;
    case OPT_IDLE_MS:
        options->idle_ms = (int)n;
        break;
    case OPT_LATE:
        late_ms = (int)n;
        break;
    case OPT_NOFILE:
        limit_files(n);
        break;
    case OPT_NO_GUARD:
        *ret_guard = false;
        break;
    default:
        return false;
    }
    return true;
}

int main(int argc, char **argv) {
    struct http_options options = {
        .listen = "127.0.0.1:0",
        .body_max_bytes = 4 << 20,
        .header_max_bytes = 16384,
        .headers_max = 64,
        .connections_max = 1000,
        .header_ms = 10000,
        .body_ms = 10000,
        .idle_ms = 60000,
    };
    bool guard = true;
    for (int flag; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;)
        if (!read_flag(flag, &options, &guard))
            return 64;
    base = event_base_new();
    if (!base)
        return 1;
    int status = guard ? serve(&options) : serve_bare(&options);
    event_base_free(base);
    return status;
}
