/* store_fate.c: retries, alarms, cancels, runs and idempotency keys in a store: it keeps what the
 * lifecycle decides, whatever comes in whatever order, and finds what is due. */
#include "tests/contract/store_kit.h"
#include "tests/contract/store_rules.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

enum { WALK_STEPS = 400, WALKS = 6, BATCH_MAX = 3 };

#define RUN_C "01890000-0000-7000-8000-00000000000c"

static uint32_t dice_state;

static uint32_t dice(uint32_t n) {
    dice_state = dice_state * 1664525u + 1013904223u;
    return (dice_state >> 8) % n;
}

/* ---- a random walk beside a model in memory ---- */

static struct op *random_op(const char *task_id, int64_t seq) {
    static const enum op_kind kinds[] = {OP_CLAIM,     OP_CLAIM,     OP_FINISH,       OP_FAIL,
                                         OP_FAIL,      OP_START,     OP_EDIT,         OP_HEARTBEAT,
                                         OP_HAND_BACK, OP_LAPSE,     OP_CANCEL,       OP_ALARM,
                                         OP_PICK,      OP_DELIVERED, OP_UNDELIVERABLE};
    static const char *const runs[] = {RUN_A, RUN_B, RUN_C, ""};
    struct op *op = kit_op(kinds[dice(LH_COUNT(kinds))], task_id);
    (void)mem_copy_str(op->run_id, sizeof op->run_id, runs[dice(4)]);
    (void)mem_copy_str(op->worker_id, sizeof op->worker_id, dice(2) ? "host:1" : "");
    op->broker = dice(2);
    op->lease_ms = 1 + dice(20);
    op->guard_ms = dice(2) * 30;
    op->timeout_ms = dice(2) * 25;
    op->kill_max_ms = 1 + dice(20);
    op->grace_ms = dice(5000);
    op->requeue_ms = dice(2) * 10;
    op->force = dice(2);
    op->max_crashes = 2;
    op->crash = dice(2);
    op->end = (enum task_end)dice(3) + END_ERROR;
    op->error_class = (enum task_error_class)dice(3);
    op->outbox_seq = seq - dice(2);
    op->pick_void_ms = dice(20);
    op->message = dice(2) ? kit_dup("word") : NULL;
    op->error_text = op->kind == OP_FAIL || op->kind == OP_UNDELIVERABLE ? kit_dup("why") : NULL;
    op->place = op->kind == OP_DELIVERED ? kit_dup("topic/0/7") : NULL;
    if (op->kind == OP_EDIT || dice(2)) {
        op->value = kit_dup("0.5");
        op->value_len = 3;
    }
    return op;
}

static char *copy_of(const char *text) {
    return text ? kit_dup(text) : NULL;
}

/* A store hands the op's texts over only where the change is made; the model must leave them. */
static enum rc decide(struct task *model, const struct op *op) {
    struct op copy = *op;
    unsigned parts = 0;
    char text[192];
    copy.message = copy_of(op->message);
    copy.error_text = copy_of(op->error_text);
    copy.place = copy_of(op->place);
    copy.value = copy_of(op->value);
    enum rc rc = lifecycle_apply(model, &copy, &parts, text, sizeof text);
    free(copy.message);
    free(copy.error_text);
    free(copy.place);
    free(copy.value);
    return rc;
}

/* As a store does: what was put aside is in the past from now on. */
static void settle(struct task *model) {
    char *past = NULL;
    if (!model->aside)
        return;
    assert_true(asprintf(&past, "%s%s%s", model->past ? model->past : "", model->past ? "," : "",
                         model->aside) > 0);
    free(model->past);
    model->past = past;
    free(TAKE(model->aside));
}

