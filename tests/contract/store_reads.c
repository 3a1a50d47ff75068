/* store_reads.c: what a store gives back: values, tasks by id, lists, counts. */
#include "base/buf.h"
#include "base/mem.h"
#include "store_kit.h"
#include "store_rules.h"

#include <stdlib.h>
#include <string.h>

/* Stores `json` as condition and as result and compares what comes back. */
static void check_value(const char *service, const char *json, size_t len) {
    struct op *op = kit_create(service, 1, true, false);
    kit_set_condition(op, 0, json, len);
    assert_int_equal(kit_apply(op), RC_OK);
    assert_int_equal(op->task_rc[0], RC_OK);
    char id[TASK_TEXT_CAP];
    memcpy(id, op->tasks[0].task_id, sizeof id);
    op_destroy(op);
    op = kit_run_op(OP_CLAIM, id, RUN_A);
    assert_int_equal(kit_apply(op), RC_OK);
    assert_true(kit_same_json(op->tasks[0].condition, op->tasks[0].condition_len, json, len));
    op_destroy(op);
    op = kit_run_op(OP_FINISH, id, RUN_A);
    op->value = mem_dup(json, len);
    op->value_len = len;
    assert_int_equal(kit_do(op), RC_OK);
    struct task task = kit_get(id);
    if (!kit_same_json(task.condition, task.condition_len, json, len))
        fail_msg("condition %.200s came back as %.200s", json, task.condition);
    if (!kit_same_json(task.result, task.result_len, json, len))
        fail_msg("result %.200s came back as %.200s", json, task.result ? task.result : "(none)");
    task_finish(&task);
}

void test_values_survive(void **state) {
    (void)state;
    static const char *const values[] = {
        "null",
        "true",
        "0",
        "-0.0",
        "1",
        "1.0",
        "0.1",
        "1e5",
        "1E-300",
        "1.7976931348623157e308",
        "5e-324",
        "9223372036854775807",
        "-9223372036854775808",
        "2147483648",
        "9007199254740993",
        "123456789.123456789",
        "\"\"",
        "\"plain\"",
        "\"\\u0000\"",
        "\"a\\u0000b\\u0000\"",
        "\"\\ud83d\\ude00 \xf0\x9f\x98\x80 \xc3\xa9 \xe4\xb8\xad\"",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u001f\\u007f\"",
        "[]",
        "{}",
        "[[],{},[{}],null]",
        "[1,1.0,\"1\",true,null]",
        "{\"\":1}",
        "{\"\":{\"\":{\"\":[]}}}",
        "{\"a.b\":1,\".\":2,\"a.\":3,\".a\":4}",
        "{\"$date\":5}",
        "{\"$oid\":\"0123456789abcdef01234567\",\"$\":1,\"a$\":2}",
        "{\"$numberLong\":\"5\"}",
        "{\"_id\":1,\"task_id\":\"x\",\"status\":\"finished\",\"lh\":9}",
        "{\"0\":\"a\",\"1\":\"b\"}",
        "{\"b\":1,\"a\":2,\"B\":3}",
        "{\"a\":{\"b.c\":{\"$d\":[{\"\":null}]}}}",
    };
    char service[SERVICE_CAP];
    kit_service(service);
    for (size_t i = 0; i < LH_COUNT(values); i++)
        check_value(service, values[i], strlen(values[i]));
}

static void check_built(const char *service, struct buf *buf) {
    assert_int_equal(buf_rc(buf), RC_OK);
    check_value(service, buf->data, buf->len);
}

void test_large_values_survive(void **state) {
    (void)state;
    char service[SERVICE_CAP];
    kit_service(service);
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, 2 << 20);
    buf_str(&buf, "{\"text\":\"");
    for (int i = 0; i < 512 * 1024 / 8; i++)
        buf_str(&buf, i % 100 ? "01234567" : "\\u0000\xf0\x9f\x98\x80");
    buf_str(&buf, "\"}");
    check_built(service, &buf);
    for (int kind = 0; kind < 2; kind++) { /* arrays, objects */
        buf_clear(&buf);
        for (int i = 0; i < JSON_DEPTH_MAX; i++)
            buf_str(&buf, kind ? (i % 5 ? "{\"k\":" : "{\"a.b\":") : "[");
        buf_str(&buf, kind ? "1" : "");
        for (int i = 0; i < JSON_DEPTH_MAX; i++)
            buf_char(&buf, kind ? '}' : ']');
        check_built(service, &buf);
    }
    buf_clear(&buf);
    buf_char(&buf, '[');
    for (int i = 0; i < 20000; i++)
        buf_printf(&buf, "%s%d", i ? "," : "", i * 7919);
    buf_char(&buf, ']');
    check_built(service, &buf);
}

