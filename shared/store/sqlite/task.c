/* task.c: a task as rows: its own, its condition's and its result's. */
#include "base/mem.h"
#include "store/sqlite/sqlite.h"

#include <assert.h>
#include <stddef.h>
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
    COL_STORED_AT,
    COL_PRIORITY,
    COL_RANK,
    COL_EXPIRE_MS,
    COL_TIMEOUT_MS,
    COL_MAX_ATTEMPTS,
    COL_RETRY_KIND,
    COL_RETRY_BASE_MS,
    COL_RETRY_MAX_MS,
    COL_RETRY_JITTER,
    COL_TAGS,
    COL_IDEM_KEY,
    COL_DUE_AT,
    COL_EXPIRE_AT,
    COL_ALARM_AT,
    COL_DEADLINE,
    COL_TRIED,
    COL_CANCEL_AT,
    COL_GRACE_MS,
    COL_CANCEL_REASON,
    COL_PROGRESS,
    COL_CLAIM_ID,
    COL_QUEUED_AT,
    COL_PRODUCED_AT,
    COL_PLACE,
    COL_RUN_QUEUED_AT,
    COL_RUN_PRODUCED_AT,
    COL_RUN_PLACE,
    COL_CLAIMED_AT,
    COL_STARTED_AT,
    COL_RUN_ENDED_AT,
    COL_RUN_END,
    COL_WORKER,
    COL_RUN_LEASE_MS,
    COL_RUN_OUTPUT_AT,
    COL_RUN_TOKEN,
    COL_TRACEPARENT,
    COL_TRACESTATE,
};

/* The numbers are in files: a value keeps its number for ever, a new one takes a new number. */
static const int status_code[TASK_STATUSES] = {
    [TASK_READY] = 1,    [TASK_WAITING] = 2, [TASK_RUNNING] = 3,
    [TASK_FINISHED] = 4, [TASK_FAILED] = 5,
};
static const int sub_code[TASK_SUBS] = {
    [SUB_NONE] = 0,
    [SUB_HELD] = 1,
    [SUB_PRODUCING] = 2,
    [SUB_QUEUED] = 3,
    [SUB_CLAIMED] = 4,
    [SUB_ERROR] = 5,
    [SUB_STARTED] = 6,
    [SUB_CRASH] = 7,
    [SUB_DELAYED] = 8,
    [SUB_RETRY] = 9,
    [SUB_CANCELLING] = 10,
    [SUB_TIMEOUT] = 11,
    [SUB_LIMIT] = 12,
    [SUB_CANCELLED] = 13,
    [SUB_EXPIRED] = 14,
    [SUB_DEAD] = 15,
    [SUB_KILL_UNCONFIRMED] = 16,
    [SUB_REMOVED] = 17,
};
static const int class_code[] = {[ERROR_NONE] = 0, [ERROR_FATAL] = 1, [ERROR_RETRYABLE] = 2};
static const int lapse_code[TASK_LAPSES] = {
    [LAPSE_NONE] = 0,
    [LAPSE_CRASH] = 1,
    [LAPSE_UNDELIVERED] = 2,
    [LAPSE_KILL] = 3,
};
static const int end_code[TASK_ENDS] = {
    [END_NONE] = 0,
    [END_FINISHED] = 1,
    [END_ERROR] = 2,
    [END_TIMEOUT] = 3,
    [END_LIMIT] = 4,
    [END_CANCELLED] = 5,
    [END_KILL_UNCONFIRMED] = 6,
    [END_CRASH] = 7,
    [END_LEASE_LOST] = 8,
    [END_HANDED_BACK] = 9,
};
static const int retry_code[TASK_RETRY_KINDS] = {[RETRY_EXPONENTIAL] = 0, [RETRY_FIXED] = 1};

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

static bool read_array(sqlite3_stmt *stmt, int column, char *to, size_t cap) {
    const char *text = (const char *)sqlite3_column_text(stmt, column);
    return mem_copy_str(to, cap, text ? text : "");
}