static void walk_once(const char *task_id, struct task *model) {
    struct op *ops[BATCH_MAX];
    size_t n = 1 + dice(BATCH_MAX);
    struct error err = {0};
    for (size_t i = 0; i < n; i++)
        ops[i] = random_op(task_id, model->outbox_seq);
    enum rc want[BATCH_MAX];
    for (size_t i = 0; i < n; i++)
        want[i] = decide(model, ops[i]);
    settle(model);
    assert_int_equal(store_apply(kit_store, ops, n, &err), RC_OK);
    for (size_t i = 0; i < n; i++) {
        if (ops[i]->rc != want[i])
            print_error("%s: %s instead of %s\n", op_kind_name(ops[i]->kind),
                        rc_info(ops[i]->rc)->word, rc_info(want[i])->word);
        assert_int_equal(ops[i]->rc, want[i]);
        op_destroy(ops[i]);
    }
    struct task got = kit_get(task_id);
    kit_assert_same_task(model, &got);
    task_finish(&got);
}

static struct op *create_with_all(const char *service) {
    struct op *op = kit_create(service, 1, true, false);
    struct task *task = op->tasks;
    task->priority = 7;
    task->expire_ms = 1 + dice(2000);
    task->timeout_ms = dice(2) * 15;
    task->max_attempts = 1 + dice(3);
    task->retry = (struct task_retry){RETRY_FIXED, 5, 50, 100};
    task->tags = kit_dup("{\"a.b\":\"x\",\"$c\":\"\"}");
    task->idem_key = kit_dup("once");
    task->traceparent = kit_dup("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    task->tracestate = kit_dup("a=b,c=d");
    task->idem_hash = UINT64_MAX - 3;
    struct lifecycle_start start = {.delay_ms = dice(2) * 10, .age_ms = 1000, .now_ms = op->now_ms};
    lifecycle_new(task, &start);
    return op;
}

void test_random_fates(void **state) {
    (void)state;
    for (uint32_t walk = 0; walk < WALKS; walk++) {
        char service[SERVICE_CAP], task_id[TASK_TEXT_CAP];
        dice_state = walk * 7919 + 1;
        kit_service(service);
        struct op *op = create_with_all(service);
        memcpy(task_id, op->tasks->task_id, sizeof task_id);
        assert_int_equal(kit_apply(op), RC_OK);
        struct task model = kit_get(task_id);
        kit_assert_same_task(op->tasks, &model);
        op_destroy(op);
        for (int i = 0; i < WALK_STEPS; i++)
            walk_once(task_id, &model);
        task_finish(&model);
    }
}

/* ---- no run gets a task twice ---- */

void test_a_run_never_comes_back(void **state) {
    (void)state;
    char service[SERVICE_CAP], task_id[TASK_TEXT_CAP];
    kit_service(service);
    kit_new_task(service, true, false, task_id);
    for (const char *const *run = (const char *const[]){RUN_A, RUN_B, NULL}; *run; run++) {
        assert_int_equal(kit_do(kit_run_op(OP_CLAIM, task_id, *run)), RC_OK);
        assert_int_equal(kit_do(kit_run_op(OP_HAND_BACK, task_id, *run)), RC_OK);
    }
    assert_int_equal(kit_do(kit_run_op(OP_CLAIM, task_id, RUN_A)), RC_STALE_RUN);
    assert_int_equal(kit_do(kit_run_op(OP_CLAIM, task_id, RUN_B)), RC_STALE_RUN);
    assert_int_equal(kit_do(kit_run_op(OP_CLAIM, task_id, RUN_C)), RC_OK);
}

/* ---- alarms ---- */

static struct query *alarms(int64_t before_ms, int64_t limit) {
    struct query *query = query_create(QUERY_ALARMS);
    query->alarm_before_ms = before_ms;
    query->limit = limit;
    kit_query(query);
    return query;
}

static void new_delayed(const char *service, int64_t delay_ms, char ret_id[TASK_TEXT_CAP],
                        int64_t *ret_due) {
    struct op *op = kit_create(service, 1, true, false);
    struct lifecycle_start start = {.delay_ms = delay_ms, .now_ms = op->now_ms};
    lifecycle_new(op->tasks, &start);
    memcpy(ret_id, op->tasks->task_id, TASK_TEXT_CAP);
    *ret_due = op->tasks->due_at;
    assert_int_equal(kit_do(op), RC_OK);
}

/* How many of the answer's tasks are of the service; the first of them must be `first`. */
static size_t of_service(const struct query *query, const char *service, const char *first) {
    size_t n = 0;
    for (size_t i = 0; i < query->n_tasks; i++)
        if (strcmp(query->tasks[i].service, service) == 0 && n++ == 0)
            assert_string_equal(query->tasks[i].task_id, first);
    return n;
}

static enum rc prints(const char *id, const char *run_id, int64_t now) {
    struct op *op = kit_run_op(OP_OUTPUT, id, run_id);
    op->now_ms = now;
    return kit_do(op);
}

/* The first counts, and what reaches the log after the end was printed before it. */
void test_first_output(void **state) {
    (void)state;
    char service[SERVICE_CAP], id[TASK_TEXT_CAP];
    kit_service(service);
    kit_new_task(service, true, false, id);
    struct task task = kit_get(id);
    int64_t now = task.create_at;
    task_finish(&task);
    assert_int_equal(prints(id, "", now), RC_STALE_RUN);
    for (const char *const *run = (const char *const[]){RUN_A, RUN_B, NULL}; *run; run++) {
        bool late = strcmp(*run, RUN_B) == 0;
        struct op *op = kit_run_op(OP_CLAIM, id, *run);
        op->now_ms = now += 100;
        assert_int_equal(kit_do(op), RC_OK);
        assert_int_equal(prints(id, RUN_C, now), RC_STALE_RUN);
        int64_t at = now + 10;
        if (!late)
            assert_int_equal(prints(id, *run, at), RC_OK);
        op = kit_run_op(OP_HAND_BACK, id, *run);
        op->now_ms = now += 50;
        assert_int_equal(kit_do(op), RC_OK);
        assert_int_equal(prints(id, *run, now + 10), RC_OK);
        task = kit_get(id);
        assert_int_equal(task.run.output_at, late ? now : at);
        assert_int_equal(task.run.ended_at, now);
        task_finish(&task);
    }
    assert_int_equal(prints(id, RUN_A, now + 20), RC_STALE_RUN);
}

/* What a run says of its silence stands until a byte of it comes all the same. */
void test_silent_run(void **state) {
    (void)state;
    static const struct {
        enum op_kind kind;
        bool printed;
    } cases[] = {{OP_FINISH, false}, {OP_FAIL, false}, {OP_HAND_BACK, false}, {OP_FINISH, true}};
    char service[SERVICE_CAP], id[TASK_TEXT_CAP];
    kit_service(service);
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        kit_new_task(service, true, false, id);
        assert_int_equal(kit_do(kit_run_op(OP_CLAIM, id, RUN_A)), RC_OK);
        struct task task = kit_get(id);
        int64_t now = task.run.claimed_at;
        assert_false(task.run.silent);
        task_finish(&task);
        if (cases[i].printed)
            assert_int_equal(prints(id, RUN_A, now), RC_OK);
        struct op *op = kit_run_op(cases[i].kind, id, RUN_A);
        op->silent = true;
        assert_int_equal(kit_do(op), RC_OK);
        task = kit_get(id);
        assert_int_equal(task.run.silent, !cases[i].printed);
        assert_int_equal(task.run.output_at != 0, cases[i].printed);
        task_finish(&task);
        assert_int_equal(prints(id, RUN_A, now), RC_OK);
        task = kit_get(id);
        assert_false(task.run.silent);
        assert_true(task.run.output_at > 0);
        task_finish(&task);
    }
}

