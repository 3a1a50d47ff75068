/* test_task_fields.c: a task as an object with the fields that are asked for. */
#include "api/call/task_fields.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static enum rc read_fields(const char *text, task_fields *ret, struct error *err) {
    LH_JSON root = NULL;
    assert_int_equal(json_read((struct json_span){text, strlen(text)}, &root, err), RC_OK);
    return task_fields_read(root, ret, err);
}

static void assert_row(const char *asked, const char *row) {
    struct task task = {.task_id = "t", .service = "s", .status = TASK_RUNNING, .sub = SUB_STARTED};
    task.condition = "{\"a\":1}";
    task.condition_len = 7;
    task.create_at = 1000;
    task.attempt = 2;
    task.progress = "0.5";
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, 4096);
    task_fields fields = 0;
    struct error err = {.text = ""};
    assert_int_equal(read_fields(asked, &fields, &err), RC_OK);
    task_fields_put(fields, &task, "started", &buf);
    assert_string_equal(buf.data, row);
}

static void rows(void **state) {
    (void)state;
    assert_row("{}", "{\"task_id\":\"t\",\"service\":\"s\",\"status\":\"running\","
                     "\"condition\":{\"a\":1},\"create_time\":\"1970-01-01T00:00:01.000Z\"}");
    assert_row("{\"fields\":[\"attempt\",\"task_id\",\"attempt\"]}",
               "{\"task_id\":\"t\",\"attempt\":2}");
    assert_row(
        "{\"fields\":[\"sub_status\",\"progress\",\"end_time\",\"result\",\"error\",\"tags\"]}",
        "{\"sub_status\":\"started\",\"end_time\":null,\"progress\":0.5,\"tags\":null,"
        "\"error\":null,\"result\":null}");
}

static void what_has_to_be_loaded(void **state) {
    (void)state;
    task_fields fields = 0;
    struct error err;
    assert_int_equal(read_fields("{}", &fields, &err), RC_OK);
    assert_true(task_fields_want_condition(fields) && !task_fields_want_result(fields));
    assert_int_equal(read_fields("{\"fields\":[\"result\"]}", &fields, &err), RC_OK);
    assert_true(!task_fields_want_condition(fields) && task_fields_want_result(fields));
}

static void wrong_fields(void **state) {
    (void)state;
    static const char *const wrong[][2] = {
        {"{\"fields\":\"task_id\"}", "array"},
        {"{\"fields\":[]}", "array"},
        {"{\"fields\":[\"task_id\",\"colour\"]}", "colour"},
        {"{\"fields\":[1]}", "no string"},
        {"{\"fields\":[\"task_id\\u0000\"]}", "task_id"},
    };
    for (size_t i = 0; i < LH_COUNT(wrong); i++) {
        task_fields fields = 0;
        struct error err = {.text = ""};
        assert_int_equal(read_fields(wrong[i][0], &fields, &err), RC_INVALID_PARAMETER);
        assert_non_null(strstr(err.text, wrong[i][1]));
    }
}

static void spent_times(void **state) {
    (void)state;
    static const struct {
        int64_t start_at, end_at;
        const char *text;
    } cases[] = {{0, 0, "null"},
                 {1000, 0, "null"},
                 {1000, 1000, "0.000"},
                 {1000, 3456, "2.456"},
                 {3000, 1500, "-1.500"}};
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        const struct task task = {.start_at = cases[i].start_at, .end_at = cases[i].end_at};
        LH_CLEANUP_BUF struct buf buf;
        buf_init(&buf, 64);
        task_put_spent(&task, &buf);
        assert_string_equal(buf.data, cases[i].text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows),
        cmocka_unit_test(what_has_to_be_loaded),
        cmocka_unit_test(wrong_fields),
        cmocka_unit_test(spent_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
