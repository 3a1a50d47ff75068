/* scrape.c: one page of /metrics. */
#include "api/meter/scrape.h"

#include "api/exec/status_cache.h"
#include "api/handlers/worker_task.h"
#include "api/meter/meter.h"
#include "api/sweep/services.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/metrics_process.h"

#include <string.h>

enum { SCRAPE_MS = 3000, PAGE_MAX_BYTES = 64 << 20, UNKNOWN = -1 };

/* Lives until the last of its queries is back, the page may have been told before. */
struct scrape {
    struct api *api;
    struct http_req *req; /* NULL: the page has been told */
    struct event *deadline;
    unsigned asking; /* queries that are out */
    bool failed;     /* one of them was not answered */
    struct store_count *counts;
    size_t n_counts;
    size_t *workers; /* of each service; NULL: not known */
    int64_t unsent, unsent_since;
};

static void scrape_free(struct scrape *scrape) {
    if (scrape->deadline)
        event_free(scrape->deadline);
    free(scrape->counts);
    free(scrape->workers);
    free(scrape);
}

/* ---- what is known when somebody asks ---- */

void scrape_build_info(const struct metric_family *family, struct buf *to, void *arg) {
    const struct api *api = ((struct scrape *)arg)->api;
    const char *const values[] = {LH_VERSION, api->store->impl->name,
                                  api->publisher ? api->publisher->impl->name : "none"};
    metric_put(family, values, 1, to);
}

static const struct store_count *count_of(const struct scrape *scrape, const char *service) {
    static const struct store_count none;
    const struct store_count *found = store_count_find(scrape->counts, scrape->n_counts, service);
    return found ? found : &none;
}

void scrape_tasks(const struct metric_family *family, struct buf *to, void *arg) {
    const struct scrape *scrape = arg;
    const struct config *cfg = scrape->api->cfg;
    for (size_t i = 0; scrape->counts && i < cfg->n_services; i++) {
        const struct store_count *count = count_of(scrape, cfg->services[i].name);
        for (int status = 0; status < TASK_STATUSES; status++) {
            const char *const values[] = {cfg->services[i].name,
                                          task_status_name((enum task_status)status)};
            metric_put(family, values, (double)count->by_status[status], to);
        }
    }
}

static double age_s(int64_t since_ms) {
    int64_t now = clock_now_ms();
    return since_ms > 0 && now > since_ms ? (double)(now - since_ms) / 1000 : 0;
}

void scrape_oldest_waiting(const struct metric_family *family, struct buf *to, void *arg) {
    const struct scrape *scrape = arg;
    const struct config *cfg = scrape->api->cfg;
    for (size_t i = 0; scrape->counts && i < cfg->n_services; i++) {
        const char *service = cfg->services[i].name;
        metric_put(family, &service, age_s(count_of(scrape, service)->oldest_due_at), to);
    }
}

void scrape_paused(const struct metric_family *family, struct buf *to, void *arg) {
    const struct api *api = ((struct scrape *)arg)->api;
    const struct service_rules *rules = services_rules(api->services);
    for (size_t i = 0; services_known(api->services) && i < api->cfg->n_services; i++) {
        const char *service = api->cfg->services[i].name;
        metric_put(family, &service, service_paused(rules, service), to);
    }
}

void scrape_workers(const struct metric_family *family, struct buf *to, void *arg) {
    const struct scrape *scrape = arg;
    const struct config *cfg = scrape->api->cfg;
    for (size_t i = 0; scrape->workers && i < cfg->n_services; i++) {
        const char *service = cfg->services[i].name;
        metric_put(family, &service, (double)scrape->workers[i], to);
    }
}

void scrape_unsent(const struct metric_family *family, struct buf *to, void *arg) {
    const struct scrape *scrape = arg;
    if (scrape->unsent != UNKNOWN)
        metric_put(family, NULL, (double)scrape->unsent, to);
}

void scrape_unsent_age(const struct metric_family *family, struct buf *to, void *arg) {
    const struct scrape *scrape = arg;
    if (scrape->unsent != UNKNOWN)
        metric_put(family, NULL, age_s(scrape->unsent_since), to);
}

void scrape_store_up(const struct metric_family *family, struct buf *to, void *arg) {
    const struct scrape *scrape = arg;
    metric_put(family, NULL, scrape->asking == 0 && !scrape->failed, to);
}

