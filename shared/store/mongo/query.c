/* query.c: reading: by id, lists, counts, the outbox, leases that ran out. */
#include "store/mongo/mongo.h"

#include "base/mem.h"
#include "store/store_batch.h"

#include <string.h>

/* ---- by id: all named tasks of a batch in one search ---- */

/* A document by its task_id, while the queries that want it are answered. */
struct named {
    char *task_id; /* points into doc */
    bson_t *doc;
};

struct named_docs {
    struct named *docs;
    size_t n, cap;
};

static enum rc keep_named(void *with, const bson_t *doc) {
    struct named_docs *all = with;
    bson_iter_t iter;
    if (!bson_iter_init_find(&iter, doc, "task_id") || !BSON_ITER_HOLDS_UTF8(&iter) ||
        all->n == all->cap)
        return RC_OK;
    struct named *named = &all->docs[all->n];
    named->doc = bson_copy(doc);
    named->task_id = mem_dup(bson_iter_utf8(&iter, NULL), strlen(bson_iter_utf8(&iter, NULL)));
    if (!named->task_id) {
        bson_destroy(named->doc);
        return RC_NO_MEMORY;
    }
    all->n++;
    return RC_OK;
}

static int by_task_id(const void *a, const void *b) {
    return strcmp(((const struct named *)a)->task_id, ((const struct named *)b)->task_id);
}

static void put_ids(const struct query *query, bson_t *in, size_t *k) {
    char room[MONGO_INDEX_CAP];
    for (size_t i = 0; i < query->n_ids; i++) {
        const char *key = mongo_index_key((*k)++, room);
        BSON_APPEND_UTF8(in, key, query->ids[i]);
    }
}

static void put_named(struct query *const *queries, size_t n, bson_t *filter) {
    bson_t field, in;
    size_t k = 0;
    BSON_APPEND_DOCUMENT_BEGIN(filter, "task_id", &field);
    BSON_APPEND_ARRAY_BEGIN(&field, "$in", &in);
    for (size_t i = 0; i < n; i++)
        if (queries[i]->kind == QUERY_BY_ID)
            put_ids(queries[i], &in, &k);
    bson_append_array_end(&field, &in);
    bson_append_document_end(filter, &field);
}

static enum rc answer_named(struct query *query, const struct named_docs *all) {
    struct mongo_want want = {query->want_condition, query->want_result, query->want_past};
    query->tasks = calloc(query->n_ids + 1, sizeof *query->tasks);
    if (!query->tasks)
        return RC_NO_MEMORY;
    query->n_tasks = query->n_ids;
    for (size_t i = 0; i < query->n_ids; i++) {
        struct named key = {.task_id = query->ids[i]};
        const struct named *named =
            all->n ? bsearch(&key, all->docs, all->n, sizeof *all->docs, by_task_id) : NULL;
        enum rc rc = named ? mongo_doc_read(named->doc, want, &query->tasks[i]) : RC_NOT_FOUND;
        if (rc != RC_OK && rc != RC_NOT_FOUND)
            return rc;
    }
    return RC_OK;
}

static enum rc answer_all_named(struct query *const *queries, size_t n, struct named_docs *all) {
    enum rc rc = RC_OK;
    if (all->n)
        qsort(all->docs, all->n, sizeof *all->docs, by_task_id);
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        if (queries[i]->kind == QUERY_BY_ID)
            rc = answer_named(queries[i], all);
    return rc;
}

/* Those that are not there may have a tombstone, which reads as a task. */
static enum rc find_gone(struct mongo_link *link, struct query *const *queries, size_t n,
                         struct named_docs *all, struct error *err) {
    LH_FREE const char **missing = calloc(all->cap, sizeof *missing);
    size_t k = 0;
    if (!missing)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    if (all->n)
        qsort(all->docs, all->n, sizeof *all->docs, by_task_id);
    for (size_t i = 0; i < n; i++)
        for (size_t m = 0; queries[i]->kind == QUERY_BY_ID && m < queries[i]->n_ids; m++) {
            struct named key = {.task_id = queries[i]->ids[m]};
            if (!all->n || !bsearch(&key, all->docs, all->n, sizeof *all->docs, by_task_id))
                missing[k++] = key.task_id;
        }
    return k ? mongo_gone_find(link, missing, k, keep_named, all, err) : RC_OK;
}

