/* test_store_torture.c: the SQLite store with its Nth allocation failing, for N = 1 … until none is
 * left to fail: ours (the linker puts the functions below before malloc and its kin) and SQLite's.
 *
 * A batch is either stored whole or "surely not stored", and says so in every op; the store goes on
 * afterwards. That nothing leaks or is used after it was freed is for the address sanitizer to see.
 */
#include "base/mem.h"
#include "store/store.h"
#include "task/lifecycle.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROUNDS_MAX = 20000, OPS = 14, TASKS = 3 };

static size_t calls;   /* since the round began */
static size_t fail_at; /* this call fails; 0: none */

static bool fails(void) {
    return fail_at && ++calls == fail_at;
}

static void begin_round(size_t n) {
    calls = 0;
    fail_at = n;
}

/* True where the round had so many allocations that one failed. */
static bool end_round(void) {
    bool failed = calls >= fail_at;
    fail_at = 0;
    return failed;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_reallocarray(void *old, size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_reallocarray(void *old, size_t n, size_t size);
char *__wrap_strdup(const char *text);

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size) {
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_reallocarray(void *old, size_t n, size_t size) {
    return fails() ? NULL : __real_reallocarray(old, n, size);
}

char *__wrap_strdup(const char *text) {
    return mem_dup(text, strlen(text));
}

static sqlite3_mem_methods real_methods;

static void *sqlite_malloc(int size) {
    return fails() ? NULL : real_methods.xMalloc(size);
}

static void *sqlite_realloc(void *old, int size) {
    return fails() ? NULL : real_methods.xRealloc(old, size);
}

static char folder[] = "/tmp/longhaul-torture-XXXXXX";
static char path[64];
static struct store *store;
static int64_t stored;             /* tasks that the store must hold */
static char logged[TASK_TEXT_CAP]; /* one that has a log */

static int setup(void **state) {
    (void)state;
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_methods), SQLITE_OK);
    sqlite3_mem_methods methods = real_methods;
    methods.xMalloc = sqlite_malloc;
    methods.xRealloc = sqlite_realloc;
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_MALLOC, &methods), SQLITE_OK);
    assert_int_equal(sqlite3_initialize(), SQLITE_OK);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/t.db", folder);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    static const char *const ends[] = {"", "-wal", "-shm", ".lock"};
    char name[80];
    store_destroy(store);
    for (size_t i = 0; i < LH_COUNT(ends); i++) {
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        remove(name);
    }
    return remove(folder);
}

static void test_open(void **state) {
    (void)state;
    struct error err = {0};
    for (size_t n = 1; n < ROUNDS_MAX; n++) {
        begin_round(n);
        enum rc rc = store_sqlite_open(path, 2, &store, &err);
        bool failed = end_round();
        assert_true(rc == RC_OK || (failed && (rc == RC_NO_MEMORY || rc == RC_CONFIG)));
        if (!failed)
            return;
        if (rc == RC_OK)
            store_destroy(TAKE(store));
        assert_null(store);
    }
    fail_msg("the round does not end");
}

static struct op *make_op(enum op_kind kind, const char *task_id) {
    struct op *op = op_create(kind);
    assert_non_null(op);
    memcpy(op->task_id, task_id, sizeof op->task_id);
    op->now_ms = 2000;
    return op;
}

static struct op *make_create(void) {
    struct op *op = op_create(OP_CREATE);
    op->tasks = calloc(TASKS, sizeof *op->tasks);
    op->n_tasks = TASKS;
    for (size_t i = 0; i < TASKS; i++) {
        (void)mem_copy_str(op->tasks[i].service, sizeof op->tasks[i].service, i ? "a" : "b");
        op->tasks[i].source_name = mem_dup("src", 3);
        op->tasks[i].condition = mem_dup("[1]", 3);
        op->tasks[i].condition_len = 3;
        task_init(&op->tasks[i]);
        lifecycle_new(&op->tasks[i], &(struct lifecycle_start){.now_ms = 1000});
    }
    return op;
}

static struct op *make_take(void) {
    struct op *op = op_create(OP_TAKE);
    op->services = calloc(2, sizeof *op->services);
    op->services[op->n_services++] = mem_dup("a", 1);
    op->services[op->n_services++] = mem_dup("b", 1);
    op->max = 1;
    return op;
}

/* Into the open part first, then into a chunk. */
static struct op *make_log(const char *task_id, const char *run_id, int64_t offset, size_t len) {
    struct op *op = make_op(OP_LOG, task_id);
    (void)mem_copy_str(op->run_id, sizeof op->run_id, run_id);
    op->log_cap = 4000;
    op->log_offset = offset;
    op->value = calloc(1, len);
    op->value_len = len;
    return op;
}

