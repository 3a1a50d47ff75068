/* bench_fill.c: fills a SQLite store until it has so many tasks.
 *
 *     bench_fill FILE TOTAL [IDS]
 *
 * What the file has already is counted. Half of the tasks are of service fill00, the rest of fill01
 * to fill19 in equal shares; of 20 of a service 16 are finished with a result, 3 have failed in
 * different ways and one waits. They go through store_apply(), BATCH a time: created, claimed and
 * ended as if by clients and consumers. The ids of about 20 000 of the new tasks, evenly spread,
 * go to the file IDS, one a line. Progress on standard error; one JSON line at the end. */
#include "base/clock.h"
#include "base/mem.h"
#include "store/store.h"
#include "task/lifecycle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 1000, SERVICES = 20, IDS_WANTED = 20000, TELL_EVERY = 100000, LEASE_MS = 30000 };

static const char condition[] =
    "{\"id\":1,\"op\":\"echo\",\"user\":\"u-000001\",\"data\":\""
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}";
static const char result[] = "{\"rabbit\":51,\"queen\":75}";

/* How a task ends. */
enum fate { FATE_FINISHED, FATE_ERROR, FATE_TIMEOUT, FATE_LIMIT, FATE_WAITS };
static const enum task_end ends[] = {
    [FATE_ERROR] = END_ERROR, [FATE_TIMEOUT] = END_TIMEOUT, [FATE_LIMIT] = END_LIMIT};

static int die(const char *what, const char *why) {
    fprintf(stderr, "bench_fill: %s: %s\n", what, why);
    exit(1);
}

static double now_s(void) {
    return (double)clock_mono_ms() / 1000;
}

static unsigned service_of(long number) {
    return number % 2 == 0 ? 0 : 1 + (unsigned)(number / 2 % (SERVICES - 1));
}

/* Told by where the task stands among those of its service. */
static enum fate fate_of(long number) {
    long place = number % 2 == 0 ? number / 2 : number / 2 / (SERVICES - 1);
    long of_20 = place % 20;
    return of_20 < 16 ? FATE_FINISHED : (enum fate)(of_20 - 16 + FATE_ERROR);
}

static void make_task(struct task *task, long number, int64_t now_ms) {
    task_init(task);
    snprintf(task->service, sizeof task->service, "fill%02u", service_of(number));
    task->source_name = mem_dup("", 0);
    task->condition = mem_dup(condition, sizeof condition - 1);
    task->condition_len = sizeof condition - 1;
    lifecycle_new(task, &(struct lifecycle_start){.age_ms = 600000, .now_ms = now_ms});
}

static struct op *make_create(long first, size_t n, int64_t now_ms) {
    struct op *op = op_create(OP_CREATE);
    op->tasks = calloc(n, sizeof *op->tasks);
    op->n_tasks = n;
    op->now_ms = now_ms;
    for (size_t i = 0; i < n; i++)
        make_task(&op->tasks[i], first + (long)i, now_ms);
    return op;
}

static struct op *make_claim(const struct task *task, int64_t now_ms) {
    struct op *op = op_create_for(OP_CLAIM, task->task_id, task->oid);
    uuid_make(op->run_id);
    op->lease_ms = LEASE_MS;
    op->now_ms = now_ms;
    return op;
}

static struct op *make_end(const struct task *task, const char *run_id, enum fate fate,
                           int64_t now_ms) {
    bool finished = fate == FATE_FINISHED;
    struct op *op = op_create_for(finished ? OP_FINISH : OP_FAIL, task->task_id, task->oid);
    memcpy(op->run_id, run_id, sizeof op->run_id);
    op->now_ms = now_ms;
    if (finished) {
        op->value = mem_dup(result, sizeof result - 1);
        op->value_len = sizeof result - 1;
    } else {
        op->end = ends[fate];
        op->error_class = ERROR_RETRYABLE;
        op->error_text = strdup("exit status 1: no such file");
    }
    return op;
}

static void check(struct op *const *ops, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (ops[i]->rc != RC_OK)
            die(op_kind_name(ops[i]->kind), ops[i]->text);
}

/* One create for all of them, then a claim and an end for each that does not wait. */
static void fill_batch(struct store *store, long first, size_t n, FILE *ids, long ids_every) {
    struct op *ops[1 + 2 * BATCH];
    struct error err = {0};
    int64_t now_ms = clock_now_ms();
    size_t n_ops = 0;
    struct op *create = ops[n_ops++] = make_create(first, n, now_ms);
    for (size_t i = 0; i < n; i++) {
        const struct task *task = &create->tasks[i];
        enum fate fate = fate_of(first + (long)i);
        if (ids && (first + (long)i) % ids_every == 0)
            fprintf(ids, "%s\n", task->task_id);
        if (fate == FATE_WAITS)
            continue;
        struct op *claim = ops[n_ops++] = make_claim(task, now_ms);
        ops[n_ops++] = make_end(task, claim->run_id, fate, now_ms);
    }
    if (store_apply(store, ops, n_ops, &err) != RC_OK)
        die("apply", err.text);
    check(ops, n_ops);
    for (size_t i = 0; i < n_ops; i++)
        op_destroy(ops[i]);
}

/* How many tasks the store has. */
static long count_tasks(struct store *store) {
    struct query *query = query_create(QUERY_COUNTS);
    struct error err = {0};
    long total = 0;
    if (store_query(store, 0, &query, 1, &err) != RC_OK)
        die("count", err.text);
    for (size_t i = 0; i < query->n_counts; i++)
        for (size_t status = 0; status < TASK_STATUSES; status++)
            total += (long)query->counts[i].by_status[status];
    query_destroy(query);
    return total;
}

static void fill(struct store *store, long had, long total, FILE *ids) {
    double begun = now_s(), told = begun;
    long told_at = had, ids_every = (total - had) / IDS_WANTED + 1;
    for (long at = had; at < total;) {
        size_t n = total - at < BATCH ? (size_t)(total - at) : BATCH;
        fill_batch(store, at, n, ids, ids_every);
        at += (long)n;
        if (at - told_at < TELL_EVERY && at < total)
            continue;
        double now = now_s();
        fprintf(stderr, "bench_fill: %ld of %ld tasks, %.0f/s\n", at, total,
                (double)(at - told_at) / (now - told + 1e-3));
        told = now;
        told_at = at;
    }
    double spent = now_s() - begun + 1e-3;
    long added = total > had ? total - had : 0;
    printf("{\"had\":%ld,\"added\":%ld,\"s\":%.3f,\"per_s\":%.1f}\n", had, added, spent,
           (double)added / spent);
}

int main(int argc, char **argv) {
    long total = argc >= 3 ? strtol(argv[2], NULL, 10) : 0;
    if (argc < 3 || argc > 4 || total < 1) {
        fprintf(stderr, "usage: bench_fill FILE TOTAL [IDS]\n");
        return 64;
    }
    struct store *store = NULL;
    struct error err = {0};
    FILE *ids = argc > 3 ? fopen(argv[3], "a") : NULL;
    if (argc > 3 && !ids)
        die(argv[3], "cannot be written");
    if (store_sqlite_open(argv[1], 1, &store, &err) != RC_OK)
        die("open", err.text);
    fill(store, count_tasks(store), total, ids);
    store_destroy(store);
    if (ids && fclose(ids) != 0)
        die(argv[3], "cannot be written");
    return 0;
}
