/* store_remove.c: tasks that are removed, and what is told of them. */
#include "base/mem.h"
#include "store_kit.h"
#include "store_rules.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* A task in its final status, with a result and a log. */
static void new_final(const char *service, enum op_kind word, char ret_id[TASK_TEXT_CAP]) {
    kit_new_task(service, true, false, ret_id);
    assert_int_equal(kit_do(kit_run_op(OP_CLAIM, ret_id, RUN_A)), RC_OK);
    struct op *log = kit_run_op(OP_LOG, ret_id, RUN_A);
    log->value = kit_dup("hello");
    log->value_len = 5;
    log->log_cap = 1 << 20;
    assert_int_equal(kit_do(log), RC_OK);
    struct op *op = kit_run_op(word, ret_id, RUN_A);
    if (word == OP_FINISH) {
        op->value = kit_dup("[1]");
        op->value_len = 3;
    }
    assert_int_equal(kit_do(op), RC_OK);
}

static int64_t total_of(const char *service, unsigned statuses) {
    struct query *query = kit_list(service, 0, 1);
    query->filter.statuses = statuses;
    kit_query(query);
    int64_t total = query->total;
    query_destroy(query);
    return total;
}

static void check_removed(const char *service, const struct task *before) {
    struct task gone = kit_get(before->task_id);
    assert_string_equal(gone.task_id, before->task_id);
    assert_string_equal(gone.service, service);
    assert_int_equal(gone.status, before->status);
    assert_int_equal(gone.sub, SUB_REMOVED);
    assert_int_equal(gone.create_at, before->create_at);
    assert_int_equal(gone.start_at, before->start_at);
    assert_int_equal(gone.end_at, before->end_at);
    assert_null(gone.result);
    task_finish(&gone);
}

static void check_refused(const char *id) {
    static const enum op_kind kinds[] = {OP_CLAIM, OP_START,     OP_FINISH, OP_FAIL,     OP_REMOVE,
                                         OP_EDIT,  OP_HEARTBEAT, OP_CANCEL, OP_HAND_BACK};
    for (size_t i = 0; i < LH_COUNT(kinds); i++) {
        struct op *op = kit_run_op(kinds[i], id, RUN_B);
        op->value = kinds[i] == OP_EDIT ? kit_dup("1") : NULL;
        op->value_len = op->value ? 1 : 0;
        assert_int_equal(kit_apply(op), RC_TASK_REMOVED);
        assert_int_equal(op->n_tasks, 0);
        op_destroy(op);
    }
}

/* What a reader of the log of a task gets: the task, removed or not, and whether it has a log. */
static bool has_log(const char *id, enum task_sub want_sub) {
    struct query *query = query_create(QUERY_LOG);
    query->ids = calloc(1, sizeof *query->ids);
    query->ids[query->n_ids++] = kit_dup(id);
    query->attempt = 1;
    query->max_bytes = 100;
    struct error err = {0};
    assert_int_equal(store_query(kit_store, 0, &query, 1, &err), RC_OK);
    assert_int_equal(query->n_tasks, 1);
    assert_string_equal(query->tasks[0].task_id, id);
    assert_int_equal(query->tasks[0].sub, want_sub);
    bool has = query->log.len > 0;
    query_destroy(query);
    return has;
}

void test_remove(void **state) {
    (void)state;
    static const enum op_kind words[] = {OP_FINISH, OP_FAIL};
    for (size_t i = 0; i < LH_COUNT(words); i++) {
        char service[SERVICE_CAP], id[TASK_TEXT_CAP];
        kit_service(service);
        new_final(service, words[i], id);
        struct task before = kit_get(id);
        assert_true(has_log(id, before.sub));
        struct op *op = kit_op(OP_REMOVE, id);
        assert_int_equal(kit_apply(op), RC_OK);
        assert_int_equal(op->n_tasks, 1);
        assert_string_equal(op->tasks[0].task_id, id);
        assert_int_equal(op->tasks[0].sub, SUB_REMOVED);
        op_destroy(op);
        check_removed(service, &before);
        check_refused(id);
        check_removed(service, &before);
        assert_false(has_log(id, SUB_REMOVED));
        assert_int_equal(total_of(service, 0), 0);
        task_finish(&before);
    }
}

