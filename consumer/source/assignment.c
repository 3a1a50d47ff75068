/* assignment.c: a claimed task, read from the two answers that hand one out. */
#include "consumer/api_client.h"

#include "base/clock.h"
#include "base/mem.h"

#include <string.h>

void claim_put_timeout(const struct config_service *service, struct buf *to) {
    int ms = service->module ? service->module->timeout_ms : 0;
    if (ms > 0)
        buf_printf(to, ",\"timeout_s\":%d.%03d", ms / 1000, ms % 1000);
}

/* Copies a required text member into a fixed array. */
static enum rc take_text(const json_t *object, const char *name, char *to, size_t cap,
                         struct error *err) {
    const json_t *value = json_object_get(object, name);
    const char *text = json_string_value(value);
    if (!text || !*text || strlen(text) != json_string_length(value) || strlen(text) >= cap)
        return error_set(err, RC_INVALID_PARAMETER, "%s: must be a text of 1 to %zu bytes", name,
                         cap - 1);
    memcpy(to, text, strlen(text) + 1);
    return RC_OK;
}

/* The members that stand beside the run's in one answer and inside "Task" in the other. */
static enum rc take_task(const json_t *task, struct json_span text, struct assignment *ret,
                         struct error *err) {
    enum rc rc = take_text(task, "task_id", ret->task_id, sizeof ret->task_id, err);
    if (rc == RC_OK)
        rc = take_text(task, "service", ret->service, sizeof ret->service, err);
    if (rc != RC_OK)
        return rc;
    struct json_span condition;
    if (!json_span_member(text, "condition", &condition))
        return error_set(err, RC_INVALID_PARAMETER, "condition: is missing");
    const json_t *source = json_object_get(task, "source_name");
    const char *name = json_string_value(source);
    if (source && !json_is_null(source) && (!name || strlen(name) != json_string_length(source)))
        return error_set(err, RC_INVALID_PARAMETER, "source_name: must be a text");
    ret->source_name = mem_dup(name, name ? strlen(name) : 0);
    ret->condition = mem_dup(condition.at, condition.len);
    ret->condition_len = condition.len;
    if (!ret->source_name || !ret->condition)
        return error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
    return RC_OK;
}

static enum rc take_run(const json_t *run, struct assignment *ret, struct error *err) {
    enum rc rc = take_text(run, "run_id", ret->run_id, sizeof ret->run_id, err);
    if (rc != RC_OK)
        return rc;
    if (!uuid_valid(ret->run_id))
        return error_set(err, RC_INVALID_PARAMETER, "run_id: must be a UUID");
    const json_t *attempt = json_object_get(run, "attempt");
    if (!json_is_integer(attempt) || json_integer_value(attempt) < 1)
        return error_set(err, RC_INVALID_PARAMETER, "attempt: must be an integer from 1");
    ret->attempt = json_integer_value(attempt);
    return RC_OK;
}

/* The run is a span of its own, whose parent is the task's. */
static enum rc take_trace(const json_t *run, struct assignment *ret, struct error *err) {
    const char *parent = json_string_value(json_object_get(run, "traceparent"));
    const char *state = json_string_value(json_object_get(run, "tracestate"));
    if (!parent || !traceparent_read(parent, ret->traceparent))
        return RC_OK;
    memcpy(ret->parent, ret->traceparent, sizeof ret->parent);
    traceparent_child(ret->parent, ret->traceparent);
    if (state && tracestate_valid(state) && !(ret->tracestate = strdup(state)))
        return error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
    return RC_OK;
}

/* A time that may be missing or null: 0 then. */
static enum rc take_time(const json_t *run, const char *name, int64_t *ret, struct error *err) {
    const json_t *value = json_object_get(run, name);
    *ret = 0;
    if (!value || json_is_null(value))
        return RC_OK;
    if (!json_is_string(value) || !clock_from_text(json_string_value(value), ret))
        return error_set(err, RC_INVALID_PARAMETER, "%s: must be a time or null", name);
    return RC_OK;
}

/* Both times of the answer are of the API's clock, and the lease was counted from the claim: so
 * their distance tells how long the run may take, whatever clock we have. It is counted from now,
 * not from when the claim was asked for: a long poll may have waited for the task. What is lost on
 * the way is less than the lease, and by that much later the API ends the run by itself. */
static enum rc take_times(const json_t *run, const struct claim_times *times,
                          struct assignment *ret, struct error *err) {
    int64_t lease_until, deadline;
    enum rc rc = take_time(run, "lease_until", &lease_until, err);
    if (rc == RC_OK)
        rc = take_time(run, "deadline", &deadline, err);
    if (rc != RC_OK)
        return rc;
    ret->held_until_ms = times->asked_ms + times->lease_ms;
    if (!deadline)
        return RC_OK;
    if (!lease_until)
        return error_set(err, RC_INVALID_PARAMETER, "lease_until: is missing beside deadline");
    int64_t timeout_ms = deadline - lease_until + times->lease_ms;
    ret->timeout_ms = timeout_ms > 0 ? timeout_ms : 1;
    ret->deadline_ms = clock_mono_ms() + ret->timeout_ms;
    clock_to_text(deadline, ret->deadline);
    return RC_OK;
}

/* `task`, `text`: the member that holds the task, or the item where it stands beside the run. */
static enum rc read_item(const json_t *run, const json_t *task, struct json_span text,
                         const struct claim_times *times, struct assignment *ret,
                         struct error *err) {
    struct assignment assignment = {.attempt = 0};
    enum rc rc = take_task(task, text, &assignment, err);
    if (rc == RC_OK)
        rc = take_run(run, &assignment, err);
    if (rc == RC_OK)
        rc = take_trace(run, &assignment, err);
    if (rc == RC_OK)
        rc = take_times(run, times, &assignment, err);
    if (rc == RC_OK)
        *ret = assignment;
    else
        assignment_finish(&assignment);
    return rc;
}

enum rc assignment_from_claim(const json_t *item, struct json_span text,
                              const struct claim_times *times, struct assignment *ret,
                              struct error *err) {
    return read_item(item, item, text, times, ret, err);
}

enum rc assignment_from_take(const json_t *item, struct json_span text,
                             const struct claim_times *times, struct assignment *ret,
                             struct error *err) {
    struct json_span task;
    if (!json_span_member(text, "Task", &task))
        return error_set(err, RC_INVALID_PARAMETER, "Task: is missing");
    return read_item(item, json_object_get(item, "Task"), task, times, ret, err);
}
