/* test_source.c: the contract of sources, on the API's claim_task and on Kafka: a real one
 * (LONGHAUL_TEST_KAFKA=host:port), else librdkafka's mock cluster. The API is a small one in here,
 * whose tasks the cases arrange and look at. */
#include "consumer/source/source.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "task/message.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 40000, TASKS_MAX = 1500, PARTITIONS = 2, SERVICES = 3 };

/* -- the API -- */

struct api_task {
    char id[64];
    char service[32];
    bool claimed;
    char run_id[UUID_CAP]; /* of the last claim tried */
    const char *refusal;   /* answer this code … */
    int refusals;          /* … so many times; -1: always */
    bool claim_first; /* the refused claim takes effect all the same: an answer that was lost */
    char claim_id[UUID_CAP];
    int asked, delivered;
};

static struct {
    struct event_base *base;
    struct evhttp *http;
    char url[64];
    bool down;
    bool paused; /* claims are refused */
    int n_paused;
    int lose; /* so many answers of claim_task are lost */
    struct api_task tasks[TASKS_MAX];
    size_t n_tasks;
} api;

static struct api_task *find_task(const char *id) {
    for (size_t i = 0; i < api.n_tasks; i++)
        if (strcmp(api.tasks[i].id, id) == 0)
            return &api.tasks[i];
    return NULL;
}

static void answer(struct evhttp_request *request, int status, const char *text) {
    struct evbuffer *body = evbuffer_new();
    evbuffer_add_printf(body, "%s", text);
    evhttp_send_reply(request, status, "Because", body);
    evbuffer_free(body);
}

static json_t *body_of(struct evhttp_request *request) {
    struct evbuffer *body = evhttp_request_get_input_buffer(request);
    size_t len = evbuffer_get_length(body);
    json_t *root = json_loadb((char *)evbuffer_pullup(body, -1), len, 0, NULL);
    assert_non_null(root);
    return root;
}

static void refuse(struct evhttp_request *request, const char *code) {
    char text[256];
    snprintf(text, sizeof text,
             "{\"result\":\"exception\",\"message\":\"refused\",\"code\":\"%s\"}", code);
    answer(request, 409, text);
}

static void on_update(struct evhttp_request *request, void *arg) {
    (void)arg;
    if (api.down) {
        answer(request, 503,
               "{\"result\":\"exception\",\"message\":\"down\",\"code\":\"STORE_UNAVAILABLE\"}");
        return;
    }
    LH_JSON root = body_of(request);
    const json_t *data = json_object_get(root, "data");
    const char *run_id = json_string_value(json_object_get(data, "run_id"));
    struct api_task *task = find_task(json_string_value(json_object_get(data, "task_id")));
    assert_string_equal(json_string_value(json_object_get(data, "status")), "running");
    assert_true(uuid_valid(run_id));
    if (api.paused) {
        api.n_paused++;
        refuse(request, "SERVICE_PAUSED");
        return;
    }
    if (!task) {
        refuse(request, "UNKNOWN_TASK");
        return;
    }
    task->asked++;
    if (task->refusals != 0) {
        task->refusals -= task->refusals > 0;
        task->claimed |= task->claim_first;
        mem_copy_str(task->run_id, sizeof task->run_id, run_id);
        refuse(request, task->refusal);
        return;
    }
    if (task->claimed && strcmp(task->run_id, run_id) != 0) {
        refuse(request, "ALREADY_CLAIMED");
        return;
    }
    task->claimed = true;
    mem_copy_str(task->run_id, sizeof task->run_id, run_id);
    char text[1024];
    snprintf(text, sizeof text,
             "{\"result\":\"ok\",\"status\":{\"task_id\":\"%s\",\"status\":\"running\",\"now\":"
             "\"running\",\"run_id\":\"%s\","
             "\"attempt\":1,\"lease_until\":null,\"service\":\"%s\",\"source_name\":\"src\","
             "\"condition\":{\"of\":\"%s\",\"n\":1.0}}}",
             task->id, run_id, task->service, task->id);
    answer(request, 200, text);
}

