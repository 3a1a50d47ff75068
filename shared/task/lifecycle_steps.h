/* lifecycle_steps.h: the steps of the table in lifecycle.c and what they share; for lifecycle*.c
 * only. */
#ifndef LH_TASK_LIFECYCLE_STEPS_H
#define LH_TASK_LIFECYCLE_STEPS_H

#include "task/lifecycle.h"

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

/* ---- lifecycle.c ---- */

/* Says what stands, for people; returns rc. */
enum rc turn_refuse(struct turn *turn, enum rc rc, const char *format, ...) LH_PRINTF(3, 4);

/* True where the op speaks for the task's current or last run. */
bool turn_same_run(const struct turn *turn);

/* Takes the text over where there is one. */
void move_text(char **to, char **from);
void clear_text(char **text);

/* ---- lifecycle_queue.c: what makes a task due, and what happens to one that no run holds ---- */

/* Makes the task due: through the outbox where there is a broker, else at once. */
void turn_queue(struct turn *turn);

/* A message has to go out when the service is resumed or has room. */
void turn_park(struct turn *turn);

/* No message of the task has to go out any more. */
void turn_clear_outbox(struct turn *turn);

/* True where the first attempt should have begun by now. */
bool task_expired(const struct task *task, int64_t now);

step step_start, step_start_over, step_refuse_start;
step step_edit, step_edit_due, step_refuse_edit;
step step_alarm, step_refuse_alarm;
step step_remove, step_refuse_remove;
step step_pick, step_pick_late, step_delivered, step_undeliverable;

/* ---- lifecycle_run.c: what runs do, and what is done to them ---- */

/* The end of a run's right to the task. */
void task_drop_lease(struct task *task);

/* Ends a task that no run holds: failed, with the op's error. RC_NO_MEMORY. */
enum rc turn_fail(struct turn *turn, enum task_sub sub) LH_MUST_USE;

/* The same in words of ours in place of the op's, as a fatal error where it is one. */
enum rc turn_fail_with(struct turn *turn, enum task_sub sub, enum task_error_class error_class,
                       const char *text) LH_MUST_USE;

step step_claim, step_claim_again, step_claim_ended, step_take;
step step_end_unclaimed, step_end_running, step_end_again;
step step_heartbeat, step_heartbeat_due, step_too_late;
step step_output;
step step_hand_back, step_hand_back_due, step_crashed_again;
step step_lapse, step_refuse_lapse;
step step_cancel, step_cancel_due, step_refuse_cancel;

/* ---- lifecycle_record.c ---- */

/* Puts the record of the task's last run aside in task->aside, before the next one begins. */
enum rc turn_put_aside(struct turn *turn) LH_MUST_USE;

/* True where the op speaks for one of the runs before the last. */
bool turn_is_past_run(const struct turn *turn);

/* How that run ended; END_NONE where it is none of those. */
enum task_end turn_past_end(const struct turn *turn);

#endif
