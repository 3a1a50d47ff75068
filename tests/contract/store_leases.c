/* store_leases.c: leases: claims, heartbeats, runs that are lost, given back and taken back; and
 * the consumers that have been seen. */
#include "base/mem.h"
#include "store_kit.h"
#include "store_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEASE_MS = 1000, MAX_CRASHES = 3, UNDELIVERED_MAX = 20, BEATS = 60 };

/* In which state an operation finds a task, or leaves it. Runs are RUN_A's but for OTHER. */
enum state {
    QUEUED,
    CLAIMED,
    STARTED,
    LOST_U, /* the lease ran out before the first heartbeat: RUN_A may take the task back */
    LOST_C, /* the same after it */
    OTHER,  /* RUN_B has claimed it since */
    LEGACY,
    FINISHED,
    CRASHED,
    STATES, /* those that follow are left only */
    FREE_U, /* due, with a lost run on its count */
    FREE_C,
    OTHER_U,
    FINISHED_U,
    FINISHED_C,
    FAILED,
    ALL_STATES
};

static const struct stand {
    enum task_status status;
    enum task_sub sub;
    int64_t crashes, undelivered;
    enum task_lapse lapse;
} stands[ALL_STATES] = {
    [QUEUED] = {TASK_WAITING, SUB_QUEUED, 0, 0, LAPSE_NONE},
    [CLAIMED] = {TASK_RUNNING, SUB_CLAIMED, 0, 0, LAPSE_NONE},
    [STARTED] = {TASK_RUNNING, SUB_STARTED, 0, 0, LAPSE_NONE},
    [LOST_U] = {TASK_WAITING, SUB_QUEUED, 0, 1, LAPSE_UNDELIVERED},
    [LOST_C] = {TASK_WAITING, SUB_QUEUED, 1, 0, LAPSE_CRASH},
    [OTHER] = {TASK_RUNNING, SUB_CLAIMED, 1, 0, LAPSE_NONE},
    [LEGACY] = {TASK_RUNNING, SUB_CLAIMED, 0, 0, LAPSE_NONE},
    [FINISHED] = {TASK_FINISHED, SUB_NONE, 0, 0, LAPSE_NONE},
    [CRASHED] = {TASK_FAILED, SUB_CRASH, 1, 0, LAPSE_NONE},
    [FREE_U] = {TASK_WAITING, SUB_QUEUED, 0, 1, LAPSE_NONE},
    [FREE_C] = {TASK_WAITING, SUB_QUEUED, 1, 0, LAPSE_NONE},
    [OTHER_U] = {TASK_RUNNING, SUB_CLAIMED, 0, 1, LAPSE_NONE},
    [FINISHED_U] = {TASK_FINISHED, SUB_NONE, 0, 1, LAPSE_NONE},
    [FINISHED_C] = {TASK_FINISHED, SUB_NONE, 1, 0, LAPSE_NONE},
    [FAILED] = {TASK_FAILED, SUB_ERROR, 0, 0, LAPSE_NONE},
};

static struct op *lease_op(enum op_kind kind, const char *id, const char *run_id, int64_t now) {
    struct op *op = kit_run_op(kind, id, run_id);
    op->now_ms = now;
    op->lease_ms = LEASE_MS;
    op->max_crashes = MAX_CRASHES;
    return op;
}

static enum rc lease_do(enum op_kind kind, const char *id, const char *run_id, int64_t now) {
    return kit_do(lease_op(kind, id, run_id, now));
}

static struct op *edit_op(const char *id, int64_t now) {
    struct op *op = lease_op(OP_EDIT, id, "", now);
    op->value = kit_dup("{\"new\":true}");
    op->value_len = strlen(op->value);
    return op;
}

/* A new due task of a service of its own; gives the time of its creation. */
static int64_t new_task(char ret_id[TASK_TEXT_CAP]) {
    char service[SERVICE_CAP];
    kit_service(service);
    kit_new_task(service, true, false, ret_id);
    struct task task = kit_get(ret_id);
    int64_t now = task.create_at;
    task_finish(&task);
    return now;
}

/* Lets a run claim the task and lose its lease. */
static void lose(const char *id, const char *run_id, bool beaten, int64_t now) {
    assert_int_equal(lease_do(OP_CLAIM, id, run_id, now), RC_OK);
    if (beaten)
        assert_int_equal(lease_do(OP_HEARTBEAT, id, run_id, now), RC_OK);
    assert_int_equal(lease_do(OP_LAPSE, id, run_id, now + LEASE_MS), RC_OK);
}

static void crash_for_good(const char *id, int64_t now) {
    struct op *op = lease_op(OP_HAND_BACK, id, RUN_A, now);
    op->crash = true;
    op->max_crashes = 1;
    assert_int_equal(kit_do(op), RC_OK);
}

