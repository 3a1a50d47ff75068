/* bench_bulk.c: the bare cost of what a create in cluster mode does: bulk inserts into MongoDB and
 * messages to Kafka, by one thread that does nothing else.
 *
 *     bench_bulk run URI DATABASE COLLECTION BROKERS TOPIC BATCH COUNT [mark]
 *     bench_bulk drop URI DATABASE BROKERS TOPIC
 *
 * run: the documents are like one that stands in the collection (so they have the shape and the
 * size of ours, and meet the same indexes), each with an id of its own. A batch is one unordered
 * insert, w: majority, j: true; then its messages go out, acks=all, idempotent, with the
 * publisher's settings; the next batch does not wait for them. `mark` adds what a delivered message
 * costs: once a batch is delivered, one bulk of updates guarded by {_id, rev}. Until the last
 * message is delivered and the last update answered. One JSON line.
 *
 * drop: removes the database and the topic.
 */
#include <librdkafka/rdkafka.h>
#include <mongoc/mongoc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { BATCH_MAX = 10000, COUNT_MAX = 10000000, ID_CAP = 80, WAIT_MS = 30000, WTIMEOUT_MS = 5000 };

/* The ids of a batch. */
struct batch {
    bson_oid_t *oids;
    size_t n;
};

struct bench {
    mongoc_client_t *client;
    mongoc_collection_t *tasks;
    rd_kafka_t *producer;
    rd_kafka_topic_t *topic;
    bson_t like; /* what all documents have in common */
    char *tail;  /* of a message: what follows the id */
    size_t batch;
    long count, made, delivered;
    bool mark;
    size_t bytes;           /* of a document */
    struct batch now, last; /* last: produced, not marked */
};

static void die(const char *what, const char *why) {
    fprintf(stderr, "bench_bulk: %s: %s\n", what, why);
    exit(1);
}

static int64_t now_ns(clockid_t which) {
    struct timespec ts;
    clock_gettime(which, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static long number(const char *text, long max) {
    char *end;
    long value = strtol(text, &end, 10);
    if (*end || value < 1 || value > max)
        die(text, "is no number that fits");
    return value;
}

static void put_id(const bson_oid_t *oid, char ret[ID_CAP]) {
    char hex[25];
    bson_oid_to_string(oid, hex);
    snprintf(ret, ID_CAP, "ts_bench_%.8s-%.4s-7000-8000-%.12s", hex, hex + 8, hex + 12);
}

/* ---- Kafka ---- */

static void on_delivery(rd_kafka_t *producer, const rd_kafka_message_t *message, void *with) {
    struct bench *bench = with;
    (void)producer;
    if (message->err)
        die("a message", rd_kafka_err2str(message->err));
    bench->delivered++;
}

/* As shared/publisher/kafka_instance.c has them. */
static rd_kafka_t *open_producer(const char *brokers, struct bench *bench) {
    static const char *const settings[][2] = {
        {"enable.idempotence", "true"},
        {"acks", "all"},
        {"max.in.flight.requests.per.connection", "1"},
        {"linger.ms", "0"},
        {"socket.nagle.disable", "true"},
        {"partitioner", "murmur2_random"},
        {"queue.buffering.max.messages", "1000000"},
    };
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[256];
    if (rd_kafka_conf_set(conf, "bootstrap.servers", brokers, why, sizeof why) != RD_KAFKA_CONF_OK)
        die("Kafka", why);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], why, sizeof why) !=
            RD_KAFKA_CONF_OK)
            die(settings[i][0], why);
    rd_kafka_conf_set_opaque(conf, bench);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_t *producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!producer)
        die("Kafka", why);
    return producer;
}

static void produce(struct bench *bench) {
    char id[ID_CAP], message[16384];
    for (size_t i = 0; i < bench->now.n; i++) {
        put_id(&bench->now.oids[i], id);
        int len =
            snprintf(message, sizeof message, "{\"Task\":{\"task_id\":\"%s\"%s", id, bench->tail);
        if (len < 0 || len >= (int)sizeof message)
            die("a message", "is too long");
        if (rd_kafka_produce(bench->topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, message,
                             (size_t)len, id, strlen(id), NULL) != 0)
            die("produce", rd_kafka_err2str(rd_kafka_last_error()));
    }
    rd_kafka_poll(bench->producer, 0);
}

static void await_delivered(struct bench *bench, long count) {
    int64_t end = now_ns(CLOCK_MONOTONIC) + WAIT_MS * INT64_C(1000000);
    while (bench->delivered < count) {
        rd_kafka_poll(bench->producer, 100);
        if (now_ns(CLOCK_MONOTONIC) > end)
            die("Kafka", "did not take the messages");
    }
}

/* ---- MongoDB ---- */

static mongoc_client_t *open_client(const char *uri) {
    mongoc_init();
    mongoc_client_t *client = mongoc_client_new(uri);
    if (!client)
        die(uri, "the driver refuses it");
    mongoc_client_set_error_api(client, MONGOC_ERROR_API_VERSION_2);
    return client;
}

