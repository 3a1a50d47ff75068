/* test_log_text.c: where text may be cut; and base64, which carries what is no text. */
#include "api/call/log_text.h"

#include "base/base64.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void whole(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t want;
    } cases[] = {
        {"", 0},
        {"abc", 3},
        {"ab\xc3", 2},     /* of two bytes */
        {"ab\xc3\xa9", 4}, /* é */
        {"\xe2\x82", 0},   /* of three */
        {"x\xe2", 1},
        {"x\xe2\x82\xac", 4}, /* € */
        {"x\xf0\x9f\x98", 1}, /* of four */
        {"x\xf0\x9f", 1},
        {"x\xf0", 1},
        {"x\xf0\x9f\x98\x80", 5},
        {"x\x80", 2}, /* no rest makes a character of these: they are shown as they are */
        {"x\x80\x80\x80\x80", 5},
        {"x\xc0", 2},
        {"x\xff", 2},
        {"x\xe0\x80", 3}, /* overlong */
        {"x\xe0\xa0", 1},
        {"x\xed\xa0", 3}, /* a surrogate */
        {"x\xed\x9f", 1},
        {"x\xf4\x90", 3}, /* beyond U+10FFFF */
        {"x\xf4\x8f\xbf", 1},
        {"x\xf5", 2},
        {"x\xc3\xa9\xa9", 4},
        {"x\xe2\x82\xacy", 5},
    };
    for (size_t i = 0; i < LH_COUNT(cases); i++)
        if (log_text_whole(cases[i].bytes, strlen(cases[i].bytes)) != cases[i].want)
            fail_msg("case %zu", i);
}

/* Every prefix of every character of the ranges' ends waits; nothing else does. */
static void whole_of_prefixes(void **state) {
    (void)state;
    static const char *const characters[] = {
        "\xc2\x80",     "\xdf\xbf",         "\xe0\xa0\x80",     "\xed\x9f\xbf",     "\xee\x80\x80",
        "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "\xf1\x80\x80\x80",
    };
    for (size_t i = 0; i < LH_COUNT(characters); i++) {
        size_t len = strlen(characters[i]);
        assert_int_equal(log_text_whole(characters[i], len), len);
        for (size_t part = 1; part < len; part++)
            assert_int_equal(log_text_whole(characters[i], part), 0);
    }
}

static void rest(void **state) {
    (void)state;
    assert_int_equal(log_text_rest("", 0), 0);
    assert_int_equal(log_text_rest("abc", 3), 0);
    assert_int_equal(log_text_rest("\x82\xac"
                                   "a",
                                   3),
                     2);
    assert_int_equal(log_text_rest("\x80\x80\x80\x80", 4), 3);
}

static void lines(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t n;
        size_t head, tail;
        bool all;
    } cases[] = {
        {"", 1, 0, 0, true},           {"a", 1, 1, 0, true},        {"a\n", 1, 2, 0, true},
        {"a\nb", 1, 2, 2, false},      {"a\nb\n", 1, 2, 2, false},  {"a\nb\n", 2, 4, 0, true},
        {"a\nb\nc\n", 2, 4, 2, false}, {"a\nb\nc", 2, 4, 2, false}, {"a\nb\nc", 9, 5, 0, true},
        {"\n\n\n", 2, 2, 1, false},    {"aaa\n\n", 1, 4, 4, false},
    };
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        size_t len = strlen(cases[i].text);
        bool all;
        if (log_text_head(cases[i].text, len, cases[i].n) != cases[i].head ||
            log_text_tail(cases[i].text, len, cases[i].n, &all) != cases[i].tail ||
            all != cases[i].all)
            fail_msg("case %zu", i);
    }
}

static void base64_both_ways(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        const char *text;
    } cases[] = {{"", 0, ""},
                 {"f", 1, "Zg=="},
                 {"fo", 2, "Zm8="},
                 {"foo", 3, "Zm9v"},
                 {"foobar", 6, "Zm9vYmFy"},
                 {"\0\xff\xfe", 3, "AP/+"},
                 {"\xfb\xf0", 2, "+/A="}};
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        LH_CLEANUP_BUF struct buf buf;
        char *bytes = NULL;
        size_t len = 0;
        buf_init(&buf, 100);
        base64_put(&buf, cases[i].bytes, cases[i].len);
        buf_str(&buf, "");
        assert_int_equal(buf_rc(&buf), RC_OK);
        assert_string_equal(buf.data ? buf.data : "", cases[i].text);
        assert_int_equal(base64_read(cases[i].text, strlen(cases[i].text), &bytes, &len), RC_OK);
        assert_int_equal(len, cases[i].len);
        assert_memory_equal(bytes, cases[i].bytes, len);
        free(bytes);
    }
}

static void base64_refused(void **state) {
    (void)state;
    static const char *const cases[] = {"A",    "AA",   "AAA",      "A===", "====",
                                        "AB==", "AAB=", "Zg==Zg==", "Zm9 ", "Zm9\n",
                                        "Zm-_", "=AAA", "A=AA",     "AA=A", "Zm9vZ"};
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        char *bytes = NULL;
        size_t len = 0;
        if (base64_read(cases[i], strlen(cases[i]), &bytes, &len) != RC_INVALID_PARAMETER)
            fail_msg("%s is taken", cases[i]);
        assert_null(bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),
        cmocka_unit_test(whole_of_prefixes),
        cmocka_unit_test(rest),
        cmocka_unit_test(lines),
        cmocka_unit_test(base64_both_ways),
        cmocka_unit_test(base64_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