static void on_claim(struct evhttp_request *request, void *arg) {
    (void)arg;
    if (api.down) {
        answer(request, 503,
               "{\"result\":\"exception\",\"message\":\"down\",\"code\":\"STORE_UNAVAILABLE\"}");
        return;
    }
    LH_JSON root = body_of(request);
    const json_t *data = json_object_get(root, "data");
    json_int_t max = json_integer_value(json_object_get(data, "max"));
    const char *service = json_string_value(json_array_get(json_object_get(data, "services"), 0));
    const char *claim_id = json_string_value(json_object_get(data, "claim_id"));
    assert_true(uuid_valid(claim_id));
    if (api.paused) {
        api.n_paused++;
        refuse(request, "SERVICE_PAUSED");
        return;
    }
    LH_CLEANUP_BUF struct buf text;
    buf_init(&text, 1 << 20);
    buf_str(&text, "{\"result\":\"ok\",\"data\":[");
    for (size_t i = 0, n = 0; i < api.n_tasks && (json_int_t)n < max; i++) {
        struct api_task *task = &api.tasks[i];
        bool same = task->claimed && strcmp(task->claim_id, claim_id) == 0;
        if ((task->claimed && !same) || strcmp(task->service, service) != 0)
            continue;
        task->claimed = true;
        task->asked++;
        if (!same)
            uuid_make(task->run_id);
        mem_copy_str(task->claim_id, sizeof task->claim_id, claim_id);
        buf_printf(&text,
                   "%s{\"Task\":{\"task_id\":\"%s\",\"service\":\"%s\",\"source_name\":\"src\","
                   "\"condition\":{\"of\":\"%s\",\"n\":1.0}},"
                   "\"run_id\":\"%s\",\"attempt\":1,\"lease_until\":null}",
                   n++ ? "," : "", task->id, task->service, task->id, task->run_id);
    }
    buf_str(&text, "]}");
    if (api.lose > 0) {
        api.lose--;
        evhttp_connection_free(evhttp_request_get_connection(request));
        return;
    }
    answer(request, 200, text.data);
}

static void api_open(void) {
    api.http = evhttp_new(api.base);
    struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(api.http, "127.0.0.1", 0);
    assert_non_null(bound);
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&at, &len);
    snprintf(api.url, sizeof api.url, "http://127.0.0.1:%d", ntohs(at.sin_port));
    evhttp_set_cb(api.http, "/api/update_status_task", on_update, NULL);
    evhttp_set_cb(api.http, "/api/claim_task", on_claim, NULL);
}

/* -- Kafka -- */

static struct {
    rd_kafka_t *rk; /* producer, and owner of the mock cluster */
    char servers[256];
    bool mock;
    unsigned run; /* makes topics and groups of each case new ones */
} kafka;

static void kafka_open(void) {
    char reason[256];
    const char *real = getenv("LONGHAUL_TEST_KAFKA");
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    kafka.mock = !real || !*real;
    if (kafka.mock)
        rd_kafka_conf_set(conf, "test.mock.num.brokers", "1", reason, sizeof reason);
    else
        rd_kafka_conf_set(conf, "bootstrap.servers", real, reason, sizeof reason);
    rd_kafka_conf_set(conf, "log_level", "0", reason, sizeof reason);
    kafka.rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof reason);
    assert_non_null(kafka.rk);
    snprintf(kafka.servers, sizeof kafka.servers, "%s",
             kafka.mock ? rd_kafka_mock_cluster_bootstraps(rd_kafka_handle_mock_cluster(kafka.rk))
                        : real);
    print_message("kafka: %s\n", kafka.mock ? "mock cluster" : real);
}

static void make_topic(const char *topic) {
    char reason[256];
    if (kafka.mock) {
        rd_kafka_mock_topic_create(rd_kafka_handle_mock_cluster(kafka.rk), topic, PARTITIONS, 1);
        return;
    }
    rd_kafka_queue_t *queue = rd_kafka_queue_new(kafka.rk);
    rd_kafka_NewTopic_t *made = rd_kafka_NewTopic_new(topic, PARTITIONS, 1, reason, sizeof reason);
    rd_kafka_CreateTopics(kafka.rk, &made, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, PATIENCE_MS);
    assert_non_null(event);
    assert_int_equal(rd_kafka_event_error(event), 0);
    rd_kafka_event_destroy(event);
    rd_kafka_NewTopic_destroy(made);
    rd_kafka_queue_destroy(queue);
}