void test_remove_in_every_status(void **state) {
    (void)state;
    char service[SERVICE_CAP], id[TASK_TEXT_CAP];
    kit_service(service);
    kit_new_task(service, false, false, id);
    assert_int_equal(kit_do(kit_op(OP_REMOVE, id)), RC_NOT_FINAL);
    assert_int_equal(kit_do(kit_op(OP_START, id)), RC_OK);
    assert_int_equal(kit_do(kit_op(OP_REMOVE, id)), RC_NOT_FINAL);
    assert_int_equal(kit_do(kit_run_op(OP_CLAIM, id, RUN_A)), RC_OK);
    assert_int_equal(kit_do(kit_op(OP_REMOVE, id)), RC_NOT_FINAL);
    assert_int_equal(kit_do(kit_run_op(OP_FINISH, id, RUN_A)), RC_OK);
    struct task task = kit_get(id);
    struct op *op = kit_op(OP_REMOVE, id);
    op->before_ms = task.end_at - 1;
    assert_int_equal(kit_do(op), RC_NOT_DUE);
    op = kit_op(OP_REMOVE, id);
    op->before_ms = task.end_at;
    assert_int_equal(kit_do(op), RC_OK);
    task_finish(&task);
    assert_int_equal(kit_do(kit_op(OP_REMOVE, "ts_none")), RC_UNKNOWN_TASK);
}

/* Operations on one task keep their order, within a batch too. */
void test_remove_in_a_batch(void **state) {
    (void)state;
    char service[SERVICE_CAP], a[TASK_TEXT_CAP], b[TASK_TEXT_CAP];
    kit_service(service);
    new_final(service, OP_FINISH, a);
    new_final(service, OP_FAIL, b);
    struct op *ops[] = {kit_op(OP_REMOVE, a), kit_op(OP_START, a),
                        kit_op(OP_START, b),  kit_op(OP_REMOVE, b),
                        kit_op(OP_REMOVE, a), kit_create(service, 1, true, false)};
    static const enum rc want[] = {RC_OK,        RC_TASK_REMOVED, RC_OK,
                                   RC_NOT_FINAL, RC_TASK_REMOVED, RC_OK};
    struct error err = {0};
    assert_int_equal(store_apply(kit_store, ops, LH_COUNT(ops), &err), RC_OK);
    for (size_t i = 0; i < LH_COUNT(ops); i++) {
        assert_int_equal(ops[i]->rc, want[i]);
        op_destroy(ops[i]);
    }
    assert_int_equal(total_of(service, 0), 2);
    assert_int_equal(total_of(service, 1u << TASK_FINISHED | 1u << TASK_FAILED), 0);
    struct task task = kit_get(b);
    assert_int_equal(task.status, TASK_WAITING);
    task_finish(&task);
}

static struct op *keyed_create(const char *service, uint64_t hash) {
    struct op *op = kit_create(service, 1, true, false);
    op->tasks[0].idem_key = kit_dup("k");
    op->tasks[0].idem_hash = hash;
    assert_int_equal(kit_apply(op), RC_OK);
    return op;
}

/* A tombstone keeps the key of its task until it is forgotten. */
void test_tombstone_keeps_the_key(void **state) {
    (void)state;
    char service[SERVICE_CAP], id[TASK_TEXT_CAP];
    kit_service(service);
    struct op *op = keyed_create(service, 7);
    memcpy(id, op->tasks[0].task_id, sizeof id);
    op_destroy(op);
    assert_int_equal(kit_do(kit_run_op(OP_FINISH, id, "")), RC_OK);
    assert_int_equal(kit_do(kit_op(OP_REMOVE, id)), RC_OK);
    op = keyed_create(service, 7);
    assert_true(op->tasks[0].duplicate);
    assert_string_equal(op->tasks[0].task_id, id);
    assert_int_equal(op->task_rc[0], RC_OK);
    op_destroy(op);
    op = keyed_create(service, 8);
    assert_int_equal(op->task_rc[0], RC_IDEMPOTENCY_CONFLICT);
    op_destroy(op);
    op = kit_op(OP_FORGET, NULL);
    op->before_ms = kit_now();
    op->max = 100000;
    assert_int_equal(kit_do(op), RC_OK);
    struct task task = kit_get(id);
    assert_string_equal(task.task_id, "");
    assert_int_equal(kit_do(kit_op(OP_START, id)), RC_UNKNOWN_TASK);
    op = keyed_create(service, 8);
    assert_false(op->tasks[0].duplicate);
    op_destroy(op);
}