static enum rc query_named(struct mongo_link *link, struct query *const *queries, size_t n,
                           struct error *err) {
    struct named_docs all = {0};
    struct mongo_want want = {0};
    for (size_t i = 0; i < n; i++)
        if (queries[i]->kind == QUERY_BY_ID) {
            all.cap += queries[i]->n_ids;
            want.condition |= queries[i]->want_condition;
            want.result |= queries[i]->want_result;
            want.past |= queries[i]->want_past;
        }
    if (!all.cap)
        return answer_all_named(queries, n, &all);
    LH_FREE struct named *docs = all.docs = calloc(all.cap, sizeof *docs);
    if (!docs)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER;
    put_named(queries, n, &filter);
    mongo_doc_project(&opts, want);
    enum rc rc = mongo_find(link, &filter, &opts, keep_named, &all, err);
    if (rc == RC_OK)
        rc = find_gone(link, queries, n, &all, err);
    if (rc == RC_OK && (rc = answer_all_named(queries, n, &all)) != RC_OK)
        error_set(err, rc, "%s", rc_info(rc)->text);
    bson_destroy(&filter);
    bson_destroy(&opts);
    for (size_t i = 0; i < all.n; i++) {
        free(docs[i].task_id);
        bson_destroy(docs[i].doc);
    }
    return rc;
}

/* ---- marked tasks ---- */

/* Documents on their way into query->tasks. */
struct page {
    struct query *query;
    size_t cap;
    struct mongo_want want;
};

static bool grow(struct page *page) {
    struct query *query = page->query;
    if (query->n_tasks < page->cap)
        return true;
    size_t cap = page->cap ? page->cap * 2 : 16;
    struct task *tasks = reallocarray(query->tasks, cap, sizeof *tasks);
    if (!tasks)
        return false;
    query->tasks = tasks;
    page->cap = cap;
    return true;
}

static enum rc keep_task(void *with, const bson_t *doc) {
    struct page *page = with;
    if (!grow(page))
        return RC_NO_MEMORY;
    enum rc rc = mongo_doc_read(doc, page->want, &page->query->tasks[page->query->n_tasks]);
    if (rc != RC_OK)
        return rc == RC_NOT_FOUND ? RC_OK : rc;
    page->query->n_tasks++;
    return RC_OK;
}

/* Finds tasks without their big fields, in one answer, so that no cursor stays: who asks asks again
 * in any case. Takes filter and opts. */
static enum rc find_marked(struct mongo_link *link, struct query *query, bson_t *filter,
                           bson_t *opts, struct error *err) {
    struct page page = {.query = query};
    mongo_doc_project(opts, page.want);
    BSON_APPEND_BOOL(opts, "singleBatch", true);
    enum rc rc = mongo_find(link, filter, opts, keep_task, &page, err);
    bson_destroy(filter);
    bson_destroy(opts);
    return rc;
}

/* Only documents of ours have an outbox. Bound and order are the partial index's. */
static enum rc query_outbox(struct mongo_link *link, struct query *query, struct error *err) {
    int64_t before = query->picked_before_ms > 0 ? query->picked_before_ms : 1;
    bson_t *filter = BCON_NEW("outbox.pending", BCON_BOOL(true), "outbox.pick_at", "{", "$lt",
                              BCON_DATE_TIME(before), "}");
    bson_t *opts = BCON_NEW("sort", "{", "outbox.pick_at", BCON_INT32(1), "service", BCON_INT32(1),
                            "_id", BCON_INT32(1), "}", "limit", BCON_INT64(query->limit));
    return find_marked(link, query, filter, opts, err);
}

