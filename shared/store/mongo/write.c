/* write.c: bulks of writes, repeated until it is known what they did.
 *
 * Every write here may be sent again: an insert carries our own _id, an update is guarded by what
 * was read and leaves its op_id. So an answer that was lost is asked for by sending the same bulk
 * once more, and what a first sending did shows as a duplicate or as an op_id in the document.
 */
#include "store/mongo/mongo.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "task/lifecycle.h"

#include <stdio.h>
#include <string.h>

/* One write of a bulk: an insert has no guard, a removal no body. */
struct item {
    bson_t *guard;
    bson_t *body;
    bool upsert;
};

static void item_finish(struct item *item) {
    bson_destroy(item->guard);
    bson_destroy(item->body);
}

enum sent {
    SENT_ANSWERED, /* the reply says what happened to each item */
    SENT_NOTHING,  /* surely nothing was written */
    SENT_MAYBE,    /* some or all may be written */
};

static bool has_items(const bson_t *reply, const char *key) {
    bson_iter_t iter, inner;
    return bson_iter_init_find(&iter, reply, key) && BSON_ITER_HOLDS_ARRAY(&iter) &&
           bson_iter_recurse(&iter, &inner) && bson_iter_next(&inner);
}

/* A command that the server refused as a whole, for a reason that it finds before it writes: not
 * allowed, not understood, not the primary, no disk. Any other failure (a node that goes down, a
 * proxy that lost what is behind it) may come after writing. */
static bool is_refusal(const bson_error_t *fault) {
    static const uint32_t codes[] = {2, 9, 13, 14, 18, 20, 59, 10107, 10334, 13435, 14031};
    for (size_t i = 0; i < LH_COUNT(codes); i++)
        if (fault->code == codes[i])
            return true;
    return false;
}

static bool was_sent(const bson_error_t *fault) {
    switch (fault->domain) {
    case MONGOC_ERROR_STREAM:
        return fault->code != MONGOC_ERROR_STREAM_CONNECT &&
               fault->code != MONGOC_ERROR_STREAM_NAME_RESOLUTION &&
               fault->code != MONGOC_ERROR_STREAM_NOT_ESTABLISHED;
    case MONGOC_ERROR_SERVER:
        return !is_refusal(fault);
    default:
        return false; /* no server found, no login, not even built */
    }
}

static enum sent judge(bool ok, const bson_t *reply, const bson_error_t *fault) {
    if (has_items(reply, "writeConcernErrors"))
        return SENT_MAYBE; /* written, but no majority has it yet */
    if (ok || (has_items(reply, "writeErrors") && fault->domain == MONGOC_ERROR_SERVER))
        return SENT_ANSWERED;
    return was_sent(fault) ? SENT_MAYBE : SENT_NOTHING;
}

static mongoc_bulk_operation_t *begin_bulk(mongoc_collection_t *collection) {
    bson_t opts = BSON_INITIALIZER, concern;
    BSON_APPEND_BOOL(&opts, "ordered", false);
    BSON_APPEND_DOCUMENT_BEGIN(&opts, "writeConcern", &concern);
    BSON_APPEND_UTF8(&concern, "w", "majority");
    BSON_APPEND_BOOL(&concern, "j", true);
    BSON_APPEND_INT32(&concern, "wtimeout", MONGO_WTIMEOUT_MS);
    bson_append_document_end(&opts, &concern);
    mongoc_bulk_operation_t *bulk =
        mongoc_collection_create_bulk_operation_with_opts(collection, &opts);
    bson_destroy(&opts);
    return bulk;
}

static bool add_item(mongoc_bulk_operation_t *bulk, const struct item *item, bson_error_t *fault) {
    bson_t opts = BSON_INITIALIZER;
    BSON_APPEND_BOOL(&opts, "validate", false); /* built here, key by key */
    if (item->upsert)
        BSON_APPEND_BOOL(&opts, "upsert", true);
    if (!item->body) {
        bson_destroy(&opts);
        return mongoc_bulk_operation_remove_one_with_opts(bulk, item->guard, NULL, fault);
    }
    bool ok = item->guard ? mongoc_bulk_operation_update_one_with_opts(bulk, item->guard,
                                                                       item->body, &opts, fault)
                          : mongoc_bulk_operation_insert_with_opts(bulk, item->body, &opts, fault);
    bson_destroy(&opts);
    return ok;
}

