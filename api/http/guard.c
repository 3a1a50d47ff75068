/* guard.c: reads messages whole, vets them, hands them to evhtp, and closes connections so
 * that the last reply arrives. */
#include "api/http/guard.h"

#include "base/clock.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/mem.h"

#include <assert.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum {
    INPUT_MAX_BYTES = 64 * 1024, /* read ahead while a request is being answered */
    COPY_MAX_BYTES =
        2048, /* shorter reads are copied together: a chain per byte would cost 1 KiB each */
    TEXT_KEEP_BYTES = 2048,
    TLS_LOG_EVERY_MS = 1000,
    TLS_SCRAPS_MAX = 32,
};

static void advance(struct http_conn *conn);

/* --- deadlines and the end ------------------------------------------------------------------- */

static void arm(struct http_conn *conn, int ms) {
    struct timeval in = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};
    event_add(conn->timer, &in);
}

static void drop(struct http_conn *conn) {
    evhtp_connection_free(conn->evhtp); /* calls on_fini() */
}

/* evhtp's hook: the connection is going away, by whatever way. */
static evhtp_res on_fini(evhtp_connection_t *evhtp, void *arg) {
    (void)evhtp;
    struct http_conn *conn = arg;
    struct http_server *server = conn->server;
    if (conn->state == CONN_BUSY)
        server->pending--;
    if (conn->stream)
        conn->stream->gone(conn->stream_arg);
    LIST_REMOVE(conn, link);
    server->n_conns--;
    event_free(conn->timer);
    evbuffer_free(conn->in);
    free(conn->client_names);
    free(conn->text);
    http_accept_update(server);
    if (conn->inside)
        conn->dead = true;
    else
        free(conn);
    return EVHTP_RES_OK;
}

/* Runs one of evhtp's callbacks; false when it has freed the connection. */
static bool run_evhtp(struct http_conn *conn, bufferevent_data_cb callback) {
    conn->inside = true;
    callback(conn->bev, conn->evhtp);
    conn->inside = false;
    if (!conn->dead)
        return true;
    free(conn);
    return false;
}

static void close_our_side(struct http_conn *conn) {
    if (conn->evhtp->ssl)
        http_tls_end(conn->evhtp->ssl);
    shutdown(bufferevent_getfd(conn->bev), SHUT_WR);
}

/* All replies are written. Closing at once could reset the connection, and with it what the client
 * has not read yet: so our side is closed first, and the rest when the client has followed or 2 s
 * are over. */
static void linger(struct http_conn *conn) {
    conn->state = CONN_CLOSING;
    if (conn->eof) {
        drop(conn);
        return;
    }
    close_our_side(conn);
    evbuffer_drain(conn->in, evbuffer_get_length(conn->in));
    bufferevent_enable(conn->bev, EV_READ);
    arm(conn, HTTP_LINGER_MS);
}

/* Answers a message that evhtp never sees. */
static void refuse(struct http_conn *conn, enum rc rc, const char *text) {
    struct http_server *server = conn->server;
    if (conn->state != CONN_BODY) /* its head is not known */
        uuid_make(conn->req.id);
    struct buf *buf = &server->head;
    buf_clear(buf);
    http_text_error(buf, rc, text);
    size_t len = buf->len;
    const struct http_reply reply = {.status = rc_info(rc)->http, .len = len};
    const struct http_head head = {.reply = &reply, .request_id = conn->req.id};
    http_text_head(buf, &head, &server->date);
    log_debug(.msg = "request refused", .request_id = conn->req.id, .code = rc_info(rc)->word,
              .error = text);
    conn->state = CONN_CLOSING;
    conn->req.route = HTTP_NO_ROUTE;
    conn->req.began_us = clock_mono_us();
    http_observe(conn, reply.status);
    evbuffer_drain(conn->in, evbuffer_get_length(conn->in));
    if (buf_rc(buf) != RC_OK || bufferevent_write(conn->bev, buf->data + len, buf->len - len) < 0 ||
        (!conn->vet.is_head && bufferevent_write(conn->bev, buf->data, len) < 0)) {
        drop(conn);
        return;
    }
    arm(conn, HTTP_LINGER_MS);
}

/* At most one line a second: strangers knock often. What they have sent is read, so that the
 * connection is closed and not reset. */
