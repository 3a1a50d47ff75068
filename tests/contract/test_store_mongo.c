/* test_store_mongo.c: what only the MongoDB back end has: the shape of documents, documents of
 * other programs, values that BSON cannot hold, servers that are not there or cannot serve.
 *
 * Needs LONGHAUL_TEST_MONGO_URI; the shape is read through the driver itself, as another program
 * would.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "store_kit.h"

#include <mongoc/mongoc.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mongoc_client_t *client;
static mongoc_collection_t *tasks;

/* The driver's own view of the collection that the kit's store uses. */
static int setup(void **state) {
    if (kit_setup(state) != 0)
        return -1;
    client = mongoc_client_new(getenv("LONGHAUL_TEST_MONGO_URI"));
    tasks = mongoc_client_get_collection(client, getenv("LONGHAUL_TEST_PLACE"), "dev_task");
    return 0;
}

static int teardown(void **state) {
    mongoc_collection_destroy(tasks);
    mongoc_client_destroy(client);
    return kit_teardown(state);
}

/* ---- the driver's side ---- */

static void insert_into(mongoc_collection_t *to, bson_t *doc) {
    bson_error_t fault;
    if (!mongoc_collection_insert_one(to, doc, NULL, NULL, &fault))
        fail_msg("insert: %s", fault.message);
    bson_destroy(doc);
}

static bson_t *document_of(const char *task_id) {
    bson_t *filter = BCON_NEW("task_id", BCON_UTF8(task_id));
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(tasks, filter, NULL, NULL);
    const bson_t *doc;
    assert_true(mongoc_cursor_next(cursor, &doc));
    bson_t *copy = bson_copy(doc);
    mongoc_cursor_destroy(cursor);
    bson_destroy(filter);
    return copy;
}

static void set_field(const char *task_id, bson_t *set) {
    bson_t *filter = BCON_NEW("task_id", BCON_UTF8(task_id));
    bson_t *update = BCON_NEW("$set", BCON_DOCUMENT(set));
    bson_error_t fault;
    if (!mongoc_collection_update_one(tasks, filter, update, NULL, NULL, &fault))
        fail_msg("update: %s", fault.message);
    bson_destroy(filter);
    bson_destroy(update);
    bson_destroy(set);
}

static bson_type_t type_at(const bson_t *doc, const char *path) {
    bson_iter_t top, iter;
    if (!bson_iter_init(&top, doc) || !bson_iter_find_descendant(&top, path, &iter))
        return BSON_TYPE_EOD;
    return bson_iter_type(&iter);
}

static const char *text_at(const bson_t *doc, const char *path) {
    bson_iter_t top, iter;
    if (!bson_iter_init(&top, doc) || !bson_iter_find_descendant(&top, path, &iter) ||
        !BSON_ITER_HOLDS_UTF8(&iter))
        return "(none)";
    return bson_iter_utf8(&iter, NULL);
}

struct expected_type {
    const char *path;
    bson_type_t type;
};

static void assert_types(const bson_t *doc, const struct expected_type *types, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (type_at(doc, types[i].path) != types[i].type)
            fail_msg("%s has type %#x, not %#x", types[i].path,
                     (unsigned)type_at(doc, types[i].path), (unsigned)types[i].type);
}

/* A document as the base contract's own service writes it. */
static bson_t *base_document(const char *task_id, const char *service, const char *status) {
    return BCON_NEW("task_id", BCON_UTF8(task_id), "status", BCON_UTF8(status), "service",
                    BCON_UTF8(service), "source_name", "mongo", "condition", "{", "x", "x", "when",
                    BCON_DATE_TIME(0), "}", "create_time", BCON_DATE_TIME(1700000000000),
                    "start_time", BCON_NULL, "end_time", BCON_NULL, "status_message", "{", "failed",
                    BCON_NULL, "running", BCON_NULL, "finished", BCON_NULL, "}");
}

/* ---- our documents, read by others ---- */

