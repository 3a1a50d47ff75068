/* store_sqlite_query.c: a batch of queries on one snapshot of the file. */
#include "base/mem.h"
#include "store/store_batch.h"
#include "store/store_sqlite.h"

#include <stdlib.h>
#include <string.h>

/* Steps that find or find not are both fine. */
static int found_or_not(int sq) {
    return sq == SQLITE_ROW || sq == SQLITE_DONE ? SQLITE_OK : sq;
}

static int load_named(struct sqlite_conn *conn, const struct query *query, const char *task_id,
                      struct task *task) {
    int64_t seq;
    int sq = sqlite_task_by_id(conn, task_id, task, &seq);
    if (sq != SQLITE_ROW)
        return found_or_not(sq);
    sq = SQLITE_OK;
    if (query->want_condition)
        sq = found_or_not(sqlite_task_condition(conn, seq, task));
    if (sq == SQLITE_OK && query->want_result)
        sq = found_or_not(sqlite_task_result(conn, seq, task));
    return sq;
}

static int query_by_id(struct sqlite_conn *conn, struct query *query) {
    query->tasks = calloc(query->n_ids + 1, sizeof *query->tasks);
    if (!query->tasks)
        return SQLITE_NOMEM;
    query->n_tasks = query->n_ids;
    int sq = SQLITE_OK;
    for (size_t i = 0; sq == SQLITE_OK && i < query->n_ids; i++)
        sq = load_named(conn, query, query->ids[i], &query->tasks[i]);
    return sq;
}

static bool listed(const struct query *query, const struct sqlite_count *row) {
    enum task_status status;
    enum task_sub sub;
    if (query->service[0] && strcmp(query->service, row->service) != 0)
        return false;
    return !query->by_status ||
           (sqlite_state_split(row->state, &status, &sub) && status == query->status);
}

/* Passes over query->skip tasks and loads up to `count` of those that follow. */
static int load_page(struct sqlite_conn *conn, struct sqlite_merge *merge, struct query *query,
                     int64_t count) {
    int64_t seq = 0, at = 0, end = query->skip + count;
    size_t bytes = 0;
    int sq = SQLITE_ROW;
    for (; at < end && (sq = sqlite_merge_next(merge, &seq)) == SQLITE_ROW; at++) {
        if (at < query->skip)
            continue;
        struct task *task = &query->tasks[query->n_tasks];
        sq = sqlite_task_by_seq(conn, seq, task);
        if (sq != SQLITE_ROW)
            return sq == SQLITE_DONE ? SQLITE_CORRUPT : sq;
        query->n_tasks++;
        sq = found_or_not(sqlite_task_condition(conn, seq, task));
        if (sq != SQLITE_OK || !store_page_fits(query, &bytes))
            return sq;
    }
    return found_or_not(sq);
}

static int list_page(struct sqlite_conn *conn, const struct sqlite_count *const *lists, size_t n,
                     struct query *query) {
    int64_t left = query->total - query->skip;
    if (left <= 0 || query->limit <= 0)
        return SQLITE_OK;
    int64_t count = left < query->limit ? left : query->limit;
    query->tasks = calloc((size_t)count, sizeof *query->tasks);
    if (!query->tasks)
        return SQLITE_NOMEM;
    struct sqlite_merge merge;
    int sq = sqlite_merge_open(&merge, conn, lists, n);
    if (sq == SQLITE_OK)
        sq = load_page(conn, &merge, query, count);
    sqlite_merge_close(&merge);
    return sq;
}

static int query_list(struct sqlite_conn *conn, struct query *query) {
    struct sqlite_counts counts;
    int sq = sqlite_counts_load(conn, &counts);
    if (sq != SQLITE_OK)
        return sq;
    LH_FREE const struct sqlite_count **lists = calloc(counts.n + 1, sizeof *lists);
    size_t n = 0;
    for (size_t i = 0; lists && i < counts.n; i++)
        if (listed(query, &counts.rows[i])) {
            lists[n++] = &counts.rows[i];
            query->total += counts.rows[i].n;
        }
    sq = lists ? list_page(conn, lists, n, query) : SQLITE_NOMEM;
    sqlite_counts_finish(&counts);
    return sq;
}

