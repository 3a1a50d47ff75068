/* metrics_table.h: the families that a consumer tells at /metrics (docs/metrics.md), in one table.
 */
#ifndef LH_CONSUMER_METRICS_TABLE_H
#define LH_CONSUMER_METRICS_TABLE_H

#include "base/metrics.h"

enum consumer_metric {
    /* known when somebody asks */
    METRIC_BUILD_INFO,
    METRIC_SLOTS,
    METRIC_SLOTS_BUSY,
    METRIC_REPORTS_WAITING,
    METRIC_LOGS_WAITING,
    METRIC_SPOOL_BYTES,
    METRIC_KAFKA_LAG,
    /* counted */
    METRIC_RUNS_STARTED,
    METRIC_RUNS_ENDED, /* service, outcome */
    METRIC_RUN_TIME,
    METRIC_MODULE_STARTS,
    METRIC_LOG_BYTES,
    METRIC_HEARTBEAT_FAILURES,
    METRIC_API_CALLS, /* outcome of the call */
    METRIC_API_SUCCESS,
    METRIC_KAFKA_REBALANCES, /* what */
    METRIC_KAFKA_SKIPPED,
    CONSUMER_METRICS
};

/* The values of the labels, in these orders. */
enum run_outcome {
    OUTCOME_FINISHED,
    OUTCOME_ERROR,
    OUTCOME_TIMEOUT,
    OUTCOME_LIMIT,
    OUTCOME_CANCELLED,
    OUTCOME_CRASH,
    OUTCOME_HANDED_BACK,
    OUTCOME_LOST,
    RUN_OUTCOMES
};
const char *run_outcome_name(enum run_outcome outcome);

enum call_outcome { CALL_OK, CALL_REFUSED, CALL_UNAVAILABLE, CALL_OUTCOMES };
enum rebalance_what { REBALANCE_ASSIGNED, REBALANCE_REVOKED, REBALANCE_WHATS };

/* `services` (borrowed) are the values of that label. NULL when out of memory. */
struct metrics *consumer_metrics_create(const char *const *services, size_t n);

#endif
