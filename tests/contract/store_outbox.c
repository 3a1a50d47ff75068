/* store_outbox.c: messages that have to go out: numbers, picks, deliveries. */
#include "base/mem.h"
#include "store_kit.h"
#include "store_rules.h"

#include <stdlib.h>
#include <string.h>

static struct op *outbox_op(enum op_kind kind, const char *id, int64_t seq) {
    struct op *op = kit_op(kind, id);
    op->broker = true;
    op->outbox_seq = seq;
    op->pick_void_ms = 5000;
    return op;
}

/* True where the task's message is among those to send at `before_ms`. */
static bool in_outbox(const char *id, int64_t before_ms) {
    struct query *query = query_create(QUERY_OUTBOX);
    query->limit = 100000;
    query->picked_before_ms = before_ms;
    kit_query(query);
    bool found = false;
    for (size_t i = 0; i < query->n_tasks; i++)
        found = found || strcmp(query->tasks[i].task_id, id) == 0;
    query_destroy(query);
    return found;
}

static struct task outbox_task(char id[TASK_TEXT_CAP]) {
    char service[SERVICE_CAP];
    kit_service(service);
    kit_new_task(service, true, true, id);
    return kit_get(id);
}

void test_outbox_of_a_new_task(void **state) {
    (void)state;
    char id[TASK_TEXT_CAP];
    struct task task = outbox_task(id);
    assert_int_equal(task.status, TASK_READY);
    assert_int_equal(task.sub, SUB_PRODUCING);
    assert_true(task.outbox_pending);
    assert_int_equal(task.outbox_seq, 1);
    assert_false(in_outbox(id, task.outbox_pick_at));
    assert_true(in_outbox(id, task.outbox_pick_at + 1));
    task_finish(&task);
}

/* One of several processes gets to send; its pick is void after a while. */
void test_pick_is_compare_and_set(void **state) {
    (void)state;
    char id[TASK_TEXT_CAP];
    struct task task = outbox_task(id);
    int64_t later = task.outbox_pick_at + 5000;
    assert_int_equal(kit_do(outbox_op(OP_PICK, id, 1)), RC_NOT_DUE); /* the creator has it */
    struct op *op = outbox_op(OP_PICK, id, 2);
    op->now_ms = later;
    assert_int_equal(kit_do(op), RC_NOT_DUE); /* no such number */
    op = outbox_op(OP_PICK, id, 1);
    op->now_ms = later;
    assert_int_equal(kit_apply(op), RC_OK);
    assert_true(kit_same_json(op->tasks[0].condition, op->tasks[0].condition_len, "{\"a\":1}", 7));
    op_destroy(op);
    op = outbox_op(OP_PICK, id, 1);
    op->now_ms = later + 1;
    assert_int_equal(kit_do(op), RC_NOT_DUE);
    task_finish(&task);
    task = kit_get(id);
    assert_int_equal(task.outbox_pick_at, later);
    task_finish(&task);
}

void test_delivered(void **state) {
    (void)state;
    char id[TASK_TEXT_CAP];
    struct task before = outbox_task(id);
    assert_int_equal(kit_do(outbox_op(OP_DELIVERED, id, 7)), RC_OK); /* another number */
    struct task after = kit_get(id);
    kit_assert_same_task(&before, &after);
    task_finish(&before);
    task_finish(&after);
    assert_int_equal(kit_do(outbox_op(OP_DELIVERED, id, 1)), RC_OK);
    after = kit_get(id);
    assert_int_equal(after.status, TASK_WAITING);
    assert_int_equal(after.sub, SUB_QUEUED);
    assert_false(after.outbox_pending);
    assert_false(in_outbox(id, INT64_MAX));
    task_finish(&after);
}

/* The message reaches a consumer before its delivery report reaches us. */
void test_claim_overtakes_delivery(void **state) {
    (void)state;
    char id[TASK_TEXT_CAP];
    struct task task = outbox_task(id);
    task_finish(&task);
    assert_int_equal(kit_do(kit_run_op(OP_CLAIM, id, RUN_A)), RC_OK);
    assert_int_equal(kit_do(outbox_op(OP_DELIVERED, id, 1)), RC_OK);
    task = kit_get(id);
    assert_int_equal(task.status, TASK_RUNNING);
    assert_false(task.outbox_pending);
    task_finish(&task);
}

/* A changed condition makes a new message; the old one's report says nothing about it. */
void test_edit_writes_a_new_number(void **state) {
    (void)state;
    char id[TASK_TEXT_CAP];
    struct task task = outbox_task(id);
    task_finish(&task);
    struct op *op = outbox_op(OP_EDIT, id, 0);
    op->value = kit_dup("[2]");
    op->value_len = 3;
    assert_int_equal(kit_do(op), RC_OK);
    assert_int_equal(kit_do(outbox_op(OP_DELIVERED, id, 1)), RC_OK);
    task = kit_get(id);
    assert_int_equal(task.outbox_seq, 2);
    assert_true(task.outbox_pending);
    assert_int_equal(task.status, TASK_READY);
    assert_true(kit_same_json(task.condition, task.condition_len, "[2]", 3));
    task_finish(&task);
    assert_int_equal(kit_do(outbox_op(OP_DELIVERED, id, 2)), RC_OK);
    task = kit_get(id);
    assert_int_equal(task.status, TASK_WAITING);
    task_finish(&task);
}

void test_undeliverable(void **state) {
    (void)state;
    char id[TASK_TEXT_CAP];
    struct task task = outbox_task(id);
    task_finish(&task);
    struct op *op = outbox_op(OP_UNDELIVERABLE, id, 1);
    op->error_text = kit_dup("too large for the topic");
    assert_int_equal(kit_do(op), RC_OK);
    task = kit_get(id);
    assert_int_equal(task.status, TASK_FAILED);
    assert_int_equal(task.sub, SUB_ERROR);
    assert_int_equal(task.error_class, ERROR_FATAL);
    assert_string_equal(task.error_text, "too large for the topic");
    assert_false(task.outbox_pending);
    task_finish(&task);
}

