/* mongo.c: the MongoDB back end: opening, batches, closing. */
#include "store/mongo/mongo.h"

#include "base/log.h"
#include "base/mem.h"
#include "store/store_batch.h"

#include <stdlib.h>

typedef enum rc stage(struct mongo_link *link, struct op *const *ops, size_t n, struct error *err);

static stage *const stages[] = {mongo_apply_creates, mongo_apply_changes, mongo_apply_takes,
                                mongo_apply_workers, mongo_apply_logs,    mongo_apply_services,
                                mongo_apply_forgets};

static size_t stage_of(enum op_kind kind) {
    switch (kind) {
    case OP_CREATE:
        return 0;
    case OP_TAKE:
        return 2;
    case OP_WORKER:
        return 3;
    case OP_LOG:
        return 4;
    case OP_SERVICE:
        return 5;
    case OP_FORGET:
        return 6;
    default:
        return 1;
    }
}

/* The server went away in an earlier stage: what comes later is surely not stored. */
static void fail_later(struct op *const *ops, size_t n, size_t done) {
    for (size_t i = 0; i < n; i++)
        if (stage_of(ops[i]->kind) > done)
            store_op_fail(ops[i], RC_STORE_UNAVAILABLE, rc_info(RC_STORE_UNAVAILABLE)->text);
}

static enum rc apply_all(struct mongo_link *link, struct op *const *ops, size_t n,
                         struct error *err) {
    for (size_t i = 0; i < LH_COUNT(stages); i++) {
        enum rc rc = stages[i](link, ops, n, err);
        if (rc != RC_OK) {
            fail_later(ops, n, i);
            return rc;
        }
    }
    return RC_OK;
}

static enum rc apply(struct store *base, struct op *const *ops, size_t n, struct error *err) {
    struct mongo_store *store = (struct mongo_store *)base;
    struct mongo_link *link;
    enum rc begun = RC_OK;
    for (size_t i = 0; i < n; i++)
        if (store_op_begin(ops[i]) != RC_OK)
            begun = error_set(err, RC_NO_MEMORY, "out of memory");
    if (begun != RC_OK)
        return store_ops_fail(ops, n, begun, rc_info(begun)->text);
    enum rc rc = mongo_link_get(store, 0, &link, err);
    if (rc != RC_OK)
        return store_ops_fail(ops, n, rc, rc_info(rc)->text);
    rc = apply_all(link, ops, n, err);
    mongo_counts_flush(link);
    return rc;
}

static enum rc query(struct store *base, unsigned reader, struct query *const *queries, size_t n,
                     struct error *err) {
    struct mongo_link *link;
    enum rc rc = mongo_link_get((struct mongo_store *)base, 1 + reader, &link, err);
    return rc == RC_OK ? mongo_run_queries(link, queries, n, err) : rc;
}

static void destroy(struct store *base) {
    struct mongo_store *store = (struct mongo_store *)base;
    mongo_recount_stop(store);
    mongo_teller_stop(store);
    for (unsigned i = 0; store->links && i < store->n_links; i++)
        mongo_link_close(store, &store->links[i]);
    if (store->pool)
        mongoc_client_pool_destroy(store->pool);
    if (store->uri)
        mongoc_uri_destroy(store->uri);
    pthread_mutex_destroy(&store->lock);
    free(store->database);
    free(store->links);
    free(store);
}

static const struct store_impl impl = {
    .name = "mongodb", .apply = apply, .query = query, .destroy = destroy};

/* The driver's own lines, for those who look for them. */
static void log_driver(mongoc_log_level_t level, const char *domain, const char *message,
                       void *with) {
    (void)level;
    (void)with;
    log_debug(.msg = "mongodb driver", .detail = domain, .text = message);
}

static void driver_begin(void) {
    mongoc_init();
    mongoc_log_set_handler(log_driver, NULL);
    (void)atexit(mongoc_cleanup);
}

static enum rc open_store(const struct config *cfg, struct mongo_store *store, struct error *err) {
    store->links = calloc(store->n_links, sizeof *store->links);
    if (!store->links)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    enum rc rc = mongo_uri_make(cfg, store->n_links, store, err);
    if (rc != RC_OK)
        return rc;
    error_set(&store->setup_error, RC_STORE_UNAVAILABLE, "mongodb %s: not reached yet",
              store->peer);
    rc = mongo_setup(store, true, err);
    return rc == RC_STORE_UNAVAILABLE ? RC_OK : rc; /* it may come back: every call looks again */
}

enum rc store_mongo_open(const struct config *cfg, unsigned n_readers, struct store **ret,
                         struct error *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, driver_begin);
    struct mongo_store *store = calloc(1, sizeof *store);
    if (!store)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    store->base.impl = &impl;
    store->n_links = 1 + n_readers;
    pthread_mutex_init(&store->lock, NULL);
    enum rc rc = open_store(cfg, store, err);
    if (rc != RC_OK) {
        destroy(&store->base);
        return rc;
    }
    *ret = &store->base;
    return RC_OK;
}
