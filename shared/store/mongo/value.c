/* value.c: carried values between JSON text and BSON. */
#include "store/mongo/value.h"

#include "base/clock.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Full-width stand-ins for what a key may not hold everywhere. */
static const char wide_dollar[] = "\xEF\xBC\x84";
static const char wide_dot[] = "\xEF\xBC\x8E";
static const char empty_key[] = "\xEF\xBC\xBF";

/* A value on its way into BSON. */
struct build {
    bool exact;
    bool failed; /* out of memory, or longer than BSON can be */
};

static bool key_is_plain(const char *key) {
    return key[0] != '\0' && key[0] != '$' && !strchr(key, '.');
}

static bool key_has_stand_in(const char *key) {
    return strcmp(key, empty_key) == 0 || strstr(key, wide_dot) ||
           strncmp(key, wide_dollar, strlen(wide_dollar)) == 0;
}

/* True where every key can be written, if need be with stand-ins that no other key looks like. */
static bool keys_are_writable(json_t *object) {
    bool odd = false, taken = false;
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        odd |= !key_is_plain(key);
        taken |= key_has_stand_in(key);
    }
    return !odd || !taken;
}

static void key_stand_in(const char *key, struct buf *to) {
    if (!key[0])
        buf_str(to, empty_key);
    for (const char *p = key; *p; p++) {
        if (*p == '.')
            buf_str(to, wide_dot);
        else if (*p == '$' && p == key)
            buf_str(to, wide_dollar);
        else
            buf_char(to, *p);
    }
}

static void build_value(struct build *build, bson_t *to, const char *key, json_t *value, int depth);

static void build_json_string(struct build *build, bson_t *to, const char *key, json_t *value) {
    build->exact = false;
    LH_FREE char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text || !bson_append_utf8(to, key, -1, text, -1))
        build->failed = true;
}

static void build_member(struct build *build, bson_t *to, const char *key, json_t *value,
                         int depth) {
    if (key_is_plain(key)) {
        build_value(build, to, key, value, depth);
        return;
    }
    LH_CLEANUP_BUF struct buf name;
    buf_init(&name, 3 * strlen(key) + sizeof empty_key);
    key_stand_in(key, &name);
    build->exact = false;
    if (buf_rc(&name) == RC_OK)
        build_value(build, to, name.data, value, depth);
    else
        build->failed = true;
}

static void build_object(struct build *build, bson_t *to, const char *key, json_t *object,
                         int depth) {
    bson_t inner;
    if (!bson_append_document_begin(to, key, -1, &inner)) {
        build->failed = true;
        return;
    }
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value) build_member(build, &inner, name, value, depth + 1);
    build->failed |= !bson_append_document_end(to, &inner);
}

static void build_array(struct build *build, bson_t *to, const char *key, json_t *array,
                        int depth) {
    bson_t inner;
    if (!bson_append_array_begin(to, key, -1, &inner)) {
        build->failed = true;
        return;
    }
    size_t i;
    json_t *value;
    json_array_foreach(array, i, value) {
        char room[16];
        const char *index;
        bson_uint32_to_string((uint32_t)i, &index, room, sizeof room);
        build_value(build, &inner, index, value, depth + 1);
    }
    build->failed |= !bson_append_array_end(to, &inner);
}

static bool build_integer(bson_t *to, const char *key, json_int_t value) {
    if (value >= INT32_MIN && value <= INT32_MAX)
        return bson_append_int32(to, key, -1, (int32_t)value);
    return bson_append_int64(to, key, -1, value);
}

static bool build_scalar(bson_t *to, const char *key, json_t *value) {
    switch (json_typeof(value)) {
    case JSON_STRING:
        return bson_append_utf8(to, key, -1, json_string_value(value),
                                (int)json_string_length(value));
    case JSON_INTEGER:
        return build_integer(to, key, json_integer_value(value));
    case JSON_REAL:
        return bson_append_double(to, key, -1, json_real_value(value));
    case JSON_TRUE:
    case JSON_FALSE:
        return bson_append_bool(to, key, -1, json_is_true(value));
    default:
        return bson_append_null(to, key, -1);
    }
}

static void build_value(struct build *build, bson_t *to, const char *key, json_t *value,
                        int depth) {
    if (build->failed)
        return;
    bool holds = json_is_object(value) || json_is_array(value);
    if (!holds)
        build->failed |= !build_scalar(to, key, value);
    else if (depth >= MONGO_VALUE_DEPTH_MAX)
        build_json_string(build, to, key, value);
    else if (json_is_array(value))
        build_array(build, to, key, value, depth);
    else if (keys_are_writable(value))
        build_object(build, to, key, value, depth);
    else
        build_json_string(build, to, key, value);
}

enum rc mongo_value_append(bson_t *to, const char *key, struct json_span text, bool *ret_exact) {
    json_error_t fault;
    size_t flags = JSON_ALLOW_NUL | JSON_DECODE_ANY;
    LH_JSON value = json_loadb(text.at, text.len, flags, &fault);
    if (!value)
        return json_error_code(&fault) == json_error_out_of_memory ? RC_NO_MEMORY
                                                                   : RC_INVALID_PARAMETER;
    struct build build = {.exact = true};
    uint32_t before = to->len;
    bson_t whole = BSON_INITIALIZER;
    build_value(&build, &whole, key, value, 0);
    if (!build.failed && whole.len > MONGO_VALUE_BYTES_MAX) {
        build.exact = false;
        bson_reinit(&whole);
        build.failed = !bson_append_utf8(&whole, key, -1, "(too large to show)", -1);
    }
    bool appended = !build.failed && bson_concat(to, &whole);
    bson_destroy(&whole);
    if (!appended)
        return to->len == before ? RC_NO_MEMORY : RC_INTERNAL;
    *ret_exact = build.exact;
    return RC_OK;
}

