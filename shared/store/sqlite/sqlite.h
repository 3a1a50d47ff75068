/* sqlite.h: the parts of the SQLite back end, for its own files only
 * (docs/internals/store.md).
 *
 *     struct sqlite_store
 *       ├── writer   one connection that changes the file: BEGIN IMMEDIATE … COMMIT per batch
 *       ├── checkpoint  a thread and a connection that move the log into the file
 *       ├── counts   tasks by service and state, as the writer will have them after its batch
 *       └── readers  one read-only connection per reader number
 *
 * The functions of these files return SQLite's own codes (SQLITE_OK is 0; our own lack of memory is
 * SQLITE_NOMEM): whatever is not SQLITE_OK ends the batch and is turned into an rc by the caller of
 * store_apply()'s and store_query()'s back end alone.
 */
#ifndef LH_STORE_STORE_SQLITE_H
#define LH_STORE_STORE_SQLITE_H

#include "store/store.h"
#include "task/lifecycle.h"

#include <sqlite3.h>

/* Every statement that is kept prepared; its text stands in sqlite/conn.c. */
enum sqlite_stmt_id {
    STMT_BEGIN_WRITE,
    STMT_BEGIN_READ,
    STMT_COMMIT,
    STMT_SUPERSEDE,
    STMT_TASK_BY_ID,
    STMT_TASK_BY_SEQ,
    STMT_TASK_BRIEF,
    STMT_TASK_LOOK,
    STMT_TASK_PREFIX,
    STMT_TASK_INSERT,
    STMT_TASK_STATE,
    STMT_TASK_LEASE,
    STMT_TASK_OUTBOX,
    STMT_TASK_DELETE,
    STMT_REMOVED_SET,
    STMT_CONDITION_DELETE,
    STMT_RUN_DELETE,
    STMT_GONE_ADD,
    STMT_GONE_GET,
    STMT_GONE_OLDEST,
    STMT_GONE_DELETE,
    STMT_IDEM_DELETE,
    STMT_CONDITION_GET,
    STMT_CONDITION_SET,
    STMT_RESULT_GET,
    STMT_RESULT_SET,
    STMT_RESULT_DELETE,
    STMT_RUN_ADD,
    STMT_RUN_ALL,
    STMT_IDEM_GET,
    STMT_IDEM_ADD,
    STMT_ALARMS,
    STMT_BEST,
    STMT_OUTBOX_DUE,
    STMT_LAPSED,
    STMT_CLAIMED,
    STMT_WORKER_SET,
    STMT_WORKER_FORGET,
    STMT_WORKERS,
    STMT_LOG_GET,
    STMT_LOG_SET,
    STMT_LOG_DELETE,
    STMT_CHUNK_SET,
    STMT_CHUNK_CUT,
    STMT_CHUNK_DELETE,
    STMT_CHUNKS,
    STMT_SERVICE_SET,
    STMT_SERVICES,
    STMT_PARKED,
    STMT_UNSENT,
    STMT_OLDEST,
    STMT_COUNT_ALL,
    STMT_COUNT_ADD,
    STMT_PING,
    STMT_IDS
};

/* In which order a merge walks its lists. */
enum sqlite_order { SQLITE_NEWEST, SQLITE_OLDEST, SQLITE_CLAIMS, SQLITE_ORDERS };

/* A connection, used by one thread at a time. */
struct sqlite_conn {
    sqlite3 *db;
    sqlite3_stmt *stmts[STMT_IDS]; /* NULL until first used */
    struct sqlite_walks {
        sqlite3_stmt **stmts; /* one for each list that a merge walks */
        size_t n;
    } walks[SQLITE_ORDERS];
};

int sqlite_conn_open(struct sqlite_conn *conn, const char *path, bool writer);
void sqlite_conn_close(struct sqlite_conn *conn);

/* The statement, prepared and reset; *ret is borrowed. */
int sqlite_conn_stmt(struct sqlite_conn *conn, enum sqlite_stmt_id id, sqlite3_stmt **ret);

