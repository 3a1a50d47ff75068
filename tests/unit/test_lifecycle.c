/* The lifecycle table: every operation on a task in every status, and what a step leaves behind. */
#include "task/lifecycle.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define RUN_A "01890000-0000-7000-8000-00000000000a"
#define RUN_B "01890000-0000-7000-8000-00000000000b"

/* In which condition the operation finds the task. */
enum state { HELD, PRODUCING, QUEUED, RUN, LEGACY_RUN, FINISHED, FAILED, STATES };

static void make_task(struct task *task, enum state state) {
    static const struct {
        enum task_status status;
        enum task_sub sub;
        const char *run_id;
    } made[STATES] = {
        [HELD] = {TASK_READY, SUB_HELD, ""},
        [PRODUCING] = {TASK_READY, SUB_PRODUCING, ""},
        [QUEUED] = {TASK_WAITING, SUB_QUEUED, ""},
        [RUN] = {TASK_RUNNING, SUB_CLAIMED, RUN_A},
        [LEGACY_RUN] = {TASK_RUNNING, SUB_CLAIMED, ""},
        [FINISHED] = {TASK_FINISHED, SUB_NONE, RUN_A},
        [FAILED] = {TASK_FAILED, SUB_ERROR, RUN_A},
    };
    *task = (struct task){.create_at = 1000, .rev = 1, .outbox_seq = 7};
    task->status = made[state].status;
    task->sub = made[state].sub;
    mem_copy_str(task->run_id, sizeof task->run_id, made[state].run_id);
    task->outbox_pending = state == PRODUCING;
    if (state >= RUN) {
        task->start_at = 2000;
        task->attempt = 1;
    }
    if (state >= FINISHED)
        task->end_at = 3000;
    if (state == FINISHED) {
        task->result = strdup("{\"n\":1}");
        task->result_len = strlen(task->result);
    }
}

struct row {
    const char *name;
    enum op_kind kind;
    const char *run_id;
    const char *value; /* of FINISH and EDIT */
    enum rc want[STATES];
    enum task_status then[STATES]; /* where want is RC_OK */
};

