/* test_status_cache.c: texts of tasks: bounds, who may see them, and that none is ever older than
 * what the store, or an answer, has told. */
#include "api/exec/status_cache.h"

#include "api/exec/executor.h"
#include "base/mem.h"
#include "task/lifecycle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static struct task named(const char *id) {
    struct task task = {.status = TASK_WAITING};
    (void)mem_copy_str(task.task_id, sizeof task.task_id, id);
    (void)mem_copy_str(task.service, sizeof task.service, "even");
    return task;
}

static void keep(struct status_cache *cache, uint64_t batch, const char *id, const char *text) {
    struct task task = named(id);
    status_cache_keep(cache, batch, &task, text, strlen(text));
}

/* A batch of one op that changes the task. */
static void change(struct status_cache *cache, uint64_t batch, enum op_kind kind, const char *id) {
    struct task task = named(id);
    struct op op = {.kind = kind, .tasks = &task, .n_tasks = 1, .parts = PART_STATE};
    struct op *ops[] = {&op};
    status_cache_forget(batch, ops, 1, cache);
}

/* What stands for up to two tasks; "" where they are not at hand. */
static const char *texts(struct status_cache *cache, const char *a, const char *b) {
    static char text[64];
    const struct json_span ids[] = {{a, strlen(a)}, {b, b ? strlen(b) : 0}};
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, sizeof text - 1);
    bool found = status_cache_put(cache, ids, b ? 2 : 1, NULL, &buf);
    assert_int_equal(buf_rc(&buf), RC_OK);
    (void)mem_copy_str(text, sizeof text, found ? buf.data : "");
    return text;
}

static void test_all_or_none(void **state) {
    (void)state;
    struct status_cache *cache = status_cache_create(100000);
    assert_string_equal(texts(cache, "a", NULL), "");
    keep(cache, 0, "a", "{1}");
    keep(cache, 0, "b", "{2}");
    keep(cache, 0, "a", "{1}");
    assert_string_equal(texts(cache, "a", NULL), "{1}");
    assert_string_equal(texts(cache, "b", "a"), "{2},{1}");
    assert_string_equal(texts(cache, "a", "a"), "{1},{1}");
    assert_string_equal(texts(cache, "a", "c"), "");
    assert_string_equal(texts(NULL, "a", NULL), "");
    status_cache_clear(cache);
    assert_string_equal(texts(cache, "a", NULL), "");
    assert_int_equal(status_cache_bytes(cache), 0);
    status_cache_destroy(cache);
}

static void test_only_for_eyes_that_may(void **state) {
    (void)state;
    struct status_cache *cache = status_cache_create(100000);
    char *even[] = {"odd", "even"}, *odd[] = {"odd"};
    const struct task_access may = {.services = even, .n_services = 2},
                             may_not = {.services = odd, .n_services = 1};
    const struct json_span ids[] = {{"a", 1}};
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, 100);
    keep(cache, 0, "a", "{1}");
    assert_false(status_cache_put(cache, ids, 1, &may_not, &buf));
    assert_int_equal(buf.len, 0);
    assert_true(status_cache_put(cache, ids, 1, &may, &buf));
    status_cache_destroy(cache);
}

static void test_what_is_not_kept(void **state) {
    (void)state;
    struct status_cache *cache = status_cache_create(100000);
    struct task gone = named("a"), none = named("");
    static char large[5000];
    memset(large, '1', sizeof large - 1);
    gone.sub = SUB_REMOVED;
    status_cache_keep(cache, 9, &gone, "{}", 2);
    status_cache_keep(cache, 9, &none, "{}", 2);
    keep(cache, 9, "b", large);
    assert_int_equal(status_cache_bytes(cache), 0);
    status_cache_destroy(cache);
}

static void test_reads_of_before_a_change_are_refused(void **state) {
    (void)state;
    struct status_cache *cache = status_cache_create(100000);
    keep(cache, 6, "a", "{1}");
    keep(cache, 6, "b", "{1}");
    change(cache, 7, OP_CLAIM, "a");
    assert_string_equal(texts(cache, "a", NULL), "");
    assert_string_equal(texts(cache, "b", NULL), "{1}");
    keep(cache, 6, "a", "{1}"); /* began before batch 7 was over */
    assert_string_equal(texts(cache, "a", NULL), "");
    keep(cache, 7, "a", "{2}");
    assert_string_equal(texts(cache, "a", "b"), "{2},{1}");
    change(cache, 8, OP_CREATE, "a");
    assert_string_equal(texts(cache, "a", NULL), "{2}");
    change(cache, 9, OP_REMOVE, "a");
    assert_string_equal(texts(cache, "a", NULL), "");
    status_cache_destroy(cache);
}

