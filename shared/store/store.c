/* store.c: opens the back end that the configuration names, and what back ends have in common. */
#include "store/store.h"

#include "base/mem.h"
#include "base/plugin.h"
#include "store/store_batch.h"
#include "store/store_list.h"

#include <stdio.h>
#include <string.h>

const struct store_count *store_count_find(const struct store_count *counts, size_t n,
                                           const char *service) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(counts[i].service, service) == 0)
            return &counts[i];
    return NULL;
}

struct query *query_create(enum query_kind kind) {
    struct query *query = calloc(1, sizeof *query);
    if (query)
        query->kind = kind;
    return query;
}

struct query *query_create_of_ids(enum query_kind kind, size_t max_ids) {
    struct query *query = query_create(kind);
    if (!query)
        return NULL;
    query->ids = calloc(max_ids + 1, sizeof *query->ids);
    if (query->ids)
        return query;
    query_destroy(query);
    return NULL;
}

bool query_add_id(struct query *query, const char *task_id, size_t len) {
    char *copy = mem_dup(task_id, len);
    if (copy)
        query->ids[query->n_ids++] = copy;
    return copy;
}

static struct query *create_named(enum query_kind kind, const char *const *ids, size_t n) {
    struct query *query = query_create_of_ids(kind, n);
    bool named = query != NULL;
    for (size_t i = 0; named && i < n; i++)
        named = query_add_id(query, ids[i], strlen(ids[i]));
    if (named)
        return query;
    query_destroy(query);
    return NULL;
}

struct query *query_create_for(enum query_kind kind, const char *task_id) {
    return create_named(kind, &task_id, 1);
}

struct query *query_create_by_id(const char *const *ids, size_t n) {
    return create_named(QUERY_BY_ID, ids, n);
}

struct query *query_create_of(enum query_kind kind, size_t max_services) {
    struct query *query = query_create(kind);
    if (!query)
        return NULL;
    query->services = calloc(max_services, sizeof *query->services);
    if (query->services)
        return query;
    query_destroy(query);
    return NULL;
}

bool query_add_service(struct query *query, const char *name) {
    char *copy = strdup(name);
    if (copy)
        query->services[query->n_services++] = copy;
    return copy;
}

static void free_workers(struct query *query) {
    for (size_t i = 0; i < query->n_workers; i++)
        free(query->workers[i].value);
    free(TAKE(query->workers));
    query->n_workers = 0;
}

static void free_log(struct query *query) {
    run_log_finish(&query->log.log);
    free(query->log.bytes);
    query->log = (struct store_log){0};
}

void query_destroy(struct query *query) {
    if (!query)
        return;
    for (size_t i = 0; query->ids && i < query->n_ids; i++)
        free(query->ids[i]);
    free(query->ids);
    for (size_t i = 0; query->services && i < query->n_services; i++)
        free(query->services[i]);
    free(query->services);
    list_filter_finish(&query->filter);
    free(query->after);
    free(query->before);
    free(query->next);
    free(query->prev);
    tasks_free(query->tasks, query->n_tasks);
    free(query->counts);
    free(query->set);
    free_workers(query);
    free_log(query);
    free(query);
}

/* The address of a function in a loadable module: ISO C has no cast from void * to it. */
union mongo_open {
    void *symbol;
    enum rc (*open)(const struct config *cfg, unsigned n_readers, struct store **ret,
                    struct error *err);
};

enum rc store_open(const struct config *cfg, unsigned n_readers, struct store **ret,
                   struct error *err) {
    if (cfg->store == STORE_SQLITE)
        return store_sqlite_open(cfg->sqlite_path, n_readers, ret, err);
    union mongo_open mongo;
    /* The driver makes its counters, which nobody reads, when it is loaded; in /dev/shm those of a
     * process that is killed would stay. */
    (void)setenv("MONGOC_DISABLE_SHM", "1", 0);
    enum rc rc = plugin_symbol("store-mongo", "store_mongo_open", &mongo.symbol, err);
    return rc == RC_OK ? mongo.open(cfg, n_readers, ret, err) : rc;
}

