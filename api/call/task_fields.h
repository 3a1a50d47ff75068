/* task_fields.h: a task as an object of an answer, with the fields that its reader wants.
 *
 * Every field of a task stands once in a table, with its name and how it is written. Pure
 * functions.
 */
#ifndef LH_API_TASK_FIELDS_H
#define LH_API_TASK_FIELDS_H

#include "base/json.h"
#include "task/task.h"

typedef uint64_t task_fields; /* bit i: the table's field i */

/* Reads the array `fields`; where it is absent, the base contract's five: task_id, service, status,
 * condition, create_time. RC_INVALID_PARAMETER names one that is unknown. */
enum rc task_fields_read(const json_t *object, task_fields *ret, struct error *err) LH_MUST_USE;

/* True where a field needs that value of the task to be loaded. */
bool task_fields_want_condition(task_fields fields);
bool task_fields_want_result(task_fields fields);

/* Appends {"NAME":VALUE,…} in the table's order. `sub` is what readers are told as sub_status. */
void task_fields_put(task_fields fields, const struct task *task, const char *sub, struct buf *to);

/* Values that other answers have too: {"class","text"} or null; seconds or null. */
void task_put_error(const struct task *task, struct buf *to);
void task_put_spent(const struct task *task, struct buf *to);
void task_put_time(int64_t at_ms, struct buf *to);

#endif
