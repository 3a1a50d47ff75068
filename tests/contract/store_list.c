/* store_list.c: lists: cursors, filters, totals. */
#include "store/store_list.h"
#include "base/mem.h"
#include "store_kit.h"
#include "store_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 37 };

/* Tasks of one service in several states; ids newest first. */
struct shelf {
    char service[SERVICE_CAP];
    char ids[N][TASK_TEXT_CAP];
};

static void fill(struct shelf *shelf) {
    kit_service(shelf->service);
    for (size_t i = 0; i < N; i++) {
        char *id = shelf->ids[N - 1 - i];
        kit_new_task(shelf->service, i % 3 != 0, false, id);
        if (i % 4 == 1)
            kit_do(kit_run_op(OP_CLAIM, id, RUN_A));
        if (i % 8 == 5)
            kit_do(kit_run_op(OP_FAIL, id, RUN_A));
    }
}

/* Goes on from an answer: the next query, with the cursor moved into it. */
static struct query *follow(const struct shelf *shelf, struct query *query, bool onward) {
    struct query *next = kit_list(shelf->service, 0, query->limit);
    if (onward)
        next->after = TAKE(query->next);
    else
        next->before = TAKE(query->prev);
    query_destroy(query);
    kit_query(next);
    return next;
}

static void check_page(const struct shelf *shelf, const struct query *query, size_t from) {
    size_t left = N - from, n = left < (size_t)query->limit ? left : (size_t)query->limit;
    assert_int_equal(query->total, N);
    assert_false(query->total_at_least);
    assert_int_equal(query->n_tasks, n);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(query->tasks[i].task_id, shelf->ids[from + i]);
    assert_int_equal(query->next != NULL, from + n < N);
    assert_int_equal(query->prev != NULL, from > 0);
}

/* Down to the end and up again; both ways give the same pages. */
void test_cursors(void **state) {
    (void)state;
    struct shelf shelf;
    fill(&shelf);
    for (int64_t size = 1; size <= N + 1; size += size < 3 ? 1 : 9) {
        struct query *query = kit_list(shelf.service, 0, size);
        size_t at = 0;
        kit_query(query);
        check_page(&shelf, query, 0);
        for (; query->next; check_page(&shelf, query, at)) {
            at += (size_t)size;
            query = follow(&shelf, query, true);
        }
        for (; query->prev; check_page(&shelf, query, at)) {
            at -= (size_t)size;
            query = follow(&shelf, query, false);
        }
        assert_int_equal(at, 0);
        query_destroy(query);
    }
}

/* A page by number has cursors too. */
void test_cursor_of_a_page(void **state) {
    (void)state;
    struct shelf shelf;
    fill(&shelf);
    struct query *query = kit_list(shelf.service, 10, 5);
    kit_query(query);
    check_page(&shelf, query, 10);
    query = follow(&shelf, query, false);
    check_page(&shelf, query, 5);
    query = follow(&shelf, query, true);
    check_page(&shelf, query, 10);
    query_destroy(query);
}

/* Tasks that come in between neither move a page nor show in it twice. */
void test_cursor_stands_still(void **state) {
    (void)state;
    struct shelf shelf;
    fill(&shelf);
    struct query *query = kit_list(shelf.service, 0, 10);
    kit_query(query);
    char newer[TASK_TEXT_CAP];
    kit_new_task(shelf.service, true, false, newer);
    kit_do(kit_run_op(OP_CLAIM, shelf.ids[10], RUN_B));
    query = follow(&shelf, query, true);
    assert_int_equal(query->total, N + 1);
    for (size_t i = 0; i < 10; i++)
        assert_string_equal(query->tasks[i].task_id, shelf.ids[10 + i]);
    query = follow(&shelf, query, false);
    assert_string_equal(query->tasks[0].task_id, shelf.ids[0]);
    query = follow(&shelf, query, false);
    assert_int_equal(query->n_tasks, 1);
    assert_string_equal(query->tasks[0].task_id, newer);
    assert_null(query->prev);
    query_destroy(query);
}

static void remove_final(const char *id) {
    assert_int_equal(kit_do(kit_run_op(OP_FINISH, id, "")), RC_OK);
    assert_int_equal(kit_do(kit_op(OP_REMOVE, id)), RC_OK);
}

/* The newest tasks go; a cursor at one of them finds what comes after, and so it is when the store
 * was opened anew. */
