/* tracing.h: the API's spans, where a collector is configured (docs/tracing.md).
 *
 *   POST /api/create_task     a request that carries a sampled traceparent, or a create that begins
 *     ├─ commit               a trace: then its span is the parent that its tasks keep
 *     ├─ publish TOPIC        a message of a task, from when it was due to Kafka's receipt
 *     └─ queued SERVICE       from when a task was due to its claim, once for each run
 *
 * NULL, where none is configured, is fine everywhere: nothing is done then. Loop thread only.
 */
#ifndef LH_API_TRACING_H
#define LH_API_TRACING_H

#include "api/call/call.h"

struct tracing;

/* *ret is NULL where no collector is configured. */
enum rc tracing_create(const struct api *api, struct tracing **ret, struct error *err) LH_MUST_USE;

/* Reads the CA's file again; what is wrong changes nothing: RC_CONFIG. */
enum rc tracing_reload_tls(struct tracing *tracing, struct error *err) LH_MUST_USE;

/* Begins the span of a request whose trace is kept: call->traceparent names it from then on. */
void tracing_begin(struct tracing *tracing, struct call *call);

/* The request's op has its outcome. */
void tracing_commit(struct tracing *tracing, const struct call *call, const struct op *op);

/* The request has its answer. */
void tracing_end(struct tracing *tracing, const struct call *call);

/* Shows every op that has its outcome. */
void tracing_notice(struct tracing *tracing, const struct op *op);

/* Runs the loop a moment, until what waits is with the collector. When nothing else is left on it.
 */
void tracing_flush(struct tracing *tracing);

void tracing_destroy(struct tracing *tracing);

#endif
