/* store_rules.c: every operation on a task in every state, against a real store. */
#include "store_rules.h"

#include "base/mem.h"
#include "store_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In which state an operation finds the task. Runs are RUN_A's, or a legacy module's without id. */
enum state { HELD, PRODUCING, QUEUED, RUN, LEGACY, FINISHED, FAILED, STATES };

static const struct {
    enum task_status status;
    enum task_sub sub;
} stands[STATES] = {
    [HELD] = {TASK_READY, SUB_HELD},        [PRODUCING] = {TASK_READY, SUB_PRODUCING},
    [QUEUED] = {TASK_WAITING, SUB_QUEUED},  [RUN] = {TASK_RUNNING, SUB_CLAIMED},
    [LEGACY] = {TASK_RUNNING, SUB_CLAIMED}, [FINISHED] = {TASK_FINISHED, SUB_NONE},
    [FAILED] = {TASK_FAILED, SUB_ERROR},
};

/* Creates a task and brings it into the state by operations alone. */
static void bring(const char *service, enum state state, char ret_id[TASK_TEXT_CAP]) {
    kit_new_task(service, state != HELD, state == PRODUCING, ret_id);
    if (state >= RUN)
        assert_int_equal(kit_do(kit_run_op(OP_CLAIM, ret_id, state == LEGACY ? "" : RUN_A)), RC_OK);
    if (state == FINISHED)
        assert_int_equal(kit_do(kit_run_op(OP_FINISH, ret_id, RUN_A)), RC_OK);
    if (state == FAILED)
        assert_int_equal(kit_do(kit_run_op(OP_FAIL, ret_id, RUN_A)), RC_OK);
}

/* What becomes of the task: a state, or refused with an rc and unchanged. */
struct expected {
    enum rc rc;
    enum state state;
    bool same; /* nothing changes although the op is accepted */
};

#define TO(s)                                                                                      \
    { RC_OK, s, false }
#define SAME                                                                                       \
    { RC_OK, STATES, true }
