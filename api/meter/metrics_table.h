/* metrics_table.h: the families that the API tells at /metrics (docs/metrics.md), in one table. */
#ifndef LH_API_METRICS_TABLE_H
#define LH_API_METRICS_TABLE_H

#include "base/metrics.h"
#include "task/task.h"

enum api_metric {
    /* known when somebody asks */
    METRIC_BUILD_INFO,
    METRIC_TASKS,
    METRIC_OLDEST_WAITING,
    METRIC_PAUSED,
    METRIC_WORKERS,
    METRIC_UNSENT,
    METRIC_UNSENT_AGE,
    METRIC_STORE_UP,
    METRIC_KAFKA_UP,
    METRIC_QUEUE,
    METRIC_HTTP_CONNECTIONS,
    METRIC_HTTP_PENDING,
    METRIC_STATUS_CACHE,
    /* counted by service */
    METRIC_CREATED,
    METRIC_CLAIMED,
    METRIC_FINISHED,
    METRIC_FAILED, /* and cause */
    METRIC_RETRIED,
    METRIC_REMOVED,
    METRIC_RUNS_ENDED, /* and end */
    METRIC_FENCED,
    METRIC_WAIT_TIME,
    METRIC_RUN_TIME,
    METRIC_KILL_TIME,
    /* counted for the process */
    METRIC_COMMIT_TIME,
    METRIC_COMMIT_OPS,
    METRIC_READ_TIME,
    METRIC_STORE_FAILURES, /* access */
    METRIC_STATUS_READS,   /* source */
    METRIC_DELIVERIES,     /* outcome */
    METRIC_DELIVERY_TIME,
    METRIC_HTTP_REQUESTS, /* route, code */
    METRIC_HTTP_TIME,     /* route */
    API_METRICS
};

/* The values of the labels, in these orders. */
enum metric_access { ACCESS_WRITING, ACCESS_READING };
enum metric_source { SOURCE_MEMORY, SOURCE_STORE };
enum metric_delivery { DELIVERY_DELIVERED, DELIVERY_UNCONFIRMED, DELIVERY_UNDELIVERABLE };

/* The places of a failed task's sub status among the values of `cause`, and of the end of a run
 * (not END_NONE) among those of `end`. */
size_t metrics_cause(enum task_sub sub);
size_t metrics_end(enum task_end end);

/* The place of an HTTP status among the values of `code`. */
size_t metrics_code(int status);

/* The cells of all families; `routes` and `services` (both borrowed) are the values of those
 * labels. NULL when out of memory. */
struct metrics *api_metrics_create(const char *const *routes, size_t n_routes,
                                   const char *const *services, size_t n_services);

#endif