/* Creates a task and brings it into the state by operations alone, in less than 4 leases. */
static int64_t bring(enum state state, char ret_id[TASK_TEXT_CAP]) {
    int64_t now = new_task(ret_id);
    if (state == QUEUED)
        return now;
    if (state == LOST_U || state == LOST_C || state == OTHER)
        lose(ret_id, RUN_A, state != LOST_U, now);
    else
        assert_int_equal(lease_do(OP_CLAIM, ret_id, state == LEGACY ? "" : RUN_A, now), RC_OK);
    if (state == STARTED || state == CRASHED)
        assert_int_equal(lease_do(OP_HEARTBEAT, ret_id, RUN_A, now), RC_OK);
    if (state == OTHER)
        assert_int_equal(lease_do(OP_CLAIM, ret_id, RUN_B, now + 2 * LEASE_MS), RC_OK);
    if (state == FINISHED)
        assert_int_equal(lease_do(OP_FINISH, ret_id, RUN_A, now), RC_OK);
    if (state == CRASHED)
        crash_for_good(ret_id, now);
    return now;
}

static void check_stand(const struct task *task, enum state state) {
    const struct stand *stand = &stands[state];
    assert_int_equal(task->status, stand->status);
    assert_int_equal(task->sub, stand->sub);
    assert_int_equal(task->crashes, stand->crashes);
    assert_int_equal(task->undelivered, stand->undelivered);
    assert_int_equal(task->lapse, stand->lapse);
    assert_int_equal(task->lease_until > 0, stand->status == TASK_RUNNING && task->run_id[0]);
    if (stand->status == TASK_RUNNING)
        assert_int_equal(task->beaten, stand->sub == SUB_STARTED);
}

static void check_id(const char *id, enum state state) {
    struct task task = kit_get(id);
    check_stand(&task, state);
    task_finish(&task);
}

/* What an operation makes of a task: a state, or refused with an rc and unchanged. */
struct expected {
    enum rc rc;
    enum state state;
};

#define TO(s)                                                                                      \
    { RC_OK, s }
#define SAME                                                                                       \
    { RC_OK, ALL_STATES }
