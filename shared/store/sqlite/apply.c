/* apply.c: a batch of operations as one transaction. */
#include "base/mem.h"
#include "base/mutant.h"
#include "store/sqlite/sqlite.h"
#include "store/store_batch.h"

#include <stdio.h>
#include <string.h>

enum { TAKE_AGAIN_MAX = 1000 }; /* as many as one claim_task call takes */

/* Moves a task from one state's count to another's; 0 is no state. */
static int count_move(struct sqlite_store *store, const char *service, int from, int to) {
    if (from == to)
        return SQLITE_OK;
    int sq = from ? sqlite_counts_add(&store->counts, service, from, -1) : SQLITE_OK;
    return sq == SQLITE_OK ? sqlite_counts_add(&store->counts, service, to, 1) : sq;
}

/* The task of the same idempotency key, where there is one: the answer of the first create. */
static int find_twin(struct sqlite_store *store, struct task *task, enum rc *ret) {
    int64_t hash;
    int sq = sqlite_idem_get(&store->writer, task, &hash);
    if (sq != SQLITE_ROW)
        return sq;
    task->duplicate = true;
    *ret = hash == (int64_t)task->idem_hash ? RC_OK : RC_IDEMPOTENCY_CONFLICT;
    return sq;
}

static int insert(struct sqlite_store *store, const struct task *task, enum rc *ret) {
    int sq = sqlite_task_insert(&store->writer, task);
    if (sq == SQLITE_CONSTRAINT) {
        *ret = RC_INTERNAL;
        return SQLITE_OK;
    }
    if (sq == SQLITE_OK && task->idem_key)
        sq = sqlite_idem_add(&store->writer, task);
    return sq == SQLITE_OK ? count_move(store, task->service, 0, sqlite_state_of(task)) : sq;
}

static int create_one(struct sqlite_store *store, const struct op *op, struct task *task,
                      enum rc *ret) {
    int sq = task->idem_key ? find_twin(store, task, ret) : SQLITE_DONE;
    if (sq != SQLITE_DONE)
        return sq == SQLITE_ROW ? SQLITE_OK : sq;
    *ret = lifecycle_enter(task, op, sqlite_counts_waiting(&store->counts, task->service));
    if (*ret != RC_OK)
        return SQLITE_OK;
    task->stored_at = op->now_ms;
    return insert(store, task, ret);
}

static int apply_create(struct sqlite_store *store, struct op *op) {
    int sq = SQLITE_OK;
    for (size_t i = 0; sq == SQLITE_OK && i < op->n_tasks; i++)
        sq = create_one(store, op, &op->tasks[i], &op->task_rc[i]);
    return sq;
}

static int remove_task(struct sqlite_store *store, const struct op *op, const struct task *task,
                       int64_t seq, int before) {
    int sq = sqlite_gone_add(&store->writer, seq, task, op->now_ms);
    return sq == SQLITE_OK ? sqlite_counts_add(&store->counts, task->service, before, -1) : sq;
}

/* Decides the op on a loaded task and writes what the step changed. */
static int change(struct sqlite_store *store, struct op *op, struct task *task, int64_t seq) {
    int before = sqlite_state_of(task);
    unsigned parts = 0;
    if (LH_MUTANT("compare-and-set") && op->kind == OP_CLAIM && task->status == TASK_RUNNING)
        task->status = TASK_WAITING;
    if (op->kind == OP_CLAIM || op->kind == OP_TAKE)
        op->running = sqlite_counts_running(&store->counts, task->service);
    op->rc = lifecycle_apply(task, op, &parts, op->text, sizeof op->text);
    op->parts = parts;
    if (!parts)
        return SQLITE_OK;
    if (parts & PART_REMOVED)
        return remove_task(store, op, task, seq, before);
    int sq = sqlite_task_update(&store->writer, seq, task, parts);
    return sq == SQLITE_OK ? count_move(store, task->service, before, sqlite_state_of(task)) : sq;
}