static bool is_known(const char *id) {
    struct task task = kit_get(id);
    bool known = task.task_id[0];
    task_finish(&task);
    return known;
}

/* Oldest first, no more than asked for, none that is too young. */
void test_forget_in_steps(void **state) {
    (void)state;
    enum { TASKS = 5 };
    char service[SERVICE_CAP], ids[TASKS][TASK_TEXT_CAP];
    kit_service(service);
    int64_t until = 0;
    for (size_t i = 0; i < TASKS; i++) {
        new_final(service, OP_FINISH, ids[i]);
        struct op *op = kit_op(OP_REMOVE, ids[i]);
        until = i < 3 ? op->now_ms : until;
        assert_int_equal(kit_do(op), RC_OK);
    }
    for (size_t step = 0; step < 4; step++) {
        struct op *op = kit_op(OP_FORGET, NULL);
        op->before_ms = until;
        op->max = step ? 1 : 0;
        assert_int_equal(kit_apply(op), RC_OK);
        assert_int_equal(op->forgotten, op->max);
        op_destroy(op);
        for (size_t i = 0; i < TASKS; i++)
            assert_int_equal(is_known(ids[i]), i >= step);
    }
    struct op *op = kit_op(OP_FORGET, NULL);
    op->before_ms = until;
    op->max = 10;
    assert_int_equal(kit_apply(op), RC_OK);
    assert_int_equal(op->forgotten, 0);
    op_destroy(op);
}

/* One of several processes that remove the same tasks in batches of a few. */
struct remover {
    pthread_t thread;
    struct store *store;
    char (*ids)[TASK_TEXT_CAP];
    size_t n, removed, wrong;
    int64_t now_ms;
};

enum { REMOVED_TOGETHER = 400, REMOVED_AT_ONCE = 8 };

static void remove_some(struct remover *remover, size_t from) {
    struct op *ops[REMOVED_AT_ONCE];
    struct error err = {0};
    for (size_t i = 0; i < REMOVED_AT_ONCE; i++) {
        ops[i] = op_create(OP_REMOVE);
        ops[i]->now_ms = remover->now_ms;
        memcpy(ops[i]->task_id, remover->ids[from + i], TASK_TEXT_CAP);
    }
    if (store_apply(remover->store, ops, REMOVED_AT_ONCE, &err) != RC_OK)
        remover->wrong++;
    for (size_t i = 0; i < REMOVED_AT_ONCE; i++) {
        remover->removed += ops[i]->rc == RC_OK;
        remover->wrong += ops[i]->rc != RC_OK && ops[i]->rc != RC_TASK_REMOVED;
        op_destroy(ops[i]);
    }
}

static void *remove_all(void *arg) {
    struct remover *remover = arg;
    for (size_t i = 0; i < remover->n; i += REMOVED_AT_ONCE)
        remove_some(remover, i);
    return NULL;
}