#define NO(code)                                                                                   \
    { RC_##code, ALL_STATES }

static const struct row {
    enum op_kind kind;
    const char *run_id;
    bool crash;
    struct expected expected[STATES];
} rows[] = {
    /* QUEUED, CLAIMED, STARTED, LOST_U, LOST_C, OTHER, LEGACY, FINISHED, CRASHED */
    {OP_HEARTBEAT,
     RUN_A,
     false,
     {NO(STALE_RUN), TO(STARTED), TO(STARTED), TO(STARTED), TO(STARTED), NO(STALE_RUN),
      NO(STALE_RUN), NO(STALE_RUN), NO(STALE_RUN)}},
    {OP_HEARTBEAT,
     RUN_B,
     false,
     {NO(STALE_RUN),
      NO(STALE_RUN),
      NO(STALE_RUN),
      NO(STALE_RUN),
      NO(STALE_RUN),
      {RC_OK, STATES},
      NO(STALE_RUN),
      NO(STALE_RUN),
      NO(STALE_RUN)}},
    {OP_HAND_BACK,
     RUN_A,
     false,
     {NO(STALE_RUN), TO(QUEUED), TO(QUEUED), TO(QUEUED), TO(QUEUED), NO(STALE_RUN), NO(STALE_RUN),
      NO(STALE_RUN), NO(STALE_RUN)}},
    {OP_HAND_BACK,
     RUN_A,
     true,
     {NO(STALE_RUN), TO(FREE_C), TO(FREE_C), TO(FREE_C), TO(FREE_C), NO(STALE_RUN), NO(STALE_RUN),
      NO(STALE_RUN), SAME}},
    {OP_LAPSE,
     RUN_A,
     false,
     {NO(NOT_DUE), TO(LOST_U), TO(LOST_C), NO(NOT_DUE), NO(NOT_DUE), NO(NOT_DUE), NO(NOT_DUE),
      NO(NOT_DUE), NO(NOT_DUE)}},
    {OP_CLAIM,
     RUN_A,
     false,
     {TO(CLAIMED), SAME, SAME, TO(CLAIMED), TO(STARTED), NO(ALREADY_CLAIMED), NO(ALREADY_CLAIMED),
      NO(STALE_RUN), NO(STALE_RUN)}},
    {OP_CLAIM,
     RUN_B,
     false,
     {TO(CLAIMED), NO(ALREADY_CLAIMED), NO(ALREADY_CLAIMED), TO(OTHER_U), TO(OTHER), SAME,
      NO(ALREADY_CLAIMED), NO(ALREADY_FINAL), NO(ALREADY_FINAL)}},
    {OP_FINISH,
     RUN_A,
     false,
     {NO(STALE_RUN), TO(FINISHED), TO(FINISHED), TO(FINISHED), TO(FINISHED), NO(STALE_RUN),
      NO(STALE_RUN), SAME, NO(ALREADY_FINAL)}},
    {OP_FINISH,
     "",
     false,
     {TO(FINISHED), NO(STALE_RUN), NO(STALE_RUN), TO(FINISHED_U), TO(FINISHED_C), NO(STALE_RUN),
      TO(FINISHED), SAME, NO(ALREADY_FINAL)}},
    {OP_FAIL,
     RUN_A,
     false,
     {NO(STALE_RUN), TO(FAILED), TO(FAILED), TO(FAILED), TO(FAILED), NO(STALE_RUN), NO(STALE_RUN),
      NO(ALREADY_FINAL), SAME}},
    {OP_START,
     "",
     false,
     {NO(ALREADY_QUEUED), NO(ALREADY_QUEUED), NO(ALREADY_QUEUED), NO(ALREADY_QUEUED),
      NO(ALREADY_QUEUED), NO(ALREADY_QUEUED), NO(ALREADY_QUEUED), TO(QUEUED), TO(QUEUED)}},
    {OP_EDIT,
     "",
     false,
     {TO(QUEUED), NO(TASK_RUNNING), NO(TASK_RUNNING), TO(FREE_U), TO(FREE_C), NO(TASK_RUNNING),
      NO(TASK_RUNNING), TO(FINISHED), TO(CRASHED)}},
};

/* The answer is the task as it stands. */
static void check_answer(const struct op *op, const struct task *stored) {
    assert_int_equal(op->n_tasks, 1);
    const struct task *answer = op->tasks;
    assert_int_equal(answer->status, stored->status);
    assert_int_equal(answer->sub, stored->sub);
    assert_string_equal(answer->run_id, stored->run_id);
    assert_int_equal(answer->lease_until, stored->lease_until);
    assert_int_equal(answer->beaten, stored->beaten);
    assert_int_equal(answer->crashes, stored->crashes);
    assert_int_equal(answer->undelivered, stored->undelivered);
    assert_int_equal(answer->lapse, stored->lapse);
    assert_int_equal(answer->outbox_seq, stored->outbox_seq);
    assert_int_equal(answer->rev, stored->rev);
    if (op_needs_condition(op))
        assert_true(kit_same_json(answer->condition, answer->condition_len, stored->condition,
                                  stored->condition_len));
}

static struct op *row_op(const struct row *row, const struct task *before, int64_t now) {
    struct op *op = row->kind == OP_EDIT ? edit_op(before->task_id, now)
                                         : lease_op(row->kind, before->task_id, row->run_id, now);
    op->crash = row->crash;
    op->has_oid = before->rev % 2; /* with and without the oid */
    memcpy(op->oid, before->oid, OBJECT_ID_LEN);
    return op;
}

static void check_cell(const struct row *row, enum state state) {
    char id[TASK_TEXT_CAP];
    int64_t now = bring(state, id) + 5 * LEASE_MS;
    struct task before = kit_get(id);
    check_stand(&before, state);
    struct op *op = row_op(row, &before, now);
    const struct expected *expected = &row->expected[state];
    enum rc rc = kit_apply(op);
    if (rc != expected->rc)
        fail_msg("%s by '%s' in state %d: %s instead of %s", op_kind_name(row->kind), row->run_id,
                 (int)state, rc_info(rc)->word, rc_info(expected->rc)->word);
    struct task after = kit_get(id);
    check_answer(op, &after);
    if (expected->state == ALL_STATES)
        kit_assert_same_task(&before, &after);
    else if (expected->state != STATES)
        check_stand(&after, expected->state);
    if (rc == RC_OK && after.status == TASK_RUNNING && expected->state != ALL_STATES)
        assert_int_equal(after.lease_until, now + LEASE_MS);
    task_finish(&before);
    task_finish(&after);
    op_destroy(op);
}

void test_lease_in_every_state(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(rows); i++)
        for (int s = 0; s < STATES; s++)
            check_cell(&rows[i], (enum state)s);
}

/* A take gives each of its runs a lease; a module of the base contract has none. */
void test_claims_and_leases(void **state) {
    (void)state;
    char service[SERVICE_CAP], id[TASK_TEXT_CAP];
    kit_service(service);
    assert_int_equal(kit_do(kit_create(service, 2, true, false)), RC_OK);
    struct op *op = kit_take(service, 2);
    op->lease_ms = 7000;
    assert_int_equal(kit_apply(op), RC_OK);
    assert_int_equal(op->n_tasks, 2);
    for (size_t i = 0; i < op->n_tasks; i++) {
        struct task task = kit_get(op->tasks[i].task_id);
        assert_int_equal(op->tasks[i].lease_until, op->now_ms + 7000);
        kit_assert_same_task(&op->tasks[i], &task);
        task_finish(&task);
    }
    op_destroy(op);
    bring(LEGACY, id);
    struct task task = kit_get(id);
    assert_int_equal(task.lease_until, 0);
    task_finish(&task);
}

/* Whether it is among those whose lease has run out by then, of leases no longer than so. */
static bool is_lapsed(const char *id, int64_t before_ms, int64_t lease_ms) {
    struct query *query = query_create(QUERY_LAPSED);
    bool found = false;
    query->lapsed_before_ms = before_ms;
    query->lapsed_lease_ms = lease_ms;
    query->limit = 100000;
    kit_query(query);
    for (size_t i = 0; i < query->n_tasks; i++)
        found = found || strcmp(query->tasks[i].task_id, id) == 0;
    query_destroy(query);
    return found;
}

