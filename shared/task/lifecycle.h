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
    PART_STATE = 1,  /* status, sub, times, messages, error, run_id, attempt */
    PART_OUTBOX = 2, /* outbox_* */
    PART_CONDITION = 4,
    PART_RESULT = 8,
};

/* Prepares a new task for its insert: oid, task_id, create time, status and outbox. `start` false
 * leaves it ready/held. service, source_name and condition are the caller's and stay. */
void lifecycle_new(struct task *task, bool start, bool broker, int64_t now_ms);

/* Decides `op` (any kind but CREATE and WORKER) on `task` as it stands and changes it in memory.
 * OP_TAKE claims this one task with a run_id of its own making.
 * Returns RC_OK and what changed in *ret_parts (a set of enum task_part), or a refusal: then the
 * task is as before and `text` (of size text_cap) says what stands. RC_NO_MEMORY may leave it
 * changed in memory: the store must not write it. Strings that the op owns may move into the task.
 */
enum rc lifecycle_apply(struct task *task, struct op *op, unsigned *ret_parts, char *text,
                        size_t text_cap) LH_MUST_USE;

/* True where OP_TAKE may claim the task: waiting/queued, or ready/producing. */
bool lifecycle_takeable(const struct task *task);

#endif
