/* executor.c: operations and queries in batches. */
#include "api/exec/executor.h"

#include "api/exec/worker.h"
#include "api/meter/metrics_table.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/mutant.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { OPS_WAITING_MAX = 10000, OPS_BATCH_MAX = 1000, QUERIES_BATCH_MAX = 64 };

enum access { WRITING, READING, ACCESSES }; /* as metrics_table.c has them */

struct executor {
    struct store *store;
    _Atomic(struct publisher *) publisher;
    pthread_mutex_t rules_lock; /* of `rules`, which every batch holds on to while it runs */
    struct service_rules *rules;
    struct worker *writer;
    struct worker *readers;
    struct metrics *metrics;
    op_done *observer;
    void *observer_arg;
    executor_herald *herald;
    void *herald_arg;
    uint64_t batch;             /* the writer's: the number of the one that it is at */
    _Atomic uint64_t over;      /* the last one that store_apply() has returned from */
    atomic_bool down[ACCESSES]; /* as the log has it */
    _Atomic int64_t failed_at;  /* clock_mono_ms() */
    _Atomic int64_t stall_ms;
    _Atomic int64_t began_at; /* clock_mono_ms() of the batch that is being applied; 0: none */
};

struct op_job {
    struct job job;
    struct executor *executor;
    struct op *op; /* NULL: only its turn is waited for */
    op_done *done;
    void *arg;
};

struct query_job {
    struct job job;
    struct query *query;
    query_done *done;
    void *arg;
};

/* A full disk can be read: reading and writing have an outage each. */
static void note_store(struct executor *executor, enum access access, enum rc rc,
                       const struct error *err) {
    static const char *const names[ACCESSES] = {"writing", "reading"};
    bool down = rc == RC_STORE_UNAVAILABLE || rc == RC_OUTCOME_UNKNOWN;
    if (down) {
        executor->failed_at = clock_mono_ms();
        metrics_add(executor->metrics, METRIC_STORE_FAILURES, access, 1);
    }
    if (atomic_exchange(&executor->down[access], down) == down)
        return;
    if (down)
        log_error(.msg = "store unavailable", .code = rc_info(rc)->word, .detail = names[access],
                  .error = err->text);
    else
        log_info(.msg = "store is back", .detail = names[access]);
}

static enum rc apply(struct executor *executor, struct op *const *ops, size_t n,
                     struct error *err) {
    int64_t began = clock_mono_ms(), began_us = clock_mono_us();
    executor->began_at = began;
    executor->batch++;
    enum rc rc = store_apply(executor->store, ops, n, err);
    executor->over = executor->batch;
    int64_t now = clock_mono_ms(), ended_us = clock_mono_us();
    for (size_t i = 0; i < n; i++) {
        ops[i]->commit_began_us = began_us;
        ops[i]->commit_ended_us = ended_us;
    }
    metrics_observe(executor->metrics, METRIC_COMMIT_TIME, 0, ended_us - began_us);
    metrics_observe(executor->metrics, METRIC_COMMIT_OPS, 0, (int64_t)n);
    if (now - began > executor->stall_ms)
        executor->failed_at = now;
    executor->began_at = 0;
    return rc;
}

/* A message is due for what these leave pending. */
static bool makes_due(enum op_kind kind) {
    static const bool due[OP_KINDS] = {
        [OP_CREATE] = true,    [OP_START] = true, [OP_EDIT] = true,  [OP_PICK] = true,
        [OP_HAND_BACK] = true, [OP_LAPSE] = true, [OP_ALARM] = true,
    };
    return due[kind];
}

/* A message that waits for its service does not go out. A repeated create is another's task, whose
 * message is on its way or has been used up. */
static bool is_due(const struct task *task) {
    return task->outbox_pending && task->outbox_pick_at != OUTBOX_PARKED && !task->duplicate;
}

/* What is not taken here stays picked in the store and is sent by the sweeper. */
static void publish(struct executor *executor, const struct op *op) {
    struct publisher *publisher = executor->publisher;
    if (!publisher || op->rc != RC_OK || !makes_due(op->kind))
        return;
    for (size_t i = 0; i < op->n_tasks; i++) {
        size_t sent;
        if (is_due(&op->tasks[i]) && (!op->task_rc || op->task_rc[i] == RC_OK) &&
            publisher_send(publisher, &op->tasks[i], 1, &sent) != RC_OK)
            log_warning(.msg = "message waits for the sweeper", .request_id = op->request_id,
                        .task_id = op->tasks[i].task_id, .traceparent = op->tasks[i].traceparent);
    }
}

