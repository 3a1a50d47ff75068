/* gone.c: the tombstones of removed tasks, in a collection of their own.
 *
 * A tombstone has the fields of a task that are kept, with sub_status "removed", so that it reads
 * as one. It is written before its task is removed: should the process die in between, or somebody
 * run the task again, it lies beside a task that lives, and nobody looks at it.
 */
#include "store/mongo/mongo.h"

#include "base/mem.h"
#include "store/store_batch.h"

#include <string.h>

/* ---- writing ---- */

static bson_t *tombstone_of(const struct task *task, int64_t now_ms) {
    bson_t *update = bson_new(), set;
    BSON_APPEND_DOCUMENT_BEGIN(update, "$set", &set);
    BSON_APPEND_UTF8(&set, "task_id", task->task_id);
    BSON_APPEND_UTF8(&set, "status", task_status_name(task->status));
    BSON_APPEND_UTF8(&set, "service", task->service);
    mongo_put_time(&set, "create_time", task->create_at);
    mongo_put_time(&set, "start_time", task->start_at);
    mongo_put_time(&set, "end_time", task->end_at);
    BSON_APPEND_INT32(&set, "lh", MONGO_DOC_SCHEMA);
    BSON_APPEND_UTF8(&set, "sub_status", task_sub_name(SUB_REMOVED));
    mongo_put_time(&set, "removed_time", now_ms);
    if (task->idem_key) {
        mongo_put_idem(&set, "idem", task);
        BSON_APPEND_INT64(&set, "idem_hash", (int64_t)task->idem_hash);
    }
    bson_append_document_end(update, &set);
    return update;
}

static enum rc write_tombstones(struct mongo_link *link, struct mongo_change *const *changes,
                                struct mongo_upsert *upserts, size_t n, int64_t now_ms,
                                struct error *err) {
    for (size_t i = 0; i < n; i++) {
        upserts[i].key = BCON_NEW("_id", BCON_UTF8(changes[i]->task.task_id));
        upserts[i].body = tombstone_of(&changes[i]->task, now_ms);
    }
    enum rc rc = mongo_write_upserts(link->gone, upserts, n, err);
    for (size_t i = 0; i < n; i++) {
        bson_destroy(upserts[i].key);
        bson_destroy(upserts[i].body);
        if (rc == RC_OK && upserts[i].rc != RC_OK)
            rc = error_set(err, upserts[i].rc, "mongodb: %s", upserts[i].text);
    }
    return rc;
}

static enum rc delete_logs(struct mongo_link *link, struct mongo_change *const *changes, size_t n,
                           struct error *err) {
    LH_FREE const char **ids = calloc(n, sizeof *ids);
    if (!ids)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < n; i++)
        ids[i] = changes[i]->task.task_id;
    return mongo_logs_delete(link, ids, n, err);
}

enum rc mongo_gone_add(struct mongo_link *link, struct mongo_change *const *changes, size_t n,
                       int64_t now_ms, struct error *err) {
    LH_FREE struct mongo_upsert *upserts = calloc(n, sizeof *upserts);
    if (!upserts)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    enum rc rc = write_tombstones(link, changes, upserts, n, now_ms, err);
    if (rc == RC_OK)
        rc = delete_logs(link, changes, n, err);
    return rc;
}

/* ---- reading ---- */

enum rc mongo_gone_find(struct mongo_link *link, const char *const *task_ids, size_t n,
                        mongo_see_doc *see, void *with, struct error *err) {
    bson_t filter = BSON_INITIALIZER, field, in;
    BSON_APPEND_DOCUMENT_BEGIN(&filter, "_id", &field);
    BSON_APPEND_ARRAY_BEGIN(&field, "$in", &in);
    for (size_t i = 0; i < n; i++) {
        char room[MONGO_INDEX_CAP];
        const char *key = mongo_index_key(i, room);
        BSON_APPEND_UTF8(&in, key, task_ids[i]);
    }
    bson_append_array_end(&field, &in);
    bson_append_document_end(&filter, &field);
    enum rc rc = mongo_find_in(link->gone, &filter, NULL, see, with, err);
    bson_destroy(&filter);
    return rc;
}

/* ---- forgetting ---- */

static enum rc see_old(void *with, const bson_t *doc) {
    bson_t *in = with;
    bson_iter_t id;
    char room[MONGO_INDEX_CAP];
    if (bson_iter_init_find(&id, doc, "_id"))
        bson_append_iter(in, mongo_index_key(bson_count_keys(in), room), -1, &id);
    return RC_OK;
}

/* What has been written anew since it was read, for a task that was removed again, stays: `filter`
 * is what found them, and is narrowed to the ids. */
static enum rc delete_old(struct mongo_link *link, bson_t *filter, const bson_t *ids,
                          struct error *err) {
    bson_t field;
    bson_error_t fault;
    BSON_APPEND_DOCUMENT_BEGIN(filter, "_id", &field);
    BSON_APPEND_ARRAY(&field, "$in", ids);
    bson_append_document_end(filter, &field);
    bool ok = mongoc_collection_delete_many(link->gone, filter, NULL, NULL, &fault);
    return ok ? RC_OK : mongo_unavailable(&fault, err);
}

static enum rc forget(struct mongo_link *link, struct op *op, struct error *err) {
    bson_t ids = BSON_INITIALIZER;
    bson_t *filter = BCON_NEW("removed_time", "{", "$lte", BCON_DATE_TIME(op->before_ms), "}");
    bson_t *opts =
        BCON_NEW("sort", "{", "removed_time", BCON_INT32(1), "}", "limit",
                 BCON_INT64((int64_t)op->max), "projection", "{", "_id", BCON_INT32(1), "}");
    enum rc rc = mongo_find_in(link->gone, filter, opts, see_old, &ids, err);
    if (rc == RC_OK && !bson_empty(&ids))
        rc = delete_old(link, filter, &ids, err);
    op->forgotten = rc == RC_OK ? bson_count_keys(&ids) : 0;
    bson_destroy(filter);
    bson_destroy(opts);
    bson_destroy(&ids);
    if (rc != RC_OK)
        store_op_fail(op, rc, rc_info(rc)->text);
    return rc;
}

enum rc mongo_apply_forgets(struct mongo_link *link, struct op *const *ops, size_t n,
                            struct error *err) {
    enum rc rc = RC_OK;
    for (size_t i = 0; i < n; i++) {
        if (ops[i]->kind != OP_FORGET || ops[i]->rc != RC_OK || !ops[i]->max)
            continue; /* to the server, a limit of 0 is none */
        if (rc == RC_OK)
            rc = forget(link, ops[i], err);
        else
            store_op_fail(ops[i], rc, rc_info(rc)->text);
    }
    return rc;
}