static int query_counts(struct sqlite_conn *conn, struct query *query) {
    struct sqlite_counts counts;
    int sq = sqlite_counts_load(conn, &counts);
    if (sq != SQLITE_OK)
        return sq;
    query->counts = calloc(counts.n + 1, sizeof *query->counts);
    struct store_count *count = query->counts;
    for (size_t i = 0; query->counts && i < counts.n; i++) {
        const struct sqlite_count *row = &counts.rows[i];
        enum task_status status;
        enum task_sub sub;
        if (i > 0 && strcmp(row->service, counts.rows[i - 1].service) != 0)
            count++;
        memcpy(count->service, row->service, sizeof count->service);
        if (sqlite_state_split(row->state, &status, &sub))
            count->by_status[status] += row->n;
        query->n_counts = (size_t)(count - query->counts) + 1;
    }
    sqlite_counts_finish(&counts);
    return query->counts ? SQLITE_OK : SQLITE_NOMEM;
}

/* Grows query->tasks by one zeroed place; the array doubles. */
static struct task *add_task(struct query *query) {
    size_t n = query->n_tasks;
    if (n == 0 || (n & (n - 1)) == 0) {
        size_t cap = n ? n * 2 : 1;
        struct task *tasks = reallocarray(query->tasks, cap, sizeof *tasks);
        if (!tasks)
            return NULL;
        query->tasks = tasks;
    }
    return memset(&query->tasks[n], 0, sizeof *query->tasks);
}

/* Loads up to query->limit tasks that the statement finds by a time. */
static int load_by_time(struct sqlite_conn *conn, enum sqlite_stmt_id id, int64_t time_ms,
                        struct query *query) {
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, id, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int64(stmt, 1, time_ms);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int64(stmt, 2, query->limit);
    if (sq != SQLITE_OK)
        return sq;
    while ((sq = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct task *task = add_task(query);
        sq = task ? sqlite_task_read(stmt, task, NULL) : SQLITE_NOMEM;
        if (sq != SQLITE_OK)
            break;
        query->n_tasks++;
    }
    sqlite3_reset(stmt);
    return found_or_not(sq);
}

static int query_outbox(struct sqlite_conn *conn, struct query *query) {
    int64_t before = query->picked_before_ms > 0 ? query->picked_before_ms : 1;
    return load_by_time(conn, STMT_OUTBOX_DUE, before, query);
}

static int query_lapsed(struct sqlite_conn *conn, struct query *query) {
    return load_by_time(conn, STMT_LAPSED, query->lapsed_before_ms, query);
}

static int query_ping(struct sqlite_conn *conn, struct query *query) {
    (void)query;
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, STMT_PING, &stmt);
    if (sq != SQLITE_OK)
        return sq;
    sq = sqlite3_step(stmt);
    sqlite3_reset(stmt);
    return found_or_not(sq);
}

static int (*const kinds[])(struct sqlite_conn *conn, struct query *query) = {
    [QUERY_BY_ID] = query_by_id,   [QUERY_LIST] = query_list,
    [QUERY_COUNTS] = query_counts, [QUERY_OUTBOX] = query_outbox,
    [QUERY_LAPSED] = query_lapsed, [QUERY_WORKERS] = sqlite_workers_load,
    [QUERY_PING] = query_ping,
};

enum rc sqlite_query(struct store *base, unsigned reader, struct query *const *queries, size_t n,
                     struct error *err) {
    struct sqlite_store *store = (struct sqlite_store *)base;
    struct sqlite_conn *conn = &store->readers[reader];
    int sq = sqlite_conn_run(conn, STMT_BEGIN_READ);
    for (size_t i = 0; sq == SQLITE_OK && i < n; i++)
        sq = kinds[queries[i]->kind](conn, queries[i]);
    if (sq == SQLITE_OK)
        sq = sqlite_conn_run(conn, STMT_COMMIT);
    if (sq == SQLITE_OK)
        return RC_OK;
    (void)error_set(err, RC_STORE_UNAVAILABLE, "%s: %s (SQLite %d)", store->path, sqlite_why(sq),
                    sq);
    sqlite_conn_rollback(conn);
    return RC_STORE_UNAVAILABLE;
}
