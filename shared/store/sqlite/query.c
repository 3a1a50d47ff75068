/* query.c: a batch of queries on one snapshot of the file. */
#include "base/mem.h"
#include "store/sqlite/sqlite.h"
#include "store/store_batch.h"

#include <stdlib.h>
#include <string.h>

/* Steps that find or find not are both fine. */
static int found_or_not(int sq) {
    return sq == SQLITE_ROW || sq == SQLITE_DONE ? SQLITE_OK : sq;
}

static int load_named(struct sqlite_conn *conn, const struct query *query, const char *task_id,
                      struct task *task) {
    int64_t seq;
    int sq = query->brief ? sqlite_task_brief(conn, task_id, task, &seq)
                          : sqlite_task_by_id(conn, task_id, task, &seq);
    if (sq == SQLITE_DONE)
        sq = sqlite_gone_get(conn, task_id, task);
    if (sq != SQLITE_ROW || task->sub == SUB_REMOVED)
        return found_or_not(sq);
    sq = SQLITE_OK;
    if (query->want_condition)
        sq = found_or_not(sqlite_task_condition(conn, seq, task));
    if (sq == SQLITE_OK && query->want_result)
        sq = found_or_not(sqlite_task_result(conn, seq, task));
    if (sq == SQLITE_OK && query->want_past)
        sq = found_or_not(sqlite_task_past(conn, seq, task));
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

/* When the oldest task of the row's state was created, if that is one in which it may be claimed.
 */
static int note_oldest(struct sqlite_conn *conn, const struct sqlite_count *row,
                       struct store_count *count) {
    struct task task = {0};
    sqlite3_stmt *stmt;
    if (row->n <= 0 || !sqlite_state_split(row->state, &task.status, &task.sub) ||
        !lifecycle_takeable(&task))
        return SQLITE_OK;
    int sq = sqlite_conn_stmt(conn, STMT_OLDEST, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_text(stmt, 1, row->service, -1, SQLITE_STATIC);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int(stmt, 2, row->state);
    if (sq != SQLITE_OK)
        return sq;
    sq = sqlite3_step(stmt);
    int64_t at = sq == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
    sqlite3_reset(stmt);
    if (at && (!count->oldest_due_at || at < count->oldest_due_at))
        count->oldest_due_at = at;
    return found_or_not(sq);
}

static int query_counts(struct sqlite_conn *conn, struct query *query) {
    struct sqlite_counts counts;
    int sq = sqlite_counts_load(conn, &counts);
    if (sq != SQLITE_OK)
        return sq;
    query->counts = calloc(counts.n + 1, sizeof *query->counts);
    struct store_count *count = query->counts;
    for (size_t i = 0; query->counts && sq == SQLITE_OK && i < counts.n; i++) {
        const struct sqlite_count *row = &counts.rows[i];
        enum task_status status;
        enum task_sub sub;
        if (i > 0 && strcmp(row->service, counts.rows[i - 1].service) != 0)
            count++;
        memcpy(count->service, row->service, sizeof count->service);
        if (sqlite_state_split(row->state, &status, &sub))
            count->by_status[status] += row->n;
        query->n_counts = (size_t)(count - query->counts) + 1;
        if (query->want_oldest)
            sq = note_oldest(conn, row, count);
    }
    sqlite_counts_finish(&counts);
    return query->counts ? sq : SQLITE_NOMEM;
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

/* Loads all tasks that the statement finds. */
static int load_rows(sqlite3_stmt *stmt, struct query *query) {
    int sq;
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

/* Loads up to query->limit tasks that the statement finds by a time. */
static int load_by_time(struct sqlite_conn *conn, enum sqlite_stmt_id id, int64_t time_ms,
                        struct query *query) {
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, id, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int64(stmt, 1, time_ms);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int64(stmt, 2, query->limit);
    return sq == SQLITE_OK ? load_rows(stmt, query) : sq;
}

static int query_outbox(struct sqlite_conn *conn, struct query *query) {
    int64_t before = query->picked_before_ms > 0 ? query->picked_before_ms : 1;
    return load_by_time(conn, STMT_OUTBOX_DUE, before, query);
}

static int query_unsent(struct sqlite_conn *conn, struct query *query) {
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, STMT_UNSENT, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int64(stmt, 1, OUTBOX_PARKED);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int64(stmt, 2, UNSENT_MAX);
    if (sq != SQLITE_OK)
        return sq;
    sq = sqlite3_step(stmt);
    if (sq == SQLITE_ROW) {
        query->total = sqlite3_column_int64(stmt, 0);
        query->unsent_since = sqlite3_column_int64(stmt, 1);
    }
    sqlite3_reset(stmt);
    return found_or_not(sq);
}

static int load_parked(struct sqlite_conn *conn, const char *service, struct query *query) {
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, STMT_PARKED, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int64(stmt, 1, OUTBOX_PARKED);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_text(stmt, 2, service, -1, SQLITE_STATIC);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int64(stmt, 3, query->limit - (int64_t)query->n_tasks);
    return sq == SQLITE_OK ? load_rows(stmt, query) : sq;
}

/* The oldest of each service in turn, up to the limit of all. */
static int query_parked(struct sqlite_conn *conn, struct query *query) {
    struct sqlite_counts counts;
    int sq = SQLITE_OK;
    for (size_t i = 0; sq == SQLITE_OK && i < query->n_services; i++)
        sq = load_parked(conn, query->services[i], query);
    if (sq != SQLITE_OK || !query->max_running || !query->n_tasks)
        return sq;
    sq = sqlite_counts_load(conn, &counts);
    if (sq != SQLITE_OK)
        return sq;
    store_keep(query, query->max_running - sqlite_counts_running(&counts, query->services[0]));
    sqlite_counts_finish(&counts);
    return SQLITE_OK;
}

static int query_lapsed(struct sqlite_conn *conn, struct query *query) {
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, STMT_LAPSED, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int64(stmt, 3,
                                query->lapsed_lease_ms ? query->lapsed_lease_ms : INT64_MAX);
    return sq == SQLITE_OK ? load_by_time(conn, STMT_LAPSED, query->lapsed_before_ms, query) : sq;
}

static int query_alarms(struct sqlite_conn *conn, struct query *query) {
    return load_by_time(conn, STMT_ALARMS, query->alarm_before_ms, query);
}

static int query_best(struct sqlite_conn *conn, struct query *query) {
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, STMT_BEST, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_text(stmt, 1, query->services[0], -1, SQLITE_STATIC);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int64(stmt, 2, query->limit);
    return sq == SQLITE_OK ? load_rows(stmt, query) : sq;
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
    [QUERY_BY_ID] = query_by_id,   [QUERY_LIST] = sqlite_list_load,
    [QUERY_COUNTS] = query_counts, [QUERY_OUTBOX] = query_outbox,
    [QUERY_LAPSED] = query_lapsed, [QUERY_ALARMS] = query_alarms,
    [QUERY_BEST] = query_best,     [QUERY_WORKERS] = sqlite_workers_load,
    [QUERY_PING] = query_ping,     [QUERY_EXPIRED] = sqlite_expired_load,
    [QUERY_LOG] = sqlite_log_load, [QUERY_SERVICES] = sqlite_services_load,
    [QUERY_PARKED] = query_parked, [QUERY_UNSENT] = query_unsent,
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
