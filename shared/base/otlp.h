/* otlp.h: spans as OTLP writes them: the messages of opentelemetry/proto/trace/v1 in protobuf.
 *
 * An export is ResourceSpans { resource, ScopeSpans { scope, spans } }. Fields may come in any
 * order and a repeated field is a list of tagged entries, so spans are gathered as those entries
 * and the rest is put around them when they go out. Pure functions.
 */
#ifndef LH_BASE_OTLP_H
#define LH_BASE_OTLP_H

#include "base/buf.h"

enum span_kind { /* as the standard numbers them */
                 SPAN_INTERNAL = 1,
                 SPAN_SERVER,
                 SPAN_CLIENT,
                 SPAN_PRODUCER,
                 SPAN_CONSUMER,
};

/* A text, or a number where `text` is NULL; "" is left out. */
struct span_attribute {
    const char *name;
    const char *text;
    int64_t number;
};

/* All borrowed. */
struct span {
    const char *traceparent; /* itself (base/trace.h) */
    const char *parent;      /* a traceparent of the same trace; NULL or "": it is a root */
    const char *name;
    enum span_kind kind;
    int64_t began_us, ended_us; /* unix */
    const char *error;          /* it has failed, and why; NULL: it has not */
    const struct span_attribute *attributes;
    size_t n_attributes;
};

/* Appends the span as an entry of ScopeSpans.spans. */
void otlp_put_span(const struct span *span, struct buf *to);

/* Appends a whole ExportTraceServiceRequest with these entries. The scope names the program. */
void otlp_put_request(const struct span_attribute *resource, size_t n, const char *scope,
                      const char *version, const struct buf *entries, struct buf *to);

#endif