#define OK RC_OK
static const struct row rows[] = {
    {"claim by run B",
     OP_CLAIM,
     RUN_B,
     NULL,
     {RC_NOT_DUE, OK, OK, RC_ALREADY_CLAIMED, RC_ALREADY_CLAIMED, RC_ALREADY_FINAL,
      RC_ALREADY_FINAL},
     {0, TASK_RUNNING, TASK_RUNNING, 0, 0, 0, 0}},
    {"claim by run A again",
     OP_CLAIM,
     RUN_A,
     NULL,
     {RC_NOT_DUE, OK, OK, OK, RC_ALREADY_CLAIMED, RC_STALE_RUN, RC_STALE_RUN},
     {0, TASK_RUNNING, TASK_RUNNING, TASK_RUNNING, 0, 0, 0}},
    {"claim by a module of the base contract",
     OP_CLAIM,
     "",
     NULL,
     {RC_NOT_DUE, OK, OK, RC_ALREADY_CLAIMED, RC_ALREADY_CLAIMED, RC_ALREADY_FINAL,
      RC_ALREADY_FINAL},
     {0, TASK_RUNNING, TASK_RUNNING, 0, 0, 0, 0}},
    {"take",
     OP_TAKE,
     "",
     NULL,
     {RC_NOT_DUE, OK, OK, RC_ALREADY_CLAIMED, RC_ALREADY_CLAIMED, RC_ALREADY_FINAL,
      RC_ALREADY_FINAL},
     {0, TASK_RUNNING, TASK_RUNNING, 0, 0, 0, 0}},
    {"finished by run A",
     OP_FINISH,
     RUN_A,
     "{ \"n\" : 1 }",
     {RC_STALE_RUN, RC_STALE_RUN, RC_STALE_RUN, OK, RC_STALE_RUN, OK, RC_ALREADY_FINAL},
     {0, 0, 0, TASK_FINISHED, 0, TASK_FINISHED, 0}},
    {"finished by run A with another result",
     OP_FINISH,
     RUN_A,
     "{\"n\":1.0}",
     {RC_STALE_RUN, RC_STALE_RUN, RC_STALE_RUN, OK, RC_STALE_RUN, RC_ALREADY_FINAL,
      RC_ALREADY_FINAL},
     {0, 0, 0, TASK_FINISHED, 0, 0, 0}},
    {"finished by run B",
     OP_FINISH,
     RUN_B,
     "1",
     {RC_STALE_RUN, RC_STALE_RUN, RC_STALE_RUN, RC_STALE_RUN, RC_STALE_RUN, RC_STALE_RUN,
      RC_STALE_RUN},
     {0}},
    {"finished by a module of the base contract",
     OP_FINISH,
     "",
     NULL,
     {RC_NOT_DUE, OK, OK, RC_STALE_RUN, OK, OK, RC_ALREADY_FINAL},
     {0, TASK_FINISHED, TASK_FINISHED, 0, TASK_FINISHED, TASK_FINISHED, 0}},
    {"failed by run A",
     OP_FAIL,
     RUN_A,
     NULL,
     {RC_STALE_RUN, RC_STALE_RUN, RC_STALE_RUN, OK, RC_STALE_RUN, RC_ALREADY_FINAL, OK},
     {0, 0, 0, TASK_FAILED, 0, 0, TASK_FAILED}},
    {"failed by a module of the base contract",
     OP_FAIL,
     "",
     NULL,
     {RC_NOT_DUE, OK, OK, RC_STALE_RUN, OK, RC_ALREADY_FINAL, OK},
     {0, TASK_FAILED, TASK_FAILED, 0, TASK_FAILED, 0, TASK_FAILED}},
    {"start",
     OP_START,
     "",
     NULL,
     {OK, OK, RC_ALREADY_QUEUED, RC_ALREADY_QUEUED, RC_ALREADY_QUEUED, OK, OK},
     {TASK_WAITING, TASK_WAITING, 0, 0, 0, TASK_WAITING, TASK_WAITING}},
    {"edit",
     OP_EDIT,
     "",
     "2",
     {OK, OK, OK, RC_TASK_RUNNING, RC_TASK_RUNNING, OK, OK},
     {TASK_READY, TASK_READY, TASK_WAITING, 0, 0, TASK_FINISHED, TASK_FAILED}},
    {"delivered",
     OP_DELIVERED,
     "",
     NULL,
     {OK, OK, OK, OK, OK, OK, OK},
     {TASK_READY, TASK_WAITING, TASK_WAITING, TASK_RUNNING, TASK_RUNNING, TASK_FINISHED,
      TASK_FAILED}},
    {"undeliverable",
     OP_UNDELIVERABLE,
     "",
     NULL,
     {OK, OK, OK, OK, OK, OK, OK},
     {TASK_READY, TASK_FAILED, TASK_WAITING, TASK_RUNNING, TASK_RUNNING, TASK_FINISHED,
      TASK_FAILED}},
};

static struct op *make_op(const struct row *row) {
    struct op *op = op_create(row->kind);
    assert_non_null(op);
    mem_copy_str(op->run_id, sizeof op->run_id, row->run_id);
    op->now_ms = 5000;
    op->outbox_seq = 7;
    if (row->value) {
        op->value = strdup(row->value);
        op->value_len = strlen(row->value);
    }
    return op;
}

static void check(const struct row *row, enum state state) {
    struct task task;
    make_task(&task, state);
    struct op *op = make_op(row);
    unsigned parts = 0;
    char text[192] = "";
    enum rc rc = lifecycle_apply(&task, op, &parts, text, sizeof text);
    if (rc != row->want[state] || (rc == RC_OK && task.status != row->then[state]))
        fail_msg("%s in state %d: %s, then %s", row->name, state, rc_info(rc)->word,
                 task_status_name(task.status));
    if (rc != RC_OK)
        assert_int_equal(task.rev, 1);
    else
        assert_int_equal(task.rev, parts ? 2 : 1);
    op_destroy(op);
    task_finish(&task);
}

static void test_table(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(rows); i++)
        for (int s = 0; s < STATES; s++)
            check(&rows[i], (enum state)s);
}

static enum rc apply(struct task *task, struct op *op, unsigned *parts) {
    char text[192];
    return lifecycle_apply(task, op, parts, text, sizeof text);
}

static void test_times_never_run_back(void **state) {
    (void)state;
    struct task task;
    make_task(&task, QUEUED);
    task.create_at = 9000;
    struct op *op = op_create(OP_CLAIM);
    op->now_ms = 10; /* the clock was set back */
    unsigned parts;
    assert_int_equal(apply(&task, op, &parts), RC_OK);
    assert_int_equal(task.start_at, 9000);
    op_destroy(op);
    task_finish(&task);
}

