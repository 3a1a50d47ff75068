/* lifecycle.c: the rules of a task's life, as a table of steps by operation and status. */
#include "task/lifecycle_steps.h"

#include "base/mem.h"
#include "base/mutant.h"
#include "task/record.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum rc turn_refuse(struct turn *turn, enum rc rc, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(turn->text, turn->text_cap, format, args);
    va_end(args);
    return rc;
}

bool turn_same_run(const struct turn *turn) {
    return turn->op->run_id[0] && strcmp(turn->op->run_id, turn->task->run_id) == 0;
}

void move_text(char **to, char **from) {
    if (!*from)
        return;
    free(*to);
    *to = *from;
    *from = NULL;
}

void clear_text(char **text) {
    free(*text);
    *text = NULL;
}

/* Retention names the time by which the task must have ended: it may have run again since. */
enum rc step_remove(struct turn *turn) {
    int64_t before = turn->op->before_ms;
    if (before && turn->task->end_at > before)
        return turn_refuse(turn, RC_NOT_DUE, "the task ended later");
    turn->task->sub = SUB_REMOVED;
    turn->parts = PART_REMOVED;
    return RC_OK;
}

enum rc step_refuse_remove(struct turn *turn) {
    if (LH_MUTANT("final-removal"))
        return step_remove(turn);
    return turn_refuse(turn, RC_NOT_FINAL, "the task is %s", task_status_name(turn->task->status));
}

/* What each operation does to a task in each status. */
/* clang-format off */
static step *const steps[OP_KINDS][TASK_STATUSES] = {
    /*                     ready                waiting              running              finished            failed */
    [OP_CLAIM] =         {step_claim,          step_claim,          step_claim_again,    step_claim_ended,   step_claim_ended},
    [OP_TAKE] =          {step_take,           step_take,           step_claim_again,    step_claim_ended,   step_claim_ended},
    [OP_FINISH] =        {step_end_unclaimed,  step_end_unclaimed,  step_end_running,    step_end_again,     step_end_again},
    [OP_FAIL] =          {step_end_unclaimed,  step_end_unclaimed,  step_end_running,    step_end_again,     step_end_again},
    [OP_START] =         {step_start,          step_start,          step_refuse_start,   step_start_over,    step_start_over},
    [OP_EDIT] =          {step_edit_due,       step_edit_due,       step_refuse_edit,    step_edit,          step_edit},
    [OP_HEARTBEAT] =     {step_heartbeat_due,  step_heartbeat_due,  step_heartbeat,      step_too_late,      step_too_late},
    [OP_HAND_BACK] =     {step_hand_back_due,  step_hand_back_due,  step_hand_back,      step_too_late,      step_crashed_again},
    [OP_LAPSE] =         {step_refuse_lapse,   step_refuse_lapse,   step_lapse,          step_refuse_lapse,  step_refuse_lapse},
    [OP_CANCEL] =        {step_cancel_due,     step_cancel_due,     step_cancel,         step_refuse_cancel, step_refuse_cancel},
    [OP_ALARM] =         {step_alarm,          step_alarm,          step_refuse_alarm,   step_refuse_alarm,  step_refuse_alarm},
    [OP_REMOVE] =        {step_refuse_remove,  step_refuse_remove,  step_refuse_remove,  step_remove,        step_remove},
    [OP_OUTPUT] =        {step_output,         step_output,         step_output,         step_output,        step_output},
    [OP_PICK] =          {step_pick,           step_pick,           step_pick_late,      step_pick_late,     step_pick_late},
    [OP_DELIVERED] =     {step_delivered,      step_delivered,      step_delivered,      step_delivered,     step_delivered},
    [OP_UNDELIVERABLE] = {step_undeliverable,  step_undeliverable,  step_undeliverable,  step_undeliverable, step_undeliverable},
};
/* clang-format on */

