/* read.c: a task from a MongoDB document, by tables of its fields. */
#include "store/mongo/doc.h"

#include "base/mem.h"
#include "base/trace.h"
#include "store/mongo/value.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { CARRIED_MAX = 1 << 28 }; /* a document has 16 MiB; its JSON text may be longer */

/* A document on its way into a task. */
struct reading {
    struct task *task;
    bool has_status, has_sub, no_memory;
    bson_iter_t condition, condition_json, result, result_json;
};

static bool holds_text(const bson_iter_t *iter) {
    return BSON_ITER_HOLDS_UTF8(iter);
}

/* A text field; null becomes NULL, any other type its JSON text. */
static void get_text(struct reading *reading, const bson_iter_t *iter, char **ret) {
    uint32_t len;
    if (BSON_ITER_HOLDS_NULL(iter) || *ret)
        return;
    if (holds_text(iter)) {
        const char *text = bson_iter_utf8(iter, &len);
        *ret = mem_dup(text, strlen(text));
    } else {
        struct buf text;
        buf_init(&text, CARRIED_MAX);
        mongo_value_text(iter, &text);
        *ret = buf_take(&text, NULL);
    }
    reading->no_memory |= !*ret;
}

static void get_array(const bson_iter_t *iter, char *to, size_t cap) {
    if (holds_text(iter))
        (void)mem_copy_str(to, cap, bson_iter_utf8(iter, NULL));
}

static int64_t get_time(const bson_iter_t *iter) {
    return BSON_ITER_HOLDS_DATE_TIME(iter) ? bson_iter_date_time(iter) : 0;
}

static void read_id(struct reading *reading, const bson_iter_t *iter) {
    if (BSON_ITER_HOLDS_OID(iter))
        memcpy(reading->task->oid, bson_iter_oid(iter)->bytes, OBJECT_ID_LEN);
}

static void read_task_id(struct reading *reading, const bson_iter_t *iter) {
    get_array(iter, reading->task->task_id, sizeof reading->task->task_id);
}

static void read_service(struct reading *reading, const bson_iter_t *iter) {
    get_array(iter, reading->task->service, sizeof reading->task->service);
}

static void read_run_id(struct reading *reading, const bson_iter_t *iter) {
    get_array(iter, reading->task->run_id, sizeof reading->task->run_id);
}

static void read_status(struct reading *reading, const bson_iter_t *iter) {
    reading->has_status = holds_text(iter) &&
                          task_status_from_name(bson_iter_utf8(iter, NULL), &reading->task->status);
}

static void read_sub(struct reading *reading, const bson_iter_t *iter) {
    reading->has_sub =
        holds_text(iter) && task_sub_from_name(bson_iter_utf8(iter, NULL), &reading->task->sub);
}

static void read_source(struct reading *reading, const bson_iter_t *iter) {
    get_text(reading, iter, &reading->task->source_name);
}

/* A text that is none was written by another program. */
static void read_traceparent(struct reading *reading, const bson_iter_t *iter) {
    char text[TRACEPARENT_CAP];
    if (holds_text(iter) && traceparent_read(bson_iter_utf8(iter, NULL), text))
        get_text(reading, iter, &reading->task->traceparent);
}

static void read_tracestate(struct reading *reading, const bson_iter_t *iter) {
    if (holds_text(iter) && tracestate_valid(bson_iter_utf8(iter, NULL)))
        get_text(reading, iter, &reading->task->tracestate);
}

static void read_create(struct reading *reading, const bson_iter_t *iter) {
    reading->task->create_at = get_time(iter);
}

static void read_start(struct reading *reading, const bson_iter_t *iter) {
    reading->task->start_at = get_time(iter);
}

static void read_end(struct reading *reading, const bson_iter_t *iter) {
    reading->task->end_at = get_time(iter);
}

static void read_condition(struct reading *reading, const bson_iter_t *iter) {
    reading->condition = *iter;
}

static void read_condition_json(struct reading *reading, const bson_iter_t *iter) {
    reading->condition_json = *iter;
}

static void read_result(struct reading *reading, const bson_iter_t *iter) {
    reading->result = *iter;
}

static void read_result_json(struct reading *reading, const bson_iter_t *iter) {
    reading->result_json = *iter;
}

static void read_schema(struct reading *reading, const bson_iter_t *iter) {
    reading->task->foreign = !BSON_ITER_HOLDS_NUMBER(iter);
}

static void read_attempt(struct reading *reading, const bson_iter_t *iter) {
    reading->task->attempt = bson_iter_as_int64(iter);
}

static void read_rev(struct reading *reading, const bson_iter_t *iter) {
    reading->task->rev = bson_iter_as_int64(iter);
}