/* Each is removed by one of them, and by none a second time. */
void test_remove_by_two_processes(void **state) {
    (void)state;
    static char ids[REMOVED_TOGETHER][TASK_TEXT_CAP];
    if (!kit_is_mongodb())
        skip(); /* the SQLite file belongs to one */
    char service[SERVICE_CAP];
    kit_service(service);
    struct op *op = kit_create(service, REMOVED_TOGETHER, true, false);
    assert_int_equal(kit_apply(op), RC_OK);
    for (size_t i = 0; i < REMOVED_TOGETHER; i++) {
        memcpy(ids[i], op->tasks[i].task_id, TASK_TEXT_CAP);
        assert_int_equal(kit_do(kit_run_op(OP_FINISH, ids[i], "")), RC_OK);
    }
    op_destroy(op);
    struct remover removers[2] = {{.store = kit_store}, {.store = kit_open()}};
    for (size_t i = 0; i < LH_COUNT(removers); i++) {
        removers[i].ids = ids;
        removers[i].n = REMOVED_TOGETHER;
        removers[i].now_ms = kit_now();
        assert_int_equal(pthread_create(&removers[i].thread, NULL, remove_all, &removers[i]), 0);
    }
    for (size_t i = 0; i < LH_COUNT(removers); i++)
        pthread_join(removers[i].thread, NULL);
    assert_int_equal(removers[0].wrong + removers[1].wrong, 0);
    assert_int_equal(removers[0].removed + removers[1].removed, REMOVED_TOGETHER);
    assert_int_equal(total_of(service, 0), 0);
    for (size_t i = 0; i < REMOVED_TOGETHER; i++)
        assert_true(is_known(ids[i]));
    store_destroy(removers[1].store);
}

void test_removed_survives_reopening(void **state) {
    (void)state;
    char service[SERVICE_CAP], id[TASK_TEXT_CAP];
    kit_service(service);
    new_final(service, OP_FAIL, id);
    struct task before = kit_get(id);
    assert_int_equal(kit_do(kit_op(OP_REMOVE, id)), RC_OK);
    kit_reopen();
    check_removed(service, &before);
    assert_int_equal(total_of(service, 0), 0);
    task_finish(&before);
}

/* ---- what retention looks for ---- */

/* All that the walk finds of one service; *ret_calls: how many queries it took. */
static size_t find_expired(const char *service, enum task_status status, int64_t before_ms,
                           int64_t limit, int *ret_calls) {
    size_t found = 0;
    char *after = NULL;
    *ret_calls = 0;
    do {
        struct query *query = query_create(QUERY_EXPIRED);
        query->filter.services = calloc(1, sizeof *query->filter.services);
        query->filter.services[query->filter.n_services++] = kit_dup(service);
        query->filter.statuses = 1u << status;
        query->ended_before_ms = before_ms;
        query->limit = limit;
        query->after = after;
        kit_query(query);
        for (size_t i = 0; i < query->n_tasks; i++)
            assert_true(query->tasks[i].status == status && query->tasks[i].end_at <= before_ms);
        assert_true((int64_t)query->n_tasks <= limit);
        found += query->n_tasks;
        after = TAKE(query->next);
        query_destroy(query);
        ++*ret_calls;
    } while (after && *ret_calls < 100);
    return found;
}

void test_expired(void **state) {
    (void)state;
    enum { TASKS = 7 };
    char service[SERVICE_CAP], ids[TASKS][TASK_TEXT_CAP], waiting[TASK_TEXT_CAP];
    kit_service(service);
    kit_new_task(service, true, false, waiting);
    for (size_t i = 0; i < TASKS; i++)
        new_final(service, i == 2 ? OP_FAIL : OP_FINISH, ids[i]);
    struct task third = kit_get(ids[3]);
    int64_t then = third.end_at;
    task_finish(&third);
    /* the oldest runs again and ends last */
    assert_int_equal(kit_do(kit_op(OP_START, ids[0])), RC_OK);
    assert_int_equal(kit_do(kit_run_op(OP_CLAIM, ids[0], RUN_B)), RC_OK);
    assert_int_equal(kit_do(kit_run_op(OP_FINISH, ids[0], RUN_B)), RC_OK);
    int calls;
    for (int64_t limit = 1; limit < 9; limit++) {
        assert_int_equal(find_expired(service, TASK_FINISHED, then, limit, &calls), 2);
        assert_int_equal(find_expired(service, TASK_FINISHED, kit_now(), limit, &calls), 6);
        assert_true(limit > 6 ? calls == 1 : calls > 1);
        assert_int_equal(find_expired(service, TASK_FAILED, kit_now(), limit, &calls), 1);
        assert_int_equal(find_expired(service, TASK_FINISHED, 1, limit, &calls), 0);
    }
}
