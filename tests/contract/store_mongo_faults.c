/* store_mongo_faults.c: works on a MongoDB store while its server is paused, stopped and started
 * again, and checks that every outcome was honest. Run by test_store_mongo_faults.py, which owns
 * the server:
 *
 *     store_mongo_faults URI DATABASE
 *
 * prints what is to happen to the server (pause, resume, halt, start), one word a line, and goes on
 * when it reads a line. Exit status 0: all held.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/store.h"
#include "task/lifecycle.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    CREATES = 4, /* per batch */
    TAKES = 3,   /* tasks per take */
    RECORDS_MAX = 400000,
    REPORTS = 16,       /* finishes per batch */
    RECOVER_MS = 20000, /* after the server is back, until a batch succeeds */
    APPLY_MS = 40000,   /* a batch never takes longer */
};

/* What we know about one task. */
struct record {
    char task_id[TASK_ID_CAP];
    char run_id[UUID_CAP]; /* "" until we took it */
    enum rc created;
    bool finished; /* the store said so */
};

static struct store *store;
static struct record *records;
static size_t n_records;
static size_t *held, n_held; /* records that we took and have not finished */
static size_t unknown_takes;
static size_t outcomes[RC_COUNT_];
static int64_t longest_ms;
static int faults;

static atomic_bool stop;
static atomic_int failed_batches;
static _Atomic int64_t last_ok_ms;

static void fault(const char *what, const char *task_id) {
    fprintf(stderr, "FAULT: %s: %s\n", what, task_id);
    faults++;
}

static char *dup(const char *text) {
    return mem_dup(text, strlen(text));
}

static void nap(int ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000},
              NULL);
}

/* ---- one batch of work ---- */

static struct op *make(enum op_kind kind) {
    struct op *op = op_create(kind);
    op->now_ms = clock_now_ms();
    return op;
}

static struct op *make_create(void) {
    struct op *op = make(OP_CREATE);
    op->tasks = calloc(CREATES, sizeof *op->tasks);
    op->n_tasks = CREATES;
    for (size_t i = 0; i < CREATES; i++) {
        struct task *task = &op->tasks[i];
        (void)mem_copy_str(task->service, sizeof task->service, "faults");
        task->condition = dup("{\"n\":1}");
        task->condition_len = strlen(task->condition);
        task_init(task);
        lifecycle_new(task, &(struct lifecycle_start){.now_ms = op->now_ms});
    }
    return op;
}

static struct op *make_take(size_t max) {
    struct op *op = make(OP_TAKE);
    op->services = calloc(1, sizeof *op->services);
    op->services[0] = dup("faults");
    op->n_services = 1;
    op->max = max;
    return op;
}

static struct op *make_finish(const struct record *record) {
    struct op *op = make(OP_FINISH);
    (void)mem_copy_str(op->task_id, sizeof op->task_id, record->task_id);
    (void)mem_copy_str(op->run_id, sizeof op->run_id, record->run_id);
    op->value = dup("{\"done\":true}");
    op->value_len = strlen(op->value);
    return op;
}

static struct record *record_of(const char *task_id) {
    for (size_t i = n_records; i > 0; i--)
        if (strcmp(records[i - 1].task_id, task_id) == 0)
            return &records[i - 1];
    return NULL;
}

static void see_create(const struct op *op) {
    for (size_t i = 0; i < op->n_tasks && n_records < RECORDS_MAX; i++) {
        struct record *record = &records[n_records++];
        (void)mem_copy_str(record->task_id, sizeof record->task_id, op->tasks[i].task_id);
        record->created = op->task_rc[i];
        outcomes[op->task_rc[i]]++;
    }
}

