/* monitor.c: the pages of a consumer. */
#include "consumer/monitor.h"

#include "base/auth.h"
#include "base/clock.h"
#include "base/http_pages.h"
#include "base/mem.h"
#include "base/metrics_process.h"
#include "consumer/metrics_table.h"
#include "consumer/report/spool_size.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A consumer with nothing to do says that it is there every 10 s. */
enum { READY_MS = 30000 };

struct monitor {
    struct monitor_options options;
    struct http_pages *pages;
    char *token;
};

/* ---- what is known when somebody asks ---- */

void monitor_build_info(const struct metric_family *family, struct buf *to, void *arg) {
    const struct monitor *monitor = arg;
    bool kafka = monitor->options.cfg->broker == BROKER_KAFKA;
    metric_put(family, (const char *const[]){LH_VERSION, kafka ? "kafka" : "api"}, 1, to);
}

void monitor_slots(const struct metric_family *family, struct buf *to, void *arg) {
    const struct monitor *monitor = arg;
    struct consumer_line line;
    for (size_t i = 0; consumer_line(monitor->options.consumer, i, &line); i++)
        metric_put(family, &line.service, line.slots, to);
}

void monitor_slots_busy(const struct metric_family *family, struct buf *to, void *arg) {
    const struct monitor *monitor = arg;
    struct consumer_line line;
    for (size_t i = 0; consumer_line(monitor->options.consumer, i, &line); i++)
        metric_put(family, &line.service, line.busy, to);
}

void monitor_reports_waiting(const struct metric_family *family, struct buf *to, void *arg) {
    const struct monitor *monitor = arg;
    metric_put(family, NULL, (double)consumer_reports_waiting(monitor->options.consumer), to);
}

void monitor_logs_waiting(const struct metric_family *family, struct buf *to, void *arg) {
    const struct monitor *monitor = arg;
    metric_put(family, NULL, (double)consumer_logs_waiting(monitor->options.consumer), to);
}

void monitor_spool_bytes(const struct metric_family *family, struct buf *to, void *arg) {
    const struct monitor *monitor = arg;
    metric_put(family, NULL, (double)spool_size(monitor->options.cfg->consumer_spool), to);
}

struct lags {
    const struct metric_family *family;
    struct buf *to;
};

static void put_lag(const struct source_lag *lag, void *arg) {
    const struct lags *lags = arg;
    char partition[16];
    snprintf(partition, sizeof partition, "%d", lag->partition);
    const char *const values[] = {lag->group, lag->topic, partition};
    metric_put(lags->family, values, (double)lag->messages, lags->to);
}

void monitor_kafka_lag(const struct metric_family *family, struct buf *to, void *arg) {
    const struct monitor *monitor = arg;
    struct lags lags = {family, to};
    consumer_each_lag(monitor->options.consumer, put_lag, &lags);
}

/* ---- pages ---- */

static bool may_read(const struct monitor *monitor, const char *authorization) {
    const char *given = auth_token_text(authorization);
    bool may = given && monitor->token && auth_token_ok(given, monitor->token);
    return may || monitor->options.cfg->metrics_public;
}

static void refuse(struct http_page *page, int status, enum rc rc, const char *text) {
    page->status = status;
    buf_str(&page->body, "{\"result\":\"exception\",\"message\":");
    buf_json_str(&page->body, text ? text : rc_info(rc)->text);
    buf_printf(&page->body, ",\"code\":\"%s\"}", rc_info(rc)->word);
}

static void show_metrics(const struct monitor *monitor, struct http_page *page) {
    page->content_type = metrics_content_type;
    metrics_write(monitor->options.metrics, &page->body, (void *)(uintptr_t)monitor);
    metrics_process_write(&page->body);
}

static void show_health(const struct monitor *monitor, struct http_page *page) {
    (void)monitor;
    buf_str(&page->body, "{\"result\":\"ok\"}");
}

static void show_ready(const struct monitor *monitor, struct http_page *page) {
    int64_t success_ms = metrics_value(monitor->options.metrics, METRIC_API_SUCCESS, 0) / 1000;
    if (!consumer_serves(monitor->options.consumer))
        refuse(page, 503, RC_DRAINING, NULL);
    else if (clock_now_ms() - success_ms > READY_MS)
        refuse(page, 503, RC_IO,
               success_ms ? "the API has not answered for 30 s" : "the API has not answered yet");
    else
        show_health(monitor, page);
}

static const struct {
    const char *path;
    bool needs_token;
    void (*show)(const struct monitor *monitor, struct http_page *page);
} pages[] = {
    {"/metrics", true, show_metrics},
    {"/healthz", false, show_health},
    {"/readyz", false, show_ready},
};

static void on_request(const char *path, const char *authorization, struct http_page *page,
                       void *arg) {
    const struct monitor *monitor = arg;
    for (size_t i = 0; i < LH_COUNT(pages); i++) {
        if (strcmp(pages[i].path, path) != 0)
            continue;
        if (!pages[i].needs_token || may_read(monitor, authorization)) {
            pages[i].show(monitor, page);
            return;
        }
        page->header = "WWW-Authenticate: Bearer";
        refuse(page, 401, RC_UNAUTHORIZED, NULL);
        return;
    }
    refuse(page, 404, RC_NOT_FOUND, NULL);
}

/* ---- birth and death ---- */

enum rc monitor_create(const struct monitor_options *options, struct monitor **ret,
                       struct error *err) {
    struct monitor *monitor = calloc(1, sizeof *monitor);
    if (!monitor)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    monitor->options = *options;
    enum rc rc = monitor_set_token(monitor, options->token, err);
    if (rc == RC_OK)
        rc = http_pages_create(options->base, options->listen, on_request, monitor, &monitor->pages,
                               err);
    if (rc == RC_OK)
        *ret = monitor;
    else
        monitor_destroy(monitor);
    return rc;
}

enum rc monitor_set_token(struct monitor *monitor, const char *token, struct error *err) {
    char *copy = monitor && token ? strdup(token) : NULL;
    if (monitor && token && !copy)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    if (monitor) {
        free(monitor->token);
        monitor->token = copy;
    }
    return RC_OK;
}

const char *monitor_address(const struct monitor *monitor) {
    return http_pages_address(monitor->pages);
}

void monitor_destroy(struct monitor *monitor) {
    if (!monitor)
        return;
    http_pages_destroy(monitor->pages);
    free(monitor->token);
    free(monitor);
}