static int load_values(struct sqlite_store *store, const struct op *op, int64_t seq,
                       struct task *task) {
    int sq = SQLITE_DONE;
    if (op_needs_condition(op))
        sq = sqlite_task_condition(&store->writer, seq, task);
    if ((sq == SQLITE_DONE || sq == SQLITE_ROW) && op_needs_result(op->kind))
        sq = sqlite_task_result(&store->writer, seq, task);
    if ((sq == SQLITE_DONE || sq == SQLITE_ROW) && op_needs_past(op->kind) && task->attempt > 1)
        sq = sqlite_task_past(&store->writer, seq, task);
    return sq == SQLITE_DONE || sq == SQLITE_ROW ? SQLITE_OK : sq;
}

static int refuse_missing(struct sqlite_store *store, struct op *op) {
    struct task gone = {0};
    int sq = sqlite_gone_get(&store->writer, op->task_id, &gone);
    bool told = sq == SQLITE_ROW && task_access_allows(op->access, gone.service);
    task_finish(&gone);
    if (sq != SQLITE_ROW && sq != SQLITE_DONE)
        return sq;
    store_op_fail(op, told ? RC_TASK_REMOVED : RC_UNKNOWN_TASK, "");
    return SQLITE_OK;
}

static int apply_named(struct sqlite_store *store, struct op *op) {
    bool swept = store_op_swept(op);
    if (swept && store->swept_bytes >= STORE_SWEPT_BYTES) {
        store_op_fail(op, RC_OVERLOADED, rc_info(RC_OVERLOADED)->text);
        return SQLITE_OK;
    }
    op->tasks = calloc(1, sizeof *op->tasks);
    if (!op->tasks)
        return SQLITE_NOMEM;
    int64_t seq = 0;
    int sq = sqlite_task_by_id(&store->writer, op->task_id, op->tasks, &seq);
    if (sq == SQLITE_DONE)
        return refuse_missing(store, op);
    if (sq != SQLITE_ROW)
        return sq;
    op->n_tasks = 1;
    sq = load_values(store, op, seq, op->tasks);
    store->swept_bytes += swept ? (int64_t)op->tasks->condition_len : 0;
    if (sq == SQLITE_OK)
        sq = change(store, op, op->tasks, seq);
    if (sq == SQLITE_OK && op->rc == RC_NO_MEMORY)
        store_op_fail(op, RC_NO_MEMORY, "");
    return sq;
}

static bool serves(const struct op *op, const char *service) {
    for (size_t i = 0; i < op->n_services; i++)
        if (strcmp(op->services[i], service) == 0)
            return true;
    return false;
}

/* True while a task of the service may be taken. */
static bool room_of(const struct sqlite_store *store, const struct op *op, const char *service) {
    return service_admit(op->rules, service, sqlite_counts_running(&store->counts, service)) ==
           RC_OK;
}

static bool is_due(const struct sqlite_count *row) {
    struct task task = {0};
    return row->n > 0 && sqlite_state_split(row->state, &task.status, &task.sub) &&
           lifecycle_takeable(&task);
}

/* One row for each service that may have tasks for a TAKE; ret has room for all rows. How many
 * tasks there are goes to *ret_due. */
static size_t due_lists(const struct sqlite_store *store, const struct op *op,
                        const struct sqlite_count **ret, size_t *ret_due) {
    size_t n = 0;
    *ret_due = 0;
    for (size_t i = 0; i < store->counts.n; i++) {
        const struct sqlite_count *row = &store->counts.rows[i];
        if (!is_due(row) || !serves(op, row->service) || !room_of(store, op, row->service))
            continue;
        *ret_due += (size_t)row->n;
        if (n == 0 || strcmp(ret[n - 1]->service, row->service) != 0)
            ret[n++] = row;
    }
    return n;
}

/* Finds up to `max` due tasks. They are gathered before the first is claimed: a
 * claim moves a task out of the list that is walked. */
static int find_due(struct sqlite_store *store, const struct sqlite_count *const *lists,
                    size_t n_lists, int64_t *ret, size_t max, size_t *ret_n) {
    struct sqlite_merge merge;
    int sq = sqlite_merge_open(&merge, &store->writer, SQLITE_CLAIMS, 0, lists, n_lists);
    size_t n = 0;
    while (sq == SQLITE_OK && n < max) {
        sq = sqlite_merge_next(&merge, &ret[n]);
        if (sq == SQLITE_ROW) {
            n++;
            sq = SQLITE_OK;
        }
    }
    sqlite_merge_close(&merge);
    *ret_n = n;
    return sq == SQLITE_DONE ? SQLITE_OK : sq;
}