static uint64_t random_next(uint64_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void random_scalar(struct buf *to, uint64_t *seed) {
    static const char *const words[] = {"null", "true", "false", "\"\"", "\"$x\"", "0", "-1"};
    uint64_t pick = random_next(seed) % 4;
    if (pick == 0)
        buf_str(to, words[random_next(seed) % LH_COUNT(words)]);
    else if (pick == 1)
        buf_int(to, (int64_t)random_next(seed) >> random_next(seed) % 63);
    else if (pick == 2)
        buf_printf(to, "%.17e",
                   (double)(int64_t)random_next(seed) / (double)(random_next(seed) % 1000 + 1));
    else
        buf_printf(to, "\"\\u%04x%llx\xc3\xbc\"", (unsigned)(random_next(seed) % 0x800),
                   (unsigned long long)random_next(seed));
}

static void random_value(struct buf *to, uint64_t *seed, int depth) {
    static const char *const keys[] = {"a%d", "k.%d", "$%d", "%d", "\\u00e9%d", "x\\\"%d"};
    uint64_t n = random_next(seed) % 5;
    if (depth == 0 || n == 0) {
        random_scalar(to, seed);
        return;
    }
    bool object = random_next(seed) % 2;
    buf_char(to, object ? '{' : '[');
    for (uint64_t i = 0; i < n; i++) {
        buf_str(to, i ? "," : "");
        if (object) {
            buf_char(to, '"');
            buf_str(to, keys[random_next(seed) % LH_COUNT(keys)]);
            buf_printf(to, "%d\":", (int)i);
        }
        random_value(to, seed, depth - 1);
    }
    buf_char(to, object ? '}' : ']');
}

void test_random_values_survive(void **state) {
    (void)state;
    const char *given = getenv("LONGHAUL_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)kit_now();
    print_message("LONGHAUL_TEST_SEED=%llu\n", (unsigned long long)seed);
    seed = seed ? seed : 1;
    char service[SERVICE_CAP];
    kit_service(service);
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, 1 << 20);
    for (int i = 0; i < 100; i++) {
        buf_clear(&buf);
        random_value(&buf, &seed, 6);
        check_built(service, &buf);
    }
}

static struct query *by_id_query(const char *const *ids, size_t n) {
    struct query *query = query_create(QUERY_BY_ID);
    query->ids = calloc(n, sizeof *query->ids);
    query->n_ids = n;
    for (size_t i = 0; i < n; i++)
        query->ids[i] = kit_dup(ids[i]);
    return query;
}

/* The order asked, "" where there is none, twice where asked twice; several queries at once. */
void test_by_id(void **state) {
    (void)state;
    char service[SERVICE_CAP], a[TASK_TEXT_CAP], b[TASK_TEXT_CAP];
    kit_service(service);
    kit_new_task(service, true, false, a);
    kit_new_task(service, true, false, b);
    const char *const asked[] = {b, "ts_none_2", a, b};
    struct query *queries[] = {by_id_query(asked, 4), by_id_query(asked + 1, 2),
                               by_id_query(NULL, 0)};
    struct error err = {0};
    assert_int_equal(store_query(kit_store, 1, queries, 3, &err), RC_OK);
    assert_int_equal(queries[0]->n_tasks, 4);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(queries[0]->tasks[i].task_id, i == 1 ? "" : asked[i]);
    assert_int_equal(queries[1]->n_tasks, 2);
    assert_string_equal(queries[1]->tasks[0].task_id, "");
    assert_string_equal(queries[1]->tasks[1].task_id, a);
    assert_int_equal(queries[2]->n_tasks, 0);
    for (size_t i = 0; i < 3; i++)
        query_destroy(queries[i]);
}

void test_parts_only_on_demand(void **state) {
    (void)state;
    char service[SERVICE_CAP], id[TASK_TEXT_CAP];
    kit_service(service);
    kit_new_task(service, true, false, id);
    struct op *op = kit_run_op(OP_FINISH, id, "");
    op->value = kit_dup("[9]");
    op->value_len = 3;
    assert_int_equal(kit_do(op), RC_OK);
    for (int want = 0; want < 4; want++) {
        const char *const ids[] = {id};
        struct query *query = by_id_query(ids, 1);
        query->want_condition = want & 1;
        query->want_result = want & 2;
        kit_query(query);
        assert_int_equal(query->tasks[0].condition != NULL, (want & 1) != 0);
        assert_int_equal(query->tasks[0].result != NULL, (want & 2) != 0);
        query_destroy(query);
    }
}

void test_list_pages(void **state) {
    (void)state;
    enum { N = 23 };
    char service[SERVICE_CAP], ids[N][TASK_TEXT_CAP];
    kit_service(service);
    for (size_t i = 0; i < N; i++) {
        kit_new_task(service, i % 3 != 0, false, ids[N - 1 - i]); /* newest first */
        if (i % 4 == 1)
            kit_do(kit_run_op(OP_CLAIM, ids[N - 1 - i], RUN_A));
    }
    for (int64_t skip = 0; skip <= N + 1; skip += 6) {
        struct query *query = kit_list(service, skip, 6);
        kit_query(query);
        assert_int_equal(query->total, N);
        int64_t left = N - skip < 0 ? 0 : N - skip;
        assert_int_equal(query->n_tasks, left < 6 ? left : 6);
        for (size_t i = 0; i < query->n_tasks; i++) {
            assert_string_equal(query->tasks[i].task_id, ids[skip + (int64_t)i]);
            assert_true(kit_same_json(query->tasks[i].condition, query->tasks[i].condition_len,
                                      "{\"a\":1}", 7));
            assert_null(query->tasks[i].result);
        }
        query_destroy(query);
    }
}

/* The total and the size of the page of one filter. */
static void check_filter(const char *service, int status, int64_t total, int64_t limit) {
    struct query *query = kit_list(service, 0, limit);
    query->filter.statuses = status >= 0 ? 1u << status : 0;
    kit_query(query);
    assert_int_equal(query->total, total);
    assert_int_equal(query->n_tasks, total < limit ? total : limit);
    for (size_t i = 0; i < query->n_tasks; i++) {
        const struct task *task = &query->tasks[i];
        assert_true(!service[0] || strcmp(task->service, service) == 0);
        assert_true(status < 0 || (int)task->status == status);
        assert_true(i == 0 || task->create_at <= query->tasks[i - 1].create_at);
    }
    query_destroy(query);
}

static int64_t total_of(int status) {
    struct query *query = kit_list("", 0, 1);
    query->filter.statuses = status >= 0 ? 1u << status : 0;
    kit_query(query);
    int64_t total = query->total;
    query_destroy(query);
    return total;
}

/* Makes tasks of the service: one more of each status than of the one before. */
static void make_statuses(const char *service) {
    for (int status = 0; status < TASK_STATUSES; status++)
        for (int i = 0; i <= status; i++) {
            char id[TASK_TEXT_CAP];
            kit_new_task(service, status != TASK_READY, false, id);
            if (status >= TASK_RUNNING)
                assert_int_equal(kit_do(kit_run_op(OP_CLAIM, id, RUN_A)), RC_OK);
            if (status >= TASK_FINISHED)
                assert_int_equal(
                    kit_do(kit_run_op(status == TASK_FAILED ? OP_FAIL : OP_FINISH, id, RUN_A)),
                    RC_OK);
        }
}

void test_list_filters(void **state) {
    (void)state;
    char service[SERVICE_CAP];
    kit_service(service);
    int64_t before[TASK_STATUSES], all = total_of(-1);
    for (int status = 0; status < TASK_STATUSES; status++)
        before[status] = total_of(status);
    make_statuses(service);
    check_filter(service, -1, 15, 100);
    check_filter("", -1, all + 15, 20);
    check_filter("no-such-service", -1, 0, 10);
    for (int status = 0; status < TASK_STATUSES; status++) {
        check_filter(service, status, status + 1, 100);
        check_filter(service, status, status + 1, 2);
        check_filter("", status, before[status] + status + 1, 8);
        check_filter("no-such-service", status, 0, 10);
    }
}

void test_counts(void **state) {
    (void)state;
    char service[SERVICE_CAP];
    kit_service(service);
    make_statuses(service);
    struct query *query = query_create(QUERY_COUNTS);
    kit_query(query);
    size_t found = 0;
    for (size_t i = 0; i < query->n_counts; i++) {
        if (strcmp(query->counts[i].service, service) != 0)
            continue;
        found++;
        for (int status = 0; status < TASK_STATUSES; status++)
            assert_int_equal(query->counts[i].by_status[status], status + 1);
    }
    assert_int_equal(found, 1);
    query_destroy(query);
}

void test_ping(void **state) {
    (void)state;
    struct query *query = query_create(QUERY_PING);
    kit_query(query);
    query_destroy(query);
}
