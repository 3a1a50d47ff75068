/* message.c: the Kafka message of the base contract. */
#include "task/message.h"

#include "base/mem.h"

#include <string.h>

void message_put_fields(const struct task *task, struct buf *to) {
    buf_str(to, "\"service\":");
    buf_json_str(to, task->service);
    buf_str(to, ",\"source_name\":");
    buf_json_str(to, task->source_name ? task->source_name : "");
    buf_str(to, ",\"condition\":");
    buf_append(to, task->condition, task->condition_len);
}

static void put_optional(struct buf *to, const char *name, const char *text) {
    if (!text)
        return;
    buf_printf(to, ",\"%s\":", name);
    buf_json_str(to, text);
}

void message_put_trace(const struct task *task, struct buf *to) {
    put_optional(to, "traceparent", task->traceparent);
    put_optional(to, "tracestate", task->tracestate);
}

size_t message_trace_bytes(const struct task *task) {
    enum { HEADER = 16 }; /* its name and both lengths */
    size_t parent = task->traceparent ? strlen(task->traceparent) + HEADER : 0;
    return parent + (task->tracestate ? strlen(task->tracestate) + HEADER : 0);
}

void message_put_task(const struct task *task, struct buf *to) {
    buf_str(to, "{\"task_id\":");
    buf_json_str(to, task->task_id);
    buf_char(to, ',');
    message_put_fields(task, to);
    buf_char(to, '}');
}

void message_encode(const struct task *task, struct buf *to) {
    buf_str(to, "{\"Task\":");
    message_put_task(task, to);
    buf_char(to, '}');
}

/* Copies a string member into a fixed array. */
static enum rc read_name(const json_t *task, const char *name, char *to, struct error *err) {
    const json_t *value = json_object_get(task, name);
    if (!json_is_string(value))
        return error_set(err, RC_INVALID_PARAMETER, "Task.%s must be a string", name);
    size_t len = json_string_length(value);
    const char *text = json_string_value(value);
    if (len == 0 || strlen(text) != len || !mem_copy_str(to, TASK_TEXT_CAP, text))
        return error_set(err, RC_INVALID_PARAMETER, "Task.%s must have 1 to %d characters", name,
                         TASK_TEXT_CAP - 1);
    return RC_OK;
}

static enum rc read_source_name(const json_t *task, struct message *message, struct error *err) {
    const json_t *value = json_object_get(task, "source_name");
    if (value && !json_is_string(value) && !json_is_null(value))
        return error_set(err, RC_INVALID_PARAMETER, "Task.source_name must be a string");
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    message->source_name = mem_dup(text, strlen(text));
    return message->source_name ? RC_OK : error_set(err, RC_NO_MEMORY, "out of memory");
}

static enum rc read_condition(struct json_span task, struct message *message, struct error *err) {
    struct json_span span;
    if (!json_span_member(task, "condition", &span))
        return error_set(err, RC_INVALID_PARAMETER, "Task.condition is missing");
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, span.len);
    enum rc rc = json_carry(span, &buf, err);
    if (rc != RC_OK)
        return rc;
    message->condition = buf_take(&buf, &message->condition_len);
    return message->condition ? RC_OK : error_set(err, RC_NO_MEMORY, "out of memory");
}

static enum rc read_task(struct json_span text, const json_t *root, struct message *message,
                         struct error *err) {
    const json_t *task = json_object_get(root, "Task");
    struct json_span span;
    if (!json_is_object(task) || !json_span_member(text, "Task", &span))
        return error_set(err, RC_INVALID_PARAMETER, "Task must be an object");
    enum rc rc = read_name(task, "task_id", message->task_id, err);
    if (rc == RC_OK)
        rc = read_name(task, "service", message->service, err);
    if (rc == RC_OK)
        rc = read_source_name(task, message, err);
    if (rc == RC_OK)
        rc = read_condition(span, message, err);
    return rc;
}

enum rc message_decode(const char *bytes, size_t len, struct message *ret, struct error *err) {
    struct json_span text = {bytes, len};
    LH_JSON root = NULL;
    enum rc rc = json_read(text, &root, err);
    if (rc != RC_OK)
        return rc;
    struct message message = {0};
    rc = read_task(text, root, &message, err);
    if (rc == RC_OK)
        *ret = message;
    else
        message_finish(&message);
    return rc;
}

void message_finish(struct message *message) {
    free(message->source_name);
    free(message->condition);
    *message = (struct message){0};
}
