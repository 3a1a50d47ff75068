/* json.c: strict reading, spans, carried values. */
#include "base/json.h"

#include "base/hex.h"
#include "base/mem.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* jansson 2.14 forgets some failed allocations, even so that a token loses a character: we do not.
 */
static __thread bool starved;

static void *json_malloc(size_t size) {
    void *p = malloc(size);
    starved |= !p;
    return p;
}

static __attribute__((constructor)) void json_setup(void) {
    json_set_alloc_funcs(json_malloc, free);
}

/* json_loadb() that says RC_NO_MEMORY where that is what went wrong. */
static enum rc load(struct json_span text, size_t flags, json_t **ret_root, json_error_t *fault) {
    starved = false;
    json_t *root = json_loadb(text.at, text.len, flags, fault);
    if (root && !starved) {
        *ret_root = root;
        return RC_OK;
    }
    json_decref(root);
    return starved ? RC_NO_MEMORY : RC_INVALID_PARAMETER;
}

/* Past the closing quote of the string that begins at p, or end. */
static const char *skip_string(const char *p, const char *end) {
    for (p++; p < end && *p != '"'; p++)
        if (*p == '\\')
            p++;
    return p < end ? p + 1 : end;
}

/* Past the value that begins at p; works on any text, checked or not, and never beyond end. */
static const char *skip_value(const char *p, const char *end) {
    if (p < end && *p == '"')
        return skip_string(p, end);
    size_t depth = 0;
    while (p < end) {
        if (*p == '"') {
            p = skip_string(p, end);
            continue;
        }
        if (*p == '{' || *p == '[') {
            depth++;
        } else if (*p == '}' || *p == ']') {
            if (depth == 0)
                return p;
            if (--depth == 0)
                return p + 1;
        } else if (depth == 0 && (*p == ',' || json_is_space(*p))) {
            return p;
        }
        p++;
    }
    return end;
}

struct member {
    struct json_span key; /* with its quotes */
    struct json_span value;
};

/* Steps to the next member of an object. Start with *at = just past its '{'. */
static bool next_member(const char **at, const char *end, struct member *ret) {
    const char *p = json_skip_space(*at, end);
    if (p < end && *p == ',')
        p = json_skip_space(p + 1, end);
    if (p >= end || *p != '"')
        return false;
    ret->key.at = p;
    p = skip_string(p, end);
    ret->key.len = (size_t)(p - ret->key.at);
    p = json_skip_space(p, end);
    if (p >= end || *p != ':')
        return false;
    p = json_skip_space(p + 1, end);
    ret->value.at = p;
    p = skip_value(p, end);
    ret->value.len = (size_t)(p - ret->value.at);
    *at = p;
    return true;
}

/* The character at *at of a string that has been checked; UTF-16's unit where it is a \u escape. */
static unsigned next_unit(const char **at, const char *end) {
    static const char escapes[] = "b\bf\fn\nr\rt\t";
    const char *p = *at;
    if (*p != '\\' || end - p < 2) {
        *at = p + 1;
        return (unsigned char)*p;
    }
    if (p[1] == 'u' && end - p >= 6) {
        *at = p + 6;
        return (unsigned)(hex_digit(p[2]) << 12 | hex_digit(p[3]) << 8 | hex_digit(p[4]) << 4 |
                          hex_digit(p[5]));
    }
    *at = p + 2;
    const char *escape = strchr(escapes, p[1]);
    return (unsigned char)(escape && *escape ? escape[1] : p[1]);
}

/* `name` is ASCII, as all names of ours. */
static bool key_is(struct json_span key, const char *name) {
    const char *p = key.at + 1, *end = key.at + key.len - 1;
    while (p < end && *name)
        if (next_unit(&p, end) != (unsigned char)*name++)
            return false;
    return p >= end && !*name;
}

/* Just past the '{' of an object, or NULL. */
static const char *open_object(struct json_span text) {
    const char *end = text.at + text.len, *p = json_skip_space(text.at, end);
    return p < end && *p == '{' ? p + 1 : NULL;
}

bool json_span_member(struct json_span text, const char *name, struct json_span *ret) {
    const char *at = open_object(text);
    struct member member;
    while (at && next_member(&at, text.at + text.len, &member))
        if (key_is(member.key, name)) {
            *ret = member.value;
            return true;
        }
    return false;
}

bool json_span_next(struct json_span *rest, struct json_span *ret_item) {
    const char *end = rest->at + rest->len, *p = json_skip_space(rest->at, end);
    if (p < end && (*p == '[' || *p == ','))
        p = json_skip_space(p + 1, end);
    if (p >= end || *p == ']')
        return false;
    const char *past = skip_value(p, end);
    *ret_item = (struct json_span){p, (size_t)(past - p)};
    *rest = (struct json_span){past, (size_t)(end - past)};
    return past > p;
}