/* False where the file holds something that no version of ours wrote. */
static bool read_codes(sqlite3_stmt *stmt, struct task *ret) {
    unsigned error_class, lapse, end, retry;
    if (!sqlite_state_split(sqlite3_column_int(stmt, COL_STATE), &ret->status, &ret->sub) ||
        !decode(class_code, LH_COUNT(class_code), sqlite3_column_int(stmt, COL_ERROR_CLASS),
                &error_class) ||
        !decode(lapse_code, TASK_LAPSES, sqlite3_column_int(stmt, COL_LAPSE), &lapse) ||
        !decode(end_code, TASK_ENDS, sqlite3_column_int(stmt, COL_RUN_END), &end) ||
        !decode(retry_code, TASK_RETRY_KINDS, sqlite3_column_int(stmt, COL_RETRY_KIND), &retry))
        return false;
    ret->error_class = (enum task_error_class)error_class;
    ret->lapse = (enum task_lapse)lapse;
    ret->run.end = (enum task_end)end;
    ret->retry.kind = (enum task_retry_kind)retry;
    return true;
}

static bool read_fixed(sqlite3_stmt *stmt, struct task *ret) {
    const void *oid = sqlite3_column_blob(stmt, COL_OID);
    if (!oid || sqlite3_column_bytes(stmt, COL_OID) != OBJECT_ID_LEN)
        return false;
    memcpy(ret->oid, oid, OBJECT_ID_LEN);
    return read_array(stmt, COL_TASK_ID, ret->task_id, sizeof ret->task_id) &&
           read_array(stmt, COL_SERVICE, ret->service, sizeof ret->service) &&
           read_array(stmt, COL_RUN_ID, ret->run_id, sizeof ret->run_id) &&
           read_array(stmt, COL_CLAIM_ID, ret->claim_id, sizeof ret->claim_id) &&
           read_array(stmt, COL_WORKER, ret->run.worker, sizeof ret->run.worker) &&
           read_array(stmt, COL_RUN_TOKEN, ret->run.token, sizeof ret->run.token) &&
           read_codes(stmt, ret);
}

/* The columns that are plain numbers, and where they belong. */
static const struct number {
    enum column column;
    size_t at;
} numbers[] = {
    {COL_CREATE_AT, offsetof(struct task, create_at)},
    {COL_START_AT, offsetof(struct task, start_at)},
    {COL_END_AT, offsetof(struct task, end_at)},
    {COL_ATTEMPT, offsetof(struct task, attempt)},
    {COL_OUTBOX_SEQ, offsetof(struct task, outbox_seq)},
    {COL_OUTBOX_PICK_AT, offsetof(struct task, outbox_pick_at)},
    {COL_REV, offsetof(struct task, rev)},
    {COL_LEASE_UNTIL, offsetof(struct task, lease_until)},
    {COL_CRASHES, offsetof(struct task, crashes)},
    {COL_UNDELIVERED, offsetof(struct task, undelivered)},
    {COL_STORED_AT, offsetof(struct task, stored_at)},
    {COL_PRIORITY, offsetof(struct task, priority)},
    {COL_RANK, offsetof(struct task, rank)},
    {COL_EXPIRE_MS, offsetof(struct task, expire_ms)},
    {COL_TIMEOUT_MS, offsetof(struct task, timeout_ms)},
    {COL_MAX_ATTEMPTS, offsetof(struct task, max_attempts)},
    {COL_RETRY_BASE_MS, offsetof(struct task, retry.base_ms)},
    {COL_RETRY_MAX_MS, offsetof(struct task, retry.max_ms)},
    {COL_RETRY_JITTER, offsetof(struct task, retry.jitter_permille)},
    {COL_DUE_AT, offsetof(struct task, due_at)},
    {COL_EXPIRE_AT, offsetof(struct task, expire_at)},
    {COL_ALARM_AT, offsetof(struct task, alarm_at)},
    {COL_DEADLINE, offsetof(struct task, deadline)},
    {COL_TRIED, offsetof(struct task, tried)},
    {COL_CANCEL_AT, offsetof(struct task, cancel_at)},
    {COL_GRACE_MS, offsetof(struct task, grace_ms)},
    {COL_QUEUED_AT, offsetof(struct task, queued.at)},
    {COL_PRODUCED_AT, offsetof(struct task, queued.produced_at)},
    {COL_RUN_QUEUED_AT, offsetof(struct task, run.queued.at)},
    {COL_RUN_PRODUCED_AT, offsetof(struct task, run.queued.produced_at)},
    {COL_CLAIMED_AT, offsetof(struct task, run.claimed_at)},
    {COL_STARTED_AT, offsetof(struct task, run.started_at)},
    {COL_RUN_ENDED_AT, offsetof(struct task, run.ended_at)},
    {COL_RUN_LEASE_MS, offsetof(struct task, run.lease_ms)},
    {COL_RUN_OUTPUT_AT, offsetof(struct task, run.output_at)},
};