/* The length that a take asks for stays with its run: heartbeats renew by it, and so does the
 * call that is made again tell of it. */
void test_lease_asked_for(void **state) {
    (void)state;
    enum { ASKED_MS = 9 * LEASE_MS };
    char service[SERVICE_CAP], id[TASK_TEXT_CAP], run_id[UUID_CAP];
    kit_service(service);
    kit_new_task(service, true, false, id);
    struct op *op = kit_take(service, 1);
    op->lease_ms = LEASE_MS;
    op->asked_lease_ms = ASKED_MS;
    assert_int_equal(kit_apply(op), RC_OK);
    assert_int_equal(op->n_tasks, 1);
    memcpy(run_id, op->tasks[0].run_id, UUID_CAP);
    int64_t now = op->now_ms;
    struct task task = kit_get(id);
    assert_int_equal(task.lease_until, now + ASKED_MS);
    kit_assert_same_task(&op->tasks[0], &task);
    task_finish(&task);
    op_destroy(op);
    for (int i = 1; i <= 2; i++) { /* the first changes the state too, the second nothing else */
        assert_int_equal(lease_do(OP_HEARTBEAT, id, run_id, now + i), RC_OK);
        task = kit_get(id);
        assert_int_equal(task.lease_until, now + i + ASKED_MS);
        assert_int_equal(task.run.lease_ms, ASKED_MS);
        task_finish(&task);
    }
    assert_true(is_lapsed(id, now + ASKED_MS + 2, 0));
    assert_true(is_lapsed(id, now + ASKED_MS + 2, ASKED_MS));
    assert_false(is_lapsed(id, now + ASKED_MS + 2, ASKED_MS - 1));
    assert_int_equal(lease_do(OP_LAPSE, id, run_id, now + LEASE_MS + 2), RC_NOT_DUE);
    assert_int_equal(lease_do(OP_LAPSE, id, run_id, now + ASKED_MS + 2), RC_OK);
    assert_int_equal(lease_do(OP_CLAIM, id, RUN_B, now + ASKED_MS + 3), RC_OK);
    task = kit_get(id);
    assert_int_equal(task.lease_until, now + ASKED_MS + 3 + LEASE_MS);
    assert_int_equal(task.run.lease_ms, 0);
    task_finish(&task);
}

static struct op *take_as(const char *service, const char *claim_id, size_t max) {
    struct op *op = kit_take(service, max);
    assert_true(mem_copy_str(op->claim_id, sizeof op->claim_id, claim_id));
    op->lease_ms = LEASE_MS;
    return op;
}

static void check_taken(struct op *op, const struct op *first, size_t from, size_t n) {
    assert_int_equal(kit_apply(op), RC_OK);
    assert_int_equal(op->n_tasks, n);
    for (size_t i = 0; i < n; i++)
        kit_assert_same_task(&op->tasks[i], &first->tasks[from + i]);
    op_destroy(op);
}

/* A call that is made again brings what it claimed and still holds, whatever it asks for; another
 * call, or one without a name, does not. */
void test_take_again(void **state) {
    (void)state;
    static const char one[] = "01900000-0000-7000-8000-00000000000a",
                      other[] = "01900000-0000-7000-8000-00000000000b";
    char service[SERVICE_CAP];
    kit_service(service);
    check_taken(take_as(service, one, 5), NULL, 0, 0); /* nothing yet, and nothing is remembered */
    assert_int_equal(kit_do(kit_create(service, 4, true, false)), RC_OK);
    struct op *first = take_as(service, one, 2);
    assert_int_equal(kit_apply(first), RC_OK);
    assert_int_equal(first->n_tasks, 2);
    assert_non_null(first->tasks[0].condition);
    check_taken(take_as(service, one, 2), first, 0, 2);
    check_taken(take_as(service, one, 1), first, 0, 2);
    struct op *both[2] = {take_as(service, other, 1), take_as(service, one, 7)};
    assert_int_equal(store_apply(kit_store, both, 2, NULL), RC_OK);
    assert_int_equal(both[0]->n_tasks, 1);
    assert_string_not_equal(both[0]->tasks[0].task_id, first->tasks[0].task_id);
    assert_int_equal(both[1]->n_tasks, 2);
    kit_assert_same_task(&both[1]->tasks[0], &first->tasks[0]);
    op_destroy(both[1]);
    struct op *end = kit_run_op(OP_FINISH, first->tasks[0].task_id, first->tasks[0].run_id);
    assert_int_equal(kit_do(end), RC_OK);
    check_taken(take_as(service, one, 2), first, 1, 1);
    end = kit_run_op(OP_FINISH, first->tasks[1].task_id, first->tasks[1].run_id);
    assert_int_equal(kit_do(end), RC_OK);
    struct op *last = take_as(service, one, 2); /* all have ended: a new claim */
    assert_int_equal(kit_apply(last), RC_OK);
    assert_int_equal(last->n_tasks, 1);
    assert_string_not_equal(last->tasks[0].task_id, both[0]->tasks[0].task_id);
    op_destroy(last);
    op_destroy(both[0]);
    op_destroy(first);
}

