/* The token check. */
#include "base/auth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct {
    const char *header;
    bool ok;
} cases[] = {
    {NULL, false},           {"", false},        {"secret", true},   {"Bearer secret", true},
    {"bearer secret", true}, {"Bearer", false},  {"Bearer ", false}, {"secre", false},
    {"secrets", false},      {"secret ", false}, {"Secret", false},  {"Basic secret", false},
};

static void test_headers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *given = auth_token_text(cases[i].header);
        if ((given && auth_token_ok(given, "secret")) != cases[i].ok)
            fail_msg("%s", cases[i].header ? cases[i].header : "(none)");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_headers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