static enum rc count_unsent(void *with, const bson_t *doc) {
    struct query *query = with;
    bson_iter_t iter, at;
    query->total++;
    if (!bson_iter_init(&iter, doc) || !bson_iter_find_descendant(&iter, "queued.at", &at) ||
        !BSON_ITER_HOLDS_DATE_TIME(&at))
        return RC_OK;
    int64_t since = bson_iter_date_time(&at);
    if (since > 0 && (!query->unsent_since || since < query->unsent_since))
        query->unsent_since = since;
    return RC_OK;
}

static enum rc query_unsent(struct mongo_link *link, struct query *query, struct error *err) {
    bson_t *filter = BCON_NEW("outbox.pending", BCON_BOOL(true), "outbox.pick_at", "{", "$lt",
                              BCON_DATE_TIME(OUTBOX_PARKED), "}");
    bson_t *opts = BCON_NEW("limit", BCON_INT64(UNSENT_MAX), "projection", "{", "queued.at",
                            BCON_INT32(1), "}");
    query->total = query->unsent_since = 0;
    enum rc rc = mongo_find(link, filter, opts, count_unsent, query, err);
    bson_destroy(filter);
    bson_destroy(opts);
    return rc;
}

static bson_t *parked_filter(const struct query *query) {
    bson_t *filter = BCON_NEW("outbox.pending", BCON_BOOL(true), "outbox.pick_at",
                              BCON_DATE_TIME(OUTBOX_PARKED));
    bson_t service, in;
    BSON_APPEND_DOCUMENT_BEGIN(filter, "service", &service);
    BSON_APPEND_ARRAY_BEGIN(&service, "$in", &in);
    for (size_t i = 0; i < query->n_services; i++) {
        char room[MONGO_INDEX_CAP];
        const char *key = mongo_index_key(i, room);
        BSON_APPEND_UTF8(&in, key, query->services[i]);
    }
    bson_append_array_end(&service, &in);
    bson_append_document_end(filter, &service);
    return filter;
}

/* The index has them by service, and within it in order of creation. */
static enum rc query_parked(struct mongo_link *link, struct query *query, struct error *err) {
    bson_t *opts =
        BCON_NEW("sort", "{", "_id", BCON_INT32(1), "}", "limit", BCON_INT64(query->limit));
    int64_t running = 0;
    enum rc rc = find_marked(link, query, parked_filter(query), opts, err);
    if (rc != RC_OK || !query->max_running || !query->n_tasks)
        return rc;
    rc = mongo_count_running(link, query->services[0], query->max_running, &running, err);
    if (rc == RC_OK)
        store_keep(query, query->max_running - running);
    return rc;
}

/* Only documents of ours have a lease. Status and order are the partial index's; null is no date.
 */
static enum rc query_lapsed(struct mongo_link *link, struct query *query, struct error *err) {
    bson_t *filter = BCON_NEW("status", BCON_UTF8(task_status_name(TASK_RUNNING)), "lease.until",
                              "{", "$lte", BCON_DATE_TIME(query->lapsed_before_ms), "}", "lh", "{",
                              "$gte", BCON_INT32(MONGO_DOC_SCHEMA), "}");
    if (query->lapsed_lease_ms)
        BCON_APPEND(filter, "run.lease_ms", "{", "$not", "{", "$gt",
                    BCON_INT64(query->lapsed_lease_ms), "}", "}");
    bson_t *opts = BCON_NEW("sort", "{", "lease.until", BCON_INT32(1), "_id", BCON_INT32(1), "}",
                            "limit", BCON_INT64(query->limit));
    return find_marked(link, query, filter, opts, err);
}

/* Bound and order are the partial index's. */
static enum rc query_alarms(struct mongo_link *link, struct query *query, struct error *err) {
    bson_t *filter = BCON_NEW("alarm_at", "{", "$gt", BCON_DATE_TIME(0), "$lte",
                              BCON_DATE_TIME(query->alarm_before_ms), "}", "lh", "{", "$gte",
                              BCON_INT32(MONGO_DOC_SCHEMA), "}");
    bson_t *opts = BCON_NEW("sort", "{", "alarm_at", BCON_INT32(1), "_id", BCON_INT32(1), "}",
                            "limit", BCON_INT64(query->limit));
    return find_marked(link, query, filter, opts, err);
}

