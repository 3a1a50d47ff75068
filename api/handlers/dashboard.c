/* dashboard.c: GET / and the static files of the page, embedded at build. They hold no data. */
#include "api/handlers/handlers.h"

#include "api/dashboard/dashboard.h"

#include <stddef.h>

/* The router has found the file. */
void handle_dashboard(struct api *api, struct http_req *req) {
    (void)api;
    static const struct http_header headers[] = {
        {"Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; "
                                    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; "
                                    "form-action 'none'; frame-ancestors 'none'"},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {"Cache-Control", "no-cache"},
    };
    const struct dashboard_file *file = dashboard_find(http_req_path(req));
    struct http_reply reply = {
        .status = 200,
        .content_type = file->content_type,
        .headers = headers,
        .n_headers = sizeof headers / sizeof *headers,
        .body = file->bytes,
        .len = file->len,
    };
    http_reply(req, &reply);
}