static void test_new_document(void **state) {
    (void)state;
    static const struct expected_type types[] = {
        {"_id", BSON_TYPE_OID},
        {"task_id", BSON_TYPE_UTF8},
        {"status", BSON_TYPE_UTF8},
        {"service", BSON_TYPE_UTF8},
        {"source_name", BSON_TYPE_UTF8},
        {"condition", BSON_TYPE_DOCUMENT},
        {"condition.n", BSON_TYPE_INT32},
        {"condition.big", BSON_TYPE_INT64},
        {"condition.real", BSON_TYPE_DOUBLE},
        {"condition.list", BSON_TYPE_ARRAY},
        {"condition_json", BSON_TYPE_EOD},
        {"create_time", BSON_TYPE_DATE_TIME},
        {"start_time", BSON_TYPE_NULL},
        {"end_time", BSON_TYPE_NULL},
        {"status_message.failed", BSON_TYPE_NULL},
        {"status_message.running", BSON_TYPE_NULL},
        {"status_message.finished", BSON_TYPE_NULL},
        {"lh", BSON_TYPE_INT32},
        {"result", BSON_TYPE_EOD},
    };
    char service[SERVICE_CAP];
    kit_service(service);
    struct op *op = kit_create(service, 1, true, false);
    const char *condition = "{\"n\":1,\"big\":9007199254740993,\"real\":1.0,\"list\":[true]}";
    kit_set_condition(op, 0, condition, strlen(condition));
    assert_int_equal(kit_apply(op), RC_OK);
    bson_t *doc = document_of(op->tasks[0].task_id);
    assert_types(doc, types, LH_COUNT(types));
    assert_string_equal(text_at(doc, "status"), "waiting");
    assert_string_equal(text_at(doc, "service"), service);
    bson_destroy(doc);
    op_destroy(op);
}

static void test_finished_document(void **state) {
    (void)state;
    static const struct expected_type types[] = {
        {"start_time", BSON_TYPE_DATE_TIME},       {"end_time", BSON_TYPE_DATE_TIME},
        {"status_message.failed", BSON_TYPE_NULL}, {"result", BSON_TYPE_DOCUMENT},
        {"result.words", BSON_TYPE_INT32},         {"result_json", BSON_TYPE_EOD},
    };
    char service[SERVICE_CAP], id[TASK_TEXT_CAP];
    kit_service(service);
    kit_new_task(service, true, false, id);
    struct op *op = kit_run_op(OP_CLAIM, id, "");
    op->message = kit_dup("begun");
    assert_int_equal(kit_do(op), RC_OK);
    op = kit_run_op(OP_FINISH, id, "");
    op->message = kit_dup("done");
    op->value = kit_dup("{\"words\":7}");
    op->value_len = strlen(op->value);
    assert_int_equal(kit_do(op), RC_OK);
    bson_t *doc = document_of(id);
    assert_types(doc, types, LH_COUNT(types));
    assert_string_equal(text_at(doc, "status"), "finished");
    assert_string_equal(text_at(doc, "status_message.running"), "begun");
    assert_string_equal(text_at(doc, "status_message.finished"), "done");
    bson_destroy(doc);
}

/* ---- values that BSON cannot hold ---- */

static void assert_condition(const char *task_id, const char *json) {
    struct task task = kit_get(task_id);
    assert_true(kit_same_json(task.condition, task.condition_len, json, strlen(json)));
    task_finish(&task);
}

static void test_exact_text_until_written_again(void **state) {
    (void)state;
    const char *odd = "{\"a.b\":1,\"$date\":5,\"\":[{\"$x\":1.0}]}";
    char service[SERVICE_CAP];
    kit_service(service);
    struct op *op = kit_create(service, 1, false, false);
    const char *id = op->tasks[0].task_id;
    kit_set_condition(op, 0, odd, strlen(odd));
    assert_int_equal(kit_apply(op), RC_OK);
    bson_t *doc = document_of(id);
    assert_string_equal(text_at(doc, "condition_json"), odd);
    assert_int_equal(type_at(doc, "condition"), BSON_TYPE_DOCUMENT);
    bson_destroy(doc);
    assert_condition(id, odd);

    set_field(id, BCON_NEW("condition", "{", "by", "another program", "}"));
    assert_condition(id, "{\"by\":\"another program\"}");

    struct op *edit = kit_op(OP_EDIT, id);
    edit->value = kit_dup("[1.0]");
    edit->value_len = strlen(edit->value);
    assert_int_equal(kit_do(edit), RC_OK);
    doc = document_of(id);
    assert_int_equal(type_at(doc, "condition_json"), BSON_TYPE_EOD);
    bson_destroy(doc);
    assert_condition(id, "[1.0]");
    op_destroy(op);
}

/* ---- notes of deliveries, which read nothing where this store has just made the task ---- */

