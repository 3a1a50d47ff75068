/* store_sqlite_task.c: a task as rows: its own, its condition's and its result's. */
#include "base/mem.h"
#include "store/store_sqlite.h"

#include <assert.h>
#include <string.h>

/* Numbers of the columns in every SELECT of a task; as parameters they count from 1. */
enum column {
    COL_SEQ,
    COL_OID,
    COL_TASK_ID,
    COL_SERVICE,
    COL_SOURCE_NAME,
    COL_STATE,
    COL_CREATE_AT,
    COL_START_AT,
    COL_END_AT,
    COL_MESSAGE, /* three */
    COL_ERROR_CLASS = COL_MESSAGE + TASK_MESSAGES,
    COL_ERROR_TEXT,
    COL_RUN_ID,
    COL_ATTEMPT,
    COL_OUTBOX_SEQ,
    COL_OUTBOX_PENDING,
    COL_OUTBOX_PICK_AT,
    COL_REV,
    COL_LEASE_UNTIL,
    COL_BEATEN,
    COL_CRASHES,
    COL_UNDELIVERED,
    COL_LAPSE,
};

/* The numbers are in files: a value keeps its number for ever, a new one takes a new number. */
static const int status_code[TASK_STATUSES] = {
    [TASK_READY] = 1,    [TASK_WAITING] = 2, [TASK_RUNNING] = 3,
    [TASK_FINISHED] = 4, [TASK_FAILED] = 5,
};
static const int sub_code[TASK_SUBS] = {
    [SUB_NONE] = 0,    [SUB_HELD] = 1,  [SUB_PRODUCING] = 2, [SUB_QUEUED] = 3,
    [SUB_CLAIMED] = 4, [SUB_ERROR] = 5, [SUB_STARTED] = 6,   [SUB_CRASH] = 7,
};
static const int class_code[] = {[ERROR_NONE] = 0, [ERROR_FATAL] = 1, [ERROR_RETRYABLE] = 2};
static const int lapse_code[TASK_LAPSES] = {
    [LAPSE_NONE] = 0,
    [LAPSE_CRASH] = 1,
    [LAPSE_UNDELIVERED] = 2,
};

static bool decode(const int *codes, size_t n, int code, unsigned *ret) {
    for (size_t i = 0; i < n; i++)
        if (codes[i] == code) {
            *ret = (unsigned)i;
            return true;
        }
    return false;
}

int sqlite_state_of(const struct task *task) {
    return status_code[task->status] * 100 + sub_code[task->sub];
}

bool sqlite_state_split(int state, enum task_status *ret_status, enum task_sub *ret_sub) {
    unsigned status, sub;
    if (!decode(status_code, TASK_STATUSES, state / 100, &status) ||
        !decode(sub_code, TASK_SUBS, state % 100, &sub))
        return false;
    *ret_status = (enum task_status)status;
    *ret_sub = (enum task_sub)sub;
    return true;
}

static bool read_text(sqlite3_stmt *stmt, int column, char **ret, size_t *ret_len) {
    const void *bytes = sqlite3_column_text(stmt, column);
    if (!bytes)
        return sqlite3_column_type(stmt, column) == SQLITE_NULL;
    size_t len = (size_t)sqlite3_column_bytes(stmt, column);
    *ret = mem_dup(bytes, len);
    if (*ret && ret_len)
        *ret_len = len;
    return *ret;
}

/* False where the file holds something that no version of ours wrote. */
static bool read_fixed(sqlite3_stmt *stmt, struct task *ret) {
    const void *oid = sqlite3_column_blob(stmt, COL_OID);
    const char *task_id = (const char *)sqlite3_column_text(stmt, COL_TASK_ID);
    const char *service = (const char *)sqlite3_column_text(stmt, COL_SERVICE);
    const char *run_id = (const char *)sqlite3_column_text(stmt, COL_RUN_ID);
    unsigned error_class, lapse;
    if (!oid || sqlite3_column_bytes(stmt, COL_OID) != OBJECT_ID_LEN || !task_id || !service ||
        !mem_copy_str(ret->task_id, sizeof ret->task_id, task_id) ||
        !mem_copy_str(ret->service, sizeof ret->service, service) ||
        !mem_copy_str(ret->run_id, sizeof ret->run_id, run_id ? run_id : "") ||
        !sqlite_state_split(sqlite3_column_int(stmt, COL_STATE), &ret->status, &ret->sub) ||
        !decode(class_code, LH_COUNT(class_code), sqlite3_column_int(stmt, COL_ERROR_CLASS),
                &error_class) ||
        !decode(lapse_code, TASK_LAPSES, sqlite3_column_int(stmt, COL_LAPSE), &lapse))
        return false;
    memcpy(ret->oid, oid, OBJECT_ID_LEN);
    ret->error_class = (enum task_error_class)error_class;
    ret->lapse = (enum task_lapse)lapse;
    return true;
}

