/* store_kit.c: see store_kit.h. */
#include "store_kit.h"

#include "base/clock.h"
#include "base/mem.h"
#include "store_mongo_db.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

struct store *kit_store;

static char place[64]; /* the folder, or the database's name */
static bool place_is_ours;
static struct config *cfg;

bool kit_is_mongodb(void) {
    const char *name = getenv("LONGHAUL_TEST_STORE");
    return name && strcmp(name, "mongodb") == 0;
}

static struct config *read_config(void) {
    const char *uri = getenv("LONGHAUL_TEST_MONGO_URI");
    char text[2048];
    if (kit_is_mongodb())
        snprintf(text, sizeof text,
                 "default_env: TEST\nservice: [a]\nstore: mongodb\nbroker: none\n"
                 "TEST:\n  MONGO_URI: '%s'\n  MONGO_DBNAME: '%s'\n",
                 uri, place);
    else
        snprintf(text, sizeof text, "default_env: TEST\nservice: [a]\nstore: 'sqlite:%s/t.db'\n",
                 place);
    struct error err = {0};
    struct config *ret = NULL;
    if (config_parse("/tmp/contract.yaml", text, strlen(text), &ret, &err) != RC_OK)
        fail_msg("%s", err.text);
    return ret;
}

/* The place of this run; a program that the run starts again gets it by environment. */
static void choose_place(void) {
    const char *given = getenv("LONGHAUL_TEST_PLACE");
    place_is_ours = !given;
    if (given) {
        assert_true(mem_copy_str(place, sizeof place, given));
        return;
    }
    snprintf(place, sizeof place, "/tmp/longhaul-store-XXXXXX");
    if (kit_is_mongodb())
        snprintf(place, sizeof place, "longhaul_test_%ld_%lld", (long)getpid(),
                 (long long)clock_now_ms());
    else
        assert_non_null(mkdtemp(place));
    setenv("LONGHAUL_TEST_PLACE", place, 1);
}

int kit_setup(void **state) {
    (void)state;
    choose_place();
    cfg = read_config();
    kit_store = kit_open();
    return 0;
}

static void remove_place(void) {
    static const char *const files[] = {"t.db", "t.db-wal", "t.db-shm", "t.db.lock"};
    char path[128];
    for (size_t i = 0; i < LH_COUNT(files); i++) {
        snprintf(path, sizeof path, "%s/%s", place, files[i]);
        unlink(path);
    }
    rmdir(place);
}

int kit_teardown(void **state) {
    (void)state;
    store_destroy(TAKE(kit_store));
    if (place_is_ours && kit_is_mongodb())
        store_mongo_db_drop(cfg->mongo.uri, place);
    else if (place_is_ours)
        remove_place();
    config_destroy(TAKE(cfg));
    return 0;
}

struct store *kit_open(void) {
    struct store *store = NULL;
    struct error err = {0};
    if (store_open(cfg, KIT_READERS, &store, &err) != RC_OK)
        fail_msg("%s", err.text);
    return store;
}

void kit_reopen(void) {
    store_destroy(TAKE(kit_store));
    kit_store = kit_open();
}

pid_t kit_spawn_self(const char *const *args, int *ret_fd) {
    char *argv[8] = {"test_store"};
    for (size_t i = 0; args[i] && i < LH_COUNT(argv) - 2; i++)
        argv[i + 1] = (char *)args[i];
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    pid_t pid = 0;
    assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    *ret_fd = fds[0];
    return pid;
}

int64_t kit_now(void) {
    static _Atomic int64_t last;
    int64_t now = clock_now_ms(), before = atomic_load(&last), next;
    do
        next = now > before ? now : before + 1;
    while (!atomic_compare_exchange_weak(&last, &before, next));
    return next;
}

void kit_service(char ret[SERVICE_CAP]) {
    static atomic_int number;
    snprintf(ret, SERVICE_CAP, "svc%d", atomic_fetch_add(&number, 1));
}

char *kit_dup(const char *text) {
    char *copy = mem_dup(text, strlen(text));
    assert_non_null(copy);
    return copy;
}

struct op *kit_op(enum op_kind kind, const char *task_id) {
    struct op *op = op_create(kind);
    assert_non_null(op);
    op->now_ms = kit_now();
    if (task_id)
        assert_true(mem_copy_str(op->task_id, sizeof op->task_id, task_id));
    return op;
}

