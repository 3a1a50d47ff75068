/* otlp.c: the few messages of OTLP's traces, field by field. */
#include "base/otlp.h"

#include "base/trace.h"

#include <string.h>

/* Field numbers, as the .proto files have them. */
enum { REQUEST_RESOURCE_SPANS = 1 };
enum { RESOURCE_SPANS_RESOURCE = 1, RESOURCE_SPANS_SCOPE_SPANS = 2 };
enum { RESOURCE_ATTRIBUTES = 1 };
enum { SCOPE_SPANS_SCOPE = 1, SCOPE_SPANS_SPANS = 2 };
enum { SCOPE_NAME = 1, SCOPE_VERSION = 2 };
enum { KEY_VALUE_KEY = 1, KEY_VALUE_VALUE = 2 };
enum { ANY_STRING = 1, ANY_INT = 3 };
enum { STATUS_MESSAGE = 2, STATUS_CODE = 3, STATUS_CODE_ERROR = 2 };
enum {
    SPAN_TRACE_ID = 1,
    SPAN_SPAN_ID = 2,
    SPAN_PARENT_SPAN_ID = 4,
    SPAN_NAME = 5,
    SPAN_KIND = 6,
    SPAN_START = 7,
    SPAN_END = 8,
    SPAN_ATTRIBUTES = 9,
    SPAN_STATUS = 15,
};

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2 };
enum { MESSAGE_MAX = 1 << 24 };

static void put_varint(struct buf *to, uint64_t value) {
    for (; value > 0x7f; value >>= 7)
        buf_char(to, (char)(value | 0x80));
    buf_char(to, (char)value);
}

static void put_tag(struct buf *to, unsigned field, enum wire wire) {
    put_varint(to, field << 3 | wire);
}

static void put_number(struct buf *to, unsigned field, uint64_t value) {
    put_tag(to, field, WIRE_VARINT);
    put_varint(to, value);
}

static void put_bytes(struct buf *to, unsigned field, const void *bytes, size_t len) {
    put_tag(to, field, WIRE_BYTES);
    put_varint(to, len);
    buf_append(to, bytes, len);
}

static void put_text(struct buf *to, unsigned field, const char *text) {
    put_bytes(to, field, text, strlen(text));
}

/* A time in nanoseconds; the least significant byte comes first. */
static void put_time(struct buf *to, unsigned field, int64_t at_us) {
    uint64_t ns = (uint64_t)at_us * 1000;
    put_tag(to, field, WIRE_FIXED64);
    for (int i = 0; i < 8; i++)
        buf_char(to, (char)(ns >> (8 * i)));
}

/* A message inside another one. */
static void put_message(struct buf *to, unsigned field, const struct buf *message) {
    if (message->rc != RC_OK)
        to->rc = to->rc == RC_OK ? message->rc : to->rc;
    else
        put_bytes(to, field, message->data ? message->data : "", message->len);
}

static void put_attribute(struct buf *to, unsigned field, const struct span_attribute *attribute) {
    LH_CLEANUP_BUF struct buf value, pair;
    buf_init(&value, MESSAGE_MAX);
    buf_init(&pair, MESSAGE_MAX);
    if (attribute->text)
        put_text(&value, ANY_STRING, attribute->text);
    else
        put_number(&value, ANY_INT, (uint64_t)attribute->number);
    put_text(&pair, KEY_VALUE_KEY, attribute->name);
    put_message(&pair, KEY_VALUE_VALUE, &value);
    put_message(to, field, &pair);
}

static void put_attributes(struct buf *to, unsigned field, const struct span_attribute *attributes,
                           size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!attributes[i].text || *attributes[i].text)
            put_attribute(to, field, &attributes[i]);
}

static void put_ids(struct buf *to, const struct span *span) {
    uint8_t trace[TRACE_ID_BYTES], id[SPAN_ID_BYTES];
    traceparent_ids(span->traceparent, trace, id);
    put_bytes(to, SPAN_TRACE_ID, trace, sizeof trace);
    put_bytes(to, SPAN_SPAN_ID, id, sizeof id);
    if (!span->parent || !*span->parent)
        return;
    traceparent_ids(span->parent, trace, id);
    put_bytes(to, SPAN_PARENT_SPAN_ID, id, sizeof id);
}

static void put_error(struct buf *to, const char *text) {
    LH_CLEANUP_BUF struct buf status;
    buf_init(&status, MESSAGE_MAX);
    put_text(&status, STATUS_MESSAGE, text);
    put_number(&status, STATUS_CODE, STATUS_CODE_ERROR);
    put_message(to, SPAN_STATUS, &status);
}

void otlp_put_span(const struct span *span, struct buf *to) {
    LH_CLEANUP_BUF struct buf message;
    buf_init(&message, MESSAGE_MAX);
    put_ids(&message, span);
    put_text(&message, SPAN_NAME, span->name);
    put_number(&message, SPAN_KIND, span->kind);
    put_time(&message, SPAN_START, span->began_us);
    put_time(&message, SPAN_END, span->ended_us);
    put_attributes(&message, SPAN_ATTRIBUTES, span->attributes, span->n_attributes);
    if (span->error)
        put_error(&message, span->error);
    put_message(to, SCOPE_SPANS_SPANS, &message);
}

static void put_scope_spans(struct buf *to, const char *name, const char *version,
                            const struct buf *entries) {
    LH_CLEANUP_BUF struct buf scope, spans;
    buf_init(&scope, MESSAGE_MAX);
    buf_init(&spans, MESSAGE_MAX);
    put_text(&scope, SCOPE_NAME, name);
    put_text(&scope, SCOPE_VERSION, version);
    put_message(&spans, SCOPE_SPANS_SCOPE, &scope);
    buf_append(&spans, entries->data, entries->len);
    put_message(to, RESOURCE_SPANS_SCOPE_SPANS, &spans);
}

void otlp_put_request(const struct span_attribute *resource, size_t n, const char *scope,
                      const char *version, const struct buf *entries, struct buf *to) {
    LH_CLEANUP_BUF struct buf attributes, whole;
    buf_init(&attributes, MESSAGE_MAX);
    buf_init(&whole, MESSAGE_MAX);
    put_attributes(&attributes, RESOURCE_ATTRIBUTES, resource, n);
    put_message(&whole, RESOURCE_SPANS_RESOURCE, &attributes);
    put_scope_spans(&whole, scope, version, entries);
    put_message(to, REQUEST_RESOURCE_SPANS, &whole);
}
