/* run_span.h: the spans of runs, where a collector is configured (docs/tracing.md).
 *
 * A run's span lasts from its claim to its end and is a child of the span that created its task.
 * Loop thread only.
 */
#ifndef LH_CONSUMER_RUN_SPAN_H
#define LH_CONSUMER_RUN_SPAN_H

#include "base/spans.h"
#include "config/config.h"
#include "consumer/slot/slot.h"

/* What a span says of its run, from when it began. */
struct run_span {
    char own[TRACEPARENT_CAP]; /* "": the task belongs to no trace */
    char parent[TRACEPARENT_CAP];
    int64_t attempt;
    int64_t began_us; /* clock_mono_us() */
};

/* *ret is NULL where no collector is configured. */
enum rc run_spans_create(struct event_base *base, const struct config *cfg, struct spans **ret,
                         struct error *err) LH_MUST_USE;

/* The run begins now. */
void run_span_begin(struct run_span *span, const struct assignment *assignment);

/* The run has ended. `outcome`: finished, error, timeout, cancelled …; `error`: NULL where it has
 * not failed. `spans` may be NULL. */
void run_span_end(struct spans *spans, const struct run_span *span, const char *task_id,
                  const char *run_id, const char *service, const char *outcome, const char *error);

#endif