struct op *kit_run_op(enum op_kind kind, const char *task_id, const char *run_id) {
    struct op *op = kit_op(kind, task_id);
    assert_true(mem_copy_str(op->run_id, sizeof op->run_id, run_id));
    return op;
}

struct op *kit_take(const char *service, size_t max) {
    struct op *op = kit_op(OP_TAKE, NULL);
    op->services = calloc(1, sizeof *op->services);
    op->services[0] = kit_dup(service);
    op->n_services = 1;
    op->max = max;
    return op;
}

struct op *kit_create(const char *service, size_t n, bool start, bool broker) {
    struct op *op = kit_op(OP_CREATE, NULL);
    op->broker = broker;
    op->tasks = calloc(n, sizeof *op->tasks);
    op->n_tasks = n;
    for (size_t i = 0; i < n; i++) {
        struct task *task = &op->tasks[i];
        assert_true(mem_copy_str(task->service, sizeof task->service, service));
        task->source_name = kit_dup("src");
        kit_set_condition(op, i, "{\"a\":1}", 7);
        task_init(task);
        lifecycle_new(task, &(struct lifecycle_start){
                                .held = !start, .broker = broker, .now_ms = op->now_ms});
    }
    return op;
}

struct service_rules *kit_rules(const char *service, bool paused, int64_t max_running,
                                int64_t max_waiting) {
    struct service_rule rule = {
        .paused = paused, .max_running = max_running, .max_waiting = max_waiting};
    assert_true(mem_copy_str(rule.name, sizeof rule.name, service));
    struct service_rules *rules = service_rules_create(&rule, 1);
    assert_non_null(rules);
    return rules;
}

void kit_set_condition(struct op *op, size_t i, const char *json, size_t len) {
    free(op->tasks[i].condition);
    op->tasks[i].condition = mem_dup(json, len);
    op->tasks[i].condition_len = len;
}

enum rc kit_apply(struct op *op) {
    struct error err = {0};
    if (store_apply(kit_store, &op, 1, &err) != RC_OK)
        fail_msg("%s: %s", op_kind_name(op->kind), err.text);
    return op->rc;
}

enum rc kit_do(struct op *op) {
    enum rc rc = kit_apply(op);
    op_destroy(op);
    return rc;
}

void kit_new_task(const char *service, bool start, bool broker, char ret_id[TASK_TEXT_CAP]) {
    struct op *op = kit_create(service, 1, start, broker);
    assert_int_equal(kit_apply(op), RC_OK);
    assert_int_equal(op->task_rc[0], RC_OK);
    memcpy(ret_id, op->tasks[0].task_id, TASK_TEXT_CAP);
    op_destroy(op);
}

void kit_query(struct query *query) {
    struct error err = {0};
    if (store_query(kit_store, 0, &query, 1, &err) != RC_OK)
        fail_msg("query: %s", err.text);
    assert_int_equal(query->rc, RC_OK);
}

struct query *kit_list(const char *service, int64_t skip, int64_t limit) {
    struct query *query = query_create(QUERY_LIST);
    assert_non_null(query);
    query->filter.services = calloc(1, sizeof *query->filter.services);
    if (service[0])
        query->filter.services[query->filter.n_services++] = kit_dup(service);
    query->want_condition = true;
    query->skip = skip;
    query->limit = limit;
    return query;
}

bool kit_same_json(const char *a, size_t a_len, const char *b, size_t b_len) {
    if (!a || !b)
        return !a && !b;
    return json_equal_text((struct json_span){a, a_len}, (struct json_span){b, b_len});
}

static void assert_same_text(const char *a, const char *b) {
    assert_string_equal(a ? a : "(none)", b ? b : "(none)");
}

static struct task get(const char *task_id, bool brief) {
    struct query *query = query_create(QUERY_BY_ID);
    query->ids = calloc(1, sizeof *query->ids);
    query->ids[0] = kit_dup(task_id);
    query->n_ids = 1;
    query->brief = brief;
    query->want_result = true;
    query->want_condition = query->want_past = !brief;
    kit_query(query);
    assert_int_equal(query->n_tasks, 1);
    struct task task = query->tasks[0];
    query->tasks[0] = (struct task){0};
    query_destroy(query);
    return task;
}