#define NO(code)                                                                                   \
    { RC_##code, STATES, true }

static const struct row {
    enum op_kind kind;
    const char *run_id;
    bool broker;
    struct expected expected[STATES];
} rows[] = {
    /* HELD, PRODUCING, QUEUED, RUN, LEGACY, FINISHED, FAILED */
    {OP_CLAIM,
     "",
     false,
     {NO(NOT_DUE), TO(LEGACY), TO(LEGACY), NO(ALREADY_CLAIMED), NO(ALREADY_CLAIMED),
      NO(ALREADY_FINAL), NO(ALREADY_FINAL)}},
    {OP_CLAIM,
     RUN_A,
     false,
     {NO(NOT_DUE), TO(RUN), TO(RUN), SAME, NO(ALREADY_CLAIMED), NO(STALE_RUN), NO(STALE_RUN)}},
    {OP_CLAIM,
     RUN_B,
     false,
     {NO(NOT_DUE), TO(RUN), TO(RUN), NO(ALREADY_CLAIMED), NO(ALREADY_CLAIMED), NO(ALREADY_FINAL),
      NO(ALREADY_FINAL)}},
    {OP_FINISH,
     "",
     false,
     {NO(NOT_DUE), TO(FINISHED), TO(FINISHED), NO(STALE_RUN), TO(FINISHED), SAME,
      NO(ALREADY_FINAL)}},
    {OP_FINISH,
     RUN_A,
     false,
     {NO(STALE_RUN), NO(STALE_RUN), NO(STALE_RUN), TO(FINISHED), NO(STALE_RUN), SAME,
      NO(ALREADY_FINAL)}},
    {OP_FINISH,
     RUN_B,
     false,
     {NO(STALE_RUN), NO(STALE_RUN), NO(STALE_RUN), NO(STALE_RUN), NO(STALE_RUN), NO(STALE_RUN),
      NO(STALE_RUN)}},
    {OP_FAIL,
     "",
     false,
     {NO(NOT_DUE), TO(FAILED), TO(FAILED), NO(STALE_RUN), TO(FAILED), NO(ALREADY_FINAL), SAME}},
    {OP_FAIL,
     RUN_A,
     false,
     {NO(STALE_RUN), NO(STALE_RUN), NO(STALE_RUN), TO(FAILED), NO(STALE_RUN), NO(ALREADY_FINAL),
      SAME}},
    {OP_FAIL,
     RUN_B,
     false,
     {NO(STALE_RUN), NO(STALE_RUN), NO(STALE_RUN), NO(STALE_RUN), NO(STALE_RUN), NO(STALE_RUN),
      NO(STALE_RUN)}},
    {OP_START,
     "",
     false,
     {TO(QUEUED), TO(QUEUED), NO(ALREADY_QUEUED), NO(ALREADY_QUEUED), NO(ALREADY_QUEUED),
      TO(QUEUED), TO(QUEUED)}},
    {OP_START,
     "",
     true,
     {TO(PRODUCING), TO(PRODUCING), NO(ALREADY_QUEUED), NO(ALREADY_QUEUED), NO(ALREADY_QUEUED),
      TO(PRODUCING), TO(PRODUCING)}},
    {OP_EDIT,
     "",
     false,
     {TO(HELD), TO(PRODUCING), TO(QUEUED), NO(TASK_RUNNING), NO(TASK_RUNNING), TO(FINISHED),
      TO(FAILED)}},
    {OP_EDIT,
     "",
     true,
     {TO(HELD), TO(PRODUCING), TO(QUEUED), NO(TASK_RUNNING), NO(TASK_RUNNING), TO(FINISHED),
      TO(FAILED)}},
};

static struct op *row_op(const struct row *row, const struct task *before) {
    struct op *op = kit_run_op(row->kind, before->task_id, row->run_id);
    op->broker = row->broker;
    if (row->kind == OP_EDIT) {
        op->value = kit_dup("{\"new\":true}");
        op->value_len = strlen(op->value);
    }
    if (before->rev % 2) { /* with and without the oid */
        op->has_oid = true;
        memcpy(op->oid, before->oid, OBJECT_ID_LEN);
    }
    return op;
}

static void check_outcome(const struct expected *expected, const struct op *op,
                          const struct task *before, const struct task *after) {
    assert_int_equal(op->n_tasks, 1);
    assert_string_equal(op->tasks[0].task_id, before->task_id);
    assert_int_equal(op->tasks[0].status, after->status);
    assert_int_equal(op->tasks[0].sub, after->sub);
    assert_int_equal(op->tasks[0].attempt, after->attempt);
    if (op_needs_condition(op))
        assert_true(kit_same_json(op->tasks[0].condition, op->tasks[0].condition_len,
                                  after->condition, after->condition_len));
    if (expected->same) {
        kit_assert_same_task(before, after);
        return;
    }
    assert_int_equal(after->status, stands[expected->state].status);
    assert_int_equal(after->sub, stands[expected->state].sub);
    assert_true(after->rev > before->rev);
}

static void check_cell(const char *service, const struct row *row, enum state state) {
    char id[TASK_TEXT_CAP];
    bring(service, state, id);
    struct task before = kit_get(id);
    assert_int_equal(before.status, stands[state].status);
    assert_int_equal(before.sub, stands[state].sub);
    struct op *op = row_op(row, &before);
    enum rc rc = kit_apply(op);
    const struct expected *expected = &row->expected[state];
    if (rc != expected->rc)
        fail_msg("%s by '%s' in state %d: %s instead of %s", op_kind_name(row->kind), row->run_id,
                 (int)state, rc_info(rc)->word, rc_info(expected->rc)->word);
    struct task after = kit_get(id);
    check_outcome(expected, op, &before, &after);
    task_finish(&before);
    task_finish(&after);
    op_destroy(op);
}

void test_every_op_in_every_state(void **state) {
    (void)state;
    char service[SERVICE_CAP];
    kit_service(service);
    for (size_t i = 0; i < LH_COUNT(rows); i++)
        for (int s = 0; s < STATES; s++)
            check_cell(service, &rows[i], (enum state)s);
}

void test_unknown_task(void **state) {
    (void)state;
    static const enum op_kind kinds[] = {OP_CLAIM, OP_FINISH,    OP_FAIL,         OP_START,
                                         OP_EDIT,  OP_HEARTBEAT, OP_HAND_BACK,    OP_LAPSE,
                                         OP_PICK,  OP_DELIVERED, OP_UNDELIVERABLE};
    for (size_t i = 0; i < LH_COUNT(kinds); i++) {
        struct op *op = kit_run_op(kinds[i], "ts_none_0", RUN_A);
        op->value = kit_dup("1");
        op->value_len = 1;
        assert_int_equal(kit_apply(op), RC_UNKNOWN_TASK);
        assert_int_equal(op->n_tasks, 0);
        op_destroy(op);
    }
}

void test_whole_life(void **state) {
    (void)state;
    char service[SERVICE_CAP], id[TASK_TEXT_CAP];
    kit_service(service);
    kit_new_task(service, true, false, id);
    struct op *op = kit_run_op(OP_CLAIM, id, RUN_A);
    op->message = kit_dup("begun");
    int64_t claimed_at = op->now_ms;
    assert_int_equal(kit_do(op), RC_OK);
    op = kit_run_op(OP_FINISH, id, RUN_A);
    op->message = kit_dup("done \xc3\xa9");
    op->value = kit_dup("{\"n\":[1,2.5,null]}");
    op->value_len = strlen(op->value);
    int64_t ended_at = op->now_ms;
    assert_int_equal(kit_do(op), RC_OK);
    struct task task = kit_get(id);
    assert_int_equal(task.status, TASK_FINISHED);
    assert_int_equal(task.start_at, claimed_at);
    assert_int_equal(task.end_at, ended_at);
    assert_true(task.create_at <= task.start_at && task.start_at <= task.end_at);
    assert_string_equal(task.message[MESSAGE_RUNNING], "begun");
    assert_string_equal(task.message[MESSAGE_FINISHED], "done \xc3\xa9");
    assert_null(task.message[MESSAGE_FAILED]);
    assert_true(kit_same_json(task.result, task.result_len, "{\"n\":[1,2.5,null]}", 18));
    assert_string_equal(task.source_name, "src");
    assert_string_equal(task.run_id, RUN_A);
    assert_int_equal(task.attempt, 1);
    task_finish(&task);
}

/* A report that comes again is measured by the result on record. */
void test_same_report_again(void **state) {
    (void)state;
    static const struct {
        const char *value;
        enum rc rc;
    } cases[] = {{"{\"a\":1}", RC_OK}, {"{\"a\":2}", RC_ALREADY_FINAL}, {NULL, RC_ALREADY_FINAL}};
    char service[SERVICE_CAP], id[TASK_TEXT_CAP];
    kit_service(service);
    bring(service, RUN, id);
    struct op *op = kit_run_op(OP_FINISH, id, RUN_A);
    op->value = kit_dup("{\"a\":1}");
    op->value_len = 7;
    assert_int_equal(kit_do(op), RC_OK);
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        op = kit_run_op(OP_FINISH, id, RUN_A);
        op->value = cases[i].value ? kit_dup(cases[i].value) : NULL;
        op->value_len = cases[i].value ? strlen(cases[i].value) : 0;
        assert_int_equal(kit_do(op), cases[i].rc);
    }
    struct task task = kit_get(id);
    assert_true(kit_same_json(task.result, task.result_len, "{\"a\":1}", 7));
    task_finish(&task);
}

