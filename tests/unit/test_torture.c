/* test_torture.c: every scenario with its Nth allocation failing, for N = 1 … until none is left to
 * fail.
 *
 * The linker puts the functions below before malloc and its kin (--wrap) for our objects, and
 * jansson is told to use them. A failed allocation must give RC_NO_MEMORY and leave the outputs
 * untouched; that nothing leaks or is used after it was freed is for the address sanitizer to see.
 */
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "config/config.h"
#include "task/lifecycle.h"
#include "task/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { ROUNDS_MAX = 5000 };

/* -- the allocator -- */

static size_t calls;   /* since the round began */
static size_t fail_at; /* this call fails; 0: none */

static bool fails(void) {
    return ++calls == fail_at;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t max);

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size) {
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size) {
    return fails() ? NULL : __real_realloc(old, size);
}

char *__wrap_strndup(const char *text, size_t max) {
    size_t len = strnlen(text, max);
    char *copy = fails() ? NULL : __real_malloc(len + 1);
    if (!copy)
        return NULL;
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *__wrap_strdup(const char *text) {
    return __wrap_strndup(text, strlen(text));
}

/* -- scenarios: each does one thing, checks its outputs, and says how it ended -- */

static struct json_span span_of(const char *text) {
    return (struct json_span){text, strlen(text)};
}

static const char body[] =
    "{\"data\": {\"service\": \"aaa\", \"esc\\u0061ped\": [1, 2.5, \"three\", null, true],"
    " \"condition\": {\"a\": {\"b\": [\"\\u0000\", \"\xf0\x9f\x90\x8b\", 9223372036854775807]}}}}";

static enum rc read_json(void) {
    json_t *root = (json_t *)&calls;
    struct error err;
    enum rc rc = json_read(span_of(body), &root, &err);
    if (rc == RC_OK)
        json_decref(root);
    else
        assert_ptr_equal(root, &calls);
    return rc;
}

static enum rc read_wrong_json(void) {
    json_t *root = (json_t *)&calls;
    struct error err;
    enum rc rc = json_read(span_of("{\"data\":{\"condition\":[\"abc\",1e400]}}"), &root, &err);
    assert_ptr_equal(root, &calls);
    return rc == RC_INVALID_PARAMETER ? RC_OK : rc;
}

static enum rc carry_json(void) {
    LH_CLEANUP_BUF struct buf buf;
    struct error err;
    buf_init(&buf, 1 << 20);
    return json_carry(span_of(body), &buf, &err);
}

static enum rc build_text(void) {
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, 1 << 20);
    for (int i = 0; i < 200; i++) {
        buf_printf(&buf, "%d ", i);
        buf_json_str(&buf, "a\"\n\xff");
    }
    size_t len = 7;
    LH_FREE char *text = buf_take(&buf, &len);
    assert_true(text || len == 7);
    return text ? RC_OK : RC_NO_MEMORY;
}

static enum rc duplicate(void) {
    LH_FREE char *copy = mem_dup("abc", 3);
    return copy ? RC_OK : RC_NO_MEMORY;
}

static enum rc encode_message(void) {
    struct task task = {.task_id = "ts_aaa_1",
                        .service = "aaa",
                        .condition = (char *)body,
                        .condition_len = sizeof body - 1};
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, 1 << 20);
    message_encode(&task, &buf);
    return buf_rc(&buf);
}

static enum rc decode_message(void) {
    static const char text[] = "{\"Task\":{\"task_id\":\"ts_aaa_1\",\"service\":\"aaa\","
                               "\"source_name\":\"src\",\"condition\":{\"a\":[1,\"two\"]}}}";
    struct message message, before;
    memset(&message, 0x5a, sizeof message);
    before = message;
    struct error err;
    enum rc rc = message_decode(text, sizeof text - 1, &message, &err);
    if (rc == RC_OK)
        message_finish(&message);
    else
        assert_memory_equal(&message, &before, sizeof message);
    return rc;
}

static enum rc make_ops(void) {
    for (unsigned kind = 0; kind < OP_KINDS; kind++) {
        struct op *op = op_create((enum op_kind)kind);
        if (!op)
            return RC_NO_MEMORY;
        op_destroy(op);
    }
    return RC_OK;
}

/* The text of a test's own making: outside the rounds. */
static char *own(const char *text) {
    size_t len = strlen(text) + 1;
    char *copy = __real_malloc(len);
    assert_non_null(copy);
    return memcpy(copy, text, len);
}