/* Makes a task whose message is on the way; the op that notes its delivery. */
static struct op *fresh_delivered(char ret_id[TASK_TEXT_CAP]) {
    char service[SERVICE_CAP];
    kit_service(service);
    struct op *made = kit_create(service, 1, true, true);
    assert_int_equal(kit_apply(made), RC_OK);
    memcpy(ret_id, made->tasks[0].task_id, TASK_TEXT_CAP);
    struct op *op = op_create_for(OP_DELIVERED, ret_id, made->tasks[0].oid);
    op->now_ms = kit_now();
    op->broker = true;
    op->outbox_seq = made->tasks[0].outbox_seq;
    op_destroy(made);
    return op;
}

static void assert_delivered(const char *id, enum task_status status) {
    struct task task = kit_get(id);
    assert_int_equal(task.status, status);
    assert_false(task.outbox_pending);
    assert_true(kit_same_json(task.condition, task.condition_len, "{\"a\":1}", 7));
    task_finish(&task);
}

static void test_fresh_task_is_delivered(void **state) {
    (void)state;
    char id[TASK_TEXT_CAP];
    assert_int_equal(kit_do(fresh_delivered(id)), RC_OK);
    assert_delivered(id, TASK_WAITING);
}

/* Another process was ahead: the guard is lost, the task read. */
static void test_fresh_task_is_claimed_elsewhere(void **state) {
    (void)state;
    char id[TASK_TEXT_CAP];
    struct op *delivered = fresh_delivered(id);
    struct store *other = kit_open();
    struct op *claim = kit_run_op(OP_CLAIM, id, RUN_A);
    struct error err;
    assert_int_equal(store_apply(other, &claim, 1, &err), RC_OK);
    assert_int_equal(claim->rc, RC_OK);
    op_destroy(claim);
    assert_int_equal(kit_do(delivered), RC_OK);
    assert_delivered(id, TASK_RUNNING);
    store_destroy(other);
}

/* So it is where another program says nothing in `rev`. */
static void test_fresh_task_is_changed_by_another_program(void **state) {
    (void)state;
    char id[TASK_TEXT_CAP];
    struct op *delivered = fresh_delivered(id);
    set_field(id, BCON_NEW("status", BCON_UTF8("finished")));
    assert_int_equal(kit_do(delivered), RC_OK);
    assert_delivered(id, TASK_FINISHED);
}

/* ---- documents of other programs ---- */

static void test_foreign_is_read(void **state) {
    (void)state;
    char service[SERVICE_CAP];
    kit_service(service);
    bson_t *doc = base_document("ts_f_read", service, "failed");
    BSON_APPEND_UTF8(doc, "extra", "left alone");
    insert_into(tasks, doc);
    struct task task = kit_get("ts_f_read");
    assert_int_equal(task.status, TASK_FAILED);
    assert_true(task.foreign);
    assert_string_equal(task.source_name, "mongo");
    assert_int_equal(task.create_at, 1700000000000);
    task_finish(&task);
    assert_condition("ts_f_read", "{\"x\":\"x\",\"when\":\"1970-01-01T00:00:00.000Z\"}");
    struct query *query = kit_list(service, 0, 10);
    kit_query(query);
    assert_int_equal(query->total, 1);
    assert_int_equal(query->n_tasks, 1);
    query_destroy(query);
}

static void test_foreign_is_adopted(void **state) {
    (void)state;
    static const struct {
        enum op_kind kind;
        const char *status;
        enum task_status after;
    } cases[] = {
        {OP_CLAIM, "waiting", TASK_RUNNING},   {OP_CLAIM, "ready", TASK_RUNNING},
        {OP_FINISH, "running", TASK_FINISHED}, {OP_START, "finished", TASK_WAITING},
        {OP_START, "ready", TASK_WAITING},     {OP_EDIT, "failed", TASK_FAILED},
    };
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        char service[SERVICE_CAP], id[32];
        kit_service(service);
        snprintf(id, sizeof id, "ts_f_adopt_%zu", i);
        bson_t *doc = base_document(id, service, cases[i].status);
        BSON_APPEND_UTF8(doc, "extra", "left alone");
        insert_into(tasks, doc);
        struct op *op = kit_op(cases[i].kind, id);
        if (op->kind == OP_EDIT) {
            op->value = kit_dup("7");
            op->value_len = 1;
        }
        assert_int_equal(kit_do(op), RC_OK);
        doc = document_of(id);
        assert_int_equal(type_at(doc, "lh"), BSON_TYPE_INT32);
        assert_string_equal(text_at(doc, "extra"), "left alone");
        bson_destroy(doc);
        struct task task = kit_get(id);
        assert_int_equal(task.status, cases[i].after);
        assert_false(task.foreign);
        assert_int_equal(task.create_at, 1700000000000);
        task_finish(&task);
    }
}