static void test_new_task(void **state) {
    (void)state;
    static const struct {
        bool start, broker;
        enum task_status status;
        enum task_sub sub;
        bool pending;
    } cases[] = {
        {true, false, TASK_WAITING, SUB_QUEUED, false},
        {true, true, TASK_READY, SUB_PRODUCING, true},
        {false, false, TASK_READY, SUB_HELD, false},
        {false, true, TASK_READY, SUB_HELD, false},
    };
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        struct task task = {.service = "aaa"};
        task_init(&task);
        lifecycle_new(&task, &(struct lifecycle_start){.held = !cases[i].start,
                                                       .broker = cases[i].broker,
                                                       .now_ms = 1234});
        assert_memory_equal(task.task_id, "ts_aaa_", 7);
        assert_int_equal(task.create_at, 1234);
        assert_int_equal(task.status, cases[i].status);
        assert_int_equal(task.sub, cases[i].sub);
        assert_int_equal(task.outbox_pending, cases[i].pending);
        assert_int_equal(task.outbox_seq, cases[i].pending ? 1 : 0);
    }
}

static void test_start_over_clears_the_last_run(void **state) {
    (void)state;
    struct task task;
    make_task(&task, FINISHED);
    task.message[MESSAGE_FINISHED] = strdup("done");
    struct op *op = op_create(OP_START);
    op->broker = true;
    op->now_ms = 5000;
    unsigned parts;
    assert_int_equal(apply(&task, op, &parts), RC_OK);
    assert_null(task.result);
    assert_null(task.message[MESSAGE_FINISHED]);
    assert_int_equal(task.start_at, 0);
    assert_int_equal(task.end_at, 0);
    assert_int_equal(task.attempt, 1);
    assert_true(task.outbox_pending);
    assert_int_equal(task.outbox_seq, 8);
    assert_string_equal(task.run_id, RUN_A); /* the fence: this run never comes back */
    op_destroy(op);
    task_finish(&task);
}

static void test_an_old_report_changes_nothing(void **state) {
    (void)state;
    struct task task;
    make_task(&task, PRODUCING);
    struct op *op = op_create(OP_DELIVERED);
    op->outbox_seq = 6;
    unsigned parts = 99;
    assert_int_equal(apply(&task, op, &parts), RC_OK);
    assert_int_equal(parts, 0);
    assert_int_equal(task.status, TASK_READY);
    assert_true(task.outbox_pending);
    op_destroy(op);
    task_finish(&task);
}

static void test_pick_is_compare_and_set(void **state) {
    (void)state;
    static const struct {
        int64_t seq, picked_at, now;
        enum rc want;
    } cases[] = {
        {7, 0, 5000, RC_OK},      {7, 4500, 5000, RC_NOT_DUE}, {7, 4000, 5000, RC_OK},
        {6, 0, 5000, RC_NOT_DUE}, {8, 0, 5000, RC_NOT_DUE},
    };
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        struct task task;
        make_task(&task, PRODUCING);
        task.outbox_pick_at = cases[i].picked_at;
        struct op *op = op_create(OP_PICK);
        op->outbox_seq = cases[i].seq;
        op->now_ms = cases[i].now;
        op->pick_void_ms = 1000;
        unsigned parts;
        assert_int_equal(apply(&task, op, &parts), cases[i].want);
        if (cases[i].want == RC_OK)
            assert_int_equal(task.outbox_pick_at, 5000);
        op_destroy(op);
        task_finish(&task);
    }
}

static void test_edit_of_a_due_task_sends_a_new_message(void **state) {
    (void)state;
    struct task task;
    make_task(&task, QUEUED);
    struct op *op = op_create(OP_EDIT);
    op->broker = true;
    op->now_ms = 5000;
    op->value = strdup("[1]");
    op->value_len = 3;
    unsigned parts;
    assert_int_equal(apply(&task, op, &parts), RC_OK);
    assert_int_equal(parts, PART_CONDITION | PART_OUTBOX);
    assert_string_equal(task.condition, "[1]");
    assert_true(task.outbox_pending);
    assert_int_equal(task.outbox_seq, 8);
    assert_int_equal(task.status, TASK_WAITING);
    op_destroy(op);
    task_finish(&task);
}