static void new_ranked(const char *service, int64_t priority, char ret_id[TASK_TEXT_CAP]) {
    struct op *op = kit_create(service, 1, true, false);
    struct lifecycle_start start = {.age_ms = 600000, .now_ms = op->now_ms};
    op->tasks->priority = priority;
    lifecycle_new(op->tasks, &start);
    memcpy(ret_id, op->tasks->task_id, TASK_TEXT_CAP);
    assert_int_equal(kit_do(op), RC_OK);
}

/* The queued tasks of the service alone, the one first that would be claimed first. */
void test_best(void **state) {
    (void)state;
    char service[SERVICE_CAP], other[SERVICE_CAP], id[TASK_TEXT_CAP], ids[3][TASK_TEXT_CAP];
    int64_t due;
    kit_service(service);
    kit_service(other);
    new_ranked(service, 2, ids[2]);
    new_ranked(service, 9, ids[0]);
    new_ranked(service, 5, ids[1]);
    new_ranked(other, 9, id);
    new_delayed(service, 4000000, id, &due);
    kit_new_task(service, true, true, id); /* its message is on the way */
    kit_new_task(service, false, false, id);
    for (int64_t limit = 1; limit <= 4; limit++) {
        struct query *query = query_create_of(QUERY_BEST, 1);
        assert_true(query_add_service(query, service));
        query->limit = limit;
        kit_query(query);
        assert_int_equal(query->n_tasks, limit < 3 ? limit : 3);
        for (size_t i = 0; i < query->n_tasks; i++)
            assert_string_equal(query->tasks[i].task_id, ids[i]);
        query_destroy(query);
    }
}

