/* http.c: the server on evhtp: listening, requests, replies. The vetting is in guard.c and
 * vet.c. */
#include "api/http/http.h"

#include "api/http/guard.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { BACKLOG = 1024, HEAD_MAX_BYTES = 64 * 1024 };

/* --- accepting ------------------------------------------------------------------------------- */

void http_accept_update(struct http_server *server) {
    if (!server->htp || !server->htp->server)
        return;
    bool accept = !server->resting && server->n_conns < server->options.connections_max;
    if (accept == server->accepting)
        return;
    server->accepting = accept;
    if (accept)
        evconnlistener_enable(server->htp->server);
    else
        evconnlistener_disable(server->htp->server);
}

static evhtp_res on_accept(evhtp_connection_t *evhtp, void *arg) {
    struct http_server *server = arg;
    fcntl(evhtp->sock, F_SETFD, FD_CLOEXEC);
    if (!http_guard_attach(server, evhtp))
        return EVHTP_RES_ERROR;
    server->complained = false;
    http_accept_update(server);
    return EVHTP_RES_OK;
}

/* Without this, libevent would try again at once, and for ever. */
static void on_accept_failed(struct evconnlistener *listener, void *arg) {
    (void)listener;
    int cause = errno;
    struct http_server *server = ((evhtp_t *)arg)->arg;
    server->resting = true;
    http_accept_update(server);
    event_add(server->accept_timer, &(struct timeval){.tv_usec = HTTP_ACCEPT_REST_MS * 1000});
    if (!server->complained)
        log_warning(.msg = "accept failed", .address = server->listen.address,
                    .error = strerror(cause), .count = server->n_conns);
    server->complained = true;
}

static void on_rested(evutil_socket_t fd, short events, void *arg) {
    (void)fd;
    (void)events;
    struct http_server *server = arg;
    server->resting = false;
    http_accept_update(server);
}

/* --- requests -------------------------------------------------------------------------------- */

/* evhtp has read a message whole. */
static void on_request(evhtp_request_t *request, void *arg) {
    struct http_server *server = arg;
    struct http_conn *conn = request->conn->hooks->on_connection_fini_arg;
    conn->request = request;
    conn->req.route = HTTP_NO_ROUTE;
    conn->req.began_us = clock_mono_us();
    server->handler(&conn->req, server->arg);
    conn->suspended = !conn->replied;
}

void http_observe(const struct http_conn *conn, int status) {
    const struct http_server *server = conn->server;
    if (server->options.observer)
        server->options.observer(conn->req.route, status, clock_mono_us() - conn->req.began_us,
                                 server->arg);
}

void http_req_set_route(struct http_req *req, int route) {
    req->route = route;
}

enum http_method http_req_method(const struct http_req *req) {
    return req->method;
}

const char *http_req_method_name(const struct http_req *req) {
    return req->method_name;
}

const char *http_req_path(const struct http_req *req) {
    return req->path;
}

const char *http_req_query(const struct http_req *req) {
    return req->query;
}

const char *http_req_id(const struct http_req *req) {
    return req->id;
}

const char *http_req_peer(const struct http_req *req, char room[HTTP_PEER_CAP]) {
    return http_text_peer(http_conn_of(req)->evhtp->saddr, room);
}

const char *http_req_client_names(const struct http_req *req) {
    return http_conn_of(req)->client_names;
}

static const char *find_header(const char *at, const char *name) {
    while (*at) {
        const char *value = at + strlen(at) + 1;
        if (strcasecmp(at, name) == 0)
            return value;
        at = value + strlen(value) + 1;
    }
    return NULL;
}

const char *http_req_header(const struct http_req *req, const char *name) {
    return find_header(req->headers, name);
}

const char *http_req_header_after(const struct http_req *req, const char *name, const char *after) {
    (void)req;
    return find_header(after + strlen(after) + 1, name);
}

const void *http_req_body(const struct http_req *req, size_t *ret_len) {
    struct evbuffer *body = http_conn_of(req)->request->buffer_in;
    *ret_len = evbuffer_get_length(body);
    return *ret_len ? (const void *)evbuffer_pullup(body, -1) : "";
}