/* The change is in the store; neither the broker nor the caller knows of it yet. */
static void pass_fault_points(const struct op *op) {
    if (op->rc == RC_OK && op->kind == OP_SERVICE)
        LH_FAULT_POINT("service-answer", op->service.name);
    if (op->rc != RC_OK || op->n_tasks == 0)
        return;
    if (op->kind == OP_CREATE)
        LH_FAULT_POINT("insert-produce", op->tasks[0].task_id);
    else if (op->kind == OP_CLAIM || op->kind == OP_TAKE)
        LH_FAULT_POINT("claim-answer", op->tasks[0].task_id);
    else if (op->kind == OP_FINISH || op->kind == OP_FAIL)
        LH_FAULT_POINT("end-answer", op->tasks[0].task_id);
    else if (op->kind == OP_REMOVE)
        LH_FAULT_POINT("remove-answer", op->tasks[0].task_id);
}

static struct service_rules *hold_rules(struct executor *executor) {
    pthread_mutex_lock(&executor->rules_lock);
    struct service_rules *rules = executor->rules ? service_rules_ref(executor->rules) : NULL;
    pthread_mutex_unlock(&executor->rules_lock);
    return rules;
}

void executor_set_rules(struct executor *executor, struct service_rules *rules) {
    pthread_mutex_lock(&executor->rules_lock);
    struct service_rules *before = executor->rules;
    executor->rules = rules;
    pthread_mutex_unlock(&executor->rules_lock);
    service_rules_unref(before);
}

/* The ops of the jobs that have one; how many. */
static size_t ops_of(struct job **jobs, size_t n, struct op **ret) {
    size_t n_ops = 0;
    for (size_t i = 0; i < n; i++) {
        struct op *op = ((struct op_job *)jobs[i])->op;
        if (op)
            ret[n_ops++] = op;
    }
    return n_ops;
}

static void run_ops(unsigned thread, struct job **jobs, size_t n_jobs, void *arg) {
    (void)thread;
    struct executor *executor = arg;
    struct op *ops[OPS_BATCH_MAX];
    size_t n = ops_of(jobs, n_jobs, ops);
    if (n == 0)
        return;
    int64_t now = clock_now_ms();
    struct error err;
    struct service_rules *rules = hold_rules(executor);
    for (size_t i = 0; i < n; i++) {
        ops[i]->now_ms = now;
        ops[i]->rules = rules;
    }
    enum rc rc = apply(executor, ops, n, &err);
    note_store(executor, WRITING, rc, &err);
    for (size_t i = 0; i < n; i++) {
        ops[i]->rules = NULL;
        pass_fault_points(ops[i]);
        publish(executor, ops[i]);
    }
    service_rules_unref(rules);
}

static void run_queries(unsigned thread, struct job **jobs, size_t n, void *arg) {
    struct executor *executor = arg;
    struct query *queries[QUERIES_BATCH_MAX];
    for (size_t i = 0; i < n; i++)
        queries[i] = ((struct query_job *)jobs[i])->query;
    struct error err;
    uint64_t batch = executor->over;
    int64_t began_us = clock_mono_us();
    enum rc rc = store_query(executor->store, thread, queries, n, &err);
    for (size_t i = 0; i < n; i++)
        queries[i]->batch = batch;
    metrics_observe(executor->metrics, METRIC_READ_TIME, 0, clock_mono_us() - began_us);
    note_store(executor, READING, rc, &err);
}

static void op_job_done(struct job *job) {
    struct op_job *own = (struct op_job *)job;
    if (own->op && own->executor->observer)
        own->executor->observer(own->op, own->executor->observer_arg);
    if (own->done)
        own->done(own->op, own->arg);
    op_destroy(own->op);
    free(own);
}

static void query_job_done(struct job *job) {
    struct query_job *own = (struct query_job *)job;
    own->done(own->query, own->arg);
    query_destroy(own->query);
    free(own);
}

