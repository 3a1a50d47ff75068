/* history.h: what became of each service's tasks over the last day, in memory.
 *
 * Two scales: an hour in steps of 10 s and a day in steps of 5 min. A step counts what happened in
 * it through this process, keeps how many tasks waited and ran at its end, and how long its tasks
 * waited and ran at the median and at the 95th percentile. The room for all services together is
 * bounded: with very many of them each keeps fewer steps. Pure data, one thread.
 */
#ifndef LH_API_HISTORY_H
#define LH_API_HISTORY_H

#include "api/meter/op_news.h"
#include "store/store.h"

enum {
    HISTORY_STEP_MS = 10000,
    HISTORY_MAX_BYTES = 4 << 20, /* of all steps together */
    HISTORY_SPAN_MAX_S = 86400,
};

enum history_series {
    HISTORY_CREATED,
    HISTORY_CLAIMED,
    HISTORY_FINISHED,
    HISTORY_FAILED,
    HISTORY_WAITING,
    HISTORY_RUNNING,
    HISTORY_OLDEST, /* ms, as all below */
    HISTORY_WAIT_P50,
    HISTORY_WAIT_P95,
    HISTORY_RUN_P50,
    HISTORY_RUN_P95,
    HISTORY_SERIES
};

struct history;

/* For services 0 … n-1; NULL when out of memory. */
struct history *history_create(size_t n_services, int64_t now_ms);

/* NULL is fine. */
void history_destroy(struct history *history);

/* Ends the steps that are over. */
void history_roll(struct history *history, int64_t now_ms);

/* Counts what became of a task of the service. */
void history_count(struct history *history, size_t service, const struct op_news *news,
                   int64_t now_ms);

/* Notes how the service's tasks stood at `at_ms`, a step's end; `count` NULL: it has none. */
void history_stand(struct history *history, size_t service, const struct store_count *count,
                   int64_t at_ms);

/* The steps that have ended and lie within span_s (rounded up to whole steps), oldest first. */
struct history_view {
    int64_t step_ms, from_ms; /* when the first one began */
    size_t n;
    size_t scale; /* which of the two */
};
struct history_view history_view(const struct history *history, int64_t span_s);

/* The value of step i of the view; -1: not known. */
int64_t history_value(const struct history *history, const struct history_view *view,
                      size_t service, enum history_series series, size_t i);

/* "created", "oldest_s" …; *ret_ms: values are milliseconds, shown as seconds. */
const char *history_series_name(enum history_series series, bool *ret_ms);

#endif
