/* count.c: how many tasks each service has in each state, in memory and in the file.
 */
#include "base/mem.h"
#include "store/sqlite/sqlite.h"

#include <string.h>

static int compare(const struct sqlite_count *row, const char *service, int state) {
    int order = strcmp(row->service, service);
    return order ? order : row->state - state;
}

/* Index of the first row that is not before (service, state). */
static size_t place(const struct sqlite_counts *counts, const char *service, int state) {
    size_t low = 0, high = counts->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (compare(&counts->rows[mid], service, state) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static int insert(struct sqlite_counts *counts, size_t at, const char *service, int state) {
    if (counts->n == counts->cap) {
        size_t cap = counts->cap ? counts->cap * 2 : 16;
        struct sqlite_count *rows = reallocarray(counts->rows, cap, sizeof *rows);
        if (!rows)
            return SQLITE_NOMEM;
        counts->rows = rows;
        counts->cap = cap;
    }
    struct sqlite_count *row = &counts->rows[at];
    memmove(row + 1, row, (counts->n - at) * sizeof *row);
    *row = (struct sqlite_count){.state = state};
    counts->n++;
    return mem_copy_str(row->service, sizeof row->service, service) ? SQLITE_OK : SQLITE_CORRUPT;
}

int sqlite_counts_add(struct sqlite_counts *counts, const char *service, int state, int delta) {
    size_t at = place(counts, service, state);
    if (at == counts->n || compare(&counts->rows[at], service, state) != 0) {
        int sq = insert(counts, at, service, state);
        if (sq != SQLITE_OK)
            return sq;
    }
    counts->rows[at].n += delta;
    counts->rows[at].delta += delta;
    return SQLITE_OK;
}

int sqlite_counts_load(struct sqlite_conn *conn, struct sqlite_counts *ret) {
    struct sqlite_counts counts = {0};
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, STMT_COUNT_ALL, &stmt);
    if (sq != SQLITE_OK)
        return sq;
    while ((sq = sqlite3_step(stmt)) == SQLITE_ROW) {
        const char *service = (const char *)sqlite3_column_text(stmt, 0);
        sq = service ? insert(&counts, counts.n, service, sqlite3_column_int(stmt, 1))
                     : SQLITE_NOMEM;
        if (sq != SQLITE_OK)
            break;
        counts.rows[counts.n - 1].n = sqlite3_column_int64(stmt, 2);
    }
    sqlite3_reset(stmt);
    if (sq != SQLITE_DONE) {
        sqlite_counts_finish(&counts);
        return sq;
    }
    *ret = counts;
    return SQLITE_OK;
}

void sqlite_counts_finish(struct sqlite_counts *counts) {
    free(counts->rows);
    *counts = (struct sqlite_counts){0};
}

/* Tasks of the service in the statuses (1 << enum task_status, together). */
static int64_t sum(const struct sqlite_counts *counts, const char *service, unsigned statuses) {
    int64_t n = 0;
    enum task_status status;
    enum task_sub sub;
    for (size_t i = place(counts, service, 0);
         i < counts->n && strcmp(counts->rows[i].service, service) == 0; i++)
        if (sqlite_state_split(counts->rows[i].state, &status, &sub) && statuses & 1u << status)
            n += counts->rows[i].n;
    return n;
}

int64_t sqlite_counts_waiting(const struct sqlite_counts *counts, const char *service) {
    return sum(counts, service, 1u << TASK_READY | 1u << TASK_WAITING);
}

int64_t sqlite_counts_running(const struct sqlite_counts *counts, const char *service) {
    return sum(counts, service, 1u << TASK_RUNNING);
}

static int write_row(struct sqlite_conn *conn, const struct sqlite_count *row) {
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, STMT_COUNT_ADD, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_text(stmt, 1, row->service, -1, SQLITE_STATIC);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int(stmt, 2, row->state);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int64(stmt, 3, row->delta);
    return sq == SQLITE_OK ? sqlite_stmt_done(stmt) : sq;
}

int sqlite_counts_write(struct sqlite_conn *conn, const struct sqlite_counts *counts) {
    int sq = SQLITE_OK;
    for (size_t i = 0; sq == SQLITE_OK && i < counts->n; i++)
        if (counts->rows[i].delta)
            sq = write_row(conn, &counts->rows[i]);
    return sq;
}

void sqlite_counts_settle(struct sqlite_counts *counts, bool committed) {
    for (size_t i = 0; i < counts->n; i++) {
        if (!committed)
            counts->rows[i].n -= counts->rows[i].delta;
        counts->rows[i].delta = 0;
    }
}
