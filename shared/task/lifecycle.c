/* lifecycle.c: the rules of a task's life, as a table of steps by operation and status. */
#include "task/lifecycle.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What a step works on. */
struct turn {
    struct task *task;
    struct op *op;
    int64_t now; /* the API's clock, never before a time that the task already has */
    unsigned parts;
    char *text;
    size_t text_cap;
};

typedef enum rc step(struct turn *turn);

static LH_PRINTF(3, 4) enum rc refuse(struct turn *turn, enum rc rc, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(turn->text, turn->text_cap, format, args);
    va_end(args);
    return rc;
}

static bool same_run(const struct turn *turn) {
    return turn->op->run_id[0] && strcmp(turn->op->run_id, turn->task->run_id) == 0;
}

/* Makes the task due: through the outbox where there is a broker, else at once. */
static void queue(struct task *task, bool broker, int64_t now) {
    task->status = broker ? TASK_READY : TASK_WAITING;
    task->sub = broker ? SUB_PRODUCING : SUB_QUEUED;
    task->outbox_pending = broker;
    task->outbox_pick_at = broker ? now : 0; /* the process that queues it also sends it */
    if (broker)
        task->outbox_seq++;
}

enum { UNDELIVERED_MAX = 20 };

/* True for the run whose lease ran out and that may still take the task back. */
static bool lapsed_run(const struct turn *turn) {
    return turn->task->lapse != LAPSE_NONE && same_run(turn);
}

/* The end of a run's right to the task. */
static void drop_lease(struct task *task) {
    task->lease_until = 0;
    task->beaten = false;
    task->lapse = LAPSE_NONE;
}

static void renew_lease(struct turn *turn) {
    turn->task->lease_until = turn->now + turn->op->lease_ms;
    turn->parts |= PART_STATE;
}

/* As if the lease had not been lost: neither counted nor queued again. */
static void take_back(struct turn *turn) {
    struct task *task = turn->task;
    if (task->lapse == LAPSE_CRASH)
        task->crashes--;
    else
        task->undelivered--;
    task->lapse = LAPSE_NONE;
    task->status = TASK_RUNNING;
    task->sub = task->beaten ? SUB_STARTED : SUB_CLAIMED;
    task->outbox_pending = false;
    task->outbox_pick_at = 0;
    turn->parts |= PART_STATE | PART_OUTBOX;
}

static void move_text(char **to, char **from) {
    if (!*from)
        return;
    free(*to);
    *to = TAKE(*from);
}

static void clear_text(char **text) {
    free(*text);
    *text = NULL;
}

void lifecycle_new(struct task *task, bool start, bool broker, int64_t now_ms) {
    object_id_make(task->oid);
    task_id_make(task->service, task->task_id);
    task->create_at = now_ms;
    task->status = TASK_READY;
    task->sub = SUB_HELD;
    task->rev = 1;
    if (start)
        queue(task, broker, now_ms);
}

bool lifecycle_takeable(const struct task *task) {
    return task->status == TASK_WAITING || (task->status == TASK_READY && task->sub != SUB_HELD);
}

static enum rc refuse_held(struct turn *turn) {
    return refuse(turn, RC_NOT_DUE, "the task is held until start_task");
}

static void begin_run(struct turn *turn, const char run_id[UUID_CAP]) {
    struct task *task = turn->task;
    task->status = TASK_RUNNING;
    task->sub = SUB_CLAIMED;
    task->start_at = turn->now;
    task->end_at = 0;
    task->attempt++;
    drop_lease(task);
    if (run_id[0])
        task->lease_until = turn->now + turn->op->lease_ms;
    memcpy(task->run_id, run_id, UUID_CAP);
    turn->parts |= PART_STATE;
}

static enum rc claim(struct turn *turn) {
    if (!lifecycle_takeable(turn->task))
        return refuse_held(turn);
    if (lapsed_run(turn)) {
        take_back(turn);
        renew_lease(turn);
        return RC_OK;
    }
    if (same_run(turn))
        return refuse(turn, RC_STALE_RUN, "run %s of the task has ended", turn->op->run_id);
    begin_run(turn, turn->op->run_id);
    move_text(&turn->task->message[MESSAGE_RUNNING], &turn->op->message);
    return RC_OK;
}

/* The same run asks again: its first answer was lost. */
static enum rc claim_again(struct turn *turn) {
    if (same_run(turn))
        return RC_OK;
    return refuse(turn, RC_ALREADY_CLAIMED, "the task is already claimed (attempt %lld)",
                  (long long)turn->task->attempt);
}

