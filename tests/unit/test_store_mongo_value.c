/* test_store_mongo_value.c: carried values through BSON and back. */
#include "base/mem.h"
#include "store/mongo/value.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct json_span span(const char *text) {
    return (struct json_span){text, strlen(text)};
}

/* The field "v" of `doc` as JSON text; the caller frees it. */
static char *text_of(const bson_t *doc) {
    bson_iter_t iter;
    struct buf text;
    buf_init(&text, 1 << 26);
    assert_true(bson_iter_init_find(&iter, doc, "v"));
    mongo_value_text(&iter, &text);
    return buf_take(&text, NULL);
}

static char *through_bson(struct json_span text, bool *ret_exact) {
    bson_t doc = BSON_INITIALIZER;
    size_t at;
    assert_int_equal(mongo_value_append(&doc, "v", text, ret_exact), RC_OK);
    assert_true(bson_validate(&doc, BSON_VALIDATE_UTF8 | BSON_VALIDATE_UTF8_ALLOW_NULL, &at));
    char *back = text_of(&doc);
    bson_destroy(&doc);
    assert_non_null(back);
    return back;
}

/* What goes in and what comes out; NULL: the same text. */
static const struct {
    const char *in, *out;
} exact_cases[] = {
    {"null", NULL},
    {"true", NULL},
    {"false", NULL},
    {"0", NULL},
    {"-0", "0"},
    {"1", NULL},
    {"2147483647", NULL},
    {"2147483648", NULL},
    {"-2147483649", NULL},
    {"9223372036854775807", NULL},
    {"-9223372036854775808", NULL},
    {"1.0", NULL},
    {"-0.0", NULL},
    {"1e5", "100000.0"},
    {"1E+2", "100.0"},
    {"0.1", NULL},
    {"0.30000000000000004", NULL},
    {"1.7976931348623157e+308", NULL},
    {"5e-324", "4.94065645841247e-324"},
    {"123456789012345678.0", "1.2345678901234568e+17"},
    {"\"\"", NULL},
    {"\"a\\u0000b\"", NULL},
    {"\"\\ud83d\\ude00 \\u00e9\"", "\"\xF0\x9F\x98\x80 \xC3\xA9\""},
    {"\"\\\"\\\\\\/\\n\"", "\"\\\"\\\\/\\n\""},
    {"[]", NULL},
    {"{}", NULL},
    {"[[],{},[null]]", NULL},
    {"{\"x\":\"x\",\"n\":{\"y\":[1,2.5,\"z\"]}}", NULL},
    {"{\"b\":1,\"a\":2}", NULL},
    {"{\"a$b\":1,\"0\":2,\"_id\":3,\"lh\":4}", NULL},
    {"{\"\xEF\xBC\x84x\":1,\"\xEF\xBC\xBF\":2}", NULL}, /* stand-ins where nothing needs one */
};

static void values_come_back_equal(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(exact_cases); i++) {
        const char *in = exact_cases[i].in, *out = exact_cases[i].out ? exact_cases[i].out : in;
        bool exact = false;
        LH_FREE char *back = through_bson(span(in), &exact);
        assert_true(exact);
        assert_true(json_equal_text(span(in), span(back)));
        assert_string_equal(back, out);
    }
}

/* Values that keep their text beside the field, and what a reader sees in the field. */
static const struct {
    const char *in, *likeness;
} odd_cases[] = {
    {"{\"\":1}", "{\"\xEF\xBC\xBF\":1}"},
    {"{\"$x\":1}", "{\"\xEF\xBC\x84x\":1}"},
    {"{\"a.b\":1}", "{\"a\xEF\xBC\x8E"
                    "b\":1}"},
    {"{\".\":{\"$\":[]}}", "{\"\xEF\xBC\x8E\":{\"\xEF\xBC\x84\":[]}}"},
    {"{\"$date\":5}", "{\"\xEF\xBC\x84"
                      "date\":5}"},
    {"[{\"$oid\":\"0\"}]", "[{\"\xEF\xBC\x84oid\":\"0\"}]"},
    {"{\"a\":{\"\":{\"b\":2}}}", "{\"a\":{\"\xEF\xBC\xBF\":{\"b\":2}}}"},
    {"{\"a.b\":1,\"a\xEF\xBC\x8E"
     "b\":2}",
     "\"{\\\"a.b\\\":1,\\\"a\xEF\xBC\x8E"
     "b\\\":2}\""},
};

