/* lifecycle.h: the rules of a task's life, in one table that both stores obey (docs/lifecycle.md).
 *
 * The table says, for an operation and the status in which it finds the task, which step is taken
 * or with which rc it is refused. A step changes the task in memory only; the store then writes the
 * parts that it names. Pure functions, any thread.
 */
#ifndef LH_TASK_LIFECYCLE_H
#define LH_TASK_LIFECYCLE_H

#include "task/op.h"

/* What a step changed. 0 with RC_OK: the same report again, nothing to write. */
enum task_part {
    PART_STATE = 1,  /* whatever changes in a task's life and is not named below */
    PART_OUTBOX = 2, /* outbox_* */
    PART_CONDITION = 4,
    PART_RESULT = 8,
    PART_LEASE = 16,   /* lease_until; alone it is a heartbeat that changed nothing else */
    PART_RUN = 32,     /* `aside` holds records of runs to be added */
    PART_REMOVED = 64, /* the task is to be removed, and a tombstone kept */
};

/* How a new task begins. */
struct lifecycle_start {
    bool held;   /* until start_task */
    bool broker; /* messages go through a broker */
    int64_t delay_ms;
    int64_t age_ms; /* waiting so long counts as one priority more; 0: never */
    int64_t now_ms;
};

/* Prepares a new task for its insert: oid, task_id, create time, status, outbox, rank and alarm.
 * What the creator asked for (see struct task), service, source_name and condition are the caller's
 * and stay. */
void lifecycle_new(struct task *task, const struct lifecycle_start *start);

/* The new task of an OP_CREATE at the store's door, while `waiting` tasks of its service are ready
 * or waiting (counted where service_max_waiting() says that there is a limit): RC_QUEUE_FULL, or
 * RC_OK and the message of a paused service is put away. */
enum rc lifecycle_enter(struct task *task, const struct op *op, int64_t waiting) LH_MUST_USE;

/* Decides `op` (any kind but CREATE, WORKER and SERVICE) on `task` as it stands and changes it in
 * memory. OP_TAKE claims this one task with a run_id of its own making.
 * Returns RC_OK and what changed in *ret_parts (a set of enum task_part), or a refusal: then the
 * task is as before and `text` (of size text_cap) says what stands. RC_SERVICE_PAUSED and
 * RC_LIMIT_REACHED alone also set *ret_parts: what the refusal leaves behind has to be written.
 * RC_NO_MEMORY may leave the task changed in memory: the store must not write it. Strings that the
 * op owns may move into the task. */
enum rc lifecycle_apply(struct task *task, struct op *op, unsigned *ret_parts, char *text,
                        size_t text_cap) LH_MUST_USE;

/* Which attempt of the task an OP_LOG is of. RC_UNKNOWN_TASK: the task is not for the op's token;
 * RC_STALE_RUN as run_log_attempt() says it; RC_FORBIDDEN, with the op's text: another token
 * claimed the run. */
enum rc lifecycle_log(const struct task *task, struct op *op, int64_t *ret_attempt) LH_MUST_USE;

/* True where the run that holds the task is one that the op's token may speak for. */
bool lifecycle_owns(const struct op *op, const struct task *task);

/* True where the task may be claimed: waiting/queued, or ready/producing. */
bool lifecycle_takeable(const struct task *task);

#endif
