/* log.c: OP_LOG and QUERY_LOG: the logs of runs as rows. */
#include "base/mem.h"
#include "store/sqlite/sqlite.h"
#include "store/store_batch.h"
#include "task/lifecycle.h"

#include <string.h>

/* A stream of one attempt of the task at `seq`. */
struct log_key {
    struct sqlite_conn *conn;
    int64_t seq, attempt;
    enum run_stream stream;
};

/* The numbers of the streams are in files. */
static const int stream_code[RUN_STREAMS] = {[STREAM_STDOUT] = 1, [STREAM_STDERR] = 2};

/* A statement whose first three parameters are the key; those of `more` follow. */
static int open_stmt(const struct log_key *key, enum sqlite_stmt_id id, const int64_t *more,
                     size_t n, sqlite3_stmt **ret) {
    int sq = sqlite_conn_stmt(key->conn, id, ret);
    int64_t values[] = {key->seq, key->attempt, stream_code[key->stream]};
    for (int i = 0; sq == SQLITE_OK && i < (int)LH_COUNT(values); i++)
        sq = sqlite3_bind_int64(*ret, i + 1, values[i]);
    for (size_t i = 0; sq == SQLITE_OK && i < n; i++)
        sq = sqlite3_bind_int64(*ret, (int)(LH_COUNT(values) + i) + 1, more[i]);
    return sq;
}

/* Numbers alone; all zero where there is no row. */
static int load_numbers(const struct log_key *key, struct run_log *ret) {
    sqlite3_stmt *stmt;
    int sq = open_stmt(key, STMT_LOG_GET, NULL, 0, &stmt);
    if (sq != SQLITE_OK)
        return sq;
    sq = sqlite3_step(stmt);
    if (sq == SQLITE_ROW)
        *ret = (struct run_log){.end = sqlite3_column_int64(stmt, 0),
                                .cut_from = sqlite3_column_int64(stmt, 1),
                                .cut_to = sqlite3_column_int64(stmt, 2),
                                .open_at = sqlite3_column_int64(stmt, 3),
                                .closed = sqlite3_column_int(stmt, 4)};
    sqlite3_reset(stmt);
    return sq == SQLITE_ROW || sq == SQLITE_DONE ? SQLITE_OK : sq;
}

/* Reads the range into `to`. The chunk that holds its first byte begins less than a chunk before
 * it. */
static int load_range(const struct log_key *key, struct run_log_range range, char *to,
                      size_t *ret_len) {
    sqlite3_stmt *stmt;
    int64_t more[] = {range.from - RUN_LOG_CHUNK_BYTES, range.to, range.from};
    int sq = open_stmt(key, STMT_CHUNKS, more, LH_COUNT(more), &stmt);
    if (sq != SQLITE_OK)
        return sq;
    while ((sq = sqlite3_step(stmt)) == SQLITE_ROW)
        run_log_gather(range, sqlite3_column_int64(stmt, 0), sqlite3_column_blob(stmt, 1),
                       (size_t)sqlite3_column_bytes(stmt, 1), to, ret_len);
    sqlite3_reset(stmt);
    return sq == SQLITE_DONE ? SQLITE_OK : sq;
}

/* All that the file should hold is there, or the file is not as we wrote it. */
static int load_whole(const struct log_key *key, struct run_log_range range, char **ret,
                      size_t *ret_len) {
    size_t want = (size_t)(range.to - range.from), len = 0;
    char *bytes = malloc(want + 1);
    if (!bytes)
        return SQLITE_NOMEM;
    int sq = want ? load_range(key, range, bytes, &len) : SQLITE_OK;
    if (sq == SQLITE_OK && len != want)
        sq = SQLITE_CORRUPT;
    if (sq != SQLITE_OK) {
        free(bytes);
        return sq;
    }
    *ret = bytes;
    *ret_len = len;
    return SQLITE_OK;
}

static int load_open(const struct log_key *key, struct run_log *log) {
    size_t len;
    return load_whole(key, (struct run_log_range){log->open_at, log->end}, &log->open, &len);
}