static void produce(const char *topic, int32_t partition, const char *bytes, size_t len) {
    rd_kafka_resp_err_t failed =
        rd_kafka_producev(kafka.rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
                          RD_KAFKA_V_VALUE((void *)bytes, len),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    assert_int_equal(failed, 0);
}

/* -- the consumer's side -- */

static struct {
    char services_text[SERVICES][32], topics[SERVICES][64], groups[SERVICES][64];
    struct config_service services[SERVICES];
    struct config_module modules[SERVICES];
    const struct config_service *list[SERVICES];
    struct config cfg;
    struct api_client *client;
    struct source *source;
    int busy[SERVICES], most_busy[SERVICES], slots[SERVICES];
    int n_delivered, n_stopped, n_failed;
} side;

static size_t service_index(const char *name) {
    for (size_t i = 0; i < SERVICES; i++)
        if (strcmp(side.services_text[i], name) == 0)
            return i;
    fail_msg("no service %s", name);
    return 0;
}

static void on_deliver(struct assignment *assignment, void *arg) {
    assert_ptr_equal(arg, &side);
    struct api_task *task = find_task(assignment->task_id);
    assert_non_null(task);
    char condition[128];
    snprintf(condition, sizeof condition, "{\"of\":\"%s\",\"n\":1.0}", task->id);
    assert_string_equal(assignment->service, task->service);
    assert_string_equal(assignment->source_name, "src");
    assert_string_equal(assignment->run_id, task->run_id);
    assert_int_equal(assignment->condition_len, strlen(condition));
    assert_memory_equal(assignment->condition, condition, strlen(condition));
    size_t at = service_index(assignment->service);
    task->delivered++;
    side.n_delivered++;
    if (++side.busy[at] > side.most_busy[at])
        side.most_busy[at] = side.busy[at];
    assignment_finish(assignment);
    source_room(side.source, at, side.slots[at] - side.busy[at]);
}

static void on_stopped(void *arg) {
    assert_ptr_equal(arg, &side);
    side.n_stopped++;
}

static void on_failed(const struct error *err, void *arg) {
    assert_ptr_equal(arg, &side);
    assert_int_equal(err->rc, RC_CONFIG);
    side.n_failed++;
}

/* Turns the loop until `done` says so. */
#define TURN_UNTIL(done)                                                                           \
    do {                                                                                           \
        int64_t until_ = clock_mono_ms() + PATIENCE_MS;                                            \
        while (!(done) && clock_mono_ms() < until_)                                                \
            turn(5);                                                                               \
        if (!(done))                                                                               \
            fail_msg("line %d: never came: %s", __LINE__, #done);                                  \
    } while (0)

static void turn(int ms) {
    struct timeval tick = {ms / 1000, ms % 1000 * 1000};
    event_base_loopexit(api.base, &tick);
    event_base_dispatch(api.base);
}

static void source_begin(enum config_broker broker) {
    struct error err;
    side.cfg.broker = broker;
    side.cfg.lease_ms = 30000;
    side.n_stopped = 0;
    struct source_options options = {.base = api.base,
                                     .cfg = &side.cfg,
                                     .api = side.client,
                                     .services = side.list,
                                     .n_services = SERVICES,
                                     .deliver = on_deliver,
                                     .failed = on_failed,
                                     .arg = &side};
    if (source_open(&options, &side.source, &err) != RC_OK)
        fail_msg("%s", err.text);
}

static void set_slots(size_t service, int slots) {
    side.slots[service] = slots;
    source_room(side.source, service, slots - side.busy[service]);
}

/* All runs of the service have ended. */
static void end_runs(size_t service) {
    side.busy[service] = 0;
    source_room(side.source, service, side.slots[service]);
}

static void source_end(void) {
    source_stop(side.source, on_stopped, &side);
    TURN_UNTIL(side.n_stopped > 0);
    turn(20);
    assert_int_equal(side.n_stopped, 1);
    source_destroy(TAKE(side.source));
}

static struct api_task *add_task(size_t service) {
    assert_true(api.n_tasks < TASKS_MAX);
    struct api_task *task = &api.tasks[api.n_tasks];
    *task = (struct api_task){0};
    snprintf(task->id, sizeof task->id, "ts_%u_%zu", kafka.run, api.n_tasks++);
    snprintf(task->service, sizeof task->service, "%s", side.services_text[service]);
    return task;
}

/* Sends the message of a task, if tasks come by messages. */
static void ring(const struct api_task *task, int32_t partition) {
    if (side.cfg.broker != BROKER_KAFKA)
        return;
    char text[512];
    int n = snprintf(text, sizeof text,
                     "{\"Task\":{\"task_id\":\"%s\",\"service\":\"%s\",\"source_name\":\"src\","
                     "\"condition\":{\"old\":true}}}",
                     task->id, task->service);
    produce(side.topics[service_index(task->service)], partition, text, (size_t)n);
}

static void add_tasks(size_t service, int n) {
    for (int i = 0; i < n; i++)
        ring(add_task(service), i % PARTITIONS);
}

static void prepare_services(void) {
    kafka.run++;
    for (size_t i = 0; i < SERVICES; i++) {
        snprintf(side.services_text[i], sizeof side.services_text[i], "svc%zu", i);
        snprintf(side.topics[i], sizeof side.topics[i], "t%zu-%d-%u", i, getpid(), kafka.run);
        /* services 0 and 1 share a group */
        snprintf(side.groups[i], sizeof side.groups[i], "g%zu-%d-%u", i / 2, getpid(), kafka.run);
        side.modules[i] = (struct config_module){.legacy = true};
        side.services[i] = (struct config_service){.name = side.services_text[i],
                                                   .module = &side.modules[i],
                                                   .source_name = "src",
                                                   .topic = side.topics[i],
                                                   .group = side.groups[i]};
        side.list[i] = &side.services[i];
        make_topic(side.topics[i]);
        side.busy[i] = side.most_busy[i] = side.slots[i] = 0;
    }
    api.n_tasks = 0;
    api.down = api.paused = false;
    api.n_paused = api.lose = 0;
    side.n_delivered = side.n_failed = 0;
    side.cfg.mq.group_instance_id = NULL;
}

static void assert_each_delivered_once(void) {
    for (size_t i = 0; i < api.n_tasks; i++)
        if (api.tasks[i].delivered != 1)
            fail_msg("task %s: delivered %d times", api.tasks[i].id, api.tasks[i].delivered);
}

/* -- the contract of every source -- */

static enum config_broker broker_of(void **state) {
    prepare_services();
    return *(enum config_broker *)*state;
}

static void test_room(void **state) {
    source_begin(broker_of(state));
    add_tasks(0, 30);
    turn(300);
    assert_int_equal(side.n_delivered, 0);
    set_slots(0, 3);
    TURN_UNTIL(side.n_delivered == 3);
    turn(300);
    assert_int_equal(side.n_delivered, 3);
    for (int done = 3; done < 30; done += 3) {
        end_runs(0);
        TURN_UNTIL(side.n_delivered >= (done + 3 < 30 ? done + 3 : 30));
    }
    turn(100);
    assert_int_equal(side.most_busy[0], 3);
    assert_each_delivered_once();
    source_end();
}

static void test_many(void **state) {
    source_begin(broker_of(state));
    for (size_t i = 0; i < SERVICES; i++) {
        add_tasks(i, 100);
        set_slots(i, 1000);
    }
    TURN_UNTIL(side.n_delivered == 100 * SERVICES);
    add_tasks(1, 1);
    TURN_UNTIL(side.n_delivered == 100 * SERVICES + 1);
    assert_each_delivered_once();
    source_end();
}

static void test_api_down(void **state) {
    source_begin(broker_of(state));
    set_slots(0, 5);
    api.down = true;
    add_tasks(0, 4);
    turn(1500);
    assert_int_equal(side.n_delivered, 0);
    api.down = false;
    TURN_UNTIL(side.n_delivered == 4);
    assert_each_delivered_once();
    source_end();
}

static void test_stop(void **state) {
    source_begin(broker_of(state));
    set_slots(0, 5);
    add_tasks(0, 2);
    TURN_UNTIL(side.n_delivered == 2);
    source_stop(side.source, on_stopped, &side);
    add_tasks(0, 2);
    TURN_UNTIL(side.n_stopped == 1);
    int delivered = side.n_delivered;
    turn(300);
    assert_int_equal(side.n_delivered, delivered);
    for (size_t i = 0; i < api.n_tasks; i++)
        assert_int_equal(api.tasks[i].claimed, api.tasks[i].delivered);
    source_destroy(TAKE(side.source));
}

static void test_destroy(void **state) {
    source_begin(broker_of(state));
    set_slots(0, 2);
    add_tasks(0, 40);
    TURN_UNTIL(side.n_delivered == 2);
    source_destroy(TAKE(side.source));
    source_begin(side.cfg.broker);
    source_destroy(TAKE(side.source));
}

/* -- Kafka alone -- */

static int64_t committed_sum(size_t service) {
    char reason[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", kafka.servers, reason, sizeof reason);
    rd_kafka_conf_set(conf, "group.id", side.groups[service], reason, sizeof reason);
    rd_kafka_conf_set(conf, "log_level", "0", reason, sizeof reason);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, reason, sizeof reason);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(PARTITIONS);
    for (int i = 0; i < PARTITIONS; i++)
        rd_kafka_topic_partition_list_add(list, side.topics[service], i);
    assert_int_equal(rd_kafka_committed(rk, list, 10000), 0);
    int64_t sum = 0;
    for (int i = 0; i < PARTITIONS; i++)
        sum += list->elems[i].offset > 0 ? list->elems[i].offset : 0;
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(rk);
    return sum;
}

/* More messages than are kept while there is no room: partitions are paused, and go on later. */
static void test_pause(void **state) {
    enum { MANY = 1200, SLOTS = 20 };
    source_begin(broker_of(state));
    add_tasks(0, MANY);
    turn(5000);
    assert_int_equal(side.n_delivered, 0);
    set_slots(0, SLOTS);
    while (side.n_delivered < MANY) {
        TURN_UNTIL(side.busy[0] == SLOTS || side.n_delivered == MANY);
        end_runs(0);
    }
    assert_int_equal(side.most_busy[0], SLOTS);
    assert_each_delivered_once();
    source_end();
    assert_int_equal(committed_sum(0), MANY);
}

/* What a refusal does with the message. */
static void test_refusals(void **state) {
    static const struct {
        const char *code;
        bool keep;
    } cases[] = {{"ALREADY_CLAIMED"},
                 {"ALREADY_FINAL"},
                 {"STALE_RUN"},
                 {"NOT_DUE"},
                 {"UNKNOWN_TASK"},
                 {"TASK_REMOVED"},
                 {"INVALID_PARAMETER"},
                 {"SERVICE_NOT_SUPPORT"},
                 {"SERVICE_PAUSED", true},
                 {"LIMIT_REACHED", true},
                 {"INTERNAL", true},
                 {"OUTCOME_UNKNOWN", true},
                 {"UNAUTHORIZED", true},
                 {"A_NEW_WORD", true},
                 {"STORE_UNAVAILABLE", true}};
    source_begin(broker_of(state));
    set_slots(0, 100);
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        struct api_task *task = add_task(0);
        task->refusal = cases[i].code;
        task->refusals = cases[i].keep ? 2 : -1;
        ring(task, (int32_t)i % PARTITIONS);
    }
    TURN_UNTIL(side.n_delivered == 7);
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        assert_int_equal(api.tasks[i].delivered, cases[i].keep ? 1 : 0);
        assert_int_equal(api.tasks[i].asked, cases[i].keep ? 3 : 1);
    }
    source_end();
    assert_int_equal(committed_sum(0), LH_COUNT(cases));
}

