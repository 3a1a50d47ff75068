/* Random lives: whatever is said about a task, in any order and at any time, what must never happen
 * does not.
 *
 * One task at a time is worked on by a few runs, modules without runs, cancels, sweeps and the
 * broker, with a clock of the test's own that also runs backwards. After every step the task is
 * held against what it was before and against the little that the test remembers itself.
 * LONGHAUL_TEST_SEED repeats the lives, LONGHAUL_TEST_STEPS says how many steps. */
#include "task/lifecycle.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum {
    STEPS = 1000000,
    LIFE_STEPS = 120,
    RUNS = 12,
    LEASE_MS = 1000,
    GUARD_MS = 3000,
    KILL_MAX_MS = 2000,
    MAX_CRASHES = 3,
    UNDELIVERED_MAX = 20,
    FIRST_MS = 1000000,
};

/* What the test knows by itself. */
struct life {
    uint64_t seed;
    long step;
    int64_t now;
    bool broker;
    struct task task;
    char runs[RUNS][UUID_CAP];
    bool used[RUNS]; /* it has held the task */
    int64_t last_attempt;
    int64_t not_before; /* no run may start earlier; 0: any time */
    long begun, finals; /* to see that the lives are rich enough */
};

static uint64_t next(struct life *life) {
    life->seed ^= life->seed << 13;
    life->seed ^= life->seed >> 7;
    life->seed ^= life->seed << 17;
    return life->seed;
}

static int64_t below(struct life *life, int64_t n) {
    return (int64_t)(next(life) >> 11) % n;
}

static bool one_in(struct life *life, int64_t n) {
    return below(life, n) == 0;
}

static const struct life *current;
static enum op_kind current_kind;

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_msg("step %ld, %s: %s", current->step, op_kind_name(current_kind), #condition);   \
    } while (0)

/* ---- a life ---- */

static void begin_life(struct life *life) {
    struct task *task = &life->task;
    task_finish(task);
    task_init(task);
    mem_copy_str(task->service, sizeof task->service, "echo");
    life->broker = one_in(life, 2);
    task->priority = below(life, 10);
    task->max_attempts = 1 + below(life, 4);
    task->timeout_ms = one_in(life, 2) ? 1 + below(life, 3000) : 0;
    task->expire_ms = one_in(life, 3) ? 1 + below(life, 8000) : 0;
    task->retry = (struct task_retry){one_in(life, 2) ? RETRY_FIXED : RETRY_EXPONENTIAL,
                                      below(life, 3000), below(life, 5000), below(life, 1001)};
    struct lifecycle_start start = {.held = one_in(life, 5),
                                    .broker = life->broker,
                                    .delay_ms = one_in(life, 4) ? below(life, 4000) : 0,
                                    .age_ms = 600000,
                                    .now_ms = life->now};
    if (start.held)
        start.delay_ms = 0;
    lifecycle_new(task, &start);
    for (int i = 0; i < RUNS; i++) {
        uuid_make(life->runs[i]);
        life->used[i] = false;
    }
    life->last_attempt = 0;
    life->not_before = start.delay_ms > 0 ? task->due_at : 0;
}

/* Mostly a little later, sometimes much, now and then earlier. */
static void turn_clock(struct life *life) {
    int64_t dice = below(life, 20);
    if (dice == 0)
        life->now -= below(life, 2000);
    else if (dice < 4)
        life->now += below(life, 4000);
    else
        life->now += below(life, 400);
    if (life->now < FIRST_MS)
        life->now = FIRST_MS;
}

static void choose_run(struct life *life, struct op *op) {
    const struct task *task = &life->task;
    int64_t dice = below(life, 10);
    if (dice < 6)
        memcpy(op->run_id, task->run_id, UUID_CAP);
    else if (dice < 9)
        memcpy(op->run_id, life->runs[below(life, RUNS)], UUID_CAP);
    if (op->kind == OP_LAPSE)
        memcpy(op->run_id, task->run_id, UUID_CAP);
}

static char *words(struct life *life, const char *text) {
    return one_in(life, 2) ? strdup(text) : NULL;
}

