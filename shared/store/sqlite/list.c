/* list.c: a page of tasks.
 *
 * The lists (a service in a state) that the filter lets in are walked as one. What the filter asks
 * for besides is checked task by task, at most LIST_WALK_MAX of them in one page; where a prefix of
 * the id is asked for and few tasks have it, those are gathered by the index of ids instead.
 */
#include "base/mem.h"
#include "store/sqlite/sqlite.h"
#include "store/store_batch.h"
#include "store/store_list.h"

#include <stdio.h>
#include <string.h>

enum { CURSOR_KIND = 's' };

/* The filter's lists, and where few tasks have its prefix these tasks. */
struct shelf {
    struct sqlite_conn *conn;
    struct query *query;
    struct sqlite_counts counts;
    const struct sqlite_count **lists; /* point into counts */
    size_t n_lists;
    bool gathered; /* seqs hold all that may match */
    int64_t *seqs; /* newest first */
    size_t n_seqs;
};

/* A walk over what matches. */
struct walk {
    struct shelf *shelf;
    bool upward; /* towards newer tasks */
    struct sqlite_merge merge;
    size_t at;      /* of seqs */
    int64_t looked; /* at so many tasks */
    int64_t seq;    /* of the task looked at last */
    bool cut;       /* it ended because it had looked at too many */
};

/* ---- what may match ---- */

static int open_lists(struct shelf *shelf) {
    const struct list_filter *filter = &shelf->query->filter;
    int sq = sqlite_counts_load(shelf->conn, &shelf->counts);
    if (sq != SQLITE_OK)
        return sq;
    shelf->lists = calloc(shelf->counts.n + 1, sizeof *shelf->lists);
    for (size_t i = 0; shelf->lists && i < shelf->counts.n; i++) {
        const struct sqlite_count *row = &shelf->counts.rows[i];
        enum task_status status;
        enum task_sub sub;
        if (list_takes_service(filter, row->service) &&
            sqlite_state_split(row->state, &status, &sub) &&
            list_takes_state(filter, row->service, status, sub))
            shelf->lists[shelf->n_lists++] = row;
    }
    return shelf->lists ? SQLITE_OK : SQLITE_NOMEM;
}

static int newest_first(const void *a, const void *b) {
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return left < right ? 1 : left > right ? -1 : 0;
}

/* Steps through the ids that have the prefix; more than `max` are too many to gather. */
static int gather(struct shelf *shelf, sqlite3_stmt *stmt, size_t max) {
    int sq = SQLITE_ROW;
    while (shelf->n_seqs < max && (sq = sqlite3_step(stmt)) == SQLITE_ROW)
        shelf->seqs[shelf->n_seqs++] = sqlite3_column_int64(stmt, 0);
    if (sq != SQLITE_ROW && sq != SQLITE_DONE)
        return sq;
    shelf->gathered = shelf->n_seqs < max;
    if (shelf->gathered && shelf->n_seqs)
        qsort(shelf->seqs, shelf->n_seqs, sizeof *shelf->seqs, newest_first);
    return SQLITE_OK;
}

static int gather_prefix(struct shelf *shelf) {
    static const char last[] = "\xf4\x8f\xbf\xbf"; /* U+10FFFF */
    const char *prefix = shelf->query->filter.prefix;
    enum { MAX = LIST_COUNT_MAX + 1 };
    char end[TASK_TEXT_CAP + sizeof last];
    sqlite3_stmt *stmt;
    if (!prefix)
        return SQLITE_OK;
    snprintf(end, sizeof end, "%s%s", prefix, last);
    shelf->seqs = calloc(MAX, sizeof *shelf->seqs);
    int sq = shelf->seqs ? sqlite_conn_stmt(shelf->conn, STMT_TASK_PREFIX, &stmt) : SQLITE_NOMEM;
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_text(stmt, 1, prefix, -1, SQLITE_STATIC);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_text(stmt, 2, end, -1, SQLITE_STATIC);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int(stmt, 3, MAX);
    if (sq == SQLITE_OK) {
        sq = gather(shelf, stmt, MAX);
        sqlite3_reset(stmt);
    }
    return sq;
}

