/* idem.c: idempotency keys, and which task each belongs to. */
#include "base/mem.h"
#include "store/sqlite/sqlite.h"

#include <string.h>

static int bind_key(struct sqlite_conn *conn, enum sqlite_stmt_id id, const struct task *task,
                    sqlite3_stmt **ret) {
    int sq = sqlite_conn_stmt(conn, id, ret);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_text(*ret, 1, task->service, -1, SQLITE_STATIC);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_text(*ret, 2, task->idem_key, -1, SQLITE_STATIC);
    return sq;
}

int sqlite_idem_get(struct sqlite_conn *conn, struct task *task, int64_t *ret_hash) {
    sqlite3_stmt *stmt;
    int sq = bind_key(conn, STMT_IDEM_GET, task, &stmt);
    if (sq != SQLITE_OK)
        return sq;
    sq = sqlite3_step(stmt);
    if (sq == SQLITE_ROW) {
        const char *task_id = (const char *)sqlite3_column_text(stmt, 1);
        *ret_hash = sqlite3_column_int64(stmt, 0);
        if (!task_id || !mem_copy_str(task->task_id, sizeof task->task_id, task_id))
            sq = SQLITE_CORRUPT;
    }
    sqlite3_reset(stmt);
    return sq;
}

int sqlite_idem_add(struct sqlite_conn *conn, const struct task *task) {
    sqlite3_stmt *stmt;
    int sq = bind_key(conn, STMT_IDEM_ADD, task, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int64(stmt, 3, (int64_t)task->idem_hash);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_text(stmt, 4, task->task_id, -1, SQLITE_STATIC);
    return sq == SQLITE_OK ? sqlite_stmt_done(stmt) : sq;
}
