/* health.c: GET /healthz (the process is up) and GET /readyz (it can do its work). */
#include "api/handlers/handlers.h"

#include <string.h>

static void reply_ok(struct http_req *req) {
    static const char ok[] = "{\"result\":\"ok\"}";
    http_reply(req, &(struct http_reply){.status = 200, .body = ok, .len = sizeof ok - 1});
}

void handle_healthz(struct api *api, struct http_req *req) {
    (void)api;
    reply_ok(req);
}

struct ready {
    struct api *api;
    struct http_req *req;
};

static void on_ping(struct query *query, void *arg) {
    struct ready ready = *(struct ready *)arg;
    free(arg);
    struct error err = {.text = ""};
    enum rc rc = query->rc;
    if (rc != RC_OK)
        error_set(&err, rc, "%s", query->text);
    else if (ready.api->publisher)
        rc = publisher_ping(ready.api->publisher, &err);
    if (rc == RC_OK)
        reply_ok(ready.req);
    else
        http_reply_error(ready.req, rc, err.text[0] ? err.text : NULL);
}

void handle_readyz(struct api *api, struct http_req *req) {
    if (api->draining) {
        http_reply_error(req, RC_DRAINING, NULL);
        return;
    }
    struct query *query = query_create(QUERY_PING);
    struct ready *ready = malloc(sizeof *ready);
    if (!query || !ready) {
        query_destroy(query);
        free(ready);
        http_reply_error(req, RC_NO_MEMORY, NULL);
        return;
    }
    *ready = (struct ready){api, req};
    enum rc rc = executor_query(api->executor, query, on_ping, ready);
    if (rc != RC_OK) {
        free(ready);
        http_reply_error(req, rc, NULL);
    }
}