enum rc store_apply(struct store *store, struct op *const *ops, size_t n, struct error *err) {
    for (size_t i = 0; i < n; i++)
        if (store_op_begin(ops[i]) != RC_OK) {
            (void)error_set(err, RC_STORE_UNAVAILABLE, "%s: out of memory", store->impl->name);
            return store_ops_fail(ops, n, RC_STORE_UNAVAILABLE, "out of memory");
        }
    return n ? store->impl->apply(store, ops, n, err) : RC_OK;
}

void store_set_herald(struct store *store, store_herald *herald, void *arg) {
    store->herald = herald;
    store->herald_arg = arg;
}

static void query_begin(struct query *query) {
    query->rc = RC_OK;
    query->text[0] = '\0';
    tasks_free(TAKE(query->tasks), query->n_tasks);
    free(TAKE(query->counts));
    free(TAKE(query->set));
    free_workers(query);
    free_log(query);
    query->n_tasks = query->n_counts = query->n_set = 0;
    query->total = query->store_clock_ms = 0;
    query->total_at_least = false;
    free(TAKE(query->next));
    free(TAKE(query->prev));
}

enum rc store_query(struct store *store, unsigned reader, struct query *const *queries, size_t n,
                    struct error *err) {
    struct error own = {0};
    for (size_t i = 0; i < n; i++)
        query_begin(queries[i]);
    enum rc rc = n ? store->impl->query(store, reader, queries, n, &own) : RC_OK;
    for (size_t i = 0; rc != RC_OK && i < n; i++) {
        query_begin(queries[i]);
        queries[i]->rc = rc;
        snprintf(queries[i]->text, sizeof queries[i]->text, "%s", rc_info(rc)->text);
    }
    if (rc != RC_OK && err)
        *err = own;
    return rc;
}

void store_destroy(struct store *store) {
    if (store)
        store->impl->destroy(store);
}

bool store_page_fits(struct query *query, size_t *bytes) {
    const struct task *task = &query->tasks[query->n_tasks - 1];
    *bytes += task->condition_len + task->result_len;
    if (!query->max_bytes || query->n_tasks <= 1 || *bytes <= query->max_bytes)
        return true;
    query_begin(query);
    query->rc = RC_TOO_LARGE;
    snprintf(query->text, sizeof query->text,
             "the values of this page are larger than %zu bytes: ask for a smaller p_size",
             query->max_bytes);
    return false;
}

void store_keep(struct query *query, int64_t n) {
    while (query->n_tasks > 0 && (int64_t)query->n_tasks > n)
        task_finish(&query->tasks[--query->n_tasks]);
}

enum rc store_op_begin(struct op *op) {
    op->rc = RC_OK;
    op->text[0] = '\0';
    if (op->kind != OP_CREATE) {
        tasks_free(TAKE(op->tasks), op->n_tasks);
        op->n_tasks = 0;
        op->log_end = 0;
        return RC_OK;
    }
    if (!op->task_rc)
        op->task_rc = calloc(op->n_tasks + 1, sizeof *op->task_rc);
    if (!op->task_rc)
        return op->rc = RC_NO_MEMORY;
    for (size_t i = 0; i < op->n_tasks; i++)
        op->task_rc[i] = RC_OK;
    return RC_OK;
}

void store_op_fail(struct op *op, enum rc rc, const char *text) {
    op->rc = rc;
    snprintf(op->text, sizeof op->text, "%s", text);
    if (op->kind == OP_CREATE) {
        for (size_t i = 0; op->task_rc && i < op->n_tasks; i++)
            op->task_rc[i] = rc;
        return;
    }
    tasks_free(TAKE(op->tasks), op->n_tasks);
    op->n_tasks = 0;
}

bool store_op_swept(const struct op *op) {
    bool sweeper = op->kind == OP_PICK || op->kind == OP_LAPSE || op->kind == OP_ALARM;
    return sweeper && op_needs_condition(op);
}

enum rc store_ops_fail(struct op *const *ops, size_t n, enum rc rc, const char *text) {
    for (size_t i = 0; i < n; i++)
        store_op_fail(ops[i], rc, text);
    return rc;
}
