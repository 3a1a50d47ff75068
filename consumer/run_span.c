/* run_span.c: what the span of a run says. */
#include "consumer/run_span.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

enum { NAME_CAP = TASK_TEXT_CAP + 8 };

enum rc run_spans_create(struct event_base *base, const struct config *cfg, struct spans **ret,
                         struct error *err) {
    const struct config_tracing *tracing = &cfg->tracing;
    struct spans_options options = {.base = base,
                                    .endpoint = tracing->endpoint,
                                    .ca = tracing->ca,
                                    .service_name = tracing->service_name,
                                    .scope = "longhaul-consumer",
                                    .version = LH_VERSION};
    return tracing->endpoint[0] ? spans_create(&options, ret, err) : RC_OK;
}

void run_span_begin(struct run_span *span, const struct assignment *assignment) {
    *span = (struct run_span){.attempt = assignment->attempt, .began_us = clock_mono_us()};
    memcpy(span->own, assignment->traceparent, sizeof span->own);
    memcpy(span->parent, assignment->parent, sizeof span->parent);
}

void run_span_end(struct spans *spans, const struct run_span *run, const char *task_id,
                  const char *run_id, const char *service, const char *outcome, const char *error) {
    if (!spans || !run->own[0] || !traceparent_sampled(run->own))
        return;
    char name[NAME_CAP];
    const struct span_attribute attributes[] = {
        {.name = "longhaul.task_id", .text = task_id},
        {.name = "longhaul.run_id", .text = run_id},
        {.name = "longhaul.service", .text = service},
        {.name = "longhaul.attempt", .number = run->attempt},
        {.name = "longhaul.outcome", .text = outcome},
    };
    snprintf(name, sizeof name, "run %s", service);
    struct span span = {.traceparent = run->own,
                        .parent = run->parent,
                        .name = name,
                        .kind = SPAN_CONSUMER,
                        .began_us = spans_unix_us(spans, run->began_us),
                        .ended_us = spans_unix_us(spans, clock_mono_us()),
                        .error = error,
                        .attributes = attributes,
                        .n_attributes = LH_COUNT(attributes)};
    spans_add(spans, &span);
}
