/* kafka_instance.h: one idempotent producer with its queue of events and its topics.
 *
 * What it is set to is fixed at its birth, the size of its batches too; publisher_kafka.c replaces
 * it where that no longer fits, or where it died.
 */
#ifndef LH_PUBLISHER_KAFKA_INSTANCE_H
#define LH_PUBLISHER_KAFKA_INSTANCE_H

#include "publisher/kafka_topics.h"

struct kafka_instance {
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;   /* delivery reports and errors */
    rd_kafka_topic_t **topics; /* as kafka_topics.items */
    size_t n_topics;
    int64_t batch_bytes;         /* most bytes of a batch */
    int64_t message_max_bytes;   /* message.max.bytes */
    struct kafka_instance *next; /* in a list of the publisher's */
};

/* A producer for cfg->mq with batches of at most batch_bytes (0: as configured). RC_CONFIG names
 * the property or topic that librdkafka does not take. */
enum rc kafka_instance_create(const struct config *cfg, const struct kafka_topics *topics,
                              int64_t batch_bytes, struct kafka_instance **ret,
                              struct error *err) LH_MUST_USE;

/* Gives up what was not sent and free()s the opaques of all messages that are still in it. */
void kafka_instance_drop(struct kafka_instance *instance);

/* NULL is fine. The messages in it are lost with their opaques: drop them before. */
void kafka_instance_destroy(struct kafka_instance *instance);

#endif