void test_cursor_at_a_removed_task(void **state) {
    (void)state;
    for (int reopened = 0; reopened < 2; reopened++) {
        struct shelf shelf;
        char ids[3][TASK_TEXT_CAP], newer[TASK_TEXT_CAP];
        kit_service(shelf.service);
        for (size_t i = 0; i < LH_COUNT(ids); i++)
            kit_new_task(shelf.service, true, false, ids[i]);
        struct query *query = kit_list(shelf.service, 0, 1);
        kit_query(query);
        query = follow(&shelf, query, true);
        assert_string_equal(query->tasks[0].task_id, ids[1]);
        remove_final(ids[2]);
        remove_final(ids[1]);
        if (reopened)
            kit_reopen();
        kit_new_task(shelf.service, true, false, newer);
        query = follow(&shelf, query, false);
        assert_int_equal(query->n_tasks, 1);
        assert_string_equal(query->tasks[0].task_id, newer);
        query_destroy(query);
    }
}

/* Tasks of one bulk have one create time. */
void test_cursor_within_a_bulk(void **state) {
    (void)state;
    struct shelf shelf;
    kit_service(shelf.service);
    struct op *op = kit_create(shelf.service, N, true, false);
    assert_int_equal(kit_apply(op), RC_OK);
    for (size_t i = 0; i < N; i++)
        memcpy(shelf.ids[N - 1 - i], op->tasks[i].task_id, TASK_TEXT_CAP);
    op_destroy(op);
    struct query *query = kit_list(shelf.service, 0, 4);
    kit_query(query);
    check_page(&shelf, query, 0);
    for (size_t at = 4; query->next; at += 4) {
        query = follow(&shelf, query, true);
        check_page(&shelf, query, at);
    }
    query_destroy(query);
}

static enum rc query_rc(struct query *query) {
    struct error err = {0};
    enum rc rc = store_query(kit_store, 0, &query, 1, &err);
    assert_int_equal(rc, RC_OK);
    rc = query->rc;
    assert_true(rc == RC_OK || query->text[0]);
    query_destroy(query);
    return rc;
}

void test_wrong_cursors(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        "x",
        "s",
        "m",
        "s12",
        "m12",
        "s00000000000000zz",
        "sffffffffffffffff",
        "m0500000000",
        "s0000000000000001ff",
        "m1b00000009740000000000000000000769000000000000000000000000"
        "000000",
        "\xff",
        "m0c0000001069000100000000"};
    for (size_t i = 0; i < LH_COUNT(texts); i++) {
        struct query *query = kit_list("", 0, 10);
        query->after = kit_dup(texts[i]);
        assert_int_equal(query_rc(query), RC_INVALID_PARAMETER);
        query = kit_list("", 0, 10);
        query->before = kit_dup(texts[i]);
        assert_int_equal(query_rc(query), RC_INVALID_PARAMETER);
    }
}

/* ---- filters ---- */

static bool is_in(const struct list_filter *filter, const struct task *task) {
    return list_takes_service(filter, task->service) &&
           list_takes_state(filter, task->service, task->status, task->sub) &&
           list_takes_rest(filter, task->task_id, task->create_at, task->tags);
}

/* Whatever the filter, a list holds those of the shelf that it lets in: here told one by one. */
static void check_filter(const struct shelf *shelf, struct query *query) {
    size_t n = 0;
    query->limit = 3;
    for (bool more = true; more;) {
        kit_query(query);
        for (size_t i = 0; i < query->n_tasks; n++) {
            assert_true(n < N);
            struct task task = kit_get(shelf->ids[n]);
            if (is_in(&query->filter, &task))
                assert_string_equal(query->tasks[i++].task_id, task.task_id);
            task_finish(&task);
        }
        more = query->next;
        free(query->after);
        query->after = TAKE(query->next);
    }
    int64_t total = 0;
    for (size_t i = 0; i < N; i++) {
        struct task task = kit_get(shelf->ids[i]);
        bool in = is_in(&query->filter, &task);
        total += in;
        assert_false(in && i >= n);
        task_finish(&task);
    }
    assert_int_equal(query->total, total);
    assert_false(query->total_at_least);
    query_destroy(query);
}

