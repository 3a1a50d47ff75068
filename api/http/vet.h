/* vet.h: reads the head of an HTTP/1.x request and refuses what RFC 9112 lets a server refuse.
 *
 * Pure: no I/O, no allocation, any thread. The caller keeps the bytes of one message from its first
 * byte on and calls http_vet_head() again with more of them while the answer is HTTP_VET_MORE; no
 * byte is looked at twice. Spans are offsets into those bytes, so that they may move between calls.
 *
 * Where the RFCs leave a choice the strict side is taken: lines end in CRLF, header lines do not
 * continue on the next one, a Content-Length is one number, chunked bodies are refused with 411.
 */
#ifndef LH_API_HTTP_VET_H
#define LH_API_HTTP_VET_H

#include "base/rc.h"

#include <stdint.h>

struct http_limits {
    size_t header_max_bytes; /* from the first byte through the empty line */
    size_t body_max_bytes;
    unsigned headers_max; /* lines */
};

struct http_span {
    size_t at, len;
};

enum http_vet_state { HTTP_VET_MORE, HTTP_VET_OK, HTTP_VET_REFUSED };

/* The reading of one head; all zero at its beginning. */
struct http_vet {
    /* valid after HTTP_VET_OK */
    struct http_span method, path; /* an empty path stands for "/" */
    struct http_span query;        /* what stands behind the path's "?" */
    struct http_span headers;      /* the header lines, each with its CRLF */
    size_t head_len;               /* through the empty line; the body begins here */
    size_t content_length;
    bool keep_alive;      /* the connection persists as far as the client is concerned */
    bool expect_continue; /* the client waits for "100 Continue" */
    /* valid after HTTP_VET_REFUSED */
    enum rc rc;
    const char *text; /* what is wrong; names no byte of the request */
    /* valid as soon as the request line has been read */
    bool is_head, is_post;
    unsigned minor; /* HTTP/1.0 or 1.1 */
    /* the scan */
    size_t scanned, line_at;
    unsigned lines;
    unsigned seen; /* bits of the known headers */
    bool has_line, has_length, wants_close, wants_keep;
    enum { HTTP_CODING_NONE, HTTP_CODING_CHUNKED, HTTP_CODING_OTHER, HTTP_CODING_FAULTY } coding;
};

/* Reads on; `bytes` are all `len` bytes of the message so far. Not to be called after OK or
 * REFUSED. */
enum http_vet_state http_vet_head(struct http_vet *vet, const char *bytes, size_t len,
                                  const struct http_limits *limits) LH_MUST_USE;

/* Takes the next header line of an accepted head: start with *rest = vet->headers; false at the
 * end. The value comes without the white space around it. */
bool http_vet_next(const char *bytes, struct http_span *rest, struct http_span *ret_name,
                   struct http_span *ret_value);

#endif