static void shelf_finish(struct shelf *shelf) {
    sqlite_counts_finish(&shelf->counts);
    free(shelf->lists);
    free(shelf->seqs);
}

/* ---- walking ---- */

/* Tasks of a list that is checked by state alone need no look. */
static bool needs_look(const struct shelf *shelf) {
    return shelf->gathered || !list_is_by_state(&shelf->query->filter);
}

static int walk_begin(struct walk *walk, struct shelf *shelf, bool upward, int64_t beyond) {
    *walk = (struct walk){.shelf = shelf, .upward = upward, .seq = beyond};
    if (!shelf->gathered)
        return sqlite_merge_open(&walk->merge, shelf->conn, upward ? SQLITE_OLDEST : SQLITE_NEWEST,
                                 beyond, shelf->lists, shelf->n_lists);
    while (walk->at < shelf->n_seqs && shelf->seqs[walk->at] > (upward ? beyond : beyond - 1))
        walk->at++;
    return SQLITE_OK;
}

static void walk_end(struct walk *walk) {
    if (!walk->shelf->gathered)
        sqlite_merge_close(&walk->merge);
}

/* Upward, `at` counts those that are still to come. */
static int next_gathered(struct walk *walk, int64_t *ret) {
    const struct shelf *shelf = walk->shelf;
    if (walk->upward ? walk->at == 0 : walk->at == shelf->n_seqs)
        return SQLITE_DONE;
    *ret = walk->upward ? shelf->seqs[--walk->at] : shelf->seqs[walk->at++];
    return SQLITE_ROW;
}

static int next_any(struct walk *walk, int64_t *ret) {
    return walk->shelf->gathered ? next_gathered(walk, ret) : sqlite_merge_next(&walk->merge, ret);
}

/* Whether the task on whose row the statement stands is let in. */
static int look_at(sqlite3_stmt *stmt, const struct list_filter *filter, bool *ret) {
    const char *service = (const char *)sqlite3_column_text(stmt, 0);
    const char *task_id = (const char *)sqlite3_column_text(stmt, 2);
    enum task_status status;
    enum task_sub sub;
    if (!service || !task_id)
        return SQLITE_NOMEM;
    *ret = sqlite_state_split(sqlite3_column_int(stmt, 1), &status, &sub) &&
           list_takes_service(filter, service) && list_takes_state(filter, service, status, sub) &&
           list_takes_rest(filter, task_id, sqlite3_column_int64(stmt, 3),
                           (const char *)sqlite3_column_text(stmt, 4));
    return SQLITE_OK;
}

static int check(struct walk *walk, int64_t seq, bool *ret) {
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(walk->shelf->conn, STMT_TASK_LOOK, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int64(stmt, 1, seq);
    if (sq != SQLITE_OK)
        return sq;
    sq = sqlite3_step(stmt);
    if (sq == SQLITE_ROW)
        sq = look_at(stmt, &walk->shelf->query->filter, ret);
    else if (sq == SQLITE_DONE)
        sq = SQLITE_CORRUPT;
    sqlite3_reset(stmt);
    return sq;
}

/* SQLITE_ROW with the next task that matches in walk->seq, SQLITE_DONE at the end. */
static int walk_next(struct walk *walk) {
    bool looks = needs_look(walk->shelf), fits = !looks;
    do {
        int64_t seq = 0;
        if (looks && walk->looked == LIST_WALK_MAX) {
            walk->cut = true;
            return SQLITE_DONE;
        }
        int sq = next_any(walk, &seq);
        if (sq != SQLITE_ROW)
            return sq;
        walk->looked++;
        walk->seq = seq;
        sq = looks ? check(walk, seq, &fits) : SQLITE_OK;
        if (sq != SQLITE_OK)
            return sq;
    } while (!fits);
    return SQLITE_ROW;
}

/* ---- counting ---- */

static int count_by_walk(struct shelf *shelf) {
    struct query *query = shelf->query;
    struct walk walk;
    int sq = walk_begin(&walk, shelf, false, INT64_MAX);
    while (sq == SQLITE_OK && query->total <= LIST_COUNT_MAX &&
           (sq = walk_next(&walk)) == SQLITE_ROW) {
        query->total++;
        sq = SQLITE_OK;
    }
    query->total_at_least = walk.cut || query->total > LIST_COUNT_MAX;
    if (query->total > LIST_COUNT_MAX)
        query->total = LIST_COUNT_MAX;
    walk_end(&walk);
    return sq == SQLITE_DONE ? SQLITE_OK : sq;
}

static int count(struct shelf *shelf) {
    if (needs_look(shelf))
        return count_by_walk(shelf);
    for (size_t i = 0; i < shelf->n_lists; i++)
        shelf->query->total += shelf->lists[i]->n;
    return SQLITE_OK;
}

/* ---- the page ---- */

static bool put_cursor(int64_t seq, char **ret) {
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)seq >> (56 - 8 * i));
    *ret = cursor_make(CURSOR_KIND, bytes, sizeof bytes);
    return *ret;
}

