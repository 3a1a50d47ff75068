/* task.c: reads a task. */
#include "consumer/host/task.h"

#include "base/mem.h"

/* A string member; `fallback` where it is missing or null. */
static enum rc read_text(const json_t *object, const char *name, const char *fallback,
                         const char **ret, struct error *err) {
    const json_t *value = json_object_get(object, name);
    bool missing = !value || json_is_null(value);
    if (missing ? !fallback : !json_is_string(value))
        return error_set(err, RC_INVALID_PARAMETER, "%s must be a string", name);
    *ret = missing ? fallback : json_string_value(value);
    return RC_OK;
}

/* A string member that may be missing or null: NULL then. */
static enum rc read_optional(const json_t *object, const char *name, const char **ret,
                             struct error *err) {
    const json_t *value = json_object_get(object, name);
    return !value || json_is_null(value) ? RC_OK : read_text(object, name, NULL, ret, err);
}

static enum rc read_run(const json_t *root, struct longhaul_task *task, struct error *err) {
    const json_t *attempt = json_object_get(root, "attempt");
    if (!json_is_integer(attempt))
        return error_set(err, RC_INVALID_PARAMETER, "attempt must be an integer");
    task->attempt = json_integer_value(attempt);
    enum rc rc = read_optional(root, "deadline", &task->deadline, err);
    if (rc == RC_OK)
        rc = read_text(root, "run_id", NULL, &task->run_id, err);
    if (rc == RC_OK)
        rc = read_optional(root, "traceparent", &task->traceparent, err);
    return rc == RC_OK ? read_optional(root, "tracestate", &task->tracestate, err) : rc;
}

static enum rc read_condition(struct json_span line, struct host_task *to, struct error *err) {
    struct json_span object, condition;
    if (!json_span_member(line, "Task", &object) ||
        !json_span_member(object, "condition", &condition))
        return error_set(err, RC_INVALID_PARAMETER, "Task.condition is missing");
    to->condition = mem_dup(condition.at, condition.len);
    to->task.condition = to->condition;
    to->task.condition_len = condition.len;
    return to->condition ? RC_OK : error_set(err, RC_NO_MEMORY, "out of memory");
}

static enum rc read_all(struct json_span line, struct host_task *to, struct error *err) {
    enum rc rc = json_read(line, &to->root, err);
    if (rc != RC_OK)
        return rc;
    const json_t *task = json_object_get(to->root, "Task");
    rc = read_text(task, "task_id", NULL, &to->task.task_id, err);
    if (rc == RC_OK)
        rc = read_text(task, "service", NULL, &to->task.service, err);
    if (rc == RC_OK)
        rc = read_text(task, "source_name", "", &to->task.source_name, err);
    if (rc == RC_OK)
        rc = read_run(to->root, &to->task, err);
    return rc == RC_OK ? read_condition(line, to, err) : rc;
}

enum rc host_task_read(struct json_span line, struct host_task *ret, struct error *err) {
    struct host_task task = {.task = {.size = sizeof task.task}};
    enum rc rc = read_all(line, &task, err);
    if (rc == RC_OK)
        *ret = task;
    else
        host_task_finish(&task);
    return rc;
}

void host_task_finish(struct host_task *task) {
    json_decref(task->root);
    free(task->condition);
    *task = (struct host_task){0};
}