/* A claim that took effect while its answer was lost is repeated with the same run. */
static void test_lost_answer(void **state) {
    source_begin(broker_of(state));
    set_slots(0, 1);
    struct api_task *task = add_task(0);
    task->refusal = "OUTCOME_UNKNOWN";
    task->refusals = 1;
    task->claim_first = true;
    ring(task, 0);
    TURN_UNTIL(task->delivered == 1);
    source_end();
    assert_int_equal(committed_sum(0), 1);
}

static void test_garbage(void **state) {
    static const char *const garbage[] = {"",
                                          "x",
                                          "{}",
                                          "[]",
                                          "{\"Task\":1}",
                                          "{\"Task\":{\"task_id\":\"a\"}}",
                                          "{\"Task\":{\"task_id\":\"a\",\"service\":\"other\","
                                          "\"source_name\":\"\",\"condition\":1}}"};
    source_begin(broker_of(state));
    set_slots(0, 4);
    for (size_t i = 0; i < LH_COUNT(garbage); i++)
        produce(side.topics[0], 0, garbage[i], strlen(garbage[i]));
    produce(side.topics[0], 0, "\0\377", 2);
    struct api_task *task = add_task(0);
    ring(task, 0);
    TURN_UNTIL(task->delivered == 1);
    source_end();
    assert_int_equal(committed_sum(0), LH_COUNT(garbage) + 2);
}