static void make_op(struct life *life, struct op *op) {
    static const enum op_kind kinds[] = {
        OP_CLAIM,     OP_CLAIM,     OP_CLAIM,     OP_TAKE,          OP_FINISH,    OP_FAIL,
        OP_FAIL,      OP_FAIL,      OP_START,     OP_EDIT,          OP_HEARTBEAT, OP_HEARTBEAT,
        OP_HAND_BACK, OP_LAPSE,     OP_LAPSE,     OP_CANCEL,        OP_ALARM,     OP_ALARM,
        OP_PICK,      OP_DELIVERED, OP_DELIVERED, OP_UNDELIVERABLE, OP_OUTPUT};
    static const enum task_end ends[] = {END_NONE,  END_ERROR,     END_TIMEOUT,
                                         END_LIMIT, END_CANCELLED, END_KILL_UNCONFIRMED};
    *op = (struct op){.kind = kinds[below(life, (int64_t)LH_COUNT(kinds))],
                      .broker = life->broker,
                      .now_ms = life->now,
                      .lease_ms = LEASE_MS,
                      .guard_ms = GUARD_MS,
                      .kill_max_ms = KILL_MAX_MS,
                      .max_crashes = MAX_CRASHES,
                      .pick_void_ms = 500,
                      .requeue_ms = 6000,
                      .force = one_in(life, 2),
                      .crash = one_in(life, 3)};
    op->end = ends[below(life, (int64_t)LH_COUNT(ends))];
    if (op->end >= END_CANCELLED && !one_in(life, 4))
        op->end = END_ERROR;
    op->error_class = (enum task_error_class)below(life, 3);
    op->outbox_seq = life->task.outbox_seq - (one_in(life, 4) ? 1 : 0);
    if (op->kind == OP_UNDELIVERABLE && !one_in(life, 8))
        op->kind = OP_PICK;
    op->message = words(life, "said");
    op->error_text = words(life, "broken");
    op->progress = words(life, "0.5");
    op->place = words(life, "t/0/1");
    if (op->kind == OP_EDIT || op->kind == OP_FINISH)
        op->value = strdup("1");
    op->value_len = op->value ? 1 : 0;
    if (op->kind != OP_TAKE)
        choose_run(life, op);
}

static void free_op(struct op *op) {
    free(op->message);
    free(op->error_text);
    free(op->progress);
    free(op->place);
    free(op->value);
}

/* What a store does with records that were put aside. */
static void keep_past(struct task *task) {
    if (!task->aside)
        return;
    size_t old = task->past ? strlen(task->past) : 0, more = strlen(task->aside);
    char *past = realloc(task->past, old + more + 2);
    assert_non_null(past);
    if (old)
        past[old++] = ',';
    memcpy(past + old, task->aside, more + 1);
    task->past = past;
    free(TAKE(task->aside));
}

/* ---- what must hold ---- */

static bool is_final(const struct task *task) {
    return task->status == TASK_FINISHED || task->status == TASK_FAILED;
}

static bool waits(const struct task *task) {
    return task->status == TASK_READY || task->status == TASK_WAITING;
}

static void check_sub(const struct task *task) {
    static const unsigned subs[TASK_STATUSES] = {
        [TASK_READY] = 1u << SUB_HELD | 1u << SUB_PRODUCING,
        [TASK_WAITING] = 1u << SUB_QUEUED | 1u << SUB_DELAYED | 1u << SUB_RETRY,
        [TASK_RUNNING] = 1u << SUB_CLAIMED | 1u << SUB_STARTED | 1u << SUB_CANCELLING,
        [TASK_FINISHED] = 1u << SUB_NONE,
        [TASK_FAILED] = 1u << SUB_ERROR | 1u << SUB_CRASH | 1u << SUB_TIMEOUT | 1u << SUB_LIMIT |
                        1u << SUB_CANCELLED | 1u << SUB_EXPIRED | 1u << SUB_DEAD |
                        1u << SUB_KILL_UNCONFIRMED,
    };
    MUST(subs[task->status] & 1u << task->sub);
}