static void test_failure_keeps_its_words(void **state) {
    (void)state;
    struct task task;
    make_task(&task, RUN);
    struct op *op = op_create(OP_FAIL);
    mem_copy_str(op->run_id, sizeof op->run_id, RUN_A);
    op->error_class = ERROR_RETRYABLE;
    op->error_text = strdup("no input");
    unsigned parts;
    assert_int_equal(apply(&task, op, &parts), RC_OK);
    assert_string_equal(task.error_text, "no input");
    assert_string_equal(task_status_message(&task), "no input");
    assert_int_equal(task.error_class, ERROR_RETRYABLE);
    op_destroy(op);
    task_finish(&task);
}

/* --- leases --- */

static struct op *lease_op(enum op_kind kind, const char *run_id, int64_t now) {
    struct op *op = op_create(kind);
    assert_non_null(op);
    mem_copy_str(op->run_id, sizeof op->run_id, run_id);
    op->now_ms = now;
    op->lease_ms = 30000;
    op->max_crashes = 3;
    return op;
}

static enum rc say(struct task *task, enum op_kind kind, const char *run_id, int64_t now) {
    struct op *op = lease_op(kind, run_id, now);
    unsigned parts;
    enum rc rc = apply(task, op, &parts);
    op_destroy(op);
    return rc;
}

static void test_a_claim_with_a_run_holds_a_lease(void **state) {
    (void)state;
    struct task task;
    make_task(&task, QUEUED);
    assert_int_equal(say(&task, OP_CLAIM, RUN_A, 5000), RC_OK);
    assert_int_equal(task.lease_until, 35000);
    assert_int_equal(task.sub, SUB_CLAIMED);
    assert_int_equal(say(&task, OP_HEARTBEAT, RUN_A, 15000), RC_OK);
    assert_int_equal(task.lease_until, 45000);
    assert_int_equal(task.sub, SUB_STARTED);
    assert_int_equal(say(&task, OP_HEARTBEAT, RUN_B, 15000), RC_STALE_RUN);
    assert_int_equal(say(&task, OP_FINISH, RUN_A, 16000), RC_OK);
    assert_int_equal(task.lease_until, 0);
    assert_int_equal(say(&task, OP_HEARTBEAT, RUN_A, 17000), RC_STALE_RUN);
    task_finish(&task);
}

/* One that another API process began earlier and was slow with shortens no lease that was told. */
static void test_an_older_heartbeat_takes_no_lease_back(void **state) {
    (void)state;
    struct task task;
    make_task(&task, QUEUED);
    assert_int_equal(say(&task, OP_CLAIM, RUN_A, 5000), RC_OK);
    assert_int_equal(say(&task, OP_HEARTBEAT, RUN_A, 15000), RC_OK);
    assert_int_equal(say(&task, OP_HEARTBEAT, RUN_A, 25000), RC_OK);
    assert_int_equal(say(&task, OP_HEARTBEAT, RUN_A, 16000), RC_OK);
    assert_int_equal(task.lease_until, 55000);
    assert_int_equal(say(&task, OP_LAPSE, RUN_A, 54999), RC_NOT_DUE);
    assert_int_equal(say(&task, OP_LAPSE, RUN_A, 55000), RC_OK);
    task_finish(&task);
}

static void test_a_lease_of_a_clock_that_was_set_back_is_not_kept(void **state) {
    (void)state;
    struct task task;
    make_task(&task, QUEUED);
    assert_int_equal(say(&task, OP_CLAIM, RUN_A, 5000), RC_OK);
    assert_int_equal(say(&task, OP_HEARTBEAT, RUN_A, 6000), RC_OK);
    assert_int_equal(say(&task, OP_HEARTBEAT, RUN_A, 86405000), RC_OK);
    assert_int_equal(say(&task, OP_HEARTBEAT, RUN_A, 7000), RC_OK);
    assert_int_equal(task.lease_until, 37000);
    task_finish(&task);
}

