/* meter.c: what this process and its tasks do, counted as it happens. */
#include "api/meter.h"

#include "base/clock.h"
#include "base/mem.h"

#include <string.h>

struct meter {
    struct api *api;
    struct history *history;
    struct event *step_end;
    bool asking;
    int64_t asked_at; /* the end of the step whose standing is asked for */
};

/* ---- how the tasks stand when a step ends ---- */

static const struct store_count *count_of(const struct query *query, const char *service) {
    for (size_t i = 0; i < query->n_counts; i++)
        if (strcmp(query->counts[i].service, service) == 0)
            return &query->counts[i];
    return NULL;
}

static void on_counted(struct query *query, void *arg) {
    struct meter *meter = arg;
    meter->asking = false;
    if (query->rc != RC_OK)
        return;
    const struct config *cfg = meter->api->cfg;
    for (size_t i = 0; i < cfg->n_services; i++)
        history_stand(meter->history, i, count_of(query, cfg->services[i].name), meter->asked_at);
}

static void ask(struct meter *meter, int64_t step_end) {
    struct query *query = meter->asking ? NULL : query_create(QUERY_COUNTS);
    if (!query)
        return;
    query->want_oldest = true;
    meter->asked_at = step_end;
    meter->asking = executor_query(meter->api->executor, query, on_counted, meter) == RC_OK;
}

static bool await_step_end(struct meter *meter) {
    int64_t left = HISTORY_STEP_MS - clock_now_ms() % HISTORY_STEP_MS;
    struct timeval wait = {left / 1000, left % 1000 * 1000};
    return event_add(meter->step_end, &wait) == 0;
}

/* A timer may come a moment early: then the step has not ended yet. */
static void on_step_end(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct meter *meter = arg;
    int64_t now = clock_now_ms(), step_end = now - now % HISTORY_STEP_MS;
    history_roll(meter->history, now);
    if (step_end != meter->asked_at && !meter->api->draining)
        ask(meter, step_end);
    (void)await_step_end(meter);
}

/* ---- what ops do ---- */

void meter_notice(struct meter *meter, const struct op *op) {
    const struct config *cfg = meter->api->cfg;
    for (size_t i = 0; i < op->n_tasks; i++) {
        const struct config_service *service = config_service(cfg, op->tasks[i].service);
        if (!service)
            continue;
        const struct op_news news = op_news(op, i);
        history_count(meter->history, (size_t)(service - cfg->services), &news, op->now_ms);
    }
}

const struct history *meter_history(struct meter *meter) {
    history_roll(meter->history, clock_now_ms());
    return meter->history;
}

/* ---- birth and death ---- */

enum rc meter_create(struct api *api, struct meter **ret, struct error *err) {
    struct meter *meter = calloc(1, sizeof *meter);
    if (!meter)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    meter->api = api;
    meter->history = history_create(api->cfg->n_services, clock_now_ms());
    meter->step_end = event_new(api->base, -1, 0, on_step_end, meter);
    if (!meter->history || !meter->step_end || !await_step_end(meter)) {
        meter_destroy(meter);
        return error_set(err, RC_NO_MEMORY, "out of memory");
    }
    *ret = meter;
    return RC_OK;
}

void meter_destroy(struct meter *meter) {
    if (!meter)
        return;
    if (meter->step_end)
        event_free(meter->step_end);
    history_destroy(meter->history);
    free(meter);
}
