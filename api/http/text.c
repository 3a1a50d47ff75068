/* text.c: status lines, headers and error bodies. */
#include "api/http/text.h"

#include "base/clock.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const struct phrase {
    int status;
    const char *text;
} phrases[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

static const char *phrase_of(int status) {
    for (size_t i = 0; i < LH_COUNT(phrases); i++)
        if (phrases[i].status == status)
            return phrases[i].text;
    return ""; /* RFC 9112 4: the phrase may be empty */
}

static const char *date_now(struct http_date *date) {
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int64_t now_s = clock_now_ms() / 1000;
    if (date->at_s == now_s && date->text[0])
        return date->text;
    struct tm tm;
    time_t t = (time_t)now_s;
    gmtime_r(&t, &tm);
    snprintf(date->text, sizeof date->text, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
             days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon, tm.tm_year + 1900,
             tm.tm_hour, tm.tm_min, tm.tm_sec);
    date->at_s = now_s;
    return date->text;
}

static void put_header(struct buf *to, const char *name, const char *value) {
    buf_str(to, name);
    buf_str(to, ": ");
    size_t at = to->len;
    buf_str(to, value);
    for (; at < to->len; at++)
        if ((unsigned char)to->data[at] < 0x20 || to->data[at] == 0x7f)
            to->data[at] = ' ';
    buf_str(to, "\r\n");
}

static void put_length(struct buf *to, const struct http_head *head) {
    if (!head->stream) {
        buf_str(to, "Content-Length: ");
        buf_int(to, (int64_t)head->reply->len);
        buf_str(to, "\r\n");
    } else if (!head->old_client) {
        buf_str(to, "Transfer-Encoding: chunked\r\n");
    }
}

bool http_status_has_body(int status) {
    return status != 204 && status != 304;
}

void http_text_head(struct buf *to, const struct http_head *head, struct http_date *date) {
    const struct http_reply *reply = head->reply;
    buf_str(to, "HTTP/1.1 ");
    buf_int(to, reply->status);
    buf_char(to, ' ');
    buf_str(to, phrase_of(reply->status));
    buf_str(to, "\r\n");
    put_header(to, "Date", date_now(date));
    put_header(to, "X-Request-Id", head->request_id);
    if (http_status_has_body(reply->status)) {
        put_header(to, "Content-Type",
                   reply->content_type ? reply->content_type : "application/json");
        put_length(to, head);
    }
    for (size_t i = 0; i < reply->n_headers; i++)
        put_header(to, reply->headers[i].name, reply->headers[i].value);
    if (!head->keep_alive)
        buf_str(to, "Connection: close\r\n");
    else if (head->old_client)
        buf_str(to, "Connection: keep-alive\r\n");
    buf_str(to, "\r\n");
}

void http_text_error(struct buf *to, enum rc rc, const char *text) {
    const struct rc_info *info = rc_info(rc);
    buf_str(to, "{\"result\":\"exception\",\"message\":");
    buf_json_str(to, text ? text : info->text);
    buf_str(to, ",\"code\":");
    buf_json_str(to, info->word);
    buf_str(to, "}");
}

const char *http_text_peer(const struct sockaddr *peer, char room[HTTP_PEER_CAP]) {
    char host[INET6_ADDRSTRLEN] = "";
    if (peer && peer->sa_family == AF_INET) {
        const struct sockaddr_in *at = (const void *)peer;
        inet_ntop(AF_INET, &at->sin_addr, host, sizeof host);
        snprintf(room, HTTP_PEER_CAP, "%s:%u", host, ntohs(at->sin_port));
    } else if (peer && peer->sa_family == AF_INET6) {
        const struct sockaddr_in6 *at = (const void *)peer;
        inet_ntop(AF_INET6, &at->sin6_addr, host, sizeof host);
        snprintf(room, HTTP_PEER_CAP, "[%s]:%u", host, ntohs(at->sin6_port));
    } else {
        mem_copy_str(room, HTTP_PEER_CAP, "unix");
    }
    return room;
}