/* A batch that leads through every way of writing. */
static void make_batch(struct op *ops[OPS]) {
    ops[0] = make_create();
    const char *id = ops[0]->tasks[0].task_id, *other = ops[0]->tasks[1].task_id;
    ops[1] = make_op(OP_EDIT, other);
    ops[1]->value = mem_dup("{}", 2);
    ops[1]->value_len = 2;
    ops[2] = make_op(OP_FINISH, id);
    ops[2]->value = mem_dup("[2]", 3);
    ops[2]->value_len = 3;
    ops[2]->message = mem_dup("done", 4);
    ops[3] = make_op(OP_START, id);
    ops[4] = make_op(OP_FAIL, other);
    ops[4]->error_text = mem_dup("broken", 6);
    ops[5] = make_op(OP_CLAIM, id);
    ops[6] = op_create(OP_WORKER);
    (void)mem_copy_str(ops[6]->worker_id, sizeof ops[6]->worker_id, "w");
    ops[6]->value = mem_dup("{}", 2);
    ops[6]->value_len = 2;
    const char *run_id = "01890000-0000-7000-8000-00000000000a";
    static const enum op_kind lease[] = {OP_CLAIM, OP_HEARTBEAT, OP_HEARTBEAT, OP_HAND_BACK};
    for (size_t i = 0; i < LH_COUNT(lease); i++) {
        ops[7 + i] = make_op(lease[i], ops[0]->tasks[2].task_id);
        (void)mem_copy_str(ops[7 + i]->run_id, sizeof ops[7 + i]->run_id, run_id);
    }
    ops[11] = make_log(ops[0]->tasks[2].task_id, run_id, 0, 10);
    ops[12] = make_log(ops[0]->tasks[2].task_id, run_id, 10, 5000);
    ops[OPS - 1] = make_take(); /* the third task */
}

static bool lacked_memory(const struct op *op) {
    return op->rc == RC_NO_MEMORY || op->rc == RC_STALE_RUN || /* the run's claim did, */
           op->rc == RC_OFFSET_GAP;                            /* or the log before */
}

/* A failed batch failed in every op; one that was stored may lack memory for a single op. */
static void check_batch(enum rc rc, bool failed, struct op *const *ops) {
    if (rc != RC_OK) {
        assert_true(failed);
        assert_int_equal(rc, RC_STORE_UNAVAILABLE);
        for (size_t i = 0; i < OPS; i++)
            assert_int_equal(ops[i]->rc, rc);
        return;
    }
    for (size_t i = 0; i < TASKS; i++)
        assert_int_equal(ops[0]->task_rc[i], RC_OK);
    for (size_t i = 0; i < OPS; i++)
        assert_true(ops[i]->rc == RC_OK || (failed && lacked_memory(ops[i])));
    assert_int_equal(ops[OPS - 1]->n_tasks, 1);
    stored += TASKS;
    memcpy(logged, ops[12]->task_id, sizeof logged);
}

static int64_t count_tasks(unsigned reader) {
    struct error err = {0};
    struct query *query = query_create(QUERY_LIST);
    query->limit = 1;
    assert_int_equal(store_query(store, reader, &query, 1, &err), RC_OK);
    int64_t total = query->total;
    query_destroy(query);
    return total;
}

/* False where the round had no allocation left to fail. */
static bool apply_round(size_t n, size_t *refused) {
    struct error err = {0};
    struct op *ops[OPS];
    make_batch(ops);
    begin_round(n);
    enum rc rc = store_apply(store, ops, OPS, &err);
    bool failed = end_round();
    check_batch(rc, failed, ops);
    *refused += rc != RC_OK;
    for (size_t i = 0; i < OPS; i++)
        op_destroy(ops[i]);
    assert_int_equal(count_tasks(1), stored);
    return failed;
}

/* Twice: statements that are prepared at their first use allocate then, and not later. */
static void test_apply(void **state) {
    (void)state;
    for (int sweep = 0; sweep < 2; sweep++) {
        size_t refused = 0, n = 1;
        while (n < ROUNDS_MAX && apply_round(n, &refused))
            n++;
        assert_in_range(n, 2, ROUNDS_MAX - 1);
        print_message("%zu allocations failed, %zu batches refused\n", n - 1, refused);
    }
}

static struct query *make_log_query(void) {
    struct query *query = query_create(QUERY_LOG);
    query->ids = calloc(1, sizeof *query->ids);
    query->ids[query->n_ids++] = mem_dup(logged, strlen(logged));
    query->log_from = 10;
    query->max_bytes = 3000;
    return query;
}

static bool query_round(size_t n) {
    struct error err = {0};
    struct query *queries[] = {query_create(QUERY_LIST),
                               query_create(QUERY_COUNTS),
                               query_create(QUERY_OUTBOX),
                               query_create(QUERY_LAPSED),
                               query_create(QUERY_WORKERS),
                               query_create(QUERY_PING),
                               make_log_query()};
    queries[0]->limit = queries[2]->limit = queries[3]->limit = 20;
    queries[3]->lapsed_before_ms = INT64_MAX;
    begin_round(n);
    enum rc rc = store_query(store, 0, queries, LH_COUNT(queries), &err);
    bool failed = end_round();
    assert_true(rc == RC_OK || (failed && rc == RC_STORE_UNAVAILABLE));
    for (size_t i = 0; i < LH_COUNT(queries); i++) {
        assert_int_equal(queries[i]->rc, rc);
        query_destroy(queries[i]);
    }
    return failed;
}

static void test_query(void **state) {
    (void)state;
    for (int sweep = 0; sweep < 2; sweep++) {
        size_t n = 1;
        while (n < ROUNDS_MAX && query_round(n))
            n++;
        assert_in_range(n, 2, ROUNDS_MAX - 1);
        assert_int_equal(count_tasks(0), stored);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_apply),
        cmocka_unit_test(test_query),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