/* Every heartbeat renews by what the claim asked for; the next run is asked anew. */
static void test_a_take_may_ask_for_a_lease(void **state) {
    (void)state;
    struct task task;
    unsigned parts;
    make_task(&task, QUEUED);
    struct op *op = lease_op(OP_TAKE, "", 5000);
    op->asked_lease_ms = 100000;
    op->timeout_ms = 250000;
    assert_int_equal(apply(&task, op, &parts), RC_OK);
    op_destroy(op);
    char run_id[UUID_CAP];
    memcpy(run_id, task.run_id, UUID_CAP);
    assert_int_equal(task.lease_until, 105000);
    assert_int_equal(say(&task, OP_HEARTBEAT, run_id, 15000), RC_OK);
    assert_int_equal(task.lease_until, 115000);
    assert_int_equal(say(&task, OP_LAPSE, run_id, 114999), RC_NOT_DUE);
    assert_int_equal(say(&task, OP_LAPSE, run_id, 115000), RC_OK);
    assert_int_equal(task.crashes, 1);
    assert_int_equal(say(&task, OP_HEARTBEAT, run_id, 120000), RC_OK); /* takes it back */
    assert_int_equal(task.lease_until, 220000);
    assert_int_equal(say(&task, OP_HEARTBEAT, run_id, 300000), RC_OK);
    assert_int_equal(task.lease_until, 355000); /* the deadline, and the lease once more */
    assert_int_equal(say(&task, OP_LAPSE, run_id, 355000), RC_OK);
    assert_int_equal(task.run.end, END_TIMEOUT);
    assert_int_equal(say(&task, OP_START, "", 400000), RC_OK);
    assert_int_equal(say(&task, OP_CLAIM, RUN_B, 400000), RC_OK);
    assert_int_equal(task.lease_until, 430000);
    task_finish(&task);
}

static void test_a_module_of_the_base_contract_has_no_lease(void **state) {
    (void)state;
    struct task task;
    make_task(&task, QUEUED);
    assert_int_equal(say(&task, OP_CLAIM, "", 5000), RC_OK);
    assert_int_equal(task.lease_until, 0);
    assert_int_equal(say(&task, OP_LAPSE, "", 999999), RC_NOT_DUE);
    assert_int_equal(task.status, TASK_RUNNING);
    task_finish(&task);
}

/* Who runs it: the claim says, or else the first heartbeat. */
static void test_the_first_heartbeat_tells_the_worker(void **state) {
    (void)state;
    static const char *const claimed_by[] = {"", "claims"};
    for (size_t i = 0; i < LH_COUNT(claimed_by); i++) {
        struct task task;
        unsigned parts;
        make_task(&task, QUEUED);
        struct op *op = lease_op(OP_CLAIM, RUN_A, 5000);
        mem_copy_str(op->worker_id, sizeof op->worker_id, claimed_by[i]);
        assert_int_equal(apply(&task, op, &parts), RC_OK);
        op_destroy(op);
        for (int64_t now = 6000; now < 8000; now += 1000) {
            op = lease_op(OP_HEARTBEAT, RUN_A, now);
            mem_copy_str(op->worker_id, sizeof op->worker_id, now == 6000 ? "beats" : "later");
            assert_int_equal(apply(&task, op, &parts), RC_OK);
            op_destroy(op);
        }
        assert_string_equal(task.run.worker, i == 0 ? "beats" : "claims");
        task_finish(&task);
    }
}

static void test_a_timeout_tells_parts_of_a_second(void **state) {
    (void)state;
    static const struct {
        int64_t timeout_ms;
        const char *text;
    } cases[] = {{250, "timed out after 0.25 s, and no word of its run"},
                 {60000, "timed out after 60 s, and no word of its run"}};
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        struct task task;
        make_task(&task, QUEUED);
        task.timeout_ms = cases[i].timeout_ms;
        assert_int_equal(say(&task, OP_CLAIM, "", 5000), RC_OK);
        assert_int_equal(say(&task, OP_LAPSE, "", 5000 + cases[i].timeout_ms), RC_OK);
        assert_int_equal(task.sub, SUB_TIMEOUT);
        assert_string_equal(task.error_text, cases[i].text);
        task_finish(&task);
    }
}

