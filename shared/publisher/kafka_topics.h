/* kafka_topics.h: the topics that the configuration names: are they there, and how much do they
 * take?
 *
 * The table is made once from the services. kafka_topics_check() asks the broker and brings it up
 * to date; it blocks, so one thread at a time calls it (the opener, then the watching thread).
 * Reading an entry is free for any thread.
 */
#ifndef LH_PUBLISHER_KAFKA_TOPICS_H
#define LH_PUBLISHER_KAFKA_TOPICS_H

#include "config/config.h"

#include <librdkafka/rdkafka.h>
#include <stdatomic.h>

struct kafka_topic {
    const char *name;          /* of cfg */
    bool present;              /* as the last check found it; the checking thread's */
    _Atomic int64_t max_bytes; /* its max.message.bytes; 0: not known */
};

struct kafka_topics {
    const struct config *cfg;
    struct kafka_topic *items; /* each topic once */
    size_t n;
    int64_t described_at; /* clock_mono_ms() of the last look at the limits; 0: never */
};

enum rc kafka_topics_init(struct kafka_topics *topics, const struct config *cfg) LH_MUST_USE;
void kafka_topics_finish(struct kafka_topics *topics);

/* The number of the service's topic in items, or -1. */
int kafka_topics_find(const struct kafka_topics *topics, const char *service);

/* Asks for every topic, makes the missing ones where mq_conf.create_topics says so, and now and
 * then reads their limits. Each question waits at most timeout_ms. RC_BROKER_UNAVAILABLE: no
 * answer. RC_CONFIG: a topic is missing, and named. `rk` must know the topics (rd_kafka_topic_new).
 */
enum rc kafka_topics_check(struct kafka_topics *topics, rd_kafka_t *rk, int timeout_ms,
                           struct error *err) LH_MUST_USE;

/* The smallest known limit, or `otherwise` where none is known. */
int64_t kafka_topics_smallest(const struct kafka_topics *topics, int64_t otherwise);

#endif
