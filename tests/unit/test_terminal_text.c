/* test_terminal_text.c: widths, cuts and control characters. */
#include "cli/terminal_text.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void widths(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t width;
    } rows[] = {{"", 0},          {"abc", 3}, {"€ß", 2},       {"任务队列", 8}, {"a🐋b", 4},
                {"e\xcc\x81", 1}, {"한", 2},  {"\xff\xfe", 2}, {"ｆｕ", 4},     {"\xe4\xbb", 2}};
    for (size_t i = 0; i < LH_COUNT(rows); i++)
        assert_int_equal(terminal_text_width(rows[i].text, strlen(rows[i].text)), rows[i].width);
}

static void cuts(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t columns, bytes;
    } rows[] = {{"abc", 2, 2},        {"abc", 9, 3},      {"", 3, 0},
                {"任务", 3, 3},       {"任务", 4, 6},     {"任务", 1, 0},
                {"e\xcc\x81x", 1, 3}, {"\xff\xff", 1, 1}, {"a\xe4\xbb\xbb", 2, 1}};
    for (size_t i = 0; i < LH_COUNT(rows); i++)
        assert_int_equal(terminal_text_fit(rows[i].text, strlen(rows[i].text), rows[i].columns),
                         rows[i].bytes);
}

static void assert_written(const char *text, size_t len, bool lines, const char *wanted) {
    char *got = NULL;
    size_t got_len;
    FILE *to = open_memstream(&got, &got_len);
    assert_non_null(to);
    terminal_text_write(to, text, len, lines);
    fclose(to);
    assert_string_equal(got, wanted);
    free(got);
}

static void what_is_written(void **state) {
    (void)state;
    assert_written("a\tb\r\n", 5, true, "a\tb\r\n");
    assert_written("a\tb\n", 4, false, "a?b?");
    assert_written("\x1b[31m\0\x7f", 7, true, "^[[31m^@^?");
    assert_written("\x1b]0;x\x07", 6, false, "?]0;x?");
    assert_written("x\xc2\x9b"
                   "2J €",
                   9, true, "x?2J €"); /* CSI as one character */
    assert_written("\x9b", 1, true, "?");
    assert_written("\xff", 1, true, "\xff");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(widths),
        cmocka_unit_test(cuts),
        cmocka_unit_test(what_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
