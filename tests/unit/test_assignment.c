/* test_assignment.c: both answers that hand out a task are read, conditions as the bytes that came.
 */
#include "consumer/api_client.h"

#include "base/clock.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define RUN "01900000-0000-7000-8000-000000000001"
#define TASK(condition)                                                                            \
    "\"task_id\":\"ts_a_1\",\"service\":\"a\",\"source_name\":\"src\",\"condition\":" condition
#define RUNS "\"run_id\":\"" RUN "\",\"attempt\":3"
#define TAKEN(condition)                                                                           \
    "{\"Task\":{" TASK(condition) "}," RUNS ",\"lease_until\":null,\"deadline\":null}"
#define CLAIMED(condition)                                                                         \
    "{\"status\":\"running\",\"now\":\"running\"," RUNS                                            \
    ",\"lease_until\":null," TASK(condition) ",\"deadline\":null}"

typedef enum rc reads(const json_t *item, struct json_span text, const struct claim_times *times,
                      struct assignment *ret, struct error *err);

static const struct claim_times times = {.asked_ms = 1000, .lease_ms = 30000};

static const char *const conditions[] = {
    "1.0",
    "null",
    "9223372036854775807",
    "1e-7",
    "{\"\":{\"a.b\":\"\\u0000\\ud83d\\ude00\",\"$x\":[1,1.0,true]}}",
    "{\"condition\":\"not \\\"this\\\" one\"}",
    "\"\xf0\x9f\x98\x80\"",
};

/* As the answer comes: parsed, and its bytes. */
static enum rc read_text(reads *read, const char *text, struct assignment *ret, struct error *err) {
    struct json_span span = {text, strlen(text)};
    LH_JSON item = NULL;
    assert_int_equal(json_read(span, &item, err), RC_OK);
    return read(item, span, &times, ret, err);
}

static void check_good(reads *read, const char *text, const char *condition) {
    struct assignment assignment = {.attempt = 0};
    struct error err = {.text = ""};
    if (read_text(read, text, &assignment, &err) != RC_OK)
        fail_msg("%s: %s", text, err.text);
    assert_string_equal(assignment.task_id, "ts_a_1");
    assert_string_equal(assignment.service, "a");
    assert_string_equal(assignment.source_name, "src");
    assert_string_equal(assignment.run_id, RUN);
    assert_int_equal(assignment.attempt, 3);
    assert_string_equal(assignment.condition, condition);
    assert_int_equal(assignment.condition_len, strlen(condition));
    assert_int_equal(assignment.held_until_ms, 31000);
    assert_int_equal(assignment.deadline_ms, 0);
    assert_string_equal(assignment.deadline, "");
    assignment_finish(&assignment);
    assert_null(assignment.condition);
}

#define PARENT "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

/* The run is a span of its own, below the task's; what is no trace is passed over. */
static void test_trace(void **state) {
    (void)state;
    static const struct {
        const char *members, *trace, *tracestate;
    } cases[] = {
        {",\"traceparent\":\"" PARENT "\"", PARENT, NULL},
        {",\"traceparent\":\"" PARENT "\",\"tracestate\":\"a=b\"", PARENT, "a=b"},
        {",\"traceparent\":\"" PARENT "\",\"tracestate\":\"=\"", PARENT, NULL},
        {",\"traceparent\":\"" PARENT "1\",\"tracestate\":\"a=b\"", "", NULL},
        {",\"traceparent\":7", "", NULL},
        {",\"tracestate\":\"a=b\"", "", NULL},
        {"", "", NULL},
    };
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        char text[1024];
        struct assignment assignment = {.attempt = 0};
        struct error err;
        snprintf(text, sizeof text, "{\"Task\":{" TASK("1") "}," RUNS "%s}", cases[i].members);
        assert_int_equal(read_text(assignment_from_take, text, &assignment, &err), RC_OK);
        assert_int_equal(strlen(assignment.traceparent), strlen(cases[i].trace));
        if (*cases[i].trace) {
            assert_memory_equal(assignment.traceparent, PARENT, 36);
            assert_memory_not_equal(assignment.traceparent + 36, PARENT + 36, 16);
            assert_string_equal(assignment.traceparent + 52, "-01");
        }
        if (cases[i].tracestate)
            assert_string_equal(assignment.tracestate, cases[i].tracestate);
        else
            assert_null(assignment.tracestate);
        assignment_finish(&assignment);
    }
}

