/* Parameters: tables of fields and what is made of them. */
#include "api/call/params.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static json_t *parse(const char *text) {
    json_t *root = NULL;
    struct error err = {.text = ""};
    if (json_read((struct json_span){text, strlen(text)}, &root, &err) != RC_OK)
        fail_msg("%s: %s", text, err.text);
    return root;
}

static void check_refusal(enum rc rc, const char *text, const struct error *err) {
    if (rc != RC_INVALID_PARAMETER || strncmp(err->text, "x must be ", 10) != 0)
        fail_msg("%s: %s %s", text, rc_info(rc)->word, err->text);
}

/* What a reader of numbers makes of a field; FAULT: refused, SAME: the output is untouched. */
enum { FAULT = -1000, SAME = -2000 };

struct number_case {
    const char *text;
    int64_t value;
};

typedef enum rc number_reader(const json_t *object, int64_t *ret, struct error *err);

static void check_numbers(const struct number_case *cases, size_t n, number_reader *read) {
    for (size_t i = 0; i < n; i++) {
        LH_JSON object = parse(cases[i].text);
        struct error err = {.text = ""};
        int64_t value = SAME;
        enum rc rc = read(object, &value, &err);
        if (cases[i].value == FAULT)
            check_refusal(rc, cases[i].text, &err);
        else
            assert_int_equal(rc, RC_OK);
        if (value != (cases[i].value == FAULT ? SAME : cases[i].value))
            fail_msg("%s: %lld", cases[i].text, (long long)value);
    }
}

static enum rc read_int(const json_t *object, int64_t *ret, struct error *err) {
    return param_int(object, "x", 1, 1000, ret, err);
}

static void test_integers(void **state) {
    (void)state;
    static const struct number_case cases[] = {
        {"{}", SAME},
        {"{\"y\":5}", SAME},
        {"{\"x\":1}", 1},
        {"{\"x\":1000}", 1000},
        {"{\"x\":0}", FAULT},
        {"{\"x\":1001}", FAULT},
        {"{\"x\":-1}", FAULT},
        {"{\"x\":1.0}", FAULT},
        {"{\"x\":1e2}", FAULT},
        {"{\"x\":\"1\"}", FAULT},
        {"{\"x\":null}", FAULT},
        {"{\"x\":true}", FAULT},
        {"{\"x\":[1]}", FAULT},
        {"{\"x\":{}}", FAULT},
        {"{\"x\":9223372036854775807}", FAULT},
    };
    check_numbers(cases, LH_COUNT(cases), read_int);
}

static enum rc read_seconds(const json_t *object, int64_t *ret, struct error *err) {
    return param_seconds(object, "x", 60, ret, err);
}

static void test_seconds(void **state) {
    (void)state;
    static const struct number_case cases[] = {
        {"{}", SAME},
        {"{\"x\":0}", 0},
        {"{\"x\":60}", 60000},
        {"{\"x\":0.25}", 250},
        {"{\"x\":59.9999}", 60000},
        {"{\"x\":0.0004}", 0},
        {"{\"x\":61}", FAULT},
        {"{\"x\":60.001}", FAULT},
        {"{\"x\":-0.001}", FAULT},
        {"{\"x\":-1}", FAULT},
        {"{\"x\":1e300}", FAULT},
        {"{\"x\":\"1\"}", FAULT},
        {"{\"x\":null}", FAULT},
        {"{\"x\":false}", FAULT},
    };
    check_numbers(cases, LH_COUNT(cases), read_seconds);
}

static enum rc read_bool(const json_t *object, int64_t *ret, struct error *err) {
    bool value = false, other = true;
    enum rc rc = param_bool(object, "x", &value, err);
    if (rc == RC_OK)
        rc = param_bool(object, "x", &other, err);
    if (rc == RC_OK && value == other)
        *ret = value;
    return rc;
}

static void test_bools(void **state) {
    (void)state;
    static const struct number_case cases[] = {
        {"{}", SAME},          {"{\"x\":true}", 1},     {"{\"x\":false}", 0},
        {"{\"x\":0}", FAULT},  {"{\"x\":null}", FAULT}, {"{\"x\":\"true\"}", FAULT},
        {"{\"x\":[]}", FAULT},
    };
    check_numbers(cases, LH_COUNT(cases), read_bool);
}

/* value NULL: refused; "same": the output is untouched. */
struct string_case {
    const char *text;
    const char *required, *optional, *free; /* by param_string (at most 5 bytes), param_text (5) */
};

static void check_string(const struct string_case *c, const char *value, enum rc rc,
                         const char *got, const struct error *err) {
    if (!value) {
        check_refusal(rc, c->text, err);
        return;
    }
    assert_int_equal(rc, RC_OK);
    assert_string_equal(got, value);
}