static void odd_keys_get_stand_ins(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(odd_cases); i++) {
        bool exact = true;
        LH_FREE char *back = through_bson(span(odd_cases[i].in), &exact);
        assert_false(exact);
        assert_string_equal(back, odd_cases[i].likeness);
    }
}

static char *nested(int depth, char open, char close) {
    struct buf text;
    buf_init(&text, 4096);
    for (int i = 0; i < depth; i++)
        buf_char(&text, open);
    for (int i = 0; i < depth; i++)
        buf_char(&text, close);
    return buf_take(&text, NULL);
}

static void deep_nesting_becomes_text(void **state) {
    (void)state;
    static const struct {
        int depth;
        bool exact;
    } cases[] = {{1, true},
                 {MONGO_VALUE_DEPTH_MAX, true},
                 {MONGO_VALUE_DEPTH_MAX + 1, false},
                 {JSON_DEPTH_MAX, false}};
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        bool exact = !cases[i].exact;
        LH_FREE char *text = nested(cases[i].depth, '[', ']');
        LH_FREE char *back = through_bson(span(text), &exact);
        assert_int_equal(exact, cases[i].exact);
        assert_int_equal(json_equal_text(span(text), span(back)), cases[i].exact);
    }
}

/* An array of `n` times `item`. */
static char *array_of(const char *item, size_t n) {
    struct buf text;
    buf_init(&text, 1 << 26);
    buf_char(&text, '[');
    for (size_t i = 0; i < n; i++) {
        buf_str(&text, i ? "," : "");
        buf_str(&text, item);
    }
    buf_char(&text, ']');
    return buf_take(&text, NULL);
}

/* The worst that a megabyte of JSON can be as BSON still fits; more keeps its text. */
static void size_is_bounded(void **state) {
    (void)state;
    static const struct {
        const char *item;
        size_t n;
        bool exact;
    } cases[] = {{"1", 512 * 1024 - 1, true},     {"[]", 349 * 1024, true},
                 {"\"\"", 349 * 1024, true},      {"1.0", 262 * 1024, true},
                 {"9999999999", 95 * 1024, true}, {"1", 1024 * 1024, false}};
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        bool exact = !cases[i].exact;
        LH_FREE char *text = array_of(cases[i].item, cases[i].n);
        LH_FREE char *back = through_bson(span(text), &exact);
        assert_int_equal(exact, cases[i].exact);
        if (exact)
            assert_true(json_equal_text(span(text), span(back)));
    }
}

static void long_strings_pass(void **state) {
    (void)state;
    size_t len = 512 * 1024;
    LH_FREE char *text = malloc(len + 3);
    memset(text, 'x', len + 2);
    text[0] = text[len + 1] = '"';
    text[len + 2] = '\0';
    bool exact = false;
    LH_FREE char *back = through_bson(span(text), &exact);
    assert_true(exact);
    assert_string_equal(back, text);
}

static void integers_have_the_width_that_others_write(void **state) {
    (void)state;
    static const struct {
        const char *in;
        bson_type_t type;
    } cases[] = {{"1", BSON_TYPE_INT32},          {"-2147483648", BSON_TYPE_INT32},
                 {"2147483648", BSON_TYPE_INT64}, {"1.0", BSON_TYPE_DOUBLE},
                 {"\"1\"", BSON_TYPE_UTF8},       {"null", BSON_TYPE_NULL},
                 {"{}", BSON_TYPE_DOCUMENT},      {"[]", BSON_TYPE_ARRAY},
                 {"true", BSON_TYPE_BOOL}};
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        bson_t doc = BSON_INITIALIZER;
        bson_iter_t iter;
        bool exact;
        assert_int_equal(mongo_value_append(&doc, "v", span(cases[i].in), &exact), RC_OK);
        assert_true(bson_iter_init_find(&iter, &doc, "v"));
        assert_int_equal(bson_iter_type(&iter), cases[i].type);
        bson_destroy(&doc);
    }
}