static bool read_cursor(const char *text, int64_t *ret) {
    unsigned char bytes[8];
    uint64_t seq = 0;
    size_t n;
    if (!cursor_read(text, CURSOR_KIND, bytes, sizeof bytes, &n) || n != sizeof bytes ||
        bytes[0] > 0x7f)
        return false;
    for (int i = 0; i < 8; i++)
        seq = seq << 8 | bytes[i];
    *ret = (int64_t)seq;
    return true;
}

static int load_task(struct shelf *shelf, int64_t seq) {
    struct query *query = shelf->query;
    struct task *task = &query->tasks[query->n_tasks];
    int sq = sqlite_task_by_seq(shelf->conn, seq, task);
    if (sq != SQLITE_ROW)
        return sq == SQLITE_DONE ? SQLITE_CORRUPT : sq;
    query->n_tasks++;
    if (query->want_condition)
        sq = sqlite_task_condition(shelf->conn, seq, task);
    if ((sq == SQLITE_ROW || sq == SQLITE_DONE) && query->want_result)
        sq = sqlite_task_result(shelf->conn, seq, task);
    return sq == SQLITE_DONE ? SQLITE_ROW : sq;
}

/* The first and the last place of a page, in the order of the walk. */
struct ends {
    int64_t first, last;
    bool more; /* after the last */
};

/* Passes over query->skip tasks, loads up to query->limit, and sees whether there are more. */
static int load_page(struct walk *walk, struct ends *ends) {
    struct query *query = walk->shelf->query;
    size_t bytes = 0;
    int sq = SQLITE_ROW;
    for (int64_t at = 0; (sq = walk_next(walk)) == SQLITE_ROW; at++) {
        if (at < query->skip)
            continue;
        if (at - query->skip == query->limit) {
            ends->more = true;
            break;
        }
        ends->last = walk->seq;
        if (query->n_tasks == 0)
            ends->first = walk->seq;
        sq = load_task(walk->shelf, walk->seq);
        if (sq != SQLITE_ROW || !store_page_fits(query, &bytes))
            return sq == SQLITE_ROW ? SQLITE_OK : sq;
    }
    if (walk->cut) {
        ends->last = walk->seq;
        ends->more = true;
    }
    return sq == SQLITE_ROW || sq == SQLITE_DONE ? SQLITE_OK : sq;
}

static void reverse(struct query *query) {
    for (size_t i = 0, k = query->n_tasks; i + 1 < k; i++) {
        struct task task = query->tasks[i];
        query->tasks[i] = query->tasks[--k];
        query->tasks[k] = task;
    }
}

