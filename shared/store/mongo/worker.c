/* worker.c: OP_WORKER and QUERY_WORKERS: the consumers, in a collection of their own.
 *
 * A document is {_id, seen_at, value, value_json}: `value` for people and other programs to read,
 * `value_json` the text that we give back. _id is the worker's id, or {id, token} where it has a
 * token that does not do all. Who saw a worker last wins; a write that is repeated changes nothing.
 */
#include "store/mongo/mongo.h"

#include "base/mem.h"
#include "store/mongo/value.h"
#include "store/store_batch.h"

#include <string.h>

/* ---- writing ---- */

/* Each worker of the batch once, as its last op says; `ops` lists all ops of workers. */
struct seen {
    struct op **ops;
    size_t n_ops;
    struct mongo_upsert *upserts;
    const struct op **last; /* of each upsert: the op that it is of */
    size_t n;
};

static bool is_mine(const struct op *op) {
    return op->kind == OP_WORKER && op->rc == RC_OK;
}

static enum rc put_worker(const struct op *op, bson_t *to) {
    bson_t set;
    bool exact;
    BSON_APPEND_DOCUMENT_BEGIN(to, "$set", &set);
    BSON_APPEND_DATE_TIME(&set, "seen_at", op->now_ms);
    enum rc rc =
        mongo_value_append(&set, "value", (struct json_span){op->value, op->value_len}, &exact);
    if (rc == RC_OK)
        bson_append_utf8(&set, "value_json", -1, op->value, (int)op->value_len);
    bson_append_document_end(to, &set);
    return rc;
}

static bool of_one_worker(const struct op *op, const struct op *other) {
    return strcmp(op->worker_id, other->worker_id) == 0 &&
           strcmp(op->worker_token, other->worker_token) == 0;
}

static size_t upsert_of(const struct seen *seen, const struct op *op) {
    size_t i = 0;
    while (i < seen->n && !of_one_worker(seen->last[i], op))
        i++;
    return i;
}

static bson_t *key_of(const struct op *op) {
    if (!op->worker_token[0])
        return BCON_NEW("_id", BCON_UTF8(op->worker_id));
    return BCON_NEW("_id", "{", "id", BCON_UTF8(op->worker_id), "token",
                    BCON_UTF8(op->worker_token), "}");
}

/* Backwards, so that the last op of a worker is met first. */
static void build_upserts(struct seen *seen) {
    for (size_t i = seen->n_ops; i-- > 0;) {
        struct op *op = seen->ops[i];
        if (upsert_of(seen, op) < seen->n)
            continue;
        bson_t *body = bson_new();
        enum rc rc = put_worker(op, body);
        if (rc != RC_OK) {
            bson_destroy(body);
            store_op_fail(op, rc, rc_info(rc)->text);
            continue;
        }
        seen->last[seen->n] = op;
        seen->upserts[seen->n].key = key_of(op);
        seen->upserts[seen->n++].body = body;
    }
}

static void tell_outcomes(const struct seen *seen, enum rc rc) {
    for (size_t i = 0; i < seen->n_ops; i++) {
        struct op *op = seen->ops[i];
        size_t k = upsert_of(seen, op);
        if (op->rc != RC_OK || k == seen->n)
            continue;
        const struct mongo_upsert *upsert = &seen->upserts[k];
        if (rc != RC_OK)
            store_op_fail(op, rc, rc_info(rc)->text);
        else if (upsert->rc != RC_OK)
            store_op_fail(op, upsert->rc, upsert->text);
    }
}

static enum rc write_seen(struct mongo_link *link, struct seen *seen, struct error *err) {
    build_upserts(seen);
    enum rc rc = seen->n ? mongo_write_upserts(link->workers, seen->upserts, seen->n, err) : RC_OK;
    tell_outcomes(seen, rc);
    for (size_t i = 0; i < seen->n; i++) {
        bson_destroy(seen->upserts[i].key);
        bson_destroy(seen->upserts[i].body);
    }
    return rc;
}

