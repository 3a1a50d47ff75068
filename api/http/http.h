/* http.h: the HTTP/1.1 server; everything that is libevhtp stands behind this file.
 *
 * A vetting layer reads each message whole, checks it as RFC 9112 asks and only then shows it to
 * evhtp's parser, which has known faults (docs/internals/http.md). What it refuses it answers
 * itself, with the JSON body of the API. A handler either replies at once or returns and replies
 * later from the loop's thread: the request is suspended meanwhile and stays valid until its reply.
 * All calls on the loop's thread.
 */
#ifndef LH_API_HTTP_H
#define LH_API_HTTP_H

#include "base/rc.h"

#include <event2/event.h>
#include <stdint.h>

enum { HTTP_NO_ROUTE = -1 };

/* Told of every answer as it begins: `route` is what http_req_set_route() said; took_us counts from
 * the whole request. A request that was refused before the handler saw it has no route. */
typedef void http_observer(int route, int status, int64_t took_us, void *arg);

struct http_tls_options {
    const char *cert, *key; /* PEM files; the certificate with those that lead to its CA */
    const char *client_ca;  /* whose certificates clients may show; NULL: none is asked for */
    bool client_required;   /* they have to */
};

struct http_options {
    const char
        *listen; /* "127.0.0.1:8080", "[::1]:0", "unix:/run/x.sock"; port 0 picks a free one */
    const struct http_tls_options *tls; /* NULL: none; borrowed while the server lives */
    size_t body_max_bytes;
    size_t header_max_bytes;  /* request line and headers together; more is 431, a longer request
                                 line alone 414 */
    unsigned headers_max;     /* lines */
    unsigned connections_max; /* beyond: the listener rests until one closes */
    int header_ms;            /* from a message's first byte to its last header byte; 408 */
    int body_ms;              /* from there to its last body byte; 408; a reply may stall as long */
    int idle_ms;              /* a kept connection without a request is closed */
    http_observer *observer;  /* with the handler's arg; NULL: nobody */
};

struct http_server;
struct http_req;

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_OTHER };

struct http_header {
    const char *name, *value;
};

struct http_reply {
    int status;
    const char *content_type;          /* NULL: application/json */
    const struct http_header *headers; /* further ones; X-Request-Id, Content-Length, Date and
                                          Connection are added here */
    size_t n_headers;
    const void *body; /* copied; not sent for HEAD, whose Content-Length is that of the body */
    size_t len;
};

/* Every vetted request comes here. */
typedef void http_handler(struct http_req *req, void *arg);

/* Starts to listen; ignores SIGPIPE. RC_IO with the address and cause (in use, no permission). */
enum rc http_server_create(struct event_base *base, const struct http_options *options,
                           http_handler *handler, void *arg, struct http_server **ret,
                           struct error *err) LH_MUST_USE;

/* Reads certificates, key and CA again, for connections that are accepted from now on; after a
 * failure those of before stay. RC_OK where there is no TLS. */
enum rc http_server_reload_tls(struct http_server *server, struct error *err) LH_MUST_USE;

/* "http://127.0.0.1:41234" ("https://…") or "unix:/path": where it listens, with the port that was
 * picked. Borrowed. */
const char *http_server_address(const struct http_server *server);

/* Accepts no more connections; those that wait between two requests are closed; every reply from
 * now on says Connection: close. */
void http_server_stop(struct http_server *server);

/* Requests that have been handed to the handler and not yet been replied to in full (bytes
 * written). */
unsigned http_server_pending(const struct http_server *server);

/* Connections that are open. */
unsigned http_server_connections(const struct http_server *server);

/* Frees it; requests without a reply are dropped. NULL is fine. To be called outside the loop,
 * which was left by event_base_loopexit: after a loopbreak libevent's deferred callbacks still hold
 * connections. */
void http_server_destroy(struct http_server *server);

enum http_method http_req_method(const struct http_req *req);
/* A number of the handler's own, for the observer. */
void http_req_set_route(struct http_req *req, int route);

const char *http_req_method_name(const struct http_req *req);
const char *http_req_path(const struct http_req *req);  /* raw, without the query */
const char *http_req_query(const struct http_req *req); /* raw, without the "?"; "": none */
const char *http_req_header(const struct http_req *req,
                            const char *name); /* NULL: absent; duplicates of headers that must be
                                                  single are refused before */
/* The next header of the name behind the one whose value was `after`; NULL: there is none. */
const char *http_req_header_after(const struct http_req *req, const char *name, const char *after);
const void *http_req_body(const struct http_req *req,
                          size_t *ret_len); /* contiguous; valid until the reply */
const char *http_req_id(
    const struct http_req *req); /* the caller's X-Request-Id (1–128 visible ASCII) or a new one */

/* "127.0.0.1:41234", "[::1]:41234" or "unix": the client, as text in `room`, which is returned. */
enum { HTTP_PEER_CAP = 64 };
const char *http_req_peer(const struct http_req *req, char room[HTTP_PEER_CAP]);

/* The names in the client's verified certificate, each with its NUL, and an empty one; NULL: there
 * is none. */
const char *http_req_client_names(const struct http_req *req);

/* True once the client has closed its side (a look at the socket; consumes nothing). */
bool http_req_client_gone(const struct http_req *req);

/* Sends the answer, exactly once per request (this or a stream); `req` is invalid afterwards. */
void http_reply(struct http_req *req, const struct http_reply *reply);

/* ---- a reply whose body is written piece by piece ---- */

/* What a stream's owner is told, on the loop's thread, never from within a call of these functions.
 */
struct http_stream {
    /* All that was queued has been handed to the kernel. */
    void (*drained)(void *arg);
    /* The connection is at its end: the client has closed its side, or took nothing of a full queue
     * for body_ms, or the server is destroyed. `req` is invalid now. */
    void (*gone)(void *arg);
};

/* Begins the answer: sends head->status and the headers; head->body is not looked at. Then `req`
 * stays valid until http_stream_end() or `gone`, but for its body. HTTP/1.1 gets chunks and may
 * keep the connection, HTTP/1.0 a body that ends with it. No deadline runs but that of a full
 * queue. `stream` is borrowed until then. */
void http_stream_begin(struct http_req *req, const struct http_reply *head,
                       const struct http_stream *stream, void *arg);

/* Queues bytes (copied); whoever writes bounds the queue. Nothing is sent to HEAD. */
void http_stream_write(struct http_req *req, const void *bytes, size_t len);

/* Bytes that the kernel has not taken yet. */
size_t http_stream_queued(const struct http_req *req);

/* The body is complete; the rest of the queue is still sent. `req` is invalid afterwards. */
void http_stream_end(struct http_req *req);

/* The answer {"result":"exception","message","code"} for rc with its status and Retry-After; text
 * NULL: rc_info()->text. */
void http_reply_error(struct http_req *req, enum rc rc, const char *text);

#endif