/* The member of the object in `text` whose value or key holds position `pos`. */
static bool member_at(struct json_span text, const char *pos, struct member *ret) {
    const char *at = open_object(text);
    while (at && next_member(&at, text.at + text.len, ret))
        if (pos <= ret->value.at + ret->value.len)
            return pos >= ret->key.at;
    return false;
}

/* The name of the field in which byte `pos` lies, looking through "data"; "body" if there is none.
 */
static void field_at(struct json_span text, size_t pos, char *to, size_t cap) {
    struct member member;
    mem_copy_str(to, cap, "body");
    if (pos > text.len || !member_at(text, text.at + pos, &member))
        return;
    struct member inner;
    if (key_is(member.key, "data")) {
        if (!member_at(member.value, text.at + pos, &inner))
            return;
        member = inner;
    }
    size_t len = member.key.len - 2;
    if (len == 0 || len >= cap)
        return;
    for (size_t i = 0; i < len; i++)
        if (member.key.at[1 + i] < ' ' || member.key.at[1 + i] > '~')
            return;
    memcpy(to, member.key.at + 1, len);
    to[len] = '\0';
}

static const char *fault_text(const json_error_t *fault) {
    switch (json_error_code(fault)) {
    case json_error_duplicate_key:
        return "an object has the same key twice";
    case json_error_numeric_overflow:
        return strstr(fault->text, "integer") ? "an integer is outside 64-bit signed"
                                              : "a real number overflows";
    case json_error_null_byte_in_key:
        return "a key holds a NUL";
    case json_error_stack_overflow:
        return "nested deeper than 64";
    case json_error_invalid_utf8:
        return "not valid UTF-8";
    default:
        return NULL;
    }
}

enum rc json_read(struct json_span text, json_t **ret_root, struct error *err) {
    json_error_t fault;
    size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY;
    enum rc rc = load(text, flags, ret_root, &fault);
    if (rc == RC_OK)
        return RC_OK;
    if (rc == RC_NO_MEMORY)
        return error_set(err, rc, "out of memory while reading JSON");
    char field[64];
    size_t pos = fault.position > 0 ? (size_t)fault.position - 1 : 0;
    field_at(text, pos, field, sizeof field);
    const char *known = fault_text(&fault);
    if (known)
        return error_set(err, RC_INVALID_PARAMETER, "%s: %s", field, known);
    return error_set(err, RC_INVALID_PARAMETER, "%s: " JSON_NOT_JSON ": %s (line %d, column %d)",
                     field, fault.text, fault.line, fault.column);
}

/* True for a real whose digits are not all 0 and whose value is. A NUL ends it. */
static bool underflows(const char *number) {
    bool digits = false, real = false;
    for (const char *p = number; *p; p++) {
        if (*p == 'e' || *p == 'E') {
            real = true;
            break;
        }
        real |= *p == '.';
        digits |= *p >= '1' && *p <= '9';
    }
    return real && digits && fpclassify(strtod(number, NULL)) == FP_ZERO;
}

static bool in_number(char c) {
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

/* The end of the token at p: a string, a number, or one character. */
static const char *skip_token(const char *p, const char *end) {
    if (*p == '"')
        return skip_string(p, end);
    const char *q = p;
    while (q < end && in_number(*q))
        q++;
    return q > p ? q : p + 1;
}

enum rc json_carry(struct json_span value, struct buf *to, struct error *err) {
    const char *p = value.at, *end = value.at + value.len;
    int depth = 0;
    while ((p = json_skip_space(p, end)) < end) {
        const char *past = skip_token(p, end);
        if (*p == '{' || *p == '[')
            depth++;
        else if (*p == '}' || *p == ']')
            depth--;
        if (depth > JSON_DEPTH_MAX)
            return error_set(err, RC_INVALID_PARAMETER, "nested deeper than %d", JSON_DEPTH_MAX);
        size_t before = to->len;
        buf_append(to, p, (size_t)(past - p));
        bool number = *p == '-' || (*p >= '0' && *p <= '9');
        if (number && buf_rc(to) == RC_OK && underflows(to->data + before))
            return error_set(err, RC_INVALID_PARAMETER, "a real number underflows to 0");
        p = past;
    }
    return buf_rc(to) == RC_OK ? RC_OK
                               : error_set(err, buf_rc(to), "%s", rc_info(buf_rc(to))->text);
}

enum rc json_compare(struct json_span a, struct json_span b, bool *ret_equal) {
    bool same_bytes = a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
    size_t flags = JSON_ALLOW_NUL | JSON_DECODE_ANY;
    LH_JSON left = NULL;
    LH_JSON right = NULL;
    json_error_t fault;
    enum rc rc = same_bytes ? RC_OK : load(a, flags, &left, &fault);
    if (rc == RC_OK && !same_bytes)
        rc = load(b, flags, &right, &fault);
    if (rc == RC_OK)
        *ret_equal = same_bytes || json_equal(left, right);
    return rc;
}

bool json_equal_text(struct json_span a, struct json_span b) {
    bool equal = false;
    return json_compare(a, b, &equal) == RC_OK && equal;
}