static int64_t *number_at(struct task *task, const struct number *number) {
    return (int64_t *)((char *)task + number->at);
}

/* The column run_output_at of a silent run. */
enum { OUTPUT_NEVER = -1 };

static void read_numbers(sqlite3_stmt *stmt, struct task *ret) {
    for (size_t i = 0; i < LH_COUNT(numbers); i++)
        *number_at(ret, &numbers[i]) = sqlite3_column_int64(stmt, (int)numbers[i].column);
    ret->outbox_pending = sqlite3_column_int(stmt, COL_OUTBOX_PENDING);
    ret->beaten = sqlite3_column_int(stmt, COL_BEATEN);
    ret->run.silent = ret->run.output_at == OUTPUT_NEVER;
    if (ret->run.silent)
        ret->run.output_at = 0;
}

/* The columns that are texts which may be absent. */
static const struct {
    enum column column;
    size_t at;
} texts[] = {
    {COL_SOURCE_NAME, offsetof(struct task, source_name)},
    {COL_ERROR_TEXT, offsetof(struct task, error_text)},
    {COL_TAGS, offsetof(struct task, tags)},
    {COL_IDEM_KEY, offsetof(struct task, idem_key)},
    {COL_CANCEL_REASON, offsetof(struct task, cancel_reason)},
    {COL_PROGRESS, offsetof(struct task, progress)},
    {COL_PLACE, offsetof(struct task, queued.place)},
    {COL_RUN_PLACE, offsetof(struct task, run.queued.place)},
    {COL_TRACEPARENT, offsetof(struct task, traceparent)},
    {COL_TRACESTATE, offsetof(struct task, tracestate)},
};

static bool read_texts(sqlite3_stmt *stmt, struct task *ret) {
    bool ok = true;
    for (size_t i = 0; ok && i < LH_COUNT(texts); i++)
        ok = read_text(stmt, (int)texts[i].column, (char **)((char *)ret + texts[i].at), NULL);
    for (int i = 0; ok && i < TASK_MESSAGES; i++)
        ok = read_text(stmt, COL_MESSAGE + i, &ret->message[i], NULL);
    return ok;
}

int sqlite_task_read(sqlite3_stmt *stmt, struct task *ret, int64_t *ret_seq) {
    struct task task = {0};
    if (!read_fixed(stmt, &task))
        return SQLITE_CORRUPT;
    read_numbers(stmt, &task);
    if (!read_texts(stmt, &task)) {
        task_finish(&task);
        return SQLITE_NOMEM;
    }
    *ret = task;
    if (ret_seq)
        *ret_seq = sqlite3_column_int64(stmt, COL_SEQ);
    return SQLITE_OK;
}

typedef int read_row(sqlite3_stmt *stmt, struct task *ret, int64_t *ret_seq);