enum rc mongo_apply_workers(struct mongo_link *link, struct op *const *ops, size_t n,
                            struct error *err) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += is_mine(ops[i]);
    if (!count)
        return RC_OK;
    LH_FREE struct op **mine = calloc(count, sizeof(struct op *));
    LH_FREE struct mongo_upsert *upserts = calloc(count, sizeof *upserts);
    LH_FREE const struct op **last = calloc(count, sizeof(const struct op *));
    struct seen seen = {.ops = mine, .upserts = upserts, .last = last};
    for (size_t i = 0; mine && i < n; i++)
        if (is_mine(ops[i]))
            mine[seen.n_ops++] = ops[i];
    if (mine && upserts && last)
        return write_seen(link, &seen, err);
    for (size_t i = 0; i < n; i++)
        if (is_mine(ops[i]))
            store_op_fail(ops[i], RC_NO_MEMORY, rc_info(RC_NO_MEMORY)->text);
    return error_set(err, RC_NO_MEMORY, "out of memory");
}

/* ---- reading ---- */

static bool copy_text(const bson_iter_t *iter, char *ret, size_t cap) {
    return BSON_ITER_HOLDS_UTF8(iter) && mem_copy_str(ret, cap, bson_iter_utf8(iter, NULL));
}

/* The worker's id alone, or {id, token}. */
static bool read_key(const bson_t *doc, struct store_worker *ret) {
    bson_iter_t key, id, token;
    if (!bson_iter_init_find(&key, doc, "_id"))
        return false;
    if (copy_text(&key, ret->id, sizeof ret->id))
        return true;
    return BSON_ITER_HOLDS_DOCUMENT(&key) && bson_iter_recurse(&key, &id) &&
           bson_iter_find(&id, "id") && copy_text(&id, ret->id, sizeof ret->id) &&
           bson_iter_recurse(&key, &token) && bson_iter_find(&token, "token") &&
           copy_text(&token, ret->token, sizeof ret->token);
}

static bool read_worker(const bson_t *doc, struct store_worker *ret) {
    bson_iter_t seen_at, json;
    uint32_t len;
    if (!read_key(doc, ret) || !bson_iter_init_find(&seen_at, doc, "seen_at") ||
        !BSON_ITER_HOLDS_DATE_TIME(&seen_at) || !bson_iter_init_find(&json, doc, "value_json") ||
        !BSON_ITER_HOLDS_UTF8(&json))
        return false;
    ret->seen_at = bson_iter_date_time(&seen_at);
    const char *text = bson_iter_utf8(&json, &len);
    ret->value = mem_dup(text, len);
    ret->value_len = len;
    return true;
}

/* A document that is not one of ours is left out. */
static enum rc keep_worker(void *with, const bson_t *doc) {
    struct query *query = with;
    struct store_worker worker = {0};
    bool is_worker = read_worker(doc, &worker);
    if (!is_worker || !worker.value)
        return is_worker ? RC_NO_MEMORY : RC_OK;
    struct store_worker *workers =
        reallocarray(query->workers, query->n_workers + 1, sizeof *workers);
    if (!workers) {
        free(worker.value);
        return RC_NO_MEMORY;
    }
    query->workers = workers;
    workers[query->n_workers++] = worker;
    return RC_OK;
}

static int by_id(const void *a, const void *b) {
    const struct store_worker *one = a, *other = b;
    int order = strcmp(one->id, other->id);
    return order ? order : strcmp(one->token, other->token);
}

enum rc mongo_query_workers(struct mongo_link *link, struct query *query, struct error *err) {
    bson_t *filter = BCON_NEW("seen_at", "{", "$gte", BCON_DATE_TIME(query->seen_since_ms), "}");
    bson_t *opts = BCON_NEW("projection", "{", "value", BCON_INT32(0), "}");
    enum rc rc = mongo_find_in(link->workers, filter, opts, keep_worker, query, err);
    if (query->n_workers > 1)
        qsort(query->workers, query->n_workers, sizeof *query->workers, by_id);
    bson_destroy(filter);
    bson_destroy(opts);
    return rc;
}