/* Where an answer can be gone on from, on both sides. */
static int put_cursors(struct query *query, const struct ends *ends) {
    bool some = query->n_tasks > 0, ok = true;
    if (query->before) {
        ok = !ends->more || put_cursor(ends->last, &query->prev);
        ok = ok && (!some || put_cursor(ends->first, &query->next));
    } else {
        ok = !ends->more || put_cursor(ends->last, &query->next);
        if (query->after || query->skip > 0)
            ok = ok && (!some || put_cursor(ends->first, &query->prev));
    }
    return ok ? SQLITE_OK : SQLITE_NOMEM;
}

static int list_page(struct shelf *shelf, int64_t beyond) {
    struct query *query = shelf->query;
    struct ends ends = {0};
    struct walk walk;
    bool all = !query->total_at_least && query->total < query->limit;
    query->tasks = calloc((size_t)(all ? query->total : query->limit) + 1, sizeof *query->tasks);
    if (!query->tasks)
        return SQLITE_NOMEM;
    int sq = walk_begin(&walk, shelf, query->before != NULL, beyond);
    if (sq == SQLITE_OK)
        sq = load_page(&walk, &ends);
    walk_end(&walk);
    if (sq != SQLITE_OK || query->rc != RC_OK)
        return sq;
    if (walk.cut && query->skip > 0 && query->n_tasks == 0) {
        list_refuse_page(query);
        return SQLITE_OK;
    }
    if (query->before)
        reverse(query);
    return put_cursors(query, &ends);
}

int sqlite_list_load(struct sqlite_conn *conn, struct query *query) {
    const char *cursor = query->before ? query->before : query->after;
    int64_t beyond = INT64_MAX;
    if (cursor && !read_cursor(cursor, &beyond)) {
        list_refuse_cursor(query);
        return SQLITE_OK;
    }
    struct shelf shelf = {.conn = conn, .query = query};
    int sq = open_lists(&shelf);
    if (sq == SQLITE_OK)
        sq = gather_prefix(&shelf);
    if (sq == SQLITE_OK)
        sq = count(&shelf);
    if (sq == SQLITE_OK && query->limit > 0)
        sq = list_page(&shelf, beyond);
    shelf_finish(&shelf);
    return sq;
}

/* ---- tasks to be removed ---- */

static int keep_expired(struct shelf *shelf, int64_t seq, bool *ret_end) {
    struct query *query = shelf->query;
    struct task *task = &query->tasks[query->n_tasks];
    int sq = sqlite_task_by_seq(shelf->conn, seq, task);
    if (sq != SQLITE_ROW)
        return sq == SQLITE_DONE ? SQLITE_CORRUPT : sq;
    *ret_end = task->create_at > query->ended_before_ms; /* those that follow came later still */
    if (task->end_at && task->end_at <= query->ended_before_ms)
        query->n_tasks++;
    else
        task_finish(task);
    return SQLITE_OK;
}

static int load_expired(struct shelf *shelf, int64_t beyond) {
    struct query *query = shelf->query;
    struct walk walk;
    bool end = false;
    query->tasks = calloc((size_t)query->limit + 1, sizeof *query->tasks);
    if (!query->tasks)
        return SQLITE_NOMEM;
    int sq = walk_begin(&walk, shelf, true, beyond);
    for (int64_t i = 0; sq == SQLITE_OK && !end && i < query->limit; i++) {
        sq = walk_next(&walk);
        if (sq == SQLITE_ROW)
            sq = keep_expired(shelf, walk.seq, &end);
    }
    walk_end(&walk);
    if (sq == SQLITE_OK && !end && !put_cursor(walk.seq, &query->next))
        sq = SQLITE_NOMEM;
    return sq == SQLITE_DONE ? SQLITE_OK : sq;
}

int sqlite_expired_load(struct sqlite_conn *conn, struct query *query) {
    int64_t beyond = 0;
    if (query->after && !read_cursor(query->after, &beyond)) {
        list_refuse_cursor(query);
        return SQLITE_OK;
    }
    struct shelf shelf = {.conn = conn, .query = query};
    int sq = open_lists(&shelf);
    if (sq == SQLITE_OK)
        sq = load_expired(&shelf, beyond);
    shelf_finish(&shelf);
    return sq;
}
