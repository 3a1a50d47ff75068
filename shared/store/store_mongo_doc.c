/* store_mongo_doc.c: a task as a MongoDB document. */
#include "store/store_mongo_doc.h"

#include "base/mem.h"
#include "store/store_mongo_value.h"
#include "task/lifecycle.h"

#include <string.h>

enum { CARRIED_MAX = 1 << 28 }; /* a document has 16 MiB; its JSON text may be longer */

void mongo_change_begin(struct mongo_change *change) {
    change->rev_read = change->task.rev;
    change->foreign_read = change->task.foreign;
    change->status_read = change->task.status;
    change->parts = 0;
    change->renews = false;
    change->state = CHANGE_OPEN;
    object_id_make(change->op_id);
}

/* ---- writing ---- */

const char *mongo_index_key(size_t i, char room[MONGO_INDEX_CAP]) {
    const char *key;
    bson_uint32_to_string((uint32_t)i, &key, room, MONGO_INDEX_CAP);
    return key;
}

static void put_text(bson_t *to, const char *key, const char *text) {
    if (text)
        BSON_APPEND_UTF8(to, key, text);
    else
        BSON_APPEND_NULL(to, key);
}

static void put_time(bson_t *to, const char *key, int64_t at_ms) {
    if (at_ms)
        BSON_APPEND_DATE_TIME(to, key, at_ms);
    else
        BSON_APPEND_NULL(to, key);
}

void mongo_put_oid(bson_t *to, const char *key, const uint8_t oid[OBJECT_ID_LEN]) {
    bson_oid_t id;
    bson_oid_init_from_data(&id, oid);
    BSON_APPEND_OID(to, key, &id);
}

static void put_times_and_messages(bson_t *to, const struct task *task) {
    bson_t inner;
    put_time(to, "start_time", task->start_at);
    put_time(to, "end_time", task->end_at);
    BSON_APPEND_DOCUMENT_BEGIN(to, "status_message", &inner);
    for (int i = 0; i < TASK_MESSAGES; i++)
        put_text(&inner, task_message_name((enum task_message)i), task->message[i]);
    bson_append_document_end(to, &inner);
}

static void put_error(bson_t *to, const struct task *task) {
    bson_t inner;
    if (task->error_class == ERROR_NONE && !task->error_text) {
        BSON_APPEND_NULL(to, "error");
        return;
    }
    BSON_APPEND_DOCUMENT_BEGIN(to, "error", &inner);
    put_text(&inner, "class", task_error_class_name(task->error_class));
    put_text(&inner, "text", task->error_text);
    bson_append_document_end(to, &inner);
}

static void put_lease(bson_t *to, const struct task *task) {
    bson_t inner;
    BSON_APPEND_DOCUMENT_BEGIN(to, "lease", &inner);
    put_time(&inner, "until", task->lease_until);
    BSON_APPEND_BOOL(&inner, "beaten", task->beaten);
    BSON_APPEND_INT64(&inner, "crashes", task->crashes);
    BSON_APPEND_INT64(&inner, "undelivered", task->undelivered);
    put_text(&inner, "lapse", task_lapse_name(task->lapse));
    bson_append_document_end(to, &inner);
}

static void put_state(bson_t *to, const struct task *task) {
    put_text(to, "status", task_status_name(task->status));
    put_text(to, "sub_status", task_sub_name(task->sub));
    put_times_and_messages(to, task);
    put_error(to, task);
    put_text(to, "run_id", task->run_id[0] ? task->run_id : NULL);
    BSON_APPEND_INT64(to, "attempt", task->attempt);
    put_lease(to, task);
}

/* The most frequent write: small, and no index but that of leases is touched. */
static void put_renewal(bson_t *to, const struct task *task) {
    put_text(to, "sub_status", task_sub_name(task->sub));
    put_lease(to, task);
}

static void put_outbox(bson_t *to, const struct task *task) {
    bson_t inner;
    BSON_APPEND_DOCUMENT_BEGIN(to, "outbox", &inner);
    BSON_APPEND_INT64(&inner, "seq", task->outbox_seq);
    BSON_APPEND_BOOL(&inner, "pending", task->outbox_pending);
    BSON_APPEND_DATE_TIME(&inner, "pick_at", task->outbox_pick_at);
    bson_append_document_end(to, &inner);
}

/* A carried value under `key`, and its exact text under `key_json` where it needs one. A field that
 * is not set goes to `unset` (NULL for a new document). */