/* Claims the task at `seq` into the next free place of op->tasks. */
static int take_one(struct sqlite_store *store, struct op *op, int64_t seq) {
    struct task *task = &op->tasks[op->n_tasks];
    int sq = sqlite_task_by_seq(&store->writer, seq, task);
    if (sq != SQLITE_ROW)
        return sq == SQLITE_DONE ? SQLITE_CORRUPT : sq;
    sq = load_values(store, op, seq, task);
    if (sq == SQLITE_OK)
        sq = change(store, op, task, seq);
    if (sq == SQLITE_OK && op->rc == RC_OK)
        op->n_tasks++;
    else
        task_finish(task);
    return sq;
}

/* *ret_limited: the limit of a service left some of them out. */
static int take_all(struct sqlite_store *store, struct op *op, const int64_t *seqs, size_t n,
                    bool *ret_limited) {
    struct task *tasks = reallocarray(op->tasks, op->n_tasks + n, sizeof *tasks);
    if (!tasks)
        return SQLITE_NOMEM;
    op->tasks = tasks;
    int sq = SQLITE_OK;
    for (size_t i = 0; sq == SQLITE_OK && i < n; i++) {
        sq = take_one(store, op, seqs[i]);
        *ret_limited = *ret_limited || op->rc == RC_LIMIT_REACHED;
    }
    op->rc = RC_OK;
    op->text[0] = '\0';
    return sq;
}

/* The tasks that this call claimed before, if it is made again. */
static int find_claimed(struct sqlite_store *store, const char *claim_id, int64_t *ret, size_t max,
                        size_t *ret_n) {
    sqlite3_stmt *stmt;
    int sq = sqlite_conn_stmt(&store->writer, STMT_CLAIMED, &stmt);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_text(stmt, 1, claim_id, -1, SQLITE_STATIC);
    if (sq == SQLITE_OK)
        sq = sqlite3_bind_int64(stmt, 2, (int64_t)max);
    while (sq == SQLITE_OK && (sq = sqlite3_step(stmt)) == SQLITE_ROW) {
        ret[(*ret_n)++] = sqlite3_column_int64(stmt, 0);
        sq = SQLITE_OK;
    }
    if (stmt)
        sqlite3_reset(stmt);
    return sq == SQLITE_DONE ? SQLITE_OK : sq;
}

static int give_again(struct sqlite_store *store, struct op *op, const int64_t *seqs, size_t n) {
    op->tasks = calloc(n, sizeof *op->tasks);
    int sq = op->tasks ? SQLITE_OK : SQLITE_NOMEM;
    for (size_t i = 0; sq == SQLITE_OK && i < n; i++) {
        struct task *task = &op->tasks[op->n_tasks++];
        sq = sqlite_task_by_seq(&store->writer, seqs[i], task);
        if (sq == SQLITE_ROW)
            sq = load_values(store, op, seqs[i], task);
        if (sq == SQLITE_OK && !lifecycle_owns(op, task)) { /* another token's call of that id */
            task_finish(task);
            op->n_tasks--;
        }
    }
    return sq;
}

static int take_again(struct sqlite_store *store, struct op *op) {
    int64_t seqs[TAKE_AGAIN_MAX];
    size_t n = 0;
    int sq = find_claimed(store, op->claim_id, seqs, TAKE_AGAIN_MAX, &n);
    return sq == SQLITE_OK && n > 0 ? give_again(store, op, seqs, n) : sq;
}

/* One walk over the due tasks; *ret_again: the limit of a service left out some, for which another
 * service may make up. */
static int take_round(struct sqlite_store *store, struct op *op, bool *ret_again) {
    LH_FREE const struct sqlite_count **lists = calloc(store->counts.n + 1, sizeof *lists);
    if (!lists)
        return SQLITE_NOMEM;
    size_t due, n = 0, room = op->max - op->n_tasks;
    size_t n_lists = due_lists(store, op, lists, &due);
    size_t max = room < due ? room : due;
    *ret_again = false;
    if (max == 0)
        return SQLITE_OK;
    LH_FREE int64_t *seqs = calloc(max, sizeof *seqs);
    int sq = seqs ? find_due(store, lists, n_lists, seqs, max, &n) : SQLITE_NOMEM;
    if (sq == SQLITE_OK && n > 0)
        sq = take_all(store, op, seqs, n, ret_again);
    return sq;
}