/* A limit takes those that have waited longest. */
void test_outbox_limit(void **state) {
    (void)state;
    struct query *all = query_create(QUERY_OUTBOX), *some = query_create(QUERY_OUTBOX);
    char ids[3][TASK_TEXT_CAP];
    for (size_t i = 0; i < 3; i++) {
        struct task task = outbox_task(ids[i]);
        task_finish(&task);
    }
    all->limit = 100000;
    some->limit = 2;
    all->picked_before_ms = some->picked_before_ms = INT64_MAX;
    kit_query(all);
    kit_query(some);
    assert_true(all->n_tasks >= 3);
    assert_int_equal(some->n_tasks, 2);
    size_t next = 0;
    for (size_t i = 0; i < all->n_tasks; i++)
        if (next < 3 && strcmp(all->tasks[i].task_id, ids[next]) == 0)
            next++;
    assert_int_equal(next, 3);
    for (size_t i = 0; i < 2; i++)
        assert_string_equal(some->tasks[i].task_id, all->tasks[i].task_id);
    query_destroy(all);
    query_destroy(some);
}

/* How many messages are not confirmed, and the time of the oldest of their tasks. */
static int64_t unsent(int64_t *ret_since) {
    struct query *query = query_create(QUERY_UNSENT);
    kit_query(query);
    int64_t n = query->total;
    *ret_since = query->unsent_since;
    query_destroy(query);
    return n;
}

void test_unsent_messages_are_counted(void **state) {
    (void)state;
    char ids[2][TASK_TEXT_CAP];
    int64_t since, before = unsent(&since);
    for (size_t i = 0; i < 2; i++) {
        struct task task = outbox_task(ids[i]);
        assert_int_equal(unsent(&since), before + 1 + (int64_t)i);
        assert_true(since > 0 && since <= task.queued.at);
        task_finish(&task);
    }
    assert_int_equal(kit_do(outbox_op(OP_DELIVERED, ids[0], 1)), RC_OK);
    assert_int_equal(unsent(&since), before + 1);
    assert_int_equal(kit_do(outbox_op(OP_DELIVERED, ids[1], 1)), RC_OK);
    assert_int_equal(unsent(&since), before);
}

enum { LARGE = 80, LARGE_BYTES = 1000000 };

/* Tasks with a message to send, each of so many bytes. */
static void new_large_tasks(char ids[LARGE][TASK_TEXT_CAP]) {
    char service[SERVICE_CAP], *json = malloc(LARGE_BYTES);
    assert_non_null(json);
    memset(json, 'x', LARGE_BYTES);
    json[0] = json[LARGE_BYTES - 1] = '"';
    kit_service(service);
    for (size_t i = 0; i < LARGE; i++) {
        struct op *op = kit_create(service, 1, true, true);
        kit_set_condition(op, 0, json, LARGE_BYTES);
        assert_int_equal(kit_apply(op), RC_OK);
        assert_true(mem_copy_str(ids[i], TASK_TEXT_CAP, op->tasks[0].task_id));
        op_destroy(op);
    }
    free(json);
}

/* One was picked and brings its condition, or is left for the next batch. */
static bool was_picked(const struct op *op) {
    if (op->rc == RC_OK) {
        assert_int_equal(op->tasks[0].condition_len, LARGE_BYTES);
        return true;
    }
    assert_int_equal(op->rc, RC_OVERLOADED);
    assert_int_equal(op->n_tasks, 0);
    return false;
}

/* Picks those that are left in one batch, a claim of another task behind them; how many it got. */
static size_t pick_large(char ids[LARGE][TASK_TEXT_CAP], const char *other, bool picked[LARGE]) {
    struct op *ops[LARGE + 1];
    struct error err = {0};
    size_t which[LARGE], n = 0, got = 0;
    for (size_t i = 0; i < LARGE; i++)
        if (!picked[i]) {
            which[n] = i;
            ops[n] = outbox_op(OP_PICK, ids[i], 1);
            ops[n++]->now_ms += 5000;
        }
    ops[n] = kit_run_op(OP_CLAIM, other, RUN_A);
    if (store_apply(kit_store, ops, n + 1, &err) != RC_OK)
        fail_msg("%s", err.text);
    assert_int_equal(ops[n]->rc, RC_OK);
    assert_int_equal(ops[n]->tasks[0].condition_len, 7);
    op_destroy(ops[n]);
    for (size_t i = 0; i < n; i++) {
        picked[which[i]] = was_picked(ops[i]);
        got += picked[which[i]];
        op_destroy(ops[i]);
    }
    return got;
}

/* One batch of what a sweeper found loads 64 MiB of conditions; what is left is as it was. */
void test_large_messages_in_one_batch(void **state) {
    (void)state;
    char ids[LARGE][TASK_TEXT_CAP], other[TASK_TEXT_CAP];
    bool picked[LARGE] = {false};
    struct task task = outbox_task(other);
    task_finish(&task);
    new_large_tasks(ids);
    assert_int_equal(pick_large(ids, other, picked), 68);
    assert_int_equal(pick_large(ids, other, picked), 12);
    for (size_t i = 0; i < LARGE; i++) { /* other tests list all that there is */
        assert_int_equal(kit_do(kit_op(OP_CANCEL, ids[i])), RC_OK);
        assert_int_equal(kit_do(kit_op(OP_REMOVE, ids[i])), RC_OK);
    }
}