static void see_take(const struct op *op) {
    outcomes[op->rc]++;
    unknown_takes += op->rc == RC_OUTCOME_UNKNOWN;
    for (size_t i = 0; i < op->n_tasks; i++) {
        struct record *record = record_of(op->tasks[i].task_id);
        if (!record) {
            fault("taken, but never made", op->tasks[i].task_id);
            continue;
        }
        if (record->run_id[0])
            fault("taken twice", record->task_id);
        if (record->created == RC_STORE_UNAVAILABLE)
            fault("surely not stored, yet taken", record->task_id);
        (void)mem_copy_str(record->run_id, sizeof record->run_id, op->tasks[i].run_id);
        held[n_held++] = (size_t)(record - records);
    }
}

static bool may_repeat(enum rc rc) {
    return rc == RC_STORE_UNAVAILABLE || rc == RC_OUTCOME_UNKNOWN || rc == RC_OVERLOADED;
}

static void see_finish(const struct op *op) {
    struct record *record = record_of(op->task_id);
    outcomes[op->rc]++;
    if (op->rc == RC_OK)
        record->finished = true;
    else if (may_repeat(op->rc))
        held[n_held++] = (size_t)(record - records); /* as a consumer repeats its report */
    else
        fault(rc_info(op->rc)->word, op->task_id);
}

static enum rc work(size_t n_take, bool create) {
    struct op *ops[REPORTS + 2];
    struct error err = {0};
    size_t n = 0;
    if (create && n_records + CREATES < RECORDS_MAX)
        ops[n++] = make_create();
    ops[n++] = make_take(n_take);
    for (size_t i = 0; i < REPORTS && n_held; i++)
        ops[n++] = make_finish(&records[held[--n_held]]);
    int64_t began = clock_mono_ms();
    enum rc rc = store_apply(store, ops, n, &err);
    int64_t took = clock_mono_ms() - began;
    longest_ms = took > longest_ms ? took : longest_ms;
    for (size_t i = 0; i < n; i++) {
        if (ops[i]->kind == OP_CREATE)
            see_create(ops[i]);
        else if (ops[i]->kind == OP_TAKE)
            see_take(ops[i]);
        else
            see_finish(ops[i]);
        op_destroy(ops[i]);
    }
    if (rc == RC_OK) {
        atomic_store(&last_ok_ms, clock_mono_ms());
        return RC_OK;
    }
    atomic_fetch_add(&failed_batches, 1);
    fprintf(stderr, "%s after %lld ms: %s\n", rc_info(rc)->word, (long long)took, err.text);
    return rc;
}

static void *work_on(void *arg) {
    (void)arg;
    while (!atomic_load(&stop))
        if (work(TAKES, true) != RC_OK)
            nap(100);
    return NULL;
}

/* ---- the server's fate ---- */

static void tell(const char *word) {
    char answer[64];
    fprintf(stderr, "-- %s\n", word);
    printf("%s\n", word);
    fflush(stdout);
    if (!fgets(answer, sizeof answer, stdin))
        exit(2);
}

static void await_recovery(void) {
    int64_t back = clock_mono_ms();
    while (atomic_load(&last_ok_ms) <= back && clock_mono_ms() - back < RECOVER_MS)
        nap(10);
    bool recovered = atomic_load(&last_ok_ms) > back;
    fprintf(stderr, "-- recovered after %lld ms\n", (long long)(clock_mono_ms() - back));
    if (!recovered)
        fault("the store did not recover", "");
}

static void interrupt(const char *down, int ms, const char *up) {
    nap(300);
    tell(down);
    nap(ms);
    tell(up);
    await_recovery();
}

static void spoil(const char *words) {
    tell(words);
    nap(200);
    await_recovery();
}

/* Answers that are lost or spoiled a few times in a row: asked for again, and nothing stays
 * unknown. Then more often than the store asks. */
static void run_spoiled(void) {
    static const char *const words[] = {"lose_answer 1",  "lose_request 1", "lose_answer 3",
                                        "lose_request 3", "no_majority 1",  "no_majority 4",
                                        "error 1",        "error 4"};
    for (size_t i = 0; i < LH_COUNT(words); i++)
        spoil(words[i]);
    if (atomic_load(&failed_batches))
        fault("an answer that can be asked for again stayed unknown", "");
    spoil("lose_answer 20");
}