static void test_a_lost_lease_queues_the_task(void **state) {
    (void)state;
    struct task task;
    make_task(&task, QUEUED);
    assert_int_equal(say(&task, OP_CLAIM, RUN_A, 5000), RC_OK);
    assert_int_equal(say(&task, OP_LAPSE, RUN_A, 34999), RC_NOT_DUE);
    assert_int_equal(say(&task, OP_LAPSE, RUN_B, 35000), RC_NOT_DUE);
    assert_int_equal(say(&task, OP_LAPSE, RUN_A, 35000), RC_OK);
    assert_int_equal(task.status, TASK_WAITING);
    assert_int_equal(task.undelivered, 1);
    assert_int_equal(task.crashes, 0);
    assert_int_equal(say(&task, OP_CLAIM, RUN_B, 36000), RC_OK);
    assert_int_equal(task.attempt, 2);
    assert_int_equal(say(&task, OP_FINISH, RUN_A, 37000), RC_STALE_RUN);
    assert_int_equal(say(&task, OP_HEARTBEAT, RUN_A, 37000), RC_STALE_RUN);
    task_finish(&task);
}

static void test_a_run_takes_its_task_back(void **state) {
    (void)state;
    static const struct {
        enum op_kind kind;
        enum task_status then;
    } ways[] = {{OP_HEARTBEAT, TASK_RUNNING},
                {OP_CLAIM, TASK_RUNNING},
                {OP_FINISH, TASK_FINISHED},
                {OP_FAIL, TASK_FAILED},
                {OP_HAND_BACK, TASK_WAITING}};
    for (size_t i = 0; i < LH_COUNT(ways); i++) {
        struct task task;
        make_task(&task, QUEUED);
        assert_int_equal(say(&task, OP_CLAIM, RUN_A, 5000), RC_OK);
        assert_int_equal(say(&task, OP_HEARTBEAT, RUN_A, 6000), RC_OK);
        assert_int_equal(say(&task, OP_LAPSE, RUN_A, 90000), RC_OK);
        assert_int_equal(task.crashes, 1);
        assert_int_equal(say(&task, ways[i].kind, RUN_A, 91000), RC_OK);
        assert_int_equal(task.status, ways[i].then);
        assert_int_equal(task.crashes, 0);
        assert_int_equal(task.attempt, 1);
        assert_int_equal(task.lapse, LAPSE_NONE);
        task_finish(&task);
    }
}

static void test_what_ends_the_right_to_take_back(void **state) {
    (void)state;
    static const enum op_kind kinds[] = {OP_EDIT, OP_TAKE};
    for (size_t i = 0; i < LH_COUNT(kinds); i++) {
        struct task task;
        make_task(&task, QUEUED);
        assert_int_equal(say(&task, OP_CLAIM, RUN_A, 5000), RC_OK);
        assert_int_equal(say(&task, OP_LAPSE, RUN_A, 90000), RC_OK);
        assert_int_equal(say(&task, kinds[i], "", 91000), RC_OK);
        assert_int_equal(say(&task, OP_HEARTBEAT, RUN_A, 92000), RC_STALE_RUN);
        assert_int_equal(say(&task, OP_FINISH, RUN_A, 92000), RC_STALE_RUN);
        task_finish(&task);
    }
}

static enum rc say_as(const char *token, struct task *task, enum op_kind kind, int64_t now) {
    struct task_access access = {.token = token, .own_runs = true};
    struct op *op = lease_op(kind, RUN_A, now);
    unsigned parts;
    op->access = &access;
    enum rc rc = apply(task, op, &parts);
    op_destroy(op);
    return rc;
}

/* Its word for a run is forbidden as long as the run may end the task, then too late. */
static void test_another_token(void **state) {
    (void)state;
    static const enum op_kind ends[] = {OP_FINISH, OP_FAIL, OP_HAND_BACK, OP_LAPSE};
    static const enum op_kind words[] = {OP_FINISH, OP_FAIL, OP_HAND_BACK, OP_HEARTBEAT, OP_CLAIM};
    for (size_t i = 0; i < LH_COUNT(ends); i++) {
        struct task task;
        make_task(&task, QUEUED);
        assert_int_equal(say_as("a", &task, OP_CLAIM, 5000), RC_OK);
        for (size_t k = 0; k < LH_COUNT(words); k++)
            assert_int_equal(say_as("b", &task, words[k], 6000), RC_FORBIDDEN);
        assert_int_equal(say(&task, ends[i], RUN_A, 90000), RC_OK);
        enum rc want = ends[i] == OP_LAPSE ? RC_FORBIDDEN : RC_STALE_RUN;
        for (size_t k = 0; k < LH_COUNT(words); k++)
            assert_int_equal(say_as("b", &task, words[k], 91000), want);
        assert_int_equal(task.attempt, 1);
        if (ends[i] == OP_LAPSE) /* its own token takes the task back */
            assert_int_equal(say_as("a", &task, OP_FINISH, 92000), RC_OK);
        assert_int_equal(say_as("b", &task, OP_FINISH, 93000), RC_STALE_RUN);
        task_finish(&task);
    }
}

