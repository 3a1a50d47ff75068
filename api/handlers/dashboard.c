/* dashboard.c: GET / and the static files of the page, embedded at build. They hold no data. */
#include "api/handlers/handlers.h"

#include "api/dashboard/dashboard.h"
#include "base/mem.h"

#include <stddef.h>

/* The router has found the file. */
void handle_dashboard(struct api *api, struct http_req *req) {
    (void)api;
    const struct dashboard_file *file = dashboard_find(http_req_path(req));
    bool known = dashboard_known(file, http_req_header(req, "If-None-Match"));
    bool gzip = !known && dashboard_gzip_ok(http_req_header(req, "Accept-Encoding"));
    const struct http_header headers[] = {
        {"Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; "
                                    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; "
                                    "form-action 'none'; frame-ancestors 'none'"},
        {"X-Content-Type-Options", "nosniff"},
        {"X-Frame-Options", "DENY"},
        {"Referrer-Policy", "no-referrer"},
        {"Cache-Control", "no-cache"},
        {"ETag", file->etag},
        {"Vary", "Accept-Encoding"},
        {"Content-Encoding", "gzip"}, /* the last one: not of a file that is sent as it is */
    };
    struct http_reply reply = {
        .status = known ? 304 : 200,
        .content_type = file->content_type,
        .headers = headers,
        .n_headers = LH_COUNT(headers) - (gzip ? 0 : 1),
        .body = known  ? NULL
                : gzip ? file->gzip
                       : file->bytes,
        .len = known  ? 0
               : gzip ? file->gzip_len
                      : file->len,
    };
    http_reply(req, &reply);
}