void test_failure_and_start_over(void **state) {
    (void)state;
    char service[SERVICE_CAP], id[TASK_TEXT_CAP];
    kit_service(service);
    bring(service, RUN, id);
    struct op *op = kit_run_op(OP_FAIL, id, RUN_A);
    op->error_class = ERROR_RETRYABLE;
    op->error_text = kit_dup("no luck");
    op->message = kit_dup("it failed");
    assert_int_equal(kit_do(op), RC_OK);
    struct task task = kit_get(id);
    assert_int_equal(task.status, TASK_FAILED);
    assert_int_equal(task.error_class, ERROR_RETRYABLE);
    assert_string_equal(task.error_text, "no luck");
    assert_string_equal(task.message[MESSAGE_FAILED], "it failed");
    task_finish(&task);
    assert_int_equal(kit_do(kit_op(OP_START, id)), RC_OK);
    task = kit_get(id);
    assert_int_equal(task.status, TASK_WAITING);
    assert_int_equal(task.error_class, ERROR_NONE);
    assert_null(task.error_text);
    assert_null(task.message[MESSAGE_FAILED]);
    assert_int_equal(task.start_at, 0);
    assert_int_equal(task.end_at, 0);
    assert_int_equal(task.attempt, 1);
    task_finish(&task);
    assert_int_equal(kit_do(kit_run_op(OP_CLAIM, id, RUN_A)), RC_STALE_RUN);
    assert_int_equal(kit_do(kit_run_op(OP_CLAIM, id, RUN_B)), RC_OK);
    assert_int_equal(kit_do(kit_run_op(OP_FINISH, id, RUN_A)), RC_STALE_RUN);
    task = kit_get(id);
    assert_int_equal(task.attempt, 2);
    task_finish(&task);
}