static void test_a_poison_task_ends_failed(void **state) {
    (void)state;
    struct task task;
    make_task(&task, QUEUED);
    int64_t now = 5000;
    for (int i = 0; i < 3; i++, now += 100000) {
        char run_id[UUID_CAP];
        uuid_make(run_id);
        assert_int_equal(task.status, TASK_WAITING);
        assert_int_equal(say(&task, OP_CLAIM, run_id, now), RC_OK);
        assert_int_equal(say(&task, OP_HEARTBEAT, run_id, now), RC_OK);
        assert_int_equal(say(&task, OP_LAPSE, run_id, now + 50000), RC_OK);
    }
    assert_int_equal(task.status, TASK_FAILED);
    assert_int_equal(task.sub, SUB_CRASH);
    assert_string_equal(task.error_text, "3 runs of the task were lost while they ran");
    assert_int_equal(say(&task, OP_START, "", now), RC_OK);
    assert_int_equal(task.crashes, 0);
    task_finish(&task);
}

static void test_hand_back(void **state) {
    (void)state;
    struct task task;
    make_task(&task, QUEUED);
    assert_int_equal(say(&task, OP_CLAIM, RUN_A, 5000), RC_OK);
    assert_int_equal(say(&task, OP_HAND_BACK, RUN_B, 6000), RC_STALE_RUN);
    assert_int_equal(say(&task, OP_HAND_BACK, RUN_A, 6000), RC_OK);
    assert_int_equal(task.status, TASK_WAITING);
    assert_int_equal(task.crashes + task.undelivered, 0);
    assert_int_equal(say(&task, OP_HAND_BACK, RUN_A, 7000), RC_OK); /* its answer was lost */
    assert_int_equal(say(&task, OP_FINISH, RUN_A, 7000), RC_STALE_RUN);
    assert_int_equal(say(&task, OP_CLAIM, RUN_A, 7000), RC_STALE_RUN);
    task_finish(&task);
}

static void test_a_failed_run_gives_nothing_back(void **state) {
    (void)state;
    struct task task;
    make_task(&task, QUEUED);
    task.max_attempts = 2;
    assert_int_equal(say(&task, OP_CLAIM, RUN_A, 5000), RC_OK);
    assert_int_equal(say(&task, OP_FAIL, RUN_A, 6000), RC_OK);
    assert_int_equal(task.sub, SUB_RETRY);
    assert_int_equal(say(&task, OP_HAND_BACK, RUN_A, 7000), RC_STALE_RUN);
    assert_int_equal(say(&task, OP_FAIL, RUN_A, 7000), RC_OK); /* its answer was lost */
    task_finish(&task);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_failed_run_gives_nothing_back),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_times_never_run_back),
        cmocka_unit_test(test_new_task),
        cmocka_unit_test(test_start_over_clears_the_last_run),
        cmocka_unit_test(test_an_old_report_changes_nothing),
        cmocka_unit_test(test_pick_is_compare_and_set),
        cmocka_unit_test(test_edit_of_a_due_task_sends_a_new_message),
        cmocka_unit_test(test_failure_keeps_its_words),
        cmocka_unit_test(test_a_claim_with_a_run_holds_a_lease),
        cmocka_unit_test(test_an_older_heartbeat_takes_no_lease_back),
        cmocka_unit_test(test_a_lease_of_a_clock_that_was_set_back_is_not_kept),
        cmocka_unit_test(test_a_take_may_ask_for_a_lease),
        cmocka_unit_test(test_a_module_of_the_base_contract_has_no_lease),
        cmocka_unit_test(test_the_first_heartbeat_tells_the_worker),
        cmocka_unit_test(test_a_timeout_tells_parts_of_a_second),
        cmocka_unit_test(test_a_lost_lease_queues_the_task),
        cmocka_unit_test(test_a_run_takes_its_task_back),
        cmocka_unit_test(test_what_ends_the_right_to_take_back),
        cmocka_unit_test(test_another_token),
        cmocka_unit_test(test_a_poison_task_ends_failed),
        cmocka_unit_test(test_hand_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
