/* task_fields.c: a task as an object of an answer. */
#include "api/call/task_fields.h"

#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

void task_put_time(int64_t at_ms, struct buf *to) {
    char text[CLOCK_TEXT_CAP + 2] = "\"";
    if (at_ms == 0) {
        buf_str(to, "null");
        return;
    }
    clock_to_text(at_ms, text + 1);
    buf_str(to, text);
    buf_char(to, '"');
}

void task_put_error(const struct task *task, struct buf *to) {
    if (!task->error_text && task->error_class == ERROR_NONE) {
        buf_str(to, "null");
        return;
    }
    buf_str(to, "{\"class\":");
    buf_json_str(to, task_error_class_name(task->error_class));
    buf_str(to, ",\"text\":");
    buf_json_str(to, task->error_text);
    buf_char(to, '}');
}

/* A document of another program may have ended before it began. */
void task_put_spent(const struct task *task, struct buf *to) {
    if (!task->start_at || !task->end_at) {
        buf_str(to, "null");
        return;
    }
    int64_t ms = task->end_at - task->start_at;
    uint64_t size = ms < 0 ? -(uint64_t)ms : (uint64_t)ms;
    buf_printf(to, "%s%" PRIu64 ".%03u", ms < 0 ? "-" : "", size / 1000, (unsigned)(size % 1000));
}

static void put_json(const char *text, size_t len, struct buf *to) {
    if (text)
        buf_append(to, text, len);
    else
        buf_str(to, "null");
}

static void put_task_id(const struct task *task, struct buf *to) {
    buf_json_str(to, task->task_id);
}

static void put_service(const struct task *task, struct buf *to) {
    buf_json_str(to, task->service);
}

static void put_status(const struct task *task, struct buf *to) {
    buf_json_str(to, task_status_name(task->status));
}

static void put_condition(const struct task *task, struct buf *to) {
    put_json(task->condition, task->condition_len, to);
}

static void put_create_time(const struct task *task, struct buf *to) {
    task_put_time(task->create_at, to);
}

static void put_source_name(const struct task *task, struct buf *to) {
    buf_json_str(to, task->source_name ? task->source_name : "");
}

static void put_message(const struct task *task, struct buf *to) {
    buf_json_str(to, task_status_message(task));
}

static void put_start_time(const struct task *task, struct buf *to) {
    task_put_time(task->start_at, to);
}

static void put_end_time(const struct task *task, struct buf *to) {
    task_put_time(task->end_at, to);
}

static void put_attempt(const struct task *task, struct buf *to) {
    buf_int(to, task->attempt);
}

static void put_run_id(const struct task *task, struct buf *to) {
    buf_json_str(to, task->run_id[0] ? task->run_id : NULL);
}

static void put_lease_until(const struct task *task, struct buf *to) {
    task_put_time(task->lease_until, to);
}

static void put_text(const char *json, struct buf *to) {
    buf_str(to, json ? json : "null");
}

static void put_priority(const struct task *task, struct buf *to) {
    buf_int(to, task->priority);
}

static void put_tags(const struct task *task, struct buf *to) {
    put_text(task->tags, to);
}

static void put_progress(const struct task *task, struct buf *to) {
    put_text(task->progress, to);
}

static void put_run_at(const struct task *task, struct buf *to) {
    bool waits = task->sub == SUB_DELAYED || task->sub == SUB_RETRY;
    task_put_time(waits ? task->due_at : 0, to);
}

static void put_deadline(const struct task *task, struct buf *to) {
    task_put_time(task->deadline, to);
}

static void put_max_attempts(const struct task *task, struct buf *to) {
    buf_int(to, task->max_attempts);
}

static void put_seconds(int64_t ms, struct buf *to) {
    if (ms > 0)
        buf_printf(to, "%" PRId64 ".%03" PRId64, ms / 1000, ms % 1000);
    else
        buf_str(to, "null");
}

static void put_timeout_s(const struct task *task, struct buf *to) {
    put_seconds(task->timeout_ms, to);
}

static void put_expire_s(const struct task *task, struct buf *to) {
    put_seconds(task->expire_ms, to);
}

/* As create_task takes it. */
static void put_retry(const struct task *task, struct buf *to) {
    const struct task_retry *retry = &task->retry;
    buf_printf(to, "{\"kind\":\"%s\",\"base_s\":", task_retry_name(retry->kind));
    buf_printf(to, "%" PRId64 ".%03" PRId64 ",\"max_s\":", retry->base_ms / 1000,
               retry->base_ms % 1000);
    buf_printf(to, "%" PRId64 ".%03" PRId64 ",\"jitter\":%.3f}", retry->max_ms / 1000,
               retry->max_ms % 1000, (double)retry->jitter_permille / 1000);
}

