/* gone.c: removing tasks, and the tombstones that tell of them. */
#include "base/mem.h"
#include "store/sqlite/sqlite.h"

#include <string.h>

/* A tombstone with the state that the task had: SUB_REMOVED is only what readers are told. */
static int add_tombstone(struct sqlite_conn *conn, const struct task *task, int64_t now_ms) {
    const struct task last = {.status = task->status, .sub = SUB_REMOVED};
    const int64_t numbers[] = {sqlite_state_of(&last), task->create_at, task->start_at,
                               task->end_at, now_ms};
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, STMT_GONE_ADD, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_text(stmt, 1, task->task_id, -1, SQLITE_STATIC);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_text(stmt, 2, task->service, -1, SQLITE_STATIC);
    for (int i = 0; sq == SQLITE_OK && i < (int)LH_COUNT(numbers); i++)
        sq = sqlite3_bind_int64(stmt, 3 + i, numbers[i]);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_text(stmt, 8, task->idem_key, -1, SQLITE_STATIC);
    return sq == SQLITE_OK ? sqlite_stmt_done(stmt) : sq;
}

/* Runs a statement whose parameter is a seq. */
static int run_by(struct sqlite_conn *conn, enum sqlite_stmt_id id, int64_t seq) {
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, id, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int64(stmt, 1, seq);
    return sq == SQLITE_OK ? sqlite_stmt_done(stmt) : sq;
}

int sqlite_gone_add(struct sqlite_conn *conn, int64_t seq, const struct task *task,
                    int64_t now_ms) {
    static const enum sqlite_stmt_id parts[] = {STMT_REMOVED_SET, STMT_CONDITION_DELETE,
                                                STMT_RESULT_DELETE, STMT_RUN_DELETE,
                                                STMT_TASK_DELETE};
    int sq = add_tombstone(conn, task, now_ms);
    if (sq == SQLITE_OK)
        sq = sqlite_log_delete(conn, seq);
    for (size_t i = 0; sq == SQLITE_OK && i < LH_COUNT(parts); i++)
        sq = run_by(conn, parts[i], seq);
    return sq;
}

static int read_tombstone(sqlite3_stmt *stmt, const char *task_id, struct task *ret) {
    struct task gone = {0};
    const char *service = (const char *)sqlite3_column_text(stmt, 0);
    if (!service)
        return SQLITE_NOMEM;
    if (!mem_copy_str(gone.service, sizeof gone.service, service) ||
        !mem_copy_str(gone.task_id, sizeof gone.task_id, task_id) ||
        !sqlite_state_split(sqlite3_column_int(stmt, 1), &gone.status, &gone.sub))
        return SQLITE_CORRUPT;
    gone.create_at = sqlite3_column_int64(stmt, 2);
    gone.start_at = sqlite3_column_int64(stmt, 3);
    gone.end_at = sqlite3_column_int64(stmt, 4);
    *ret = gone;
    return SQLITE_ROW;
}

int sqlite_gone_get(struct sqlite_conn *conn, const char *task_id, struct task *ret) {
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, STMT_GONE_GET, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_text(stmt, 1, task_id, -1, SQLITE_STATIC);
    if (sq != SQLITE_OK)
        return sq;
    sq = sqlite3_step(stmt);
    if (sq == SQLITE_ROW)
        sq = read_tombstone(stmt, task_id, ret);
    sqlite3_reset(stmt);
    return sq;
}

/* The key may be used again, unless it is another task's by now. */
static int free_key(struct sqlite_conn *conn, sqlite3_stmt *oldest) {
    sqlite3_stmt *stmt;
    if (sqlite3_column_type(oldest, 3) == SQLITE_NULL)
        return SQLITE_OK;
    int sq = sqlite_conn_stmt(conn, STMT_IDEM_DELETE, &stmt);
    for (int i = 0; sq == SQLITE_OK && i < 3; i++)
        sq = sqlite3_bind_value(stmt, 1 + i, sqlite3_column_value(oldest, 2 + i));
    return sq == SQLITE_OK ? sqlite_stmt_done(stmt) : sq;
}

/* SQLITE_DONE where the oldest tombstone is too young, or there is none. */
static int forget_oldest(struct sqlite_conn *conn, int64_t before_ms) {
    sqlite3_stmt *oldest;
    int sq = sqlite_conn_stmt(conn, STMT_GONE_OLDEST, &oldest);
    if (sq != SQLITE_OK)
        return sq;
    sq = sqlite3_step(oldest);
    if (sq == SQLITE_ROW && sqlite3_column_int64(oldest, 1) > before_ms)
        sq = SQLITE_DONE;
    if (sq == SQLITE_ROW) {
        int64_t seq = sqlite3_column_int64(oldest, 0);
        sq = free_key(conn, oldest);
        sqlite3_reset(oldest);
        return sq == SQLITE_OK ? run_by(conn, STMT_GONE_DELETE, seq) : sq;
    }
    sqlite3_reset(oldest);
    return sq;
}

int sqlite_gone_forget(struct sqlite_conn *conn, struct op *op) {
    int sq = SQLITE_OK;
    op->forgotten = 0;
    while (sq == SQLITE_OK && op->forgotten < op->max) {
        sq = forget_oldest(conn, op->before_ms);
        op->forgotten += sq == SQLITE_OK;
    }
    return sq == SQLITE_DONE ? SQLITE_OK : sq;
}
