/* lifecycle_run.c: the steps of runs: claims, heartbeats, ends, lost leases, cancels. */
#include "task/lifecycle_steps.h"

#include "base/mem.h"
#include "base/mutant.h"

#include <stdio.h>
#include <string.h>

enum {
    UNDELIVERED_MAX = 20,
    LATE_LEASES = 10, /* no op comes later than so many lengths of a lease */
};

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* ---- leases ---- */

/* True for the run whose lease ran out and that may still take the task back. */
static bool lapsed_run(const struct turn *turn) {
    return turn->task->lapse != LAPSE_NONE && turn_same_run(turn);
}

/* The fence: nobody but the run that holds the task speaks for it. */
static bool holds(const struct turn *turn) {
    return LH_MUTANT("run-fence") || strcmp(turn->op->run_id, turn->task->run_id) == 0;
}

void task_drop_lease(struct task *task) {
    task->lease_until = task->deadline = 0;
    task->beaten = false;
    task->lapse = LAPSE_NONE;
}

static int64_t lease_ms(const struct turn *turn) {
    int64_t asked = turn->task->run.lease_ms;
    return asked ? asked : turn->op->lease_ms;
}

/* Whether the lease on record was told by an op that began after this one, which another process
 * was slow with. One that reaches further was told by a clock that has been set back since. */
static bool told_longer(const struct turn *turn, int64_t until) {
    const struct task *task = turn->task;
    return task->lapse == LAPSE_NONE && task->lease_until > until &&
           task->lease_until - until <= LATE_LEASES * lease_ms(turn);
}

/* No lease reaches further than its length beyond the deadline, and none that was told gets
 * shorter. */
static void renew_lease(struct turn *turn) {
    struct task *task = turn->task;
    int64_t until = turn->now + lease_ms(turn);
    if (task->deadline)
        until = least(until, task->deadline + lease_ms(turn));
    if (told_longer(turn, until))
        until = task->lease_until;
    turn->parts |= task->lapse == LAPSE_NONE ? PART_LEASE : PART_LEASE | PART_STATE;
    task->lease_until = until;
    task->lapse = LAPSE_NONE;
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
    task->run.end = END_NONE;
    task->run.ended_at = 0;
    task->run.silent = false;
    turn_clear_outbox(turn);
    turn->parts |= PART_STATE;
}

static enum rc refuse_stale(struct turn *turn) {
    if (!turn->op->run_id[0])
        return turn_refuse(turn, RC_STALE_RUN, "another run holds the task (attempt %lld)",
                           (long long)turn->task->attempt);
    return turn_refuse(turn, RC_STALE_RUN, "run %s does not hold the task", turn->op->run_id);
}

static enum rc refuse_ended(struct turn *turn) {
    return turn_refuse(turn, RC_STALE_RUN, "run %s of the task has ended", turn->op->run_id);
}

static enum rc refuse_final(struct turn *turn) {
    return turn_refuse(turn, RC_ALREADY_FINAL, "the task is already %s",
                       task_status_name(turn->task->status));
}

/* ---- claims ---- */

static enum rc refuse_due(struct turn *turn) {
    const struct task *task = turn->task;
    if (task->sub == SUB_HELD)
        return turn_refuse(turn, RC_NOT_DUE, "the task is held until start_task");
    return turn_refuse(turn, RC_NOT_DUE, "the task is not due yet (%s)", task_sub_name(task->sub));
}

/* Nobody renews the lease of a claim without a run_id: it is as long as the attempt may be. */
static void begin_lease(struct turn *turn) {
    struct task *task = turn->task;
    int64_t timeout = task->timeout_ms ? task->timeout_ms : op_timeout_ms(turn->op, task->service);
    task_drop_lease(task);
    task->deadline = timeout ? turn->now + timeout : 0;
    if (task->run_id[0])
        renew_lease(turn);
    else if (timeout || turn->op->guard_ms)
        task->lease_until = turn->now + (timeout ? timeout : turn->op->guard_ms);
}

