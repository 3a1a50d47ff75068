/* doc.c: a task as a MongoDB document: writing it, its guards and updates. */
#include "store/mongo/doc.h"

#include "base/mem.h"
#include "base/mutant.h"
#include "store/mongo/value.h"
#include "task/lifecycle.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { CARRIED_MAX = 1 << 28 }; /* a document has 16 MiB; its JSON text may be longer */

void mongo_change_begin(struct mongo_change *change) {
    change->rev_read = change->task.rev;
    change->foreign_read = change->task.foreign;
    change->status_read = change->task.status;
    change->guessed = false;
    change->parts = 0;
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

void mongo_put_time(bson_t *to, const char *key, int64_t at_ms) {
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
    mongo_put_time(to, "start_time", task->start_at);
    mongo_put_time(to, "end_time", task->end_at);
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
    mongo_put_time(&inner, "until", task->lease_until);
    BSON_APPEND_BOOL(&inner, "beaten", task->beaten);
    BSON_APPEND_INT64(&inner, "crashes", task->crashes);
    BSON_APPEND_INT64(&inner, "undelivered", task->undelivered);
    put_text(&inner, "lapse", task_lapse_name(task->lapse));
    bson_append_document_end(to, &inner);
}

/* The most frequent write: small, and no index but that of leases is touched. */
static void put_renewal(bson_t *to, const struct task *task) {
    mongo_put_time(to, "lease.until", task->lease_until);
}

/* What its creator asked for; it never changes. */
static void put_asked(bson_t *to, const struct task *task) {
    bson_t inner, retry;
    mongo_put_time(to, "stored_time", task->stored_at);
    BSON_APPEND_DOCUMENT_BEGIN(to, "asked", &inner);
    BSON_APPEND_INT64(&inner, "priority", task->priority);
    BSON_APPEND_INT64(&inner, "expire_ms", task->expire_ms);
    BSON_APPEND_INT64(&inner, "timeout_ms", task->timeout_ms);
    BSON_APPEND_INT64(&inner, "max_attempts", task->max_attempts);
    BSON_APPEND_DOCUMENT_BEGIN(&inner, "retry", &retry);
    put_text(&retry, "kind", task_retry_name(task->retry.kind));
    BSON_APPEND_INT64(&retry, "base_ms", task->retry.base_ms);
    BSON_APPEND_INT64(&retry, "max_ms", task->retry.max_ms);
    BSON_APPEND_INT64(&retry, "jitter_permille", task->retry.jitter_permille);
    bson_append_document_end(&inner, &retry);
    bson_append_document_end(to, &inner);
}

/* A tag is an element of a list, so that its name may be any text. */
static enum rc put_tags(bson_t *to, const struct task *task) {
    if (!task->tags)
        return RC_OK;
    struct error why;
    LH_JSON tags = NULL;
    if (json_read((struct json_span){task->tags, strlen(task->tags)}, &tags, &why) != RC_OK)
        return why.rc;
    bson_t list, inner;
    size_t i = 0;
    const char *name;
    json_t *value;
    BSON_APPEND_ARRAY_BEGIN(to, "tags", &list);
    json_object_foreach(tags, name, value) {
        char room[MONGO_INDEX_CAP];
        const char *key = mongo_index_key(i++, room);
        BSON_APPEND_DOCUMENT_BEGIN(&list, key, &inner);
        put_text(&inner, "name", name);
        put_text(&inner, "value", json_string_value(value));
        bson_append_document_end(&list, &inner);
    }
    bson_append_array_end(to, &list);
    return RC_OK;
}

void mongo_put_idem(bson_t *to, const char *field, const struct task *task) {
    char key[TASK_TEXT_CAP + 256];
    size_t service = strlen(task->service), len = strlen(task->idem_key);
    memcpy(key, task->service, service + 1); /* with its NUL */
    memcpy(key + service + 1, task->idem_key, len);
    bson_append_utf8(to, field, -1, key, (int)(service + 1 + len));
}

static void put_queued(bson_t *to, const struct task_queued *queued) {
    bson_t inner;
    BSON_APPEND_DOCUMENT_BEGIN(to, "queued", &inner);
    mongo_put_time(&inner, "at", queued->at);
    mongo_put_time(&inner, "produced_at", queued->produced_at);
    put_text(&inner, "message", queued->place);
    bson_append_document_end(to, &inner);
}

static void put_run(bson_t *to, const struct task *task) {
    const struct task_run *run = &task->run;
    bson_t inner;
    BSON_APPEND_DOCUMENT_BEGIN(to, "run", &inner);
    put_text(&inner, "worker", run->worker[0] ? run->worker : NULL);
    if (run->token[0])
        put_text(&inner, "token", run->token);
    put_text(&inner, "claim_id", task->claim_id[0] ? task->claim_id : NULL);
    put_queued(&inner, &run->queued);
    mongo_put_time(&inner, "claimed_at", run->claimed_at);
    mongo_put_time(&inner, "started_at", run->started_at);
    mongo_put_time(&inner, "output_at", run->output_at);
    mongo_put_time(&inner, "ended_at", run->ended_at);
    put_text(&inner, "end", task_end_name(run->end));
    if (run->silent)
        BSON_APPEND_BOOL(&inner, "silent", true);
    if (run->lease_ms)
        BSON_APPEND_INT64(&inner, "lease_ms", run->lease_ms);
    bson_append_document_end(to, &inner);
}

/* alarm_at is null where there is none: the index holds only dates. */
static void put_times(bson_t *to, const struct task *task) {
    bson_t inner;
    BSON_APPEND_INT64(to, "rank", task->rank);
    mongo_put_time(to, "alarm_at", task->alarm_at);
    BSON_APPEND_DOCUMENT_BEGIN(to, "times", &inner);
    mongo_put_time(&inner, "due_at", task->due_at);
    mongo_put_time(&inner, "expire_at", task->expire_at);
    mongo_put_time(&inner, "deadline", task->deadline);
    BSON_APPEND_INT64(&inner, "tried", task->tried);
    bson_append_document_end(to, &inner);
}

static void put_cancel(bson_t *to, const struct task *task) {
    bson_t inner;
    if (!task->cancel_at) {
        BSON_APPEND_NULL(to, "cancel");
        return;
    }
    BSON_APPEND_DOCUMENT_BEGIN(to, "cancel", &inner);
    mongo_put_time(&inner, "at", task->cancel_at);
    BSON_APPEND_INT64(&inner, "grace_ms", task->grace_ms);
    put_text(&inner, "reason", task->cancel_reason);
    bson_append_document_end(to, &inner);
}

static void put_life(bson_t *to, const struct task *task) {
    put_times(to, task);
    put_cancel(to, task);
    put_text(to, "progress", task->progress);
    put_queued(to, &task->queued);
    put_run(to, task);
}

static void put_state(bson_t *to, const struct task *task) {
    put_text(to, "status", task_status_name(task->status));
    put_text(to, "sub_status", task_sub_name(task->sub));
    put_times_and_messages(to, task);
    put_error(to, task);
    put_text(to, "run_id", task->run_id[0] ? task->run_id : NULL);
    BSON_APPEND_INT64(to, "attempt", task->attempt);
    put_lease(to, task);
    put_life(to, task);
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
    mongo_put_time(to, "create_time", task->create_at);
    put_times_and_messages(to, task);
    BSON_APPEND_INT32(to, "lh", MONGO_DOC_SCHEMA);
    put_text(to, "sub_status", task_sub_name(task->sub));
    put_error(to, task);
    put_text(to, "run_id", task->run_id[0] ? task->run_id : NULL);
    BSON_APPEND_INT64(to, "attempt", task->attempt);
    put_lease(to, task);
    put_life(to, task);
    put_outbox(to, task);
    BSON_APPEND_INT64(to, "rev", task->rev);
    put_asked(to, task);
    if (task->idem_key) {
        mongo_put_idem(to, "idem", task);
        BSON_APPEND_INT64(to, "idem_hash", (int64_t)task->idem_hash);
    }
    if (task->traceparent)
        put_text(to, "traceparent", task->traceparent);
    if (task->tracestate)
        put_text(to, "tracestate", task->tracestate);
    rc = put_tags(to, task);
    return rc == RC_OK ? put_result(to, NULL, task) : rc;
}

static enum rc put_parts(const struct mongo_change *change, bson_t *set, bson_t *unset) {
    const struct task *task = &change->task;
    unsigned parts = change->parts;
    if (change->foreign_read) { /* adopted: from now on it has all fields of ours */
        BSON_APPEND_INT32(set, "lh", MONGO_DOC_SCHEMA);
        put_asked(set, task);
        parts |= PART_STATE | PART_OUTBOX;
    }
    BSON_APPEND_INT64(set, "rev", task->rev);
    if (parts & PART_STATE)
        put_state(set, task);
    else if (parts & PART_LEASE)
        put_renewal(set, task);
    if (parts & PART_OUTBOX)
        put_outbox(set, task);
    enum rc rc = parts & PART_CONDITION ? put_condition(set, unset, task) : RC_OK;
    if (rc == RC_OK && parts & PART_RESULT)
        rc = put_result(set, unset, task);
    return rc;
}

static void put_ops(bson_t *push, const uint8_t op_id[OBJECT_ID_LEN]) {
    bson_t ops, each;
    BSON_APPEND_DOCUMENT_BEGIN(push, "ops", &ops);
    BSON_APPEND_ARRAY_BEGIN(&ops, "$each", &each);
    mongo_put_oid(&each, "0", op_id);
    bson_append_array_end(&ops, &each);
    BSON_APPEND_INT32(&ops, "$slice", -MONGO_DOC_OPS_KEPT);
    bson_append_document_end(push, &ops);
}

/* The records of runs that the change puts aside, as texts. */
static enum rc put_runs(bson_t *push, const struct task *task) {
    LH_CLEANUP_BUF struct buf list;
    buf_init(&list, CARRIED_MAX);
    buf_printf(&list, "[%s]", task->aside);
    if (buf_rc(&list) != RC_OK)
        return RC_NO_MEMORY;
    struct json_span rest = {list.data, list.len}, record;
    bson_t runs, each;
    size_t i = 0;
    BSON_APPEND_DOCUMENT_BEGIN(push, "runs", &runs);
    BSON_APPEND_ARRAY_BEGIN(&runs, "$each", &each);
    while (json_span_next(&rest, &record)) {
        char room[MONGO_INDEX_CAP];
        bson_append_utf8(&each, mongo_index_key(i++, room), -1, record.at, (int)record.len);
    }
    bson_append_array_end(&runs, &each);
    BSON_APPEND_INT32(&runs, "$slice", -MONGO_DOC_RUNS_KEPT);
    bson_append_document_end(push, &runs);
    return RC_OK;
}

static enum rc put_push(const struct mongo_change *change, bson_t *to) {
    bson_t push;
    BSON_APPEND_DOCUMENT_BEGIN(to, "$push", &push);
    put_ops(&push, change->op_id);
    enum rc rc = change->parts & PART_RUN ? put_runs(&push, &change->task) : RC_OK;
    bson_append_document_end(to, &push);
    return rc;
}

enum rc mongo_doc_update(const struct mongo_change *change, bson_t *to) {
    bson_t set = BSON_INITIALIZER, unset = BSON_INITIALIZER;
    enum rc rc = put_parts(change, &set, &unset);
    if (rc == RC_OK) {
        BSON_APPEND_DOCUMENT(to, "$set", &set);
        if (!bson_empty(&unset))
            BSON_APPEND_DOCUMENT(to, "$unset", &unset);
        rc = put_push(change, to);
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
    if (LH_MUTANT("compare-and-set"))
        return;
    if (change->foreign_read) {
        BSON_APPEND_NULL(to, "lh"); /* matches where there is none */
        put_text(to, "status", task_status_name(change->status_read));
    } else {
        BSON_APPEND_INT64(to, "rev", change->rev_read);
    }
    if (change->guessed) /* other programs change it without a word in rev */
        put_text(to, "status", task_status_name(change->status_read));
}

void mongo_doc_project(bson_t *opts, struct mongo_want want) {
    mongo_doc_project_as(opts, "projection", want);
}

void mongo_doc_project_as(bson_t *opts, const char *key, struct mongo_want want) {
    bson_t inner;
    BSON_APPEND_DOCUMENT_BEGIN(opts, key, &inner);
    BSON_APPEND_INT32(&inner, "ops", 0);
    if (!want.condition) {
        BSON_APPEND_INT32(&inner, "condition", 0);
        BSON_APPEND_INT32(&inner, "condition_json", 0);
    }
    if (!want.result) {
        BSON_APPEND_INT32(&inner, "result", 0);
        BSON_APPEND_INT32(&inner, "result_json", 0);
    }
    if (!want.past)
        BSON_APPEND_INT32(&inner, "runs", 0);
    bson_append_document_end(opts, &inner);
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

enum rc mongo_task_copy(const struct task *task, struct mongo_want want, struct task *ret) {
    struct task copy = *task;
    copy.condition_len = want.condition ? task->condition_len : 0;
    copy.result_len = want.result ? task->result_len : 0;
    bool all = task_own_texts(&copy);
    all &= copy_text(want.condition ? task->condition : NULL, task->condition_len, &copy.condition);
    all &= copy_text(want.result ? task->result : NULL, task->result_len, &copy.result);
    if (!all)
        task_finish(&copy);
    *ret = copy;
    return all ? RC_OK : RC_NO_MEMORY;
}