static void end_handshake(struct http_conn *conn, const char *why) {
    struct http_server *server = conn->server;
    int64_t now_ms = clock_mono_ms();
    char scrap[4096], peer[HTTP_PEER_CAP];
    int fd = bufferevent_getfd(conn->bev);
    if (now_ms - server->tls_logged_ms >= TLS_LOG_EVERY_MS) {
        log_info(.msg = "TLS handshake failed", .error = why, .count = server->tls_unlogged + 1,
                 .address = http_text_peer(conn->evhtp->saddr, peer));
        server->tls_logged_ms = now_ms;
        server->tls_unlogged = 0;
    } else {
        server->tls_unlogged++;
    }
    for (int i = 0; i < TLS_SCRAPS_MAX && recv(fd, scrap, sizeof scrap, MSG_DONTWAIT) > 0; i++)
        ;
    drop(conn);
}

static void begin_tls(struct http_conn *conn) {
    conn->client_names = http_tls_client_names(conn->evhtp->ssl);
    conn->state = CONN_IDLE;
    arm(conn, conn->server->options.idle_ms);
}

static void on_handshake(struct http_conn *conn, short events) {
    char why[160];
    if (events & BEV_EVENT_CONNECTED) {
        begin_tls(conn);
        return;
    }
    http_tls_why(conn->bev, why, sizeof why);
    end_handshake(conn, why);
}

static void on_timer(evutil_socket_t fd, short events, void *arg) {
    (void)fd;
    (void)events;
    struct http_conn *conn = arg;
    switch (conn->state) {
    case CONN_HANDSHAKE:
        end_handshake(conn, "it took too long");
        break;
    case CONN_HEAD:
    case CONN_BODY:
        refuse(conn, RC_REQUEST_TIMEOUT, NULL);
        break;
    case CONN_BUSY: /* the idle deadline of before; the handler has its own */
        if ((conn->stream && conn->broken) || conn->hurried)
            drop(conn);
        break;
    case CONN_IDLE:
    case CONN_CLOSING:
        drop(conn);
        break;
    }
}

/* --- a message ------------------------------------------------------------------------------- */

static char *put_text(char *to, const char *bytes, struct http_span span) {
    memcpy(to, bytes + span.at, span.len);
    to[span.len] = '\0';
    return to + span.len + 1;
}

static void choose_id(struct http_req *req) {
    const char *id = http_req_header(req, "X-Request-Id");
    size_t len = id ? strlen(id) : 0;
    bool good = len > 0 && len < HTTP_ID_CAP;
    for (size_t i = 0; good && i < len; i++)
        good = id[i] > 0x20 && id[i] < 0x7f;
    if (good)
        memcpy(req->id, id, len + 1);
    else
        uuid_make(req->id);
}

static enum http_method method_of(const char *name) {
    static const char *const names[] = {
        [HTTP_GET] = "GET", [HTTP_HEAD] = "HEAD", [HTTP_POST] = "POST"};
    for (unsigned i = 0; i < LH_COUNT(names); i++)
        if (strcmp(name, names[i]) == 0)
            return (enum http_method)i;
    return HTTP_OTHER;
}

/* Copies the vetted head into `text`: its buffer is needed for the body. No line grows by it, "/"
 * may be added. */
static bool keep_head(struct http_conn *conn, const char *bytes) {
    const struct http_vet *vet = &conn->vet;
    size_t need = vet->head_len + 8;
    if (need > conn->text_cap) {
        char *text = realloc(conn->text, need);
        if (!text)
            return false;
        conn->text = text;
        conn->text_cap = need;
    }
    struct http_req *req = &conn->req;
    char *to = conn->text;
    req->method_name = to;
    to = put_text(to, bytes, vet->method);
    req->path = to;
    to = vet->path.len ? put_text(to, bytes, vet->path)
                       : put_text(to, "/", (struct http_span){0, 1});
    req->query = to;
    to = put_text(to, bytes, vet->query);
    req->headers = to;
    struct http_span rest = vet->headers, name, value;
    while (http_vet_next(bytes, &rest, &name, &value)) {
        to = put_text(to, bytes, name);
        to = put_text(to, bytes, value);
    }
    *to = '\0';
    req->method = method_of(req->method_name);
    choose_id(req);
    return true;
}

