/* The history of services: what counts as news, quantiles, steps that end, are slept through or
 * fall out, and the bound of its room. */
#include "api/meter/history.h"
#include "api/meter/spread.h"
#include "base/mem.h"
#include "task/lifecycle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define T0 INT64_C(1764460800000) /* a multiple of both steps */

enum { STEP = HISTORY_STEP_MS };

static int64_t last(const struct history *history, int64_t span_s, enum history_series series,
                    size_t back) {
    const struct history_view view = history_view(history, span_s);
    assert_true(back < view.n);
    return history_value(history, &view, 0, series, view.n - 1 - back);
}

/* ---- spread ---- */

static void quantiles_are_within_a_tenth(void **state) {
    (void)state;
    static struct spread spread;
    assert_int_equal(spread_quantile(&spread, 500), -1);
    for (int64_t ms = 1; ms <= 10000; ms++)
        spread_add(&spread, ms);
    for (unsigned permille = 10; permille <= 1000; permille += 30) {
        int64_t got = spread_quantile(&spread, permille), is = permille * 10;
        assert_in_range(got, is * 9 / 10, is * 11 / 10);
    }
    spread_clear(&spread);
    assert_int_equal(spread_quantile(&spread, 500), -1);
}

static void every_duration_has_a_band(void **state) {
    (void)state;
    static struct spread spread;
    static const int64_t all[] = {-5, 0, 1, 3, 4, 7, 8, 1000, UINT32_MAX, INT64_MAX};
    for (size_t i = 0; i < LH_COUNT(all); i++) {
        spread_clear(&spread);
        spread_add(&spread, all[i]);
        int64_t is = all[i] < 0 ? 0 : all[i] > UINT32_MAX ? UINT32_MAX : all[i];
        assert_in_range(spread_quantile(&spread, 500), is * 7 / 8, is + is / 4);
    }
}

/* ---- steps ---- */

static void a_step_tells_what_happened_in_it(void **state) {
    (void)state;
    struct history *history = history_create(2, T0);
    const struct op_news created = {.created = true, .wait_ms = -1, .run_ms = -1};
    const struct op_news claimed = {.claimed = true, .wait_ms = 100, .run_ms = -1};
    const struct op_news finished = {.finished = true, .wait_ms = -1, .run_ms = 2000};
    for (int i = 0; i < 3; i++)
        history_count(history, 0, &created, T0 + 1);
    history_count(history, 0, &claimed, T0 + 2);
    history_count(history, 0, &finished, T0 + STEP - 1);
    history_count(history, 1, &created, T0 + STEP - 1);
    history_count(history, 0, &created, T0 + STEP); /* the next step's */
    assert_int_equal(last(history, 3600, HISTORY_CREATED, 0), 3);
    assert_int_equal(last(history, 3600, HISTORY_CLAIMED, 0), 1);
    assert_int_equal(last(history, 3600, HISTORY_FINISHED, 0), 1);
    assert_int_equal(last(history, 3600, HISTORY_FAILED, 0), 0);
    assert_in_range(last(history, 3600, HISTORY_WAIT_P50, 0), 90, 110);
    assert_in_range(last(history, 3600, HISTORY_RUN_P95, 0), 1800, 2200);
    assert_int_equal(last(history, 3600, HISTORY_WAITING, 0), -1);
    assert_int_equal(last(history, 3600, HISTORY_CREATED, 1), -1); /* before the process began */
    history_roll(history, T0 + 2 * STEP);
    assert_int_equal(last(history, 3600, HISTORY_CREATED, 0), 1);
    assert_int_equal(last(history, 3600, HISTORY_WAIT_P50, 0), -1); /* nothing was claimed */
    assert_int_equal(last(history, 3600, HISTORY_CREATED, 1), 3);
    history_roll(history, T0 + 300000);
    assert_int_equal(last(history, 3601, HISTORY_CREATED, 0), 4); /* the long scale */
    history_destroy(history);
}

static void how_tasks_stand_belongs_to_the_step_that_ended(void **state) {
    (void)state;
    struct history *history = history_create(1, T0);
    history_roll(history, T0 + STEP);
    const struct store_count count = {.by_status = {[TASK_WAITING] = 7, [TASK_RUNNING] = 2},
                                      .oldest_due_at = T0 + 4000};
    history_stand(history, 0, &count, T0 + STEP);
    assert_int_equal(last(history, 10, HISTORY_WAITING, 0), 7);
    assert_int_equal(last(history, 10, HISTORY_RUNNING, 0), 2);
    assert_int_equal(last(history, 10, HISTORY_OLDEST, 0), STEP - 4000);
    history_roll(history, T0 + 300000);
    assert_int_equal(last(history, 7200, HISTORY_WAITING, 0), 7); /* the last that was seen */
    history_stand(history, 0, NULL, T0 + 300000);
    assert_int_equal(last(history, 10, HISTORY_WAITING, 0), 0);
    assert_int_equal(last(history, 10, HISTORY_OLDEST, 0), -1);
    assert_int_equal(last(history, 7200, HISTORY_WAITING, 0), 0);
    history_stand(history, 0, &count, T0 - 86400000); /* long ago: nowhere to be noted */
    history_stand(history, 0, &count, T0 + 900000);   /* to come: likewise */
    assert_int_equal(last(history, 10, HISTORY_WAITING, 0), 0);
    history_destroy(history);
}