static void read_numbers(sqlite3_stmt *stmt, struct task *ret) {
    ret->create_at = sqlite3_column_int64(stmt, COL_CREATE_AT);
    ret->start_at = sqlite3_column_int64(stmt, COL_START_AT);
    ret->end_at = sqlite3_column_int64(stmt, COL_END_AT);
    ret->attempt = sqlite3_column_int64(stmt, COL_ATTEMPT);
    ret->outbox_seq = sqlite3_column_int64(stmt, COL_OUTBOX_SEQ);
    ret->outbox_pending = sqlite3_column_int(stmt, COL_OUTBOX_PENDING);
    ret->outbox_pick_at = sqlite3_column_int64(stmt, COL_OUTBOX_PICK_AT);
    ret->rev = sqlite3_column_int64(stmt, COL_REV);
    ret->lease_until = sqlite3_column_int64(stmt, COL_LEASE_UNTIL);
    ret->beaten = sqlite3_column_int(stmt, COL_BEATEN);
    ret->crashes = sqlite3_column_int64(stmt, COL_CRASHES);
    ret->undelivered = sqlite3_column_int64(stmt, COL_UNDELIVERED);
}

int sqlite_task_read(sqlite3_stmt *stmt, struct task *ret, int64_t *ret_seq) {
    struct task task = {0};
    if (!read_fixed(stmt, &task))
        return SQLITE_CORRUPT;
    read_numbers(stmt, &task);
    bool ok = read_text(stmt, COL_SOURCE_NAME, &task.source_name, NULL) &&
              read_text(stmt, COL_ERROR_TEXT, &task.error_text, NULL);
    for (int i = 0; ok && i < TASK_MESSAGES; i++)
        ok = read_text(stmt, COL_MESSAGE + i, &task.message[i], NULL);
    if (!ok) {
        task_finish(&task);
        return SQLITE_NOMEM;
    }
    *ret = task;
    if (ret_seq)
        *ret_seq = sqlite3_column_int64(stmt, COL_SEQ);
    return SQLITE_OK;
}

/* Steps a statement that finds one task or none, and resets it. */
static int read_one(sqlite3_stmt *stmt, struct task *ret, int64_t *ret_seq) {
    int sq = sqlite3_step(stmt);
    if (sq == SQLITE_ROW) {
        int read = sqlite_task_read(stmt, ret, ret_seq);
        sq = read == SQLITE_OK ? SQLITE_ROW : read;
    }
    sqlite3_reset(stmt);
    return sq;
}

int sqlite_task_by_id(struct sqlite_conn *conn, const char *task_id, struct task *ret,
                      int64_t *ret_seq) {
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, STMT_TASK_BY_ID, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_text(stmt, 1, task_id, -1, SQLITE_STATIC);
    return sq == SQLITE_OK ? read_one(stmt, ret, ret_seq) : sq;
}

int sqlite_task_by_seq(struct sqlite_conn *conn, int64_t seq, struct task *ret) {
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, STMT_TASK_BY_SEQ, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int64(stmt, 1, seq);
    return sq == SQLITE_OK ? read_one(stmt, ret, NULL) : sq;
}

static int get_value(struct sqlite_conn *conn, enum sqlite_stmt_id id, int64_t seq, char **ret,
                     size_t *ret_len) {
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, id, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int64(stmt, 1, seq);
    if (sq != SQLITE_OK)
        return sq;
    sq = sqlite3_step(stmt);
    if (sq == SQLITE_ROW && !read_text(stmt, 0, ret, ret_len))
        sq = SQLITE_NOMEM;
    sqlite3_reset(stmt);
    return sq;
}

int sqlite_task_condition(struct sqlite_conn *conn, int64_t seq, struct task *task) {
    return get_value(conn, STMT_CONDITION_GET, seq, &task->condition, &task->condition_len);
}

int sqlite_task_result(struct sqlite_conn *conn, int64_t seq, struct task *task) {
    return get_value(conn, STMT_RESULT_GET, seq, &task->result, &task->result_len);
}

static int set_value(struct sqlite_conn *conn, enum sqlite_stmt_id id, int64_t seq,
                     const char *value, size_t len) {
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, id, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int64(stmt, 1, seq);
    if (sq == SQLITE_OK && value)
        sq = sqlite3_bind_text64(stmt, 2, value, len, SQLITE_STATIC, SQLITE_UTF8);
    if (sq == SQLITE_OK)
        sq = sqlite_stmt_done(stmt);
    return sq;
}

/* A parameter of a statement: its number is the column's + 1; unused ones are not in the text. */
struct binding {
    sqlite3_stmt *stmt;
    int sq;
};

static void bind_int(struct binding *to, enum column column, int64_t value) {
    if (to->sq == SQLITE_OK)
        to->sq = sqlite3_bind_int64(to->stmt, (int)column + 1, value);
}

static void bind_str(struct binding *to, enum column column, const char *text) {
    if (to->sq == SQLITE_OK)
        to->sq = sqlite3_bind_text(to->stmt, (int)column + 1, text, -1, SQLITE_STATIC);
}

