/* monitor.h: what a consumer tells of itself over HTTP: /metrics, /healthz, /readyz.
 *
 * /metrics needs the token unless `metrics_public: true`. /readyz answers 200 while the consumer
 * takes tasks and the API has answered within READY_MS. Loop thread only.
 */
#ifndef LH_CONSUMER_MONITOR_H
#define LH_CONSUMER_MONITOR_H

#include "base/metrics.h"
#include "config/config.h"
#include "consumer/consumer.h"

struct monitor;

struct monitor_options {
    struct event_base *base;
    const struct config *cfg;
    const char *token;
    const char *listen;
    const struct consumer *consumer;
    struct metrics *metrics;
};

/* RC_IO with the address and the cause. The options' strings are borrowed. */
enum rc monitor_create(const struct monitor_options *options, struct monitor **ret,
                       struct error *err) LH_MUST_USE;

/* Where it listens, with the port that was picked. Borrowed. */
const char *monitor_address(const struct monitor *monitor);

/* Another token from now on (copied); monitor NULL is fine. RC_NO_MEMORY. */
enum rc monitor_set_token(struct monitor *monitor, const char *token,
                          struct error *err) LH_MUST_USE;

/* NULL is fine. */
void monitor_destroy(struct monitor *monitor);

/* The collectors of metrics_table.c; their arg is the struct monitor. */
metric_collect monitor_build_info, monitor_slots, monitor_slots_busy, monitor_reports_waiting;
metric_collect monitor_logs_waiting, monitor_spool_bytes, monitor_kafka_lag;

#endif