static mongoc_bulk_operation_t *begin_bulk(const struct bench *bench) {
    bson_t *opts =
        BCON_NEW("ordered", BCON_BOOL(false), "writeConcern", "{", "w", BCON_UTF8("majority"), "j",
                 BCON_BOOL(true), "wtimeout", BCON_INT32(WTIMEOUT_MS), "}");
    mongoc_bulk_operation_t *bulk =
        mongoc_collection_create_bulk_operation_with_opts(bench->tasks, opts);
    bson_destroy(opts);
    return bulk;
}

static void end_bulk(mongoc_bulk_operation_t *bulk, const char *count, size_t n) {
    bson_t reply;
    bson_error_t fault;
    bson_iter_t iter;
    if (!mongoc_bulk_operation_execute(bulk, &reply, &fault))
        die("a bulk", fault.message);
    if (!bson_iter_init_find(&iter, &reply, count) || bson_iter_as_int64(&iter) != (int64_t)n)
        die("a bulk", "did less than it should");
    bson_destroy(&reply);
    mongoc_bulk_operation_destroy(bulk);
}

/* What the model has, but for what is each task's own and what has changed since it was created. */
static void read_model(struct bench *bench) {
    bson_t filter = BSON_INITIALIZER;
    bson_error_t fault;
    const bson_t *doc;
    bson_iter_t iter, inner;
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(bench->tasks, &filter, NULL, NULL);
    if (!mongoc_cursor_next(cursor, &doc))
        die("the model", mongoc_cursor_error(cursor, &fault) ? fault.message : "is missing");
    bson_init(&bench->like);
    bson_copy_to_excluding_noinit(doc, &bench->like, "_id", "task_id", "status", "sub_status",
                                  "create_time", "stored_time", "rank", "outbox", "queued", "rev",
                                  "ops", NULL);
    bson_t condition = BSON_INITIALIZER;
    if (bson_iter_init_find(&iter, doc, "condition") && bson_iter_recurse(&iter, &inner))
        while (bson_iter_next(&inner))
            bson_append_iter(&condition, NULL, 0, &inner);
    char *json = bson_as_relaxed_extended_json(&condition, NULL);
    if (asprintf(&bench->tail, ",\"service\":\"bench\",\"source_name\":\"\",\"condition\":%s}}",
                 json) < 0)
        die("the model", "out of memory");
    bson_free(json);
    bson_destroy(&condition);
    bson_destroy(&filter);
    mongoc_cursor_destroy(cursor);
}

static void put_document(const struct bench *bench, const bson_oid_t *oid, int64_t now_ms,
                         bson_t *to) {
    char id[ID_CAP];
    bson_t inner;
    put_id(oid, id);
    BSON_APPEND_OID(to, "_id", oid);
    BSON_APPEND_UTF8(to, "task_id", id);
    BSON_APPEND_UTF8(to, "status", "ready");
    BSON_APPEND_UTF8(to, "sub_status", "producing");
    BSON_APPEND_DATE_TIME(to, "create_time", now_ms);
    BSON_APPEND_DATE_TIME(to, "stored_time", now_ms);
    BSON_APPEND_INT64(to, "rank", now_ms);
    BSON_APPEND_DOCUMENT_BEGIN(to, "outbox", &inner);
    BSON_APPEND_INT64(&inner, "seq", 1);
    BSON_APPEND_BOOL(&inner, "pending", true);
    BSON_APPEND_DATE_TIME(&inner, "pick_at", now_ms);
    bson_append_document_end(to, &inner);
    BSON_APPEND_DOCUMENT_BEGIN(to, "queued", &inner);
    BSON_APPEND_DATE_TIME(&inner, "at", now_ms);
    BSON_APPEND_NULL(&inner, "produced_at");
    BSON_APPEND_NULL(&inner, "message");
    bson_append_document_end(to, &inner);
    BSON_APPEND_INT64(to, "rev", 1);
    bson_concat(to, &bench->like);
}

static void insert(struct bench *bench) {
    mongoc_bulk_operation_t *bulk = begin_bulk(bench);
    int64_t now_ms = now_ns(CLOCK_REALTIME) / 1000000;
    bson_t *opts = BCON_NEW("validate", BCON_BOOL(false));
    for (size_t i = 0; i < bench->now.n; i++) {
        bson_t doc = BSON_INITIALIZER;
        bson_error_t fault;
        bson_oid_init(&bench->now.oids[i], NULL);
        put_document(bench, &bench->now.oids[i], now_ms, &doc);
        if (!mongoc_bulk_operation_insert_with_opts(bulk, &doc, opts, &fault))
            die("a document", fault.message);
        bench->bytes = doc.len;
        bson_destroy(&doc);
    }
    bson_destroy(opts);
    end_bulk(bulk, "nInserted", bench->now.n);
}