/* Waiting work is taken; what is ready may have a message on its way and is left to its claim. */
static void test_foreign_is_taken_when_waiting(void **state) {
    (void)state;
    char service[SERVICE_CAP];
    kit_service(service);
    insert_into(tasks, base_document("ts_f_ready", service, "ready"));
    insert_into(tasks, base_document("ts_f_waiting", service, "waiting"));
    struct op *op = kit_take(service, 5);
    assert_int_equal(kit_apply(op), RC_OK);
    assert_int_equal(op->n_tasks, 1);
    assert_string_equal(op->tasks[0].task_id, "ts_f_waiting");
    op_destroy(op);
}

/* Two claims of one base-contract document, each by its own store: one holds it. */
static void test_foreign_is_claimed_once(void **state) {
    (void)state;
    char service[SERVICE_CAP];
    kit_service(service);
    insert_into(tasks, base_document("ts_f_once", service, "waiting"));
    assert_int_equal(kit_do(kit_run_op(OP_CLAIM, "ts_f_once", RUN_A)), RC_OK);
    struct store *other = kit_open();
    struct op *op = kit_run_op(OP_CLAIM, "ts_f_once", RUN_B);
    struct error err;
    assert_int_equal(store_apply(other, &op, 1, &err), RC_OK);
    assert_int_equal(op->rc, RC_ALREADY_CLAIMED);
    op_destroy(op);
    store_destroy(other);
}

static void test_foreign_with_another_id(void **state) {
    (void)state;
    char service[SERVICE_CAP];
    kit_service(service);
    bson_t *doc = base_document("ts_f_id", service, "waiting");
    BSON_APPEND_UTF8(doc, "_id", "no ObjectId");
    insert_into(tasks, doc);
    assert_int_equal(kit_do(kit_run_op(OP_CLAIM, "ts_f_id", RUN_A)), RC_OK);
    assert_int_equal(kit_do(kit_run_op(OP_FINISH, "ts_f_id", RUN_A)), RC_OK);
    struct task task = kit_get("ts_f_id");
    assert_int_equal(task.status, TASK_FINISHED);
    task_finish(&task);
}

static void test_what_is_no_task_is_left_out(void **state) {
    (void)state;
    char service[SERVICE_CAP];
    kit_service(service);
    insert_into(tasks, base_document("ts_f_odd", service, "cancelled"));
    struct task task = kit_get("ts_f_odd");
    assert_string_equal(task.task_id, "");
    task_finish(&task);
    assert_int_equal(kit_do(kit_run_op(OP_CLAIM, "ts_f_odd", RUN_A)), RC_UNKNOWN_TASK);
    struct query *query = kit_list(service, 0, 10);
    kit_query(query);
    assert_int_equal(query->total, 0);
    assert_int_equal(query->n_tasks, 0);
    query_destroy(query);
}

static void test_foreign_has_no_outbox(void **state) {
    (void)state;
    char service[SERVICE_CAP];
    kit_service(service);
    insert_into(tasks, base_document("ts_f_outbox", service, "ready"));
    struct query *query = query_create(QUERY_OUTBOX);
    query->limit = 1000;
    query->picked_before_ms = INT64_MAX / 2;
    kit_query(query);
    for (size_t i = 0; i < query->n_tasks; i++)
        assert_string_not_equal(query->tasks[i].task_id, "ts_f_outbox");
    query_destroy(query);
}

/* ---- leases and workers ---- */

enum { LEASE_MS = 30000 };

static struct op *lease_op(enum op_kind kind, const char *task_id, const char *run_id) {
    struct op *op = kit_run_op(kind, task_id, run_id);
    op->lease_ms = LEASE_MS;
    op->max_crashes = 3;
    return op;
}

/* A task that RUN_A holds. */
static void claimed_task(char ret_id[TASK_TEXT_CAP]) {
    char service[SERVICE_CAP];
    kit_service(service);
    kit_new_task(service, true, false, ret_id);
    assert_int_equal(kit_do(lease_op(OP_CLAIM, ret_id, RUN_A)), RC_OK);
}