/* A heartbeat changes the lease, what it says of the run, and nothing else. */
void test_heartbeat(void **state) {
    (void)state;
    char id[TASK_TEXT_CAP];
    int64_t now = bring(CLAIMED, id);
    struct task before = kit_get(id);
    for (int i = 1; i <= 3; i++) {
        struct op *op = lease_op(OP_HEARTBEAT, id, RUN_A, now + i * 300);
        op->lease_ms = LEASE_MS * i;
        assert_int_equal(kit_apply(op), RC_OK);
        assert_null(op->tasks->condition);
        struct task after = kit_get(id);
        check_answer(op, &after);
        assert_true(after.rev > before.rev);
        before.sub = SUB_STARTED;
        before.beaten = true;
        before.run.started_at = now + 300;
        before.lease_until = now + i * 300 + (int64_t)LEASE_MS * i;
        before.rev = after.rev;
        kit_assert_same_task(&before, &after);
        task_finish(&after);
        op_destroy(op);
    }
    task_finish(&before);
}

/* Whoever finds that a lease has run out may be too late with it. */
void test_lapse_not_due(void **state) {
    (void)state;
    char id[TASK_TEXT_CAP];
    int64_t now = bring(CLAIMED, id);
    assert_int_equal(lease_do(OP_LAPSE, id, RUN_A, now + LEASE_MS - 1), RC_NOT_DUE);
    assert_int_equal(lease_do(OP_HEARTBEAT, id, RUN_A, now + LEASE_MS), RC_OK);
    assert_int_equal(lease_do(OP_LAPSE, id, RUN_A, now + LEASE_MS), RC_NOT_DUE);
    assert_int_equal(lease_do(OP_LAPSE, id, RUN_B, now + 2 * LEASE_MS), RC_NOT_DUE);
    check_id(id, STARTED);
    assert_int_equal(lease_do(OP_LAPSE, id, RUN_A, now + 2 * LEASE_MS), RC_OK);
    check_id(id, LOST_C);
}

/* A run_id of its own for each number: a task takes none back that it has had. */
static const char *run_of(int i, char ret[UUID_CAP]) {
    snprintf(ret, UUID_CAP, "01890000-0000-7000-8000-%012d", i);
    return ret;
}

/* Loses runs until the task fails and gives their number. */
static int lose_all(const char *id, bool beaten, int64_t now) {
    for (int i = 1; i <= 100; i++) {
        char run_id[UUID_CAP];
        lose(id, run_of(i, run_id), beaten, now + i * 2 * LEASE_MS);
        struct task task = kit_get(id);
        enum task_status status = task.status;
        assert_int_equal(beaten ? task.crashes : task.undelivered, i);
        assert_int_equal(task.attempt, i);
        task_finish(&task);
        if (status == TASK_FAILED)
            return i;
    }
    return -1;
}

void test_lost_too_often(void **state) {
    (void)state;
    for (int beaten = 0; beaten < 2; beaten++) {
        char id[TASK_TEXT_CAP];
        int64_t now = new_task(id);
        int runs = lose_all(id, beaten, now);
        assert_int_equal(runs, beaten ? MAX_CRASHES : UNDELIVERED_MAX);
        struct task task = kit_get(id);
        assert_int_equal(task.sub, SUB_CRASH);
        assert_int_equal(task.end_at, now + runs * 2 * LEASE_MS + LEASE_MS);
        assert_int_equal(task.lease_until, 0);
        assert_int_equal(task.lapse, LAPSE_NONE);
        assert_non_null(task.error_text);
        assert_non_null(task.message[MESSAGE_FAILED]);
        char run_id[UUID_CAP];
        assert_int_equal(lease_do(OP_HEARTBEAT, id, run_of(runs, run_id), task.end_at),
                         RC_STALE_RUN);
        assert_int_equal(lease_do(OP_START, id, "", task.end_at), RC_OK);
        task_finish(&task);
        check_id(id, QUEUED);
    }
}

/* With a broker a lost run writes the outbox, and taking the task back undoes that. */
void test_lapse_writes_the_outbox(void **state) {
    (void)state;
    char id[TASK_TEXT_CAP];
    int64_t now = bring(STARTED, id);
    struct op *op = lease_op(OP_LAPSE, id, RUN_A, now + LEASE_MS);
    op->broker = true;
    assert_int_equal(kit_apply(op), RC_OK);
    struct task task = kit_get(id);
    check_answer(op, &task);
    assert_non_null(op->tasks->condition);
    op_destroy(op);
    assert_int_equal(task.status, TASK_READY);
    assert_int_equal(task.sub, SUB_PRODUCING);
    assert_true(task.outbox_pending);
    assert_int_equal(task.outbox_seq, 1);
    assert_int_equal(task.outbox_pick_at, now + LEASE_MS);
    task_finish(&task);
    assert_int_equal(lease_do(OP_HEARTBEAT, id, RUN_A, now + LEASE_MS + 1), RC_OK);
    task = kit_get(id);
    check_stand(&task, STARTED);
    assert_false(task.outbox_pending);
    assert_int_equal(task.outbox_seq, 1);
    task_finish(&task);
    op = lease_op(OP_HAND_BACK, id, RUN_A, now + LEASE_MS + 2);
    op->broker = true;
    assert_int_equal(kit_apply(op), RC_OK);
    assert_non_null(op->tasks->condition);
    assert_int_equal(op->tasks->outbox_seq, 2);
    assert_true(op->tasks->outbox_pending);
    op_destroy(op);
}

