/* test_trace.c: traceparent and tracestate, by the cases of the W3C test suite and more. */
#include "base/trace.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TRACE "12345678901234567890123456789012"
#define SPAN "1234567890123456"
#define GOOD "00-" TRACE "-" SPAN "-01"

/* NULL: it is none. */
static const struct {
    const char *text, *read;
} parents[] = {
    {GOOD, GOOD},
    {"00-" TRACE "-" SPAN "-00", "00-" TRACE "-" SPAN "-00"},
    {"00-" TRACE "-" SPAN "-03", "00-" TRACE "-" SPAN "-03"},
    {"00-" TRACE "-" SPAN "-ff", "00-" TRACE "-" SPAN "-03"},
    {"00-" TRACE "-" SPAN "-fc", "00-" TRACE "-" SPAN "-00"},
    {"00-0000000000000000000000000000000a-000000000000000b-01",
     "00-0000000000000000000000000000000a-000000000000000b-01"},
    /* later versions */
    {"cc-" TRACE "-" SPAN "-01", GOOD},
    {"cc-" TRACE "-" SPAN "-01-what-the-future-will-be-like", GOOD},
    {"cc-" TRACE "-" SPAN "-01-", GOOD},
    {"cc-" TRACE "-" SPAN "-01.what-the-future-will-be-like", NULL},
    {"cc-" TRACE "-" SPAN "-011", NULL},
    {"00-" TRACE "-" SPAN "-01.", NULL},
    {"00-" TRACE "-" SPAN "-01-what-the-future-will-be-like", NULL},
    {"00-" TRACE "-" SPAN "-01-", NULL},
    {"ff-" TRACE "-" SPAN "-01", NULL},
    /* the version's digits */
    {".0-" TRACE "-" SPAN "-01", NULL},
    {"0.-" TRACE "-" SPAN "-01", NULL},
    {"000-" TRACE "-" SPAN "-01", NULL},
    {"0000-" TRACE "-" SPAN "-01", NULL},
    {"0-" TRACE "-" SPAN "-01", NULL},
    {"CC-" TRACE "-" SPAN "-01", NULL},
    /* the trace */
    {"00-00000000000000000000000000000000-" SPAN "-01", NULL},
    {"00-.2345678901234567890123456789012-" SPAN "-01", NULL},
    {"00-1234567890123456789012345678901.-" SPAN "-01", NULL},
    {"00-" TRACE "3-" SPAN "-01", NULL},
    {"00-1234567890123456789012345678901-" SPAN "-01", NULL},
    {"00-ABCDEF78901234567890123456789012-" SPAN "-01", NULL},
    /* the span */
    {"00-" TRACE "-0000000000000000-01", NULL},
    {"00-" TRACE "-.234567890123456-01", NULL},
    {"00-" TRACE "-123456789012345.-01", NULL},
    {"00-" TRACE "-" SPAN "7-01", NULL},
    {"00-" TRACE "-123456789012345-01", NULL},
    {"00-" TRACE "-ABCDEF0123456789-01", NULL},
    /* the flags */
    {"00-" TRACE "-" SPAN "-.0", NULL},
    {"00-" TRACE "-" SPAN "-0.", NULL},
    {"00-" TRACE "-" SPAN "-001", NULL},
    {"00-" TRACE "-" SPAN "-1", NULL},
    {"00-" TRACE "-" SPAN "-0A", NULL},
    {"00-" TRACE "-" SPAN "-", NULL},
    {"00-" TRACE "-" SPAN, NULL},
    /* what stands between */
    {"00_" TRACE "-" SPAN "-01", NULL},
    {"00-" TRACE "_" SPAN "-01", NULL},
    {"00-" TRACE "-" SPAN "_01", NULL},
    {" " GOOD, NULL},
    {GOOD " ", NULL},
    {GOOD "," GOOD, NULL},
    {"", NULL},
    {"00", NULL},
    {"-", NULL},
};

static void test_read(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(parents); i++) {
        char ret[TRACEPARENT_CAP] = "untouched";
        bool good = traceparent_read(parents[i].text, ret);
        const char *wanted = parents[i].read ? parents[i].read : "untouched";
        if (good != !!parents[i].read || strcmp(ret, wanted) != 0)
            fail_msg("%s: %d, %s", parents[i].text, good, ret);
    }
}