/* What was not claimed when a consumer ended comes again, what was claimed does not. */
static void test_again(void **state) {
    source_begin(broker_of(state));
    set_slots(0, 5);
    add_tasks(0, 20);
    TURN_UNTIL(side.n_delivered == 5);
    source_end();
    assert_true(committed_sum(0) <= 5);
    source_begin(BROKER_KAFKA);
    end_runs(0);
    set_slots(0, 50);
    TURN_UNTIL(side.n_delivered == 20);
    turn(500);
    assert_each_delivered_once();
    for (size_t i = 0; i < api.n_tasks; i++)
        assert_true(api.tasks[i].asked <= 2);
    source_end();
    assert_int_equal(committed_sum(0), 20);
}

/* One message that gets no answer holds the commit of its partition, and nothing else. */
static void test_stuck(void **state) {
    source_begin(broker_of(state));
    set_slots(0, 50);
    struct api_task *stuck = add_task(0);
    stuck->refusal = "INTERNAL";
    stuck->refusals = -1;
    ring(stuck, 0);
    for (int i = 0; i < 10; i++)
        ring(add_task(0), 0);
    TURN_UNTIL(side.n_delivered == 10);
    turn(500);
    assert_int_equal(committed_sum(0), 0);
    stuck->refusals = 0;
    TURN_UNTIL(stuck->delivered == 1);
    source_end();
    assert_int_equal(committed_sum(0), 11);
    assert_each_delivered_once();
}