static void read_messages(struct reading *reading, const bson_iter_t *iter) {
    bson_iter_t inner;
    if (!BSON_ITER_HOLDS_DOCUMENT(iter) || !bson_iter_recurse(iter, &inner))
        return;
    while (bson_iter_next(&inner))
        for (int i = 0; i < TASK_MESSAGES; i++)
            if (strcmp(bson_iter_key(&inner), task_message_name((enum task_message)i)) == 0)
                get_text(reading, &inner, &reading->task->message[i]);
}

static void read_error(struct reading *reading, const bson_iter_t *iter) {
    bson_iter_t error, inner;
    if (!BSON_ITER_HOLDS_DOCUMENT(iter))
        return;
    if (bson_iter_recurse(iter, &error) && bson_iter_find(&error, "class") && holds_text(&error))
        (void)task_error_class_from_name(bson_iter_utf8(&error, NULL), &reading->task->error_class);
    if (bson_iter_recurse(iter, &inner) && bson_iter_find(&inner, "text"))
        get_text(reading, &inner, &reading->task->error_text);
}

/* ---- sub-documents, each by a table of its fields ---- */

static void read_number(struct reading *reading, const bson_iter_t *iter, void *to) {
    (void)reading;
    *(int64_t *)to = bson_iter_as_int64(iter);
}

static void read_time(struct reading *reading, const bson_iter_t *iter, void *to) {
    (void)reading;
    *(int64_t *)to = get_time(iter);
}

static void read_bool(struct reading *reading, const bson_iter_t *iter, void *to) {
    (void)reading;
    *(bool *)to = bson_iter_as_bool(iter);
}

static void read_text(struct reading *reading, const bson_iter_t *iter, void *to) {
    get_text(reading, iter, to);
}

static void read_worker(struct reading *reading, const bson_iter_t *iter, void *to) {
    (void)reading;
    get_array(iter, to, WORKER_ID_CAP);
}

static void read_token(struct reading *reading, const bson_iter_t *iter, void *to) {
    (void)reading;
    get_array(iter, to, TOKEN_NAME_CAP);
}

static void read_claim(struct reading *reading, const bson_iter_t *iter, void *to) {
    (void)reading;
    get_array(iter, to, UUID_CAP);
}

static void read_lapse(struct reading *reading, const bson_iter_t *iter, void *to) {
    (void)reading;
    if (holds_text(iter))
        (void)task_lapse_from_name(bson_iter_utf8(iter, NULL), to);
}

static void read_end_word(struct reading *reading, const bson_iter_t *iter, void *to) {
    (void)reading;
    if (holds_text(iter))
        (void)task_end_from_name(bson_iter_utf8(iter, NULL), to);
}

static void read_kind(struct reading *reading, const bson_iter_t *iter, void *to) {
    (void)reading;
    if (holds_text(iter))
        (void)task_retry_from_name(bson_iter_utf8(iter, NULL), to);
}

/* A field by its path, and where it belongs in the task. A document of before lacks it: then the
 * task keeps what it has. */
static const struct member {
    const char *path;
    void (*read)(struct reading *reading, const bson_iter_t *iter, void *to);
    size_t at;
} members[] = {
    {"lease.until", read_time, offsetof(struct task, lease_until)},
    {"lease.beaten", read_bool, offsetof(struct task, beaten)},
    {"lease.crashes", read_number, offsetof(struct task, crashes)},
    {"lease.undelivered", read_number, offsetof(struct task, undelivered)},
    {"lease.lapse", read_lapse, offsetof(struct task, lapse)},
    {"outbox.seq", read_number, offsetof(struct task, outbox_seq)},
    {"outbox.pending", read_bool, offsetof(struct task, outbox_pending)},
    {"outbox.pick_at", read_time, offsetof(struct task, outbox_pick_at)},
    {"asked.priority", read_number, offsetof(struct task, priority)},
    {"asked.expire_ms", read_number, offsetof(struct task, expire_ms)},
    {"asked.timeout_ms", read_number, offsetof(struct task, timeout_ms)},
    {"asked.max_attempts", read_number, offsetof(struct task, max_attempts)},
    {"asked.retry.kind", read_kind, offsetof(struct task, retry.kind)},
    {"asked.retry.base_ms", read_number, offsetof(struct task, retry.base_ms)},
    {"asked.retry.max_ms", read_number, offsetof(struct task, retry.max_ms)},
    {"asked.retry.jitter_permille", read_number, offsetof(struct task, retry.jitter_permille)},
    {"times.due_at", read_time, offsetof(struct task, due_at)},
    {"times.expire_at", read_time, offsetof(struct task, expire_at)},
    {"times.deadline", read_time, offsetof(struct task, deadline)},
    {"times.tried", read_number, offsetof(struct task, tried)},
    {"cancel.at", read_time, offsetof(struct task, cancel_at)},
    {"cancel.grace_ms", read_number, offsetof(struct task, grace_ms)},
    {"cancel.reason", read_text, offsetof(struct task, cancel_reason)},
    {"queued.at", read_time, offsetof(struct task, queued.at)},
    {"queued.produced_at", read_time, offsetof(struct task, queued.produced_at)},
    {"queued.message", read_text, offsetof(struct task, queued.place)},
    {"run.worker", read_worker, offsetof(struct task, run.worker)},
    {"run.token", read_token, offsetof(struct task, run.token)},
    {"run.claim_id", read_claim, offsetof(struct task, claim_id)},
    {"run.queued.at", read_time, offsetof(struct task, run.queued.at)},
    {"run.queued.produced_at", read_time, offsetof(struct task, run.queued.produced_at)},
    {"run.queued.message", read_text, offsetof(struct task, run.queued.place)},
    {"run.claimed_at", read_time, offsetof(struct task, run.claimed_at)},
    {"run.started_at", read_time, offsetof(struct task, run.started_at)},
    {"run.output_at", read_time, offsetof(struct task, run.output_at)},
    {"run.ended_at", read_time, offsetof(struct task, run.ended_at)},
    {"run.lease_ms", read_number, offsetof(struct task, run.lease_ms)},
    {"run.silent", read_bool, offsetof(struct task, run.silent)},
    {"run.end", read_end_word, offsetof(struct task, run.end)},
};