static enum rc tell_again(const char *id, bool broker) {
    struct op *op = kit_run_op(OP_ALARM, id, "");
    op->broker = broker;
    op->again = true;
    return kit_do(op);
}

/* A queued task whose ring was used up for another gets a new message, whatever its alarm. */
void test_told_again(void **state) {
    (void)state;
    char service[SERVICE_CAP], id[TASK_TEXT_CAP];
    kit_service(service);
    kit_new_task(service, true, false, id);
    struct task before = kit_get(id);
    assert_int_equal(tell_again(id, false), RC_NOT_DUE);
    assert_int_equal(tell_again(id, true), RC_OK);
    struct task after = kit_get(id);
    assert_int_equal(after.status, TASK_WAITING);
    assert_int_equal(after.sub, SUB_QUEUED);
    assert_true(after.outbox_pending);
    assert_int_equal(after.outbox_seq, before.outbox_seq + 1);
    assert_int_equal(after.queued.at, before.queued.at);
    task_finish(&before);
    task_finish(&after);
    assert_int_equal(kit_do(kit_run_op(OP_CLAIM, id, RUN_A)), RC_OK);
    assert_int_equal(tell_again(id, true), RC_NOT_DUE);
}

void test_alarms(void **state) {
    (void)state;
    char service[SERVICE_CAP], late[TASK_TEXT_CAP], soon[TASK_TEXT_CAP];
    int64_t late_at, soon_at;
    kit_service(service);
    new_delayed(service, 5000000, late, &late_at);
    new_delayed(service, 4000000, soon, &soon_at);
    static const struct {
        int64_t after_ms;
        size_t want;
    } cases[] = {{-1, 0}, {0, 1}, {1000000, 2}, {9000000, 2}};
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        struct query *query = alarms(soon_at + cases[i].after_ms, 1000);
        assert_int_equal(of_service(query, service, soon), cases[i].want);
        query_destroy(query);
    }
    struct op *op = kit_take(service, 10); /* delayed tasks are not taken */
    assert_int_equal(kit_apply(op), RC_OK);
    assert_int_equal(op->n_tasks, 0);
    op_destroy(op);
    assert_int_equal(kit_do(kit_op(OP_ALARM, soon)), RC_NOT_DUE);
    op = kit_op(OP_ALARM, soon);
    op->now_ms = soon_at;
    assert_int_equal(kit_do(op), RC_OK);
    op = kit_take(service, 10);
    assert_int_equal(kit_apply(op), RC_OK);
    assert_int_equal(op->n_tasks, 1);
    assert_string_equal(op->tasks->task_id, soon);
    op_destroy(op);
}

/* ---- the order of claiming ---- */