void scrape_kafka_up(const struct metric_family *family, struct buf *to, void *arg) {
    const struct api *api = ((struct scrape *)arg)->api;
    struct error err;
    if (api->publisher)
        metric_put(family, NULL, publisher_ping(api->publisher, &err) == RC_OK, to);
}

void scrape_queue(const struct metric_family *family, struct buf *to, void *arg) {
    struct executor *executor = ((struct scrape *)arg)->api->executor;
    metric_put(family, (const char *const[]){"writing"}, (double)executor_ops_waiting(executor),
               to);
    metric_put(family, (const char *const[]){"reading"}, (double)executor_queries_waiting(executor),
               to);
}

void scrape_connections(const struct metric_family *family, struct buf *to, void *arg) {
    metric_put(family, NULL, http_server_connections(((struct scrape *)arg)->api->http), to);
}

/* This request is one of them. */
void scrape_pending(const struct metric_family *family, struct buf *to, void *arg) {
    metric_put(family, NULL, http_server_pending(((struct scrape *)arg)->api->http), to);
}

void scrape_status_cache(const struct metric_family *family, struct buf *to, void *arg) {
    struct status_cache *cache = ((struct scrape *)arg)->api->status_cache;
    metric_put(family, NULL, cache ? (double)status_cache_bytes(cache) : 0, to);
}

/* ---- the page ---- */

static void tell(struct scrape *scrape) {
    struct http_req *req = TAKE(scrape->req);
    LH_CLEANUP_BUF struct buf page;
    buf_init(&page, PAGE_MAX_BYTES);
    metrics_write(meter_metrics(scrape->api->meter), &page, scrape);
    metrics_process_write(&page);
    if (buf_rc(&page) != RC_OK) {
        http_reply_error(req, RC_OVERLOADED, NULL);
        return;
    }
    http_reply(req, &(struct http_reply){.status = 200,
                                         .content_type = metrics_content_type,
                                         .body = page.data,
                                         .len = page.len});
}

static void on_deadline(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    tell(arg);
}

/* One of the queries is back, or there is none. */
static void go_on(struct scrape *scrape) {
    if (scrape->asking > 0)
        return;
    if (scrape->req)
        tell(scrape);
    scrape_free(scrape);
}

/* ---- what the store says ---- */

static void on_counts(struct scrape *scrape, struct query *query) {
    scrape->n_counts = query->n_counts;
    scrape->counts = TAKE(query->counts);
    if (!scrape->counts) /* known, and none */
        scrape->counts = calloc(1, sizeof *scrape->counts);
}

static void on_workers(struct scrape *scrape, struct query *query) {
    const struct config *cfg = scrape->api->cfg;
    scrape->workers = calloc(cfg->n_services, sizeof *scrape->workers);
    if (scrape->workers)
        worker_count_all(query, cfg, scrape->workers);
}

static void on_unsent(struct scrape *scrape, struct query *query) {
    scrape->unsent = query->total;
    scrape->unsent_since = query->unsent_since;
}

static void on_answer(struct query *query, void *arg) {
    struct scrape *scrape = arg;
    scrape->asking--;
    if (query->rc != RC_OK)
        scrape->failed = true;
    else if (query->kind == QUERY_COUNTS)
        on_counts(scrape, query);
    else if (query->kind == QUERY_WORKERS)
        on_workers(scrape, query);
    else
        on_unsent(scrape, query);
    go_on(scrape);
}

static void ask(struct scrape *scrape, struct query *query) {
    if (query && executor_query(scrape->api->executor, query, on_answer, scrape) == RC_OK)
        scrape->asking++;
    else
        scrape->failed = true;
}

static void ask_all(struct scrape *scrape) {
    struct query *counts = query_create(QUERY_COUNTS);
    if (counts)
        counts->want_oldest = true;
    ask(scrape, counts);
    ask(scrape, worker_query());
    if (api_has_broker(scrape->api))
        ask(scrape, query_create(QUERY_UNSENT));
}

void scrape_begin(struct api *api, struct http_req *req) {
    struct scrape *scrape = calloc(1, sizeof *scrape);
    if (scrape)
        scrape->deadline = event_new(api->base, -1, 0, on_deadline, scrape);
    if (!scrape || !scrape->deadline) {
        free(scrape);
        http_reply_error(req, RC_OVERLOADED, NULL);
        return;
    }
    scrape->api = api;
    scrape->req = req;
    scrape->unsent = UNKNOWN;
    event_add(scrape->deadline, &(struct timeval){.tv_sec = SCRAPE_MS / 1000});
    ask_all(scrape);
    go_on(scrape);
}