/* Steps a statement that finds one task or none, and resets it. */
static int read_one(sqlite3_stmt *stmt, read_row *row, struct task *ret, int64_t *ret_seq) {
    int sq = sqlite3_step(stmt);
    if (sq == SQLITE_ROW) {
        int read = row(stmt, ret, ret_seq);
        sq = read == SQLITE_OK ? SQLITE_ROW : read;
    }
    sqlite3_reset(stmt);
    return sq;
}

static int read_named(struct sqlite_conn *conn, enum sqlite_stmt_id id, read_row *row,
                      const char *task_id, struct task *ret, int64_t *ret_seq) {
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, id, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_text(stmt, 1, task_id, -1, SQLITE_STATIC);
    return sq == SQLITE_OK ? read_one(stmt, row, ret, ret_seq) : sq;
}

int sqlite_task_by_id(struct sqlite_conn *conn, const char *task_id, struct task *ret,
                      int64_t *ret_seq) {
    return read_named(conn, STMT_TASK_BY_ID, sqlite_task_read, task_id, ret, ret_seq);
}

/* The columns of STMT_TASK_BRIEF. */
static int read_brief(sqlite3_stmt *stmt, struct task *ret, int64_t *ret_seq) {
    struct task task = {.start_at = sqlite3_column_int64(stmt, 4),
                        .end_at = sqlite3_column_int64(stmt, 5),
                        .attempt = sqlite3_column_int64(stmt, 11)};
    unsigned error_class;
    if (!read_array(stmt, 1, task.task_id, sizeof task.task_id) ||
        !read_array(stmt, 2, task.service, sizeof task.service) ||
        !sqlite_state_split(sqlite3_column_int(stmt, 3), &task.status, &task.sub) ||
        !decode(class_code, LH_COUNT(class_code), sqlite3_column_int(stmt, 9), &error_class))
        return SQLITE_CORRUPT;
    task.error_class = (enum task_error_class)error_class;
    bool ok =
        read_text(stmt, 10, &task.error_text, NULL) && read_text(stmt, 12, &task.progress, NULL);
    for (int i = 0; ok && i < TASK_MESSAGES; i++)
        ok = read_text(stmt, 6 + i, &task.message[i], NULL);
    if (!ok) {
        task_finish(&task);
        return SQLITE_NOMEM;
    }
    *ret = task;
    *ret_seq = sqlite3_column_int64(stmt, 0);
    return SQLITE_OK;
}

int sqlite_task_brief(struct sqlite_conn *conn, const char *task_id, struct task *ret,
                      int64_t *ret_seq) {
    return read_named(conn, STMT_TASK_BRIEF, read_brief, task_id, ret, ret_seq);
}