/* Runs a statement that gives no rows and has no parameters. */
int sqlite_conn_run(struct sqlite_conn *conn, enum sqlite_stmt_id id);

/* Steps a statement that gives no rows and resets it. */
int sqlite_stmt_done(sqlite3_stmt *stmt);

/* Resets every statement and rolls back an open transaction. */
void sqlite_conn_rollback(struct sqlite_conn *conn);

/* True where a write itself failed: then the last frame of the log, which makes a batch count, is
 * not whole. After other failures of a COMMIT (fsync) it may be. */
bool sqlite_not_written(int sq);

/* The failure in words. */
const char *sqlite_why(int sq);

/* Brings the file to this program's schema version. RC_CONFIG: newer, or not our file. */
enum rc sqlite_schema_upgrade(struct sqlite_conn *conn, const char *path, struct error *err);

/* Status and sub status as the file keeps them: one number, for ever (docs/internals/store.md). */
int sqlite_state_of(const struct task *task);
bool sqlite_state_split(int state, enum task_status *ret_status, enum task_sub *ret_sub);

/* Rows of tasks. `seq` is the row's number, which rises in the order of creation. The getters give
 * SQLITE_ROW, or SQLITE_DONE where there is none; *ret is zeroed before and owned by the caller. */
int sqlite_task_by_id(struct sqlite_conn *conn, const char *task_id, struct task *ret,
                      int64_t *ret_seq);
int sqlite_task_by_seq(struct sqlite_conn *conn, int64_t seq, struct task *ret);

/* The same as sqlite_task_by_id() with what struct query's `brief` names, and nothing else. */
int sqlite_task_brief(struct sqlite_conn *conn, const char *task_id, struct task *ret,
                      int64_t *ret_seq);
int sqlite_task_condition(struct sqlite_conn *conn, int64_t seq, struct task *task);
int sqlite_task_result(struct sqlite_conn *conn, int64_t seq, struct task *task);

/* The records of its runs but the last; SQLITE_ROW in any case. */
int sqlite_task_past(struct sqlite_conn *conn, int64_t seq, struct task *task);

/* SQLITE_CONSTRAINT where the task_id exists; nothing is written then. */
int sqlite_task_insert(struct sqlite_conn *conn, const struct task *task);

/* Writes the parts (enum task_part) of a task that stands at `seq`. */
int sqlite_task_update(struct sqlite_conn *conn, int64_t seq, const struct task *task,
                       unsigned parts);

/* Reads the task of the row on which `stmt` (of the STMT_TASK_* columns) stands. */
int sqlite_task_read(sqlite3_stmt *stmt, struct task *ret, int64_t *ret_seq);

/* The task that has the task's service and idempotency key: SQLITE_ROW with its hash, and its
 * task_id in the task; SQLITE_DONE where there is none. */
int sqlite_idem_get(struct sqlite_conn *conn, struct task *task, int64_t *ret_hash);

/* Remembers the key of a new task. */
int sqlite_idem_add(struct sqlite_conn *conn, const struct task *task);

/* Writes a consumer as it was seen last, in place of what was known of it. */
int sqlite_worker_set(struct sqlite_conn *conn, const struct op *op);

/* All that were seen at or after query->seen_since_ms. */
int sqlite_workers_load(struct sqlite_conn *conn, struct query *query);

/* Appends to a log (OP_LOG); the op's outcome is in it. */
int sqlite_log_apply(struct sqlite_conn *conn, struct op *op);

/* Answers QUERY_LOG. */
int sqlite_log_load(struct sqlite_conn *conn, struct query *query);

/* Removes all logs of the task at `seq`. */
int sqlite_log_delete(struct sqlite_conn *conn, int64_t seq);

/* Writes what op->service_parts name of a service. */
int sqlite_service_set(struct sqlite_conn *conn, const struct op *op);

/* All services of which something has been set. */
int sqlite_services_load(struct sqlite_conn *conn, struct query *query);

/* How many tasks a service has in a state. `n` includes `delta`, what the open batch added. */
struct sqlite_count {
    char service[TASK_TEXT_CAP];
    int state;
    int64_t n;
    int64_t delta;
};