/* Only documents of ours have messages. */
static enum rc query_best(struct mongo_link *link, struct query *query, struct error *err) {
    bson_t *filter = BCON_NEW("service", BCON_UTF8(query->services[0]), "status",
                              BCON_UTF8(task_status_name(TASK_WAITING)), "sub_status",
                              BCON_UTF8(task_sub_name(SUB_QUEUED)), "lh", "{", "$gte",
                              BCON_INT32(MONGO_DOC_SCHEMA), "}");
    bson_t *opts = BCON_NEW("sort", "{", "rank", BCON_INT32(1), "_id", BCON_INT32(1), "}", "limit",
                            BCON_INT64(query->limit));
    return find_marked(link, query, filter, opts, err);
}

/* ---- counts ---- */

static bson_t *counts_pipeline(void) {
    return BCON_NEW("pipeline", "[", "{", "$group", "{", "_id", "{", "service", "$service",
                    "status", "$status", "}", "n", "{", "$sum", BCON_INT32(1), "}", "}", "}", "]");
}

static struct store_count *count_of(struct query *query, const char *service) {
    for (size_t i = 0; i < query->n_counts; i++)
        if (strcmp(query->counts[i].service, service) == 0)
            return &query->counts[i];
    struct store_count *counts =
        reallocarray(query->counts, query->n_counts + 1, sizeof *query->counts);
    if (!counts)
        return NULL;
    query->counts = counts;
    struct store_count *count = &counts[query->n_counts++];
    *count = (struct store_count){0};
    (void)mem_copy_str(count->service, sizeof count->service, service);
    return count;
}

static const char *text_at(const bson_t *doc, const char *path) {
    bson_iter_t top, iter;
    return bson_iter_init(&top, doc) && bson_iter_find_descendant(&top, path, &iter) &&
                   BSON_ITER_HOLDS_UTF8(&iter)
               ? bson_iter_utf8(&iter, NULL)
               : NULL;
}

static enum rc keep_count(struct query *query, const bson_t *doc) {
    const char *service = text_at(doc, "_id.service"), *word = text_at(doc, "_id.status");
    enum task_status status;
    bson_iter_t n;
    if (!service || !word || !task_status_from_name(word, &status) ||
        !bson_iter_init_find(&n, doc, "n"))
        return RC_OK;
    struct store_count *count = count_of(query, service);
    if (!count)
        return RC_NO_MEMORY;
    count->by_status[status] += bson_iter_as_int64(&n);
    return RC_OK;
}

/* Waits for a claim: queued, or told just now; a base-contract document has no sub status. */
static bson_t *due_filter(const char *service) {
    return BCON_NEW("service", BCON_UTF8(service), "$or", "[", "{", "status", BCON_UTF8("waiting"),
                    "sub_status", "{", "$in", "[", "queued", BCON_NULL, "]", "}", "}", "{",
                    "status", BCON_UTF8("ready"), "sub_status", BCON_UTF8("producing"), "}", "]");
}

static enum rc keep_oldest(void *with, const bson_t *doc) {
    struct store_count *count = with;
    bson_iter_t iter;
    if (bson_iter_init_find(&iter, doc, "create_time") && BSON_ITER_HOLDS_DATE_TIME(&iter))
        count->oldest_due_at = bson_iter_date_time(&iter);
    return RC_OK;
}

static enum rc find_oldest(struct mongo_link *link, struct store_count *count, struct error *err) {
    bson_t *filter = due_filter(count->service);
    bson_t *opts = BCON_NEW("sort", "{", "create_time", BCON_INT32(1), "}", "limit", BCON_INT64(1),
                            "projection", "{", "create_time", BCON_INT32(1), "}");
    enum rc rc = mongo_find(link, filter, opts, keep_oldest, count, err);
    bson_destroy(filter);
    bson_destroy(opts);
    return rc;
}