static void of_what_was_slept_through_nothing_is_known(void **state) {
    (void)state;
    const struct op_news created = {.created = true, .wait_ms = -1, .run_ms = -1};
    struct history *history = history_create(1, T0);
    history_count(history, 0, &created, T0);
    history_roll(history, T0 + 4 * STEP);
    assert_int_equal(last(history, 3600, HISTORY_CREATED, 3), 1);
    for (size_t back = 0; back < 3; back++)
        assert_int_equal(last(history, 3600, HISTORY_CREATED, back), -1);
    history_roll(history, T0 + 3 * STEP); /* a clock that goes back ends no step */
    assert_int_equal(last(history, 3600, HISTORY_CREATED, 3), 1);
    history_roll(history, T0 + INT64_C(86400000) * 30);
    const struct history_view view = history_view(history, 3600);
    for (size_t i = 0; i < view.n; i++)
        assert_int_equal(history_value(history, &view, 0, HISTORY_CREATED, i), -1);
    history_destroy(history);
}

static void what_is_older_than_the_scale_falls_out(void **state) {
    (void)state;
    const struct op_news created = {.created = true, .wait_ms = -1, .run_ms = -1};
    struct history *history = history_create(1, T0);
    for (int64_t step = 0; step < 1000; step++)
        for (int64_t i = 0; i <= step; i++)
            history_count(history, 0, &created, T0 + step * STEP);
    history_roll(history, T0 + 1000 * STEP);
    const struct history_view view = history_view(history, 3600);
    assert_int_equal(view.n, 360);
    assert_int_equal(view.step_ms, STEP);
    assert_int_equal(view.from_ms, T0 + 640 * STEP);
    for (size_t i = 0; i < view.n; i++)
        assert_int_equal(history_value(history, &view, 0, HISTORY_CREATED, i), 641 + i);
    assert_int_equal(history_view(history, 15).n, 2);
    assert_int_equal(history_view(history, 86400).n, 288);
    assert_int_equal(history_view(history, 86400).step_ms, 300000);
    history_destroy(history);
}

static void many_services_keep_fewer_steps(void **state) {
    (void)state;
    struct history *history = history_create(1000, T0);
    const struct history_view hour = history_view(history, 3600),
                              day = history_view(history, 86400);
    assert_in_range(hour.n, 40, 100);
    assert_in_range(day.n, 40, 100);
    assert_true((hour.n + day.n) * 1000 * HISTORY_SERIES * 4 <= HISTORY_MAX_BYTES);
    const struct op_news created = {.created = true, .wait_ms = -1, .run_ms = -1};
    history_count(history, 999, &created, T0);
    history_roll(history, T0 + STEP);
    const struct history_view view = history_view(history, 3600);
    assert_int_equal(history_value(history, &view, 999, HISTORY_CREATED, view.n - 1), 1);
    assert_int_equal(history_value(history, &view, 998, HISTORY_CREATED, view.n - 1), 0);
    history_destroy(history);
}

/* ---- news ---- */

/* Lets the op happen to the task and tells the news of it. */
static struct op_news happen(struct task *task, struct op *op) {
    char text[192];
    unsigned parts = 0;
    op->rc = lifecycle_apply(task, op, &parts, text, sizeof text);
    op->parts = parts;
    op->tasks = task;
    op->n_tasks = 1;
    return op_news(op, 0);
}

static struct task new_task(void) {
    struct task task = {.run_id = ""};
    task_init(&task);
    mem_copy_str(task.service, sizeof task.service, "echo");
    return task;
}

static void a_life_is_told_once(void **state) {
    (void)state;
    struct task task = new_task();
    lifecycle_new(&task, &(struct lifecycle_start){.now_ms = T0});
    struct op claim = {.kind = OP_CLAIM, .now_ms = T0 + 500, .run_id = "a", .lease_ms = 1000};
    struct op_news news = happen(&task, &claim);
    assert_true(news.claimed);
    assert_int_equal(news.wait_ms, 500);
    claim.now_ms = T0 + 600;
    assert_false(happen(&task, &claim).claimed); /* said again */
    struct op other = {.kind = OP_FINISH, .now_ms = T0 + 700, .run_id = "b"};
    news = happen(&task, &other);
    assert_true(news.fenced && !news.finished);
    struct op finish = {.kind = OP_FINISH, .now_ms = T0 + 2500, .run_id = "a"};
    news = happen(&task, &finish);
    assert_true(news.finished && !news.failed);
    assert_int_equal(news.run_ms, 2000);
    assert_int_equal(news.ended, END_FINISHED);
    news = happen(&task, &finish);
    assert_true(!news.finished && news.run_ms == -1 && !news.fenced);
    task_finish(&task);
}