/* Sends the bulk once. *ret_reply is initialised in any case. */
static enum sent send_once(mongoc_collection_t *collection, const struct item *items, size_t n,
                           bson_t *ret_reply, bson_error_t *ret_fault) {
    mongoc_bulk_operation_t *bulk = begin_bulk(collection);
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++)
        ok = add_item(bulk, &items[i], ret_fault);
    if (!ok) {
        bson_init(ret_reply);
        mongoc_bulk_operation_destroy(bulk);
        return SENT_NOTHING;
    }
    ok = mongoc_bulk_operation_execute(bulk, ret_reply, ret_fault) != 0;
    mongoc_bulk_operation_destroy(bulk);
    return judge(ok, ret_reply, ret_fault);
}

/* Sends the bulk until the server has answered for every item of it. *ret_repeated: an earlier
 * sending may have written some. The caller destroys *ret_reply on RC_OK. */
static enum rc send_bulk(mongoc_collection_t *collection, const struct item *items, size_t n,
                         bson_t *ret_reply, bool *ret_repeated, struct error *err) {
    int64_t until = 0;
    bool maybe = false;
    for (;;) {
        bson_error_t fault = {0};
        enum sent sent = send_once(collection, items, n, ret_reply, &fault);
        if (sent == SENT_ANSWERED) {
            *ret_repeated = maybe;
            return RC_OK;
        }
        if (LH_MUTANT("durable-write")) {
            *ret_repeated = false;
            return RC_OK;
        }
        bson_destroy(ret_reply);
        maybe |= sent == SENT_MAYBE;
        if (!maybe)
            return mongo_unavailable(&fault, err);
        if (!until)
            until = clock_mono_ms() + MONGO_SETTLE_MS;
        if (clock_mono_ms() >= until)
            return error_set(err, RC_OUTCOME_UNKNOWN, "mongodb: outcome unknown: %s",
                             fault.message);
        mongo_pause();
    }
}

/* One entry of writeErrors. */
struct write_error {
    size_t index;
    int code;
    const char *text;
};

static bool next_error(bson_iter_t *list, struct write_error *ret) {
    bson_iter_t inner;
    if (!bson_iter_next(list) || !bson_iter_recurse(list, &inner))
        return false;
    *ret = (struct write_error){.text = ""};
    while (bson_iter_next(&inner)) {
        if (strcmp(bson_iter_key(&inner), "index") == 0)
            ret->index = (size_t)bson_iter_as_int64(&inner);
        else if (strcmp(bson_iter_key(&inner), "code") == 0)
            ret->code = (int)bson_iter_as_int64(&inner);
        else if (strcmp(bson_iter_key(&inner), "errmsg") == 0 && BSON_ITER_HOLDS_UTF8(&inner))
            ret->text = bson_iter_utf8(&inner, NULL);
    }
    return true;
}

static bool open_errors(const bson_t *reply, bson_iter_t *ret) {
    bson_iter_t iter;
    return bson_iter_init_find(&iter, reply, "writeErrors") && BSON_ITER_HOLDS_ARRAY(&iter) &&
           bson_iter_recurse(&iter, ret);
}

/* What the server says of one document: too large for it, or it cannot write just now. */
static enum rc rc_of_code(int code) {
    static const int too_large[] = {10334, 17280, 17419, 17420};
    for (size_t i = 0; i < LH_COUNT(too_large); i++)
        if (code == too_large[i])
            return RC_TOO_LARGE;
    return RC_STORE_UNAVAILABLE;
}

enum { CODE_DUPLICATE = 11000, CODE_CONFLICT = 112 };

/* ---- inserts ---- */

/* Inserts that met a duplicate, while their documents are looked up. */
struct lookup {
    struct mongo_insert *inserts;
    size_t n;
};

static enum rc see_duplicate(void *with, const bson_t *doc) {
    struct lookup *lookup = with;
    bson_iter_t id, task_id;
    if (!bson_iter_init_find(&id, doc, "_id") || !BSON_ITER_HOLDS_OID(&id) ||
        !bson_iter_init_find(&task_id, doc, "task_id") || !BSON_ITER_HOLDS_UTF8(&task_id))
        return RC_OK;
    for (size_t i = 0; i < lookup->n; i++) {
        struct mongo_insert *insert = &lookup->inserts[i];
        if (insert->rc != RC_OK &&
            memcmp(bson_iter_oid(&id)->bytes, insert->task->oid, OBJECT_ID_LEN) == 0 &&
            strcmp(bson_iter_utf8(&task_id, NULL), insert->task->task_id) == 0)
            insert->rc = RC_OK;
    }
    return RC_OK;
}