static void test_memory_is_bounded(void **state) {
    (void)state;
    enum { MAX = 20000 };
    struct status_cache *cache = status_cache_create(MAX);
    for (int i = 0; i < 5000; i++) {
        char id[16];
        snprintf(id, sizeof id, "t%d", i);
        keep(cache, 0, id, "{\"status\":\"waiting\"}");
        assert_true(status_cache_bytes(cache) <= MAX);
        assert_string_not_equal(texts(cache, id, NULL), "");
        assert_string_not_equal(texts(cache, "t0", NULL), ""); /* is asked for all the time */
    }
    assert_string_equal(texts(cache, "t1", NULL), "");
    assert_true(status_cache_bytes(cache) > MAX / 2);
    status_cache_destroy(cache);
    cache = status_cache_create(64);
    keep(cache, 0, "a", "{1}");
    assert_int_equal(status_cache_bytes(cache), 0);
    status_cache_destroy(cache);
}

/* ---- changes and reads in any order ---- */

enum { TASKS = 12, STEPS = 12000, AT_ONCE = 24 };

/* Around a store: what is done is told late. */
struct slow_store {
    struct store base;
    struct store *inner;
};

static struct {
    char folder[40];
    struct slow_store slow;
    struct event_base *loop;
    struct executor *executor;
    struct status_cache *cache;
    char ids[TASKS][TASK_TEXT_CAP], runs[TASKS][UUID_CAP];
    long long known[TASKS]; /* the newest rev that somebody has been told */
    int steps, at_once;
    long hits, stale_reads, changes;
} at;

static void linger(unsigned seed) {
    nanosleep(&(struct timespec){.tv_nsec = seed % 4 ? 0 : (seed >> 4) % 400 * 1000}, NULL);
}

static enum rc slow_apply(struct store *base, struct op *const *ops, size_t n, struct error *err) {
    static unsigned seed = 1;
    struct store *inner = at.slow.inner;
    store_set_herald(inner, base->herald, base->herald_arg);
    enum rc rc = store_apply(inner, ops, n, err);
    linger(seed = seed * 1103515245 + 12345);
    return rc;
}

static enum rc slow_query(struct store *base, unsigned reader, struct query *const *queries,
                          size_t n, struct error *err) {
    static unsigned seeds[EXECUTOR_READERS];
    (void)base;
    linger(seeds[reader] = seeds[reader] * 1103515245 + 12345);
    enum rc rc = store_query(at.slow.inner, reader, queries, n, err);
    linger(seeds[reader] = seeds[reader] * 1103515245 + 12345);
    return rc;
}

/* If the batch could be seen already, it would be. */
static void slow_forget(uint64_t batch, struct op *const *ops, size_t n, void *arg) {
    static unsigned seed = 7;
    linger(seed = seed * 1103515245 + 12345);
    status_cache_forget(batch, ops, n, arg);
}

static size_t place_of(const char *task_id) {
    size_t i = 0;
    while (strcmp(at.ids[i], task_id) != 0)
        assert_true(++i < TASKS);
    return i;
}

static void told(size_t i, const struct task *task) {
    if (task->rev > at.known[i])
        at.known[i] = task->rev;
}

/* What the cache says now is not older than what was told before. */
static void check(size_t i) {
    const struct json_span ids[] = {{at.ids[i], strlen(at.ids[i])}};
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, 64);
    if (!status_cache_put(at.cache, ids, 1, NULL, &buf))
        return;
    long long rev = strtoll(buf.data, NULL, 10);
    if (rev < at.known[i])
        fail_msg("%s: rev %lld after %lld was told", at.ids[i], rev, at.known[i]);
    at.known[i] = rev;
    at.hits++;
}

static void step(void);

static void on_applied(struct op *op, void *arg) {
    (void)arg;
    for (size_t j = 0; j < op->n_tasks; j++) {
        size_t i = place_of(op->tasks[j].task_id);
        told(i, &op->tasks[j]);
        (void)mem_copy_str(at.runs[i], UUID_CAP, op->tasks[j].run_id);
        check(i);
    }
    at.changes += op->rc == RC_OK;
    at.at_once--;
    step();
}

static void on_read(struct query *query, void *arg) {
    (void)arg;
    assert_int_equal(query->rc, RC_OK);
    for (size_t j = 0; j < query->n_tasks; j++) {
        size_t i = place_of(query->tasks[j].task_id);
        char text[24];
        int len = snprintf(text, sizeof text, "%lld", (long long)query->tasks[j].rev);
        at.stale_reads += query->tasks[j].rev < at.known[i];
        told(i, &query->tasks[j]);
        status_cache_keep(at.cache, query->batch, &query->tasks[j], text, (size_t)len);
        check(i);
    }
    at.at_once--;
    step();
}

