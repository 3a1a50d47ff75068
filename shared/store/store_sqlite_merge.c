/* store_sqlite_merge.c: several lists of tasks, each in order of creation, walked as one. */
#include "base/mem.h"
#include "store/store_sqlite.h"

static const char oldest[] = "SELECT seq FROM task WHERE service = ?1 AND state = ?2 ORDER BY seq";
static const char newest[] =
    "SELECT seq FROM task WHERE service = ?1 AND state = ?2 ORDER BY seq DESC";

/* Makes the connection have at least n statements to walk with. */
static int prepare_walks(struct sqlite_conn *conn, size_t n) {
    if (n <= conn->n_walks)
        return SQLITE_OK;
    sqlite3_stmt **walks = reallocarray(conn->walks, n, sizeof(sqlite3_stmt *));
    if (!walks)
        return SQLITE_NOMEM;
    conn->walks = walks;
    while (conn->n_walks < n) {
        int sq = sqlite3_prepare_v3(conn->db, conn->newest_first ? newest : oldest, -1,
                                    SQLITE_PREPARE_PERSISTENT, &walks[conn->n_walks], NULL);
        if (sq != SQLITE_OK)
            return sq;
        conn->n_walks++;
    }
    return SQLITE_OK;
}

/* Moves walk i to its next task; at the end the walk leaves the merge. */
static int advance(struct sqlite_merge *merge, size_t i) {
    struct sqlite_walk *walk = &merge->walks[i];
    int sq = sqlite3_step(walk->stmt);
    if (sq == SQLITE_ROW) {
        walk->seq = sqlite3_column_int64(walk->stmt, 0);
        return SQLITE_OK;
    }
    if (sq != SQLITE_DONE)
        return sq;
    sqlite3_reset(walk->stmt);
    *walk = merge->walks[--merge->n];
    return SQLITE_OK;
}

static int add_walk(struct sqlite_merge *merge, sqlite3_stmt *stmt,
                    const struct sqlite_count *list) {
    sqlite3_reset(stmt);
    int sq = sqlite3_bind_text(stmt, 1, list->service, -1, SQLITE_TRANSIENT);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int(stmt, 2, list->state);
    if (sq != SQLITE_OK)
        return sq;
    merge->walks[merge->n++] = (struct sqlite_walk){.stmt = stmt};
    return advance(merge, merge->n - 1);
}

int sqlite_merge_open(struct sqlite_merge *merge, struct sqlite_conn *conn,
                      const struct sqlite_count *const *lists, size_t n) {
    *merge = (struct sqlite_merge){.conn = conn};
    merge->walks = calloc(n + 1, sizeof *merge->walks);
    if (!merge->walks)
        return SQLITE_NOMEM;
    int sq = prepare_walks(conn, n);
    for (size_t i = 0; sq == SQLITE_OK && i < n; i++)
        sq = add_walk(merge, conn->walks[i], lists[i]);
    return sq;
}

int sqlite_merge_next(struct sqlite_merge *merge, int64_t *ret_seq) {
    if (merge->n == 0)
        return SQLITE_DONE;
    size_t first = 0;
    for (size_t i = 1; i < merge->n; i++)
        if ((merge->walks[i].seq > merge->walks[first].seq) == merge->conn->newest_first)
            first = i;
    *ret_seq = merge->walks[first].seq;
    int sq = advance(merge, first);
    return sq == SQLITE_OK ? SQLITE_ROW : sq;
}

void sqlite_merge_close(struct sqlite_merge *merge) {
    for (size_t i = 0; i < merge->n; i++)
        sqlite3_reset(merge->walks[i].stmt);
    free(merge->walks);
    *merge = (struct sqlite_merge){0};
}