static void begin_record(struct turn *turn) {
    struct task *task = turn->task;
    free(task->run.queued.place);
    task->run = (struct task_run){
        .queued = task->queued,
        .claimed_at = turn->now,
        .lease_ms = turn->op->asked_lease_ms,
    };
    task->queued = (struct task_queued){0};
    memcpy(task->run.worker, turn->op->worker_id, sizeof task->run.worker);
    mem_copy_str(task->run.token, sizeof task->run.token,
                 turn->op->access ? turn->op->access->token : "");
}

static enum rc begin_run(struct turn *turn, const char run_id[UUID_CAP]) {
    struct task *task = turn->task;
    enum rc rc = turn_put_aside(turn);
    if (rc != RC_OK)
        return rc;
    begin_record(turn);
    task->status = TASK_RUNNING;
    task->sub = SUB_CLAIMED;
    task->start_at = turn->now;
    task->end_at = 0;
    task->attempt++;
    memcpy(task->run_id, run_id, UUID_CAP);
    memcpy(task->claim_id, turn->op->claim_id, UUID_CAP);
    begin_lease(turn);
    clear_text(&task->progress);
    turn->parts |= PART_STATE;
    return RC_OK;
}

static void take_progress(struct turn *turn) {
    if (!turn->op->progress)
        return;
    move_text(&turn->task->progress, &turn->op->progress);
    turn->parts |= PART_STATE;
}

/* The message of a module without run_id is used up by the claim that is refused: the task is told
 * again when its service may run it. */
static enum rc admit(struct turn *turn) {
    const struct task *task = turn->task;
    const struct op *op = turn->op;
    enum rc rc = service_admit(op->rules, task->service, op->running);
    if (rc == RC_OK)
        return RC_OK;
    if (op->kind == OP_CLAIM && !op->run_id[0] && op->broker)
        turn_park(turn);
    if (rc == RC_SERVICE_PAUSED)
        return turn_refuse(turn, rc, "service %s is paused", task->service);
    return turn_refuse(turn, rc, "as many tasks of service %s run as may (%lld)", task->service,
                       (long long)service_max_running(op->rules, task->service));
}

enum rc step_claim(struct turn *turn) {
    if (!lifecycle_takeable(turn->task))
        return refuse_due(turn);
    if (lapsed_run(turn)) {
        take_back(turn);
        renew_lease(turn);
        return RC_OK;
    }
    if (turn_same_run(turn) || turn_is_past_run(turn))
        return refuse_ended(turn);
    if (task_expired(turn->task, turn->now))
        return turn_refuse(turn, RC_NOT_DUE, "the task has expired");
    enum rc rc = admit(turn);
    if (rc == RC_OK)
        rc = begin_run(turn, turn->op->run_id);
    if (rc != RC_OK)
        return rc;
    move_text(&turn->task->message[MESSAGE_RUNNING], &turn->op->message);
    take_progress(turn);
    return RC_OK;
}

/* The same run asks again: its first answer was lost. Or it says how far it is. */
enum rc step_claim_again(struct turn *turn) {
    if (!turn_same_run(turn))
        return turn_refuse(turn, RC_ALREADY_CLAIMED, "the task is already claimed (attempt %lld)",
                           (long long)turn->task->attempt);
    take_progress(turn);
    return RC_OK;
}

enum rc step_claim_ended(struct turn *turn) {
    return turn_same_run(turn) ? refuse_ended(turn) : refuse_final(turn);
}

enum rc step_take(struct turn *turn) {
    if (!lifecycle_takeable(turn->task))
        return refuse_due(turn);
    if (task_expired(turn->task, turn->now))
        return turn_refuse(turn, RC_NOT_DUE, "the task has expired");
    enum rc rc = admit(turn);
    if (rc != RC_OK)
        return rc;
    char run_id[UUID_CAP];
    uuid_make(run_id);
    return begin_run(turn, run_id);
}

/* ---- ends ---- */

/* The record of the run; the task itself goes on from here. */
static void end_record(struct turn *turn, enum task_end end) {
    turn->task->run.end = end;
    turn->task->run.ended_at = turn->now;
    turn->task->run.silent = turn->op->silent && !turn->task->run.output_at;
    turn->parts |= PART_STATE;
}

/* From its first word on, the first attempt has begun: it cannot expire any more. */
static void attempt_begun(struct task *task) {
    task->expire_at = 0;
}

