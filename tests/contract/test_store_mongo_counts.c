/* test_store_mongo_counts.c: the counters of tasks that the MongoDB back end keeps beside them:
 * that they follow, that they are used where counting is dear, and that drift is found and
 * corrected.
 *
 * Needs LONGHAUL_TEST_MONGO_URI.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "store_kit.h"

#include <mongoc/mongoc.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MANY = 20500, BATCH = 500, PATIENCE_MS = 120000 };

static mongoc_client_t *client;
static mongoc_collection_t *tasks, *services;

static int setup(void **state) {
    if (kit_setup(state) != 0)
        return -1;
    const char *database = getenv("LONGHAUL_TEST_PLACE");
    client = mongoc_client_new(getenv("LONGHAUL_TEST_MONGO_URI"));
    tasks = mongoc_client_get_collection(client, database, "dev_task");
    services = mongoc_client_get_collection(client, database, "dev_task_service");
    return 0;
}

static int teardown(void **state) {
    mongoc_collection_destroy(tasks);
    mongoc_collection_destroy(services);
    mongoc_client_destroy(client);
    return kit_teardown(state);
}

static void update(bson_t *key, bson_t *change) {
    bson_error_t fault;
    if (!mongoc_collection_update_one(services, key, change, NULL, NULL, &fault))
        fail_msg("update: %s", fault.message);
    bson_destroy(key);
    bson_destroy(change);
}

/* The counter of a service, -1 where there is none. */
static int64_t counter(const char *service, const char *path) {
    bson_t *filter = BCON_NEW("_id", BCON_UTF8(service));
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(services, filter, NULL, NULL);
    const bson_t *doc;
    bson_iter_t top, iter;
    int64_t n = -1;
    if (mongoc_cursor_next(cursor, &doc) && bson_iter_init(&top, doc) &&
        bson_iter_find_descendant(&top, path, &iter))
        n = bson_iter_as_int64(&iter);
    mongoc_cursor_destroy(cursor);
    bson_destroy(filter);
    return n;
}

static void rest(int64_t until) {
    assert_true(clock_mono_ms() < until);
    nanosleep(&(struct timespec){.tv_nsec = 5 * 1000 * 1000}, NULL);
}

/* A thread of the store's tells it in its own time. */
static void await(const char *service, const char *path, int64_t n) {
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (counter(service, path) != n)
        rest(until);
}

static bool is_counted(void) {
    bson_t *filter = BCON_NEW("_id", BCON_INT32(0), "done_at", "{", "$gt", BCON_DATE_TIME(0), "}");
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(services, filter, NULL, NULL);
    const bson_t *doc;
    bool counted = mongoc_cursor_next(cursor, &doc);
    mongoc_cursor_destroy(cursor);
    bson_destroy(filter);
    return counted;
}

static void await_counted(void) {
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    while (!is_counted())
        rest(until);
}

/* Opens the store again as it is an hour after the last count. */
static void count_again(void) {
    await_counted();
    update(BCON_NEW("_id", BCON_INT32(0)),
           BCON_NEW("$set", "{", "at", BCON_DATE_TIME(0), "}", "$unset", "{", "done_at", "", "}"));
    kit_reopen();
    await_counted();
}

static void insert_foreign(const char *service, int number) {
    char id[64];
    bson_error_t fault;
    snprintf(id, sizeof id, "foreign_%s_%d", service, number);
    bson_t *doc = BCON_NEW("task_id", BCON_UTF8(id), "service", BCON_UTF8(service), "status",
                           "ready", "create_time", BCON_DATE_TIME(1700000000000));
    if (!mongoc_collection_insert_one(tasks, doc, NULL, NULL, &fault))
        fail_msg("insert: %s", fault.message);
    bson_destroy(doc);
}

static int64_t total_of(const char *service) {
    struct query *query = kit_list(service, 0, 1);
    kit_query(query);
    int64_t total = query->total;
    query_destroy(query);
    return total;
}

static int64_t count_of(const char *service, enum task_status status) {
    struct query *query = query_create(QUERY_COUNTS);
    kit_query(query);
    int64_t n = 0;
    for (size_t i = 0; i < query->n_counts; i++)
        if (strcmp(query->counts[i].service, service) == 0)
            n = query->counts[i].by_status[status];
    query_destroy(query);
    return n;
}

/* Every way into and out of a status. */
static void test_counters_follow(void **state) {
    (void)state;
    char service[SERVICE_CAP], ids[4][TASK_TEXT_CAP];
    kit_service(service);
    for (int i = 0; i < 4; i++)
        kit_new_task(service, i > 0, false, ids[i]);
    await(service, "counts.ready", 1);
    await(service, "counts.waiting", 3);
    assert_int_equal(kit_do(kit_op(OP_START, ids[0])), RC_OK);
    assert_int_equal(kit_do(kit_run_op(OP_CLAIM, ids[1], RUN_A)), RC_OK);
    struct op *take = kit_take(service, 1);
    assert_int_equal(kit_apply(take), RC_OK);
    assert_int_equal(take->n_tasks, 1);
    op_destroy(take);
    await(service, "counts.ready", 0);
    await(service, "counts.waiting", 2);
    await(service, "counts.running", 2);
    assert_int_equal(kit_do(kit_run_op(OP_FINISH, ids[1], RUN_A)), RC_OK);
    assert_int_equal(kit_do(kit_run_op(OP_FINISH, ids[1], RUN_A)), RC_OK); /* said again */
    assert_int_equal(kit_do(kit_run_op(OP_FAIL, ids[3], "")), RC_OK);
    await(service, "counts.running", 1);
    await(service, "counts.finished", 1);
    await(service, "counts.failed", 1);
    await(service, "counts.waiting", 1);
    await(service, "moved.running", 3);
}

