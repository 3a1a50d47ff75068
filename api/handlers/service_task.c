/* service_task.c: POST /api/service_task: the configured services in their order, by name or in
 * detail. */
#include "api/call/params.h"
#include "api/call/tokens.h"
#include "api/handlers/handlers.h"
#include "api/handlers/service_state.h"
#include "api/handlers/worker_task.h"
#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

/* The first at or after `from` that the token is for, or NULL. */
static const struct config_service *find_service(const struct call *call, size_t from) {
    const struct config *cfg = call->api->cfg;
    for (size_t i = from; i < cfg->n_services; i++)
        if (call_allows(call, cfg->services[i].name))
            return &cfg->services[i];
    return NULL;
}

/* Begins the answer; the first service that it tells of. */
static const struct config_service *begin_services(struct buf *buf, const struct call *call) {
    const struct config *cfg = call->api->cfg;
    size_t n = 0;
    for (size_t i = 0; i < cfg->n_services; i++)
        n += call_allows(call, cfg->services[i].name);
    call_buf_init(buf);
    buf_printf(buf, "{\"result\":\"ok\",\"count\":%zu,\"data\":[", n);
    return find_service(call, 0);
}

static const struct config_service *next_service(struct buf *buf, const struct call *call,
                                                 const struct config_service *service) {
    size_t at = (size_t)(service - call->api->cfg->services);
    const struct config_service *next = find_service(call, at + 1);
    buf_str(buf, next ? "," : "");
    return next;
}

static void reply_names(struct call *call) {
    struct buf buf;
    const struct config_service *service = begin_services(&buf, call);
    for (; service; service = next_service(&buf, call, service))
        buf_json_str(&buf, service->name);
    buf_str(&buf, "]}");
    call_reply(call, &buf);
}

/* The tasks of all services as they were counted, while the workers are asked for. */
struct detail {
    struct store_count *counts;
    size_t n;
    int64_t now_ms;
    size_t *workers; /* of each service */
};

static void detail_free(void *state) {
    struct detail *detail = state;
    if (detail) {
        free(detail->counts);
        free(detail->workers);
    }
    free(detail);
}

static const struct store_count *count_of(const struct detail *detail, const char *service) {
    static const struct store_count none;
    const struct store_count *found = store_count_find(detail->counts, detail->n, service);
    return found ? found : &none;
}

static void put_counts(struct buf *buf, const struct store_count *count, int64_t now_ms) {
    buf_str(buf, ",\"counts\":{");
    for (int i = 0; i < TASK_STATUSES; i++)
        buf_printf(buf, "%s\"%s\":%" PRId64, i ? "," : "", task_status_name((enum task_status)i),
                   count->by_status[i]);
    buf_str(buf, "},\"oldest_waiting_s\":");
    int64_t age = count->oldest_due_at ? now_ms - count->oldest_due_at : -1;
    if (age < 0)
        buf_str(buf, count->oldest_due_at ? "0.000" : "null");
    else
        buf_printf(buf, "%" PRId64 ".%03" PRId64, age / 1000, age % 1000);
}

static void put_service(struct buf *buf, const struct call *call,
                        const struct config_service *service) {
    const struct detail *detail = call->state;
    buf_str(buf, "{\"service\":");
    buf_json_str(buf, service->name);
    buf_str(buf, ",\"topic\":");
    buf_json_str(buf, api_has_broker(call->api) ? service->topic : NULL);
    buf_char(buf, ',');
    service_state_put(buf, call->api, service->name);
    put_counts(buf, count_of(detail, service->name), detail->now_ms);
    buf_printf(buf, ",\"workers\":%zu}", detail->workers[service - call->api->cfg->services]);
}

static void put_scopes(struct buf *buf, const struct token *token) {
    static const enum token_scope scopes[] = {SCOPE_CREATE, SCOPE_READ, SCOPE_RUN, SCOPE_ADMIN};
    const char *before = "";
    buf_str(buf, ",\"scopes\":[");
    for (size_t i = 0; i < LH_COUNT(scopes); i++) {
        size_t len;
        const char *name = token_scope_name(scopes[i], &len);
        if (!(token->scopes & scopes[i]))
            continue;
        buf_printf(buf, "%s\"%.*s\"", before, (int)len, name);
        before = ",";
    }
    buf_char(buf, ']');
}

static void on_workers(struct call *call, struct query *query) {
    if (query->rc != RC_OK) {
        call_reply_query(call, query);
        return;
    }
    const struct config *cfg = call->api->cfg;
    struct detail *detail = call->state;
    detail->workers = calloc(cfg->n_services, sizeof *detail->workers);
    if (!detail->workers) {
        call_reply_rc(call, RC_NO_MEMORY, NULL);
        return;
    }
    worker_count_all(query, cfg, detail->workers);
    struct buf buf;
    const struct config_service *service = begin_services(&buf, call);
    for (; service; service = next_service(&buf, call, service))
        put_service(&buf, call, service);
    buf_char(&buf, ']');
    put_scopes(&buf, call->token);
    buf_char(&buf, '}');
    call_reply(call, &buf);
}

static void on_counts(struct call *call, struct query *query) {
    if (query->rc != RC_OK) {
        call_reply_query(call, query);
        return;
    }
    struct detail *detail = calloc(1, sizeof *detail);
    struct query *workers = worker_query();
    call_keep(call, detail, detail_free);
    if (!detail || !workers) {
        query_destroy(workers);
        call_reply_rc(call, RC_NO_MEMORY, NULL);
        return;
    }
    *detail = (struct detail){TAKE(query->counts), query->n_counts, clock_now_ms(), NULL};
    call_query(call, workers, on_workers);
}

void handle_service_task(struct call *call) {
    bool in_detail = false;
    struct error err = {.text = ""};
    static const char *const names[] = {"detail"};
    enum rc rc = call_refuse_outside(call, names, LH_COUNT(names), &err);
    if (rc == RC_OK)
        rc = param_bool(call->data, "detail", &in_detail, &err);
    struct query *query = rc == RC_OK && in_detail ? query_create(QUERY_COUNTS) : NULL;
    if (rc != RC_OK || (in_detail && !query)) {
        call_reply_rc(call, rc != RC_OK ? rc : RC_NO_MEMORY, err.text);
        return;
    }
    if (!query) {
        reply_names(call);
        return;
    }
    query->want_oldest = true;
    call_query(call, query, on_counts);
}