/* status_message.failed is the report's message, or else the error's own words. */
static enum rc take_error(struct turn *turn) {
    struct task *task = turn->task;
    struct op *op = turn->op;
    if (!op->message && op->error_text && !(op->message = strdup(op->error_text)))
        return RC_NO_MEMORY;
    task->error_class = op->error_class;
    move_text(&task->error_text, &op->error_text);
    move_text(&task->message[MESSAGE_FAILED], &op->message);
    turn->parts |= PART_STATE;
    return RC_OK;
}

enum rc turn_fail(struct turn *turn, enum task_sub sub) {
    struct task *task = turn->task;
    enum rc rc = take_error(turn);
    if (rc != RC_OK)
        return rc;
    task->status = TASK_FAILED;
    task->sub = sub;
    task->end_at = turn->now;
    task->expire_at = 0;
    task_drop_lease(task);
    return RC_OK;
}

enum rc turn_fail_with(struct turn *turn, enum task_sub sub, enum task_error_class error_class,
                       const char *text) {
    struct op *op = turn->op;
    clear_text(&op->message);
    clear_text(&op->error_text);
    if (!(op->error_text = strdup(text)))
        return RC_NO_MEMORY;
    op->error_class = error_class;
    return turn_fail(turn, sub);
}

/* What a failed attempt makes of a task that has no further one. */
static enum task_sub last_sub(const struct turn *turn, enum task_end end) {
    if (turn->task->tried > 1 && turn->op->error_class != ERROR_FATAL)
        return SUB_DEAD;
    return end == END_TIMEOUT ? SUB_TIMEOUT : end == END_LIMIT ? SUB_LIMIT : SUB_ERROR;
}

/* The same task and attempt always give the same number, 0 … 999. */
static int64_t dice(const struct task *task) {
    uint32_t hash = 2166136261u ^ (uint32_t)task->attempt;
    for (size_t i = 0; i < sizeof task->oid; i++)
        hash = (hash ^ task->oid[i]) * 16777619u;
    return (hash >> 8) % 1000;
}

/* The wait before the next attempt, `tried` of which have failed. */
static int64_t backoff_ms(const struct task *task) {
    const struct task_retry *retry = &task->retry;
    int64_t wait = least(retry->base_ms, retry->max_ms);
    for (int64_t i = 1; retry->kind == RETRY_EXPONENTIAL && i < task->tried && wait > 0; i++) {
        wait = least(wait * 2, retry->max_ms);
        if (wait == retry->max_ms)
            break;
    }
    int64_t spread = wait * retry->jitter_permille / 1000;
    return wait - spread + spread * 2 * dice(task) / 1000;
}

static enum rc retry_later(struct turn *turn) {
    struct task *task = turn->task;
    enum rc rc = take_error(turn);
    if (rc != RC_OK)
        return rc;
    task_drop_lease(task);
    task->status = TASK_WAITING;
    task->sub = SUB_RETRY;
    task->due_at = turn->now + backoff_ms(task);
    return RC_OK;
}

/* A cancelled run is over, however it says so: never tried again. */
static enum rc end_cancelled(struct turn *turn, enum task_end end) {
    struct task *task = turn->task;
    bool unconfirmed = end == END_KILL_UNCONFIRMED;
    char text[512];
    snprintf(text, sizeof text, "%s%s%.400s",
             unconfirmed ? "cancelled, but nobody has seen its processes end" : "cancelled",
             task->cancel_reason ? ": " : "", task->cancel_reason ? task->cancel_reason : "");
    end_record(turn, unconfirmed ? END_KILL_UNCONFIRMED : END_CANCELLED);
    return turn_fail_with(turn, unconfirmed ? SUB_KILL_UNCONFIRMED : SUB_CANCELLED, ERROR_FATAL,
                          text);
}

/* A run's attempt has failed. */
static enum rc end_attempt(struct turn *turn, enum task_end end) {
    struct task *task = turn->task;
    attempt_begun(task);
    if (task->sub == SUB_CANCELLING || end == END_CANCELLED || end == END_KILL_UNCONFIRMED)
        return end_cancelled(turn, end);
    end_record(turn, end);
    task->tried++;
    if (turn->op->error_class != ERROR_FATAL && task->tried < task->max_attempts)
        return retry_later(turn);
    return turn_fail(turn, last_sub(turn, end));
}

