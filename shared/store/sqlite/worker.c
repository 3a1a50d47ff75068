/* worker.c: the consumers that have been seen. */
#include "base/mem.h"
#include "store/sqlite/sqlite.h"

#include <assert.h>

enum { FORGET_MS = 24 * 60 * 60 * 1000 };

/* Consumers that have not been seen for a day. The table has a row per consumer, so a scan is
 * short. */
static int forget_old(struct sqlite_conn *conn, int64_t now_ms) {
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, STMT_WORKER_FORGET, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int64(stmt, 1, now_ms - FORGET_MS);
    return sq == SQLITE_OK ? sqlite_stmt_done(stmt) : sq;
}

int sqlite_worker_set(struct sqlite_conn *conn, const struct op *op) {
    assert(op->value);
    int forgotten = forget_old(conn, op->now_ms);
    if (forgotten != SQLITE_OK)
        return forgotten;
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, STMT_WORKER_SET, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_text(stmt, 1, op->worker_id, -1, SQLITE_STATIC);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_text(stmt, 2, op->worker_token, -1, SQLITE_STATIC);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int64(stmt, 3, op->now_ms);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_text64(stmt, 4, op->value, op->value_len, SQLITE_STATIC, SQLITE_UTF8);
    return sq == SQLITE_OK ? sqlite_stmt_done(stmt) : sq;
}

/* Makes room for one more; the array doubles. */
static struct store_worker *add_worker(struct query *query) {
    size_t n = query->n_workers;
    if ((n & (n - 1)) == 0) {
        size_t cap = n ? n * 2 : 1;
        struct store_worker *workers = reallocarray(query->workers, cap, sizeof *workers);
        if (!workers)
            return NULL;
        query->workers = workers;
    }
    return &query->workers[n];
}

static int read_worker(sqlite3_stmt *stmt, struct query *query) {
    struct store_worker *worker = add_worker(query);
    const char *id = (const char *)sqlite3_column_text(stmt, 0);
    const char *token = (const char *)sqlite3_column_text(stmt, 1);
    const void *value = sqlite3_column_text(stmt, 3);
    if (!worker || !id || !token || !value)
        return SQLITE_NOMEM;
    *worker = (struct store_worker){.seen_at = sqlite3_column_int64(stmt, 2)};
    if (!mem_copy_str(worker->id, sizeof worker->id, id) ||
        !mem_copy_str(worker->token, sizeof worker->token, token))
        return SQLITE_CORRUPT;
    worker->value_len = (size_t)sqlite3_column_bytes(stmt, 3);
    worker->value = mem_dup(value, worker->value_len);
    if (!worker->value)
        return SQLITE_NOMEM;
    query->n_workers++;
    return SQLITE_OK;
}

int sqlite_workers_load(struct sqlite_conn *conn, struct query *query) {
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, STMT_WORKERS, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int64(stmt, 1, query->seen_since_ms);
    if (sq != SQLITE_OK)
        return sq;
    while ((sq = sqlite3_step(stmt)) == SQLITE_ROW) {
        sq = read_worker(stmt, query);
        if (sq != SQLITE_OK)
            break;
    }
    sqlite3_reset(stmt);
    return sq == SQLITE_DONE ? SQLITE_OK : sq;
}