static bool is_lapsed(const char *task_id, int64_t before_ms) {
    struct query *query = query_create(QUERY_LAPSED);
    query->limit = 1000;
    query->lapsed_before_ms = before_ms;
    kit_query(query);
    bool found = false;
    for (size_t i = 0; i < query->n_tasks; i++)
        found |= strcmp(query->tasks[i].task_id, task_id) == 0;
    query_destroy(query);
    return found;
}

static void test_lease_document(void **state) {
    (void)state;
    static const struct expected_type held[] = {
        {"lease.until", BSON_TYPE_DATE_TIME}, {"lease.beaten", BSON_TYPE_BOOL},
        {"lease.crashes", BSON_TYPE_INT64},   {"lease.undelivered", BSON_TYPE_INT64},
        {"lease.lapse", BSON_TYPE_NULL},      {"status_message.running", BSON_TYPE_UTF8},
        {"condition", BSON_TYPE_DOCUMENT},    {"start_time", BSON_TYPE_DATE_TIME},
    };
    static const struct expected_type ended[] = {{"lease.until", BSON_TYPE_NULL},
                                                 {"lease.crashes", BSON_TYPE_INT64}};
    char service[SERVICE_CAP], id[TASK_TEXT_CAP];
    kit_service(service);
    kit_new_task(service, true, false, id);
    bson_t *doc = document_of(id);
    assert_types(doc, ended, LH_COUNT(ended));
    bson_destroy(doc);
    struct op *claim = lease_op(OP_CLAIM, id, RUN_A);
    claim->message = kit_dup("begun");
    assert_int_equal(kit_do(claim), RC_OK);
    assert_int_equal(kit_do(lease_op(OP_HEARTBEAT, id, RUN_A)), RC_OK);
    doc = document_of(id);
    assert_types(doc, held, LH_COUNT(held));
    assert_string_equal(text_at(doc, "sub_status"), "started");
    assert_string_equal(text_at(doc, "status_message.running"), "begun");
    bson_destroy(doc);
    assert_int_equal(kit_do(kit_run_op(OP_FINISH, id, RUN_A)), RC_OK);
    doc = document_of(id);
    assert_types(doc, ended, LH_COUNT(ended));
    bson_destroy(doc);
}

/* Written before there were leases: no lease, until the run's next heartbeat. */
static void test_lease_of_a_document_of_before(void **state) {
    (void)state;
    char id[TASK_TEXT_CAP];
    claimed_task(id);
    bson_t *filter = BCON_NEW("task_id", BCON_UTF8(id));
    bson_t *update = BCON_NEW("$unset", "{", "lease", BCON_BOOL(true), "}");
    bson_error_t fault;
    assert_true(mongoc_collection_update_one(tasks, filter, update, NULL, NULL, &fault));
    bson_destroy(filter);
    bson_destroy(update);
    struct task task = kit_get(id);
    assert_int_equal(task.lease_until, 0);
    assert_int_equal(task.crashes + task.undelivered, 0);
    assert_false(task.beaten);
    assert_int_equal(task.lapse, LAPSE_NONE);
    task_finish(&task);
    assert_false(is_lapsed(id, INT64_MAX / 2));
    assert_int_equal(kit_do(lease_op(OP_HEARTBEAT, id, RUN_A)), RC_OK);
    assert_true(is_lapsed(id, INT64_MAX / 2));
}

static void test_lapsed_are_ours_and_running(void **state) {
    (void)state;
    char service[SERVICE_CAP], id[TASK_TEXT_CAP];
    kit_service(service);
    bson_t *doc = base_document("ts_f_lease", service, "running");
    BCON_APPEND(doc, "lease", "{", "until", BCON_DATE_TIME(1000), "}");
    insert_into(tasks, doc);
    assert_false(is_lapsed("ts_f_lease", INT64_MAX / 2));
    claimed_task(id);
    struct task task = kit_get(id);
    int64_t until = task.lease_until;
    task_finish(&task);
    assert_false(is_lapsed(id, until - 1));
    assert_true(is_lapsed(id, until));
    assert_int_equal(kit_do(lease_op(OP_HAND_BACK, id, RUN_A)), RC_OK);
    assert_false(is_lapsed(id, INT64_MAX / 2));
}

