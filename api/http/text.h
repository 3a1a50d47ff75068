/* text.h: the text of a reply's head, and the JSON body of an error. Pure but for the clock.
 */
#ifndef LH_API_HTTP_TEXT_H
#define LH_API_HTTP_TEXT_H

#include "api/http/http.h"
#include "base/buf.h"

/* A "Date" value that is formatted once per second. All zero at first. */
struct http_date {
    int64_t at_s;
    char text[96];
};

/* What a reply's head says besides the handler's own headers. */
struct http_head {
    const struct http_reply *reply;
    const char *request_id;
    bool keep_alive;
    bool old_client; /* HTTP/1.0: is told of a kept connection */
    bool stream;     /* the length is not known: chunks, or to an old client the end */
};

/* False for statuses that never carry a body (204, 304). */
bool http_status_has_body(int status);

/* Appends the status line, the headers and the empty line. Control characters in header values
 * become spaces. */
void http_text_head(struct buf *to, const struct http_head *head, struct http_date *date);

/* Appends {"result":"exception","message":…,"code":…}; text NULL: the default text of rc. */
void http_text_error(struct buf *to, enum rc rc, const char *text);

struct sockaddr;

/* A client's address as http_req_peer() tells it; NULL: of a unix socket. */
const char *http_text_peer(const struct sockaddr *peer, char room[HTTP_PEER_CAP]);

#endif
