/* guard.h: what stands between a client's socket and evhtp; private to api/http/.
 *
 * A connection goes around this circle, and only whole, vetted messages enter evhtp:
 *
 * With TLS the circle begins when the handshake (HANDSHAKE, for header_ms at most) is done.
 *
 *     IDLE ──first byte──> HEAD ──vetted──> BODY ──complete──> BUSY ──reply written──> IDLE
 *       │                    │               │                   └──must close──┐
 *       │ idle_ms            └─ refused, 408 ┴──> error reply ─────────────> CLOSING ──> freed
 *       └──> freed                                                              EOF or 2 s
 *
 * Bytes from the socket are taken out of the bufferevent's input at once and kept in `in`; evhtp
 * finds in that input nothing but one message at a time, whose head was written here. So its parser
 * never reads a head that a client wrote, and a pipelined request waits in `in` until its turn.
 */
#ifndef LH_API_HTTP_GUARD_H
#define LH_API_HTTP_GUARD_H

#include "api/http/http.h"
#include "api/http/text.h"
#include "api/http/tls.h"
#include "api/http/vet.h"
#include "base/http_listen.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <evhtp/evhtp.h>
#include <sys/queue.h>

enum { HTTP_ID_CAP = 129, HTTP_LINGER_MS = 2000, HTTP_ACCEPT_REST_MS = 100 };

struct http_server {
    struct event_base *base;
    struct http_options options; /* `listen` is not kept */
    struct http_limits limits;
    int64_t tls_logged_ms; /* when a failed handshake was last logged */
    int64_t tls_unlogged;  /* those that failed since */
    http_handler *handler;
    void *arg;
    struct http_listen listen;
    evhtp_t *htp;
    struct event *accept_timer; /* wakes a listener that rests after a failed accept */
    LIST_HEAD(, http_conn) conns;
    unsigned n_conns;
    unsigned pending;
    bool stopping;
    bool resting;         /* out of descriptors or memory */
    bool complained;      /* about the accepts that fail since the last good one */
    bool accepting;       /* the listener is enabled */
    struct buf head;      /* scratch: the reply's head, an error's body */
    struct evbuffer *out; /* scratch: a reply, a message for evhtp */
    struct http_date date;
};

/* The request being answered; every text stands in the connection's `text`. */
struct http_req {
    enum http_method method;
    const char *method_name, *path, *query;
    const char *headers; /* name NUL value NUL … and an empty name */
    int route;
    int64_t began_us; /* clock_mono_us() when it was whole */
    char id[HTTP_ID_CAP];
};

struct http_conn {
    LIST_ENTRY(http_conn) link;
    struct http_server *server;
    evhtp_connection_t *evhtp; /* owns this: freed by its fini hook */
    struct bufferevent *bev;
    bufferevent_data_cb evhtp_read, evhtp_write;
    struct event *timer; /* the deadline of the state */
    enum { CONN_HANDSHAKE, CONN_IDLE, CONN_HEAD, CONN_BODY, CONN_BUSY, CONN_CLOSING } state;
    struct evbuffer *in;
    struct http_vet vet;
    char *client_names; /* of its certificate, or NULL */
    char *text;
    size_t text_cap;
    struct http_req req;
    evhtp_request_t *request; /* while BUSY */
    bool suspended;           /* the handler has returned without a reply */
    bool replied;
    const struct http_stream *stream; /* from its begin to its end: whom to tell */
    void *stream_arg;
    bool chunked; /* the stream's body */
    bool hurried; /* a stream that ended as the server stops: its rest leaves soon or never */
    bool closes;  /* the reply says so */
    bool eof;     /* the client has closed its side */
    bool broken;  /* nothing can be sent any more; freed with the reply, a stream by the timer */
    bool inside;  /* evhtp is on the stack and may free the connection: see `dead` */
    bool dead;
};

static inline struct http_conn *http_conn_of(const struct http_req *req) {
    return (struct http_conn *)(void *)((char *)(uintptr_t)req - offsetof(struct http_conn, req));
}

/* May the connection go on after a reply that begins now? */
bool http_conn_keeps(const struct http_conn *conn);

/* Puts the guard between a fresh connection and evhtp; false when memory is out (the caller frees
 * the connection). */
bool http_guard_attach(struct http_server *server, evhtp_connection_t *evhtp) LH_MUST_USE;

/* True while the connection waits for a request of which no byte has come. */
bool http_guard_is_idle(const struct http_conn *conn);

/* Tells the observer of an answer that begins. */
void http_observe(const struct http_conn *conn, int status);

/* Lets the listener accept, or not: stopped, resting, or at its connections. */
void http_accept_update(struct http_server *server);

#endif
