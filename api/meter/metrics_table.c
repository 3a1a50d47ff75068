/* metrics_table.c: the families of the API. */
#include "api/meter/metrics_table.h"

#include "api/meter/scrape.h"
#include "base/mem.h"
#include "task/task.h"

#define MS(n) ((n)*INT64_C(1000))
#define SEC(n) ((n)*INT64_C(1000000))
#define TIMES(bounds_) .micros = true, .bounds = (bounds_), .n_bounds = LH_COUNT(bounds_)

/* From a claim that was waited for to one that nobody had a slot for. */
static const int64_t waits[] = {MS(10),  MS(50),   MS(250),  SEC(1),    SEC(5),     SEC(15),
                                SEC(60), SEC(300), SEC(900), SEC(3600), SEC(14400), SEC(86400)};
static const int64_t runs[] = {MS(100),   MS(500),   SEC(1),     SEC(2.5),  SEC(5),
                               SEC(10),   SEC(30),   SEC(60),    SEC(300),  SEC(600),
                               SEC(1800), SEC(3600), SEC(14400), SEC(86400)};
static const int64_t kills[] = {MS(100), MS(500), SEC(1),  SEC(5),
                                SEC(10), SEC(15), SEC(30), SEC(60)};
static const int64_t calls[] = {MS(0.5), MS(1),   MS(2.5), MS(5),   MS(10), MS(25),
                                MS(50),  MS(100), MS(250), MS(500), SEC(1), SEC(2.5),
                                SEC(5),  SEC(10), SEC(30), SEC(60)};
static const int64_t batches[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000};

#define NAME(name_) "longhaul_" name_

/* clang-format off */
static const struct metric_family families[API_METRICS] = {
    [METRIC_BUILD_INFO] = {NAME("build_info"), METRIC_GAUGE, "1, with the version of the program, its store and its broker.",
        {"version", "store", "broker"}, scrape_build_info},
    [METRIC_TASKS] = {NAME("tasks"), METRIC_GAUGE, "Tasks in the store by status.", {"service", "status"}, scrape_tasks},
    [METRIC_OLDEST_WAITING] = {NAME("oldest_waiting_seconds"), METRIC_GAUGE,
        "Age of the oldest task that could be claimed; 0: there is none.", {"service"}, scrape_oldest_waiting},
    [METRIC_PAUSED] = {NAME("service_paused"), METRIC_GAUGE, "1 while the service is paused.", {"service"}, scrape_paused},
    [METRIC_WORKERS] = {NAME("workers"), METRIC_GAUGE, "Consumers of the service that have been heard of in the last minute.",
        {"service"}, scrape_workers},
    [METRIC_UNSENT] = {NAME("outbox_messages"), METRIC_GAUGE,
        "Messages that the broker has not confirmed, counted up to 10000; those that wait for a paused or full service are not among them.",
        {NULL}, scrape_unsent},
    [METRIC_UNSENT_AGE] = {NAME("outbox_oldest_seconds"), METRIC_GAUGE,
        "How long ago the first task of these messages was made due; 0: there is none.", {NULL}, scrape_unsent_age},
    [METRIC_STORE_UP] = {NAME("store_up"), METRIC_GAUGE, "1 where the store answered for this very page.", {NULL}, scrape_store_up},
    [METRIC_KAFKA_UP] = {NAME("kafka_up"), METRIC_GAUGE, "1 while Kafka is reachable; absent without a broker.", {NULL}, scrape_kafka_up},
    [METRIC_QUEUE] = {NAME("executor_queue_length"), METRIC_GAUGE, "Operations and queries that wait for a thread.",
        {"access"}, scrape_queue},
    [METRIC_HTTP_CONNECTIONS] = {NAME("http_connections"), METRIC_GAUGE, "Open connections of clients.", {NULL}, scrape_connections},
    [METRIC_HTTP_PENDING] = {NAME("http_requests_in_flight"), METRIC_GAUGE,
        "Requests without an answer yet, those that wait (wait_s) among them.", {NULL}, scrape_pending},
    [METRIC_STATUS_CACHE] = {NAME("status_cache_bytes"), METRIC_GAUGE,
        "Memory that holds answers of status_task (limits.status_cache_kb).", {NULL}, scrape_status_cache},

    [METRIC_CREATED] = {NAME("tasks_created_total"), METRIC_COUNTER, "Tasks created.", {"service"}},
    [METRIC_CLAIMED] = {NAME("tasks_claimed_total"), METRIC_COUNTER, "Runs begun.", {"service"}},
    [METRIC_FINISHED] = {NAME("tasks_finished_total"), METRIC_COUNTER, "Tasks that became finished.", {"service"}},
    [METRIC_FAILED] = {NAME("tasks_failed_total"), METRIC_COUNTER, "Tasks that became failed, by sub_status.",
        {"service", "cause"}},
    [METRIC_RETRIED] = {NAME("tasks_retried_total"), METRIC_COUNTER, "Failed attempts after which there is a further one.", {"service"}},
    [METRIC_REMOVED] = {NAME("tasks_removed_total"), METRIC_COUNTER, "Tasks removed, by retention or delete_task.", {"service"}},
    [METRIC_RUNS_ENDED] = {NAME("runs_ended_total"), METRIC_COUNTER,
        "Runs that ended, by how; lease_lost: their lease ran out.", {"service", "end"}},
    [METRIC_FENCED] = {NAME("updates_fenced_total"), METRIC_COUNTER,
        "Words of runs that do not hold the task (STALE_RUN).", {"service"}},
    [METRIC_WAIT_TIME] = {NAME("task_wait_seconds"), METRIC_HISTOGRAM, "From when a task was due to its claim.", {"service"}, TIMES(waits)},
    [METRIC_RUN_TIME] = {NAME("task_run_seconds"), METRIC_HISTOGRAM, "From a run's claim to its last word.", {"service"}, TIMES(runs)},
    [METRIC_KILL_TIME] = {NAME("task_kill_seconds"), METRIC_HISTOGRAM,
        "From the cancel of a running task to the proof that its run is dead.", {"service"}, TIMES(kills)},

    [METRIC_COMMIT_TIME] = {NAME("store_commit_seconds"), METRIC_HISTOGRAM, "Time that the store took for a batch of operations.",
        {NULL}, TIMES(calls)},
    [METRIC_COMMIT_OPS] = {NAME("store_commit_operations"), METRIC_HISTOGRAM, "Operations in a batch.", {NULL},
        .bounds = batches, .n_bounds = LH_COUNT(batches)},
    [METRIC_READ_TIME] = {NAME("store_read_seconds"), METRIC_HISTOGRAM, "Time that the store took for a batch of queries.",
        {NULL}, TIMES(calls)},
    [METRIC_STORE_FAILURES] = {NAME("store_failures_total"), METRIC_COUNTER,
        "Batches that the store did not serve.", {"access"}},
    [METRIC_STATUS_READS] = {NAME("status_reads_total"), METRIC_COUNTER,
        "Calls of status_task that do not wait, by where the answer was found: in memory (limits.status_cache_kb) or in the store.", {"source"}},
    [METRIC_DELIVERIES] = {NAME("kafka_deliveries_total"), METRIC_COUNTER,
        "Messages given to Kafka, by what became of them; unconfirmed ones are sent again.", {"outcome"}},
    [METRIC_DELIVERY_TIME] = {NAME("kafka_delivery_seconds"), METRIC_HISTOGRAM,
        "From giving a message to the producer to Kafka's confirmation.", {NULL}, TIMES(calls)},
    [METRIC_HTTP_REQUESTS] = {NAME("http_requests_total"), METRIC_COUNTER, "Requests answered.", {"route", "code"}, .sparse = true},
    [METRIC_HTTP_TIME] = {NAME("http_request_seconds"), METRIC_HISTOGRAM,
        "From a whole request to its answer, waiting (wait_s) included.", {"route"}, .sparse = true, TIMES(calls)},
};
/* clang-format on */