/* Claims under way when their partition goes to another member end with one winner each. */
static void test_rebalance(void **state) {
    source_begin(broker_of(state));
    set_slots(0, 50);
    add_tasks(0, 2);
    TURN_UNTIL(side.n_delivered == 2);
    api.down = true;
    add_tasks(0, 8);
    turn(1000);
    struct source *first = side.source;
    source_begin(BROKER_KAFKA);
    set_slots(0, 50);
    turn(8000); /* the first one hears of the second with its next heartbeat */
    api.down = false;
    TURN_UNTIL(side.n_delivered == 10);
    add_tasks(0, 20);
    TURN_UNTIL(side.n_delivered == 30);
    turn(1000);
    assert_each_delivered_once();
    source_end();
    side.source = first;
    side.n_stopped = 0;
    source_end();
    assert_int_equal(committed_sum(0), 30);
}

/* A stop while the API is away ends by its watchdog and loses nothing. */
static void test_stop_while_down(void **state) {
    source_begin(broker_of(state));
    set_slots(0, 5);
    add_tasks(0, 1);
    TURN_UNTIL(side.n_delivered == 1);
    api.down = true;
    add_tasks(0, 3);
    turn(1000);
    source_end();
    api.down = false;
    source_begin(BROKER_KAFKA);
    set_slots(0, 50);
    TURN_UNTIL(side.n_delivered == 4);
    assert_each_delivered_once();
    source_end();
}

/* While the service is paused one claim asks again, and the messages wait. */
static void test_paused(void **state) {
    source_begin(broker_of(state));
    set_slots(0, 5);
    add_tasks(0, 1);
    TURN_UNTIL(side.n_delivered == 1);
    api.paused = true;
    add_tasks(0, 40);
    TURN_UNTIL(api.n_paused >= 2);
    turn(3000);
    assert_int_equal(side.n_delivered, 1);
    assert_in_range(api.n_paused, 2, 4 + 8); /* the first ones, then one after 0.2, 0.4, 0.8 … s */
    assert_true(committed_sum(0) <= 1);
    api.paused = false;
    end_runs(0);
    set_slots(0, 100);
    TURN_UNTIL(side.n_delivered == 41);
    assert_each_delivered_once();
    source_end();
    assert_int_equal(committed_sum(0), 41);
}