static int write_chunk(const struct log_key *key, int64_t at, const char *bytes, size_t len) {
    sqlite3_stmt *stmt;
    int64_t more[] = {at, at + (int64_t)len};
    int sq = open_stmt(key, STMT_CHUNK_SET, more, LH_COUNT(more), &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_blob64(stmt, 6, bytes, len, SQLITE_STATIC);
    if (sq == SQLITE_OK)
        sq = sqlite_stmt_done(stmt);
    return sq;
}

static int write_numbers(const struct log_key *key, const struct run_log *log) {
    sqlite3_stmt *stmt;
    int64_t more[] = {log->end, log->cut_from, log->cut_to, log->open_at, log->closed};
    int sq = open_stmt(key, STMT_LOG_SET, more, LH_COUNT(more), &stmt);
    return sq == SQLITE_OK ? sqlite_stmt_done(stmt) : sq;
}

static int remove_cut(const struct log_key *key, const struct run_log *log) {
    sqlite3_stmt *stmt;
    int64_t more[] = {log->cut_from, log->cut_to};
    int sq = open_stmt(key, STMT_CHUNK_CUT, more, LH_COUNT(more), &stmt);
    return sq == SQLITE_OK ? sqlite_stmt_done(stmt) : sq;
}

static int write_step(const struct log_key *key, const struct run_log *log,
                      const struct run_log_step *step) {
    size_t open = (size_t)(log->end - log->open_at);
    int sq = SQLITE_OK;
    for (size_t i = 0; sq == SQLITE_OK && i < step->n_chunks; i++)
        sq = write_chunk(key, step->chunks[i].at, step->chunks[i].bytes, step->chunks[i].len);
    if (sq == SQLITE_OK && open > 0 && step->joined)
        sq = write_chunk(key, log->open_at, log->open, open);
    if (sq == SQLITE_OK)
        sq = write_numbers(key, log);
    if (sq == SQLITE_OK && log->cut_from < log->cut_to)
        sq = remove_cut(key, log);
    return sq;
}

/* Decides on the loaded log and writes what changed. */
static int append(const struct log_key *key, struct op *op, struct run_log *log) {
    struct run_log_piece piece = {op->log_offset, op->log_skipped, op->value,
                                  op->value_len,  op->log_close,   op->log_cap};
    struct run_log_step step = {0};
    op->rc = run_log_append(log, &piece, &step);
    op->log_end = log->end;
    if (op->rc == RC_NO_MEMORY)
        return SQLITE_NOMEM;
    int sq = step.changed ? write_step(key, log, &step) : SQLITE_OK;
    run_log_step_finish(&step);
    return sq;
}

/* The records of earlier runs are read only for one of them. */
static int find_run(struct op *op, struct task *task, struct log_key *key) {
    op->rc = lifecycle_log(task, op, &key->attempt);
    if (op->rc == RC_OK || !op->run_id[0] || task->attempt < 2)
        return SQLITE_OK;
    int sq = sqlite_task_past(key->conn, key->seq, task);
    if (sq != SQLITE_ROW && sq != SQLITE_DONE)
        return sq;
    op->rc = lifecycle_log(task, op, &key->attempt);
    return SQLITE_OK;
}

int sqlite_log_apply(struct sqlite_conn *conn, struct op *op) {
    struct log_key key = {.conn = conn, .stream = op->stream};
    struct task task = {0};
    int sq = sqlite_task_by_id(conn, op->task_id, &task, &key.seq);
    if (sq == SQLITE_DONE) {
        store_op_fail(op, RC_UNKNOWN_TASK, "");
        return SQLITE_OK;
    }
    if (sq != SQLITE_ROW)
        return sq;
    sq = find_run(op, &task, &key);
    task_finish(&task);
    if (sq != SQLITE_OK || op->rc != RC_OK)
        return sq;
    struct run_log log = {0};
    sq = load_numbers(&key, &log);
    if (sq == SQLITE_OK)
        sq = load_open(&key, &log);
    if (sq == SQLITE_OK)
        sq = append(&key, op, &log);
    run_log_finish(&log);
    return sq;
}

static int load_log(const struct log_key *key, struct query *query) {
    struct store_log *ret = &query->log;
    ret->attempt = key->attempt;
    int sq = load_numbers(key, &ret->log);
    if (sq != SQLITE_OK)
        return sq;
    struct run_log_range range = run_log_range(&ret->log, query->log_from, query->max_bytes);
    ret->at = range.from;
    return load_whole(key, range, &ret->bytes, &ret->len);
}

int sqlite_log_load(struct sqlite_conn *conn, struct query *query) {
    struct log_key key = {.conn = conn, .stream = query->stream};
    query->tasks = calloc(1, sizeof *query->tasks);
    if (!query->tasks)
        return SQLITE_NOMEM;
    int sq = sqlite_task_by_id(conn, query->ids[0], query->tasks, &key.seq);
    bool gone = sq == SQLITE_DONE;
    if (gone)
        sq = sqlite_gone_get(conn, query->ids[0], query->tasks);
    query->n_tasks = sq == SQLITE_ROW;
    if (sq != SQLITE_ROW || gone)
        return sq == SQLITE_ROW || sq == SQLITE_DONE ? SQLITE_OK : sq;
    key.attempt = query->attempt ? query->attempt : query->tasks[0].attempt;
    if (key.attempt < query->tasks[0].attempt) {
        sq = sqlite_task_past(conn, key.seq, query->tasks);
        if (sq != SQLITE_ROW && sq != SQLITE_DONE)
            return sq;
    }
    return load_log(&key, query);
}

int sqlite_log_delete(struct sqlite_conn *conn, int64_t seq) {
    static const enum sqlite_stmt_id both[] = {STMT_CHUNK_DELETE, STMT_LOG_DELETE};
    int sq = SQLITE_OK;
    for (size_t i = 0; sq == SQLITE_OK && i < LH_COUNT(both); i++) {
        sqlite3_stmt *stmt;
        sq = sqlite_conn_stmt(conn, both[i], &stmt);
        if (sq == SQLITE_OK)
            sq = sqlite3_bind_int64(stmt, 1, seq);
        if (sq == SQLITE_OK)
            sq = sqlite_stmt_done(stmt);
    }
    return sq;
}
