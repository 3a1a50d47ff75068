/* request_trace.c: traceparent and tracestate of a request. */
#include "api/call/request_trace.h"

#include <stdio.h>
#include <string.h>

const char *request_traceparent(const struct http_req *req, char ret[TRACEPARENT_CAP]) {
    static const char name[] = "traceparent";
    const char *value = http_req_header(req, name);
    ret[0] = '\0';
    if (value && (http_req_header_after(req, name, value) || !traceparent_read(value, ret)))
        ret[0] = '\0';
    return ret;
}

void request_tracestate(const struct http_req *req, char ret[TRACESTATE_CAP]) {
    static const char name[] = "tracestate";
    size_t len = 0;
    ret[0] = '\0';
    for (const char *value = http_req_header(req, name); value && len < TRACESTATE_CAP;
         value = http_req_header_after(req, name, value))
        len += (size_t)snprintf(ret + len, TRACESTATE_CAP - len, "%s%s", len ? "," : "", value);
    if (len >= TRACESTATE_CAP || !tracestate_valid(ret))
        ret[0] = '\0';
}
