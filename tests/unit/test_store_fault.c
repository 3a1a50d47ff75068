/* test_store_fault.c: the fault store does what its plan says, and nothing at other calls. */
#include "base/clock.h"
#include "base/mem.h"
#include "store/store.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* An inner store that counts its calls and says yes. */
struct yes_store {
    struct store base;
    int applied, queried, destroyed;
};

static enum rc yes_apply(struct store *base, struct op *const *ops, size_t n, struct error *err) {
    (void)err;
    struct yes_store *store = (struct yes_store *)base;
    store->applied++;
    for (size_t i = 0; i < n; i++) {
        ops[i]->rc = RC_OK;
        if (ops[i]->kind != OP_CREATE)
            ops[i]->tasks = calloc(ops[i]->n_tasks = 1, sizeof(struct task));
    }
    return RC_OK;
}

static enum rc yes_query(struct store *base, unsigned reader, struct query *const *queries,
                         size_t n, struct error *err) {
    (void)reader, (void)queries, (void)n, (void)err;
    ((struct yes_store *)base)->queried++;
    return RC_OK;
}

static void yes_destroy(struct store *base) {
    ((struct yes_store *)base)->destroyed++;
}

static const struct store_impl yes_impl = {"yes", yes_apply, yes_query, yes_destroy};

static struct store *wrap(struct yes_store *inner, const char *plan) {
    struct error err = {0};
    struct store *store = NULL;
    *inner = (struct yes_store){.base = {&yes_impl}};
    assert_int_equal(store_fault_wrap(&inner->base, plan, &store, &err), RC_OK);
    return store;
}

/* Applies one op of the kind with one task and gives its outcome back. */
static enum rc apply_one(struct store *store, enum op_kind kind, size_t *ret_tasks) {
    struct error err = {0};
    struct op *op = op_create(kind);
    if (kind == OP_CREATE)
        op->tasks = calloc(op->n_tasks = 1, sizeof(struct task));
    enum rc rc = store_apply(store, &op, 1, &err);
    assert_int_equal(op->rc, rc);
    if (kind == OP_CREATE)
        assert_int_equal(op->task_rc[0], rc);
    if (rc != RC_OK)
        assert_int_equal(err.rc, rc);
    *ret_tasks = op->n_tasks;
    op_destroy(op);
    return rc;
}

static enum rc query_one(struct store *store) {
    struct error err = {0};
    struct query *query = query_create(QUERY_PING);
    enum rc rc = store_query(store, 0, &query, 1, &err);
    assert_int_equal(query->rc, rc);
    query_destroy(query);
    return rc;
}

static void test_apply(void **state) {
    (void)state;
    static const struct {
        const char *plan;
        enum rc rc[3]; /* of three calls */
        int applied;   /* calls that reached the inner store */
    } cases[] = {
        {"", {RC_OK, RC_OK, RC_OK}, 3},
        {"apply:2=unavailable", {RC_OK, RC_STORE_UNAVAILABLE, RC_OK}, 2},
        {"apply:1=unknown", {RC_OUTCOME_UNKNOWN, RC_OK, RC_OK}, 3},
        {"apply:3=lost", {RC_OK, RC_OK, RC_OUTCOME_UNKNOWN}, 2},
        {"apply:*=unavailable",
         {RC_STORE_UNAVAILABLE, RC_STORE_UNAVAILABLE, RC_STORE_UNAVAILABLE},
         0},
        {"query:1=unavailable,apply:1=lost,apply:3=unknown",
         {RC_OUTCOME_UNKNOWN, RC_OK, RC_OUTCOME_UNKNOWN},
         2},
    };
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        struct yes_store inner;
        struct store *store = wrap(&inner, cases[i].plan);
        for (int call = 0; call < 3; call++) {
            size_t n_tasks;
            enum op_kind kind = i % 2 ? OP_CREATE : OP_CLAIM;
            assert_int_equal(apply_one(store, kind, &n_tasks), cases[i].rc[call]);
            /* An unsure create still names its tasks; another op hands out none. */
            assert_int_equal(n_tasks, kind == OP_CREATE || cases[i].rc[call] == RC_OK ? 1 : 0);
        }
        assert_int_equal(inner.applied, cases[i].applied);
        store_destroy(store);
        assert_int_equal(inner.destroyed, 1);
    }
}

static void test_query(void **state) {
    (void)state;
    struct yes_store inner;
    struct store *store = wrap(&inner, "query:2=unavailable,query:3=unknown,apply:*=unavailable");
    assert_int_equal(query_one(store), RC_OK);
    assert_int_equal(query_one(store), RC_STORE_UNAVAILABLE);
    assert_int_equal(query_one(store), RC_OUTCOME_UNKNOWN);
    assert_int_equal(query_one(store), RC_OK);
    assert_int_equal(inner.queried, 3);
    store_destroy(store);
}

static void test_delay(void **state) {
    (void)state;
    struct yes_store inner;
    struct store *store = wrap(&inner, "query:1=delay:30");
    int64_t before = clock_mono_ms();
    assert_int_equal(query_one(store), RC_OK);
    assert_true(clock_mono_ms() - before >= 29);
    store_destroy(store);
}

static void test_kill(void **state) {
    (void)state;
    static const char *const plans[] = {"apply:2=kill", "apply:2=kill-after"};
    for (size_t i = 0; i < LH_COUNT(plans); i++) {
        pid_t pid = fork();
        if (pid == 0) {
            struct yes_store inner;
            struct store *store = wrap(&inner, plans[i]);
            size_t n_tasks;
            if (apply_one(store, OP_CLAIM, &n_tasks) == RC_OK)
                apply_one(store, OP_CLAIM, &n_tasks);
            _exit(1);
        }
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
}

static void test_wrong_plan(void **state) {
    (void)state;
    static const char *const plans[] = {
        "apply",           "apply:1",        "apply=kill",     "apply:0=kill",  "apply:-1=kill",
        "apply:1=",        "apply:1=boom",   "close:1=kill",   "apply:1=delay", "apply:1=delay:",
        "apply:1=delay:x", "apply:1=kill:5", "apply:1=kill,,", "apply:1x=kill", ",",
    };
    for (size_t i = 0; i < LH_COUNT(plans); i++) {
        struct yes_store inner = {.base = {&yes_impl}};
        struct store *store = NULL;
        struct error err = {0};
        assert_int_equal(store_fault_wrap(&inner.base, plans[i], &store, &err), RC_CONFIG);
        assert_null(store);
        assert_int_equal(inner.destroyed, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apply),      cmocka_unit_test(test_query),
        cmocka_unit_test(test_delay),      cmocka_unit_test(test_kill),
        cmocka_unit_test(test_wrong_plan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
