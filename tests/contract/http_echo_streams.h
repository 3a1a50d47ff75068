/* http_echo_streams.h: the streamed replies of http_echo, by what stands after /stream/ in the
 * path.
 *
 * N/SIZE   N pieces of SIZE bytes ('a', 'b' … 'z', 'a' …), at most 64 KiB queued; then the end
 * now/TEXT TEXT and the end, from within the handler
 * open     "open" and no end of its own
 * flood    without end
 */
#ifndef LH_TESTS_HTTP_ECHO_STREAMS_H
#define LH_TESTS_HTTP_ECHO_STREAMS_H

#include "api/http/http.h"

void streams_begin(struct http_req *req, const char *what);

/* Streams whose connection went before their end. */
unsigned streams_gone(void);

void streams_end_all(void);

#endif