static enum rc find_all_oldest(struct mongo_link *link, struct query *query, struct error *err) {
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && query->want_oldest && i < query->n_counts; i++) {
        struct store_count *count = &query->counts[i];
        if (count->by_status[TASK_READY] + count->by_status[TASK_WAITING] > 0)
            rc = find_oldest(link, count, err);
    }
    return rc;
}

static enum rc group_counts(struct mongo_link *link, struct query *query, struct error *err) {
    bson_t *pipeline = counts_pipeline();
    mongoc_cursor_t *cursor =
        mongoc_collection_aggregate(link->tasks, MONGOC_QUERY_NONE, pipeline, NULL, NULL);
    enum rc rc = RC_OK;
    bson_error_t fault;
    const bson_t *doc;
    while (rc == RC_OK && mongoc_cursor_next(cursor, &doc))
        rc = keep_count(query, doc);
    if (rc != RC_OK)
        error_set(err, rc, "%s", rc_info(rc)->text);
    else if (mongoc_cursor_error(cursor, &fault))
        rc = mongo_unavailable(&fault, err);
    mongoc_cursor_destroy(cursor);
    bson_destroy(pipeline);
    return rc;
}

/* Counted on the server while they are few; else the counters' word. */
static enum rc query_counts(struct mongo_link *link, struct query *query, struct error *err) {
    bool known;
    enum rc rc = mongo_counts_load(link, query, &known, err);
    if (rc == RC_OK && !known)
        rc = group_counts(link, query, err);
    return rc == RC_OK ? find_all_oldest(link, query, err) : rc;
}

/* isMaster tells the time, on every server. */
static enum rc query_ping(struct mongo_link *link, struct query *query, struct error *err) {
    bson_t ask = BSON_INITIALIZER, reply;
    bson_error_t fault;
    bson_iter_t iter;
    BSON_APPEND_INT32(&ask, "isMaster", 1);
    bool ok = mongoc_client_command_simple(link->client, "admin", &ask, NULL, &reply, &fault);
    if (ok && bson_iter_init_find(&iter, &reply, "localTime") && BSON_ITER_HOLDS_DATE_TIME(&iter))
        query->store_clock_ms = bson_iter_date_time(&iter);
    bson_destroy(&ask);
    bson_destroy(&reply);
    return ok ? RC_OK : mongo_unavailable(&fault, err);
}

static enum rc run_query(struct mongo_link *link, struct query *query, struct error *err) {
    switch (query->kind) {
    case QUERY_EXPIRED:
        return mongo_query_expired(link, query, err);
    case QUERY_LIST:
        return mongo_query_list(link, query, err);
    case QUERY_COUNTS:
        return query_counts(link, query, err);
    case QUERY_OUTBOX:
        return query_outbox(link, query, err);
    case QUERY_LAPSED:
        return query_lapsed(link, query, err);
    case QUERY_ALARMS:
        return query_alarms(link, query, err);
    case QUERY_BEST:
        return query_best(link, query, err);
    case QUERY_UNSENT:
        return query_unsent(link, query, err);
    case QUERY_PARKED:
        return query_parked(link, query, err);
    case QUERY_SERVICES:
        return mongo_query_services(link, query, err);
    case QUERY_WORKERS:
        return mongo_query_workers(link, query, err);
    case QUERY_LOG:
        return mongo_query_log(link, query, err);
    case QUERY_PING:
        return query_ping(link, query, err);
    case QUERY_BY_ID:
        break; /* answered together */
    }
    return RC_OK;
}

enum rc mongo_run_queries(struct mongo_link *link, struct query *const *queries, size_t n,
                          struct error *err) {
    enum rc rc = query_named(link, queries, n, err);
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        rc = run_query(link, queries[i], err);
    return rc;
}