static void read_member(struct reading *reading, const bson_iter_t *iter, const char *path) {
    for (size_t i = 0; i < LH_COUNT(members); i++)
        if (strcmp(path, members[i].path) == 0) {
            members[i].read(reading, iter, (char *)reading->task + members[i].at);
            return;
        }
}

/* Reads the fields of a document within the document, `path` of which is its own. */
static void read_inner(struct reading *reading, const bson_iter_t *iter, const char *path) {
    bson_iter_t inner;
    char whole[64];
    if (!BSON_ITER_HOLDS_DOCUMENT(iter) || !bson_iter_recurse(iter, &inner))
        return;
    while (bson_iter_next(&inner)) {
        snprintf(whole, sizeof whole, "%s.%s", path, bson_iter_key(&inner));
        if (BSON_ITER_HOLDS_DOCUMENT(&inner) && !strchr(path, '.'))
            read_inner(reading, &inner, whole);
        else
            read_member(reading, &inner, whole);
    }
}

static void read_group(struct reading *reading, const bson_iter_t *iter) {
    read_inner(reading, iter, bson_iter_key(iter));
}

static void read_alarm(struct reading *reading, const bson_iter_t *iter) {
    reading->task->alarm_at = get_time(iter);
}

static void read_stored(struct reading *reading, const bson_iter_t *iter) {
    reading->task->stored_at = get_time(iter);
}

static void read_rank(struct reading *reading, const bson_iter_t *iter) {
    reading->task->rank = bson_iter_as_int64(iter);
}

static void read_progress(struct reading *reading, const bson_iter_t *iter) {
    get_text(reading, iter, &reading->task->progress);
}

static void read_idem_hash(struct reading *reading, const bson_iter_t *iter) {
    reading->task->idem_hash = (uint64_t)bson_iter_as_int64(iter);
}

/* Behind the service's name and its NUL. */
static void read_idem(struct reading *reading, const bson_iter_t *iter) {
    uint32_t len;
    const char *text = holds_text(iter) ? bson_iter_utf8(iter, &len) : NULL;
    size_t service = text ? strlen(text) : 0;
    if (!text || service >= len || reading->task->idem_key)
        return;
    reading->task->idem_key = mem_dup(text + service + 1, len - service - 1);
    reading->no_memory |= !reading->task->idem_key;
}

static const char *text_in(const bson_iter_t *iter, const char *name) {
    bson_iter_t inner;
    if (!BSON_ITER_HOLDS_DOCUMENT(iter) || !bson_iter_recurse(iter, &inner) ||
        !bson_iter_find(&inner, name) || !holds_text(&inner))
        return NULL;
    return bson_iter_utf8(&inner, NULL);
}

static void read_tags(struct reading *reading, const bson_iter_t *iter) {
    bson_iter_t list;
    struct buf text;
    if (!BSON_ITER_HOLDS_ARRAY(iter) || !bson_iter_recurse(iter, &list) || reading->task->tags)
        return;
    buf_init(&text, CARRIED_MAX);
    while (bson_iter_next(&list)) {
        const char *name = text_in(&list, "name"), *value = text_in(&list, "value");
        if (!name || !value)
            continue;
        buf_char(&text, text.len ? ',' : '{');
        buf_json_str(&text, name);
        buf_char(&text, ':');
        buf_json_str(&text, value);
    }
    buf_str(&text, text.len ? "}" : "{}");
    reading->task->tags = buf_take(&text, NULL);
    reading->no_memory |= !reading->task->tags;
}

