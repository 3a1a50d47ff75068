/* longhaul.h: for modules that are shared objects (kind: shared_object).
 *
 *     #include <longhaul.h>
 *
 *     int longhaul_run(const struct longhaul_task *task, struct longhaul_run *run) {
 *         ... task->condition ...
 *         longhaul_result(run, "{\"rows\": 5}");
 *         return 0;
 *     }
 *
 * Build it with `cc -shared -fPIC`; nothing of ours has to be linked. The object is loaded once
 * into a process that runs one task after the other, each in a call of longhaul_run() on the main
 * thread. What the object keeps in static memory stays from task to task.
 *
 * The run is finished when longhaul_run() returns 0: with the last result that was given, or none.
 * It is failed when longhaul_error() was called, when another value than 0 is returned, when the
 * process exits or dies. Everything of the task and the run is valid until longhaul_run() returns;
 * the functions below may be called from any thread until then.
 *
 * stdout and stderr are the log of the task. stdin is empty.
 */
#ifndef LONGHAUL_H
#define LONGHAUL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Which form of these structs an object was built for. Members are only ever added at the end, so
 * that a newer host runs older objects; an older host refuses a newer object. */
#define LONGHAUL_ABI 2

struct longhaul_task {
    size_t size; /* of the host's struct longhaul_task */
    const char *task_id;
    const char *service;
    const char *source_name;
    const char *condition; /* JSON text as it was sent */
    size_t condition_len;
    const char *run_id;
    int64_t attempt;      /* 1 for the task's first run */
    const char *deadline; /* ISO-8601, UTC: the run is stopped then; NULL: never */

    /* since version 2 */
    const char *traceparent; /* W3C Trace Context: the run's span; NULL: the task has no trace */
    const char *tracestate;  /* what travels with it; NULL: nothing */
};

enum longhaul_error_class {
    LONGHAUL_RETRYABLE, /* it may work another time */
    LONGHAUL_FATAL,     /* it never will */
};

/* To be used through the functions below. */
struct longhaul_run {
    size_t size; /* of the host's struct longhaul_run */
    int (*progress)(struct longhaul_run *run, double done, double total, const char *text);
    int (*result)(struct longhaul_run *run, const char *json);
    int (*error)(struct longhaul_run *run, int error_class, const char *text);
    int (*cancelled)(const struct longhaul_run *run);
};

/* How far the run is: `done` of `total`, both finite and not below 0; `text` may be NULL. Returns
 * 0, or -1 for numbers that are not so. */
static inline int longhaul_progress(struct longhaul_run *run, double done, double total,
                                    const char *text) {
    return run->progress(run, done, total, text);
}

/* The result, a JSON text (copied); of several the last one counts. Returns 0; or -1 where it is
 * not JSON, which makes the run failed. */
static inline int longhaul_result(struct longhaul_run *run, const char *json) {
    return run->result(run, json);
}

/* The run has failed, with a text for people (copied); of several the last one counts. It goes on
 * until longhaul_run() returns. Returns 0. */
static inline int longhaul_error(struct longhaul_run *run, enum longhaul_error_class error_class,
                                 const char *text) {
    return run->error(run, (int)error_class, text);
}

/* Not 0 once the run is to stop (SIGTERM): cancelled, over its time, or the consumer is being
 * stopped. longhaul_run() then should return soon; a result is still taken. The process is killed
 * when the grace is over. */
static inline int longhaul_cancelled(const struct longhaul_run *run) {
    return run->cancelled(run);
}

#define LONGHAUL_EXPORT __attribute__((visibility("default")))

/* What the object defines. */
LONGHAUL_EXPORT int longhaul_run(const struct longhaul_task *task, struct longhaul_run *run);

/* Defined by this header: tells the host what the object was built for. */
extern __attribute__((weak)) LONGHAUL_EXPORT const unsigned longhaul_abi;
const unsigned longhaul_abi = LONGHAUL_ABI;

#ifdef __cplusplus
}
#endif

#endif