struct sqlite_counts {
    struct sqlite_count *rows; /* in order of service, state */
    size_t n, cap;
};

int sqlite_counts_load(struct sqlite_conn *conn, struct sqlite_counts *ret);
void sqlite_counts_finish(struct sqlite_counts *counts);
int sqlite_counts_add(struct sqlite_counts *counts, const char *service, int state, int delta);

/* Tasks of the service that are ready or waiting; that run. */
int64_t sqlite_counts_waiting(const struct sqlite_counts *counts, const char *service);
int64_t sqlite_counts_running(const struct sqlite_counts *counts, const char *service);

/* Writes what the batch added; the deltas stay until the batch is committed or rolled back. */
int sqlite_counts_write(struct sqlite_conn *conn, const struct sqlite_counts *counts);
void sqlite_counts_settle(struct sqlite_counts *counts, bool committed);

/* Walks the tasks of several lists as one. SQLITE_NEWEST, SQLITE_OLDEST: a list is a service in a
 * state, from those tasks on that are older (newer) than `beyond`. SQLITE_CLAIMS: it is what may be
 * claimed of a service, in the order of claiming. No task may change while it is open. */
struct sqlite_merge {
    struct sqlite_conn *conn;
    enum sqlite_order order;
    struct sqlite_walk {
        sqlite3_stmt *stmt;
        int64_t seq;   /* of the task that it stands on */
        int64_t place; /* of that task in the order of all walks */
    } * walks;
    size_t n;
};

int sqlite_merge_open(struct sqlite_merge *merge, struct sqlite_conn *conn, enum sqlite_order order,
                      int64_t beyond, const struct sqlite_count *const *lists, size_t n);

/* SQLITE_ROW with the next task's seq, SQLITE_DONE at the end. */
int sqlite_merge_next(struct sqlite_merge *merge, int64_t *ret_seq);
void sqlite_merge_close(struct sqlite_merge *merge);

void sqlite_walks_finish(struct sqlite_walks *walks);
void sqlite_walks_reset(struct sqlite_walks *walks);

/* Removes the task at `seq` with all that belongs to it, and leaves a tombstone. */
int sqlite_gone_add(struct sqlite_conn *conn, int64_t seq, const struct task *task, int64_t now_ms);

/* SQLITE_ROW with what is known of a removed task (sub SUB_REMOVED), or SQLITE_DONE. */
int sqlite_gone_get(struct sqlite_conn *conn, const char *task_id, struct task *ret);

/* OP_FORGET: removes old tombstones and frees their idempotency keys. */
int sqlite_gone_forget(struct sqlite_conn *conn, struct op *op);

/* Answers QUERY_EXPIRED. */
int sqlite_expired_load(struct sqlite_conn *conn, struct query *query);

/* Answers QUERY_LIST. */
int sqlite_list_load(struct sqlite_conn *conn, struct query *query);

/* Moves the log into the file beside the writer. Close it before the writer. */
struct sqlite_checkpoint;
int sqlite_checkpoint_open(const char *path, struct sqlite_conn *writer,
                           struct sqlite_checkpoint **ret);
void sqlite_checkpoint_close(struct sqlite_checkpoint *checkpoint); /* NULL is fine */

/* After a commit, on the writer's thread: lets the log be moved where it has grown. */
void sqlite_checkpoint_follow(struct sqlite_checkpoint *checkpoint, struct sqlite_conn *writer);

struct sqlite_store {
    struct store base;
    char *path;
    int lock_fd; /* flock on PATH.lock */
    struct sqlite_conn writer;
    struct sqlite_checkpoint *checkpoint;
    struct sqlite_counts counts;
    int64_t swept_bytes; /* of the batch under way: conditions of its sweepers' ops */
    struct sqlite_conn *readers;
    unsigned n_readers;
};

enum rc sqlite_apply(struct store *base, struct op *const *ops, size_t n, struct error *err);
enum rc sqlite_query(struct store *base, unsigned reader, struct query *const *queries, size_t n,
                     struct error *err);

#endif