/* A stop does not wait for a pause to end; what was held comes again. */
static void test_stop_while_paused(void **state) {
    source_begin(broker_of(state));
    set_slots(0, 5);
    api.paused = true;
    add_tasks(0, 10);
    TURN_UNTIL(api.n_paused >= 5);
    source_end();
    api.paused = false;
    assert_int_equal(committed_sum(0), 0);
    source_begin(BROKER_KAFKA);
    set_slots(0, 50);
    TURN_UNTIL(side.n_delivered == 10);
    assert_each_delivered_once();
    source_end();
    assert_int_equal(committed_sum(0), 10);
}

/* All messages so far are settled. */
static void wait_committed(size_t service, int64_t sum) {
    TURN_UNTIL(committed_sum(service) == sum);
}

/* Tasks whose messages lie with somebody else. */
static void add_elsewhere(size_t service, int n) {
    for (int i = 0; i < n; i++)
        (void)add_task(service);
}

static void test_takes_what_waits_elsewhere(void **state) {
    enum config_broker broker = broker_of(state);
    side.modules[0].legacy = false;
    source_begin(broker);
    set_slots(0, 3);
    set_slots(1, 3);
    add_elsewhere(0, 8);
    add_elsewhere(1, 2); /* legacy: taken by messages only */
    TURN_UNTIL(side.n_delivered == 3);
    turn(1000);
    assert_int_equal(side.n_delivered, 3);
    api.lose = 1;
    end_runs(0);
    TURN_UNTIL(side.n_delivered == 6);
    end_runs(0);
    add_tasks(0, 6);
    while (side.n_delivered < 14) {
        TURN_UNTIL(side.busy[0] == 3 || side.n_delivered == 14);
        end_runs(0);
    }
    wait_committed(0, 6);
    assert_int_equal(side.most_busy[0], 3);
    for (size_t i = 0; i < api.n_tasks; i++)
        assert_int_equal(api.tasks[i].delivered, strcmp(api.tasks[i].service, "svc1") != 0);
    source_end();
}

/* A take whose answer was lost is made again also when a message has come meanwhile: its room is
 * spoken for until it is known what it brings. */
static void test_take_without_an_answer(void **state) {
    enum config_broker broker = broker_of(state);
    source_begin(broker);
    set_slots(0, 1);
    add_tasks(0, 1);
    TURN_UNTIL(side.n_delivered == 1); /* the partitions are there */
    side.modules[0].legacy = false;
    api.down = true;
    end_runs(0);
    turn(1000);
    add_tasks(0, 1);
    turn(1000);
    api.down = false;
    TURN_UNTIL(side.n_delivered == 2);
    end_runs(0);
    wait_committed(0, 2);
    assert_each_delivered_once();
    source_end();
}

/* Each message asks for the best task, the first in the API's list, whatever it names itself. */
static void test_best_first(void **state) {
    enum { N = 12 };
    enum config_broker broker = broker_of(state);
    side.modules[0] = (struct config_module){.order = ORDER_PRIORITY};
    source_begin(broker);
    set_slots(1, 1);
    add_tasks(1, 1);
    TURN_UNTIL(side.n_delivered == 1); /* the partitions are there */
    api.n_tasks = 0;
    side.n_delivered = 0;
    for (int i = 0; i < N; i++)
        (void)add_task(0);
    for (int i = N; i-- > 0;) /* the worst rings first, and one rings twice */
        ring(&api.tasks[i], 0);
    ring(&api.tasks[0], 1);
    for (int i = 1; i <= N; i++) {
        api.lose = i % 3 == 0;
        end_runs(0);
        set_slots(0, 1);
        TURN_UNTIL(side.n_delivered == i);
        assert_int_equal(api.tasks[i - 1].delivered, 1);
    }
    end_runs(0);
    wait_committed(0, N + 1);
    assert_each_delivered_once();
    source_end();
}

enum { API_HEARTBEAT = 12 };

static void fail_heartbeats(int n) {
    for (int i = 0; i < n; i++)
        rd_kafka_mock_push_request_errors(rd_kafka_handle_mock_cluster(kafka.rk), API_HEARTBEAT, 1,
                                          RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID);
}