/* The shortest of 15 to 17 digits that reads back the same, always recognisable as a real. */
static void text_of_double(double value, struct buf *to) {
    if (!isfinite(value)) {
        buf_str(to, isnan(value) ? "\"NaN\"" : value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
        return;
    }
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    buf_str(to, text);
    if (!strpbrk(text, ".e"))
        buf_str(to, ".0");
}

static void text_of_date(int64_t at_ms, struct buf *to) {
    char text[CLOCK_TEXT_CAP];
    if (at_ms < 0 || at_ms >= INT64_C(253402300800000)) { /* the year 10000 */
        buf_printf(to, "\"%lld ms\"", (long long)at_ms);
        return;
    }
    clock_to_text(at_ms, text);
    buf_json_str(to, text);
}

static void text_of_base64(const uint8_t *bytes, size_t len, struct buf *to) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    buf_char(to, '"');
    for (size_t i = 0; i < len; i += 3) {
        size_t have = len - i < 3 ? len - i : 3;
        uint32_t three = (uint32_t)bytes[i] << 16;
        three |= have > 1 ? (uint32_t)bytes[i + 1] << 8 : 0;
        three |= have > 2 ? bytes[i + 2] : 0;
        for (size_t k = 0; k < 4; k++)
            buf_char(to, k > have ? '=' : digits[three >> (18 - 6 * k) & 63]);
    }
    buf_char(to, '"');
}

static void text_of_inner(const bson_iter_t *iter, bool array, struct buf *to) {
    bson_iter_t inner;
    const char *between = "";
    buf_char(to, array ? '[' : '{');
    if (bson_iter_recurse(iter, &inner))
        while (bson_iter_next(&inner)) {
            buf_str(to, between);
            between = ",";
            if (!array) {
                buf_json_str(to, bson_iter_key(&inner));
                buf_char(to, ':');
            }
            mongo_value_text(&inner, to);
        }
    buf_char(to, array ? ']' : '}');
}

/* Types that no JSON value of ours becomes; other programs may have written them. */
static void text_of_foreign(const bson_iter_t *iter, struct buf *to) {
    bson_decimal128_t decimal;
    char text[BSON_DECIMAL128_STRING];
    const uint8_t *bytes;
    uint32_t len, increment;
    bson_subtype_t subtype;
    switch (bson_iter_type(iter)) {
    case BSON_TYPE_OID:
        bson_oid_to_string(bson_iter_oid(iter), text);
        buf_json_str(to, text);
        break;
    case BSON_TYPE_DATE_TIME:
        text_of_date(bson_iter_date_time(iter), to);
        break;
    case BSON_TYPE_TIMESTAMP:
        bson_iter_timestamp(iter, &len, &increment);
        text_of_date((int64_t)len * 1000, to);
        break;
    case BSON_TYPE_DECIMAL128:
        bson_iter_decimal128(iter, &decimal);
        bson_decimal128_to_string(&decimal, text);
        buf_json_str(to, text);
        break;
    case BSON_TYPE_BINARY:
        bson_iter_binary(iter, &subtype, &len, &bytes);
        text_of_base64(bytes, len, to);
        break;
    case BSON_TYPE_REGEX:
        buf_json_str(to, bson_iter_regex(iter, NULL));
        break;
    case BSON_TYPE_CODE:
        buf_json_str(to, bson_iter_code(iter, NULL));
        break;
    case BSON_TYPE_SYMBOL:
        buf_json_str(to, bson_iter_symbol(iter, NULL));
        break;
    default:
        buf_str(to, "null");
    }
}

void mongo_value_text(const bson_iter_t *iter, struct buf *to) {
    uint32_t len;
    const char *text;
    switch (bson_iter_type(iter)) {
    case BSON_TYPE_UTF8:
        text = bson_iter_utf8(iter, &len);
        buf_json(to, text, len);
        break;
    case BSON_TYPE_DOCUMENT:
    case BSON_TYPE_ARRAY:
        text_of_inner(iter, BSON_ITER_HOLDS_ARRAY(iter), to);
        break;
    case BSON_TYPE_DOUBLE:
        text_of_double(bson_iter_double(iter), to);
        break;
    case BSON_TYPE_INT32:
    case BSON_TYPE_INT64:
        buf_int(to, bson_iter_as_int64(iter));
        break;
    case BSON_TYPE_BOOL:
        buf_str(to, bson_iter_bool(iter) ? "true" : "false");
        break;
    default:
        text_of_foreign(iter, to);
    }
}

bool mongo_value_is_of(const bson_iter_t *iter, struct json_span text) {
    bson_t made = BSON_INITIALIZER, found = BSON_INITIALIZER;
    bool exact, same = mongo_value_append(&made, "v", text, &exact) == RC_OK &&
                       bson_append_iter(&found, "v", 1, iter) && bson_equal(&made, &found);
    bson_destroy(&made);
    bson_destroy(&found);
    return same;
}
