/* Form bodies: a table of bodies and the JSON that they mean. */
#include "api/http/form.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *form;
    const char *json; /* or the text of the refusal */
    enum rc rc;
} cases[] = {
    {"", "{}", RC_OK},
    {"data=%7B%22a%22%3A1%7D", "{\"data\":{\"a\":1}}", RC_OK},
    {"p_size=10&service=aaa", "{\"p_size\":10,\"service\":\"aaa\"}", RC_OK},
    {"service=123&status=true", "{\"service\":\"123\",\"status\":\"true\"}", RC_OK},
    {"task_id=a+b%20c", "{\"task_id\":\"a b c\"}", RC_OK},
    {"condition=plain+text", "{\"condition\":\"plain text\"}", RC_OK},
    {"condition=%5B1%2C+2%5D", "{\"condition\":[1, 2]}", RC_OK},
    {"condition", "{\"condition\":\"\"}", RC_OK},
    {"&&p_size=1&", "{\"p_size\":1}", RC_OK},
    {"condition=%F0%9F%98%80", "{\"condition\":\"\xf0\x9f\x98\x80\"}", RC_OK},
    {"x=a%3Db=c", "{\"x\":\"a=b=c\"}", RC_OK},
    {"condition=%7Bdraft%7D", "{\"condition\":\"{draft}\"}", RC_OK},
    {"condition=1e400", NULL, RC_INVALID_PARAMETER},
    {"condition=9223372036854775808", NULL, RC_INVALID_PARAMETER},
    {"condition=%7B%22a%22:1,%22a%22:2%7D", NULL, RC_INVALID_PARAMETER},
    {"message=1e400", "{\"message\":\"1e400\"}", RC_OK},
    {"data=no", NULL, RC_INVALID_PARAMETER},
    {"data=", NULL, RC_INVALID_PARAMETER},
    {"x=%zz", NULL, RC_INVALID_PARAMETER},
    {"x=%4", NULL, RC_INVALID_PARAMETER},
    {"x=%", NULL, RC_INVALID_PARAMETER},
    {"x=%ff", NULL, RC_INVALID_PARAMETER},
    {"=1", NULL, RC_INVALID_PARAMETER},
};

static void test_forms(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        LH_CLEANUP_BUF struct buf buf;
        buf_init(&buf, 4096);
        struct error err = {.text = ""};
        enum rc rc = form_to_json(cases[i].form, strlen(cases[i].form), &buf, &err);
        if (rc != cases[i].rc)
            fail_msg("%s: %s %s", cases[i].form, rc_info(rc)->word, err.text);
        if (rc == RC_OK)
            assert_string_equal(buf.data, cases[i].json);
        else
            assert_true(err.text[0] != '\0');
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