static void what_is_not_json_is_refused(void **state) {
    (void)state;
    static const char *const cases[] = {"", "{", "nul", "[1,]", "{\"a\":1}x", "1e400"};
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        bson_t doc = BSON_INITIALIZER;
        bool exact;
        assert_int_equal(mongo_value_append(&doc, "v", span(cases[i]), &exact),
                         RC_INVALID_PARAMETER);
        assert_true(bson_empty(&doc));
        bson_destroy(&doc);
    }
}

static void foreign_types_are_readable(void **state) {
    (void)state;
    bson_oid_t oid;
    bson_decimal128_t decimal;
    bson_oid_init_from_string(&oid, "0123456789abcdef01234567");
    bson_decimal128_from_string("1.50", &decimal);
    bson_t doc = BSON_INITIALIZER, list;
    BSON_APPEND_ARRAY_BEGIN(&doc, "v", &list);
    BSON_APPEND_OID(&list, "0", &oid);
    BSON_APPEND_DATE_TIME(&list, "1", 1000);
    BSON_APPEND_DATE_TIME(&list, "2", -5);
    BSON_APPEND_DECIMAL128(&list, "3", &decimal);
    BSON_APPEND_BINARY(&list, "4", BSON_SUBTYPE_BINARY, (const uint8_t *)"hello", 5);
    BSON_APPEND_BINARY(&list, "5", BSON_SUBTYPE_BINARY, (const uint8_t *)"hell", 4);
    BSON_APPEND_BINARY(&list, "6", BSON_SUBTYPE_BINARY, (const uint8_t *)"hel", 3);
    BSON_APPEND_REGEX(&list, "7", "^a", "i");
    BSON_APPEND_TIMESTAMP(&list, "8", 1, 2);
    BSON_APPEND_DOUBLE(&list, "9", (double)INFINITY);
    BSON_APPEND_UNDEFINED(&list, "10");
    BSON_APPEND_MINKEY(&list, "11");
    BSON_APPEND_UTF8(&list, "12", "bad \xFF byte");
    bson_append_array_end(&doc, &list);
    LH_FREE char *text = text_of(&doc);
    bson_destroy(&doc);
    assert_string_equal(
        text, "[\"0123456789abcdef01234567\",\"1970-01-01T00:00:01.000Z\",\"-5 ms\",\"1.50\","
              "\"aGVsbG8=\",\"aGVsbA==\",\"aGVs\",\"^a\",\"1970-01-01T00:00:01.000Z\","
              "\"Infinity\",null,null,\"bad \xEF\xBF\xBD byte\"]");
}

static void a_field_written_by_others_is_seen(void **state) {
    (void)state;
    const char *text = "{\"a.b\":[1,2.0,{\"$x\":null}]}";
    bson_t doc = BSON_INITIALIZER, other = BSON_INITIALIZER;
    bson_iter_t iter;
    bool exact;
    assert_int_equal(mongo_value_append(&doc, "condition", span(text), &exact), RC_OK);
    assert_true(bson_iter_init_find(&iter, &doc, "condition"));
    assert_true(mongo_value_is_of(&iter, span(text)));
    assert_int_equal(mongo_value_append(&other, "condition", span("{\"a\":1}"), &exact), RC_OK);
    assert_true(bson_iter_init_find(&iter, &other, "condition"));
    assert_false(mongo_value_is_of(&iter, span(text)));
    assert_false(mongo_value_is_of(&iter, span("not json")));
    bson_destroy(&doc);
    bson_destroy(&other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_back_equal),
        cmocka_unit_test(odd_keys_get_stand_ins),
        cmocka_unit_test(deep_nesting_becomes_text),
        cmocka_unit_test(size_is_bounded),
        cmocka_unit_test(long_strings_pass),
        cmocka_unit_test(integers_have_the_width_that_others_write),
        cmocka_unit_test(what_is_not_json_is_refused),
        cmocka_unit_test(foreign_types_are_readable),
        cmocka_unit_test(a_field_written_by_others_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