static void attempts_that_fail_are_retried_or_the_end(void **state) {
    (void)state;
    struct task task = new_task();
    task.max_attempts = 2;
    lifecycle_new(&task, &(struct lifecycle_start){.now_ms = T0});
    struct op claim = {.kind = OP_CLAIM, .now_ms = T0, .run_id = "a", .lease_ms = 1000};
    assert_true(happen(&task, &claim).claimed);
    struct op fail = {.kind = OP_FAIL, .now_ms = T0 + 1, .run_id = "a"};
    fail.error_class = ERROR_RETRYABLE;
    struct op_news news = happen(&task, &fail);
    assert_true(news.retried && !news.failed);
    struct op legacy = {.kind = OP_FAIL, .now_ms = T0 + 99000};
    legacy.error_class = ERROR_RETRYABLE;
    news = happen(&task, &legacy); /* claims and ends in one step */
    assert_true(news.failed && news.claimed && !news.retried);
    assert_int_equal(news.run_ms, -1);
    assert_int_equal(task.sub, SUB_DEAD);
    task_finish(&task);
}

static void lost_leases_and_kills_are_told(void **state) {
    (void)state;
    struct task task = new_task();
    lifecycle_new(&task, &(struct lifecycle_start){.now_ms = T0});
    struct op claim = {.kind = OP_CLAIM, .now_ms = T0, .run_id = "a", .lease_ms = 1000};
    assert_true(happen(&task, &claim).claimed);
    struct op lapse = {.kind = OP_LAPSE, .now_ms = T0 + 1001, .run_id = "a", .max_crashes = 3};
    struct op_news news = happen(&task, &lapse);
    assert_true(news.lease_lost && !news.failed);
    assert_int_equal(news.ended, END_LEASE_LOST);
    assert_false(happen(&task, &lapse).lease_lost);
    struct op claim_b = {.kind = OP_CLAIM, .now_ms = T0 + 2000, .run_id = "b", .lease_ms = 1000};
    assert_true(happen(&task, &claim_b).claimed);
    struct op cancel = {.kind = OP_CANCEL, .now_ms = T0 + 2100, .kill_max_ms = 60000};
    assert_false(happen(&task, &cancel).failed);
    struct op killed = {.kind = OP_FAIL, .now_ms = T0 + 2700, .run_id = "b", .end = END_CANCELLED};
    news = happen(&task, &killed);
    assert_true(news.failed);
    assert_int_equal(news.kill_ms, 600);
    assert_int_equal(task.sub, SUB_CANCELLED);
    task_finish(&task);
}

static void of_a_create_what_was_stored_counts(void **state) {
    (void)state;
    struct task tasks[3] = {{.service = "echo"}, {.service = "echo", .duplicate = true}, {""}};
    enum rc rcs[] = {RC_OK, RC_OK, RC_QUEUE_FULL};
    struct op op = {.kind = OP_CREATE, .rc = RC_OK, .tasks = tasks, .n_tasks = 3, .task_rc = rcs};
    assert_true(op_news(&op, 0).created);
    assert_false(op_news(&op, 1).created);
    assert_false(op_news(&op, 2).created);
    op.rc = RC_STORE_UNAVAILABLE;
    assert_false(op_news(&op, 0).created);
}

static void a_take_counts_the_runs_that_it_begins(void **state) {
    (void)state;
    struct task tasks[2] = {{.run = {.claimed_at = T0, .queued = {.at = T0 - 5}}},
                            {.run = {.claimed_at = T0 - 1}}};
    struct op op = {.kind = OP_TAKE, .now_ms = T0, .tasks = tasks, .n_tasks = 2};
    assert_true(op_news(&op, 0).claimed);
    assert_int_equal(op_news(&op, 0).wait_ms, 5);
    assert_false(op_news(&op, 1).claimed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_within_a_tenth),
        cmocka_unit_test(every_duration_has_a_band),
        cmocka_unit_test(a_step_tells_what_happened_in_it),
        cmocka_unit_test(how_tasks_stand_belongs_to_the_step_that_ended),
        cmocka_unit_test(of_what_was_slept_through_nothing_is_known),
        cmocka_unit_test(what_is_older_than_the_scale_falls_out),
        cmocka_unit_test(many_services_keep_fewer_steps),
        cmocka_unit_test(a_life_is_told_once),
        cmocka_unit_test(attempts_that_fail_are_retried_or_the_end),
        cmocka_unit_test(lost_leases_and_kills_are_told),
        cmocka_unit_test(of_a_create_what_was_stored_counts),
        cmocka_unit_test(a_take_counts_the_runs_that_it_begins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