static void test_conditions_keep_their_bytes(void **state) {
    (void)state;
    char text[1024];
    for (size_t i = 0; i < LH_COUNT(conditions); i++) {
        snprintf(text, sizeof text, TAKEN("%s"), conditions[i]);
        check_good(assignment_from_take, text, conditions[i]);
        snprintf(text, sizeof text, CLAIMED("%s"), conditions[i]);
        check_good(assignment_from_claim, text, conditions[i]);
    }
}

static const struct {
    const char *text;
    const char *expect;
} bad_takes[] = {
    {"[]", "Task: is missing"},
    {"{" RUNS "}", "Task: is missing"},
    {"{\"Task\":{}," RUNS "}", "task_id: must be"},
    {"{\"Task\":{\"task_id\":7}," RUNS "}", "task_id: must be"},
    {"{\"Task\":{\"task_id\":\"x\",\"service\":\"a\\u0000\",\"condition\":1}," RUNS "}",
     "service: must be"},
    {"{\"Task\":{\"task_id\":\"x\",\"service\":\"a\"}," RUNS "}", "condition: is missing"},
    {"{\"Task\":{" TASK("1") ",\"source_name2\":1},\"run_id\":\"x\",\"attempt\":1}",
     "run_id: must be a UUID"},
    {"{\"Task\":{" TASK("1") "},\"run_id\":\"" RUN "\",\"attempt\":0}", "attempt: must be"},
    {"{\"Task\":{" TASK("1") "},\"run_id\":\"" RUN "\"}", "attempt: must be"},
    {"{\"Task\":{\"task_id\":\"x\",\"service\":\"a\",\"source_name\":1,\"condition\":1}," RUNS "}",
     "source_name: must be"},
    {"{\"Task\":{" TASK("1") "}," RUNS ",\"lease_until\":7}", "lease_until: must be a time"},
    {"{\"Task\":{" TASK("1") "}," RUNS ",\"deadline\":\"soon\"}", "deadline: must be a time"},
    {"{\"Task\":{" TASK("1") "}," RUNS ",\"deadline\":\"2026-11-21T08:30:00.000Z\"}",
     "lease_until: is missing"},
};

/* How long a run may take comes of the API's times alone, whatever the host's clock says. */
static void test_deadline(void **state) {
    (void)state;
    static const struct {
        const char *lease_until, *deadline;
        int64_t timeout_ms;
    } cases[] = {
        {"2026-11-21T08:30:30.000Z", "2026-11-21T08:30:02.500Z", 2500},
        {"1999-12-31T23:59:59.000Z", "2000-01-01T23:59:29.000Z", 86400000},
        {"2026-11-21T08:30:30.000Z", "2026-11-21T08:29:00.000Z", 1}, /* it has passed */
    };
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        char text[1024];
        snprintf(text, sizeof text,
                 "{\"Task\":{" TASK("1") "}," RUNS ",\"lease_until\":\"%s\",\"deadline\":\"%s\"}",
                 cases[i].lease_until, cases[i].deadline);
        struct assignment assignment;
        int64_t before = clock_mono_ms();
        assert_int_equal(read_text(assignment_from_take, text, &assignment, NULL), RC_OK);
        assert_int_equal(assignment.timeout_ms, cases[i].timeout_ms);
        assert_in_range(assignment.deadline_ms - cases[i].timeout_ms, before, clock_mono_ms());
        assert_string_equal(assignment.deadline, cases[i].deadline);
        assignment_finish(&assignment);
    }
}

static void test_bad_answers_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(bad_takes); i++) {
        struct assignment assignment;
        struct error err = {.text = ""};
        assert_int_equal(read_text(assignment_from_take, bad_takes[i].text, &assignment, &err),
                         RC_INVALID_PARAMETER);
        if (strncmp(err.text, bad_takes[i].expect, strlen(bad_takes[i].expect)) != 0)
            fail_msg("%s: %s", bad_takes[i].text, err.text);
    }
}

/* A base-contract document has no source: null reads as "". */
static void test_source_may_be_absent(void **state) {
    (void)state;
    const char *text =
        "{\"Task\":{\"task_id\":\"x\",\"service\":\"a\",\"source_name\":null,\"condition\":1}," RUNS
        "}";
    struct assignment assignment;
    assert_int_equal(read_text(assignment_from_take, text, &assignment, NULL), RC_OK);
    assert_string_equal(assignment.source_name, "");
    assignment_finish(&assignment);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conditions_keep_their_bytes),
        cmocka_unit_test(test_trace),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_bad_answers_are_refused),
        cmocka_unit_test(test_source_may_be_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