static const char *const accesses[] = {[ACCESS_WRITING] = "writing", [ACCESS_READING] = "reading"};
static const char *const sources[] = {[SOURCE_MEMORY] = "memory", [SOURCE_STORE] = "store"};
static const char *const outcomes[] = {[DELIVERY_DELIVERED] = "delivered",
                                       [DELIVERY_UNCONFIRMED] = "unconfirmed",
                                       [DELIVERY_UNDELIVERABLE] = "undeliverable"};

/* The last stands for all that are none of these. */
static const char *const codes[] = {"200", "204", "206", "304", "400", "401", "403", "404",
                                    "405", "408", "409", "410", "411", "413", "414", "415",
                                    "429", "431", "500", "501", "503", "504", "505", "other"};

size_t metrics_code(int status) {
    size_t i = 0;
    while (i < LH_COUNT(codes) - 1 &&
           (status / 100 != codes[i][0] - '0' || status % 100 / 10 != codes[i][1] - '0' ||
            status % 10 != codes[i][2] - '0'))
        i++;
    return i;
}

/* The sub statuses of failed tasks; the first one also stands for what no failed task has. */
static const enum task_sub failures[] = {SUB_ERROR, SUB_TIMEOUT,         SUB_LIMIT,
                                         SUB_CRASH, SUB_CANCELLED,       SUB_EXPIRED,
                                         SUB_DEAD,  SUB_KILL_UNCONFIRMED};
static const char *causes[LH_COUNT(failures)], *ends[TASK_ENDS - 1];

size_t metrics_cause(enum task_sub sub) {
    size_t i = LH_COUNT(failures) - 1;
    while (i > 0 && failures[i] != sub)
        i--;
    return i;
}

size_t metrics_end(enum task_end end) {
    return (size_t)end - 1;
}

static void name_enums(void) {
    for (size_t i = 0; i < LH_COUNT(failures); i++)
        causes[i] = task_sub_name(failures[i]);
    for (int i = 1; i < TASK_ENDS; i++)
        ends[metrics_end((enum task_end)i)] = task_end_name((enum task_end)i);
}

struct metrics *api_metrics_create(const char *const *routes, size_t n_routes,
                                   const char *const *services, size_t n_services) {
    const struct metric_label labels[] = {
        {"service", services, n_services},
        {"cause", causes, LH_COUNT(causes)},
        {"end", ends, LH_COUNT(ends)},
        {"access", accesses, LH_COUNT(accesses)},
        {"source", sources, LH_COUNT(sources)},
        {"outcome", outcomes, LH_COUNT(outcomes)},
        {"route", routes, n_routes},
        {"code", codes, LH_COUNT(codes)},
    };
    name_enums();
    return metrics_create(families, API_METRICS, labels, LH_COUNT(labels));
}
