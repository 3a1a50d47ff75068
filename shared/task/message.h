/* message.h: the Kafka message of the base contract: {"Task":
 * {"task_id","service","source_name","condition"}}. */
#ifndef LH_TASK_MESSAGE_H
#define LH_TASK_MESSAGE_H

#include "task/task.h"

/* Appends the message of `task` (its condition must be loaded). The bytes of the condition are
 * copied as they stand. */
void message_encode(const struct task *task, struct buf *to);

/* Appends the members "service", "source_name" and "condition", without braces. */
void message_put_fields(const struct task *task, struct buf *to);

/* Appends ,"traceparent":… and ,"tracestate":… where the task has them: what an answer tells of the
 * trace, beside the fields. The message itself carries it in its headers. */
void message_put_trace(const struct task *task, struct buf *to);

/* What the headers `traceparent` and `tracestate` of its message take, rounded up. */
size_t message_trace_bytes(const struct task *task);

/* Appends the object {"task_id","service","source_name","condition"} alone. */
void message_put_task(const struct task *task, struct buf *to);

/* What a message says. Owned: free with message_finish(). */
struct message {
    char task_id[TASK_TEXT_CAP];
    char service[TASK_TEXT_CAP];
    char *source_name;
    char *condition; /* JSON text */
    size_t condition_len;
};

/* Reads a message. RC_INVALID_PARAMETER with a text where it is not one: not JSON, no "Task", a
 * missing or wrong field. Unknown members are ignored. *ret is untouched then. */
enum rc message_decode(const char *bytes, size_t len, struct message *ret,
                       struct error *err) LH_MUST_USE;

void message_finish(struct message *message);

#endif