/* Gives evhtp the message: a head of ours, and the client's body. */
static bool feed(struct http_conn *conn) {
    struct evbuffer *input = bufferevent_get_input(conn->bev);
    assert(evbuffer_get_length(input) == 0);
    size_t len = conn->vet.content_length;
    if (len == 0) {
        static const char head[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        return evbuffer_prepend(input, head, sizeof head - 1) == 0;
    }
    struct evbuffer *message = conn->server->out;
    bool fed = evbuffer_add_printf(
                   message, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", len) > 0 &&
               evbuffer_remove_buffer(conn->in, message, len) == (int)len &&
               evbuffer_prepend_buffer(input, message) == 0;
    evbuffer_drain(message, evbuffer_get_length(message));
    return fed;
}

/* The message is complete: evhtp parses it and calls the handler. `conn` may be gone afterwards. */
static void dispatch(struct http_conn *conn) {
    if (!feed(conn)) {
        refuse(conn, RC_NO_MEMORY, NULL);
        return;
    }
    conn->state = CONN_BUSY;
    conn->server->pending++;
    conn->request = NULL;
    conn->replied = conn->suspended = conn->closes = false;
    if (!run_evhtp(conn, conn->evhtp_read))
        return;
    struct evbuffer *input = bufferevent_get_input(conn->bev);
    evbuffer_drain(input, evbuffer_get_length(input));
    if ((conn->broken && !conn->suspended) || !conn->request)
        drop(conn);
}

static void advance_body(struct http_conn *conn) {
    size_t have = evbuffer_get_length(conn->in);
    if (have >= conn->vet.content_length)
        dispatch(conn);
    else if (conn->eof)
        refuse(conn, RC_BAD_REQUEST, "the body is shorter than Content-Length");
}

/* The head is good: the body is next, and may have come with it. */
static void begin_body(struct http_conn *conn, const char *bytes) {
    if (!keep_head(conn, bytes)) {
        refuse(conn, RC_NO_MEMORY, NULL);
        return;
    }
    evbuffer_drain(conn->in, conn->vet.head_len);
    conn->state = CONN_BODY;
    size_t have = evbuffer_get_length(conn->in);
    if (have < conn->vet.content_length) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        arm(conn, conn->server->options.body_ms);
        if (conn->vet.expect_continue && have == 0 && !conn->eof)
            bufferevent_write(conn->bev, go_on, sizeof go_on - 1);
    }
    advance_body(conn);
}

static void advance_head(struct http_conn *conn) {
    const struct http_limits *limits = &conn->server->limits;
    size_t len = evbuffer_get_length(conn->in);
    if (len > limits->header_max_bytes + 1)
        len = limits->header_max_bytes + 1; /* the vetting refuses there at the latest */
    const char *bytes = (const char *)evbuffer_pullup(conn->in, (ssize_t)len);
    if (!bytes) {
        refuse(conn, RC_NO_MEMORY, NULL);
        return;
    }
    switch (http_vet_head(&conn->vet, bytes, len, limits)) {
    case HTTP_VET_OK:
        begin_body(conn, bytes);
        break;
    case HTTP_VET_REFUSED:
        refuse(conn, conn->vet.rc, conn->vet.text);
        break;
    case HTTP_VET_MORE:
        if (conn->eof) {
            refuse(conn, RC_BAD_REQUEST, "the request ends within its headers");
        } else if (conn->state == CONN_IDLE) {
            conn->state = CONN_HEAD;
            arm(conn, conn->server->options.header_ms);
        }
        break;
    }
}

/* Goes as far as the bytes in `in` allow. `conn` may be gone afterwards. */
static void advance(struct http_conn *conn) {
    if (conn->state == CONN_BODY)
        advance_body(conn);
    else if (evbuffer_get_length(conn->in) > 0)
        advance_head(conn);
    else if (conn->eof)
        drop(conn);
}

/* --- the socket ------------------------------------------------------------------------------ */

/* Moves what the socket gave into `in`. */
static bool pull(struct http_conn *conn) {
    struct evbuffer *input = bufferevent_get_input(conn->bev);
    size_t len = evbuffer_get_length(input);
    if (len == 0)
        return true;
    if (len > COPY_MAX_BYTES)
        return evbuffer_add_buffer(conn->in, input) == 0;
    const void *bytes = evbuffer_pullup(input, -1);
    return bytes && evbuffer_add(conn->in, bytes, len) == 0 && evbuffer_drain(input, len) == 0;
}

static void on_read(struct bufferevent *bev, void *arg) {
    struct http_conn *conn = arg;
    if (conn->state == CONN_BUSY)
        return; /* stays where it is; the watermark bounds it */
    if (conn->state == CONN_CLOSING) {
        struct evbuffer *input = bufferevent_get_input(bev);
        evbuffer_drain(input, evbuffer_get_length(input));
        return;
    }
    if (pull(conn))
        advance(conn);
    else
        refuse(conn, RC_NO_MEMORY, NULL);
}

/* The reply has left: the next request, or the end. */
static void on_replied(struct http_conn *conn) {
    if (!pull(conn)) {
        drop(conn);
        return;
    }
    if (conn->closes) {
        conn->server->pending--;
        linger(conn);
        return;
    }
    if (!run_evhtp(conn, conn->evhtp_write)) /* ends the request and makes the parser new */
        return;
    conn->server->pending--;
    conn->state = CONN_IDLE;
    conn->request = NULL;
    conn->vet = (struct http_vet){0};
    if (conn->text_cap > TEXT_KEEP_BYTES) {
        free(TAKE(conn->text));
        conn->text_cap = 0;
    }
    arm(conn, conn->server->options.idle_ms);
    advance(conn);
}

static void on_write(struct bufferevent *bev, void *arg) {
    struct http_conn *conn = arg;
    if (evbuffer_get_length(bufferevent_get_output(bev)) > 0)
        return;
    if (conn->stream)
        conn->stream->drained(conn->stream_arg);
    else if (conn->state == CONN_BUSY && conn->replied)
        on_replied(conn);
    else if (conn->state == CONN_CLOSING && conn->eof)
        drop(conn);
    else if (conn->state == CONN_CLOSING)
        close_our_side(conn);
}

static void on_event(struct bufferevent *bev, short events, void *arg) {
    struct http_conn *conn = arg;
    if (conn->state == CONN_HANDSHAKE) {
        on_handshake(conn, events);
        return;
    }
    /* One call may bring the end of the input and a failed write together. */
    if (conn->stream) {
        drop(conn); /* without an end of its own, a stream ends with its reader */
    } else if (!(events & (BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT))) {
        /* The client may only have closed its side and still wait for replies. */
        conn->eof = true;
        if (conn->state == CONN_CLOSING && evbuffer_get_length(bufferevent_get_output(bev)) == 0)
            drop(conn);
        else if (conn->state != CONN_BUSY && conn->state != CONN_CLOSING)
            advance(conn);
    } else if (conn->suspended) {
        conn->broken = true; /* the handler still holds the request */
    } else {
        drop(conn);
    }
}

static bool set_hook(struct http_conn *conn) {
    return evhtp_connection_set_hook(conn->evhtp, evhtp_hook_on_connection_fini,
                                     (evhtp_hook)on_fini, conn) == 0;
}

static void take_bufferevent(struct http_conn *conn) {
    struct bufferevent *bev = conn->bev;
    bufferevent_event_cb event;
    void *arg;
    bufferevent_getcb(bev, &conn->evhtp_read, &conn->evhtp_write, &event, &arg);
    assert(arg == conn->evhtp);
    bufferevent_setcb(bev, on_read, on_write, on_event, conn);
    if (conn->evhtp->ssl)
        bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
    bufferevent_setwatermark(bev, EV_READ, 0, INPUT_MAX_BYTES);
    int ms = conn->server->options.body_ms;
    struct timeval stalled = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};
    bufferevent_set_timeouts(bev, NULL, &stalled);
}

