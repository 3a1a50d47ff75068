/* health.c: GET /healthz (the process is up) and GET /readyz (it can do its work). */
#include "api/handlers/handlers.h"

#include "base/clock.h"

#include <stdlib.h>

/* How far the API's clock and the store's may be apart. */
enum { CLOCK_APART_MS = 2000 };

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
    int64_t asked_ms; /* the API's clock */
};

/* The store read its clock at some time between the question and now. */
static int64_t clock_apart(int64_t store_ms, int64_t asked_ms, int64_t now_ms) {
    if (store_ms > now_ms)
        return store_ms - now_ms;
    return store_ms < asked_ms ? asked_ms - store_ms : 0;
}

static enum rc check_store(const struct query *query, int64_t asked_ms, struct error *err) {
    if (query->rc != RC_OK)
        return error_set(err, query->rc, "%s", query->text);
    if (query->store_clock_ms == 0)
        return RC_OK;
    int64_t apart = clock_apart(query->store_clock_ms, asked_ms, clock_now_ms());
    if (apart <= CLOCK_APART_MS)
        return RC_OK;
    return error_set(err, RC_STORE_UNAVAILABLE,
                     "the clocks of the API and of the store are %lld ms apart", (long long)apart);
}

static void on_ping(struct query *query, void *arg) {
    struct ready ready = *(struct ready *)arg;
    free(arg);
    struct error err = {.text = ""};
    enum rc rc = ready.api->draining ? RC_DRAINING : check_store(query, ready.asked_ms, &err);
    if (rc == RC_OK && ready.api->publisher)
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
        http_reply_error(req, RC_OVERLOADED, NULL);
        return;
    }
    *ready = (struct ready){api, req, clock_now_ms()};
    enum rc rc = executor_query(api->executor, query, on_ping, ready);
    if (rc != RC_OK) {
        free(ready);
        http_reply_error(req, rc, NULL);
    }
}