static struct op *take_op(void) {
    struct op *op = op_create(OP_TAKE);
    op->services = calloc(1, sizeof *op->services);
    op->services[0] = strdup("even");
    op->n_services = 1;
    op->max = 2;
    op->lease_ms = 60000;
    return op;
}

static struct op *random_op(size_t i) {
    static const enum op_kind kinds[] = {OP_CLAIM, OP_CLAIM, OP_HEARTBEAT, OP_HEARTBEAT, OP_FINISH,
                                         OP_START, OP_START, OP_HAND_BACK, OP_TAKE};
    enum op_kind kind = kinds[(size_t)rand() % LH_COUNT(kinds)];
    if (kind == OP_TAKE)
        return take_op();
    struct op *op = op_create(kind);
    (void)mem_copy_str(op->task_id, sizeof op->task_id, at.ids[i]);
    op->lease_ms = 60000;
    op->max_crashes = 1000000;
    (void)mem_copy_str(op->run_id, sizeof op->run_id, at.runs[i]);
    if (kind == OP_CLAIM)
        uuid_make(op->run_id);
    if (kind == OP_START)
        op->run_id[0] = '\0';
    return op;
}

static void submit(size_t i) {
    at.at_once++;
    if (rand() % 3 == 0) {
        assert_int_equal(executor_apply(at.executor, random_op(i), on_applied, NULL), RC_OK);
        return;
    }
    struct query *query = query_create_for(QUERY_BY_ID, at.ids[i]);
    assert_int_equal(executor_query(at.executor, query, on_read, NULL), RC_OK);
}

static void step(void) {
    while (at.at_once < AT_ONCE && at.steps < STEPS) {
        size_t i = (size_t)rand() % TASKS;
        at.steps++;
        check(i);
        submit(i);
    }
    if (at.at_once == 0)
        event_base_loopbreak(at.loop);
}

static void on_created(struct op *op, void *arg) {
    (void)arg;
    assert_int_equal(op->rc, RC_OK);
    for (size_t i = 0; i < TASKS; i++)
        (void)mem_copy_str(at.ids[i], TASK_TEXT_CAP, op->tasks[i].task_id);
    step();
}

static void begin(void) {
    struct op *op = op_create(OP_CREATE);
    op->tasks = calloc(TASKS, sizeof *op->tasks);
    op->n_tasks = TASKS;
    for (size_t i = 0; i < TASKS; i++) {
        struct task *task = &op->tasks[i];
        (void)mem_copy_str(task->service, sizeof task->service, "even");
        task->condition = strdup("7");
        task->condition_len = 1;
        task_init(task);
        lifecycle_new(task, &(struct lifecycle_start){.now_ms = 1000});
    }
    assert_int_equal(executor_apply(at.executor, op, on_created, NULL), RC_OK);
}

static void test_nothing_older_than_what_was_told(void **state) {
    (void)state;
    static const struct store_impl slow_impl = {"slow", slow_apply, slow_query, NULL};
    char path[64], command[64];
    struct error err = {0};
    (void)mem_copy_str(at.folder, sizeof at.folder, "/tmp/longhaul-status-XXXXXX");
    assert_non_null(mkdtemp(at.folder));
    snprintf(path, sizeof path, "%s/t.db", at.folder);
    assert_int_equal(store_sqlite_open(path, EXECUTOR_READERS, &at.slow.inner, &err), RC_OK);
    at.slow.base.impl = &slow_impl;
    at.loop = event_base_new();
    at.cache = status_cache_create(1 << 20);
    assert_int_equal(executor_create(at.loop, &at.slow.base, &at.executor, &err), RC_OK);
    executor_set_herald(at.executor, slow_forget, at.cache);
    srand(20261130);
    begin();
    event_base_dispatch(at.loop);
    executor_destroy(at.executor);
    print_message("%ld hits, %ld reads of before what was known, %ld changes\n", at.hits,
                  at.stale_reads, at.changes);
    assert_true(at.hits > STEPS / 20 && at.changes > STEPS / 20);
    status_cache_destroy(at.cache);
    store_destroy(at.slow.inner);
    event_base_free(at.loop);
    snprintf(command, sizeof command, "rm -r '%s'", at.folder);
    assert_int_equal(system(command), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_or_none),
        cmocka_unit_test(test_only_for_eyes_that_may),
        cmocka_unit_test(test_what_is_not_kept),
        cmocka_unit_test(test_reads_of_before_a_change_are_refused),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_nothing_older_than_what_was_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
