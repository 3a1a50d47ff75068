/* routes.c: from a request to its handler, by one table. */
#include "api/routes.h"

#include "api/call/audit.h"
#include "api/call/request_trace.h"
#include "api/call/tokens.h"
#include "api/dashboard/dashboard.h"
#include "api/handlers/handlers.h"
#include "api/openapi/openapi_text.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* A route of the API takes a body and a token; an open route takes neither. */
struct route {
    const char *path;
    void (*call)(struct call *call);
    unsigned scope;   /* that the token must have, one of enum token_scope; 0: none */
    bool takes_array; /* "data" may be an array */
    void (*open)(struct api *api, struct http_req *req);
    const char *operation; /* its description, of api/openapi/<word>.json */
    const char *get;       /* that of a call's GET, whose query has the parameters; NULL: none */
    bool (*plain)(struct call *call); /* answers a body of the usual form before it is parsed, or
                                         says false; NULL: none */
};

#define CALL(word, scope, array)                                                                   \
    { "/api/" #word, handle_##word, scope, array, NULL, openapi_##word, NULL, NULL }
#define PLAIN_CALL(word, scope, array)                                                             \
    { "/api/" #word, handle_##word, scope, array, NULL, openapi_##word, NULL, plain_##word }
#define GET_OR_CALL(word, scope)                                                                   \
    { "/api/" #word, handle_##word, scope, false, NULL, openapi_##word, openapi_get_##word, NULL }
#define OPEN(path, scope, word)                                                                    \
    { path, NULL, scope, false, handle_##word, openapi_##word, NULL, NULL }

static const struct route routes[] = {
    CALL(create_task, SCOPE_CREATE, true),
    PLAIN_CALL(status_task, SCOPE_READ, true),
    CALL(update_status_task, SCOPE_RUN, true),
    CALL(result_task, SCOPE_READ, false),
    CALL(tasks, SCOPE_READ, false),
    CALL(delete_task, SCOPE_ADMIN, false),
    CALL(timeline_task, SCOPE_READ, false),
    CALL(start_task, SCOPE_CREATE, false),
    CALL(cancel_task, SCOPE_CREATE, false),
    CALL(update_task, SCOPE_CREATE, false),
    CALL(service_task, SCOPE_READ, false),
    CALL(history_task, SCOPE_READ, false),
    CALL(pause_service_task, SCOPE_ADMIN, false),
    CALL(resume_service_task, SCOPE_ADMIN, false),
    CALL(limit_service_task, SCOPE_ADMIN, false),
    CALL(claim_task, SCOPE_RUN, false),
    CALL(heartbeat_task, SCOPE_RUN, true),
    CALL(log_task, SCOPE_RUN, true),
    CALL(logs_task, SCOPE_READ, false),
    CALL(worker_task, SCOPE_READ, false),
    GET_OR_CALL(watch, SCOPE_READ),
    OPEN("/healthz", 0, healthz),
    OPEN("/readyz", 0, readyz),
    OPEN("/openapi.json", 0, openapi),
    OPEN("/metrics", SCOPE_READ, metrics),
};

static const struct route dashboard = {.open = handle_dashboard};

enum { ROUTE_DASHBOARD = LH_COUNT(routes), ROUTE_UNKNOWN, ROUTE_REFUSED, ROUTES };

const char *const *routes_names(size_t *ret_n) {
    static const char *names[ROUTES] = {
        [ROUTE_DASHBOARD] = "dashboard", [ROUTE_UNKNOWN] = "unknown", [ROUTE_REFUSED] = "refused"};
    for (size_t i = 0; i < LH_COUNT(routes); i++)
        names[i] = routes[i].path;
    *ret_n = ROUTES;
    return names;
}

static int number_of(const struct route *route) {
    return !route ? ROUTE_UNKNOWN : route == &dashboard ? ROUTE_DASHBOARD : (int)(route - routes);
}

static const char api_prefix[] = "/api/";

static bool under_api(const char *path) {
    return strncmp(path, api_prefix, sizeof api_prefix - 1) == 0;
}

static bool needs_token(const struct api *api, const char *path, const struct route *route) {
    bool of_metrics = route && route->open == handle_metrics;
    return under_api(path) || (of_metrics && !api->cfg->metrics_public);
}

static const struct route *find_route(const char *path) {
    for (size_t i = 0; i < LH_COUNT(routes); i++)
        if (strcmp(routes[i].path, path) == 0)
            return &routes[i];
    return dashboard_find(path) ? &dashboard : NULL;
}

/* A method that HTTP knows and a route does not take is 405; one that nobody knows is 501. */
static bool method_is_known(const char *name) {
    static const char *const names[] = {"GET",    "HEAD",    "POST",    "PUT",   "PATCH",
                                        "DELETE", "OPTIONS", "CONNECT", "TRACE", "QUERY"};
    for (size_t i = 0; i < LH_COUNT(names); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static bool method_fits(const struct route *route, enum http_method method) {
    if (route->call)
        return method == HTTP_POST || (method == HTTP_GET && route->get);
    return method == HTTP_GET || method == HTTP_HEAD;
}

/* Answers `rc`. An authorised request under /api/ is answered 200 where old clients want that. */
static void refuse(const struct api *api, struct http_req *req, enum rc rc, const char *text,
                   const struct http_header *header) {
    bool authorised = under_api(http_req_path(req)) && rc != RC_UNAUTHORIZED;
    LH_CLEANUP_BUF struct buf buf;
    call_buf_init(&buf);
    buf_str(&buf, "{\"result\":\"exception\",");
    call_put_error(&buf, rc, text);
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
    const char *methods = !route->call ? "GET, HEAD" : route->get ? "GET, POST" : "POST";
    struct http_header allow = {"Allow", methods};
    refuse(api, req, RC_METHOD_NOT_ALLOWED, NULL, &allow);
}

static void refuse_rate(const struct api *api, struct http_req *req, const struct token *token,
                        int64_t wait_ms) {
    char text[160], seconds[24];
    snprintf(text, sizeof text, "the token %s may ask %.10g times per second", token->name,
             token->bucket.rate);
    snprintf(seconds, sizeof seconds, "%lld", (long long)(wait_ms + 999) / 1000);
    refuse(api, req, RC_RATE_LIMITED, text, &(struct http_header){"Retry-After", seconds});
}

static void refuse_scope(const struct api *api, struct http_req *req, const struct token *token,
                         const struct route *route) {
    char text[160];
    size_t len;
    const char *scope = token_scope_name(route->scope, &len);
    snprintf(text, sizeof text, "the token %s lacks the scope %.*s", token->name, (int)len, scope);
    audit_forbidden(api, req, token, text);
    refuse(api, req, RC_FORBIDDEN, text, NULL);
}

static void run_call(struct api *api, const struct route *route, struct http_req *req,
                     struct token *token) {
    struct call *call = call_create(api, req, token);
    if (!call || (route->plain && !api->draining && route->plain(call)) || !call_parse(call))
        return;
    if (api->draining)
        call_reply_rc(call, RC_DRAINING, NULL);
    else if (json_is_array(call->data) && !route->takes_array)
        call_reply_rc(call, RC_INVALID_PARAMETER, "data must be an object");
    else
        route->call(call);
}

/* The route tells of all services at once. */
static void refuse_part(const struct api *api, struct http_req *req, const struct token *token) {
    char text[160];
    snprintf(text, sizeof text, "the token %s is not for all services", token->name);
    audit_forbidden(api, req, token, text);
    refuse(api, req, RC_FORBIDDEN, text, NULL);
}

/* A route that is there, by a method that it takes, for somebody who may ask. */
static void run(struct api *api, const struct route *route, struct http_req *req,
                struct token *token) {
    if (token && !(route->scope & token->scopes))
        refuse_scope(api, req, token, route);
    else if (route->call)
        run_call(api, route, req, token);
    else if (token && token->access.n_services > 0)
        refuse_part(api, req, token);
    else
        route->open(api, req);
}

/* A header counts for more than a certificate. */
static enum rc find_token(const struct api *api, const struct http_req *req, struct token **ret,
                          struct error *err) {
    const char *header = http_req_header(req, "Authorization");
    if (header)
        return tokens_find(api->tokens, header, ret, err);
    return tokens_of_certificate(api->tokens, http_req_client_names(req), ret, err);
}

void routes_handle(struct http_req *req, void *arg) {
    struct api *api = arg;
    const char *path = http_req_path(req);
    const struct route *route = find_route(path);
    struct token *token = NULL;
    struct error err = {.text = ""};
    int64_t wait_ms = 0;
    http_req_set_route(req, number_of(route));
    log_debug(.msg = "request", .request_id = http_req_id(req), .method = http_req_method_name(req),
              .traceparent = request_traceparent(req, (char[TRACEPARENT_CAP]){""}), .path = path);
    if (needs_token(api, path, route) && find_token(api, req, &token, &err) != RC_OK)
        refuse(api, req, err.rc, err.text, &(struct http_header){"WWW-Authenticate", "Bearer"});
    else if (token && !token_bucket_take(&token->bucket, clock_mono_ms(), &wait_ms))
        refuse_rate(api, req, token, wait_ms);
    else if (!method_is_known(http_req_method_name(req)))
        refuse(api, req, RC_NOT_IMPLEMENTED, NULL, NULL);
    else if (!route)
        refuse(api, req, RC_NOT_FOUND, NULL, NULL);
    else if (!method_fits(route, http_req_method(req)))
        refuse_method(api, req, route);
    else
        run(api, route, req, token);
}

static void put_operation(struct buf *to, const char *method, const char *operation) {
    buf_json_str(to, method);
    buf_char(to, ':');
    buf_str(to, operation);
}

void routes_put_paths(struct buf *to) {
    for (size_t i = 0; i < LH_COUNT(routes); i++) {
        const struct route *route = &routes[i];
        buf_str(to, i ? "," : "");
        buf_json_str(to, route->path);
        buf_str(to, ":{");
        put_operation(to, route->call ? "post" : "get", route->operation);
        if (route->get) {
            buf_char(to, ',');
            put_operation(to, "get", route->get);
        }
        buf_char(to, '}');
    }
}