void test_filters(void **state) {
    (void)state;
    struct shelf shelf;
    fill(&shelf);
    struct task middle = kit_get(shelf.ids[N / 2]), old = kit_get(shelf.ids[N - 5]);
    static const unsigned statuses[] = {0, 1u << TASK_READY, 1u << TASK_RUNNING | 1u << TASK_FAILED,
                                        1u << TASK_FINISHED};
    static const unsigned subs[] = {0, 1u << SUB_HELD, 1u << SUB_QUEUED | 1u << SUB_ERROR,
                                    1u << SUB_CRASH};
    const int64_t times[][2] = {{0, 0},
                                {middle.create_at, 0},
                                {0, middle.create_at},
                                {old.create_at, middle.create_at},
                                {middle.create_at, old.create_at}};
    for (size_t i = 0; i < LH_COUNT(statuses); i++)
        for (size_t k = 0; k < LH_COUNT(subs); k++)
            for (size_t m = 0; m < LH_COUNT(times); m++) {
                struct query *query = kit_list(shelf.service, 0, 3);
                query->filter.statuses = statuses[i];
                query->filter.subs = subs[k];
                query->filter.from_ms = times[m][0];
                query->filter.to_ms = times[m][1];
                check_filter(&shelf, query);
            }
    task_finish(&middle);
    task_finish(&old);
}

/* What waits for a paused service is not queued to a reader, but paused. */
void test_filter_by_paused(void **state) {
    (void)state;
    static const unsigned subs[] = {0, 1u << SUB_QUEUED, 1u << SUB_HELD,
                                    1u << SUB_QUEUED | 1u << SUB_HELD};
    struct shelf shelf;
    fill(&shelf);
    for (size_t i = 0; i < LH_COUNT(subs); i++)
        for (int want = 0; want < 2; want++)
            for (int paused = 0; paused < 2; paused++) {
                struct query *query = kit_list(shelf.service, 0, 3);
                query->filter.paused = calloc(2, sizeof *query->filter.paused);
                query->filter.paused[0] = kit_dup("another");
                query->filter.paused[1] = kit_dup(paused ? shelf.service : "yet another");
                query->filter.n_paused = 2;
                query->filter.subs = subs[i];
                query->filter.want_paused = want;
                check_filter(&shelf, query);
            }
}

void test_filter_by_prefix(void **state) {
    (void)state;
    struct shelf shelf;
    fill(&shelf);
    for (size_t len = strlen(shelf.ids[0]); len > 0; len -= len > 8 ? 7 : 1) {
        struct query *query = kit_list(shelf.service, 0, 3);
        query->filter.prefix = mem_dup(shelf.ids[N / 3], len);
        query->filter.statuses = len % 2 ? 0 : 1u << TASK_WAITING | 1u << TASK_READY;
        check_filter(&shelf, query);
    }
    struct query *query = kit_list(shelf.service, 0, 3);
    query->filter.prefix = kit_dup("ts_%.*");
    check_filter(&shelf, query);
}

static struct query *tag_query(const struct shelf *shelf, const char *const *tags, size_t n) {
    struct query *query = kit_list(shelf->service, 0, 3);
    query->filter.tags = calloc(n + 1, sizeof *query->filter.tags);
    for (; query->filter.n_tags < n; query->filter.n_tags++)
        query->filter.tags[query->filter.n_tags] = (struct list_tag){
            kit_dup(tags[2 * query->filter.n_tags]), kit_dup(tags[2 * query->filter.n_tags + 1])};
    return query;
}

void test_filter_by_tags(void **state) {
    (void)state;
    static const char *const given[] = {NULL, "{\"a\":\"1\"}", "{\"a\":\"1\",\"b.c\":\"2\"}",
                                        "{\"$b\":\"1\",\"\":\"x\"}", "{\"b\":\"\\u00e9 \\\" x\"}"};
    static const char *const asked[][4] = {{"a", "1"},          {"a", "2"}, {"b.c", "2", "a", "1"},
                                           {"$b", "1"},         {"", "x"},  {"b", "\xc3\xa9 \" x"},
                                           {"a", "1", "z", "1"}};
    struct shelf shelf;
    kit_service(shelf.service);
    for (size_t i = 0; i < N; i++) {
        const char *tags = given[i % LH_COUNT(given)];
        struct op *op = kit_create(shelf.service, 1, true, false);
        op->tasks[0].tags = tags ? kit_dup(tags) : NULL;
        assert_int_equal(kit_apply(op), RC_OK);
        memcpy(shelf.ids[N - 1 - i], op->tasks[0].task_id, TASK_TEXT_CAP);
        op_destroy(op);
    }
    for (size_t i = 0; i < LH_COUNT(asked); i++)
        check_filter(&shelf, tag_query(&shelf, asked[i], asked[i][2] ? 2 : 1));
}

