/* trace.h: W3C Trace Context: the names of a trace and of a span in it, as they travel in the
 * headers `traceparent` and `tracestate`.
 *
 *     00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
 *     version trace-id (16 bytes)         span-id (8)      flags
 *
 * Pure functions, any thread. https://www.w3.org/TR/trace-context/
 */
#ifndef LH_BASE_TRACE_H
#define LH_BASE_TRACE_H

#include "base/rc.h"

#include <stdint.h>

enum {
    TRACE_ID_BYTES = 16,
    SPAN_ID_BYTES = 8,
    TRACEPARENT_CAP = 56,
    TRACESTATE_CAP = 513, /* longer ones are left out */
};

/* Reads a traceparent of any version into the text of version 00. Of the flags those stay that it
 * knows: sampled and random. False: it is none, and *ret is untouched. */
bool traceparent_read(const char *text, char ret[TRACEPARENT_CAP]) LH_MUST_USE;

/* Names a new span of the same trace, with the same flags; `ret` may be `of`. */
void traceparent_child(const char *of, char ret[TRACEPARENT_CAP]);

/* Names the first span of a new trace, which is sampled. */
void traceparent_make(char ret[TRACEPARENT_CAP]);

/* The traces of unsampled traceparents are carried on, and no span of ours is kept of them. */
bool traceparent_sampled(const char *traceparent);

/* The ids of a valid traceparent as bytes. */
void traceparent_ids(const char *traceparent, uint8_t ret_trace[TRACE_ID_BYTES],
                     uint8_t ret_span[SPAN_ID_BYTES]);

/* True for a list of at most 32 members KEY=VALUE as the standard asks, in less than
 * TRACESTATE_CAP bytes. */
bool tracestate_valid(const char *text) LH_MUST_USE;

#endif