static enum rc end_finished(struct turn *turn) {
    struct task *task = turn->task;
    end_record(turn, END_FINISHED);
    task->status = TASK_FINISHED;
    task->sub = SUB_NONE;
    task->end_at = turn->now;
    task->error_class = ERROR_NONE;
    clear_text(&task->error_text);
    attempt_begun(task);
    task_drop_lease(task);
    move_text(&task->message[MESSAGE_FINISHED], &turn->op->message);
    if (turn->op->value) {
        move_text(&task->result, &turn->op->value);
        task->result_len = turn->op->value_len;
        turn->parts |= PART_RESULT;
    }
    return RC_OK;
}

static enum rc end_run(struct turn *turn) {
    take_progress(turn);
    if (turn->op->kind == OP_FINISH)
        return end_finished(turn);
    return end_attempt(turn, turn->op->end == END_NONE ? END_ERROR : turn->op->end);
}

/* The end, where it is one that a final report tells. */
static enum task_end said(enum task_end end) {
    bool other = end == END_LEASE_LOST || end == END_HANDED_BACK || end == END_CRASH;
    return other ? END_NONE : end;
}

/* What the run's last word was; END_NONE where it never said one. Of a task that has ended, its
 * status is the last word of a run that was lost, or is from before there were records. */
static enum task_end last_word(const struct task *task) {
    if (said(task->run.end) != END_NONE)
        return task->run.end;
    return task->status == TASK_FINISHED ? END_FINISHED
           : task->status == TASK_FAILED ? END_ERROR
                                         : END_NONE;
}

static enum rc same_result(const struct turn *turn, bool *ret_same) {
    const struct task *task = turn->task;
    const struct op *op = turn->op;
    if (task->status != TASK_FINISHED) { /* cleared since by start_task */
        *ret_same = true;
        return RC_OK;
    }
    if (!op->value || !task->result) {
        *ret_same = !op->value && !task->result;
        return RC_OK;
    }
    return json_compare((struct json_span){op->value, op->value_len},
                        (struct json_span){task->result, task->result_len}, ret_same);
}

/* A run that has ended says its last word again: fine where it is what is on record. */
static enum rc end_said_again(struct turn *turn) {
    bool same = (turn->op->kind == OP_FINISH) == (last_word(turn->task) == END_FINISHED);
    enum rc rc = RC_OK;
    if (same && turn->op->kind == OP_FINISH)
        rc = same_result(turn, &same);
    if (rc != RC_OK || same)
        return rc;
    return turn_refuse(turn, RC_ALREADY_FINAL, "run %s has already ended: %s", turn->op->run_id,
                       task_end_name(last_word(turn->task)));
}

/* The report of a run that is not the task's last one: fine where it is what is on record. */
static enum rc end_of_another(struct turn *turn) {
    enum task_end end = said(turn_past_end(turn));
    bool same = (turn->op->kind == OP_FINISH) == (end == END_FINISHED);
    return end != END_NONE && same ? RC_OK : refuse_stale(turn);
}

/* A module of the base contract that never said `running`: claimed and ended in one step. */
static enum rc claim_and_end(struct turn *turn) {
    static const char no_run[UUID_CAP] = "";
    const struct task *task = turn->task;
    bool retry = task->status == TASK_WAITING && task->sub == SUB_RETRY;
    if (!lifecycle_takeable(task) && !retry)
        return refuse_due(turn);
    enum rc rc = begin_run(turn, no_run);
    return rc == RC_OK ? end_run(turn) : rc;
}

enum rc step_end_unclaimed(struct turn *turn) {
    if (lapsed_run(turn)) {
        take_back(turn);
        return end_run(turn);
    }
    if (turn_same_run(turn) && last_word(turn->task) != END_NONE)
        return end_said_again(turn);
    if (turn->op->run_id[0])
        return end_of_another(turn);
    return claim_and_end(turn);
}

