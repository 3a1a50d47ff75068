/* spans.h: brings spans to a collector by OTLP over HTTP, in batches, beside everything else.
 *
 *     spans_add ──> waiting (bounded) ── each SEND_MS, or as soon as it is half full ──> collector
 *
 * One call is out at a time. A collector that does not answer, or says that it may later, is tried
 * again, ever more seldom; what comes meanwhile waits, and what finds no room is dropped and
 * counted. That is logged when it begins, at most once a minute, and when it is over. Loop thread
 * only.
 */
#ifndef LH_BASE_SPANS_H
#define LH_BASE_SPANS_H

#include "base/otlp.h"

#include <event2/event.h>

struct spans;

struct spans_options {
    struct event_base *base;
    const char *endpoint;     /* "http://host[:port]/v1/traces" or https, copied */
    const char *ca;           /* of https: PEM file of whom to trust; NULL: the system's; must stay
                                 valid */
    const char *service_name; /* of the resource, copied; "": the scope's */
    const char *scope;        /* "longhaul-api"; must stay valid */
    const char *version;      /* must stay valid */
};

/* Connects to nothing yet. RC_CONFIG for an endpoint of another form, or a CA that cannot be used;
 * RC_IO: there is no module for TLS. */
enum rc spans_create(const struct spans_options *options, struct spans **ret,
                     struct error *err) LH_MUST_USE;

/* Reads the CA's file again, as http_client_reload_tls() does. NULL is fine. */
enum rc spans_reload_tls(struct spans *spans, struct error *err) LH_MUST_USE;

/* Takes a copy of the span. NULL is fine: nobody wants it. */
void spans_add(struct spans *spans, const struct span *span);

/* The unix time in microseconds at which clock_mono_us() was `mono_us`. */
int64_t spans_unix_us(const struct spans *spans, int64_t mono_us);

/* Runs the loop until what waits is with the collector, a call has failed, or max_ms are over.
 * Outside of the loop, when nothing else is left on it that must not be called. NULL is fine. */
void spans_flush(struct spans *spans, int max_ms);

/* What waits is dropped. NULL is fine. */
void spans_destroy(struct spans *spans);

#endif
