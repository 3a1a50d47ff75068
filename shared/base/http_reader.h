/* http_reader.h: reads one HTTP/1.x answer as its bytes come in (RFC 9112, the client's side).
 *
 * Feed it the input of a connection until `done`. It takes from the buffer exactly what belongs to
 * the answer. Interim answers (1xx) are read and forgotten. A body is counted by Content-Length,
 * chunked, or runs to the connection's end. No threads, no I/O.
 */
#ifndef LH_BASE_HTTP_READER_H
#define LH_BASE_HTTP_READER_H

#include "base/buf.h"

#include <event2/buffer.h>

enum { HTTP_HEAD_MAX_BYTES = 65536 }; /* status line, headers and trailers together */

enum http_reader_state {
    READ_STATUS,
    READ_HEADERS,
    READ_COUNTED,
    READ_TO_END,
    READ_CHUNK_SIZE,
    READ_CHUNK,
    READ_CHUNK_END,
    READ_TRAILERS,
    READ_DONE
};

struct http_reader {
    enum http_reader_state state;
    int status;
    bool started; /* a byte of an answer has come */
    bool keep;    /* the server keeps the connection after this answer */
    bool chunked;
    bool counted;      /* Content-Length was given */
    int64_t remaining; /* of the body or the chunk */
    size_t head_bytes;
    struct buf headers; /* "name\0value\0" … */
    struct buf body;
};

void http_reader_init(struct http_reader *reader, size_t body_max_bytes);
void http_reader_finish(struct http_reader *reader);

/* Takes what it can from `in`. RC_OK: look at reader->state. RC_IO with what is wrong with the
 * answer, RC_TOO_LARGE for a body over the maximum, RC_NO_MEMORY: the connection is of no further
 * use. */
enum rc http_reader_feed(struct http_reader *reader, struct evbuffer *in,
                         struct error *err) LH_MUST_USE;

/* The connection has ended. RC_OK where that completes the answer, else RC_IO. */
enum rc http_reader_end(struct http_reader *reader, struct error *err) LH_MUST_USE;

/* The value of the first header of that name (any case), or NULL. Borrowed. */
const char *http_reader_header(const struct http_reader *reader, const char *name);

#endif
