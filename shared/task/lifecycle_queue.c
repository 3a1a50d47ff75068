/* lifecycle_queue.c: the steps that make a task due, and those of a task that no run holds. */
#include "task/lifecycle_steps.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* A message has to go out: the process that writes this also sends it, unless the service is
 * paused. */
static void ring(struct turn *turn) {
    struct task *task = turn->task;
    task->outbox_pending = true;
    task->outbox_seq++;
    task->outbox_pick_at =
        service_paused(turn->op->rules, task->service) ? OUTBOX_PARKED : turn->now;
    turn->parts |= PART_OUTBOX;
}

void turn_park(struct turn *turn) {
    ring(turn);
    turn->task->outbox_pick_at = OUTBOX_PARKED;
}

void turn_queue(struct turn *turn) {
    struct task *task = turn->task;
    bool broker = turn->op->broker;
    task->status = broker ? TASK_READY : TASK_WAITING;
    task->sub = broker ? SUB_PRODUCING : SUB_QUEUED;
    turn_clear_outbox(turn);
    if (broker)
        ring(turn);
    task->due_at = 0;
    clear_text(&task->queued.place);
    task->queued = (struct task_queued){.at = turn->now};
    turn->parts |= PART_STATE;
}

void turn_clear_outbox(struct turn *turn) {
    turn->task->outbox_pending = false;
    turn->task->outbox_pick_at = 0;
    turn->parts |= PART_OUTBOX;
}

bool task_expired(const struct task *task, int64_t now) {
    return task->expire_at && task->expire_at <= now;
}

/* A task that is queued before its time is as old as one that came now. */
static void rank_from_now(struct turn *turn) {
    struct task *task = turn->task;
    if (task->sub == SUB_DELAYED && task->due_at > turn->now)
        task->rank -= task->due_at - turn->now;
}

enum rc step_start(struct turn *turn) {
    if (turn->task->status == TASK_WAITING && turn->task->sub == SUB_QUEUED)
        return step_refuse_start(turn);
    rank_from_now(turn);
    task_drop_lease(turn->task);
    turn_queue(turn);
    return RC_OK;
}

/* Nothing is left of the life before but its runs. */
static void forget_life(struct turn *turn) {
    struct task *task = turn->task;
    clear_text(&task->result);
    task->result_len = 0;
    clear_text(&task->error_text);
    task->error_class = ERROR_NONE;
    for (size_t i = 0; i < TASK_MESSAGES; i++)
        clear_text(&task->message[i]);
    clear_text(&task->progress);
    clear_text(&task->cancel_reason);
    task->cancel_at = task->grace_ms = 0;
    task->start_at = task->end_at = 0;
    task->tried = task->crashes = task->undelivered = 0;
    task->expire_at = task->expire_ms ? turn->now + task->expire_ms : 0;
    task_drop_lease(task);
}

enum rc step_start_over(struct turn *turn) {
    const struct task *task = turn->task;
    if (task->sub == SUB_KILL_UNCONFIRMED && !turn->op->force)
        return turn_refuse(turn, RC_KILL_UNCONFIRMED,
                           "processes of run %s may still live: force is needed", task->run_id);
    forget_life(turn);
    turn_queue(turn);
    turn->parts |= PART_RESULT;
    return RC_OK;
}

enum rc step_refuse_start(struct turn *turn) {
    return turn_refuse(turn, RC_ALREADY_QUEUED, "the task is already %s",
                       task_status_name(turn->task->status));
}

enum rc step_edit(struct turn *turn) {
    struct task *task = turn->task;
    move_text(&task->condition, &turn->op->value);
    task->condition_len = turn->op->value_len;
    turn->parts |= PART_CONDITION;
    return RC_OK;
}

/* The queued message tells the old condition: a new one goes out. */
enum rc step_edit_due(struct turn *turn) {
    struct task *task = turn->task;
    if (turn->op->broker && lifecycle_takeable(task))
        ring(turn);
    if (task->lapse != LAPSE_NONE) {
        task_drop_lease(task);
        turn->parts |= PART_STATE;
    }
    return step_edit(turn);
}