static void test_child(void **state) {
    (void)state;
    char child[TRACEPARENT_CAP], again[TRACEPARENT_CAP], read[TRACEPARENT_CAP];
    traceparent_child("00-" TRACE "-" SPAN "-00", child);
    assert_true(traceparent_read(child, read));
    assert_string_equal(read, child);
    assert_memory_equal(child, GOOD, 36);
    assert_memory_not_equal(child + 36, SPAN, 16);
    assert_string_equal(child + 52, "-00");
    memcpy(again, child, sizeof again);
    traceparent_child(again, again);
    assert_memory_equal(again, child, 36);
    assert_memory_not_equal(again + 36, child + 36, 16);
}

static void test_make(void **state) {
    (void)state;
    char one[TRACEPARENT_CAP], other[TRACEPARENT_CAP], read[TRACEPARENT_CAP];
    traceparent_make(one);
    traceparent_make(other);
    assert_true(traceparent_read(one, read));
    assert_string_equal(read, one);
    assert_true(traceparent_sampled(one));
    assert_memory_not_equal(one + 3, other + 3, 32);
    assert_memory_not_equal(one + 36, other + 36, 16);
}

static void test_parts(void **state) {
    (void)state;
    uint8_t trace[TRACE_ID_BYTES], span[SPAN_ID_BYTES];
    traceparent_ids("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02", trace, span);
    assert_memory_equal(trace, "\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c",
                        16);
    assert_memory_equal(span, "\xb7\xad\x6b\x71\x69\x20\x33\x31", 8);
    assert_true(traceparent_sampled(GOOD));
    assert_true(traceparent_sampled("00-" TRACE "-" SPAN "-03"));
    assert_false(traceparent_sampled("00-" TRACE "-" SPAN "-02"));
    assert_false(traceparent_sampled("00-" TRACE "-" SPAN "-00"));
}

#define TEN "a=1,b=2,c=3,d=4,e=5,f=6,g=7,h=8,i=9,j=0,"
#define KEY_64 "a23456789012345678901234567890123456789012345678901234567890123_"
#define KEY_256 KEY_64 KEY_64 KEY_64 KEY_64

static const struct {
    const char *text;
    bool valid;
} states[] = {
    {"foo=1", true},
    {"foo=1,bar=2", true},
    {"foo=1 \t , \tbar=2, \tbaz=3", true},
    {"foo=1\t \t,\t \tbar=2,\t \tbaz=3", true},
    {"foo=1,", true},
    {",foo=1,,bar=2", true},
    {"foo=1,foo=1", true},
    {"foo= a b", true},
    {"fw529a3039@dt=FfzFlvA", true},
    {"0tenant@system=1", true},
    {"a-b_c*d/e=1", true},
    {KEY_256 "=1", true},
    {TEN TEN TEN "x=1,y=2", true},
    {"foo=!\"#$%&'()*+-./0123456789:;<>?@[\\]^_`{|}~", true},
    {"", false},
    {",", false},
    {" \t", false},
    {"foo", false},
    {"foo=", false},
    {"foo= ", false},
    {"=1", false},
    {"foo =1", false},
    {"FOO=1", false},
    {"foo.bar=1", false},
    {"0foo=1", false},
    {"_foo=1", false},
    {"foo@=1,bar=2", false},
    {"@foo=1,bar=2", false},
    {"foo@@bar=1,bar=2", false},
    {"foo@bar@baz=1,bar=2", false},
    {"foo@0bar=1", false},
    {"foo@abcdefghijklmno=1", false},
    {"foo@abcdefghijklmn=1", true},
    {"foo=bar=baz", false},
    {"foo=,bar=3", false},
    {"foo=\x7f", false},
    {"foo=\xc3\xa9", false},
    {KEY_256 "a=1", false},
    {TEN TEN TEN "x=1,y=2,z=3", false},
    {"foo=1;bar=2", false},
    {"foo=1 bar=2", false},
};

static void test_state(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(states); i++)
        if (tracestate_valid(states[i].text) != states[i].valid)
            fail_msg("%s: wanted %d", states[i].text, states[i].valid);
}

static void test_state_length(void **state) {
    (void)state;
    char text[TRACESTATE_CAP + 8];
    size_t len = 0;
    while (len < TRACESTATE_CAP - 1 - 64)
        len += (size_t)snprintf(text + len, sizeof text - len, "k%02zu=%058d,", len / 64, 1);
    snprintf(text + len, sizeof text - len, "last=%0*d", (int)(TRACESTATE_CAP - 1 - len - 5), 1);
    assert_int_equal(strlen(text), TRACESTATE_CAP - 1);
    assert_true(tracestate_valid(text));
    memcpy(text + TRACESTATE_CAP - 1, "1", 2);
    assert_false(tracestate_valid(text));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),  cmocka_unit_test(test_child),
        cmocka_unit_test(test_make),  cmocka_unit_test(test_parts),
        cmocka_unit_test(test_state), cmocka_unit_test(test_state_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
