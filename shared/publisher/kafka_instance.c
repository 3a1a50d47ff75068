/* kafka_instance.c: one idempotent producer: its properties, its birth, its end. */
#include "publisher/kafka_instance.h"

#include "base/mem.h"
#include "publisher/kafka_conf.h"

#include <stdio.h>

static const struct kafka_property defaults[] = {
    {"linger.ms", "0"},
    {"message.timeout.ms", "10000"},
    {"request.timeout.ms", "5000"},
    {"socket.timeout.ms", "10000"},
    {"socket.nagle.disable", "true"},
    {"socket.keepalive.enable", "true"},
    {"partitioner", "murmur2_random"},
    {"reconnect.backoff.ms", "50"},
    {"reconnect.backoff.max.ms", "1000"},
    {"log.connection.close", "false"},
    {NULL, NULL},
};

/* max.in.flight 1: a batch forms itself while the one before it travels, which is fastest for group
 * commit. */
static const struct kafka_property fixed[] = {
    {"enable.idempotence", "true"},
    {"acks", "all"},
    {"max.in.flight.requests.per.connection", "1"},
    {"allow.auto.create.topics", "false"},
    {NULL, NULL},
};

static const struct kafka_role producer = {defaults, fixed};

static int64_t conf_number(const rd_kafka_conf_t *conf, const char *name) {
    char text[32];
    size_t cap = sizeof text;
    if (rd_kafka_conf_get(conf, name, text, &cap) != RD_KAFKA_CONF_OK)
        return 0;
    return strtoll(text, NULL, 10);
}

/* Lowers batch.size to batch_bytes, and notes what the limits are then. */
static enum rc set_limits(struct kafka_instance *instance, rd_kafka_conf_t *conf,
                          int64_t batch_bytes, struct error *err) {
    instance->message_max_bytes = conf_number(conf, "message.max.bytes");
    instance->batch_bytes = conf_number(conf, "batch.size");
    if (batch_bytes == 0 || batch_bytes >= instance->batch_bytes)
        return RC_OK;
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)batch_bytes);
    instance->batch_bytes = batch_bytes;
    return kafka_conf_set(conf, "batch.size", text, err);
}

static enum rc make_topics(struct kafka_instance *instance, const struct kafka_topics *topics,
                           struct error *err) {
    instance->topics = calloc(topics->n + 1, sizeof(*instance->topics));
    if (!instance->topics)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    for (; instance->n_topics < topics->n; instance->n_topics++) {
        const char *name = topics->items[instance->n_topics].name;
        rd_kafka_topic_t *topic = rd_kafka_topic_new(instance->rk, name, NULL);
        if (!topic)
            return error_set(err, RC_CONFIG, "topic %s: %s", name,
                             rd_kafka_err2str(rd_kafka_last_error()));
        instance->topics[instance->n_topics] = topic;
    }
    return RC_OK;
}

/* Makes the producer of conf, which is taken over. */
static enum rc start(struct kafka_instance *instance, rd_kafka_conf_t *conf,
                     const struct kafka_topics *topics, struct error *err) {
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
    enum rc rc = kafka_create(RD_KAFKA_PRODUCER, conf, &instance->rk, err);
    if (rc != RC_OK)
        return rc;
    instance->queue = rd_kafka_queue_get_main(instance->rk);
    return make_topics(instance, topics, err);
}

enum rc kafka_instance_create(const struct config *cfg, const struct kafka_topics *topics,
                              int64_t batch_bytes, struct kafka_instance **ret, struct error *err) {
    struct kafka_instance *instance = calloc(1, sizeof *instance);
    if (!instance)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    rd_kafka_conf_t *conf = NULL;
    enum rc rc = kafka_conf_create(cfg, &producer, &conf, err);
    if (rc == RC_OK)
        rc = set_limits(instance, conf, batch_bytes, err);
    if (rc == RC_OK)
        rc = start(instance, TAKE(conf), topics, err);
    if (conf)
        rd_kafka_conf_destroy(conf);
    if (rc != RC_OK) {
        kafka_instance_destroy(instance);
        return rc;
    }
    *ret = instance;
    return RC_OK;
}

void kafka_instance_drop(struct kafka_instance *instance) {
    rd_kafka_event_t *event;
    const rd_kafka_message_t *message;
    rd_kafka_purge(instance->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    while (rd_kafka_outq_len(instance->rk) > 0 &&
           (event = rd_kafka_queue_poll(instance->queue, 1000))) {
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR)
            while ((message = rd_kafka_event_message_next(event)))
                free(message->_private);
        rd_kafka_event_destroy(event);
    }
}

void kafka_instance_destroy(struct kafka_instance *instance) {
    if (!instance)
        return;
    for (size_t i = 0; i < instance->n_topics; i++)
        rd_kafka_topic_destroy(instance->topics[i]);
    free(instance->topics);
    if (instance->queue)
        rd_kafka_queue_destroy(instance->queue);
    if (instance->rk)
        rd_kafka_destroy(instance->rk);
    free(instance);
}