static void test_strings(void **state) {
    (void)state;
    static const struct string_case cases[] = {
        {"{}", NULL, "same", "same"},
        {"{\"x\":null}", NULL, NULL, "same"},
        {"{\"x\":\"\"}", NULL, NULL, ""},
        {"{\"x\":\"a\"}", "a", "a", "a"},
        {"{\"x\":\"12345\"}", "12345", "12345", "12345"},
        {"{\"x\":\"123456\"}", NULL, NULL, NULL},
        {"{\"x\":\"\xc3\xbc\xc3\xbc\"}", "\xc3\xbc\xc3\xbc", "\xc3\xbc\xc3\xbc",
         "\xc3\xbc\xc3\xbc"},
        {"{\"x\":\"\xc3\xbc\xc3\xbc\xc3\xbc\"}", NULL, NULL, NULL},
        {"{\"x\":\"a\\u0000\"}", NULL, NULL, NULL},
        {"{\"x\":\"\\u0000\"}", NULL, NULL, NULL},
        {"{\"x\":5}", NULL, NULL, NULL},
        {"{\"x\":true}", NULL, NULL, NULL},
        {"{\"x\":[\"a\"]}", NULL, NULL, NULL},
    };
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        const struct string_case *c = &cases[i];
        LH_JSON object = parse(c->text);
        struct error err = {.text = ""};
        const char *got = "same";
        enum rc rc = param_string(object, "x", PARAM_REQUIRED, 5, &got, &err);
        check_string(c, c->required, rc, got, &err);
        got = "same";
        rc = param_string(object, "x", PARAM_OPTIONAL, 5, &got, &err);
        check_string(c, c->optional, rc, got, &err);
        got = "same";
        rc = param_text(object, "x", 5, &got, &err);
        check_string(c, c->free, rc, got, &err);
    }
}

static const struct {
    const char *text;
    enum rc rc;
    const char *value; /* or what the refusal begins with */
} values[] = {
    {"{\"x\":1.50}", RC_OK, "1.50"},
    {"{\"x\":null}", RC_OK, "null"},
    {"{\"x\" : [ 1 , \"a b\" ] }", RC_OK, "[1,\"a b\"]"},
    {"{\"y\":{\"x\":1},\"x\":2}", RC_OK, "2"},
    {"{\"\\u0078\":\"\\u0000\"}", RC_OK, "\"\\u0000\""},
    {"{\"x\":\"}\",\"y\":1}", RC_OK, "\"}\""},
    {"{}", RC_INVALID_PARAMETER, "x must be given"},
    {"{\"y\":{\"x\":1}}", RC_INVALID_PARAMETER, "x must be given"},
    {"{\"x\":1e-400}", RC_INVALID_PARAMETER, "x: a real number underflows"},
    {"{\"x\":\"12345678901234567\"}", RC_TOO_LARGE, "x is larger than 16 bytes"},
    {"{\"x\":\"12345678901234\"}", RC_OK, "\"12345678901234\""},
    {"{\"x\":[1,                                2]}", RC_OK, "[1,2]"},
};

static void test_values(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(values); i++) {
        struct json_span text = {values[i].text, strlen(values[i].text)};
        LH_FREE char *value = NULL;
        size_t len = 0;
        struct error err = {.text = ""};
        enum rc rc = param_value(text, "x", PARAM_REQUIRED, 16, &value, &len, &err);
        if (rc != values[i].rc)
            fail_msg("%s: %s %s", values[i].text, rc_info(rc)->word, err.text);
        if (rc == RC_OK)
            assert_string_equal(value, values[i].value);
        else
            assert_memory_equal(err.text, values[i].value, strlen(values[i].value));
        assert_int_equal(len, value ? strlen(value) : 0);
    }
    char *none = NULL;
    size_t len = 7;
    assert_int_equal(
        param_value((struct json_span){"{}", 2}, "x", PARAM_OPTIONAL, 16, &none, &len, NULL),
        RC_OK);
    assert_null(none);
    assert_int_equal(len, 7);
}

/* Comes as it was sent: no digit more or less. */
static void test_progress(void **state) {
    (void)state;
    static const struct {
        const char *text, *progress; /* NULL: none */
        enum rc rc;
    } cases[] = {
        {"{}", NULL, RC_OK},
        {"{\"progress\":null}", NULL, RC_OK},
        {"{\"progress\":0.4}", "0.4", RC_OK},
        {"{\"progress\":1}", "1", RC_OK},
        {"{\"progress\":4e-1}", "4e-1", RC_OK},
        {"{\"progress\": {\"done\": 0.1, \"total\": 3} }", "{\"done\":0.1,\"total\":3}", RC_OK},
        {"{\"progress\":1.1}", NULL, RC_INVALID_PARAMETER},
        {"{\"progress\":\"x\"}", NULL, RC_INVALID_PARAMETER},
        {"{\"progress\":{}}", NULL, RC_INVALID_PARAMETER},
    };
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        LH_JSON object = parse(cases[i].text);
        struct json_span text = {cases[i].text, strlen(cases[i].text)};
        struct error err = {.text = ""};
        char *progress = NULL;
        assert_int_equal(param_progress(object, text, &progress, &err), cases[i].rc);
        if (cases[i].progress)
            assert_string_equal(progress, cases[i].progress);
        else
            assert_null(progress);
        free(progress);
    }
}

static void test_task_ids(void **state) {
    (void)state;
    char text[TASK_TEXT_CAP + 32], id[TASK_TEXT_CAP] = "same";
    struct error err = {.text = ""};
    for (int len = TASK_TEXT_CAP - 1; len <= TASK_TEXT_CAP; len++) {
        memset(text, 'a', sizeof text);
        memcpy(text, "{\"task_id\":\"", 12);
        memcpy(text + 12 + len, "\"}", 3);
        LH_JSON object = parse(text);
        enum rc rc = param_task_id(object, id, &err);
        assert_int_equal(rc, len < TASK_TEXT_CAP ? RC_OK : RC_INVALID_PARAMETER);
        assert_int_equal(strlen(id), TASK_TEXT_CAP - 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers), cmocka_unit_test(test_seconds),
        cmocka_unit_test(test_bools),    cmocka_unit_test(test_strings),
        cmocka_unit_test(test_values),   cmocka_unit_test(test_progress),
        cmocka_unit_test(test_task_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