static void check_times(const struct task *task) {
    const struct task_run *run = &task->run;
    MUST(!task->start_at || task->create_at <= task->start_at);
    MUST(!task->end_at || task->create_at <= task->end_at);
    MUST(!task->end_at || task->start_at <= task->end_at);
    MUST((task->end_at != 0) == is_final(task));
    MUST(!run->started_at || run->claimed_at <= run->started_at);
    MUST(!run->ended_at || run->claimed_at <= run->ended_at);
    MUST(!run->output_at || run->claimed_at <= run->output_at);
    MUST(!run->silent || (run->ended_at && !run->output_at));
    MUST(!run->output_at || !run->ended_at || run->output_at <= run->ended_at);
    MUST(!run->ended_at || run->started_at <= run->ended_at);
}

static void check_alarm(const struct task *task) {
    int64_t due = task->due_at, expire = task->expire_at;
    int64_t first = !due ? expire : !expire || due < expire ? due : expire;
    MUST(task->alarm_at == (waits(task) ? first : 0));
    MUST(!task->due_at || task->status == TASK_WAITING);
    bool dated = task->sub == SUB_DELAYED || task->sub == SUB_RETRY;
    MUST(!dated || task->due_at);
}

static void check_lease(const struct task *task) {
    bool running = task->status == TASK_RUNNING;
    MUST((task->lease_until > 0) == running);
    MUST(running || !task->deadline || task->lapse != LAPSE_NONE);
    MUST(task->lapse != LAPSE_KILL || task->sub == SUB_CANCELLING);
    bool lost = task->lapse == LAPSE_CRASH || task->lapse == LAPSE_UNDELIVERED;
    MUST(!lost || lifecycle_takeable(task));
    bool bounded = running && task->run_id[0] && task->deadline && task->lapse == LAPSE_NONE;
    MUST(!bounded || task->lease_until <= task->deadline + LEASE_MS);
}

static void check_counts(const struct task *task) {
    MUST(task->tried >= 0 && task->tried <= task->max_attempts);
    MUST(task->crashes >= 0 && task->crashes <= MAX_CRASHES);
    MUST(task->undelivered >= 0 && task->undelivered <= UNDELIVERED_MAX);
    MUST(task->sub != SUB_DEAD || (task->tried == task->max_attempts && task->tried > 1));
    MUST(task->sub != SUB_RETRY || task->tried < task->max_attempts);
    MUST((task->run.end == END_NONE) == (task->status == TASK_RUNNING || task->attempt == 0));
}

static void check_task(const struct life *life) {
    const struct task *task = &life->task;
    check_sub(task);
    check_times(task);
    check_alarm(task);
    check_lease(task);
    check_counts(task);
    MUST(life->broker || !task->outbox_pending);
}

static bool same_run(const struct task *a, const struct task *b) {
    return a->attempt == b->attempt && strcmp(a->run_id, b->run_id) == 0;
}

/* A run has begun in this step. */
static void check_begin(struct life *life, const struct task *before, const struct op *op) {
    const struct task *task = &life->task;
    bool one_step = op->kind == OP_FINISH || op->kind == OP_FAIL;
    MUST(op->kind == OP_CLAIM || op->kind == OP_TAKE || (one_step && !op->run_id[0]));
    MUST(task->attempt == before->attempt + 1 && task->attempt == life->last_attempt + 1);
    MUST(lifecycle_takeable(before) || (one_step && before->sub == SUB_RETRY));
    MUST(one_step || task->status == TASK_RUNNING);
    MUST(one_step || !before->expire_at || task->start_at < before->expire_at);
    MUST(task->start_at >= life->not_before && task->start_at >= before->start_at);
    MUST(one_step || !task->progress || op->kind == OP_CLAIM);
    for (int i = 0; i < RUNS; i++)
        if (strcmp(life->runs[i], task->run_id) == 0) {
            MUST(!life->used[i]);
            life->used[i] = true;
        }
    life->last_attempt = task->attempt;
    life->begun++;
}

/* A run that lost its lease has the task again. */
static void check_back(const struct task *task, const struct task *before) {
    MUST(before->lapse == LAPSE_CRASH || before->lapse == LAPSE_UNDELIVERED);
    MUST(same_run(task, before) && task->start_at == before->start_at);
    if (task->status == TASK_RUNNING)
        MUST(task->crashes + task->undelivered == before->crashes + before->undelivered - 1);
}