enum rc step_end_running(struct turn *turn) {
    return holds(turn) ? end_run(turn) : end_of_another(turn);
}

/* A module of the base contract says one word; documents of other programs tell of no run. */
enum rc step_end_again(struct turn *turn) {
    const struct task *task = turn->task;
    if (turn_same_run(turn) && last_word(task) != END_NONE)
        return end_said_again(turn);
    if (turn->op->run_id[0])
        return end_of_another(turn);
    bool same = (turn->op->kind == OP_FINISH) == (task->status == TASK_FINISHED);
    return same ? RC_OK : refuse_final(turn);
}

/* ---- heartbeats ---- */

/* Its first one says that the module has begun. */
static void first_beat(struct turn *turn) {
    struct task *task = turn->task;
    if (task->beaten && task->sub != SUB_CLAIMED)
        return;
    task->beaten = true;
    if (task->sub == SUB_CLAIMED)
        task->sub = SUB_STARTED;
    if (!task->run.started_at)
        task->run.started_at = turn->now;
    if (!task->run.worker[0])
        memcpy(task->run.worker, turn->op->worker_id, sizeof task->run.worker);
    attempt_begun(task);
    turn->parts |= PART_STATE;
}

enum rc step_heartbeat(struct turn *turn) {
    if (!turn->op->run_id[0] || !holds(turn))
        return refuse_stale(turn);
    first_beat(turn);
    renew_lease(turn);
    take_progress(turn);
    return RC_OK;
}

/* Of a task that is due: only the run that lost it a moment ago has a say. */
enum rc step_heartbeat_due(struct turn *turn) {
    if (!lapsed_run(turn))
        return refuse_stale(turn);
    take_back(turn);
    return step_heartbeat(turn);
}

/* Whatever a run says but its final word comes too late. */
enum rc step_too_late(struct turn *turn) {
    return turn_refuse(turn, RC_STALE_RUN, "the task is already %s",
                       task_status_name(turn->task->status));
}

/* ---- output ---- */

/* What comes after the end was printed before it. */
enum rc step_output(struct turn *turn) {
    struct task_run *run = &turn->task->run;
    if (!run->claimed_at || !holds(turn))
        return refuse_stale(turn);
    if (run->output_at)
        return RC_OK;
    run->output_at = run->ended_at ? run->ended_at : turn->now;
    run->silent = false;
    turn->parts |= PART_STATE;
    return RC_OK;
}

/* ---- runs that end without a word, or give back ---- */

/* The task is due again, or has failed too often. */
static enum rc lose_run(struct turn *turn, enum task_lapse lapse, enum task_end end) {
    struct task *task = turn->task;
    int64_t *count = lapse == LAPSE_CRASH ? &task->crashes : &task->undelivered;
    int64_t max = lapse == LAPSE_CRASH ? turn->op->max_crashes : UNDELIVERED_MAX;
    end_record(turn, end);
    task->lease_until = 0;
    if (++*count < max) {
        turn_queue(turn);
        return RC_OK;
    }
    char text[80];
    snprintf(text, sizeof text, "%lld runs of the task were lost %s", (long long)*count,
             lapse == LAPSE_CRASH ? "while they ran" : "before they began");
    return turn_fail_with(turn, SUB_CRASH, turn->op->error_class, text);
}

enum rc step_hand_back(struct turn *turn) {
    struct task *task = turn->task;
    if (!turn->op->run_id[0] || !holds(turn))
        return refuse_stale(turn);
    take_progress(turn);
    if (task->sub == SUB_CANCELLING)
        return end_cancelled(turn, END_CANCELLED);
    enum rc rc = RC_OK;
    if (turn->op->crash) {
        rc = lose_run(turn, LAPSE_CRASH, END_CRASH);
    } else {
        end_record(turn, END_HANDED_BACK);
        turn_queue(turn);
    }
    task_drop_lease(task);
    return rc;
}

/* Said again, its answer was lost; or said by a run that has lost its lease: now it is over. */
enum rc step_hand_back_due(struct turn *turn) {
    if (!turn_same_run(turn))
        return refuse_stale(turn);
    if (lapsed_run(turn)) {
        take_back(turn);
        return step_hand_back(turn);
    }
    enum task_end said = turn->op->crash ? END_CRASH : END_HANDED_BACK;
    return turn->task->run.end == said ? RC_OK : refuse_ended(turn);
}