static void read_runs(struct reading *reading, const bson_iter_t *iter) {
    bson_iter_t list;
    struct buf text;
    if (!BSON_ITER_HOLDS_ARRAY(iter) || !bson_iter_recurse(iter, &list) || reading->task->past)
        return;
    buf_init(&text, CARRIED_MAX);
    while (bson_iter_next(&list))
        if (holds_text(&list)) {
            buf_str(&text, text.len ? "," : "");
            buf_str(&text, bson_iter_utf8(&list, NULL));
        }
    reading->task->past = text.len ? buf_take(&text, NULL) : NULL;
    reading->no_memory |= text.len && !reading->task->past;
    buf_finish(&text);
}

static const struct field {
    const char *name;
    void (*read)(struct reading *reading, const bson_iter_t *iter);
} fields[] = {
    {"_id", read_id},
    {"task_id", read_task_id},
    {"status", read_status},
    {"service", read_service},
    {"source_name", read_source},
    {"condition", read_condition},
    {"create_time", read_create},
    {"start_time", read_start},
    {"end_time", read_end},
    {"status_message", read_messages},
    {"lh", read_schema},
    {"sub_status", read_sub},
    {"error", read_error},
    {"run_id", read_run_id},
    {"attempt", read_attempt},
    {"lease", read_group},
    {"outbox", read_group},
    {"asked", read_group},
    {"times", read_group},
    {"cancel", read_group},
    {"queued", read_group},
    {"run", read_group},
    {"alarm_at", read_alarm},
    {"stored_time", read_stored},
    {"rank", read_rank},
    {"progress", read_progress},
    {"idem", read_idem},
    {"idem_hash", read_idem_hash},
    {"tags", read_tags},
    {"traceparent", read_traceparent},
    {"tracestate", read_tracestate},
    {"runs", read_runs},
    {"rev", read_rev},
    {"condition_json", read_condition_json},
    {"result", read_result},
    {"result_json", read_result_json},
};

static void read_field(struct reading *reading, const bson_iter_t *iter) {
    const char *key = bson_iter_key(iter);
    for (size_t i = 0; i < LH_COUNT(fields); i++)
        if (strcmp(key, fields[i].name) == 0) {
            fields[i].read(reading, iter);
            return;
        }
}

/* The exact text where there is one and the field is still what was made of it, else the field. */
static void get_carried(struct reading *reading, const bson_iter_t *field, const bson_iter_t *json,
                        char **ret, size_t *ret_len) {
    struct buf text;
    uint32_t len;
    buf_init(&text, CARRIED_MAX);
    bool has_json = json->raw && holds_text(json);
    const char *exact = has_json ? bson_iter_utf8(json, &len) : NULL;
    if (exact && (!field->raw || mongo_value_is_of(field, (struct json_span){exact, len})))
        buf_append(&text, exact, len);
    else
        mongo_value_text(field, &text);
    *ret = buf_take(&text, ret_len);
    reading->no_memory |= !*ret;
}

/* One that is ready may have its message out, so a claim may take it. */
enum task_sub mongo_doc_foreign_sub(enum task_status status) {
    static const enum task_sub subs[TASK_STATUSES] = {
        [TASK_READY] = SUB_PRODUCING, [TASK_WAITING] = SUB_QUEUED, [TASK_RUNNING] = SUB_CLAIMED,
        [TASK_FINISHED] = SUB_NONE,   [TASK_FAILED] = SUB_ERROR,
    };
    return subs[status];
}

static void read_carried(struct reading *reading, struct mongo_want want) {
    struct task *task = reading->task;
    if (want.condition && reading->condition.raw)
        get_carried(reading, &reading->condition, &reading->condition_json, &task->condition,
                    &task->condition_len);
    else if (want.condition) {
        task->condition = mem_dup("null", task->condition_len = 4);
        reading->no_memory |= !task->condition;
    }
    if (want.result && reading->result.raw)
        get_carried(reading, &reading->result, &reading->result_json, &task->result,
                    &task->result_len);
}

enum rc mongo_doc_read(const bson_t *doc, struct mongo_want want, struct task *ret) {
    struct task task = {.foreign = true};
    task_init(&task);
    struct reading reading = {.task = &task};
    bson_iter_t iter;
    if (bson_iter_init(&iter, doc))
        while (bson_iter_next(&iter))
            read_field(&reading, &iter);
    bool is_task = reading.has_status && task.task_id[0];
    if (is_task)
        read_carried(&reading, want);
    if (!is_task || reading.no_memory) {
        task_finish(&task);
        return is_task ? RC_NO_MEMORY : RC_NOT_FOUND;
    }
    if (task.foreign && !reading.has_sub)
        task.sub = mongo_doc_foreign_sub(task.status);
    *ret = task;
    return RC_OK;
}