static enum rc submit_op(struct executor *executor, struct op *op, op_done *done, void *arg,
                         bool always) {
    struct op_job *own = malloc(sizeof *own);
    enum rc rc = RC_NO_MEMORY;
    if (own) {
        *own = (struct op_job){{.done = op_job_done}, executor, op, done, arg};
        rc = worker_submit(executor->writer, &own->job, always);
    }
    if (rc != RC_OK) {
        free(own);
        op_destroy(op);
    }
    return rc;
}

enum rc executor_apply(struct executor *executor, struct op *op, op_done *done, void *arg) {
    enum rc rc = submit_op(executor, op, done, arg, false);
    if (rc != RC_OK)
        executor->failed_at = clock_mono_ms();
    return rc;
}

enum rc executor_settle(struct executor *executor, op_done *done, void *arg) {
    return submit_op(executor, NULL, done, arg, true);
}

int64_t executor_failed_at(const struct executor *executor) {
    int64_t now = clock_mono_ms(), began = executor->began_at;
    if (began && now - began > executor->stall_ms)
        return now;
    return executor->failed_at;
}

void executor_set_stall(struct executor *executor, int64_t stall_ms) {
    executor->stall_ms = stall_ms;
}

void executor_note(struct executor *executor, struct op *op) {
    if (submit_op(executor, op, NULL, NULL, true) == RC_NO_MEMORY)
        log_error(.msg = "out of memory: a note is lost and made again by the sweeper");
}

enum rc executor_query(struct executor *executor, struct query *query, query_done *done,
                       void *arg) {
    struct query_job *own = malloc(sizeof *own);
    enum rc rc = RC_NO_MEMORY;
    if (own) {
        *own = (struct query_job){{.done = query_job_done}, query, done, arg};
        rc = worker_submit(executor->readers, &own->job, false);
    }
    if (rc != RC_OK) {
        free(own);
        query_destroy(query);
    }
    return rc;
}

enum rc executor_create(struct event_base *base, struct store *store, struct executor **ret,
                        struct error *err) {
    struct executor *executor = calloc(1, sizeof *executor);
    if (!executor)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    executor->store = store;
    pthread_mutex_init(&executor->rules_lock, NULL);
    executor->stall_ms = INT64_MAX;
    struct worker_options options = {
        .base = base,
        .name = "store-writer",
        .threads = 1,
        .jobs_max = OPS_WAITING_MAX,
        .batch_max = OPS_BATCH_MAX,
        .run = run_ops,
        .arg = executor,
    };
    enum rc rc = worker_create(&options, &executor->writer, err);
    options.name = "store-reader";
    options.threads = EXECUTOR_READERS;
    options.batch_max = QUERIES_BATCH_MAX;
    options.run = run_queries;
    if (rc == RC_OK)
        rc = worker_create(&options, &executor->readers, err);
    if (rc != RC_OK) {
        executor_destroy(executor);
        return rc;
    }
    *ret = executor;
    return RC_OK;
}

void executor_set_publisher(struct executor *executor, struct publisher *publisher) {
    executor->publisher = publisher;
}

void executor_set_observer(struct executor *executor, op_done *observer, void *arg) {
    executor->observer = observer;
    executor->observer_arg = arg;
}

static void on_batch(struct op *const *ops, size_t n, void *arg) {
    struct executor *executor = arg;
    executor->herald(executor->batch, ops, n, executor->herald_arg);
}

void executor_set_herald(struct executor *executor, executor_herald *herald, void *arg) {
    executor->herald = herald;
    executor->herald_arg = arg;
    store_set_herald(executor->store, on_batch, executor);
}

void executor_set_metrics(struct executor *executor, struct metrics *metrics) {
    executor->metrics = metrics;
}

size_t executor_ops_waiting(struct executor *executor) {
    return worker_waiting(executor->writer);
}

size_t executor_queries_waiting(struct executor *executor) {
    return worker_waiting(executor->readers);
}

void executor_drain(struct executor *executor) {
    worker_drain(executor->writer);
}

void executor_destroy(struct executor *executor) {
    if (!executor)
        return;
    worker_stop(executor->readers); /* an answer may still begin an op, an op's end no query */
    worker_stop(executor->writer);
    worker_destroy(executor->readers);
    worker_destroy(executor->writer);
    service_rules_unref(executor->rules);
    pthread_mutex_destroy(&executor->rules_lock);
    free(executor);
}
