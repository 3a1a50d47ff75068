/* trace.c: W3C Trace Context. */
#include "base/trace.h"

#include "base/ids.h"

#include <stdio.h>
#include <string.h>

/* Where the parts of version 00 stand, and how long they are. */
enum {
    TRACE_AT = 3,
    SPAN_AT = 36,
    FLAGS_AT = 53,
    TEXT_LEN = TRACEPARENT_CAP - 1,
};
enum { FLAG_SAMPLED = 1, FLAG_RANDOM = 2 };
enum { MEMBERS_MAX = 32, KEY_MAX = 256, VALUE_MAX = 256 };

/* -1: no lower-case hexadecimal digit. */
static int digit_of(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool all_digits(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (digit_of(text[i]) < 0)
            return false;
    return true;
}

static bool all_zero(const char *text, size_t len) {
    return strspn(text, "0") >= len;
}

static int byte_of(const char *text) {
    return digit_of(text[0]) * 16 + digit_of(text[1]);
}

/* The four parts of version 00, which a later version begins with too. */
static bool has_parts(const char *text) {
    return strnlen(text, TEXT_LEN) == TEXT_LEN && text[TRACE_AT - 1] == '-' &&
           text[SPAN_AT - 1] == '-' && text[FLAGS_AT - 1] == '-' && all_digits(text, 2) &&
           all_digits(text + TRACE_AT, TRACE_ID_BYTES * 2) &&
           all_digits(text + SPAN_AT, SPAN_ID_BYTES * 2) && all_digits(text + FLAGS_AT, 2);
}

/* Version 00 ends here; in a later one a dash may follow, and what we do not know. */
static bool ends_well(const char *text) {
    bool plain = strncmp(text, "00", 2) == 0;
    return text[TEXT_LEN] == '\0' || (!plain && text[TEXT_LEN] == '-');
}

bool traceparent_read(const char *text, char ret[TRACEPARENT_CAP]) {
    if (!has_parts(text) || !ends_well(text) || strncmp(text, "ff", 2) == 0 ||
        all_zero(text + TRACE_AT, TRACE_ID_BYTES * 2) ||
        all_zero(text + SPAN_AT, SPAN_ID_BYTES * 2))
        return false;
    unsigned flags = (unsigned)byte_of(text + FLAGS_AT) & (FLAG_SAMPLED | FLAG_RANDOM);
    snprintf(ret, TRACEPARENT_CAP, "00-%.49s-%02x", text + TRACE_AT, flags);
    return true;
}

/* Random bytes as text; they are never all zero. */
static void put_random(char *to, unsigned n_bytes) {
    uint8_t bytes[TRACE_ID_BYTES];
    random_bytes(bytes, n_bytes);
    bytes[0] |= 1;
    for (unsigned i = 0; i < n_bytes; i++) {
        to[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        to[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
}

void traceparent_child(const char *of, char ret[TRACEPARENT_CAP]) {
    memmove(ret, of, TRACEPARENT_CAP);
    put_random(ret + SPAN_AT, SPAN_ID_BYTES);
}

void traceparent_make(char ret[TRACEPARENT_CAP]) {
    snprintf(ret, TRACEPARENT_CAP, "00-%032d-%016d-%02x", 0, 0, FLAG_SAMPLED | FLAG_RANDOM);
    put_random(ret + TRACE_AT, TRACE_ID_BYTES);
    put_random(ret + SPAN_AT, SPAN_ID_BYTES);
}

bool traceparent_sampled(const char *traceparent) {
    return byte_of(traceparent + FLAGS_AT) & FLAG_SAMPLED;
}

static void read_bytes(const char *text, uint8_t *ret, size_t n) {
    for (size_t i = 0; i < n; i++)
        ret[i] = (uint8_t)byte_of(text + 2 * i);
}

void traceparent_ids(const char *traceparent, uint8_t ret_trace[TRACE_ID_BYTES],
                     uint8_t ret_span[SPAN_ID_BYTES]) {
    read_bytes(traceparent + TRACE_AT, ret_trace, TRACE_ID_BYTES);
    read_bytes(traceparent + SPAN_AT, ret_span, SPAN_ID_BYTES);
}

/* ---- tracestate ---- */

static bool is_lower(char c) {
    return c >= 'a' && c <= 'z';
}

static bool is_key_char(char c) {
    return is_lower(c) || (c >= '0' && c <= '9') || (c && strchr("_-*/@", c));
}

/* KEY, or TENANT@SYSTEM: at most 241 and 14 characters; a key alone begins with a letter. */
static bool key_valid(const char *key, size_t len) {
    const char *at = memchr(key, '@', len);
    size_t tenant = at ? (size_t)(at - key) : len, system = at ? len - tenant - 1 : 0;
    if (len == 0 || len > KEY_MAX || tenant == 0 || (!at && !is_lower(key[0])) ||
        (at && (tenant > 241 || system == 0 || system > 14 || !is_lower(at[1]) ||
                memchr(at + 1, '@', system))))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!is_key_char(key[i]))
            return false;
    return key[0] != '_' && key[0] != '-' && key[0] != '*' && key[0] != '/';
}

/* Printable characters but ',' and '='. What ends it is no space: that was trimmed. */
static bool value_valid(const char *value, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (value[i] < ' ' || value[i] > '~' || value[i] == ',' || value[i] == '=')
            return false;
    return len >= 1 && len <= VALUE_MAX;
}

static bool member_valid(const char *member, size_t len) {
    const char *equals = memchr(member, '=', len);
    size_t key = equals ? (size_t)(equals - member) : 0;
    return equals && key_valid(member, key) && value_valid(equals + 1, len - key - 1);
}

bool tracestate_valid(const char *text) {
    if (strnlen(text, TRACESTATE_CAP) >= TRACESTATE_CAP)
        return false;
    unsigned members = 0;
    for (const char *at = text;; at++) {
        at += strspn(at, " \t");
        size_t len = strcspn(at, ","), used = len;
        while (used > 0 && (at[used - 1] == ' ' || at[used - 1] == '\t'))
            used--;
        if (used > 0 && (++members > MEMBERS_MAX || !member_valid(at, used)))
            return false;
        at += len;
        if (!*at)
            return members > 0;
    }
}