/* Of the batch before, which is delivered. */
static void mark(struct bench *bench) {
    if (!bench->last.n)
        return;
    await_delivered(bench, bench->made - (long)bench->now.n);
    mongoc_bulk_operation_t *bulk = begin_bulk(bench);
    int64_t now_ms = now_ns(CLOCK_REALTIME) / 1000000;
    for (size_t i = 0; i < bench->last.n; i++) {
        bson_error_t fault;
        bson_t *guard = BCON_NEW("_id", BCON_OID(&bench->last.oids[i]), "rev", BCON_INT64(1));
        bson_t *update =
            BCON_NEW("$set", "{", "rev", BCON_INT64(2), "status", BCON_UTF8("waiting"),
                     "sub_status", BCON_UTF8("queued"), "outbox", "{", "seq", BCON_INT64(1),
                     "pending", BCON_BOOL(false), "pick_at", BCON_DATE_TIME(now_ms), "}", "queued",
                     "{", "at", BCON_DATE_TIME(now_ms), "produced_at", BCON_DATE_TIME(now_ms),
                     "message", BCON_UTF8("bench/0/1234567"), "}", "}");
        if (!mongoc_bulk_operation_update_one_with_opts(bulk, guard, update, NULL, &fault))
            die("an update", fault.message);
        bson_destroy(guard);
        bson_destroy(update);
    }
    end_bulk(bulk, "nMatched", bench->last.n);
    bench->last.n = 0;
}

/* ---- the loop ---- */

static void run_batch(struct bench *bench) {
    long left = bench->count - bench->made;
    bench->now.n = left < (long)bench->batch ? (size_t)left : bench->batch;
    insert(bench);
    bench->made += (long)bench->now.n;
    produce(bench);
    if (!bench->mark)
        return;
    mark(bench);
    struct batch before = bench->last;
    bench->last = bench->now;
    bench->now = before;
}

static void run(struct bench *bench) {
    read_model(bench);
    bench->now.oids = calloc(bench->batch, sizeof(bson_oid_t));
    bench->last.oids = calloc(bench->batch, sizeof(bson_oid_t));
    if (!bench->now.oids || !bench->last.oids)
        die("setup", "out of memory");
    int64_t begun = now_ns(CLOCK_MONOTONIC), cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    while (bench->made < bench->count)
        run_batch(bench);
    bench->now.n = 0;
    mark(bench);
    await_delivered(bench, bench->count);
    double s = (double)(now_ns(CLOCK_MONOTONIC) - begun) / 1e9;
    double cpu_us = (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu) / 1e3;
    printf("{\"batch\":%zu,\"count\":%ld,\"mark\":%s,\"doc_bytes\":%zu,\"s\":%.3f,\"per_s\":%.1f,"
           "\"cpu_us\":%.1f}\n",
           bench->batch, bench->count, bench->mark ? "true" : "false", bench->bytes, s,
           (double)bench->count / s, cpu_us / (double)bench->count);
}

static void drop(struct bench *bench, const char *database, const char *topic) {
    bson_error_t fault;
    mongoc_database_t *base = mongoc_client_get_database(bench->client, database);
    if (!mongoc_database_drop(base, &fault))
        die(database, fault.message);
    mongoc_database_destroy(base);
    rd_kafka_DeleteTopic_t *gone = rd_kafka_DeleteTopic_new(topic);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(bench->producer);
    rd_kafka_DeleteTopics(bench->producer, &gone, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_MS);
    if (!event || rd_kafka_event_error(event))
        die(topic, event ? rd_kafka_event_error_string(event) : "is not deleted in time");
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_DeleteTopic_destroy(gone);
    printf("{\"dropped\":\"%s\"}\n", database);
}

static int usage(void) {
    fprintf(stderr, "usage: bench_bulk run URI DATABASE COLLECTION BROKERS TOPIC BATCH COUNT "
                    "[mark]\n       bench_bulk drop URI DATABASE BROKERS TOPIC\n");
    return 64;
}

int main(int argc, char **argv) {
    struct bench bench = {0};
    if (argc == 6 && strcmp(argv[1], "drop") == 0) {
        bench.client = open_client(argv[2]);
        bench.producer = open_producer(argv[4], &bench);
        drop(&bench, argv[3], argv[5]);
    } else if (argc >= 9 && argc <= 10 && strcmp(argv[1], "run") == 0) {
        bench.client = open_client(argv[2]);
        bench.tasks = mongoc_client_get_collection(bench.client, argv[3], argv[4]);
        bench.producer = open_producer(argv[5], &bench);
        bench.topic = rd_kafka_topic_new(bench.producer, argv[6], NULL);
        bench.batch = (size_t)number(argv[7], BATCH_MAX);
        bench.count = number(argv[8], COUNT_MAX);
        bench.mark = argc > 9 && strcmp(argv[9], "mark") == 0;
        run(&bench);
        bson_destroy(&bench.like);
        free(bench.tail);
        free(bench.now.oids);
        free(bench.last.oids);
        rd_kafka_topic_destroy(bench.topic);
        mongoc_collection_destroy(bench.tasks);
    } else {
        return usage();
    }
    rd_kafka_destroy(bench.producer);
    mongoc_client_destroy(bench.client);
    return 0;
}