/* librdkafka's instances that are dead for good are made anew; here both, twice. */
static void test_fatal_error(void **state) {
    source_begin(broker_of(state));
    if (!kafka.mock) {
        source_end();
        skip();
    }
    for (size_t i = 0; i < SERVICES; i++)
        set_slots(i, 100);
    for (int round = 1; round <= 3; round++) {
        add_tasks(0, 4);
        add_tasks(SERVICES - 1, 4);
        TURN_UNTIL(side.n_delivered == 8 * round);
        if (round < 3)
            fail_heartbeats(2);
        turn(round < 3 ? 4000 : 500);
    }
    assert_int_equal(side.n_failed, 0);
    assert_each_delivered_once();
    source_end();
    assert_int_equal(committed_sum(0), 12);
}

/* Of two processes with one name the older learns that it is not the one, and takes no more. */
static void test_same_name(void **state) {
    enum config_broker broker = broker_of(state);
    char id[] = "one";
    side.cfg.mq.group_instance_id = id;
    source_begin(broker);
    set_slots(0, 50);
    add_tasks(0, 4);
    TURN_UNTIL(side.n_delivered == 4);
    struct source *first = side.source;
    if (kafka.mock)
        fail_heartbeats(2);
    else
        source_begin(broker);
    TURN_UNTIL(side.n_failed == 1);
    struct source *second = side.source;
    side.source = first;
    source_end();
    assert_int_equal(side.n_failed, 1);
    if (second == first)
        return;
    side.source = second;
    set_slots(0, 50);
    add_tasks(0, 4);
    TURN_UNTIL(side.n_delivered == 8);
    assert_each_delivered_once();
    side.n_stopped = 0;
    source_end();
}

static int setup(void **state) {
    (void)state;
    char folder[PATH_MAX], *slash;
    ssize_t n = readlink("/proc/self/exe", folder, sizeof folder - 32);
    folder[n > 0 ? n : 0] = '\0';
    if ((slash = strrchr(folder, '/')))
        memcpy(slash, "/../../consumer", sizeof "/../../consumer");
    setenv("LONGHAUL_MODULE_DIR", folder, 0);
    signal(SIGPIPE, SIG_IGN);
    log_setup("test", LOG_TEXT, getenv("LONGHAUL_TEST_VERBOSE") ? LOG_INFO : LOG_ERROR);
    api.base = event_base_new();
    api_open();
    kafka_open();
    side.cfg.mq.bootstrap_servers = kafka.servers;
    struct error err;
    assert_int_equal(api_client_create(api.base, api.url, NULL, "token", &side.client, &err),
                     RC_OK);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    source_destroy(side.source);
    api_client_destroy(side.client);
    evhttp_free(api.http);
    rd_kafka_destroy(kafka.rk);
    loop_free(api.base);
    libevent_global_shutdown();
    return 0;
}

int main(int argc, char **argv) {
    static enum config_broker none = BROKER_NONE, by_message = BROKER_KAFKA;
#define ON(broker, test)                                                                           \
    { #test " on " #broker, test, NULL, NULL, &(broker) }
    const struct CMUnitTest tests[] = {
        ON(none, test_room),
        ON(none, test_many),
        ON(none, test_api_down),
        ON(none, test_stop),
        ON(none, test_destroy),
        ON(by_message, test_room),
        ON(by_message, test_many),
        ON(by_message, test_api_down),
        ON(by_message, test_stop),
        ON(by_message, test_destroy),
        ON(by_message, test_pause),
        ON(by_message, test_refusals),
        ON(by_message, test_lost_answer),
        ON(by_message, test_garbage),
        ON(by_message, test_again),
        ON(by_message, test_stuck),
        ON(by_message, test_stop_while_down),
        ON(by_message, test_rebalance),
        ON(by_message, test_paused),
        ON(by_message, test_stop_while_paused),
        ON(by_message, test_takes_what_waits_elsewhere),
        ON(by_message, test_take_without_an_answer),
        ON(by_message, test_best_first),
        ON(by_message, test_fatal_error),
        ON(by_message, test_same_name),
    };
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL); /* a pattern of names */
    return cmocka_run_group_tests(tests, setup, teardown);
}
