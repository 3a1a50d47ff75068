/* merge.c: several lists of tasks walked as one: those of a page, newest first, or
 * those that may be claimed, in the order of claiming. */
#include "base/mem.h"
#include "store/sqlite/sqlite.h"

/* Each gives a task and its place in the order that the walks share, lower first. */
static const char *const texts[SQLITE_ORDERS] = {
    [SQLITE_NEWEST] = "SELECT seq, -seq FROM task WHERE service = ?1 AND state = ?2 AND seq < ?3"
                      " ORDER BY seq DESC",
    [SQLITE_OLDEST] = "SELECT seq, seq FROM task WHERE service = ?1 AND state = ?2 AND seq > ?3"
                      " ORDER BY seq",
    [SQLITE_CLAIMS] = "SELECT seq, rank FROM task WHERE service = ?1 AND state IN (102, 203)"
                      " ORDER BY rank, seq",
};

/* Makes the connection have at least n statements to walk with. */
static int prepare_walks(struct sqlite_conn *conn, enum sqlite_order order, size_t n) {
    struct sqlite_walks *walks = &conn->walks[order];
    if (n <= walks->n)
        return SQLITE_OK;
    sqlite3_stmt **stmts = reallocarray(walks->stmts, n, sizeof(sqlite3_stmt *));
    if (!stmts)
        return SQLITE_NOMEM;
    walks->stmts = stmts;
    while (walks->n < n) {
        int sq = sqlite3_prepare_v3(conn->db, texts[order], -1, SQLITE_PREPARE_PERSISTENT,
                                    &stmts[walks->n], NULL);
        if (sq != SQLITE_OK)
            return sq;
        walks->n++;
    }
    return SQLITE_OK;
}

void sqlite_walks_finish(struct sqlite_walks *walks) {
    for (size_t i = 0; i < walks->n; i++)
        sqlite3_finalize(walks->stmts[i]);
    free(walks->stmts);
    *walks = (struct sqlite_walks){0};
}

void sqlite_walks_reset(struct sqlite_walks *walks) {
    for (size_t i = 0; i < walks->n; i++)
        sqlite3_reset(walks->stmts[i]);
}

/* Moves walk i to its next task; at the end the walk leaves the merge. */
static int advance(struct sqlite_merge *merge, size_t i) {
    struct sqlite_walk *walk = &merge->walks[i];
    int sq = sqlite3_step(walk->stmt);
    if (sq == SQLITE_ROW) {
        walk->seq = sqlite3_column_int64(walk->stmt, 0);
        walk->place = sqlite3_column_int64(walk->stmt, 1);
        return SQLITE_OK;
    }
    if (sq != SQLITE_DONE)
        return sq;
    sqlite3_reset(walk->stmt);
    *walk = merge->walks[--merge->n];
    return SQLITE_OK;
}

static int add_walk(struct sqlite_merge *merge, sqlite3_stmt *stmt, int64_t beyond,
                    const struct sqlite_count *list) {
    sqlite3_reset(stmt);
    int sq = sqlite3_bind_text(stmt, 1, list->service, -1, SQLITE_TRANSIENT);
    if (sq == SQLITE_OK && merge->order != SQLITE_CLAIMS)
        sq = sqlite3_bind_int(stmt, 2, list->state);
    if (sq == SQLITE_OK && merge->order != SQLITE_CLAIMS)
        sq = sqlite3_bind_int64(stmt, 3, beyond);
    if (sq != SQLITE_OK)
        return sq;
    merge->walks[merge->n++] = (struct sqlite_walk){.stmt = stmt};
    return advance(merge, merge->n - 1);
}

int sqlite_merge_open(struct sqlite_merge *merge, struct sqlite_conn *conn, enum sqlite_order order,
                      int64_t beyond, const struct sqlite_count *const *lists, size_t n) {
    *merge = (struct sqlite_merge){.conn = conn, .order = order};
    merge->walks = calloc(n + 1, sizeof *merge->walks);
    if (!merge->walks)
        return SQLITE_NOMEM;
    int sq = prepare_walks(conn, order, n);
    for (size_t i = 0; sq == SQLITE_OK && i < n; i++)
        sq = add_walk(merge, conn->walks[order].stmts[i], beyond, lists[i]);
    return sq;
}

static bool comes_before(const struct sqlite_walk *a, const struct sqlite_walk *b) {
    return a->place != b->place ? a->place < b->place : a->seq < b->seq;
}

int sqlite_merge_next(struct sqlite_merge *merge, int64_t *ret_seq) {
    if (merge->n == 0)
        return SQLITE_DONE;
    size_t first = 0;
    for (size_t i = 1; i < merge->n; i++)
        if (comes_before(&merge->walks[i], &merge->walks[first]))
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