enum rc step_refuse_edit(struct turn *turn) {
    return turn_refuse(turn, RC_TASK_RUNNING, "the task is running (attempt %lld)",
                       (long long)turn->task->attempt);
}

/* Still queued after so long: its message may be lost, so it is told again. */
static void tell_again(struct turn *turn) {
    struct task *task = turn->task;
    task->due_at = 0;
    ring(turn);
    turn->parts |= PART_STATE;
}

/* The ring for it has been used up for another one. */
static enum rc ring_again(struct turn *turn) {
    if (turn->task->sub != SUB_QUEUED || !turn->op->broker)
        return step_refuse_alarm(turn);
    tell_again(turn);
    return RC_OK;
}

static enum rc expire(struct turn *turn) {
    char text[64];
    snprintf(text, sizeof text, "not begun within %lld s", (long long)turn->task->expire_ms / 1000);
    task_drop_lease(turn->task);
    return turn_fail_with(turn, SUB_EXPIRED, ERROR_FATAL, text);
}

enum rc step_alarm(struct turn *turn) {
    struct task *task = turn->task;
    if (turn->op->again)
        return ring_again(turn);
    if (!task->alarm_at || task->alarm_at > turn->now)
        return step_refuse_alarm(turn);
    if (task_expired(task, turn->now))
        return expire(turn);
    if (task->sub == SUB_QUEUED && turn->op->broker)
        tell_again(turn);
    else
        turn_queue(turn);
    return RC_OK;
}

enum rc step_refuse_alarm(struct turn *turn) {
    return turn_refuse(turn, RC_NOT_DUE, "nothing is due");
}

static bool outbox_is(const struct turn *turn) {
    return turn->task->outbox_pending && turn->task->outbox_seq == turn->op->outbox_seq;
}

/* True while another process may be sending the message. */
static bool pick_holds(const struct turn *turn) {
    int64_t at = turn->task->outbox_pick_at;
    return at && at != OUTBOX_PARKED && at + turn->op->pick_void_ms > turn->now;
}

/* While the service is paused the message is put away, so that the sweeper need not pass over it
 * again and again. */
enum rc step_pick(struct turn *turn) {
    struct task *task = turn->task;
    if (!outbox_is(turn) || pick_holds(turn))
        return turn_refuse(turn, RC_NOT_DUE, "another process sends the message, or it is out");
    bool paused = service_paused(turn->op->rules, task->service);
    int64_t at = paused ? OUTBOX_PARKED : turn->now;
    if (at != task->outbox_pick_at)
        turn->parts |= PART_OUTBOX;
    task->outbox_pick_at = at;
    return RC_OK;
}

/* Nobody waits for the message any more. */
enum rc step_pick_late(struct turn *turn) {
    if (!outbox_is(turn))
        return turn_refuse(turn, RC_NOT_DUE, "the message is out");
    turn_clear_outbox(turn);
    return RC_OK;
}

/* A claim may have overtaken the report: then it speaks of the run's own message. */
enum rc step_delivered(struct turn *turn) {
    struct task *task = turn->task;
    if (!outbox_is(turn))
        return RC_OK;
    bool final = task->status == TASK_FINISHED || task->status == TASK_FAILED;
    bool begun = final || task->status == TASK_RUNNING;
    struct task_queued *queued = begun ? &task->run.queued : &task->queued;
    turn_clear_outbox(turn);
    queued->produced_at = turn->now;
    move_text(&queued->place, &turn->op->place);
    if (task->status == TASK_READY) {
        task->status = TASK_WAITING;
        task->sub = SUB_QUEUED;
    }
    if (task->status == TASK_WAITING && task->sub == SUB_QUEUED)
        task->due_at = turn->op->requeue_ms ? turn->now + turn->op->requeue_ms : 0;
    turn->parts |= PART_STATE;
    return RC_OK;
}

enum rc step_undeliverable(struct turn *turn) {
    if (!outbox_is(turn))
        return RC_OK;
    turn_clear_outbox(turn);
    if (turn->task->status != TASK_READY && turn->task->status != TASK_WAITING)
        return RC_OK;
    turn->op->error_class = ERROR_FATAL;
    task_drop_lease(turn->task);
    return turn_fail(turn, SUB_ERROR);
}
