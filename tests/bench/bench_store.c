/* bench_store.c: how fast the SQLite store is, next to the bare cost of making bytes durable.
 *
 *     bench_store [FOLDER [SECONDS [PRELOADED]]]     (default: /tmp, 2 s per figure, 0 tasks
 * before)
 *
 * One JSON line per figure on standard output. Creates, and a take followed by the finish of what
 * it gave, in batches of 1, 32 and 100 ops of one task each, as the executor forms them under load;
 * and the heartbeats of 1000 running tasks in one batch, as consumers send them.
 */
#include "base/mem.h"
#include "store/store.h"
#include "task/lifecycle.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BATCH_MAX = 100, BEATS = 1000 };

static const char condition[] =
    "{\"path\":\"/data/books/alice.txt\",\"words\":[\"rabbit\",\"queen\"],\"limit\":1000}";

static double now_s(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int die(const char *what, const char *why) {
    fprintf(stderr, "bench_store: %s: %s\n", what, why);
    exit(1);
}

/* Appends 4 KiB and makes it durable, again and again. */
static void bench_fsync(const char *folder, double seconds) {
    char path[512], block[4096];
    memset(block, 'x', sizeof block);
    snprintf(path, sizeof path, "%s/bench-fsync", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        die(path, "cannot be written");
    double begin = now_s(), end = begin;
    long n = 0;
    for (; end - begin < seconds; n++, end = now_s())
        if (write(fd, block, sizeof block) != (ssize_t)sizeof block || fdatasync(fd) != 0)
            die(path, "cannot be written");
    close(fd);
    unlink(path);
    printf("{\"bench\":\"append_4k_fdatasync\",\"per_s\":%.0f,\"ms\":%.3f}\n",
           (double)n / (end - begin), (end - begin) * 1000 / (double)n);
}

static struct op *make_create(void) {
    struct op *op = op_create(OP_CREATE);
    op->n_tasks = 1;
    op->tasks = calloc(1, sizeof *op->tasks);
    struct task *task = op->tasks;
    (void)mem_copy_str(task->service, sizeof task->service, "word_count");
    task->source_name = mem_dup("", 0);
    task->condition = mem_dup(condition, sizeof condition - 1);
    task->condition_len = sizeof condition - 1;
    task_init(task);
    lifecycle_new(task, &(struct lifecycle_start){.now_ms = 1000});
    return op;
}

static struct op *make_take(void) {
    struct op *op = op_create(OP_TAKE);
    op->services = calloc(1, sizeof *op->services);
    op->services[0] = mem_dup("word_count", 10);
    op->n_services = op->max = 1;
    op->lease_ms = 30000;
    op->now_ms = 2000;
    return op;
}

static struct op *make_finish(const struct task *task) {
    struct op *op = op_create(OP_FINISH);
    memcpy(op->task_id, task->task_id, sizeof op->task_id);
    memcpy(op->run_id, task->run_id, sizeof op->run_id);
    op->value = mem_dup("{\"rabbit\":51,\"queen\":75}", 24);
    op->value_len = 24;
    op->now_ms = 3000;
    return op;
}

static void apply(struct store *store, struct op **ops, size_t n) {
    struct error err = {0};
    if (store_apply(store, ops, n, &err) != RC_OK)
        die("apply", err.text);
}

static void destroy_all(struct op **ops, size_t n) {
    for (size_t i = 0; i < n; i++)
        op_destroy(ops[i]);
}

static void create_batch(struct store *store, size_t batch) {
    struct op *ops[BATCH_MAX] = {0};
    for (size_t i = 0; i < batch; i++)
        ops[i] = make_create();
    apply(store, ops, batch);
    destroy_all(ops, batch);
}

/* False where no task was left to take. */
static bool drain_batch(struct store *store, size_t batch) {
    struct op *takes[BATCH_MAX] = {0}, *finishes[BATCH_MAX] = {0};
    size_t n = 0;
    for (size_t i = 0; i < batch; i++)
        takes[i] = make_take();
    apply(store, takes, batch);
    for (size_t i = 0; i < batch; i++)
        if (takes[i]->n_tasks)
            finishes[n++] = make_finish(&takes[i]->tasks[0]);
    apply(store, finishes, n);
    destroy_all(takes, batch);
    destroy_all(finishes, n);
    return n == batch;
}

static void report(const char *name, size_t batch, long batches, double spent_s) {
    printf("{\"bench\":\"%s\",\"batch\":%zu,\"per_s\":%.0f,\"ms_per_batch\":%.3f,"
           "\"synchronous\":\"FULL\"}\n",
           name, batch, (double)batches * (double)batch / spent_s,
           spent_s * 1000 / (double)batches);
    fflush(stdout);
}

static void bench_batch(struct store *store, size_t batch, double seconds) {
    double begin = now_s(), end = begin;
    long created = 0, drained = 0;
    for (; end - begin < seconds; created++, end = now_s())
        create_batch(store, batch);
    report("sqlite_create", batch, created, end - begin);
    begin = end;
    for (; end - begin < seconds && drain_batch(store, batch); end = now_s())
        drained++;
    report("sqlite_take_finish", batch, drained, now_s() - begin);
    while (drain_batch(store, BATCH_MAX))
        ;
}

static struct op *make_heartbeat(const struct task *task, int64_t now_ms) {
    struct op *op = op_create(OP_HEARTBEAT);
    memcpy(op->task_id, task->task_id, sizeof op->task_id);
    memcpy(op->run_id, task->run_id, sizeof op->run_id);
    op->lease_ms = 30000;
    op->now_ms = now_ms;
    return op;
}

static void beat_all(struct store *store, const struct task *tasks, int64_t now_ms) {
    struct op *ops[BEATS] = {0};
    for (size_t i = 0; i < BEATS; i++)
        ops[i] = make_heartbeat(&tasks[i], now_ms);
    apply(store, ops, BEATS);
    for (size_t i = 0; i < BEATS; i++)
        if (ops[i]->rc != RC_OK)
            die("heartbeat", ops[i]->text);
    destroy_all(ops, BEATS);
}

/* The first heartbeat of each run changes its state; it is not counted. */
static void bench_heartbeats(struct store *store, double seconds) {
    for (size_t i = 0; i < BEATS; i += BATCH_MAX)
        create_batch(store, BATCH_MAX);
    struct op *take = make_take();
    take->max = BEATS;
    apply(store, &take, 1);
    beat_all(store, take->tasks, 2000);
    double begin = now_s(), end = begin;
    long rounds = 0;
    for (; end - begin < seconds; rounds++, end = now_s())
        beat_all(store, take->tasks, 2001 + rounds);
    report("sqlite_heartbeat", BEATS, rounds, end - begin);
    op_destroy(take);
}

static void remove_files(const char *path) {
    static const char *const ends[] = {"", "-wal", "-shm", ".lock"};
    char name[560];
    for (size_t i = 0; i < LH_COUNT(ends); i++) {
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
}

int main(int argc, char **argv) {
    const char *folder = argc > 1 ? argv[1] : "/tmp";
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 2;
    long preloaded = argc > 3 ? strtol(argv[3], NULL, 10) : 0;
    static const size_t batches[] = {1, 32, BATCH_MAX};
    char path[512];
    snprintf(path, sizeof path, "%s/bench-store-%ld.db", folder, (long)getpid());
    struct store *store = NULL;
    struct error err = {0};
    if (store_sqlite_open(path, 1, &store, &err) != RC_OK)
        die("open", err.text);
    bench_fsync(folder, seconds);
    for (long i = 0; i < preloaded; i += BATCH_MAX)
        create_batch(store, BATCH_MAX);
    if (preloaded)
        while (drain_batch(store, BATCH_MAX))
            ;
    for (size_t i = 0; i < LH_COUNT(batches); i++)
        bench_batch(store, batches[i], seconds);
    bench_heartbeats(store, seconds);
    store_destroy(store);
    remove_files(path);
    return 0;
}