void test_start_over_clears_result(void **state) {
    (void)state;
    char service[SERVICE_CAP], id[TASK_TEXT_CAP];
    kit_service(service);
    bring(service, RUN, id);
    struct op *op = kit_run_op(OP_FINISH, id, RUN_A);
    op->value = kit_dup("17");
    op->value_len = 2;
    assert_int_equal(kit_do(op), RC_OK);
    assert_int_equal(kit_do(kit_op(OP_START, id)), RC_OK);
    struct task task = kit_get(id);
    assert_null(task.result);
    assert_non_null(task.condition);
    task_finish(&task);
}

/* Times never run backwards, whatever the clock does. */
void test_clock_set_back(void **state) {
    (void)state;
    char service[SERVICE_CAP], id[TASK_TEXT_CAP];
    kit_service(service);
    kit_new_task(service, true, false, id);
    struct op *op = kit_run_op(OP_CLAIM, id, RUN_A);
    op->now_ms -= 3600000;
    assert_int_equal(kit_do(op), RC_OK);
    op = kit_run_op(OP_FINISH, id, RUN_A);
    op->now_ms -= 7200000;
    assert_int_equal(kit_do(op), RC_OK);
    struct task task = kit_get(id);
    assert_true(task.create_at <= task.start_at && task.start_at <= task.end_at);
    task_finish(&task);
}

/* Operations on one task in one batch take effect in order; a refused one spoils nothing. */
void test_batch_order(void **state) {
    (void)state;
    char service[SERVICE_CAP];
    kit_service(service);
    struct op *create = kit_create(service, 2, true, false);
    const char *id = create->tasks[0].task_id, *other = create->tasks[1].task_id;
    struct op *ops[] = {
        create,
        kit_run_op(OP_CLAIM, id, RUN_A),
        kit_run_op(OP_CLAIM, id, RUN_B),
        kit_run_op(OP_FINISH, id, RUN_B),
        kit_run_op(OP_FINISH, id, RUN_A),
        kit_op(OP_START, id),
        kit_run_op(OP_CLAIM, id, RUN_B),
        kit_run_op(OP_CLAIM, "ts_none_1", RUN_A),
        kit_run_op(OP_FAIL, other, ""),
        kit_op(OP_START, id),
    };
    static const enum rc expected[] = {
        RC_OK, RC_OK, RC_ALREADY_CLAIMED, RC_STALE_RUN, RC_OK,
        RC_OK, RC_OK, RC_UNKNOWN_TASK,    RC_OK,        RC_ALREADY_QUEUED};
    struct error err = {0};
    assert_int_equal(store_apply(kit_store, ops, LH_COUNT(ops), &err), RC_OK);
    for (size_t i = 0; i < LH_COUNT(ops); i++)
        assert_int_equal(ops[i]->rc, expected[i]);
    struct task task = kit_get(id);
    assert_int_equal(task.status, TASK_RUNNING);
    assert_string_equal(task.run_id, RUN_B);
    assert_int_equal(task.attempt, 2);
    task_finish(&task);
    task = kit_get(other);
    assert_int_equal(task.status, TASK_FAILED);
    task_finish(&task);
    for (size_t i = 0; i < LH_COUNT(ops); i++)
        op_destroy(ops[i]);
}

void test_create_many(void **state) {
    (void)state;
    char service[SERVICE_CAP], other[SERVICE_CAP];
    kit_service(service);
    kit_service(other);
    struct op *op = kit_create(service, 5, true, false);
    op->tasks[3].task_id[0] = '\0'; /* the same task twice: only that item fails */
    memcpy(op->tasks[3].task_id, op->tasks[1].task_id, TASK_TEXT_CAP);
    memcpy(op->tasks[3].oid, op->tasks[1].oid, OBJECT_ID_LEN);
    assert_int_equal(kit_apply(op), RC_OK);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(op->task_rc[i], i == 3 ? RC_INTERNAL : RC_OK);
    op_destroy(op);
    op = kit_create(service, 4, true, false);
    struct service_rules *rules = kit_rules(service, false, 0, 6);
    op->rules = rules; /* four stand: two have room, the tail has none */
    assert_int_equal(kit_apply(op), RC_OK);
    service_rules_unref(rules);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(op->task_rc[i], i < 2 ? RC_OK : RC_QUEUE_FULL);
    struct task refused = kit_get(op->tasks[2].task_id);
    assert_string_equal(refused.task_id, "");
    op_destroy(op);
    op = kit_create(other, 1, true, false); /* another service has room of its own */
    op->rules = rules = kit_rules(other, false, 0, 1);
    assert_int_equal(kit_apply(op), RC_OK);
    assert_int_equal(op->task_rc[0], RC_OK);
    op_destroy(op);
    service_rules_unref(rules);
}

