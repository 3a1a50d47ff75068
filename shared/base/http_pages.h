/* http_pages.h: a few pages over HTTP/1.1, for whoever watches a process; no server for the world.
 *
 * A connection brings one request (GET or HEAD, its head at most 8 KiB) and is closed after the
 * answer. At most PAGES_CONNECTIONS are open, the next ones wait in the kernel; each has PAGES_MS
 * for its request and as much for its answer. Loop thread only.
 */
#ifndef LH_BASE_HTTP_PAGES_H
#define LH_BASE_HTTP_PAGES_H

#include "base/buf.h"

#include <event2/event.h>

enum { PAGES_CONNECTIONS = 16, PAGES_MS = 10000 };

struct http_pages;

struct http_page {
    int status;               /* 200 before the handler is called */
    const char *content_type; /* application/json likewise */
    const char *header;       /* one more, "Name: value"; NULL: none */
    struct buf body;          /* empty; finished by the caller */
};

/* Answers: `path` without its query; `authorization` is that header's value or NULL. */
typedef void http_pages_handler(const char *path, const char *authorization, struct http_page *page,
                                void *arg);

/* Listens on "127.0.0.1:9100", "[::1]:0" or "unix:PATH". RC_IO with the address and the cause. */
enum rc http_pages_create(struct event_base *base, const char *listen, http_pages_handler *handler,
                          void *arg, struct http_pages **ret, struct error *err) LH_MUST_USE;

/* "http://127.0.0.1:41234", with the port that was picked. Borrowed. */
const char *http_pages_address(const struct http_pages *pages);

/* Ends all connections. NULL is fine. */
void http_pages_destroy(struct http_pages *pages);

#endif