void test_take_goes_by_rank(void **state) {
    (void)state;
    char service[SERVICE_CAP], other[SERVICE_CAP];
    static const int64_t priorities[] = {4, 0, 9, 4, 9};
    static const size_t order[] = {2, 4, 0, 3, 1};
    char ids[LH_COUNT(priorities)][TASK_TEXT_CAP];
    kit_service(service);
    kit_service(other);
    for (size_t i = 0; i < LH_COUNT(priorities); i++) {
        struct op *op = kit_create(i % 2 ? other : service, 1, true, i == 3);
        op->tasks->priority = priorities[i];
        lifecycle_new(op->tasks, &(struct lifecycle_start){
                                     .age_ms = 600000, .broker = i == 3, .now_ms = op->now_ms});
        memcpy(ids[i], op->tasks->task_id, TASK_TEXT_CAP);
        assert_int_equal(kit_do(op), RC_OK);
    }
    for (size_t i = 0; i < LH_COUNT(order); i++) {
        struct op *op = kit_take(service, 1);
        op->services = realloc(op->services, 2 * sizeof *op->services);
        op->services[op->n_services++] = kit_dup(other);
        assert_int_equal(kit_apply(op), RC_OK);
        assert_int_equal(op->n_tasks, 1);
        assert_string_equal(op->tasks->task_id, ids[order[i]]);
        op_destroy(op);
    }
}

/* ---- idempotency keys ---- */

static struct op *keyed(const char *service, size_t n, const char *key, uint64_t hash) {
    struct op *op = kit_create(service, n, true, false);
    for (size_t i = 0; i < n; i++) {
        op->tasks[i].idem_key = kit_dup(key);
        op->tasks[i].idem_hash = hash;
    }
    return op;
}

static int64_t count_of(const char *service) {
    struct query *query = kit_list(service, 0, 1);
    kit_query(query);
    int64_t total = query->total;
    query_destroy(query);
    return total;
}

void test_idempotency_keys(void **state) {
    (void)state;
    char service[SERVICE_CAP], other[SERVICE_CAP], first[TASK_TEXT_CAP];
    kit_service(service);
    kit_service(other);
    struct op *op = keyed(service, 1, "k", 7);
    assert_int_equal(kit_apply(op), RC_OK);
    assert_false(op->tasks->duplicate);
    memcpy(first, op->tasks->task_id, sizeof first);
    op_destroy(op);
    static const struct {
        uint64_t hash;
        enum rc want;
        int64_t max_waiting;
    } cases[] = {{7, RC_OK, 0}, {8, RC_IDEMPOTENCY_CONFLICT, 0}, {7, RC_OK, 1}};
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        op = keyed(service, 1, "k", cases[i].hash);
        struct service_rules *rules = kit_rules(service, false, 0, cases[i].max_waiting);
        op->rules = rules;
        assert_int_equal(kit_apply(op), RC_OK);
        service_rules_unref(rules);
        assert_int_equal(op->task_rc[0], cases[i].want);
        assert_true(op->tasks->duplicate);
        assert_string_equal(op->tasks->task_id, first);
        op_destroy(op);
    }
    op = keyed(other, 1, "k", 8); /* a key is of its service */
    assert_int_equal(kit_apply(op), RC_OK);
    assert_false(op->tasks->duplicate);
    op_destroy(op);
    assert_int_equal(count_of(service), 1);
    assert_int_equal(count_of(other), 1);
}

void test_idempotency_keys_in_one_batch(void **state) {
    (void)state;
    char service[SERVICE_CAP];
    struct error err = {0};
    kit_service(service);
    struct op *ops[] = {keyed(service, 3, "k", 7), keyed(service, 2, "k", 7),
                        keyed(service, 1, "other", 7)};
    assert_int_equal(store_apply(kit_store, ops, LH_COUNT(ops), &err), RC_OK);
    const char *won = NULL;
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < ops[i]->n_tasks; k++) {
            assert_int_equal(ops[i]->task_rc[k], RC_OK);
            won = won ? won : ops[i]->tasks[k].task_id;
            assert_string_equal(ops[i]->tasks[k].task_id, won);
        }
    assert_int_equal(count_of(service), 2);
    for (size_t i = 0; i < LH_COUNT(ops); i++)
        op_destroy(ops[i]);
}