/* The counts and the lapse come back from the document: the run takes its task back. */
static void test_lapse_and_take_back(void **state) {
    (void)state;
    char id[TASK_TEXT_CAP];
    claimed_task(id);
    assert_int_equal(kit_do(lease_op(OP_HEARTBEAT, id, RUN_A)), RC_OK);
    struct op *op = lease_op(OP_LAPSE, id, RUN_A);
    op->now_ms += LEASE_MS + 1000;
    assert_int_equal(kit_do(op), RC_OK);
    bson_t *doc = document_of(id);
    assert_string_equal(text_at(doc, "lease.lapse"), "crash");
    assert_string_equal(text_at(doc, "status"), "waiting");
    bson_destroy(doc);
    struct task task = kit_get(id);
    assert_int_equal(task.crashes, 1);
    assert_int_equal(task.lapse, LAPSE_CRASH);
    assert_true(task.beaten);
    task_finish(&task);
    assert_int_equal(kit_do(lease_op(OP_HEARTBEAT, id, RUN_B)), RC_STALE_RUN);
    assert_int_equal(kit_do(lease_op(OP_HEARTBEAT, id, RUN_A)), RC_OK);
    doc = document_of(id);
    assert_string_equal(text_at(doc, "status"), "running");
    assert_string_equal(text_at(doc, "lease.lapse"), "(none)");
    bson_destroy(doc);
    task = kit_get(id);
    assert_int_equal(task.crashes, 0);
    task_finish(&task);
}