static void check_end_of_running(const struct task *task, const struct task *before,
                                 const struct op *op) {
    MUST(same_run(task, before));
    if (before->sub != SUB_CANCELLING)
        return;
    bool stays = task->status == TASK_RUNNING && task->sub == SUB_CANCELLING;
    bool cancelled = task->sub == SUB_CANCELLED || task->sub == SUB_KILL_UNCONFIRMED;
    MUST(stays || cancelled || (task->status == TASK_FINISHED && op->kind == OP_FINISH));
}

static void check_final(const struct task *task, const struct task *before, const struct op *op) {
    if (op->kind == OP_START) {
        MUST(waits(task) && !task->tried && !task->crashes && !task->undelivered);
        MUST(!task->start_at && !task->cancel_at && !task->progress && !task->error_text);
        MUST(before->sub != SUB_KILL_UNCONFIRMED || op->force);
        return;
    }
    MUST(task->status == before->status && task->sub == before->sub && same_run(task, before));
    MUST(task->start_at == before->start_at && task->end_at == before->end_at);
    MUST(task->result == before->result && task->error_text == before->error_text);
}

/* Who speaks for a run must be the one that holds the task, or that lost it a moment ago. */
static void check_fence(const struct task *task, const struct task *before, const struct op *op) {
    bool of_run = op->kind == OP_HEARTBEAT || op->kind == OP_HAND_BACK || op->kind == OP_FINISH ||
                  op->kind == OP_FAIL;
    bool ended_now = of_run && !is_final(before) && is_final(task);
    if (op->kind == OP_HEARTBEAT)
        MUST(task->status == TASK_RUNNING && strcmp(op->run_id, task->run_id) == 0);
    if ((ended_now || op->kind == OP_HAND_BACK) && (op->run_id[0] || same_run(task, before)))
        MUST(strcmp(op->run_id, task->run_id) == 0);
}

static void check_change(struct life *life, const struct task *before, const struct op *op) {
    const struct task *task = &life->task;
    MUST(task->rev == before->rev + 1 && task->create_at == before->create_at);
    MUST(task->outbox_seq >= before->outbox_seq && task->outbox_seq <= before->outbox_seq + 1);
    if (op->kind == OP_START || op->kind == OP_ALARM)
        life->not_before = 0;
    if (is_final(before))
        check_final(task, before, op);
    else if (before->status == TASK_RUNNING)
        check_end_of_running(task, before, op);
    else if (task->attempt != before->attempt)
        check_begin(life, before, op);
    else if (task->status == TASK_RUNNING)
        check_back(task, before);
    else
        MUST(same_run(task, before));
    check_fence(task, before, op);
    life->finals += !is_final(before) && is_final(task);
}

static void one_step(struct life *life) {
    struct op op;
    make_op(life, &op);
    current_kind = op.kind;
    struct task before = life->task;
    before.run.queued.place = before.queued.place = NULL; /* may be freed by the step */
    struct task bytes = life->task;
    unsigned parts = 0;
    char text[192] = "";
    enum rc rc = lifecycle_apply(&life->task, &op, &parts, text, sizeof text);
    MUST(rc != RC_NO_MEMORY);
    if (rc != RC_OK || !parts)
        MUST(memcmp(&bytes, &life->task, sizeof bytes) == 0);
    else
        check_change(life, &before, &op);
    keep_past(&life->task);
    check_task(life);
    free_op(&op);
}

static long steps_wanted(void) {
    const char *given = getenv("LONGHAUL_TEST_STEPS");
    return given ? strtol(given, NULL, 10) : STEPS;
}

static void test_random_lives(void **state) {
    (void)state;
    const char *given = getenv("LONGHAUL_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    print_message("LONGHAUL_TEST_SEED=%llu\n", (unsigned long long)seed);
    struct life life = {.seed = seed ? seed : 1, .now = FIRST_MS};
    current = &life;
    long steps = steps_wanted();
    for (life.step = 0; life.step < steps; life.step++) {
        if (life.step % LIFE_STEPS == 0)
            begin_life(&life);
        turn_clock(&life);
        one_step(&life);
    }
    assert_true(life.begun > steps / 50);
    assert_true(life.finals > steps / 100);
    task_finish(&life.task);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_lives)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