static enum rc put_carried(bson_t *set, bson_t *unset, const char *key, const char *key_json,
                           struct json_span text) {
    bool exact = true;
    if (!text.at) {
        if (unset)
            BSON_APPEND_BOOL(unset, key, true);
    } else {
        enum rc rc = mongo_value_append(set, key, text, &exact);
        if (rc != RC_OK)
            return rc;
    }
    if (!exact)
        return bson_append_utf8(set, key_json, -1, text.at, (int)text.len) ? RC_OK : RC_TOO_LARGE;
    if (unset)
        BSON_APPEND_BOOL(unset, key_json, true);
    return RC_OK;
}

static enum rc put_condition(bson_t *set, bson_t *unset, const struct task *task) {
    struct json_span text = {task->condition ? task->condition : "null",
                             task->condition ? task->condition_len : 4};
    return put_carried(set, unset, "condition", "condition_json", text);
}

static enum rc put_result(bson_t *set, bson_t *unset, const struct task *task) {
    return put_carried(set, unset, "result", "result_json",
                       (struct json_span){task->result, task->result_len});
}

/* In the order of the base contract's table, then ours. */
enum rc mongo_doc_new(const struct task *task, bson_t *to) {
    mongo_put_oid(to, "_id", task->oid);
    put_text(to, "task_id", task->task_id);
    put_text(to, "status", task_status_name(task->status));
    put_text(to, "service", task->service);
    put_text(to, "source_name", task->source_name ? task->source_name : "");
    enum rc rc = put_condition(to, NULL, task);
    if (rc != RC_OK)
        return rc;
    put_time(to, "create_time", task->create_at);
    put_times_and_messages(to, task);
    BSON_APPEND_INT32(to, "lh", MONGO_DOC_SCHEMA);
    put_text(to, "sub_status", task_sub_name(task->sub));
    put_error(to, task);
    put_text(to, "run_id", task->run_id[0] ? task->run_id : NULL);
    BSON_APPEND_INT64(to, "attempt", task->attempt);
    put_lease(to, task);
    put_outbox(to, task);
    BSON_APPEND_INT64(to, "rev", task->rev);
    return put_result(to, NULL, task);
}

static enum rc put_parts(const struct mongo_change *change, bson_t *set, bson_t *unset) {
    const struct task *task = &change->task;
    unsigned parts = change->parts;
    if (change->foreign_read) { /* adopted: from now on it has all fields of ours */
        BSON_APPEND_INT32(set, "lh", MONGO_DOC_SCHEMA);
        parts |= PART_STATE | PART_OUTBOX;
    }
    BSON_APPEND_INT64(set, "rev", task->rev);
    if (parts & PART_STATE && change->renews)
        put_renewal(set, task);
    else if (parts & PART_STATE)
        put_state(set, task);
    if (parts & PART_OUTBOX)
        put_outbox(set, task);
    enum rc rc = parts & PART_CONDITION ? put_condition(set, unset, task) : RC_OK;
    if (rc == RC_OK && parts & PART_RESULT)
        rc = put_result(set, unset, task);
    return rc;
}

static void put_op(bson_t *to, const uint8_t op_id[OBJECT_ID_LEN]) {
    bson_t push, ops, each;
    BSON_APPEND_DOCUMENT_BEGIN(to, "$push", &push);
    BSON_APPEND_DOCUMENT_BEGIN(&push, "ops", &ops);
    BSON_APPEND_ARRAY_BEGIN(&ops, "$each", &each);
    mongo_put_oid(&each, "0", op_id);
    bson_append_array_end(&ops, &each);
    BSON_APPEND_INT32(&ops, "$slice", -MONGO_DOC_OPS_KEPT);
    bson_append_document_end(&push, &ops);
    bson_append_document_end(to, &push);
}

enum rc mongo_doc_update(const struct mongo_change *change, bson_t *to) {
    bson_t set = BSON_INITIALIZER, unset = BSON_INITIALIZER;
    enum rc rc = put_parts(change, &set, &unset);
    if (rc == RC_OK) {
        BSON_APPEND_DOCUMENT(to, "$set", &set);
        if (!bson_empty(&unset))
            BSON_APPEND_DOCUMENT(to, "$unset", &unset);
        put_op(to, change->op_id);
    }
    bson_destroy(&set);
    bson_destroy(&unset);
    return rc;
}

bool mongo_task_has_oid(const struct task *task) {
    static const uint8_t none[OBJECT_ID_LEN];
    return memcmp(task->oid, none, sizeof none) != 0;
}

void mongo_doc_key(const struct task *task, bson_t *to) {
    if (mongo_task_has_oid(task))
        mongo_put_oid(to, "_id", task->oid);
    else
        put_text(to, "task_id", task->task_id);
}