/* What ends the right of a lost run to take its task back. */
void test_right_to_take_back_ends(void **state) {
    (void)state;
    char id[TASK_TEXT_CAP];
    int64_t now = bring(LOST_C, id) + 2 * LEASE_MS;
    assert_int_equal(kit_do(edit_op(id, now)), RC_OK);
    check_id(id, FREE_C);
    assert_int_equal(lease_do(OP_HEARTBEAT, id, RUN_A, now), RC_STALE_RUN);
    assert_int_equal(lease_do(OP_FINISH, id, RUN_A, now), RC_STALE_RUN);
    assert_int_equal(lease_do(OP_CLAIM, id, RUN_A, now), RC_STALE_RUN);
    now = bring(LOST_C, id) + 2 * LEASE_MS;
    struct task task = kit_get(id);
    struct op *op = kit_take(task.service, 5);
    op->now_ms = now;
    assert_int_equal(kit_apply(op), RC_OK);
    assert_int_equal(op->n_tasks, 1);
    assert_string_not_equal(op->tasks->run_id, RUN_A);
    op_destroy(op);
    task_finish(&task);
    check_id(id, OTHER);
    assert_int_equal(lease_do(OP_HEARTBEAT, id, RUN_A, now), RC_STALE_RUN);
    now = bring(LOST_C, id) + 2 * LEASE_MS;
    assert_int_equal(lease_do(OP_HAND_BACK, id, RUN_A, now), RC_OK);
    assert_int_equal(lease_do(OP_HEARTBEAT, id, RUN_A, now), RC_STALE_RUN);
    check_id(id, QUEUED);
}

/* Its answer may be lost: said again it changes nothing, until another run has the task. */
void test_hand_back_again(void **state) {
    (void)state;
    for (int crash = 0; crash < 2; crash++) {
        char id[TASK_TEXT_CAP];
        int64_t now = bring(STARTED, id);
        struct task first = {0};
        for (int i = 0; i < 3; i++) {
            struct op *op = lease_op(OP_HAND_BACK, id, RUN_A, now + i);
            op->crash = crash;
            assert_int_equal(kit_do(op), RC_OK);
            struct task task = kit_get(id);
            if (i > 0)
                kit_assert_same_task(&first, &task);
            task_finish(&first);
            first = task;
        }
        check_stand(&first, crash ? FREE_C : QUEUED);
        task_finish(&first);
        assert_int_equal(lease_do(OP_CLAIM, id, RUN_B, now + 5), RC_OK);
        assert_int_equal(lease_do(OP_HAND_BACK, id, RUN_A, now + 6), RC_STALE_RUN);
    }
    char id[TASK_TEXT_CAP];
    bring(CRASHED, id);
    check_id(id, CRASHED);
}

/* A claim or a heartbeat whose lease ran out long ago, before those of all other tests. */
static void lease_long_ago(enum op_kind kind, const char *id, int64_t lease_until) {
    struct op *op = lease_op(kind, id, RUN_A, kit_now());
    op->lease_ms = lease_until - op->now_ms;
    assert_int_equal(kit_do(op), RC_OK);
}

static void check_lapsed(int64_t before_ms, int64_t limit, const char *const *ids, size_t n) {
    struct query *query = query_create(QUERY_LAPSED);
    query->lapsed_before_ms = before_ms;
    query->limit = limit;
    kit_query(query);
    assert_int_equal(query->n_tasks, n);
    for (size_t i = 0; i < n; i++) {
        struct task task = kit_get(ids[i]);
        assert_string_equal(query->tasks[i].task_id, ids[i]);
        assert_string_equal(query->tasks[i].run_id, task.run_id);
        assert_int_equal(query->tasks[i].lease_until, task.lease_until);
        assert_memory_equal(query->tasks[i].oid, task.oid, OBJECT_ID_LEN);
        assert_int_equal(query->tasks[i].rev, task.rev);
        task_finish(&task);
    }
    query_destroy(query);
}

void test_lapsed(void **state) {
    (void)state;
    static const int64_t leases[] = {5000, 3000, 6000, 4000};
    char ids[4][TASK_TEXT_CAP];
    for (size_t i = 0; i < LH_COUNT(leases); i++) {
        new_task(ids[i]);
        lease_long_ago(OP_CLAIM, ids[i], leases[i]);
    }
    const char *const all[] = {ids[1], ids[3], ids[0], ids[2]};
    check_lapsed(2999, 10, NULL, 0);
    check_lapsed(3000, 10, all, 1);
    check_lapsed(5999, 10, all, 3);
    check_lapsed(6000, 10, all, 4);
    check_lapsed(6000, 2, all, 2);
    lease_long_ago(OP_HEARTBEAT, ids[1], 10000);
    assert_int_equal(lease_do(OP_FINISH, ids[3], RUN_A, 9000), RC_OK);
    assert_int_equal(lease_do(OP_LAPSE, ids[0], RUN_A, 9000), RC_OK);
    check_lapsed(9999, 10, all + 3, 1);
    const char *const renewed[] = {ids[2], ids[1]};
    check_lapsed(10000, 10, renewed, 2);
    assert_int_equal(lease_do(OP_HAND_BACK, ids[1], RUN_A, 9000), RC_OK);
    assert_int_equal(lease_do(OP_FAIL, ids[2], RUN_A, 9000), RC_OK);
    check_lapsed(10000, 10, NULL, 0);
}

