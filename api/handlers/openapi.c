/* openapi.c: GET /openapi.json: the API as OpenAPI 3.1, from the router's own table. It holds no
 * data.
 */
#include "api/handlers/handlers.h"

#include "api/openapi/openapi_text.h"
#include "api/routes.h"

void handle_openapi(struct api *api, struct http_req *req) {
    (void)api;
    LH_CLEANUP_BUF struct buf buf;
    call_buf_init(&buf);
    buf_str(&buf, openapi_head);
    buf_str(&buf, ",\"paths\":{");
    routes_put_paths(&buf);
    buf_str(&buf, "}}");
    if (buf_rc(&buf) == RC_OK)
        http_reply(req, &(struct http_reply){.status = 200, .body = buf.data, .len = buf.len});
    else
        http_reply_error(req, RC_OVERLOADED, NULL);
}