/* Heartbeats do not fetch conditions, the claim beside them does; none is harmed. */
static void test_heartbeats_beside_a_claim(void **state) {
    (void)state;
    static const char odd[] = "{\"a.b\":1}";
    char service[SERVICE_CAP], held[TASK_TEXT_CAP];
    kit_service(service);
    claimed_task(held);
    struct op *create = kit_create(service, 2, true, false);
    kit_set_condition(create, 0, odd, sizeof odd - 1);
    kit_set_condition(create, 1, odd, sizeof odd - 1);
    assert_int_equal(kit_apply(create), RC_OK);
    assert_int_equal(kit_do(lease_op(OP_CLAIM, create->tasks[1].task_id, RUN_B)), RC_OK);
    struct op *ops[] = {
        lease_op(OP_HEARTBEAT, held, RUN_A),
        lease_op(OP_CLAIM, create->tasks[0].task_id, RUN_B),
        lease_op(OP_HEARTBEAT, create->tasks[1].task_id, RUN_B),
        lease_op(OP_HEARTBEAT, create->tasks[0].task_id, RUN_B),
        lease_op(OP_HEARTBEAT, held, RUN_B),
    };
    static const enum rc expected[] = {RC_OK, RC_OK, RC_OK, RC_OK, RC_STALE_RUN};
    struct error err;
    assert_int_equal(store_apply(kit_store, ops, LH_COUNT(ops), &err), RC_OK);
    assert_true(kit_same_json(ops[1]->tasks[0].condition, ops[1]->tasks[0].condition_len, odd,
                              sizeof odd - 1));
    for (size_t i = 0; i < LH_COUNT(ops); i++) {
        assert_int_equal(ops[i]->rc, expected[i]);
        assert_int_equal(ops[i]->n_tasks, 1);
        assert_int_equal(ops[i]->tasks[0].lease_until != 0, true);
        op_destroy(ops[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        struct task task = kit_get(create->tasks[i].task_id);
        assert_true(kit_same_json(task.condition, task.condition_len, odd, sizeof odd - 1));
        assert_int_equal(task.sub, SUB_STARTED);
        task_finish(&task);
    }
    op_destroy(create);
}

static struct op *worker_op(const char *id, const char *value) {
    struct op *op = kit_op(OP_WORKER, NULL);
    assert_true(mem_copy_str(op->worker_id, sizeof op->worker_id, id));
    op->value = kit_dup(value);
    op->value_len = strlen(value);
    return op;
}

/* One document per worker, whose last word in a batch stands, also for keys that BSON dislikes. */
static void test_worker_document(void **state) {
    (void)state;
    static const char last[] = "{\"id\":\"w-doc\",\"slots\":2,\"$odd\":{\"a.b\":1.50}}";
    struct op *ops[] = {worker_op("w-doc", "{\"slots\":1}"), worker_op("w-doc", last)};
    int64_t seen_at = ops[1]->now_ms;
    struct error err;
    for (size_t i = 0; i < 2; i++) /* said again, nothing changes */
        assert_int_equal(store_apply(kit_store, ops, LH_COUNT(ops), &err), RC_OK);
    for (size_t i = 0; i < LH_COUNT(ops); i++) {
        assert_int_equal(ops[i]->rc, RC_OK);
        op_destroy(ops[i]);
    }
    mongoc_collection_t *workers =
        mongoc_client_get_collection(client, getenv("LONGHAUL_TEST_PLACE"), "dev_task_worker");
    bson_t *filter = BCON_NEW("_id", "w-doc");
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(workers, filter, NULL, NULL);
    const bson_t *doc;
    assert_true(mongoc_cursor_next(cursor, &doc));
    static const struct expected_type types[] = {{"seen_at", BSON_TYPE_DATE_TIME},
                                                 {"value.slots", BSON_TYPE_INT32}};
    assert_types(doc, types, LH_COUNT(types));
    assert_string_equal(text_at(doc, "value_json"), last);
    assert_false(mongoc_cursor_next(cursor, &doc));
    mongoc_cursor_destroy(cursor);
    bson_destroy(filter);
    mongoc_collection_destroy(workers);
    for (int64_t later = 0; later < 2; later++) {
        struct query *query = query_create(QUERY_WORKERS);
        query->seen_since_ms = seen_at + later;
        kit_query(query);
        assert_int_equal(query->n_workers, 1 - later);
        if (!later) {
            assert_int_equal(query->workers[0].seen_at, seen_at);
            assert_string_equal(query->workers[0].id, "w-doc");
            assert_int_equal(query->workers[0].value_len, sizeof last - 1);
            assert_memory_equal(query->workers[0].value, last, sizeof last - 1);
        }
        query_destroy(query);
    }
}

/* ---- servers and collections that cannot serve ---- */

static struct config config_of(char *uri, char *dbname) {
    struct config cfg = {.env = ENV_TEST, .store = STORE_MONGODB};
    cfg.mongo.uri = uri;
    cfg.mongo.dbname = dbname;
    return cfg;
}

/* A database of its own beside the run's, to be dropped by the caller. */
static mongoc_database_t *other_database(const char *suffix, char ret_name[80]) {
    snprintf(ret_name, 80, "%.60s_%s", getenv("LONGHAUL_TEST_PLACE"), suffix);
    return mongoc_client_get_database(client, ret_name);
}

static void drop(mongoc_database_t *database) {
    bson_error_t fault;
    assert_true(mongoc_database_drop(database, &fault));
    mongoc_database_destroy(database);
}

static void test_duplicates_stop_the_start(void **state) {
    (void)state;
    char name[80];
    mongoc_database_t *database = other_database("dup", name);
    mongoc_collection_t *collection = mongoc_database_get_collection(database, "dev_task");
    for (int i = 0; i < 2; i++)
        insert_into(collection, base_document("ts_twice", "a", "waiting"));
    insert_into(collection, base_document("ts_single", "a", "waiting"));
    struct config cfg = config_of(getenv("LONGHAUL_TEST_MONGO_URI"), name);
    struct store *store = NULL;
    struct error err = {0};
    assert_int_equal(store_open(&cfg, 1, &store, &err), RC_CONFIG);
    assert_non_null(strstr(err.text, "\"ts_twice\""));
    mongoc_collection_destroy(collection);
    drop(database);
}

/* An index that stands already, and does not say unique, is left; nothing stands twice, so it
 * serves. */
static void test_a_plain_index_is_tolerated(void **state) {
    (void)state;
    char name[80];
    mongoc_database_t *database = other_database("idx", name);
    bson_t *command = BCON_NEW("createIndexes", "dev_task", "indexes", "[", "{", "key", "{",
                               "task_id", BCON_INT32(1), "}", "name", "task_id_1", "}", "]");
    bson_error_t fault;
    assert_true(mongoc_database_write_command_with_opts(database, command, NULL, NULL, &fault));
    bson_destroy(command);
    struct config cfg = config_of(getenv("LONGHAUL_TEST_MONGO_URI"), name);
    struct store *store = NULL;
    struct error err = {0};
    assert_int_equal(store_open(&cfg, 1, &store, &err), RC_OK);
    struct op *op = kit_create("a", 1, true, false);
    assert_int_equal(store_apply(store, &op, 1, &err), RC_OK);
    op_destroy(op);
    store_destroy(store);
    drop(database);
}

static void test_a_server_that_is_not_there(void **state) {
    (void)state;
    char uri[] = "mongodb://127.0.0.1:1/", name[] = "nowhere";
    struct config cfg = config_of(uri, name);
    struct store *store = NULL;
    struct error err = {0};
    int64_t began = clock_mono_ms();
    assert_int_equal(store_open(&cfg, 1, &store, &err), RC_OK);
    struct op *op = kit_create("a", 1, true, false);
    assert_int_equal(store_apply(store, &op, 1, &err), RC_STORE_UNAVAILABLE);
    assert_int_equal(op->rc, RC_STORE_UNAVAILABLE);
    assert_int_equal(op->task_rc[0], RC_STORE_UNAVAILABLE);
    assert_true(err.text[0]);
    struct query *query = query_create(QUERY_PING);
    assert_int_equal(store_query(store, 0, &query, 1, &err), RC_STORE_UNAVAILABLE);
    assert_true(clock_mono_ms() - began < 15000);
    query_destroy(query);
    op_destroy(op);
    store_destroy(store);
}

static bool has_login(void) {
    return strchr(getenv("LONGHAUL_TEST_MONGO_URI"), '@') != NULL;
}

/* The parts of the configuration file instead of one URI. */
static void open_by_parts(const char *password, enum rc expected) {
    mongoc_uri_t *uri = mongoc_uri_new(getenv("LONGHAUL_TEST_MONGO_URI"));
    const mongoc_host_list_t *host = mongoc_uri_get_hosts(uri);
    struct config cfg = {.env = ENV_PRODUCTION, .store = STORE_MONGODB};
    char name[80];
    mongoc_database_t *database = other_database("parts", name);
    cfg.mongo = (struct config_mongo){
        .host = (char *)host->host,
        .port = host->port,
        .username = (char *)mongoc_uri_get_username(uri),
        .password = (char *)(password ? password : mongoc_uri_get_password(uri)),
        .dbname = name,
    };
    struct store *store = NULL;
    struct error err = {0};
    assert_int_equal(store_open(&cfg, 1, &store, &err), expected);
    if (expected == RC_OK) {
        struct op *op = kit_create("a", 1, true, false);
        assert_int_equal(store_apply(store, &op, 1, &err), RC_OK);
        op_destroy(op);
    } else {
        assert_null(strstr(err.text, password));
    }
    store_destroy(store);
    drop(database);
    mongoc_uri_destroy(uri);
}

static void test_parts_of_the_configuration(void **state) {
    (void)state;
    open_by_parts(NULL, RC_OK);
}

static void test_wrong_password(void **state) {
    (void)state;
    if (!has_login()) {
        print_message("the server at LONGHAUL_TEST_MONGO_URI has no login\n");
        skip();
    }
    open_by_parts("not-the-pa:ss@word/", RC_CONFIG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_document),
        cmocka_unit_test(test_finished_document),
        cmocka_unit_test(test_exact_text_until_written_again),
        cmocka_unit_test(test_foreign_is_read),
        cmocka_unit_test(test_foreign_is_adopted),
        cmocka_unit_test(test_foreign_is_taken_when_waiting),
        cmocka_unit_test(test_foreign_is_claimed_once),
        cmocka_unit_test(test_fresh_task_is_delivered),
        cmocka_unit_test(test_fresh_task_is_claimed_elsewhere),
        cmocka_unit_test(test_fresh_task_is_changed_by_another_program),
        cmocka_unit_test(test_foreign_with_another_id),
        cmocka_unit_test(test_what_is_no_task_is_left_out),
        cmocka_unit_test(test_foreign_has_no_outbox),
        cmocka_unit_test(test_lease_document),
        cmocka_unit_test(test_lease_of_a_document_of_before),
        cmocka_unit_test(test_lapsed_are_ours_and_running),
        cmocka_unit_test(test_lapse_and_take_back),
        cmocka_unit_test(test_heartbeats_beside_a_claim),
        cmocka_unit_test(test_worker_document),
        cmocka_unit_test(test_duplicates_stop_the_start),
        cmocka_unit_test(test_a_plain_index_is_tolerated),
        cmocka_unit_test(test_a_server_that_is_not_there),
        cmocka_unit_test(test_parts_of_the_configuration),
        cmocka_unit_test(test_wrong_password),
    };
    if (!getenv("LONGHAUL_TEST_MONGO_URI")) {
        fprintf(stderr, "LONGHAUL_TEST_MONGO_URI names no server\n");
        return 77;
    }
    setenv("LONGHAUL_TEST_STORE", "mongodb", 1);
    mongoc_init();
    return cmocka_run_group_tests(tests, setup, teardown);
}
