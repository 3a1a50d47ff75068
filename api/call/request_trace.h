/* request_trace.h: the trace that a request belongs to, as its headers say. Pure functions. */
#ifndef LH_API_REQUEST_TRACE_H
#define LH_API_REQUEST_TRACE_H

#include "api/http/http.h"
#include "base/trace.h"

/* The caller's span; "" where the header is missing, invalid or stands twice. Returns `ret`. */
const char *request_traceparent(const struct http_req *req, char ret[TRACEPARENT_CAP]);

/* What travels with it: all `tracestate` headers as one list; "" where there are none, or they are
 * invalid or too long. */
void request_tracestate(const struct http_req *req, char ret[TRACESTATE_CAP]);

#endif