static void in_oids(bson_t *filter, const struct mongo_insert *inserts, size_t n) {
    bson_t id, in;
    size_t k = 0;
    BSON_APPEND_DOCUMENT_BEGIN(filter, "_id", &id);
    BSON_APPEND_ARRAY_BEGIN(&id, "$in", &in);
    for (size_t i = 0; i < n; i++) {
        char room[MONGO_INDEX_CAP];
        if (inserts[i].rc == RC_INTERNAL)
            mongo_put_oid(&in, mongo_index_key(k++, room), inserts[i].task->oid);
    }
    bson_append_array_end(&id, &in);
    bson_append_document_end(filter, &id);
}

/* After a repeated sending: a duplicate with our own _id is what an earlier one wrote. */
static enum rc settle_duplicates(struct mongo_link *link, struct mongo_insert *inserts, size_t n,
                                 struct error *err) {
    bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, fields;
    in_oids(&filter, inserts, n);
    BSON_APPEND_DOCUMENT_BEGIN(&opts, "projection", &fields);
    BSON_APPEND_INT32(&fields, "task_id", 1);
    bson_append_document_end(&opts, &fields);
    struct lookup lookup = {inserts, n};
    enum rc rc = mongo_find_patiently(link, &filter, &opts, see_duplicate, &lookup, err);
    bson_destroy(&filter);
    bson_destroy(&opts);
    if (rc != RC_OK)
        for (size_t i = 0; i < n; i++)
            if (inserts[i].rc == RC_INTERNAL)
                inserts[i].rc = RC_OUTCOME_UNKNOWN;
    return rc == RC_OK ? RC_OK : RC_OUTCOME_UNKNOWN;
}

/* Reads the reply into the inserts; true where some met a duplicate (RC_INTERNAL until settled). */
static bool read_insert_errors(const bson_t *reply, struct mongo_insert *inserts, size_t n) {
    bson_iter_t list;
    struct write_error error;
    bool duplicates = false;
    if (!open_errors(reply, &list))
        return false;
    while (next_error(&list, &error)) {
        if (error.index >= n)
            continue;
        struct mongo_insert *insert = &inserts[error.index];
        bool duplicate = error.code == CODE_DUPLICATE;
        duplicates |= duplicate;
        insert->rc = duplicate ? RC_INTERNAL : rc_of_code(error.code);
        snprintf(insert->text, sizeof insert->text, "%s",
                 duplicate ? "the task_id stands already" : error.text);
    }
    return duplicates;
}

enum rc mongo_write_new(struct mongo_link *link, struct mongo_insert *inserts, size_t n,
                        struct error *err) {
    LH_FREE struct item *items = calloc(n, sizeof *items);
    bson_t reply;
    bool repeated;
    if (!items)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < n; i++)
        items[i].body = inserts[i].doc;
    enum rc rc = send_bulk(link->tasks, items, n, &reply, &repeated, err);
    for (size_t i = 0; i < n; i++)
        inserts[i].rc = rc;
    if (rc != RC_OK)
        return rc;
    if (read_insert_errors(&reply, inserts, n) && repeated)
        rc = settle_duplicates(link, inserts, n, err);
    bson_destroy(&reply);
    return rc;
}

/* ---- upserts ---- */

/* A duplicate: another process inserted the same key at the same moment. */
static void read_upsert_errors(const bson_t *reply, struct mongo_upsert *upserts, size_t n) {
    bson_iter_t list;
    struct write_error error;
    if (!open_errors(reply, &list))
        return;
    while (next_error(&list, &error)) {
        if (error.index >= n || error.code == CODE_DUPLICATE)
            continue;
        upserts[error.index].rc = rc_of_code(error.code);
        snprintf(upserts[error.index].text, sizeof upserts->text, "%s", error.text);
    }
}

static int64_t reply_count(const bson_t *reply, const char *name) {
    bson_iter_t iter;
    return bson_iter_init_find(&iter, reply, name) ? bson_iter_as_int64(&iter) : 0;
}

