/* test_publisher.c: the publisher's contract, on a real Kafka (LONGHAUL_TEST_KAFKA=host:port) and
 * on librdkafka's mock cluster for the faults that a real one does not show on demand.
 * LONGHAUL_TEST_KAFKA_SASL=host:port names a SASL_PLAINTEXT listener, with LONGHAUL_TEST_KAFKA_USER
 * and LONGHAUL_TEST_KAFKA_PASSWORD. */
#include "publisher/publisher.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "task/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { SEQ_MAX = 20000, WAIT_MS = 60000, PRODUCE_API = 0 };

static const char closed_address[] = "127.0.0.1:1"; /* nobody listens there */

/* What was reported, by outbox_seq. */
static struct {
    pthread_mutex_t lock;
    int count[SEQ_MAX];
    enum rc rc[SEQ_MAX];
    char text[192]; /* of the last failure */
    size_t total;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void on_reports(const struct delivery *deliveries, size_t n, void *arg) {
    assert_ptr_equal(arg, &seen);
    pthread_mutex_lock(&seen.lock);
    for (size_t i = 0; i < n; i++) {
        assert_in_range(deliveries[i].outbox_seq, 0, SEQ_MAX - 1);
        seen.count[deliveries[i].outbox_seq]++;
        seen.rc[deliveries[i].outbox_seq] = deliveries[i].rc;
        if (deliveries[i].rc != RC_OK)
            mem_copy_str(seen.text, sizeof seen.text, deliveries[i].text);
    }
    seen.total += n;
    pthread_mutex_unlock(&seen.lock);
}

static void forget(void) {
    pthread_mutex_lock(&seen.lock);
    memset(seen.count, 0, sizeof seen.count);
    memset(seen.rc, 0, sizeof seen.rc);
    seen.text[0] = '\0';
    seen.total = 0;
    pthread_mutex_unlock(&seen.lock);
}

/* -- a configuration with one service -- */

struct setting {
    struct config cfg;
    struct config_service service;
    char topic[64];
    struct config_pair pairs[8];
};

static void setting_init(struct setting *setting, const char *servers) {
    char id[UUID_CAP];
    uuid_make(id);
    *setting = (struct setting){0};
    snprintf(setting->topic, sizeof setting->topic, "test-%s", id);
    setting->service = (struct config_service){
        .name = (char *)"word", .source_name = (char *)"src", .topic = setting->topic};
    setting->cfg = (struct config){
        .services = &setting->service,
        .n_services = 1,
        .broker = BROKER_KAFKA,
        .mq = {.bootstrap_servers = (char *)servers,
               .security_protocol = (char *)"PLAINTEXT",
               .create_topics = true,
               .partitions = 1,
               .replication_factor = 1,
               .librdkafka = setting->pairs},
    };
}

static void setting_pass(struct setting *setting, const char *name, const char *value) {
    assert_true(setting->cfg.mq.n_librdkafka < LH_COUNT(setting->pairs));
    setting->pairs[setting->cfg.mq.n_librdkafka++] =
        (struct config_pair){(char *)name, (char *)value};
}

static struct publisher *open_publisher(const struct setting *setting) {
    struct publisher *publisher = NULL;
    struct error err = {0};
    forget();
    if (publisher_open(&setting->cfg, on_reports, &seen, &publisher, &err) != RC_OK)
        fail_msg("%s", err.text);
    return publisher;
}

static void refuse_open(const struct setting *setting, enum rc rc, const char *part) {
    struct publisher *publisher = NULL;
    struct error err = {0};
    assert_int_equal(publisher_open(&setting->cfg, on_reports, &seen, &publisher, &err), rc);
    assert_null(publisher);
    if (!strstr(err.text, part))
        fail_msg("\"%s\" does not hold \"%s\"", err.text, part);
}

/* A task of service word; `condition` is borrowed, so the task is not finished. */
static struct task make_task(const char *condition, int64_t seq) {
    struct task task = {.source_name = (char *)"src",
                        .condition = (char *)condition,
                        .condition_len = strlen(condition),
                        .outbox_seq = seq,
                        .outbox_pending = true};
    mem_copy_str(task.service, sizeof task.service, "word");
    task_id_make("word", task.task_id);
    object_id_make(task.oid);
    return task;
}

static enum rc send_task(struct publisher *publisher, const char *condition, int64_t seq) {
    struct task task = make_task(condition, seq);
    size_t sent = 0;
    enum rc rc = publisher_send(publisher, &task, 1, &sent);
    assert_int_equal(sent, rc == RC_OK ? 1 : 0);
    return rc;
}

static void assert_reports(int64_t from, int64_t to, enum rc rc) {
    pthread_mutex_lock(&seen.lock);
    for (int64_t i = from; i < to; i++)
        if (seen.count[i] != 1 || seen.rc[i] != rc)
            fail_msg("message %d: %d reports, the last %s (%s)", (int)i, seen.count[i],
                     rc_info(seen.rc[i])->word, seen.text);
    pthread_mutex_unlock(&seen.lock);
}

static enum rc ping(struct publisher *publisher, char text[512]) {
    struct error err = {0};
    enum rc rc = publisher_ping(publisher, &err);
    mem_copy_str(text, 512, err.text);
    return rc;
}

static void wait_ping(struct publisher *publisher, enum rc rc, const char *part) {
    char text[512] = "";
    for (int64_t end = clock_mono_ms() + WAIT_MS; clock_mono_ms() < end; usleep(20000))
        if (ping(publisher, text) == rc && strstr(text, part))
            return;
    fail_msg("ping never said %s with \"%s\"; last: %s", rc_info(rc)->word, part, text);
}

/* -- looking into Kafka from beside -- */

static const char *real_kafka(void) {
    const char *address = getenv("LONGHAUL_TEST_KAFKA");
    if (!address || !address[0]) {
        print_message("skipped: LONGHAUL_TEST_KAFKA names no Kafka\n");
        skip();
    }
    return address;
}

static rd_kafka_t *admin_open(rd_kafka_type_t type, const char *servers) {
    char reason[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", servers, reason, sizeof reason);
    rd_kafka_conf_set(conf, "group.id", "test", reason, sizeof reason);
    rd_kafka_conf_set(conf, "log_level", "0", reason, sizeof reason);
    rd_kafka_t *rk = rd_kafka_new(type, conf, reason, sizeof reason);
    assert_non_null(rk);
    return rk;
}

static void await(rd_kafka_queue_t *queue) {
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_MS);
    assert_non_null(event);
    if (rd_kafka_event_error(event))
        fail_msg("%s", rd_kafka_event_error_string(event));
    rd_kafka_event_destroy(event);
}

static int partitions_seen(rd_kafka_t *rk, const char *name) {
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, name, NULL);
    assert_int_equal(rd_kafka_metadata(rk, 0, topic, &metadata, WAIT_MS),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    int n = metadata->topics[0].partition_cnt;
    rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(topic);
    return n;
}

/* A broker shows a topic a moment after it was made, later on a busy machine. */
static void await_partitions(rd_kafka_t *rk, const char *topic, int n) {
    int64_t end = clock_mono_ms() + WAIT_MS;
    while (partitions_seen(rk, topic) == 0 && clock_mono_ms() < end)
        usleep(20000);
    assert_int_equal(partitions_seen(rk, topic), n);
}

enum change { TOPIC_MAKE, TOPIC_LIMIT, TOPIC_DELETE };

static void change_topic(const char *servers, const char *topic, enum change change,
                         const char *max_message_bytes) {
    char reason[256];
    rd_kafka_t *rk = admin_open(RD_KAFKA_PRODUCER, servers);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    if (change == TOPIC_MAKE) {
        rd_kafka_NewTopic_t *made = rd_kafka_NewTopic_new(topic, 1, 1, reason, sizeof reason);
        rd_kafka_NewTopic_set_config(made, "max.message.bytes", max_message_bytes);
        rd_kafka_CreateTopics(rk, &made, 1, NULL, queue);
        await(queue);
        rd_kafka_NewTopic_destroy(made);
        await_partitions(rk, topic, 1);
    } else if (change == TOPIC_LIMIT) {
        rd_kafka_ConfigResource_t *of = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
        rd_kafka_ConfigResource_set_config(of, "max.message.bytes", max_message_bytes);
        rd_kafka_AlterConfigs(rk, &of, 1, NULL, queue);
        await(queue);
        rd_kafka_ConfigResource_destroy(of);
    } else {
        rd_kafka_DeleteTopic_t *gone = rd_kafka_DeleteTopic_new(topic);
        rd_kafka_DeleteTopics(rk, &gone, 1, NULL, queue);
        await(queue);
        rd_kafka_DeleteTopic_destroy(gone);
    }
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
}

typedef void visit_message(const rd_kafka_message_t *message, void *arg);

/* Reads n messages of the topic's partition 0 from its beginning. */
static void read_topic(const char *servers, const char *topic, size_t n, visit_message *visit,
                       void *arg) {
    rd_kafka_t *rk = admin_open(RD_KAFKA_CONSUMER, servers);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
    assert_int_equal(rd_kafka_assign(rk, list), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_topic_partition_list_destroy(list);
    int64_t end = clock_mono_ms() + WAIT_MS;
    while (n > 0 && clock_mono_ms() < end) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(rk, 200);
        if (message && !message->err) {
            visit(message, arg);
            n--;
        }
        if (message)
            rd_kafka_message_destroy(message);
    }
    assert_int_equal(n, 0);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
}

/* -- on a real Kafka -- */

static const char *const conditions[] = {
    "{\"key1\":\"value1\"}",
    "null",
    "[9223372036854775807,-9223372036854775808,1.0,1,0.30000000000000004]",
    "{\"\":{\"a.b\":1,\"$c\":\"\\u0000\"},\"text\":\"\xf0\x9f\x90\x8b \xe9\x95\xbf\xe9\x80\x94\"}",
};

struct expected {
    struct task tasks[LH_COUNT(conditions)];
    size_t at;
};

static void compare(const rd_kafka_message_t *message, void *arg) {
    struct expected *expected = arg;
    const struct task *task = &expected->tasks[expected->at++];
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, 1 << 20);
    message_encode(task, &buf);
    assert_int_equal(buf_rc(&buf), RC_OK);
    assert_int_equal(message->len, buf.len);
    assert_memory_equal(message->payload, buf.data, buf.len);
    assert_int_equal(message->key_len, strlen(task->task_id));
    assert_memory_equal(message->key, task->task_id, message->key_len);
    rd_kafka_headers_t *headers;
    const void *value;
    size_t len;
    bool traced = task->traceparent;
    assert_int_equal(rd_kafka_message_headers(message, &headers), RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(rd_kafka_header_get_last(headers, "attempt", &value, &len), 0);
    assert_int_equal(len, 1);
    assert_memory_equal(value, "1", 1);
    assert_int_equal(rd_kafka_header_cnt(headers), traced ? 2 : 1);
    if (traced) {
        assert_int_equal(rd_kafka_header_get_last(headers, "traceparent", &value, &len), 0);
        assert_int_equal(len, strlen(task->traceparent));
        assert_memory_equal(value, task->traceparent, len);
    }
}

static void the_message_is_the_base_contracts(void **state) {
    (void)state;
    const char *address = real_kafka();
    struct setting setting;
    setting_init(&setting, address);
    struct publisher *publisher = open_publisher(&setting);
    char text[512];
    assert_int_equal(ping(publisher, text), RC_OK);
    struct expected expected = {0};
    for (size_t i = 0; i < LH_COUNT(conditions); i++)
        expected.tasks[i] = make_task(conditions[i], (int64_t)i);
    expected.tasks[1].traceparent =
        (char *)"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    size_t sent;
    assert_int_equal(publisher_send(publisher, expected.tasks, LH_COUNT(conditions), &sent), RC_OK);
    assert_int_equal(sent, LH_COUNT(conditions));
    publisher_flush(publisher, WAIT_MS);
    assert_reports(0, LH_COUNT(conditions), RC_OK);
    read_topic(address, setting.topic, LH_COUNT(conditions), compare, &expected);
    publisher_destroy(publisher);
}

static void count_keys(const rd_kafka_message_t *message, void *arg) {
    struct message decoded;
    struct error err;
    int *counts = arg;
    assert_int_equal(message_decode(message->payload, message->len, &decoded, &err), RC_OK);
    counts[strtol(decoded.condition, NULL, 10)]++;
    message_finish(&decoded);
}

static void ten_thousand_messages_ten_thousand_reports(void **state) {
    (void)state;
    enum { N = 10000, AT_ONCE = 500 };
    const char *address = real_kafka();
    struct setting setting;
    setting_init(&setting, address);
    struct publisher *publisher = open_publisher(&setting);
    LH_FREE struct task *tasks = calloc(AT_ONCE, sizeof *tasks);
    char numbers[AT_ONCE][8];
    for (int from = 0; from < N; from += AT_ONCE) {
        for (int i = 0; i < AT_ONCE; i++) {
            snprintf(numbers[i], sizeof numbers[i], "%d", from + i);
            tasks[i] = make_task(numbers[i], from + i);
        }
        size_t sent;
        assert_int_equal(publisher_send(publisher, tasks, AT_ONCE, &sent), RC_OK);
    }
    publisher_flush(publisher, WAIT_MS);
    assert_reports(0, N, RC_OK);
    assert_int_equal(seen.total, N);
    LH_FREE int *counts = calloc(N, sizeof *counts);
    read_topic(address, setting.topic, N, count_keys, counts);
    for (int i = 0; i < N; i++)
        assert_int_equal(counts[i], 1);
    publisher_destroy(publisher);
}

static void a_missing_topic_is_named(void **state) {
    (void)state;
    struct setting setting;
    setting_init(&setting, real_kafka());
    setting.cfg.mq.create_topics = false;
    refuse_open(&setting, RC_CONFIG, setting.topic);
}

static void topics_are_made_with_their_partitions(void **state) {
    (void)state;
    struct setting setting;
    setting_init(&setting, real_kafka());
    setting.cfg.mq.partitions = 3;
    publisher_destroy(open_publisher(&setting));
    rd_kafka_t *rk = admin_open(RD_KAFKA_PRODUCER, real_kafka());
    await_partitions(rk, setting.topic, 3);
    rd_kafka_destroy(rk);
    setting.cfg.mq.create_topics = false; /* it is there now */
    publisher_destroy(open_publisher(&setting));
    setting_init(&setting, real_kafka());
    setting.cfg.mq.replication_factor = 7; /* more than there are brokers */
    refuse_open(&setting, RC_CONFIG, setting.topic);
}

/* A JSON string of n bytes with its quotes. The caller frees it. */
static char *long_string(size_t n) {
    char *text = malloc(n + 1);
    assert_non_null(text);
    memset(text, 'x', n);
    text[0] = text[n - 1] = '"';
    text[n] = '\0';
    return text;
}

static void what_is_too_large_is_undeliverable(void **state) {
    (void)state;
    struct setting setting;
    setting_init(&setting, real_kafka());
    change_topic(real_kafka(), setting.topic, TOPIC_MAKE, "4000");
    struct publisher *publisher = open_publisher(&setting);
    assert_in_range(publisher_message_max_bytes(publisher, "word"), 3000, 4000);
    LH_FREE char *small = long_string(1000), *large = long_string(5000),
                 *huge = long_string(2000000);
    for (int i = 0; i < 300; i++)
        assert_int_equal(send_task(publisher, small, i), RC_OK);
    assert_int_equal(send_task(publisher, large, 300), RC_OK);
    assert_int_equal(send_task(publisher, huge, 301), RC_OK);
    publisher_flush(publisher, WAIT_MS);
    assert_reports(0, 300, RC_OK);
    assert_reports(300, 302, RC_UNDELIVERABLE);
    assert_non_null(strstr(seen.text, "large"));
    publisher_destroy(publisher);
}

static void a_batch_that_became_too_large_is_split(void **state) {
    (void)state;
    enum { N = 200 };
    struct setting setting;
    setting_init(&setting, real_kafka());
    struct publisher *publisher = open_publisher(&setting);
    change_topic(real_kafka(), setting.topic, TOPIC_LIMIT, "3000");
    LH_FREE char *condition = long_string(1000);
    LH_FREE struct task *tasks = calloc(N, sizeof *tasks);
    for (int i = 0; i < N; i++)
        tasks[i] = make_task(condition, i);
    bool pending[N];
    memset(pending, true, sizeof pending);
    size_t left = N;
    for (int64_t end = clock_mono_ms() + WAIT_MS; left > 0 && clock_mono_ms() < end;) {
        forget();
        for (int i = 0; i < N; i++) {
            size_t sent;
            if (pending[i])
                assert_int_equal(publisher_send(publisher, &tasks[i], 1, &sent), RC_OK);
        }
        publisher_flush(publisher, WAIT_MS);
        for (int i = 0; i < N; i++) {
            assert_int_equal(seen.count[i], pending[i]);
            assert_int_not_equal(seen.rc[i], RC_UNDELIVERABLE);
            if (pending[i] && seen.rc[i] == RC_OK) {
                pending[i] = false;
                left--;
            }
        }
    }
    assert_int_equal(left, 0);
    publisher_destroy(publisher);
}

/* Messages from outbox_seq `seq` on, one by one, until one arrives. */
static void send_until_ok(struct publisher *publisher, int64_t seq) {
    enum rc rc = RC_BROKER_UNAVAILABLE;
    for (int64_t end = clock_mono_ms() + WAIT_MS; rc != RC_OK && clock_mono_ms() < end; seq++) {
        assert_int_equal(send_task(publisher, "1", seq), RC_OK);
        publisher_flush(publisher, WAIT_MS);
        assert_int_equal(seen.count[seq], 1);
        rc = seen.rc[seq];
    }
    assert_int_equal(rc, RC_OK);
}

static void a_topic_that_goes_missing_is_named_by_ping(void **state) {
    (void)state;
    struct setting setting;
    setting_init(&setting, real_kafka());
    setting_pass(&setting, "message.timeout.ms", "2000");
    change_topic(real_kafka(), setting.topic, TOPIC_MAKE, "1000000");
    setting.cfg.mq.create_topics = false;
    struct publisher *publisher = open_publisher(&setting);
    change_topic(real_kafka(), setting.topic, TOPIC_DELETE, NULL);
    wait_ping(publisher, RC_BROKER_UNAVAILABLE, setting.topic);
    assert_true(publisher_reachable(publisher));
    for (int i = 0; i < 5; i++)
        assert_int_equal(send_task(publisher, "1", i), RC_OK);
    publisher_flush(publisher, WAIT_MS);
    assert_reports(0, 5, RC_BROKER_UNAVAILABLE);
    change_topic(real_kafka(), setting.topic, TOPIC_MAKE, "1000000");
    wait_ping(publisher, RC_OK, "");
    send_until_ok(publisher, 5); /* message.timeout.ms is short */
    publisher_destroy(publisher);
}

static void sasl_plain(void **state) {
    (void)state;
    const char *address = getenv("LONGHAUL_TEST_KAFKA_SASL");
    const char *user = getenv("LONGHAUL_TEST_KAFKA_USER");
    const char *password = getenv("LONGHAUL_TEST_KAFKA_PASSWORD");
    if (!address || !user || !password) {
        print_message("skipped: LONGHAUL_TEST_KAFKA_SASL, _USER and _PASSWORD name no listener\n");
        skip();
    }
    struct setting setting;
    setting_init(&setting, address);
    setting.cfg.mq.security_protocol = (char *)"SASL_PLAINTEXT";
    setting.cfg.mq.username = (char *)user;
    setting.cfg.mq.password = (char *)password;
    struct publisher *publisher = open_publisher(&setting);
    assert_int_equal(send_task(publisher, "1", 0), RC_OK);
    publisher_flush(publisher, WAIT_MS);
    assert_reports(0, 1, RC_OK);
    publisher_destroy(publisher);
    setting.cfg.mq.password = (char *)"not-the-password";
    publisher = open_publisher(&setting);
    wait_ping(publisher, RC_BROKER_UNAVAILABLE, "uthentication");
    char text[512];
    (void)ping(publisher, text);
    assert_null(strstr(text, "not-the-password"));
    publisher_destroy(publisher);
}

/* -- without a Kafka -- */

static void nobody_listens(void **state) {
    (void)state;
    struct setting setting;
    setting_init(&setting, closed_address);
    setting_pass(&setting, "message.timeout.ms", "1000");
    assert_int_equal(publisher_timeout_ms(&setting.cfg), 1000);
    struct publisher *publisher = open_publisher(&setting);
    char text[512];
    assert_int_equal(ping(publisher, text), RC_BROKER_UNAVAILABLE);
    assert_non_null(strstr(text, closed_address));
    int64_t sent_at = clock_mono_ms();
    for (int i = 0; i < 10; i++)
        assert_int_equal(send_task(publisher, "1", i), RC_OK);
    publisher_flush(publisher, 1);
    size_t early = seen.total;
    if (clock_mono_ms() - sent_at < 1000)
        assert_int_equal(early, 0); /* flush gave up, nothing was lost */
    publisher_flush(publisher, WAIT_MS);
    assert_reports(0, 10, RC_BROKER_UNAVAILABLE);
    assert_true(publisher_message_max_bytes(publisher, "word") > 900000);
    assert_int_equal(send_task(publisher, "1", 10), RC_OK);
    publisher_destroy(publisher); /* with a message under way: no report after this */
    size_t total = seen.total;
    usleep(50000);
    assert_int_equal(seen.total, total);
}

static void a_full_queue_takes_no_more(void **state) {
    (void)state;
    enum { N = 25, ROOM = 10 };
    struct setting setting;
    setting_init(&setting, closed_address);
    setting_pass(&setting, "delivery.timeout.ms", "1000");
    setting_pass(&setting, "queue.buffering.max.messages", "10");
    struct publisher *publisher = open_publisher(&setting);
    struct task tasks[N];
    for (int i = 0; i < N; i++)
        tasks[i] = make_task("1", i);
    size_t sent = 0;
    assert_int_equal(publisher_send(publisher, tasks, N, &sent), RC_OVERLOADED);
    assert_int_equal(sent, ROOM);
    publisher_flush(publisher, WAIT_MS);
    assert_reports(0, ROOM, RC_BROKER_UNAVAILABLE);
    assert_int_equal(seen.total, ROOM);
    publisher_destroy(publisher);
}

static void a_service_without_a_topic_is_reported(void **state) {
    (void)state;
    struct setting setting;
    setting_init(&setting, closed_address);
    struct publisher *publisher = open_publisher(&setting);
    struct task task = make_task("1", 0);
    mem_copy_str(task.service, sizeof task.service, "elsewhere");
    size_t sent;
    assert_int_equal(publisher_send(publisher, &task, 1, &sent), RC_OK);
    publisher_flush(publisher, WAIT_MS);
    assert_reports(0, 1, RC_BROKER_UNAVAILABLE);
    publisher_destroy(publisher);
}

static void wrong_properties_are_named(void **state) {
    (void)state;
    static const struct {
        const char *name, *value, *part;
    } wrong[] = {
        {"no.such.thing", "1", "mq_conf.librdkafka.no.such.thing"},
        {"linger.ms", "soon", "mq_conf.librdkafka.linger.ms"},
        {"acks", "1", "mq_conf.librdkafka.acks: must be all"},
        {"enable.idempotence", "false", "mq_conf.librdkafka.enable.idempotence"},
        {"message.timeout.ms", "0", "message.timeout.ms"},
    };
    for (size_t i = 0; i < LH_COUNT(wrong); i++) {
        struct setting setting;
        setting_init(&setting, closed_address);
        setting_pass(&setting, wrong[i].name, wrong[i].value);
        refuse_open(&setting, RC_CONFIG, wrong[i].part);
    }
    struct setting setting;
    setting_init(&setting, closed_address);
    setting.cfg.mq.security_protocol = (char *)"SSL";
    setting.cfg.mq.ssl_ca = (char *)"/no/such/ca.pem";
    refuse_open(&setting, RC_CONFIG, "ssl.ca.location");
}

static void with_no_broker_there_is_nobody_to_tell(void **state) {
    (void)state;
    struct setting setting;
    setting_init(&setting, closed_address);
    setting.cfg.broker = BROKER_NONE;
    struct publisher *publisher = (struct publisher *)&setting;
    struct error err;
    assert_int_equal(publisher_open(&setting.cfg, on_reports, &seen, &publisher, &err), RC_OK);
    assert_null(publisher);
    publisher_destroy(NULL);
}

/* -- on the mock cluster -- */

struct mock {
    rd_kafka_t *rk;
    rd_kafka_mock_cluster_t *cluster;
    struct setting setting;
};

static void mock_init(struct mock *mock) {
    mock->rk = admin_open(RD_KAFKA_PRODUCER, closed_address);
    mock->cluster = rd_kafka_mock_cluster_new(mock->rk, 1);
    assert_non_null(mock->cluster);
    setting_init(&mock->setting, rd_kafka_mock_cluster_bootstraps(mock->cluster));
    mock->setting.cfg.mq.create_topics = false;
    rd_kafka_mock_topic_create(mock->cluster, mock->setting.topic, 1, 1);
}

static void mock_finish(struct mock *mock) {
    rd_kafka_mock_cluster_destroy(mock->cluster);
    rd_kafka_destroy(mock->rk);
}

static void a_dead_producer_is_replaced(void **state) {
    (void)state;
    struct mock mock;
    mock_init(&mock);
    struct publisher *publisher = open_publisher(&mock.setting);
    assert_int_equal(send_task(publisher, "1", 0), RC_OK);
    publisher_flush(publisher, WAIT_MS);
    assert_reports(0, 1, RC_OK);
    rd_kafka_mock_push_request_errors(mock.cluster, PRODUCE_API, 1,
                                      RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    for (int i = 1; i < 20; i++)
        assert_int_equal(send_task(publisher, "1", i), RC_OK);
    publisher_flush(publisher, WAIT_MS);
    for (int i = 1; i < 20; i++)
        assert_int_equal(seen.count[i], 1);
    send_until_ok(publisher, 100);
    publisher_destroy(publisher);
    mock_finish(&mock);
}

static void a_record_that_is_refused_is_undeliverable(void **state) {
    (void)state;
    struct mock mock;
    mock_init(&mock);
    struct publisher *publisher = open_publisher(&mock.setting);
    rd_kafka_mock_push_request_errors(mock.cluster, PRODUCE_API, 1,
                                      RD_KAFKA_RESP_ERR_INVALID_RECORD);
    assert_int_equal(send_task(publisher, "1", 0), RC_OK);
    publisher_flush(publisher, WAIT_MS);
    assert_reports(0, 1, RC_UNDELIVERABLE);
    assert_true(seen.text[0] != '\0');
    publisher_destroy(publisher);
    mock_finish(&mock);
}

static void errors_that_pass_are_not_seen(void **state) {
    (void)state;
    struct mock mock;
    mock_init(&mock);
    struct publisher *publisher = open_publisher(&mock.setting);
    rd_kafka_mock_push_request_errors(
        mock.cluster, PRODUCE_API, 3, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS);
    for (int i = 0; i < 20; i++)
        assert_int_equal(send_task(publisher, "1", i), RC_OK);
    publisher_flush(publisher, WAIT_MS);
    assert_reports(0, 20, RC_OK);
    publisher_destroy(publisher);
    mock_finish(&mock);
}

static void ping_follows_the_broker(void **state) {
    (void)state;
    struct mock mock;
    mock_init(&mock);
    struct publisher *publisher = open_publisher(&mock.setting);
    wait_ping(publisher, RC_OK, "");
    rd_kafka_mock_broker_set_down(mock.cluster, 1);
    wait_ping(publisher, RC_BROKER_UNAVAILABLE, mock.setting.cfg.mq.bootstrap_servers);
    rd_kafka_mock_broker_set_up(mock.cluster, 1);
    wait_ping(publisher, RC_OK, "");
    assert_int_equal(send_task(publisher, "1", 0), RC_OK);
    publisher_flush(publisher, WAIT_MS);
    assert_reports(0, 1, RC_OK);
    publisher_destroy(publisher);
    mock_finish(&mock);
}

static void a_broker_that_comes_later_is_used(void **state) {
    (void)state;
    struct mock mock;
    mock_init(&mock);
    rd_kafka_mock_broker_set_down(mock.cluster, 1);
    struct publisher *publisher = open_publisher(&mock.setting);
    wait_ping(publisher, RC_BROKER_UNAVAILABLE, "");
    assert_int_equal(send_task(publisher, "1", 0), RC_OK);
    rd_kafka_mock_broker_set_up(mock.cluster, 1);
    publisher_flush(publisher, WAIT_MS);
    assert_reports(0, 1, RC_OK);
    wait_ping(publisher, RC_OK, "");
    publisher_destroy(publisher);
    mock_finish(&mock);
}

int main(void) {
    log_setup("test", LOG_TEXT, getenv("LONGHAUL_TEST_VERBOSE") ? LOG_DEBUG : LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_no_broker_there_is_nobody_to_tell),
        cmocka_unit_test(wrong_properties_are_named),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(a_full_queue_takes_no_more),
        cmocka_unit_test(a_service_without_a_topic_is_reported),
        cmocka_unit_test(a_dead_producer_is_replaced),
        cmocka_unit_test(a_record_that_is_refused_is_undeliverable),
        cmocka_unit_test(errors_that_pass_are_not_seen),
        cmocka_unit_test(ping_follows_the_broker),
        cmocka_unit_test(a_broker_that_comes_later_is_used),
        cmocka_unit_test(the_message_is_the_base_contracts),
        cmocka_unit_test(ten_thousand_messages_ten_thousand_reports),
        cmocka_unit_test(a_missing_topic_is_named),
        cmocka_unit_test(topics_are_made_with_their_partitions),
        cmocka_unit_test(what_is_too_large_is_undeliverable),
        cmocka_unit_test(a_batch_that_became_too_large_is_split),
        cmocka_unit_test(a_topic_that_goes_missing_is_named_by_ping),
        cmocka_unit_test(sasl_plain),
    };
    return cmocka_run_group_tests_name("publisher", tests, NULL, NULL);
}