static void put_worker(const struct task *task, struct buf *to) {
    buf_json_str(to, task->run.worker[0] ? task->run.worker : NULL);
}

static void put_idempotency_key(const struct task *task, struct buf *to) {
    buf_json_str(to, task->idem_key);
}

static void put_traceparent(const struct task *task, struct buf *to) {
    buf_json_str(to, task->traceparent);
}

static void put_result(const struct task *task, struct buf *to) {
    put_json(task->result, task->result_len, to);
}

static const struct field {
    const char *name;
    void (*put)(const struct task *task, struct buf *to); /* NULL: sub_status */
    bool is_base;                                         /* of the base contract's row */
} fields[] = {
    {"task_id", put_task_id, true},
    {"service", put_service, true},
    {"status", put_status, true},
    {"condition", put_condition, true},
    {"create_time", put_create_time, true},
    {"sub_status", NULL, false},
    {"source_name", put_source_name, false},
    {"message", put_message, false},
    {"start_time", put_start_time, false},
    {"end_time", put_end_time, false},
    {"spend_time", task_put_spent, false},
    {"attempt", put_attempt, false},
    {"run_id", put_run_id, false},
    {"lease_until", put_lease_until, false},
    {"worker", put_worker, false},
    {"progress", put_progress, false},
    {"deadline", put_deadline, false},
    {"priority", put_priority, false},
    {"max_attempts", put_max_attempts, false},
    {"timeout_s", put_timeout_s, false},
    {"expire_s", put_expire_s, false},
    {"retry", put_retry, false},
    {"run_at", put_run_at, false},
    {"tags", put_tags, false},
    {"idempotency_key", put_idempotency_key, false},
    {"traceparent", put_traceparent, false},
    {"error", task_put_error, false},
    {"result", put_result, false},
};

static task_fields bit_of(size_t i) {
    return (task_fields)1 << i;
}

/* 0 where no field has the name. */
static task_fields bit_of_name(const char *name) {
    for (size_t i = 0; i < LH_COUNT(fields); i++)
        if (strcmp(fields[i].name, name) == 0)
            return bit_of(i);
    return 0;
}

static enum rc refuse(const char *name, struct error *err) {
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, 512);
    for (size_t i = 0; i < LH_COUNT(fields); i++)
        buf_printf(&buf, "%s%s", i ? ", " : "", fields[i].name);
    return error_set(err, RC_INVALID_PARAMETER, "fields must be of %s; not %.64s",
                     buf_rc(&buf) == RC_OK ? buf.data : "the known ones", name);
}

static enum rc read_array(const json_t *array, task_fields *ret, struct error *err) {
    const json_t *value;
    size_t i;
    *ret = 0;
    json_array_foreach(array, i, value) {
        const char *name = json_string_value(value);
        task_fields bit = name && strlen(name) == json_string_length(value) ? bit_of_name(name) : 0;
        if (!bit)
            return refuse(name ? name : "what is no string", err);
        *ret |= bit;
    }
    return RC_OK;
}

enum rc task_fields_read(const json_t *object, task_fields *ret, struct error *err) {
    const json_t *array = json_object_get(object, "fields");
    if (array && (!json_is_array(array) || json_array_size(array) == 0))
        return error_set(err, RC_INVALID_PARAMETER, "fields must be an array of names of fields");
    if (array)
        return read_array(array, ret, err);
    *ret = 0;
    for (size_t i = 0; i < LH_COUNT(fields); i++)
        *ret |= fields[i].is_base ? bit_of(i) : 0;
    return RC_OK;
}

bool task_fields_want_condition(task_fields wanted) {
    return wanted & bit_of_name("condition");
}

bool task_fields_want_result(task_fields wanted) {
    return wanted & bit_of_name("result");
}

void task_fields_put(task_fields wanted, const struct task *task, const char *sub, struct buf *to) {
    char before = '{';
    for (size_t i = 0; i < LH_COUNT(fields); i++) {
        if (!(wanted & bit_of(i)))
            continue;
        buf_char(to, before);
        buf_json_str(to, fields[i].name);
        buf_char(to, ':');
        if (fields[i].put)
            fields[i].put(task, to);
        else
            buf_json_str(to, sub);
        before = ',';
    }
    buf_char(to, '}');
}