/* One operation on a task in one status. A refusal is as good as success here. */
static enum rc apply_one(enum op_kind kind, enum task_status status) {
    static const char run[] = "01890000-0000-7000-8000-00000000000a";
    struct task task = {.status = status, .sub = SUB_QUEUED, .create_at = 1, .outbox_seq = 3};
    task.outbox_pending = status == TASK_READY || status == TASK_WAITING;
    task.result = own("{\"a\":[1,2]}");
    task.result_len = strlen(task.result);
    task.condition = own("1");
    task.condition_len = 1;
    struct op op = {.kind = kind, .broker = true, .now_ms = 5, .outbox_seq = 3};
    mem_copy_str(op.task_id, sizeof op.task_id, "ts_aaa_1");
    if (status == TASK_RUNNING || status == TASK_FINISHED) {
        mem_copy_str(task.run_id, sizeof task.run_id, run);
        mem_copy_str(op.run_id, sizeof op.run_id, run);
    }
    op.value = own("{\"a\":[1,3]}");
    op.value_len = strlen(op.value);
    op.error_text = own("it broke");
    unsigned parts = 77;
    char text[192] = "";
    int64_t rev = task.rev;
    enum rc rc = lifecycle_apply(&task, &op, &parts, text, sizeof text);
    assert_true(rc == RC_OK || (parts == 77 && task.rev == rev));
    task_finish(&task);
    free(op.value);
    free(op.error_text);
    free(op.message);
    return rc == RC_NO_MEMORY ? rc : RC_OK;
}

static enum rc apply_operations(void) {
    enum rc rc = RC_OK;
    for (unsigned kind = OP_CREATE + 1; rc == RC_OK && kind < OP_KINDS; kind++)
        for (unsigned status = 0; rc == RC_OK && status < TASK_STATUSES; status++)
            if (op_is_of_task((enum op_kind)kind))
                rc = apply_one((enum op_kind)kind, (enum task_status)status);
    return rc;
}

static const char config_text[] =
    "default_env: TEST\n"
    "service: [aaa, bbb]\n"
    "source_db:\n"
    "  aaa: {source_name: a, topic_name: topic_a, consumer_id: group_a}\n"
    "  bbb: {source_name: b, topic_name: topic_b, consumer_id: group_b}\n"
    "max_status_task: 50\n"
    "mq_conf:\n"
    "  bootstrap_servers: [\"127.0.0.1:9092\", \"127.0.0.1:9093\"]\n"
    "  sasl_plain_username: user\n"
    "  sasl_plain_password: word\n"
    "  librdkafka: {linger.ms: 1, client.rack: r1}\n"
    "TEST:\n"
    "  MONGO_HOST: 127.0.0.1\n"
    "  MONGO_PORT: 27017\n"
    "  MONGO_USERNAME: user\n"
    "  MONGO_PASSWORD: word\n"
    "  MONGO_DBNAME: db\n"
    "listen: 127.0.0.1:0\n"
    "store: sqlite:data/x.db\n"
    "broker: none\n"
    "module:\n"
    "  aaa: {kind: command, command: [python3, ./a.py], slots: 2, env: {A: b}}\n";

static enum rc parse(const char *text) {
    struct config *cfg = (struct config *)&calls;
    struct error err = {0};
    enum rc rc = config_parse("/tmp/config.yaml", text, strlen(text), &cfg, &err);
    if (rc == RC_OK)
        config_destroy(cfg);
    else
        assert_ptr_equal(cfg, &calls);
    if (rc != RC_OK && rc != RC_NO_MEMORY)
        print_message("%s\n", err.text);
    return rc;
}

static enum rc parse_config(void) {
    return parse(config_text);
}

static enum rc parse_wrong_config(void) {
    struct config *cfg = (struct config *)&calls;
    struct error err = {0};
    static const char text[] = "service: [aaa]\nsrevice: [aaa]\n";
    enum rc rc = config_parse("/tmp/config.yaml", text, sizeof text - 1, &cfg, &err);
    assert_ptr_equal(cfg, &calls);
    return rc == RC_CONFIG ? RC_OK : rc;
}

static const struct scenario {
    const char *name;
    enum rc (*run)(void);
} scenarios[] = {
    {"read JSON", read_json},
    {"read JSON that is wrong", read_wrong_json},
    {"carry JSON", carry_json},
    {"build text", build_text},
    {"duplicate bytes", duplicate},
    {"encode a message", encode_message},
    {"decode a message", decode_message},
    {"make operations", make_ops},
    {"apply operations", apply_operations},
    {"parse a configuration", parse_config},
    {"parse a configuration that is wrong", parse_wrong_config},
};

static void torture(const struct scenario *scenario) {
    for (size_t n = 1; n < ROUNDS_MAX; n++) {
        calls = 0;
        fail_at = n;
        enum rc rc = scenario->run();
        fail_at = 0;
        bool failed = calls >= n;
        if (rc != (failed ? RC_NO_MEMORY : RC_OK))
            fail_msg("%s: allocation %zu %s, and the outcome is %s", scenario->name, n,
                     failed ? "fails" : "was not made", rc_info(rc)->word);
        if (!failed) {
            print_message("%s: %zu allocations failed, one after the other\n", scenario->name,
                          n - 1);
            return;
        }
    }
    fail_msg("%s does not end", scenario->name);
}

static void run_scenario(void **state) {
    torture(*state);
}

int main(void) {
    struct CMUnitTest tests[LH_COUNT(scenarios)];
    for (size_t i = 0; i < LH_COUNT(scenarios); i++)
        tests[i] = (struct CMUnitTest){.name = scenarios[i].name,
                                       .test_func = run_scenario,
                                       .initial_state = (void *)&scenarios[i]};
    return cmocka_run_group_tests_name("torture", tests, NULL, NULL);
}