int sqlite_task_by_seq(struct sqlite_conn *conn, int64_t seq, struct task *ret) {
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(conn, STMT_TASK_BY_SEQ, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int64(stmt, 1, seq);
    return sq == SQLITE_OK ? read_one(stmt, sqlite_task_read, ret, NULL) : sq;
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

int sqlite_task_past(struct sqlite_conn *conn, int64_t seq, struct task *task) {
    return get_value(conn, STMT_RUN_ALL, seq, &task->past, NULL);
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
    bind_int(to, COL_STORED_AT, task->stored_at);
    bind_int(to, COL_PRIORITY, task->priority);
    bind_int(to, COL_EXPIRE_MS, task->expire_ms);
    bind_int(to, COL_TIMEOUT_MS, task->timeout_ms);
    bind_int(to, COL_MAX_ATTEMPTS, task->max_attempts);
    bind_int(to, COL_RETRY_KIND, retry_code[task->retry.kind]);
    bind_int(to, COL_RETRY_BASE_MS, task->retry.base_ms);
    bind_int(to, COL_RETRY_MAX_MS, task->retry.max_ms);
    bind_int(to, COL_RETRY_JITTER, task->retry.jitter_permille);
    bind_str(to, COL_TAGS, task->tags);
    bind_str(to, COL_IDEM_KEY, task->idem_key);
    bind_str(to, COL_TRACEPARENT, task->traceparent);
    bind_str(to, COL_TRACESTATE, task->tracestate);
}

static void bind_times(struct binding *to, const struct task *task) {
    bind_int(to, COL_RANK, task->rank);
    bind_int(to, COL_DUE_AT, task->due_at);
    bind_int(to, COL_EXPIRE_AT, task->expire_at);
    bind_int(to, COL_ALARM_AT, task->alarm_at);
    bind_int(to, COL_DEADLINE, task->deadline);
    bind_int(to, COL_TRIED, task->tried);
    bind_int(to, COL_QUEUED_AT, task->queued.at);
    bind_int(to, COL_PRODUCED_AT, task->queued.produced_at);
    bind_str(to, COL_PLACE, task->queued.place);
}

static void bind_run_record(struct binding *to, const struct task *task) {
    const struct task_run *run = &task->run;
    bind_int(to, COL_CANCEL_AT, task->cancel_at);
    bind_int(to, COL_GRACE_MS, task->grace_ms);
    bind_str(to, COL_CANCEL_REASON, task->cancel_reason);
    bind_str(to, COL_PROGRESS, task->progress);
    bind_str(to, COL_CLAIM_ID, task->claim_id[0] ? task->claim_id : NULL);
    bind_int(to, COL_RUN_QUEUED_AT, run->queued.at);
    bind_int(to, COL_RUN_PRODUCED_AT, run->queued.produced_at);
    bind_str(to, COL_RUN_PLACE, run->queued.place);
    bind_int(to, COL_CLAIMED_AT, run->claimed_at);
    bind_int(to, COL_STARTED_AT, run->started_at);
    bind_int(to, COL_RUN_ENDED_AT, run->ended_at);
    bind_int(to, COL_RUN_END, end_code[run->end]);
    bind_str(to, COL_WORKER, run->worker[0] ? run->worker : NULL);
    bind_int(to, COL_RUN_LEASE_MS, run->lease_ms);
    bind_int(to, COL_RUN_OUTPUT_AT, run->silent ? OUTPUT_NEVER : run->output_at);
    bind_str(to, COL_RUN_TOKEN, run->token[0] ? run->token : NULL);
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
    bind_times(to, task);
    bind_run_record(to, task);
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

/* A heartbeat of a run that has sent one before changes no more. */
static int update_lease(struct sqlite_conn *conn, int64_t seq, const struct task *task) {
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

/* One row for each record of task->aside. */
static int add_runs(struct sqlite_conn *conn, int64_t seq, const struct task *task) {
    LH_CLEANUP_BUF struct buf list;
    buf_init(&list, SIZE_MAX / 2);
    buf_printf(&list, "[%s]", task->aside);
    if (buf_rc(&list) != RC_OK)
        return SQLITE_NOMEM;
    struct json_span rest = {list.data, list.len}, record;
    int sq = SQLITE_OK;
    while (sq == SQLITE_OK && json_span_next(&rest, &record))
        sq = set_value(conn, STMT_RUN_ADD, seq, record.at, record.len);
    return sq;
}

int sqlite_task_update(struct sqlite_conn *conn, int64_t seq, const struct task *task,
                       unsigned parts) {
    int sq = SQLITE_OK;
    if (parts & PART_STATE)
        sq = update_state(conn, seq, task);
    else if (parts & PART_LEASE)
        sq = update_lease(conn, seq, task);
    if (sq == SQLITE_OK && (parts & PART_RUN))
        sq = add_runs(conn, seq, task);
    if (sq == SQLITE_OK && (parts & (PART_OUTBOX | PART_CONDITION)))
        sq = update_outbox(conn, seq, task);
    if (sq == SQLITE_OK && (parts & PART_CONDITION))
        sq = set_value(conn, STMT_CONDITION_SET, seq, task->condition, task->condition_len);
    if (sq == SQLITE_OK && (parts & PART_RESULT))
        sq = set_value(conn, task->result ? STMT_RESULT_SET : STMT_RESULT_DELETE, seq, task->result,
                       task->result_len);
    return sq;
}