static enum rc claim_ended(struct turn *turn) {
    if (same_run(turn))
        return refuse(turn, RC_STALE_RUN, "run %s of the task has ended", turn->op->run_id);
    return refuse(turn, RC_ALREADY_FINAL, "the task is already %s",
                  task_status_name(turn->task->status));
}

static enum rc take(struct turn *turn) {
    if (!lifecycle_takeable(turn->task))
        return refuse_held(turn);
    char run_id[UUID_CAP];
    uuid_make(run_id);
    begin_run(turn, run_id);
    return RC_OK;
}

static void finish_run(struct turn *turn) {
    struct task *task = turn->task;
    task->status = TASK_FINISHED;
    task->sub = SUB_NONE;
    move_text(&task->message[MESSAGE_FINISHED], &turn->op->message);
    if (turn->op->value) {
        move_text(&task->result, &turn->op->value);
        task->result_len = turn->op->value_len;
        turn->parts |= PART_RESULT;
    }
}

/* status_message.failed is the report's message, or else the error's own words. */
static enum rc fail_run(struct turn *turn) {
    struct task *task = turn->task;
    struct op *op = turn->op;
    if (!op->message && op->error_text) {
        op->message = strdup(op->error_text);
        if (!op->message)
            return RC_NO_MEMORY;
    }
    task->status = TASK_FAILED;
    task->sub = SUB_ERROR;
    task->error_class = op->error_class;
    move_text(&task->error_text, &op->error_text);
    move_text(&task->message[MESSAGE_FAILED], &op->message);
    return RC_OK;
}

static enum rc end_run(struct turn *turn) {
    enum rc rc = RC_OK;
    if (turn->op->kind == OP_FINISH)
        finish_run(turn);
    else
        rc = fail_run(turn);
    drop_lease(turn->task);
    turn->task->end_at = turn->now;
    turn->parts |= PART_STATE;
    return rc;
}

/* A module of the base contract that never said `running`: claimed and ended in one step. */
static enum rc end_unclaimed(struct turn *turn) {
    if (lapsed_run(turn)) {
        take_back(turn);
        return end_run(turn);
    }
    if (turn->op->run_id[0])
        return refuse(turn, RC_STALE_RUN, "run %s does not hold the task", turn->op->run_id);
    if (!lifecycle_takeable(turn->task))
        return refuse_held(turn);
    static const char no_run[UUID_CAP] = "";
    begin_run(turn, no_run);
    return end_run(turn);
}

static enum rc end_running(struct turn *turn) {
    if (strcmp(turn->op->run_id, turn->task->run_id) != 0)
        return refuse(turn, RC_STALE_RUN, "another run holds the task (attempt %lld)",
                      (long long)turn->task->attempt);
    return end_run(turn);
}

static enum rc same_result(const struct task *task, const struct op *op, bool *ret_same) {
    if (!op->value || !task->result) {
        *ret_same = !op->value && !task->result;
        return RC_OK;
    }
    return json_compare((struct json_span){op->value, op->value_len},
                        (struct json_span){task->result, task->result_len}, ret_same);
}

/* Whether the final report says what is on record. A module of the base contract says one word. */
static enum rc same_word(const struct turn *turn, bool *ret_same) {
    const struct op *op = turn->op;
    const struct task *task = turn->task;
    *ret_same = (op->kind == OP_FINISH) == (task->status == TASK_FINISHED);
    if (!*ret_same || !op->run_id[0] || op->kind == OP_FAIL)
        return RC_OK;
    return same_result(task, op, ret_same);
}

static enum rc end_again(struct turn *turn) {
    if (turn->op->run_id[0] && !same_run(turn))
        return refuse(turn, RC_STALE_RUN, "run %s does not hold the task", turn->op->run_id);
    bool same;
    enum rc rc = same_word(turn, &same);
    if (rc != RC_OK || same)
        return rc;
    return refuse(turn, RC_ALREADY_FINAL, "the task is already %s",
                  task_status_name(turn->task->status));
}

static enum rc start(struct turn *turn) {
    drop_lease(turn->task);
    queue(turn->task, turn->op->broker, turn->now);
    turn->parts = PART_STATE | PART_OUTBOX;
    return RC_OK;
}

