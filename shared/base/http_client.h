/* http_client.h: HTTP/1.1 calls to one server on an event loop, without blocking.
 *
 * Each call has a connection of its own while it lasts; finished ones are kept for the next call.
 * A kept connection is looked at before use: one that the server has closed, or that has bytes
 * waiting, is thrown away. If it still ends before one byte of an answer came, the call is repeated
 * once on a new connection, unless `once` is set: a call with `once` is never sent twice.
 *
 * It stands on bufferevents, not on libevent's evhttp client, which (2.1.12) knows no unix sockets,
 * makes sockets that children inherit, and does not tell whether any byte was answered.
 * Loop thread only. The program ignores SIGPIPE.
 */
#ifndef LH_BASE_HTTP_CLIENT_H
#define LH_BASE_HTTP_CLIENT_H

#include "base/rc.h"

#include <event2/event.h>

struct http_client;
struct tls_options;
struct http_call;

struct http_client_options {
    const char *url; /* "http://host[:port][/prefix]", "http://[::1]:80", the same with https, or
                        "unix:/path" */
    const struct tls_options *tls; /* for https; NULL: the system's CA alone */
    size_t answer_max_bytes;       /* of a body */
    unsigned idle_max;             /* connections kept without a call */
};

struct http_field { /* a request header */
    const char *name, *value;
};

struct http_call_options {
    const char *method;              /* "GET", "POST" */
    const char *path;                /* "/api/tasks", after the url's prefix */
    const struct http_field *fields; /* besides Host, Connection and Content-Length */
    size_t n_fields;
    const void *body; /* copied */
    size_t len;
    int timeout_ms; /* of the whole call; 0: none */
    bool once;
};

struct http_answer {
    enum rc rc; /* RC_OK: an answer came, whatever its status. RC_IO, RC_TOO_LARGE, RC_NO_MEMORY */
    const char
        *text; /* rc != RC_OK: why, for people ("connection refused", "no answer within 5000 ms") */
    bool sent; /* a byte of the request may have reached the server */
    int status;
    const char *body; /* NUL-terminated; never NULL */
    size_t len;
    const struct http_reader *reader; /* for http_answer_header */
};

/* Called exactly once, from the loop, never from inside http_call_start. The answer is valid for
 * the call. The callback may start and cancel calls and destroy the client. */
typedef void http_done(const struct http_answer *answer, void *arg);

/* RC_INVALID_PARAMETER for a url of another form; RC_CONFIG and RC_IO as tls_open() says them.
 * Connects to nothing yet. */
enum rc http_client_create(struct event_base *base, const struct http_client_options *options,
                           struct http_client **ret, struct error *err) LH_MUST_USE;

/* Reads the files of `tls` again: connections that begin from now on have them, and those that are
 * in use by a call end with it. What is wrong changes nothing: RC_CONFIG, as tls_open() says it. A
 * client without https has no files. */
enum rc http_client_reload_tls(struct http_client *client, const struct tls_options *tls,
                               struct error *err) LH_MUST_USE;

/* Ends all calls without calling `done`. The loop still has to run for what it leaves there, as
 * loop_free() lets it. NULL is fine. */
void http_client_destroy(struct http_client *client);

/* Sends a request. NULL when there is no memory; `done` is not called then. */
struct http_call *http_call_start(struct http_client *client,
                                  const struct http_call_options *options, http_done *done,
                                  void *arg) LH_MUST_USE;

/* Ends the call and closes its connection; `done` is not called. NULL is fine. */
void http_call_cancel(struct http_call *call);

/* The first header of that name in the answer, or NULL. */
const char *http_answer_header(const struct http_answer *answer, const char *name);

#endif
