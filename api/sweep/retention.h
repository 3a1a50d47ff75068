/* retention.h: removes final tasks, and tombstones, that are old enough (retention.* of the
 * configuration).
 *
 * A pass walks the finished tasks, then the failed ones, then the tombstones, each from the oldest
 * on, in steps of up to a hundred (fewer where a step takes longer than a tenth of a second):
 * the store is asked for a page of them, each is removed by an operation
 * of its own in the batches of all others, and then there is a pause. A step that removed something
 * is followed by a pause as long as itself, so that others have the store for half of the time at
 * least; one that removed nothing (tasks that are too young, documents of other programs, tasks
 * that another process was faster with) by one ten times as long. After a pass it rests for
 * sweep_s.
 *
 * Any number of API processes may do so: each removal is decided on the task as it stands. Loop
 * thread only.
 */
#ifndef LH_API_RETENTION_H
#define LH_API_RETENTION_H

#include "api/api.h"

struct retention;

/* *ret is NULL where nothing is ever to be removed. */
enum rc retention_create(struct api *api, struct retention **ret, struct error *err) LH_MUST_USE;

/* After executor_destroy(): nothing of it is under way then. NULL is fine. */
void retention_destroy(struct retention *retention);

#endif