/* What a brief question has to tell. */
static void assert_same_brief(const struct task *a, const struct task *b) {
    assert_string_equal(a->task_id, b->task_id);
    assert_string_equal(a->service, b->service);
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->sub, b->sub);
    assert_int_equal(a->start_at, b->start_at);
    assert_int_equal(a->end_at, b->end_at);
    for (size_t i = 0; i < TASK_MESSAGES; i++)
        assert_same_text(a->message[i], b->message[i]);
    assert_int_equal(a->error_class, b->error_class);
    assert_same_text(a->error_text, b->error_text);
    assert_int_equal(a->attempt, b->attempt);
    assert_same_text(a->progress, b->progress);
    assert_true(kit_same_json(a->result, a->result_len, b->result, b->result_len));
}

struct task kit_get(const char *task_id) {
    struct task before = get(task_id, false), brief = get(task_id, true);
    struct task task = get(task_id, false);
    if (before.rev == task.rev) /* else somebody is changing it */
        assert_same_brief(&task, &brief);
    task_finish(&before);
    task_finish(&brief);
    return task;
}

static void assert_same_queued(const struct task_queued *a, const struct task_queued *b) {
    assert_int_equal(a->at, b->at);
    assert_int_equal(a->produced_at, b->produced_at);
    assert_same_text(a->place, b->place);
}

static void assert_same_runs(const struct task *a, const struct task *b) {
    assert_same_queued(&a->queued, &b->queued);
    assert_same_queued(&a->run.queued, &b->run.queued);
    assert_int_equal(a->run.claimed_at, b->run.claimed_at);
    assert_int_equal(a->run.started_at, b->run.started_at);
    assert_int_equal(a->run.output_at, b->run.output_at);
    assert_int_equal(a->run.silent, b->run.silent);
    assert_int_equal(a->run.ended_at, b->run.ended_at);
    assert_int_equal(a->run.end, b->run.end);
    assert_int_equal(a->run.lease_ms, b->run.lease_ms);
    assert_string_equal(a->run.worker, b->run.worker);
    assert_string_equal(a->claim_id, b->claim_id);
    assert_same_text(a->past, b->past);
    assert_same_text(a->progress, b->progress);
}

static void assert_same_fate(const struct task *a, const struct task *b) {
    assert_int_equal(a->priority, b->priority);
    assert_int_equal(a->rank, b->rank);
    assert_int_equal(a->expire_ms, b->expire_ms);
    assert_int_equal(a->timeout_ms, b->timeout_ms);
    assert_int_equal(a->max_attempts, b->max_attempts);
    assert_int_equal(a->retry.kind, b->retry.kind);
    assert_int_equal(a->retry.base_ms, b->retry.base_ms);
    assert_int_equal(a->retry.max_ms, b->retry.max_ms);
    assert_int_equal(a->retry.jitter_permille, b->retry.jitter_permille);
    assert_same_text(a->tags, b->tags);
    assert_same_text(a->idem_key, b->idem_key);
    assert_same_text(a->traceparent, b->traceparent);
    assert_same_text(a->tracestate, b->tracestate);
    assert_int_equal(a->due_at, b->due_at);
    assert_int_equal(a->expire_at, b->expire_at);
    assert_int_equal(a->alarm_at, b->alarm_at);
    assert_int_equal(a->deadline, b->deadline);
    assert_int_equal(a->tried, b->tried);
    assert_int_equal(a->cancel_at, b->cancel_at);
    assert_int_equal(a->grace_ms, b->grace_ms);
    assert_same_text(a->cancel_reason, b->cancel_reason);
}

void kit_assert_same_task(const struct task *a, const struct task *b) {
    assert_memory_equal(a->oid, b->oid, OBJECT_ID_LEN);
    assert_same_brief(a, b);
    assert_same_text(a->source_name, b->source_name);
    assert_true(kit_same_json(a->condition, a->condition_len, b->condition, b->condition_len));
    assert_int_equal(a->create_at, b->create_at);
    assert_string_equal(a->run_id, b->run_id);
    assert_int_equal(a->lease_until, b->lease_until);
    assert_int_equal(a->beaten, b->beaten);
    assert_int_equal(a->crashes, b->crashes);
    assert_int_equal(a->undelivered, b->undelivered);
    assert_int_equal(a->lapse, b->lapse);
    assert_int_equal(a->outbox_seq, b->outbox_seq);
    assert_int_equal(a->outbox_pending, b->outbox_pending);
    assert_int_equal(a->outbox_pick_at, b->outbox_pick_at);
    assert_int_equal(a->rev, b->rev);
    assert_same_fate(a, b);
    assert_same_runs(a, b);
}
