/* routes.c: from a request to its handler, by one table. */
#include "api/routes.h"

#include "api/auth.h"
#include "api/dashboard/dashboard.h"
#include "api/handlers/handlers.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* A route of the API takes a body and a token; an open route takes neither. */
struct route {
    const char *path;
    void (*call)(struct call *call);
    bool takes_array; /* "data" may be an array */
    void (*open)(struct api *api, struct http_req *req);
};

static const struct route routes[] = {
    {"/api/create_task", handle_create_task, true, NULL},
    {"/api/status_task", handle_status_task, true, NULL},
    {"/api/update_status_task", handle_update_status_task, true, NULL},
    {"/api/result_task", handle_result_task, false, NULL},
    {"/api/tasks", handle_tasks, false, NULL},
    {"/api/delete_task", handle_delete_task, false, NULL},
    {"/api/timeline_task", handle_timeline_task, false, NULL},
    {"/api/start_task", handle_start_task, false, NULL},
    {"/api/cancel_task", handle_cancel_task, false, NULL},
    {"/api/update_task", handle_update_task, false, NULL},
    {"/api/service_task", handle_service_task, false, NULL},
    {"/api/history_task", handle_history_task, false, NULL},
    {"/api/pause_service_task", handle_pause_service_task, false, NULL},
    {"/api/resume_service_task", handle_resume_service_task, false, NULL},
    {"/api/limit_service_task", handle_limit_service_task, false, NULL},
    {"/api/claim_task", handle_claim_task, false, NULL},
    {"/api/heartbeat_task", handle_heartbeat_task, true, NULL},
    {"/api/log_task", handle_log_task, true, NULL},
    {"/api/logs_task", handle_logs_task, false, NULL},
    {"/api/worker_task", handle_worker_task, false, NULL},
    {"/healthz", NULL, false, handle_healthz},
    {"/readyz", NULL, false, handle_readyz},
};

static const struct route dashboard = {NULL, NULL, false, handle_dashboard};

static const char api_prefix[] = "/api/";

static bool under_api(const char *path) {
    return strncmp(path, api_prefix, sizeof api_prefix - 1) == 0;
}

static const struct route *find_route(const char *path) {
    for (size_t i = 0; i < LH_COUNT(routes); i++)
        if (strcmp(routes[i].path, path) == 0)
            return &routes[i];
    return dashboard_find(path) ? &dashboard : NULL;
}

/* A method that HTTP knows and a route does not take is 405; one that nobody knows is 501. */
static bool method_is_known(const char *name) {
    static const char *const names[] = {"GET",    "HEAD",    "POST",    "PUT",  "PATCH",
                                        "DELETE", "OPTIONS", "CONNECT", "TRACE"};
    for (size_t i = 0; i < LH_COUNT(names); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static bool method_fits(const struct route *route, enum http_method method) {
    if (route->call)
        return method == HTTP_POST;
    return method == HTTP_GET || method == HTTP_HEAD;
}

/* Answers `rc`. An authorised request under /api/ is answered 200 where old clients want that. */
static void refuse(const struct api *api, struct http_req *req, enum rc rc,
                   const struct http_header *header) {
    bool authorised = under_api(http_req_path(req)) && rc != RC_UNAUTHORIZED;
    LH_CLEANUP_BUF struct buf buf;
    call_buf_init(&buf);
    buf_str(&buf, "{\"result\":\"exception\",");
    call_put_error(&buf, rc, NULL);
    buf_char(&buf, '}');
    if (buf_rc(&buf) != RC_OK) {
        http_reply_error(req, RC_OVERLOADED, NULL);
        return;
    }
    struct http_reply reply = {
        .status = authorised && api->cfg->legacy_http_status ? 200 : rc_info(rc)->http,
        .headers = header,
        .n_headers = header ? 1 : 0,
        .body = buf.data,
        .len = buf.len,
    };
    http_reply(req, &reply);
}

static void refuse_method(const struct api *api, struct http_req *req, const struct route *route) {
    struct http_header allow = {"Allow", route->call ? "POST" : "GET, HEAD"};
    refuse(api, req, RC_METHOD_NOT_ALLOWED, &allow);
}

static void run_call(struct api *api, const struct route *route, struct http_req *req) {
    struct call *call = call_create(api, req);
    if (!call)
        return;
    if (api->draining)
        call_reply_rc(call, RC_DRAINING, NULL);
    else if (json_is_array(call->data) && !route->takes_array)
        call_reply_rc(call, RC_INVALID_PARAMETER, "data must be an object");
    else
        route->call(call);
}

void routes_handle(struct http_req *req, void *arg) {
    struct api *api = arg;
    const char *path = http_req_path(req);
    const struct route *route = find_route(path);
    log_debug(.msg = "request", .request_id = http_req_id(req), .method = http_req_method_name(req),
              .path = path);
    if (under_api(path) && !auth_token_ok(http_req_header(req, "Authorization"), api->token))
        refuse(api, req, RC_UNAUTHORIZED, &(struct http_header){"WWW-Authenticate", "Bearer"});
    else if (!method_is_known(http_req_method_name(req)))
        refuse(api, req, RC_NOT_IMPLEMENTED, NULL);
    else if (!route)
        refuse(api, req, RC_NOT_FOUND, NULL);
    else if (!method_fits(route, http_req_method(req)))
        refuse_method(api, req, route);
    else if (route->call)
        run_call(api, route, req);
    else
        route->open(api, req);
}
