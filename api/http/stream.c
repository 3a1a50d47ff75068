/* stream.c: replies whose body is written piece by piece. */
#include "api/http/guard.h"

#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

/* What a slow reader has not taken is kept where its owner knows of it, not in the kernel. */
enum { UNSENT_BYTES = 128 * 1024 };

static void put(struct http_conn *conn, const void *bytes, size_t len) {
    if (bufferevent_write(conn->bev, bytes, len) == 0 || conn->broken)
        return;
    conn->broken = true;
    event_active(conn->timer, EV_TIMEOUT, 0); /* not here: the caller still has the request */
}

static void put_head(struct http_conn *conn, const struct http_reply *reply) {
    struct buf *buf = &conn->server->head;
    const struct http_head head = {
        .reply = reply,
        .request_id = conn->req.id,
        .keep_alive = !conn->closes,
        .old_client = conn->vet.minor == 0,
        .stream = true,
    };
    buf_clear(buf);
    http_text_head(buf, &head, &conn->server->date);
    /* A head that cannot be built is too large for a buffer's maximum, which no client reaches. */
    put(conn, buf->data, buf_rc(buf) == RC_OK ? buf->len : 0);
}

void http_stream_begin(struct http_req *req, const struct http_reply *head,
                       const struct http_stream *stream, void *arg) {
    struct http_conn *conn = http_conn_of(req);
    struct evbuffer *body = conn->request->buffer_in;
    assert(conn->state == CONN_BUSY && !conn->replied && !conn->stream);
    evbuffer_drain(body, evbuffer_get_length(body));
    conn->chunked = conn->vet.minor != 0;
    conn->closes = !conn->chunked || !http_conn_keeps(conn);
    conn->stream = stream;
    conn->stream_arg = arg;
    http_observe(conn, head->status);
    (void)setsockopt(bufferevent_getfd(conn->bev), IPPROTO_TCP, TCP_NOTSENT_LOWAT,
                     &(int){UNSENT_BYTES}, sizeof(int)); /* no TCP, no bound */
    put_head(conn, head);
}

void http_stream_write(struct http_req *req, const void *bytes, size_t len) {
    struct http_conn *conn = http_conn_of(req);
    assert(conn->stream);
    if (len == 0 || req->method == HTTP_HEAD)
        return;
    char size[24];
    int n = snprintf(size, sizeof size, "%zx\r\n", len);
    if (conn->chunked)
        put(conn, size, (size_t)n);
    put(conn, bytes, len);
    if (conn->chunked)
        put(conn, "\r\n", 2);
}

size_t http_stream_queued(const struct http_req *req) {
    return evbuffer_get_length(bufferevent_get_output(http_conn_of(req)->bev));
}

void http_stream_end(struct http_req *req) {
    static const char last[] = "0\r\n\r\n";
    struct http_conn *conn = http_conn_of(req);
    assert(conn->stream);
    if (conn->chunked && req->method != HTTP_HEAD)
        put(conn, last, sizeof last - 1);
    conn->stream = NULL;
    conn->closes |= conn->server->stopping || conn->broken;
    if (conn->server->stopping) {
        conn->hurried = true;
        event_add(conn->timer, &(struct timeval){.tv_sec = HTTP_LINGER_MS / 1000});
    }
    conn->replied = true;
    conn->suspended = false;
    evhtp_send_reply_end(conn->request);
    /* Of an empty queue nobody would be told that it has become empty. */
    bufferevent_trigger(conn->bev, EV_WRITE, BEV_TRIG_DEFER_CALLBACKS);
}