/* The crash that was one too many is said again. */
enum rc step_crashed_again(struct turn *turn) {
    bool same = turn_same_run(turn) && turn->op->crash && turn->task->run.end == END_CRASH;
    return same ? RC_OK : step_too_late(turn);
}

/* The op names the run that it was decided on; one without a run_id is guarded by its time alone.
 */
static bool lease_is_over(const struct turn *turn) {
    const struct task *task = turn->task;
    return strcmp(turn->op->run_id, task->run_id) == 0 && task->lease_until &&
           task->lease_until <= turn->now;
}

static enum rc time_out(struct turn *turn) {
    const struct task *task = turn->task;
    char text[96];
    clear_text(&turn->op->message);
    clear_text(&turn->op->error_text);
    snprintf(text, sizeof text, "timed out after %.10g s, and no word of its run",
             (double)(turn->now - task->start_at) / 1000);
    if (!(turn->op->error_text = strdup(text)))
        return RC_NO_MEMORY;
    turn->op->error_class = ERROR_RETRYABLE;
    return end_attempt(turn, END_TIMEOUT);
}

/* Nobody is left who could prove the kill. */
static void await_kill(struct turn *turn) {
    turn->task->lapse = LAPSE_KILL;
    turn->task->lease_until = turn->now + turn->op->kill_max_ms;
    turn->parts |= PART_STATE;
}

static bool past_deadline(const struct turn *turn) {
    const struct task *task = turn->task;
    return !task->run_id[0] ||
           (task->deadline && task->lease_until >= task->deadline + lease_ms(turn));
}

enum rc step_lapse(struct turn *turn) {
    struct task *task = turn->task;
    if (!lease_is_over(turn))
        return turn_refuse(turn, RC_NOT_DUE, "the lease of the task has not run out");
    if (task->lapse == LAPSE_KILL)
        return end_cancelled(turn, END_KILL_UNCONFIRMED);
    if (task->sub == SUB_CANCELLING) {
        await_kill(turn);
        return RC_OK;
    }
    if (past_deadline(turn))
        return time_out(turn);
    enum task_lapse kind = task->beaten ? LAPSE_CRASH : LAPSE_UNDELIVERED;
    enum rc rc = lose_run(turn, kind, END_LEASE_LOST);
    if (rc == RC_OK && task->status != TASK_FAILED)
        task->lapse = kind;
    return rc;
}

enum rc step_refuse_lapse(struct turn *turn) {
    return turn_refuse(turn, RC_NOT_DUE, "no run holds the task");
}

/* ---- cancels ---- */

static void mark_cancelled(struct turn *turn) {
    struct task *task = turn->task;
    task->cancel_at = turn->now;
    task->grace_ms = turn->op->grace_ms;
    move_text(&task->cancel_reason, &turn->op->message);
    turn->parts |= PART_STATE;
}

/* The run hears of it by its next heartbeat; one without a lease never will. */
enum rc step_cancel(struct turn *turn) {
    struct task *task = turn->task;
    if (task->sub == SUB_CANCELLING)
        return RC_OK;
    mark_cancelled(turn);
    task->sub = SUB_CANCELLING;
    if (!task->run_id[0])
        await_kill(turn);
    return RC_OK;
}

/* A run that lost its lease may still be at work: as if it ran. */
enum rc step_cancel_due(struct turn *turn) {
    struct task *task = turn->task;
    if (task->lapse != LAPSE_NONE) {
        take_back(turn);
        enum rc rc = step_cancel(turn);
        await_kill(turn);
        return rc;
    }
    mark_cancelled(turn);
    turn_clear_outbox(turn);
    char text[480];
    snprintf(text, sizeof text, "cancelled%s%.400s", task->cancel_reason ? ": " : "",
             task->cancel_reason ? task->cancel_reason : "");
    return turn_fail_with(turn, SUB_CANCELLED, ERROR_FATAL, text);
}

enum rc step_refuse_cancel(struct turn *turn) {
    return refuse_final(turn);
}
