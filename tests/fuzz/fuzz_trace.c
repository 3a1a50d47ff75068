/* fuzz_trace.c: any text as traceparent and tracestate: what is read is read again as it is. */
#include "base/trace.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    char read[TRACEPARENT_CAP], again[TRACEPARENT_CAP];
    uint8_t trace[TRACE_ID_BYTES], span[SPAN_ID_BYTES];
    if (traceparent_read(text, read)) {
        assert(strlen(read) == TRACEPARENT_CAP - 1);
        assert(traceparent_read(read, again) && strcmp(read, again) == 0);
        traceparent_child(read, again);
        assert(memcmp(read, again, 36) == 0 && traceparent_read(again, read));
        traceparent_ids(read, trace, span);
    }
    if (tracestate_valid(text))
        assert(strlen(text) < TRACESTATE_CAP && strchr(text, '='));
    free(text);
    return 0;
}
