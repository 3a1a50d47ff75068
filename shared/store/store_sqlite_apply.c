/* store_sqlite_apply.c: a batch of operations as one transaction. */
#include "base/mem.h"
#include "store/store_batch.h"
#include "store/store_sqlite.h"

#include <stdio.h>
#include <string.h>

/* Moves a task from one state's count to another's; 0 is no state. */
static int count_move(struct sqlite_store *store, const char *service, int from, int to) {
    if (from == to)
        return SQLITE_OK;
    int sq = from ? sqlite_counts_add(&store->counts, service, from, -1) : SQLITE_OK;
    return sq == SQLITE_OK ? sqlite_counts_add(&store->counts, service, to, 1) : sq;
}

static int create_one(struct sqlite_store *store, const struct op *op, const struct task *task,
                      enum rc *ret) {
    if (op->max_waiting &&
        sqlite_counts_waiting(&store->counts, task->service) >= op->max_waiting) {
        *ret = RC_QUEUE_FULL;
        return SQLITE_OK;
    }
    int sq = sqlite_task_insert(&store->writer, task);
    if (sq == SQLITE_CONSTRAINT) {
        *ret = RC_INTERNAL;
        return SQLITE_OK;
    }
    return sq == SQLITE_OK ? count_move(store, task->service, 0, sqlite_state_of(task)) : sq;
}

static int apply_create(struct sqlite_store *store, struct op *op) {
    int sq = SQLITE_OK;
    for (size_t i = 0; sq == SQLITE_OK && i < op->n_tasks; i++)
        sq = create_one(store, op, &op->tasks[i], &op->task_rc[i]);
    return sq;
}

/* Writes what the step changed of a task that was in the state `before`. */
static int write_parts(struct sqlite_store *store, const struct op *op, const struct task *task,
                       int64_t seq, unsigned parts, int before) {
    if (op->kind == OP_HEARTBEAT && sqlite_state_of(task) == before)
        return sqlite_task_renew(&store->writer, seq, task);
    return sqlite_task_update(&store->writer, seq, task, parts);
}

/* Decides the op on a loaded task and writes what the step changed. */
static int change(struct sqlite_store *store, struct op *op, struct task *task, int64_t seq) {
    int before = sqlite_state_of(task);
    unsigned parts = 0;
    op->rc = lifecycle_apply(task, op, &parts, op->text, sizeof op->text);
    if (op->rc != RC_OK || !parts)
        return SQLITE_OK;
    int sq = write_parts(store, op, task, seq, parts, before);
    return sq == SQLITE_OK ? count_move(store, task->service, before, sqlite_state_of(task)) : sq;
}

static int load_values(struct sqlite_store *store, const struct op *op, int64_t seq,
                       struct task *task) {
    int sq = SQLITE_DONE;
    if (op_needs_condition(op->kind))
        sq = sqlite_task_condition(&store->writer, seq, task);
    if ((sq == SQLITE_DONE || sq == SQLITE_ROW) && op_needs_result(op->kind))
        sq = sqlite_task_result(&store->writer, seq, task);
    return sq == SQLITE_DONE || sq == SQLITE_ROW ? SQLITE_OK : sq;
}

static int apply_named(struct sqlite_store *store, struct op *op) {
    op->tasks = calloc(1, sizeof *op->tasks);
    if (!op->tasks)
        return SQLITE_NOMEM;
    int64_t seq = 0;
    int sq = sqlite_task_by_id(&store->writer, op->task_id, op->tasks, &seq);
    if (sq == SQLITE_DONE) {
        store_op_fail(op, RC_UNKNOWN_TASK, "");
        return SQLITE_OK;
    }
    if (sq != SQLITE_ROW)
        return sq;
    op->n_tasks = 1;
    sq = load_values(store, op, seq, op->tasks);
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

/* The lists that may hold tasks for a TAKE; ret has room for all rows. */
static size_t due_lists(const struct sqlite_store *store, const struct op *op,
                        const struct sqlite_count **ret) {
    size_t n = 0;
    for (size_t i = 0; i < store->counts.n; i++) {
        const struct sqlite_count *row = &store->counts.rows[i];
        struct task task = {0};
        if (row->n > 0 && sqlite_state_split(row->state, &task.status, &task.sub) &&
            lifecycle_takeable(&task) && serves(op, row->service))
            ret[n++] = row;
    }
    return n;
}

/* Finds up to `max` due tasks, oldest first. They are gathered before the first is claimed: a
 * claim moves a task out of the list that is walked. */
static int find_due(struct sqlite_store *store, const struct sqlite_count *const *lists,
                    size_t n_lists, int64_t *ret, size_t max, size_t *ret_n) {
    struct sqlite_merge merge;
    int sq = sqlite_merge_open(&merge, &store->writer, lists, n_lists);
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

static int take_all(struct sqlite_store *store, struct op *op, const int64_t *seqs, size_t n) {
    op->tasks = calloc(n, sizeof *op->tasks);
    int sq = op->tasks ? SQLITE_OK : SQLITE_NOMEM;
    for (size_t i = 0; sq == SQLITE_OK && i < n; i++)
        sq = take_one(store, op, seqs[i]);
    op->rc = RC_OK;
    return sq;
}

static int apply_take(struct sqlite_store *store, struct op *op) {
    LH_FREE const struct sqlite_count **lists = calloc(store->counts.n + 1, sizeof *lists);
    if (!lists)
        return SQLITE_NOMEM;
    size_t n_lists = due_lists(store, op, lists);
    size_t due = 0, n = 0;
    for (size_t i = 0; i < n_lists; i++)
        due += (size_t)lists[i]->n;
    size_t max = op->max < due ? op->max : due;
    if (max == 0)
        return SQLITE_OK;
    LH_FREE int64_t *seqs = calloc(max, sizeof *seqs);
    int sq = seqs ? find_due(store, lists, n_lists, seqs, max, &n) : SQLITE_NOMEM;
    return sq == SQLITE_OK && n > 0 ? take_all(store, op, seqs, n) : sq;
}

static int apply_op(struct sqlite_store *store, struct op *op) {
    switch (op->kind) {
    case OP_CREATE:
        return apply_create(store, op);
    case OP_TAKE:
        return apply_take(store, op);
    case OP_WORKER:
        return sqlite_worker_set(&store->writer, op);
    default:
        return apply_named(store, op);
    }
}

static int apply_all(struct sqlite_store *store, struct op *const *ops, size_t n) {
    int sq = sqlite_conn_run(&store->writer, STMT_BEGIN_WRITE);
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
    if (in_commit)
        sq = sqlite_conn_run(&store->writer, STMT_COMMIT);
    if (sq != SQLITE_OK)
        return give_up(store, ops, n, sq, in_commit, err);
    sqlite_counts_settle(&store->counts, true);
    return RC_OK;
}
