/* record.h: a run as the timeline tells of it. Pure functions. */
#ifndef LH_TASK_RECORD_H
#define LH_TASK_RECORD_H

#include "base/buf.h"
#include "task/task.h"

/* Appends the record of the task's last run (attempt > 0) as one JSON object: attempt, run_id,
 * worker, token (where one claimed it), queued_time, produced_time, message
 * ({"topic","partition","offset"} or null), claimed_time, started_time, first_output_time,
 * ended_time (ISO-8601 or null), silent, end (task_end_name() or null), error.
 */
void record_put(const struct task *task, struct buf *to);

/* Appends {queued_time, produced_time, message} of the run that is to come, or null. */
void record_put_next(const struct task *task, struct buf *to);

/* Of the records of earlier runs (task.past, NULL is fine): which attempt the run was. 0: none
 * tells of it. */
int64_t record_attempt(const char *records, const char *run_id);

/* Whether that attempt said that it has printed nothing. */
bool record_is_silent(const char *records, int64_t attempt);

/* Whether the token claimed that attempt. */
bool record_has_token(const char *records, int64_t attempt, const char *token);

/* When that attempt ended, unix ms. 0: none tells of it. */
int64_t record_ended_at(const char *records, int64_t attempt);

#endif
