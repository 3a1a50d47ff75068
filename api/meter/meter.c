/* meter.c: what this process and its tasks do, counted as it happens. */
#include "api/meter/meter.h"

#include "api/meter/metrics_table.h"
#include "api/routes.h"
#include "base/clock.h"
#include "base/mem.h"

#include <string.h>

struct meter {
    struct api *api;
    struct metrics *metrics;
    const char **services; /* their names */
    size_t n_routes;
    struct history *history;
    struct event *step_end;
    bool asking;
    int64_t asked_at; /* the end of the step whose standing is asked for */
};

/* ---- how the tasks stand when a step ends ---- */

static void on_counted(struct query *query, void *arg) {
    struct meter *meter = arg;
    meter->asking = false;
    if (query->rc != RC_OK)
        return;
    const struct config *cfg = meter->api->cfg;
    for (size_t i = 0; i < cfg->n_services; i++)
        history_stand(meter->history, i,
                      store_count_find(query->counts, query->n_counts, cfg->services[i].name),
                      meter->asked_at);
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

static void count_of_two(struct metrics *metrics, enum api_metric family, size_t service,
                         size_t second) {
    metrics_add(metrics, family, metrics_cell(metrics, family, (size_t[]){service, second}), 1);
}

static void observe_ms(struct metrics *metrics, enum api_metric family, size_t service,
                       int64_t ms) {
    if (ms >= 0)
        metrics_observe(metrics, family, service, ms * 1000);
}

static void count_news(struct metrics *metrics, size_t service, const struct op_news *news) {
    const struct {
        enum api_metric family;
        bool is;
    } simple[] = {
        {METRIC_CREATED, news->created},   {METRIC_CLAIMED, news->claimed},
        {METRIC_FINISHED, news->finished}, {METRIC_RETRIED, news->retried},
        {METRIC_REMOVED, news->removed},   {METRIC_FENCED, news->fenced},
    };
    for (size_t i = 0; i < LH_COUNT(simple); i++)
        if (simple[i].is)
            metrics_add(metrics, simple[i].family, service, 1);
    if (news->failed)
        count_of_two(metrics, METRIC_FAILED, service, metrics_cause(news->task->sub));
    if (news->ended != END_NONE)
        count_of_two(metrics, METRIC_RUNS_ENDED, service, metrics_end(news->ended));
    observe_ms(metrics, METRIC_WAIT_TIME, service, news->wait_ms);
    observe_ms(metrics, METRIC_RUN_TIME, service, news->run_ms);
    observe_ms(metrics, METRIC_KILL_TIME, service, news->kill_ms);
}

void meter_notice(struct meter *meter, const struct op *op) {
    const struct config *cfg = meter->api->cfg;
    for (size_t i = 0; i < op->n_tasks; i++) {
        const struct config_service *service = config_service(cfg, op->tasks[i].service);
        if (!service)
            continue;
        const struct op_news news = op_news(op, i);
        size_t number = (size_t)(service - cfg->services);
        history_count(meter->history, number, &news, op->now_ms);
        count_news(meter->metrics, number, &news);
    }
}

/* ---- what the process does ---- */

void meter_http(int route, int status, int64_t took_us, void *arg) {
    const struct meter *meter = ((struct api *)arg)->meter;
    size_t place = route == HTTP_NO_ROUTE ? meter->n_routes - 1 : (size_t)route;
    count_of_two(meter->metrics, METRIC_HTTP_REQUESTS, place, metrics_code(status));
    metrics_observe(meter->metrics, METRIC_HTTP_TIME, place, took_us);
}

void meter_deliveries(struct meter *meter, const struct delivery *deliveries, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const struct delivery *delivery = &deliveries[i];
        enum metric_delivery outcome = delivery->rc == RC_OK              ? DELIVERY_DELIVERED
                                       : delivery->rc == RC_UNDELIVERABLE ? DELIVERY_UNDELIVERABLE
                                                                          : DELIVERY_UNCONFIRMED;
        metrics_add(meter->metrics, METRIC_DELIVERIES, outcome, 1);
        if (delivery->rc == RC_OK)
            metrics_observe(meter->metrics, METRIC_DELIVERY_TIME, 0, delivery->took_us);
    }
}

struct metrics *meter_metrics(const struct meter *meter) {
    return meter->metrics;
}

const struct history *meter_history(struct meter *meter) {
    history_roll(meter->history, clock_now_ms());
    return meter->history;
}

/* ---- birth and death ---- */

static bool make_metrics(struct meter *meter) {
    const struct config *cfg = meter->api->cfg;
    const char *const *routes = routes_names(&meter->n_routes);
    meter->services = calloc(cfg->n_services, sizeof *meter->services);
    for (size_t i = 0; meter->services && i < cfg->n_services; i++)
        meter->services[i] = cfg->services[i].name;
    if (meter->services)
        meter->metrics =
            api_metrics_create(routes, meter->n_routes, meter->services, cfg->n_services);
    executor_set_metrics(meter->api->executor, meter->metrics);
    return meter->metrics;
}

enum rc meter_create(struct api *api, struct meter **ret, struct error *err) {
    struct meter *meter = calloc(1, sizeof *meter);
    if (!meter)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    meter->api = api;
    meter->history = history_create(api->cfg->n_services, clock_now_ms());
    meter->step_end = event_new(api->base, -1, 0, on_step_end, meter);
    if (!make_metrics(meter) || !meter->history || !meter->step_end || !await_step_end(meter)) {
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
    metrics_destroy(meter->metrics);
    free(meter->services);
    free(meter);
}