static struct op *worker_op(const char *id, int64_t now, const char *value) {
    struct op *op = kit_op(OP_WORKER, NULL);
    assert_true(mem_copy_str(op->worker_id, sizeof op->worker_id, id));
    op->now_ms = now;
    op->value = kit_dup(value);
    op->value_len = strlen(value);
    return op;
}

static struct query *workers_since(int64_t since_ms, size_t n) {
    struct query *query = query_create(QUERY_WORKERS);
    query->seen_since_ms = since_ms;
    kit_query(query);
    assert_int_equal(query->n_workers, n);
    return query;
}

static void check_worker(const struct store_worker *worker, const char *id, int64_t seen_at,
                         const char *value) {
    assert_string_equal(worker->id, id);
    assert_int_equal(worker->seen_at, seen_at);
    assert_true(kit_same_json(worker->value, worker->value_len, value, strlen(value)));
}

void test_workers(void **state) {
    (void)state;
    static const char first[] = "{\"host\":\"b\\u00e9\",\"slots\":4,\"services\":[\"x\",\"y\"]}";
    int64_t now = kit_now();
    char longest[WORKER_ID_CAP];
    memset(longest, 'z', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    query_destroy(workers_since(0, 0));
    struct op *op = worker_op("w2", now, first);
    assert_int_equal(kit_apply(op), RC_OK);
    assert_int_equal(op->n_tasks, 0);
    op_destroy(op);
    assert_int_equal(kit_do(worker_op(longest, now + 1, "{}")), RC_OK);
    assert_int_equal(kit_do(worker_op("w1", now + 2, "{\"slots\":1}")), RC_OK);
    struct query *query = workers_since(now, 3);
    check_worker(&query->workers[0], "w1", now + 2, "{\"slots\":1}");
    check_worker(&query->workers[1], "w2", now, first);
    check_worker(&query->workers[2], longest, now + 1, "{}");
    query_destroy(query);
    query = workers_since(now + 2, 1);
    check_worker(query->workers, "w1", now + 2, "{\"slots\":1}");
    query_destroy(query);
    struct op *ops[] = {worker_op("w1", now + 3, "{\"slots\":2}"),
                        worker_op("w2", now + 4, "{\"slots\":3}"),
                        worker_op("w1", now + 5, "{\"slots\":5}")};
    struct error err = {0};
    assert_int_equal(store_apply(kit_store, ops, LH_COUNT(ops), &err), RC_OK);
    for (size_t i = 0; i < LH_COUNT(ops); i++) {
        assert_int_equal(ops[i]->rc, RC_OK);
        op_destroy(ops[i]);
    }
    kit_reopen();
    query = workers_since(now + 3, 2);
    check_worker(&query->workers[0], "w1", now + 5, "{\"slots\":5}");
    check_worker(&query->workers[1], "w2", now + 4, "{\"slots\":3}");
    query_destroy(query);
}

static struct op *worker_op_of(const char *id, const char *token, int64_t now, const char *value) {
    struct op *op = worker_op(id, now, value);
    assert_true(mem_copy_str(op->worker_token, sizeof op->worker_token, token));
    return op;
}

/* One name with several tokens: several workers, in one batch or another. */
void test_workers_of_tokens(void **state) {
    (void)state;
    static const char *const tokens[] = {"", "a", "b"}, *const values[] = {"[1]", "[2]", "[3]"};
    int64_t now = kit_now() + 1000000; /* none that other tests have made */
    struct op *ops[] = {worker_op_of("same", "b", now, "[9]"), worker_op("same", now, "[1]"),
                        worker_op_of("same", "a", now, "[2]"),
                        worker_op_of("same", "b", now, "[3]")};
    struct error err = {0};
    assert_int_equal(store_apply(kit_store, ops, LH_COUNT(ops), &err), RC_OK);
    for (size_t i = 0; i < LH_COUNT(ops); i++) {
        assert_int_equal(ops[i]->rc, RC_OK);
        op_destroy(ops[i]);
    }
    for (size_t step = 0; step < 2; step++) {
        struct query *query = workers_since(now, 3);
        for (size_t i = 0; i < LH_COUNT(tokens); i++) {
            bool again = step && i == 1;
            check_worker(&query->workers[i], "same", now + again, again ? "[4]" : values[i]);
            assert_string_equal(query->workers[i].token, tokens[i]);
        }
        query_destroy(query);
        if (!step)
            assert_int_equal(kit_do(worker_op_of("same", "a", now + 1, "[4]")), RC_OK);
    }
}

/* As a consumer sends them: all its runs at once, with itself. Some are lost, unknown, or twice. */
void test_heartbeats_in_one_batch(void **state) {
    (void)state;
    char ids[BEATS][TASK_TEXT_CAP];
    struct op *ops[BEATS + 3];
    int64_t now = 0;
    for (int i = 0; i < BEATS; i++)
        now = bring(i % 3 == 0 ? LOST_U : i % 3 == 1 ? CLAIMED : STARTED, ids[i]);
    for (int i = 0; i < BEATS; i++)
        ops[i] = lease_op(OP_HEARTBEAT, ids[i], i % 10 == 9 ? RUN_B : RUN_A, now + 5000);
    ops[BEATS] = lease_op(OP_HEARTBEAT, "ts_none_2", RUN_A, now + 5000);
    ops[BEATS + 1] = lease_op(OP_HEARTBEAT, ids[0], RUN_A, now + 6000);
    ops[BEATS + 2] = worker_op("w_batch", now + 5000, "{\"slots\":60}");
    struct error err = {0};
    assert_int_equal(store_apply(kit_store, ops, LH_COUNT(ops), &err), RC_OK);
    for (int i = 0; i < BEATS; i++) {
        struct task task = kit_get(ids[i]);
        bool ours = i % 10 != 9;
        assert_int_equal(ops[i]->rc, ours ? RC_OK : RC_STALE_RUN);
        if (ours)
            check_stand(&task, STARTED);
        if (ours)
            assert_int_equal(task.lease_until, now + LEASE_MS + (i == 0 ? 6000 : 5000));
        task_finish(&task);
    }
    assert_int_equal(ops[BEATS]->rc, RC_UNKNOWN_TASK);
    assert_int_equal(ops[BEATS + 1]->rc, RC_OK);
    assert_int_equal(ops[BEATS + 2]->rc, RC_OK);
    for (size_t i = 0; i < LH_COUNT(ops); i++)
        op_destroy(ops[i]);
}

/* Two operations on a STARTED task whose lease is over, in one batch. */
static void check_pair(enum op_kind first, enum rc first_rc, enum op_kind second, enum rc second_rc,
                       enum state end) {
    char id[TASK_TEXT_CAP];
    int64_t now = bring(STARTED, id) + LEASE_MS;
    struct op *ops[] = {lease_op(first, id, RUN_A, now), lease_op(second, id, RUN_A, now)};
    struct error err = {0};
    assert_int_equal(store_apply(kit_store, ops, 2, &err), RC_OK);
    assert_int_equal(ops[0]->rc, first_rc);
    assert_int_equal(ops[1]->rc, second_rc);
    struct task task = kit_get(id);
    check_stand(&task, end);
    check_answer(ops[1], &task);
    task_finish(&task);
    op_destroy(ops[0]);
    op_destroy(ops[1]);
}

void test_lapse_and_report_in_one_batch(void **state) {
    (void)state;
    check_pair(OP_LAPSE, RC_OK, OP_FINISH, RC_OK, FINISHED);
    check_pair(OP_FINISH, RC_OK, OP_LAPSE, RC_NOT_DUE, FINISHED);
    check_pair(OP_LAPSE, RC_OK, OP_HEARTBEAT, RC_OK, STARTED);
    check_pair(OP_HEARTBEAT, RC_OK, OP_LAPSE, RC_NOT_DUE, STARTED);
    check_pair(OP_LAPSE, RC_OK, OP_LAPSE, RC_NOT_DUE, LOST_C);
    check_pair(OP_HEARTBEAT, RC_OK, OP_HAND_BACK, RC_OK, QUEUED);
    check_pair(OP_HAND_BACK, RC_OK, OP_HEARTBEAT, RC_STALE_RUN, QUEUED);
    check_pair(OP_HEARTBEAT, RC_OK, OP_FINISH, RC_OK, FINISHED);
    check_pair(OP_FINISH, RC_OK, OP_HEARTBEAT, RC_STALE_RUN, FINISHED);
}

/* The lease, the counts and the right to take back are as durable as the task. */
void test_leases_survive(void **state) {
    (void)state;
    static const enum state kept[] = {CLAIMED, STARTED, LOST_U, LOST_C, OTHER, CRASHED};
    char ids[LH_COUNT(kept)][TASK_TEXT_CAP];
    struct task before[LH_COUNT(kept)];
    for (size_t i = 0; i < LH_COUNT(kept); i++) {
        bring(kept[i], ids[i]);
        before[i] = kit_get(ids[i]);
    }
    kit_reopen();
    for (size_t i = 0; i < LH_COUNT(kept); i++) {
        struct task after = kit_get(ids[i]);
        kit_assert_same_task(&before[i], &after);
        task_finish(&before[i]);
        task_finish(&after);
    }
    assert_int_equal(lease_do(OP_HEARTBEAT, ids[3], RUN_A, kit_now() + 9000), RC_OK);
    check_id(ids[3], STARTED);
}