static void bind_new(struct binding *to, const struct task *task) {
    if (to->sq == SQLITE_OK)
        to->sq = sqlite3_bind_blob(to->stmt, COL_OID + 1, task->oid, OBJECT_ID_LEN, SQLITE_STATIC);
    bind_str(to, COL_TASK_ID, task->task_id);
    bind_str(to, COL_SERVICE, task->service);
    bind_str(to, COL_SOURCE_NAME, task->source_name);
    bind_int(to, COL_CREATE_AT, task->create_at);
}

static void bind_lease(struct binding *to, const struct task *task) {
    bind_int(to, COL_LEASE_UNTIL, task->lease_until);
    bind_int(to, COL_REV, task->rev);
}

static void bind_state(struct binding *to, const struct task *task) {
    bind_int(to, COL_STATE, sqlite_state_of(task));
    bind_int(to, COL_START_AT, task->start_at);
    bind_int(to, COL_END_AT, task->end_at);
    for (unsigned i = 0; i < TASK_MESSAGES; i++)
        bind_str(to, (enum column)(COL_MESSAGE + i), task->message[i]);
    bind_int(to, COL_ERROR_CLASS, class_code[task->error_class]);
    bind_str(to, COL_ERROR_TEXT, task->error_text);
    bind_str(to, COL_RUN_ID, task->run_id[0] ? task->run_id : NULL);
    bind_int(to, COL_ATTEMPT, task->attempt);
    bind_lease(to, task);
    bind_int(to, COL_BEATEN, task->beaten);
    bind_int(to, COL_CRASHES, task->crashes);
    bind_int(to, COL_UNDELIVERED, task->undelivered);
    bind_int(to, COL_LAPSE, lapse_code[task->lapse]);
}

static void bind_outbox(struct binding *to, const struct task *task) {
    bind_int(to, COL_OUTBOX_SEQ, task->outbox_seq);
    bind_int(to, COL_OUTBOX_PENDING, task->outbox_pending);
    bind_int(to, COL_OUTBOX_PICK_AT, task->outbox_pick_at);
    bind_int(to, COL_REV, task->rev);
}

static struct binding bind_begin(struct sqlite_conn *conn, enum sqlite_stmt_id id) {
    struct binding to = {0};
    to.sq = sqlite_conn_stmt(conn, id, &to.stmt);
    return to;
}

/* Runs the statement; what was bound is not ours to keep. */
static int bind_run(struct binding *to) {
    if (to->sq == SQLITE_OK)
        to->sq = sqlite_stmt_done(to->stmt);
    if (to->stmt)
        sqlite3_clear_bindings(to->stmt);
    return to->sq;
}

int sqlite_task_insert(struct sqlite_conn *conn, const struct task *task) {
    assert(task->condition);
    struct binding to = bind_begin(conn, STMT_TASK_INSERT);
    bind_new(&to, task);
    bind_state(&to, task);
    bind_outbox(&to, task);
    int sq = bind_run(&to);
    if (sq != SQLITE_OK)
        return (sq & 0xff) == SQLITE_CONSTRAINT ? SQLITE_CONSTRAINT : sq;
    int64_t seq = sqlite3_last_insert_rowid(conn->db);
    return set_value(conn, STMT_CONDITION_SET, seq, task->condition, task->condition_len);
}

static int update_state(struct sqlite_conn *conn, int64_t seq, const struct task *task) {
    struct binding to = bind_begin(conn, STMT_TASK_STATE);
    bind_int(&to, COL_SEQ, seq);
    bind_state(&to, task);
    return bind_run(&to);
}

int sqlite_task_renew(struct sqlite_conn *conn, int64_t seq, const struct task *task) {
    struct binding to = bind_begin(conn, STMT_TASK_LEASE);
    bind_int(&to, COL_SEQ, seq);
    bind_lease(&to, task);
    return bind_run(&to);
}

static int update_outbox(struct sqlite_conn *conn, int64_t seq, const struct task *task) {
    struct binding to = bind_begin(conn, STMT_TASK_OUTBOX);
    bind_int(&to, COL_SEQ, seq);
    bind_outbox(&to, task);
    return bind_run(&to);
}

int sqlite_task_update(struct sqlite_conn *conn, int64_t seq, const struct task *task,
                       unsigned parts) {
    int sq = SQLITE_OK;
    if (parts & PART_STATE)
        sq = update_state(conn, seq, task);
    if (sq == SQLITE_OK && (parts & (PART_OUTBOX | PART_CONDITION)))
        sq = update_outbox(conn, seq, task);
    if (sq == SQLITE_OK && (parts & PART_CONDITION))
        sq = set_value(conn, STMT_CONDITION_SET, seq, task->condition, task->condition_len);
    if (sq == SQLITE_OK && (parts & PART_RESULT))
        sq = set_value(conn, task->result ? STMT_RESULT_SET : STMT_RESULT_DELETE, seq, task->result,
                       task->result_len);
    return sq;
}