enum rc mongo_write_guarded(mongoc_collection_t *collection, struct mongo_upsert *upserts, size_t n,
                            bool *ret_all, struct error *err) {
    LH_FREE struct item *items = calloc(n, sizeof *items);
    bson_t reply;
    bool repeated;
    if (!items)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < n; i++) {
        items[i] = (struct item){upserts[i].key, upserts[i].body, !upserts[i].exists};
        upserts[i].rc = RC_OK;
    }
    enum rc rc = send_bulk(collection, items, n, &reply, &repeated, err);
    if (rc != RC_OK)
        return rc;
    read_upsert_errors(&reply, upserts, n);
    *ret_all = reply_count(&reply, "nMatched") + reply_count(&reply, "nUpserted") == (int64_t)n;
    bson_destroy(&reply);
    return RC_OK;
}

enum rc mongo_write_upserts(mongoc_collection_t *collection, struct mongo_upsert *upserts, size_t n,
                            struct error *err) {
    bool all;
    return mongo_write_guarded(collection, upserts, n, &all, err);
}

/* ---- guarded updates ---- */

/* The changes of a bulk whose guards did not all hold, while the documents are looked at. */
struct verify {
    struct mongo_change *const *changes;
    size_t n;
    bool repeated;
};

static bool is_document_of(const struct mongo_change *change, const bson_t *doc) {
    bson_iter_t iter;
    return bson_iter_init_find(&iter, doc, "task_id") && BSON_ITER_HOLDS_UTF8(&iter) &&
           strcmp(bson_iter_utf8(&iter, NULL), change->task.task_id) == 0;
}

/* True where so much has happened since that the list of recent operations may have lost ours. */
static bool is_overtaken(const struct mongo_change *change, const bson_t *doc) {
    bson_iter_t iter;
    int64_t rev = bson_iter_init_find(&iter, doc, "rev") ? bson_iter_as_int64(&iter) : 0;
    return rev - change->rev_read > MONGO_DOC_OPS_KEPT;
}

static enum rc see_change(void *with, const bson_t *doc) {
    struct verify *verify = with;
    for (size_t i = 0; i < verify->n; i++) {
        struct mongo_change *change = verify->changes[i];
        if (!is_document_of(change, doc))
            continue;
        change->found = true;
        if (mongo_doc_has_op(doc, change->op_id))
            change->state = CHANGE_HELD;
        else if (verify->repeated && is_overtaken(change, doc))
            change->state = CHANGE_OPEN;
    }
    return RC_OK;
}

static bool all_have_oid(struct mongo_change *const *changes, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!mongo_task_has_oid(&changes[i]->task))
            return false;
    return true;
}

static void put_any_oid(bson_t *filter, struct mongo_change *const *changes, size_t n) {
    bson_t id, in;
    char room[MONGO_INDEX_CAP];
    BSON_APPEND_DOCUMENT_BEGIN(filter, "_id", &id);
    BSON_APPEND_ARRAY_BEGIN(&id, "$in", &in);
    for (size_t i = 0; i < n; i++)
        mongo_put_oid(&in, mongo_index_key(i, room), changes[i]->task.oid);
    bson_append_array_end(&id, &in);
    bson_append_document_end(filter, &id);
}

static void put_any_key(bson_t *filter, struct mongo_change *const *changes, size_t n) {
    bson_t any, key;
    char room[MONGO_INDEX_CAP];
    BSON_APPEND_ARRAY_BEGIN(filter, "$or", &any);
    for (size_t i = 0; i < n; i++) {
        BSON_APPEND_DOCUMENT_BEGIN(&any, mongo_index_key(i, room), &key);
        mongo_doc_key(&changes[i]->task, &key);
        bson_append_document_end(&any, &key);
    }
    bson_append_array_end(filter, &any);
}

/* Of several removals that found nothing, which ones another process made is not told; `removed` is
 * how many this one made. */
