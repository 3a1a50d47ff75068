/* test_manual.c: texts of the tables as man(7) source. */
#include "config/manual.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* What a text becomes behind a title. */
static void assert_text(const char *text, const char *wanted) {
    char *got = NULL;
    size_t len;
    FILE *to = open_memstream(&got, &len);
    assert_non_null(to);
    manual_section(to, "T");
    manual_text(to, text);
    fclose(to);
    assert_true(strncmp(got, ".SH \"T\"\n", 8) == 0);
    assert_string_equal(got + 8, wanted);
    free(got);
}

static void texts(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"", ""},
        {"One.", "One.\n"},
        {"One.\n\nTwo\nlines.", "One.\n.PP\nTwo\nlines.\n"},
        {".dot, 'quote' and \\", "\\&.dot, \\(aqquote\\(aq and \\e\n"},
        {"`--all` is `code`", "\\fB\\-\\-all\\fR is \\fBcode\\fR\n"},
        {"`over\ntwo` lines", "\\fBover\ntwo\\fR lines\n"},
        {"é…🐋", "\\[u00E9]\\[u2026]\\[u1F40B]\n"},
        {"See:\n\n  longhaul `x`\n  more\n\nAfter.",
         "See:\n.PP\n.nf\n.RS\nlonghaul `x`\nmore\n.RE\n.fi\n.PP\nAfter.\n"},
        {"  example", ".nf\n.RS\nexample\n.RE\n.fi\n"},
        {"```\na\n\nb\n```\nc", ".nf\n.RS\na\n\nb\n.RE\n.fi\n.PP\nc\n"},
    };
    for (size_t i = 0; i < LH_COUNT(rows); i++)
        assert_text(rows[i][0], rows[i][1]);
}

static void items_and_usage(void **state) {
    (void)state;
    char *got = NULL;
    size_t len;
    FILE *to = open_memstream(&got, &len);
    assert_non_null(to);
    manual_subsection(to, "say \"it\"");
    manual_usage(to, "longhaul list [OPTION]...");
    manual_usage(to, "longhaul help");
    manual_item(to, "--file FILE", "read `it`");
    manual_see_also(to, (const struct manual_page[]){{"longhaul-api", 8}, {"longhaul", 1}, {0}});
    fclose(to);
    assert_string_equal(got, ".SS \"say \\(dqit\\(dq\"\n"
                             "\\fBlonghaul\\fR list [OPTION]...\n"
                             ".PP\n\\fBlonghaul\\fR help\n"
                             ".TP\n.B \"\\-\\-file FILE\"\nread \\fBit\\fR\n"
                             ".SH \"SEE ALSO\"\n.BR longhaul\\-api (8),\n.BR longhaul (1)\n");
    free(got);
}

static void heads(void **state) {
    (void)state;
    char *got = NULL;
    size_t len;
    FILE *to = open_memstream(&got, &len);
    assert_non_null(to);
    manual_begin(to, "longhaul-api", 8, "serves");
    fclose(to);
    assert_true(strncmp(got, ".TH LONGHAUL\\-API 8 ", 20) == 0);
    assert_non_null(strstr(got, ".SH NAME\nlonghaul\\-api \\- serves\n"));
    free(got);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),
        cmocka_unit_test(items_and_usage),
        cmocka_unit_test(heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