bool http_guard_attach(struct http_server *server, evhtp_connection_t *evhtp) {
    struct http_conn *conn = calloc(1, sizeof *conn);
    if (!conn)
        return false;
    conn->server = server;
    conn->evhtp = evhtp;
    conn->bev = evhtp->bev;
    conn->in = evbuffer_new();
    conn->timer = evtimer_new(server->base, on_timer, conn);
    if (!conn->in || !conn->timer || !set_hook(conn)) {
        if (conn->timer)
            event_free(conn->timer);
        if (conn->in)
            evbuffer_free(conn->in);
        free(conn);
        return false;
    }
    take_bufferevent(conn);
    LIST_INSERT_HEAD(&server->conns, conn, link);
    server->n_conns++;
    conn->state = evhtp->ssl ? CONN_HANDSHAKE : CONN_IDLE;
    arm(conn, evhtp->ssl ? server->options.header_ms : server->options.idle_ms);
    return true;
}

bool http_guard_is_idle(const struct http_conn *conn) {
    int waiting = 0;
    return conn->state == CONN_IDLE && evbuffer_get_length(bufferevent_get_input(conn->bev)) == 0 &&
           (ioctl(bufferevent_getfd(conn->bev), FIONREAD, &waiting) < 0 || waiting == 0);
}
