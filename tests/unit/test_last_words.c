/* The line of stderr that an error text quotes, of what programs in several languages print when
 * they die. */
#include "consumer/slot/last_words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *printed;
    const char *why; /* "": no line says it */
} cases[] = {
    {"", ""},
    {"\n \t\r\n", ""},
    {"start\nit broke\n\n", "it broke"},
    {"  it broke, and is indented\n", "  it broke, and is indented"},
    {"Traceback (most recent call last):\n  File \"x.py\", line 1, in <module>\nKeyError: 'text'\n",
     "KeyError: 'text'"},
    {"/m/length.js:6\n  x.text.length\n         ^\n\nTypeError: Cannot read properties of "
     "undefined\n"
     "    at ReadStream.<anonymous> (/m/length.js:6:60)\n    at node:internal/x:82:21\n\n"
     "Node.js v20.20.2\n",
     "TypeError: Cannot read properties of undefined"},
    {"Error: ENOENT: no such file, open '/nope'\n    at Object.openSync (node:fs:573:18)\n"
     "    at [eval]:1:15 {\n  errno: -2,\n  code: 'ENOENT'\n}\n\nNode.js v20.20.2\n",
     "Error: ENOENT: no such file, open '/nope'"},
    {"Exception in thread \"main\" java.lang.RuntimeException: no such colour\n"
     "\tat T.main(T.java:1)\nCaused by: java.io.IOException: gone\n\tat T.main(T.java:2)\n\t... 7 "
     "more\n",
     "Caused by: java.io.IOException: gone"},
    {"panic: runtime error: index out of range [3] with length 0\n\ngoroutine 1 [running]:\n"
     "main.main()\n\t/m/t.go:3 +0x4b\nexit status 2\n",
     "panic: runtime error: index out of range [3] with length 0"},
    {"panic: nil map\n[signal SIGSEGV: segmentation violation code=0x1]\n\ngoroutine 1 [running]:\n"
     "main.main()\n\ngoroutine 7 [select]:\nmain.f()\n",
     "panic: nil map"},
    {"goroutine 1 [running]:\nmain.f()\n\nand on it goes\n", "and on it goes"},
    {"thread 'main' panicked at src/main.rs:2:5:\nno such colour\nstack backtrace:\n   0: f\n"
     "             at ./src/main.rs:2:5\nnote: run with `RUST_BACKTRACE=1` environment variable\n",
     "no such colour"},
    {"RuntimeError: again\n    at f\nsecond thoughts\n", "second thoughts"},
    {"\xe5\xa4\xb1\xe8\xb4\xa5\n", "\xe5\xa4\xb1\xe8\xb4\xa5"},
    {"goroutine \n", "goroutine "},
    {"???\n", "???"},
};

static void test_last_words(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum stack_trace trace = TRACE_NONE;
        char why[256] = "";
        const char *line = cases[i].printed;
        for (const char *end; (end = strchr(line, '\n')); line = end + 1)
            if (last_words_say_why(&trace, line, (size_t)(end - line)))
                snprintf(why, sizeof why, "%.*s", (int)(end - line), line);
        assert_string_equal(why, cases[i].why);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_last_words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
