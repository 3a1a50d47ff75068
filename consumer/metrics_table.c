/* metrics_table.c: the families of a consumer. */
#include "consumer/metrics_table.h"

#include "base/mem.h"
#include "consumer/monitor.h"

#define SEC(n) ((n)*INT64_C(1000000))
#define NAME(name_) "longhaul_consumer_" name_

static const int64_t runs[] = {SEC(0.1),  SEC(0.5),  SEC(1),     SEC(2.5),  SEC(5),
                               SEC(10),   SEC(30),   SEC(60),    SEC(300),  SEC(600),
                               SEC(1800), SEC(3600), SEC(14400), SEC(86400)};

/* clang-format off */
static const struct metric_family families[CONSUMER_METRICS] = {
    [METRIC_BUILD_INFO] = {NAME("build_info"), METRIC_GAUGE, "1, with the version of the program and where it takes tasks from.",
        {"version", "source"}, monitor_build_info},
    [METRIC_SLOTS] = {NAME("slots"), METRIC_GAUGE, "Runs that this process can have at a time.", {"service"}, monitor_slots},
    [METRIC_SLOTS_BUSY] = {NAME("slots_busy"), METRIC_GAUGE, "Runs that it has now.", {"service"}, monitor_slots_busy},
    [METRIC_REPORTS_WAITING] = {NAME("reports_waiting"), METRIC_GAUGE,
        "Ends of runs that the API has not taken yet.", {NULL}, monitor_reports_waiting},
    [METRIC_LOGS_WAITING] = {NAME("logs_waiting"), METRIC_GAUGE,
        "Streams of ended runs whose output the API does not have in full.", {NULL}, monitor_logs_waiting},
    [METRIC_SPOOL_BYTES] = {NAME("spool_bytes"), METRIC_GAUGE,
        "Size of the files in consumer_spool, those of other consumers among them; of 10000 files at most.", {NULL}, monitor_spool_bytes},
    [METRIC_KAFKA_LAG] = {NAME("kafka_lag"), METRIC_GAUGE,
        "Messages of an assigned partition that are not claimed or settled yet, as of the last statistics (5 s).",
        {"group", "topic", "partition"}, monitor_kafka_lag},

    [METRIC_RUNS_STARTED] = {NAME("runs_started_total"), METRIC_COUNTER, "Runs begun.", {"service"}},
    [METRIC_RUNS_ENDED] = {NAME("runs_ended_total"), METRIC_COUNTER,
        "Runs that ended, by how; lost: the task had gone on without the run.", {"service", "outcome"}},
    [METRIC_RUN_TIME] = {NAME("run_seconds"), METRIC_HISTOGRAM, "From a run's start to the end of its last process.", {"service"},
        .micros = true, .bounds = runs, .n_bounds = LH_COUNT(runs)},
    [METRIC_MODULE_STARTS] = {NAME("module_starts_total"), METRIC_COUNTER,
        "Processes of modules started: one a run, or fewer where they stay.", {"service"}},
    [METRIC_LOG_BYTES] = {NAME("log_bytes_total"), METRIC_COUNTER, "Bytes of output that the API has taken.", {NULL}},
    [METRIC_HEARTBEAT_FAILURES] = {NAME("heartbeat_failures_total"), METRIC_COUNTER, "Heartbeats that were not taken.", {NULL}},
    [METRIC_API_CALLS] = {NAME("api_calls_total"), METRIC_COUNTER,
        "Calls to the API, by what came back; unavailable: it did not do its work.", {"result"}},
    [METRIC_API_SUCCESS] = {NAME("api_last_success_timestamp_seconds"), METRIC_GAUGE,
        "When the API last answered as it should, unix time in seconds; 0: never.", {NULL}, .micros = true},
    [METRIC_KAFKA_REBALANCES] = {NAME("kafka_rebalances_total"), METRIC_COUNTER, "Times that partitions came or went.", {"what"}},
    [METRIC_KAFKA_SKIPPED] = {NAME("kafka_messages_skipped_total"), METRIC_COUNTER, "Messages that were no tasks of ours.", {NULL}},
};
/* clang-format on */

static const char *const outcomes[RUN_OUTCOMES] = {
    [OUTCOME_FINISHED] = "finished",       [OUTCOME_ERROR] = "error",
    [OUTCOME_TIMEOUT] = "timeout",         [OUTCOME_LIMIT] = "limit",
    [OUTCOME_CANCELLED] = "cancelled",     [OUTCOME_CRASH] = "crash",
    [OUTCOME_HANDED_BACK] = "handed_back", [OUTCOME_LOST] = "lost"};
static const char *const results[CALL_OUTCOMES] = {
    [CALL_OK] = "ok", [CALL_REFUSED] = "refused", [CALL_UNAVAILABLE] = "unavailable"};
static const char *const whats[REBALANCE_WHATS] = {
    [REBALANCE_ASSIGNED] = "assigned", [REBALANCE_REVOKED] = "revoked"};

const char *run_outcome_name(enum run_outcome outcome) {
    return outcomes[outcome];
}

struct metrics *consumer_metrics_create(const char *const *services, size_t n) {
    const struct metric_label labels[] = {
        {"service", services, n},
        {"outcome", outcomes, RUN_OUTCOMES},
        {"result", results, CALL_OUTCOMES},
        {"what", whats, REBALANCE_WHATS},
    };
    return metrics_create(families, CONSUMER_METRICS, labels, LH_COUNT(labels));
}