/* A refused create, and one whose id stands already, count for nothing. */
static void test_what_is_refused_is_not_counted(void **state) {
    (void)state;
    char service[SERVICE_CAP];
    kit_service(service);
    struct op *op = kit_create(service, 3, true, false);
    struct service_rules *rules = kit_rules(service, false, 0, 2);
    memcpy(op->tasks[1].task_id, op->tasks[0].task_id, TASK_TEXT_CAP);
    op->rules = rules;
    assert_int_equal(kit_apply(op), RC_OK);
    assert_int_equal(op->task_rc[1], RC_INTERNAL);
    assert_int_equal(op->task_rc[2], RC_QUEUE_FULL);
    await(service, "counts.waiting", 1);
    op_destroy(op);
    service_rules_unref(rules);
}

/* What a process did not tell, and what other programs wrote, is found once an hour. */
static void test_drift_is_corrected(void **state) {
    (void)state;
    char service[SERVICE_CAP], foreign[SERVICE_CAP], gone[SERVICE_CAP];
    kit_service(service);
    kit_service(foreign);
    kit_service(gone);
    assert_int_equal(kit_do(kit_create(service, 5, true, false)), RC_OK);
    await(service, "counts.waiting", 5);
    update(BCON_NEW("_id", BCON_UTF8(service)),
           BCON_NEW("$inc", "{", "counts.waiting", BCON_INT64(-2), "counts.running", BCON_INT64(7),
                    "}"));
    for (int i = 0; i < 3; i++)
        insert_foreign(foreign, i);
    assert_int_equal(kit_do(kit_create(gone, 2, true, false)), RC_OK);
    await(gone, "counts.waiting", 2);
    bson_t *all = BCON_NEW("service", BCON_UTF8(gone));
    assert_true(mongoc_collection_delete_many(tasks, all, NULL, NULL, NULL));
    bson_destroy(all);
    count_again();
    await(service, "counts.waiting", 5);
    await(service, "counts.running", 0);
    await(foreign, "counts.ready", 3);
    await(gone, "counts.waiting", 0);
}

/* An hour has not passed: nobody counts. */
static void test_one_counts_once_an_hour(void **state) {
    (void)state;
    char service[SERVICE_CAP];
    kit_service(service);
    await_counted();
    assert_int_equal(kit_do(kit_create(service, 1, true, false)), RC_OK);
    await(service, "counts.waiting", 1);
    update(BCON_NEW("_id", BCON_UTF8(service)),
           BCON_NEW("$inc", "{", "counts.waiting", BCON_INT64(10), "}"));
    kit_reopen();
    assert_int_equal(kit_do(kit_create(service, 1, true, false)), RC_OK);
    await(service, "counts.waiting", 12);
    assert_int_equal(total_of(service), 2); /* few are counted on the server */
}

/* Many are not counted on the server, but for the limits that are smaller. */
static void test_many_are_not_counted(void **state) {
    (void)state;
    char service[SERVICE_CAP];
    kit_service(service);
    await_counted();
    for (int i = 0; i < MANY / BATCH; i++)
        assert_int_equal(kit_do(kit_create(service, BATCH, true, false)), RC_OK);
    assert_int_equal(total_of(service), MANY);
    for (int i = 0; i < 3; i++)
        insert_foreign(service, i);
    assert_int_equal(total_of(service), MANY);
    await(service, "counts.waiting", MANY);
    assert_int_equal(count_of(service, TASK_WAITING), MANY);
    assert_int_equal(count_of(service, TASK_READY), 0);
    struct service_rules *room = kit_rules(service, false, 0, MANY + 1);
    struct op *op = kit_create(service, 2, true, false);
    op->rules = room;
    assert_int_equal(kit_apply(op), RC_OK);
    assert_int_equal(op->task_rc[0], RC_OK);
    assert_int_equal(op->task_rc[1], RC_QUEUE_FULL);
    op_destroy(op);
    service_rules_unref(room);
    count_again();
    assert_int_equal(total_of(service), MANY + 4);
    assert_int_equal(count_of(service, TASK_READY), 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counters_follow),
        cmocka_unit_test(test_what_is_refused_is_not_counted),
        cmocka_unit_test(test_drift_is_corrected),
        cmocka_unit_test(test_one_counts_once_an_hour),
        cmocka_unit_test(test_many_are_not_counted),
    };
    if (!getenv("LONGHAUL_TEST_MONGO_URI")) {
        fprintf(stderr, "LONGHAUL_TEST_MONGO_URI names no server\n");
        return 77;
    }
    setenv("LONGHAUL_TEST_STORE", "mongodb", 1);
    mongoc_init();
    return cmocka_run_group_tests(tests, setup, teardown);
}