void mongo_doc_guard(const struct mongo_change *change, bson_t *to) {
    mongo_doc_key(&change->task, to);
    if (change->foreign_read) {
        BSON_APPEND_NULL(to, "lh"); /* matches where there is none */
        put_text(to, "status", task_status_name(change->status_read));
    } else {
        BSON_APPEND_INT64(to, "rev", change->rev_read);
    }
}

void mongo_doc_project(bson_t *opts, struct mongo_want want) {
    bson_t inner;
    BSON_APPEND_DOCUMENT_BEGIN(opts, "projection", &inner);
    BSON_APPEND_INT32(&inner, "ops", 0);
    if (!want.condition) {
        BSON_APPEND_INT32(&inner, "condition", 0);
        BSON_APPEND_INT32(&inner, "condition_json", 0);
    }
    if (!want.result) {
        BSON_APPEND_INT32(&inner, "result", 0);
        BSON_APPEND_INT32(&inner, "result_json", 0);
    }
    bson_append_document_end(opts, &inner);
}

/* ---- reading ---- */

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

/* A document of before has none: all zero. */
static void read_lease(struct reading *reading, const bson_iter_t *iter) {
    struct task *task = reading->task;
    bson_iter_t inner;
    if (!BSON_ITER_HOLDS_DOCUMENT(iter) || !bson_iter_recurse(iter, &inner))
        return;
    while (bson_iter_next(&inner)) {
        const char *key = bson_iter_key(&inner);
        if (strcmp(key, "until") == 0)
            task->lease_until = get_time(&inner);
        else if (strcmp(key, "beaten") == 0)
            task->beaten = bson_iter_as_bool(&inner);
        else if (strcmp(key, "crashes") == 0)
            task->crashes = bson_iter_as_int64(&inner);
        else if (strcmp(key, "undelivered") == 0)
            task->undelivered = bson_iter_as_int64(&inner);
        else if (strcmp(key, "lapse") == 0 && holds_text(&inner))
            (void)task_lapse_from_name(bson_iter_utf8(&inner, NULL), &task->lapse);
    }
}

static void read_outbox(struct reading *reading, const bson_iter_t *iter) {
    bson_iter_t inner;
    if (!BSON_ITER_HOLDS_DOCUMENT(iter) || !bson_iter_recurse(iter, &inner))
        return;
    while (bson_iter_next(&inner)) {
        const char *key = bson_iter_key(&inner);
        if (strcmp(key, "seq") == 0)
            reading->task->outbox_seq = bson_iter_as_int64(&inner);
        else if (strcmp(key, "pending") == 0)
            reading->task->outbox_pending = bson_iter_as_bool(&inner);
        else if (strcmp(key, "pick_at") == 0)
            reading->task->outbox_pick_at = get_time(&inner);
    }
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
    {"lease", read_lease},
    {"outbox", read_outbox},
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

/* What a base-contract document has no word for. One that is ready may have its message out, so a
 * claim may take it. */
static enum task_sub foreign_sub(enum task_status status) {
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
        task.sub = foreign_sub(task.status);
    *ret = task;
    return RC_OK;
}

bool mongo_doc_has_op(const bson_t *doc, const uint8_t op_id[OBJECT_ID_LEN]) {
    bson_iter_t iter, inner;
    if (!bson_iter_init_find(&iter, doc, "ops") || !BSON_ITER_HOLDS_ARRAY(&iter) ||
        !bson_iter_recurse(&iter, &inner))
        return false;
    while (bson_iter_next(&inner))
        if (BSON_ITER_HOLDS_OID(&inner) &&
            memcmp(bson_iter_oid(&inner)->bytes, op_id, OBJECT_ID_LEN) == 0)
            return true;
    return false;
}

/* ---- copying ---- */

static bool copy_text(const char *from, size_t len, char **to) {
    *to = from ? mem_dup(from, len) : NULL;
    return !from || *to;
}

static bool copy_str(const char *from, char **to) {
    return copy_text(from, from ? strlen(from) : 0, to);
}

enum rc mongo_task_copy(const struct task *task, struct mongo_want want, struct task *ret) {
    struct task copy = *task;
    copy.condition_len = want.condition ? task->condition_len : 0;
    copy.result_len = want.result ? task->result_len : 0;
    bool all = copy_str(task->source_name, &copy.source_name);
    all &= copy_str(task->error_text, &copy.error_text);
    all &= copy_text(want.condition ? task->condition : NULL, task->condition_len, &copy.condition);
    all &= copy_text(want.result ? task->result : NULL, task->result_len, &copy.result);
    for (int i = 0; i < TASK_MESSAGES; i++)
        all &= copy_str(task->message[i], &copy.message[i]);
    if (!all)
        task_finish(&copy);
    *ret = copy;
    return all ? RC_OK : RC_NO_MEMORY;
}