static enum rc verify_changes(struct mongo_link *link, struct mongo_change *const *changes,
                              size_t n, int64_t removed, bool repeated, struct error *err) {
    bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, fields;
    if (all_have_oid(changes, n))
        put_any_oid(&filter, changes, n);
    else
        put_any_key(&filter, changes, n);
    BSON_APPEND_DOCUMENT_BEGIN(&opts, "projection", &fields);
    BSON_APPEND_INT32(&fields, "task_id", 1);
    BSON_APPEND_INT32(&fields, "ops", 1);
    BSON_APPEND_INT32(&fields, "rev", 1);
    bson_append_document_end(&opts, &fields);
    for (size_t i = 0; i < n; i++) {
        changes[i]->state = CHANGE_LOST;
        changes[i]->found = false;
    }
    struct verify verify = {changes, n, repeated};
    enum rc rc = mongo_find_patiently(link, &filter, &opts, see_change, &verify, err);
    bson_destroy(&filter);
    bson_destroy(&opts);
    for (size_t i = 0; i < n; i++) {
        if (rc == RC_OK && !changes[i]->found && changes[i]->parts & PART_REMOVED && removed-- > 0)
            changes[i]->state = CHANGE_HELD; /* it is gone, and as many are counted as we removed */
        if (rc != RC_OK && changes[i]->state == CHANGE_LOST)
            changes[i]->state = CHANGE_OPEN;
        if (changes[i]->state == CHANGE_OPEN && rc == RC_OK)
            rc = error_set(err, RC_OUTCOME_UNKNOWN, "mongodb: task %s changed too often to tell",
                           changes[i]->task.task_id);
    }
    return rc == RC_OK ? RC_OK : RC_OUTCOME_UNKNOWN;
}

/* Updates that the server will not have, unless an earlier sending made them. */
static void read_update_errors(const bson_t *reply, struct mongo_change *const *changes, size_t n) {
    bson_iter_t list;
    struct write_error error;
    if (!open_errors(reply, &list))
        return;
    while (next_error(&list, &error)) {
        if (error.index >= n || error.code == CODE_CONFLICT)
            continue;
        struct mongo_change *change = changes[error.index];
        if (change->state != CHANGE_LOST)
            continue;
        change->state = CHANGE_REFUSED;
        change->rc = rc_of_code(error.code);
        snprintf(change->text, sizeof change->text, "%s", error.text);
    }
}

static bool all_matched(const bson_t *reply, size_t n) {
    int64_t matched = reply_count(reply, "nMatched") + reply_count(reply, "nRemoved");
    return !has_items(reply, "writeErrors") && matched == (int64_t)n;
}

static enum rc send_changes(struct mongo_link *link, struct mongo_change *const *changes,
                            const struct item *items, size_t n, struct error *err) {
    bson_t reply;
    bool repeated;
    enum rc rc = send_bulk(link->tasks, items, n, &reply, &repeated, err);
    if (rc != RC_OK)
        return rc;
    if (all_matched(&reply, n))
        for (size_t i = 0; i < n; i++)
            changes[i]->state = CHANGE_HELD;
    else
        rc = verify_changes(link, changes, n,
                            repeated ? (int64_t)n : reply_count(&reply, "nRemoved"), repeated, err);
    read_update_errors(&reply, changes, n);
    bson_destroy(&reply);
    return rc;
}

/* Builds guard and update; a change that no document can hold is refused here. */
static bool build_change(struct mongo_change *change, struct item *item) {
    bson_t *guard = bson_new();
    mongo_doc_guard(change, guard);
    if (change->parts & PART_REMOVED) {
        *item = (struct item){.guard = guard};
        return true;
    }
    bson_t *update = bson_new();
    enum rc rc = mongo_doc_update(change, update);
    if (rc == RC_OK && update->len > MONGO_DOC_BYTES_MAX)
        rc = RC_TOO_LARGE;
    *item = (struct item){.guard = guard, .body = update};
    if (rc == RC_OK)
        return true;
    item_finish(item);
    change->state = CHANGE_REFUSED;
    change->rc = rc;
    change->text[0] = '\0';
    return false;
}

enum rc mongo_write_changes(struct mongo_link *link, struct mongo_change *const *changes, size_t n,
                            struct error *err) {
    LH_FREE struct item *items = calloc(n, sizeof *items);
    LH_FREE struct mongo_change **built = calloc(n, sizeof(struct mongo_change *));
    size_t n_built = 0;
    if (!items || !built)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < n; i++)
        if (build_change(changes[i], &items[n_built]))
            built[n_built++] = changes[i];
    enum rc rc = n_built ? send_changes(link, built, items, n_built, err) : RC_OK;
    for (size_t i = 0; i < n_built; i++)
        item_finish(&items[i]);
    return rc;
}