static int64_t latest(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* The latest time that is told of the task. */
static int64_t known_time(const struct task *task) {
    const struct task_run *run = &task->run;
    const int64_t times[] = {task->start_at,           task->end_at,    task->queued.at,
                             task->queued.produced_at, run->claimed_at, run->started_at,
                             run->queued.produced_at,  run->ended_at,   run->output_at,
                             task->cancel_at};
    int64_t known = task->create_at;
    for (size_t i = 0; i < LH_COUNT(times); i++)
        known = latest(known, times[i]);
    return known;
}

static int64_t earliest(int64_t a, int64_t b) {
    return !a || (b && b < a) ? b : a;
}

static void set_alarm(struct task *task) {
    bool waits = task->status == TASK_READY || task->status == TASK_WAITING;
    if (!waits)
        task->due_at = 0;
    task->alarm_at = waits ? earliest(task->due_at, task->expire_at) : 0;
}

/* A run that knows its number must know the right one. */
static enum rc check_attempt(struct turn *turn) {
    int64_t said = turn->op->attempt;
    if (!said || !turn_same_run(turn) || said == turn->task->attempt)
        return RC_OK;
    return turn_refuse(turn, RC_STALE_RUN, "run %s is attempt %lld, not %lld", turn->op->run_id,
                       (long long)turn->task->attempt, (long long)said);
}

static enum rc refuse_run(struct op *op, char *text, size_t text_cap) {
    snprintf(text, text_cap, "another token claimed the run: %s may speak for its own only",
             op->access->token);
    return RC_FORBIDDEN;
}

static bool owns(const struct op *op, const char *token) {
    return !op->access || !op->access->own_runs || strcmp(op->access->token, token) == 0;
}

bool lifecycle_owns(const struct op *op, const struct task *task) {
    return task_access_allows(op->access, task->service) && owns(op, task->run.token);
}

/* True where the op is the word of the task's run. What others say changes nothing. */
static bool speaks(const struct turn *turn) {
    static const bool of_runs[OP_KINDS] = {
        [OP_FINISH] = true, [OP_FAIL] = true, [OP_HEARTBEAT] = true, [OP_HAND_BACK] = true};
    const struct op *op = turn->op;
    if (op->run_id[0])
        return (of_runs[op->kind] || op->kind == OP_CLAIM) && turn_same_run(turn);
    return of_runs[op->kind] && turn->task->status == TASK_RUNNING;
}

/* True while the run may still end the task. */
static bool may_end(const struct task *task) {
    return task->status == TASK_RUNNING || task->lapse != LAPSE_NONE;
}

/* Another token's run. Of one that is over there is no right to be given. */
static enum rc refuse_foreign(struct turn *turn) {
    if (!may_end(turn->task))
        return turn_refuse(turn, RC_STALE_RUN, "run %s of the task has ended", turn->op->run_id);
    return refuse_run(turn->op, turn->text, turn->text_cap);
}

/* A task that is not for the token's eyes does not exist for it. */
static enum rc check_access(struct turn *turn) {
    if (!task_access_allows(turn->op->access, turn->task->service))
        return RC_UNKNOWN_TASK;
    if (speaks(turn) && !owns(turn->op, turn->task->run.token))
        return refuse_foreign(turn);
    return RC_OK;
}

static bool owns_attempt(const struct op *op, const struct task *task, int64_t attempt) {
    return attempt == task->attempt ? owns(op, task->run.token)
                                    : !op->access || !op->access->own_runs ||
                                          record_has_token(task->past, attempt, op->access->token);
}

enum rc lifecycle_log(const struct task *task, struct op *op, int64_t *ret_attempt) {
    int64_t attempt;
    if (!task_access_allows(op->access, task->service))
        return RC_UNKNOWN_TASK;
    enum rc rc = run_log_attempt(task, op->run_id, &attempt);
    if (rc != RC_OK)
        return rc;
    if (!owns_attempt(op, task, attempt))
        return refuse_run(op, op->text, sizeof op->text);
    *ret_attempt = attempt;
    return RC_OK;
}

enum rc lifecycle_apply(struct task *task, struct op *op, unsigned *ret_parts, char *text,
                        size_t text_cap) {
    struct turn turn = {
        .task = task,
        .op = op,
        .now = latest(op->now_ms, known_time(task)),
        .text = text,
        .text_cap = text_cap,
    };
    enum rc rc = check_access(&turn);
    if (rc == RC_OK)
        rc = task->sub == SUB_REMOVED ? RC_TASK_REMOVED : check_attempt(&turn);
    if (rc == RC_OK)
        rc = steps[op->kind][task->status](&turn);
    bool parked = rc == RC_SERVICE_PAUSED || rc == RC_LIMIT_REACHED;
    if (rc != RC_OK && !parked)
        return rc;
    if (turn.parts)
        task->rev++;
    if (turn.parts & PART_STATE)
        set_alarm(task);
    *ret_parts = turn.parts;
    return rc;
}

enum rc lifecycle_enter(struct task *task, const struct op *op, int64_t waiting) {
    int64_t max = service_max_waiting(op->rules, task->service);
    if (max && waiting >= max)
        return RC_QUEUE_FULL;
    if (task->outbox_pending && service_paused(op->rules, task->service))
        task->outbox_pick_at = OUTBOX_PARKED;
    return RC_OK;
}

bool lifecycle_takeable(const struct task *task) {
    return (task->status == TASK_WAITING && task->sub == SUB_QUEUED) ||
           (task->status == TASK_READY && task->sub == SUB_PRODUCING);
}

/* Without ageing a priority is worth more than any time. */
static int64_t rank_of(const struct task *task, const struct lifecycle_start *start) {
    static const int64_t for_ever_ms = 100000000000000;
    int64_t worth = start->age_ms ? start->age_ms : for_ever_ms;
    return start->now_ms + start->delay_ms - task->priority * worth;
}

void lifecycle_new(struct task *task, const struct lifecycle_start *start) {
    object_id_make(task->oid);
    task_id_make(task->service, task->task_id);
    task->create_at = start->now_ms;
    task->status = TASK_READY;
    task->sub = SUB_HELD;
    task->rev = 1;
    task->rank = rank_of(task, start);
    task->expire_at = task->expire_ms ? start->now_ms + task->expire_ms : 0;
    if (start->held) {
        set_alarm(task);
        return;
    }
    struct op op = {.broker = start->broker};
    struct turn turn = {.task = task, .op = &op, .now = start->now_ms};
    if (start->delay_ms > 0) {
        task->status = TASK_WAITING;
        task->sub = SUB_DELAYED;
        task->due_at = start->now_ms + start->delay_ms;
    } else {
        turn_queue(&turn);
    }
    set_alarm(task);
}