static enum rc start_over(struct turn *turn) {
    struct task *task = turn->task;
    clear_text(&task->result);
    task->result_len = 0;
    clear_text(&task->error_text);
    task->error_class = ERROR_NONE;
    for (size_t i = 0; i < TASK_MESSAGES; i++)
        clear_text(&task->message[i]);
    task->start_at = task->end_at = 0;
    task->crashes = task->undelivered = 0;
    drop_lease(task);
    queue(task, turn->op->broker, turn->now);
    turn->parts = PART_STATE | PART_OUTBOX | PART_RESULT;
    return RC_OK;
}

static enum rc refuse_start(struct turn *turn) {
    return refuse(turn, RC_ALREADY_QUEUED, "the task is already %s",
                  task_status_name(turn->task->status));
}

static enum rc edit(struct turn *turn) {
    struct task *task = turn->task;
    move_text(&task->condition, &turn->op->value);
    task->condition_len = turn->op->value_len;
    turn->parts = PART_CONDITION;
    return RC_OK;
}

/* The queued message tells the old condition: a new one goes out. */
static enum rc edit_due(struct turn *turn) {
    struct task *task = turn->task;
    if (turn->op->broker && lifecycle_takeable(task)) {
        task->outbox_pending = true;
        task->outbox_seq++;
        task->outbox_pick_at = turn->now;
        turn->parts = PART_OUTBOX;
    }
    if (task->lapse != LAPSE_NONE) {
        drop_lease(task);
        turn->parts |= PART_STATE;
    }
    unsigned parts = turn->parts;
    enum rc rc = edit(turn);
    turn->parts |= parts;
    return rc;
}

static enum rc refuse_edit(struct turn *turn) {
    return refuse(turn, RC_TASK_RUNNING, "the task is running (attempt %lld)",
                  (long long)turn->task->attempt);
}

static enum rc heartbeat(struct turn *turn) {
    struct task *task = turn->task;
    if (!same_run(turn))
        return refuse(turn, RC_STALE_RUN, "run %s does not hold the task", turn->op->run_id);
    task->beaten = true;
    task->sub = SUB_STARTED;
    renew_lease(turn);
    return RC_OK;
}

/* Of a task that is due: only the run that lost it a moment ago has a say. */
static enum rc heartbeat_due(struct turn *turn) {
    if (!lapsed_run(turn))
        return refuse(turn, RC_STALE_RUN, "run %s does not hold the task", turn->op->run_id);
    take_back(turn);
    return heartbeat(turn);
}

/* Whatever a run says but its final word comes too late. */
static enum rc too_late(struct turn *turn) {
    return refuse(turn, RC_STALE_RUN, "the task is already %s",
                  task_status_name(turn->task->status));
}

/* The run is over without a word of its own: the task is due again, or has failed too often. */
static enum rc lose_run(struct turn *turn, enum task_lapse lapse) {
    struct task *task = turn->task;
    int64_t *count = lapse == LAPSE_CRASH ? &task->crashes : &task->undelivered;
    int64_t max = lapse == LAPSE_CRASH ? turn->op->max_crashes : UNDELIVERED_MAX;
    turn->parts |= PART_STATE;
    task->lease_until = 0;
    if (++*count < max) {
        queue(task, turn->op->broker, turn->now);
        turn->parts |= PART_OUTBOX;
        return RC_OK;
    }
    char text[80];
    snprintf(text, sizeof text, "%lld runs of the task were lost %s", (long long)*count,
             lapse == LAPSE_CRASH ? "while they ran" : "before they began");
    clear_text(&turn->op->error_text);
    if (!(turn->op->error_text = strdup(text)))
        return RC_NO_MEMORY;
    enum rc rc = end_run(turn);
    task->sub = SUB_CRASH;
    return rc;
}

static enum rc hand_back(struct turn *turn) {
    struct task *task = turn->task;
    if (!same_run(turn))
        return refuse(turn, RC_STALE_RUN, "run %s does not hold the task", turn->op->run_id);
    bool crash = turn->op->crash;
    if (crash)
        return lose_run(turn, LAPSE_CRASH);
    drop_lease(task);
    queue(task, turn->op->broker, turn->now);
    turn->parts = PART_STATE | PART_OUTBOX;
    return RC_OK;
}

/* Said again, its answer was lost; or said by a run that has lost its lease: now it is over. */
static enum rc hand_back_due(struct turn *turn) {
    if (!same_run(turn))
        return refuse(turn, RC_STALE_RUN, "run %s does not hold the task", turn->op->run_id);
    if (lapsed_run(turn)) {
        take_back(turn);
        return hand_back(turn);
    }
    return RC_OK;
}