/* What runs or has ended does not count as waiting. */
void test_queue_has_room_again(void **state) {
    (void)state;
    char service[SERVICE_CAP], id[TASK_TEXT_CAP];
    kit_service(service);
    kit_new_task(service, true, false, id);
    struct service_rules *rules = kit_rules(service, false, 0, 1);
    for (int i = 0; i < 2; i++) {
        struct op *op = kit_create(service, 1, true, false);
        op->rules = rules;
        assert_int_equal(kit_apply(op), RC_OK);
        assert_int_equal(op->task_rc[0], i == 0 ? RC_QUEUE_FULL : RC_OK);
        op_destroy(op);
        if (i == 0)
            assert_int_equal(kit_do(kit_run_op(OP_CLAIM, id, RUN_A)), RC_OK);
    }
    service_rules_unref(rules);
}

static void check_taken(const struct op *op, char (*ids)[TASK_TEXT_CAP], size_t n) {
    assert_int_equal(op->n_tasks, n);
    for (size_t i = 0; i < n; i++) {
        const struct task *task = &op->tasks[i];
        assert_string_equal(task->task_id, ids[i]);
        assert_int_equal(task->status, TASK_RUNNING);
        assert_true(uuid_valid(task->run_id));
        assert_true(kit_same_json(task->condition, task->condition_len, "{\"a\":1}", 7));
        struct task stored = kit_get(ids[i]);
        assert_string_equal(stored.run_id, task->run_id);
        assert_int_equal(stored.attempt, 1);
        task_finish(&stored);
    }
}

/* Oldest first, of the named services only, due ones only, up to the number asked for. */
void test_take(void **state) {
    (void)state;
    char a[SERVICE_CAP], b[SERVICE_CAP], c[SERVICE_CAP], ids[5][TASK_TEXT_CAP];
    char skipped[TASK_TEXT_CAP];
    kit_service(a);
    kit_service(b);
    kit_service(c);
    kit_new_task(a, true, false, ids[0]);
    kit_new_task(b, true, false, ids[1]);
    kit_new_task(c, true, false, skipped);  /* another service */
    kit_new_task(a, true, true, ids[2]);    /* its message is still on its way */
    kit_new_task(a, false, false, skipped); /* held */
    kit_new_task(b, true, false, ids[3]);
    struct op *op = kit_take(a, 3);
    op->services = realloc(op->services, 2 * sizeof *op->services);
    op->services[op->n_services++] = kit_dup(b);
    assert_int_equal(kit_apply(op), RC_OK);
    check_taken(op, ids, 3);
    assert_string_not_equal(op->tasks[0].run_id, op->tasks[1].run_id);
    op_destroy(op);
    op = kit_take(b, 10);
    assert_int_equal(kit_apply(op), RC_OK);
    check_taken(op, ids + 3, 1);
    op_destroy(op);
    op = kit_take(a, 10);
    assert_int_equal(kit_apply(op), RC_OK);
    assert_int_equal(op->n_tasks, 0);
    op_destroy(op);
}

/* Two takes in one batch share nothing. */
void test_takes_in_one_batch(void **state) {
    (void)state;
    char service[SERVICE_CAP];
    kit_service(service);
    assert_int_equal(kit_do(kit_create(service, 5, true, false)), RC_OK);
    struct op *ops[] = {kit_take(service, 3), kit_take(service, 3), kit_take(service, 3)};
    struct error err = {0};
    assert_int_equal(store_apply(kit_store, ops, 3, &err), RC_OK);
    assert_int_equal(ops[0]->n_tasks + ops[1]->n_tasks + ops[2]->n_tasks, 5);
    for (size_t i = 0; i < ops[0]->n_tasks; i++)
        for (size_t j = 0; j < ops[1]->n_tasks; j++)
            assert_string_not_equal(ops[0]->tasks[i].task_id, ops[1]->tasks[j].task_id);
    for (size_t i = 0; i < 3; i++)
        op_destroy(ops[i]);
}