bool http_req_client_gone(const struct http_req *req) {
    const struct http_conn *conn = http_conn_of(req);
    if (conn->eof || conn->broken)
        return true;
    struct pollfd look = {.fd = bufferevent_getfd(conn->bev), .events = POLLRDHUP};
    return poll(&look, 1, 0) > 0 && (look.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

/* --- replies --------------------------------------------------------------------------------- */

bool http_conn_keeps(const struct http_conn *conn) {
    const struct evbuffer *next = bufferevent_get_input(conn->bev);
    bool last = conn->eof && evbuffer_get_length(conn->in) + evbuffer_get_length(next) == 0;
    return conn->vet.keep_alive && !conn->server->stopping && !last;
}

/* Builds the reply in server->out. */
static bool build(const struct http_conn *conn, const struct http_reply *reply) {
    struct http_server *server = conn->server;
    buf_clear(&server->head);
    const struct http_head head = {
        .reply = reply,
        .request_id = conn->req.id,
        .keep_alive = !conn->closes,
        .old_client = conn->vet.minor == 0,
    };
    http_text_head(&server->head, &head, &server->date);
    bool body = conn->req.method != HTTP_HEAD && http_status_has_body(reply->status) && reply->len;
    return buf_rc(&server->head) == RC_OK &&
           evbuffer_expand(server->out, server->head.len + (body ? reply->len : 0)) == 0 &&
           evbuffer_add(server->out, server->head.data, server->head.len) == 0 &&
           (!body || evbuffer_add(server->out, reply->body, reply->len) == 0);
}

/* Not in here: the caller still has the request. evhtp does it from the loop. */
static void free_later(struct http_conn *conn) {
    evhtp_request_pause(conn->request);
    conn->evhtp->flags |= EVHTP_CONN_FLAG_FREE_CONN;
    evhtp_request_resume(conn->request);
}

void http_reply(struct http_req *req, const struct http_reply *reply) {
    struct http_conn *conn = http_conn_of(req);
    struct evbuffer *out = conn->server->out;
    assert(conn->state == CONN_BUSY && !conn->replied);
    conn->replied = true;
    http_observe(conn, reply->status);
    conn->closes = !http_conn_keeps(conn);
    conn->broken = conn->broken || !build(conn, reply);
    if (!conn->broken)
        evhtp_send_reply_body(conn->request, out);
    evbuffer_drain(out, evbuffer_get_length(out));
    evhtp_send_reply_end(conn->request);
    if (!conn->suspended)
        return; /* still within dispatch(), which goes on */
    conn->suspended = false;
    if (conn->broken)
        free_later(conn);
}

void http_reply_error(struct http_req *req, enum rc rc, const char *text) {
    const struct rc_info *info = rc_info(rc);
    char retry_after[12];
    snprintf(retry_after, sizeof retry_after, "%d", info->retry_after_s);
    const struct http_header header = {"Retry-After", retry_after};
    LH_CLEANUP_BUF struct buf body;
    buf_init(&body, HEAD_MAX_BYTES);
    http_text_error(&body, rc, text);
    if (buf_rc(&body) != RC_OK) {
        buf_clear(&body);
        http_text_error(&body, rc, NULL);
    }
    const struct http_reply reply = {
        .status = info->http,
        .headers = &header,
        .n_headers = info->retry_after_s > 0,
        .body = body.data,
        .len = body.len,
    };
    http_reply(req, &reply);
}

/* --- the server ------------------------------------------------------------------------------ */

static enum rc start_evhtp(struct http_server *server, struct error *err) {
    server->htp = evhtp_new(server->base, server);
    if (!server->htp)
        return RC_NO_MEMORY;
    evhtp_disable_flag(server->htp, EVHTP_FLAG_ENABLE_100_CONT);
    evhtp_set_gencb(server->htp, on_request, server);
    evhtp_set_post_accept_cb(server->htp, on_accept, server);
    if (server->options.tls) {
        enum rc rc = http_tls_context(server->options.tls, &server->htp->ssl_ctx, err);
        if (rc != RC_OK)
            return rc;
    }
    if (evhtp_accept_socket(server->htp, server->listen.fd, BACKLOG) < 0)
        return error_set(err, RC_IO, "cannot listen on %s: %s", server->listen.address,
                         strerror(errno));
    server->listen.fd = -1; /* the listener owns it */
    evconnlistener_set_error_cb(server->htp->server, on_accept_failed);
    server->accepting = true;
    return RC_OK;
}

static void say_https(struct http_listen *listen) {
    char rest[sizeof listen->address];
    mem_copy_str(rest, sizeof rest, listen->address + strlen("http"));
    snprintf(listen->address, sizeof listen->address, "https%.*s", (int)sizeof rest - 6, rest);
}

enum rc http_server_create(struct event_base *base, const struct http_options *options,
                           http_handler *handler, void *arg, struct http_server **ret,
                           struct error *err) {
    struct http_server *server = calloc(1, sizeof *server);
    if (!server)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    server->base = base;
    server->options = *options;
    server->options.listen = NULL;
    server->limits = (struct http_limits){options->header_max_bytes, options->body_max_bytes,
                                          options->headers_max};
    server->handler = handler;
    server->arg = arg;
    server->listen.fd = -1;
    LIST_INIT(&server->conns);
    buf_init(&server->head, HEAD_MAX_BYTES);
    signal(SIGPIPE,
           SIG_IGN); /* a client that goes away while it is written to is no reason to die */
    server->out = evbuffer_new();
    server->accept_timer = evtimer_new(base, on_rested, server);
    enum rc rc =
        server->out && server->accept_timer ? RC_OK : error_set(err, RC_NO_MEMORY, "out of memory");
    if (rc == RC_OK)
        rc = http_listen_open(options->listen, &server->listen, err);
    if (rc == RC_OK && options->tls)
        say_https(&server->listen);
    if (rc == RC_OK)
        rc = start_evhtp(server, err);
    if (rc != RC_OK) {
        http_server_destroy(server);
        return rc;
    }
    *ret = server;
    return RC_OK;
}

enum rc http_server_reload_tls(struct http_server *server, struct error *err) {
    evhtp_ssl_ctx_t *context = NULL;
    if (!server->options.tls)
        return RC_OK;
    enum rc rc = http_tls_context(server->options.tls, &context, err);
    if (rc != RC_OK)
        return rc;
    http_tls_context_free(server->htp->ssl_ctx);
    server->htp->ssl_ctx = context;
    return RC_OK;
}

const char *http_server_address(const struct http_server *server) {
    return server->listen.address;
}

unsigned http_server_pending(const struct http_server *server) {
    return server->pending;
}

unsigned http_server_connections(const struct http_server *server) {
    return server->n_conns;
}

void http_server_stop(struct http_server *server) {
    if (server->stopping)
        return;
    server->stopping = true;
    event_del(server->accept_timer);
    evhtp_unbind_socket(server->htp);
    http_listen_forget(&server->listen);
    struct http_conn *conn, *next;
    for (conn = LIST_FIRST(&server->conns); conn; conn = next) {
        next = LIST_NEXT(conn, link);
        if (http_guard_is_idle(conn))
            evhtp_connection_free(conn->evhtp);
    }
}

void http_server_destroy(struct http_server *server) {
    if (!server)
        return;
    if (server->htp) {
        http_server_stop(server);
        while (!LIST_EMPTY(&server->conns))
            evhtp_connection_free(LIST_FIRST(&server->conns)->evhtp);
        http_tls_context_free(server->htp->ssl_ctx);
        server->htp->ssl_ctx = NULL;
        evhtp_free(server->htp);
    }
    if (server->listen.fd >= 0) {
        close(server->listen.fd);
        http_listen_forget(&server->listen);
    }
    if (server->accept_timer)
        event_free(server->accept_timer);
    if (server->out)
        evbuffer_free(server->out);
    buf_finish(&server->head);
    free(server);
}