static enum rc lapse(struct turn *turn) {
    struct task *task = turn->task;
    bool over = task->lease_until && task->lease_until <= turn->now;
    if (!same_run(turn) || !over)
        return refuse(turn, RC_NOT_DUE, "the lease of the task has not run out");
    enum task_lapse kind = task->beaten ? LAPSE_CRASH : LAPSE_UNDELIVERED;
    enum rc rc = lose_run(turn, kind);
    if (rc == RC_OK && task->status != TASK_FAILED)
        task->lapse = kind;
    return rc;
}

static enum rc refuse_lapse(struct turn *turn) {
    return refuse(turn, RC_NOT_DUE, "no run holds the task");
}

static bool outbox_is(const struct turn *turn) {
    return turn->task->outbox_pending && turn->task->outbox_seq == turn->op->outbox_seq;
}

static enum rc pick(struct turn *turn) {
    struct task *task = turn->task;
    bool held = task->outbox_pick_at && task->outbox_pick_at + turn->op->pick_void_ms > turn->now;
    if (!outbox_is(turn) || held)
        return refuse(turn, RC_NOT_DUE, "another process sends the message, or it is out");
    task->outbox_pick_at = turn->now;
    turn->parts = PART_OUTBOX;
    return RC_OK;
}

static void clear_outbox(struct turn *turn) {
    turn->task->outbox_pending = false;
    turn->task->outbox_pick_at = 0;
    turn->parts |= PART_OUTBOX;
}

static enum rc delivered(struct turn *turn) {
    struct task *task = turn->task;
    if (!outbox_is(turn))
        return RC_OK;
    clear_outbox(turn);
    if (task->status == TASK_READY) {
        task->status = TASK_WAITING;
        task->sub = SUB_QUEUED;
        turn->parts |= PART_STATE;
    }
    return RC_OK;
}

static enum rc undeliverable(struct turn *turn) {
    if (!outbox_is(turn))
        return RC_OK;
    clear_outbox(turn);
    if (turn->task->status != TASK_READY && turn->task->status != TASK_WAITING)
        return RC_OK;
    turn->op->error_class = ERROR_FATAL;
    return end_run(turn);
}

/* What each operation does to a task in each status. */
/* clang-format off */
static step *const steps[OP_KINDS][TASK_STATUSES] = {
    /*                     ready           waiting        running       finished     failed */
    [OP_CLAIM] =         {claim,          claim,         claim_again,  claim_ended, claim_ended},
    [OP_TAKE] =          {take,           take,          claim_again,  claim_ended, claim_ended},
    [OP_FINISH] =        {end_unclaimed,  end_unclaimed, end_running,  end_again,   end_again},
    [OP_FAIL] =          {end_unclaimed,  end_unclaimed, end_running,  end_again,   end_again},
    [OP_START] =         {start,          refuse_start,  refuse_start, start_over,  start_over},
    [OP_EDIT] =          {edit_due,       edit_due,      refuse_edit,  edit,        edit},
    [OP_HEARTBEAT] =     {heartbeat_due,  heartbeat_due, heartbeat,    too_late, too_late},
    [OP_HAND_BACK] =     {hand_back_due,  hand_back_due, hand_back,    too_late, too_late},
    [OP_LAPSE] =         {refuse_lapse,   refuse_lapse,  lapse,        refuse_lapse, refuse_lapse},
    [OP_PICK] =          {pick,           pick,          pick,         pick,        pick},
    [OP_DELIVERED] =     {delivered,      delivered,     delivered,    delivered,   delivered},
    [OP_UNDELIVERABLE] = {undeliverable,  undeliverable, undeliverable, undeliverable, undeliverable},
};
/* clang-format on */

static int64_t latest(int64_t a, int64_t b) {
    return a > b ? a : b;
}

enum rc lifecycle_apply(struct task *task, struct op *op, unsigned *ret_parts, char *text,
                        size_t text_cap) {
    int64_t known = latest(task->create_at, latest(task->start_at, task->end_at));
    struct turn turn = {
        .task = task,
        .op = op,
        .now = latest(op->now_ms, known),
        .text = text,
        .text_cap = text_cap,
    };
    enum rc rc = steps[op->kind][task->status](&turn);
    if (rc != RC_OK)
        return rc;
    if (turn.parts)
        task->rev++;
    *ret_parts = turn.parts;
    return RC_OK;
}