static int take_due(struct sqlite_store *store, struct op *op) {
    bool again = true;
    int sq = SQLITE_OK;
    while (sq == SQLITE_OK && again)
        sq = take_round(store, op, &again);
    return sq;
}

static int apply_take(struct sqlite_store *store, struct op *op) {
    int sq = op->claim_id[0] ? take_again(store, op) : SQLITE_OK;
    return sq == SQLITE_OK && op->n_tasks == 0 ? take_due(store, op) : sq;
}

static int apply_op(struct sqlite_store *store, struct op *op) {
    switch (op->kind) {
    case OP_CREATE:
        return apply_create(store, op);
    case OP_TAKE:
        return apply_take(store, op);
    case OP_WORKER:
        return sqlite_worker_set(&store->writer, op);
    case OP_LOG:
        return sqlite_log_apply(&store->writer, op);
    case OP_FORGET:
        return sqlite_gone_forget(&store->writer, op);
    case OP_SERVICE:
        return sqlite_service_set(&store->writer, op);
    default:
        return apply_named(store, op);
    }
}

static int begin(struct sqlite_store *store) {
    if (LH_MUTANT("durable-write") && !sqlite3_get_autocommit(store->writer.db))
        return SQLITE_OK;
    return sqlite_conn_run(&store->writer, STMT_BEGIN_WRITE);
}

static int commit(struct sqlite_store *store) {
    if (LH_MUTANT("durable-write")) {
        static unsigned batches;
        if (++batches % 32 != 0)
            return SQLITE_OK;
    }
    return sqlite_conn_run(&store->writer, STMT_COMMIT);
}

static int apply_all(struct sqlite_store *store, struct op *const *ops, size_t n) {
    int sq = begin(store);
    store->swept_bytes = 0;
    for (size_t i = 0; sq == SQLITE_OK && i < n; i++)
        sq = apply_op(store, ops[i]);
    return sq == SQLITE_OK ? sqlite_counts_write(&store->writer, &store->counts) : sq;
}

/* After a COMMIT that failed on input or output the log may hold the whole batch although nobody
 * reads it: a crash now would bring it back. A further transaction takes its place in the log. */
static bool supersede(struct sqlite_conn *conn) {
    int sq = sqlite_conn_run(conn, STMT_BEGIN_WRITE);
    if (sq == SQLITE_OK)
        sq = sqlite_conn_run(conn, STMT_SUPERSEDE);
    if (sq == SQLITE_OK)
        sq = sqlite_conn_run(conn, STMT_COMMIT);
    if (sq != SQLITE_OK)
        sqlite_conn_rollback(conn);
    return sq == SQLITE_OK;
}

/* Undoes the batch and says so in every op. `sq` is the failure, `in_commit` that of the COMMIT. */
static enum rc give_up(struct sqlite_store *store, struct op *const *ops, size_t n, int sq,
                       bool in_commit, struct error *err) {
    const char *why = sqlite_why(sq);
    bool surely = !in_commit || sqlite_not_written(sq);
    sqlite_conn_rollback(&store->writer);
    sqlite_counts_settle(&store->counts, false);
    surely = surely || supersede(&store->writer);
    enum rc rc = surely ? RC_STORE_UNAVAILABLE : RC_OUTCOME_UNKNOWN;
    char text[128];
    snprintf(text, sizeof text, "%s (%s)", rc_info(rc)->text, why);
    (void)error_set(err, rc, "%s: %s (SQLite %d)", store->path, why, sq);
    return store_ops_fail(ops, n, rc, text);
}

enum rc sqlite_apply(struct store *base, struct op *const *ops, size_t n, struct error *err) {
    struct sqlite_store *store = (struct sqlite_store *)base;
    int sq = apply_all(store, ops, n);
    bool in_commit = sq == SQLITE_OK;
    if (in_commit && base->herald)
        base->herald(ops, n, base->herald_arg);
    if (in_commit)
        sq = commit(store);
    if (sq != SQLITE_OK)
        return give_up(store, ops, n, sq, in_commit, err);
    sqlite_counts_settle(&store->counts, true);
    sqlite_checkpoint_follow(store->checkpoint, &store->writer);
    return RC_OK;
}