/* Pauses shorter and longer than every time limit, and a server that goes and comes. */
static void run_faults(void) {
    static const int pauses_ms[] = {200, 200, 700, 1500, 4000, 14000};
    for (size_t i = 0; i < LH_COUNT(pauses_ms); i++)
        interrupt("pause", pauses_ms[i], "resume");
    interrupt("halt", 0, "start");
    interrupt("halt", 4000, "start");
    interrupt("halt", 0, "start");
}

/* ---- was it honest? ---- */

static void drain(void) {
    int64_t until = clock_mono_ms() + 120000;
    size_t finished;
    do {
        finished = outcomes[RC_OK];
        (void)work(100, false);
    } while ((n_held || outcomes[RC_OK] > finished + 1) && clock_mono_ms() < until);
}

/* The task as it stands, or NULL; without an answer there is nothing to check. */
static struct task *load(const struct record *record, struct query **ret_query) {
    struct query *query = *ret_query = query_create(QUERY_BY_ID);
    struct error err;
    query->ids = calloc(1, sizeof *query->ids);
    query->ids[0] = dup(record->task_id);
    query->n_ids = 1;
    if (store_query(store, 0, &query, 1, &err) != RC_OK) {
        fprintf(stderr, "the store does not answer: %s\n", err.text);
        exit(1);
    }
    return query->tasks[0].task_id[0] ? &query->tasks[0] : NULL;
}

static void check(const struct record *record, size_t *orphans) {
    struct query *query;
    const struct task *task = load(record, &query);
    if (record->created == RC_OK && !task)
        fault("acknowledged and gone", record->task_id);
    if (record->created == RC_STORE_UNAVAILABLE && task)
        fault("surely not stored, yet there", record->task_id);
    if (record->finished && (!task || task->status != TASK_FINISHED))
        fault("finished and not so", record->task_id);
    if (record->finished && task && strcmp(task->run_id, record->run_id) != 0)
        fault("finished by another run", record->task_id);
    if (task && task->status != TASK_FINISHED)
        ++*orphans;
    query_destroy(query);
}

/* Tasks that a take of unknown outcome claimed for nobody are the only ones that may be left. */
static void check_all(void) {
    size_t orphans = 0;
    for (size_t i = 0; i < n_records; i++)
        check(&records[i], &orphans);
    if (orphans > unknown_takes * TAKES)
        fault("tasks are left over", "");
    fprintf(stderr, "%zu tasks, %zu left by %zu takes of unknown outcome, longest batch %lld ms\n",
            n_records, orphans, unknown_takes, (long long)longest_ms);
    for (int rc = 0; rc < RC_COUNT_; rc++)
        if (outcomes[rc])
            fprintf(stderr, "  %s: %zu\n", rc_info((enum rc)rc)->word, outcomes[rc]);
    if (longest_ms > APPLY_MS)
        fault("a batch took too long", "");
}

int main(int argc, char **argv) {
    if (argc != 3)
        return 64;
    log_setup("faults", LOG_TEXT, LOG_INFO);
    struct config cfg = {.env = ENV_TEST, .store = STORE_MONGODB};
    cfg.mongo.uri = argv[1];
    cfg.mongo.dbname = argv[2];
    struct error err = {0};
    records = calloc(RECORDS_MAX, sizeof *records);
    held = calloc(RECORDS_MAX, sizeof *held);
    if (!records || !held || store_open(&cfg, 1, &store, &err) != RC_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    pthread_t worker;
    pthread_create(&worker, NULL, work_on, NULL);
    run_spoiled();
    run_faults();
    atomic_store(&stop, true);
    pthread_join(worker, NULL);
    drain();
    check_all();
    store_destroy(store);
    free(records);
    free(held);
    return faults ? 1 : 0;
}