void test_filter_by_services(void **state) {
    (void)state;
    struct shelf a, b;
    fill(&a);
    fill(&b);
    struct query *query = kit_list(a.service, 0, 2 * N);
    char **services = reallocarray(query->filter.services, 3, sizeof *services);
    assert_non_null(services);
    services[1] = kit_dup(b.service);
    services[2] = kit_dup("no-such-service");
    query->filter.services = services;
    query->filter.n_services = 3;
    kit_query(query);
    assert_int_equal(query->total, 2 * N);
    assert_int_equal(query->n_tasks, 2 * N);
    for (size_t i = 0; i < N; i++) {
        assert_string_equal(query->tasks[i].task_id, b.ids[i]);
        assert_string_equal(query->tasks[N + i].task_id, a.ids[i]);
    }
    query_destroy(query);
}

void test_list_values_on_demand(void **state) {
    (void)state;
    char service[SERVICE_CAP], id[TASK_TEXT_CAP];
    kit_service(service);
    kit_new_task(service, true, false, id);
    struct op *op = kit_run_op(OP_FINISH, id, "");
    op->value = kit_dup("[9]");
    op->value_len = 3;
    assert_int_equal(kit_do(op), RC_OK);
    for (int want = 0; want < 4; want++) {
        struct query *query = kit_list(service, 0, 5);
        query->want_condition = want & 1;
        query->want_result = want & 2;
        kit_query(query);
        assert_int_equal(query->tasks[0].condition != NULL, (want & 1) != 0);
        assert_int_equal(query->tasks[0].result != NULL, (want & 2) != 0);
        query_destroy(query);
    }
}

/* ---- more tasks than one list looks at ---- */

static void create_bulks(const char *service, size_t n, bool start) {
    for (size_t i = 0; i < n; i++)
        assert_int_equal(kit_do(kit_create(service, 1000, start, false)), RC_OK);
}

/* Goes on until a page has something; every page before has a cursor. Returns the calls. */
static int walk_to_first(struct query *query) {
    int calls = 1;
    kit_query(query);
    while (query->n_tasks == 0 && query->next && calls < 100) {
        free(query->after);
        query->after = TAKE(query->next);
        query->skip = 0;
        kit_query(query);
        calls++;
    }
    return calls;
}

/* What no index serves: "created before" on SQLite, sub_status on MongoDB. */
static struct query *deep_query(const char *service, int64_t before_ms) {
    struct query *query = kit_list(service, 0, 5);
    if (kit_is_mongodb())
        query->filter.subs = 1u << SUB_HELD;
    else
        query->filter.to_ms = before_ms;
    return query;
}

/* The list's end, to be asked for at once, lies beyond what one call looks at. */
static void check_too_deep(const char *service) {
    struct query *query = deep_query(service, kit_now());
    struct error err = {0};
    query->skip = LIST_WALK_MAX;
    assert_int_equal(store_query(kit_store, 0, &query, 1, &err), RC_OK);
    assert_int_equal(query->rc, RC_USE_CURSOR);
    assert_true(query->text[0]);
    query_destroy(query);
}

void test_bounded_walk(void **state) {
    (void)state;
    char service[SERVICE_CAP], first[TASK_TEXT_CAP];
    kit_service(service);
    kit_new_task(service, false, false, first);
    int64_t then = kit_now();
    create_bulks(service, LIST_WALK_MAX / 1000, true);
    struct query *query = deep_query(service, then);
    int calls = walk_to_first(query);
    assert_int_equal(calls, 2);
    assert_int_equal(query->n_tasks, 1);
    assert_string_equal(query->tasks[0].task_id, first);
    assert_null(query->next);
    assert_int_equal(query->total, 0);
    assert_true(query->total_at_least);
    query_destroy(query);
    check_too_deep(service);
}

/* Every one of the service's tasks begins alike: too many to be gathered by their ids. */
void test_frequent_prefix(void **state) {
    (void)state;
    char service[SERVICE_CAP], prefix[TASK_TEXT_CAP];
    kit_service(service);
    create_bulks(service, LIST_COUNT_MAX / 1000, true);
    snprintf(prefix, sizeof prefix, "ts_%s_", service);
    for (int more = 0; more < 2; more++) {
        struct query *query = kit_list(service, 0, 5);
        query->filter.prefix = kit_dup(prefix);
        kit_query(query);
        assert_int_equal(query->n_tasks, 5);
        assert_non_null(query->next);
        assert_int_equal(query->total, LIST_COUNT_MAX);
        assert_int_equal(query->total_at_least, more);
        query_destroy(query);
        create_bulks(service, 1, true);
    }
}
