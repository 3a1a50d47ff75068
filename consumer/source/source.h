/* source.h: where tasks come from; one interface, two kinds: the API's claim_task (long poll) and a
 * Kafka topic.
 *
 * A source delivers tasks that are already claimed for this consumer, and never more than it was
 * told there is room for. Loop thread only.
 */
#ifndef LH_CONSUMER_SOURCE_H
#define LH_CONSUMER_SOURCE_H

#include "base/metrics.h"
#include "consumer/api_client.h"
#include "consumer/slot/slot.h"

struct source;

/* A claimed task; the callee takes what the assignment owns. */
typedef void source_deliver(struct assignment *assignment, void *arg);

/* Messages of a partition that are not claimed or settled yet. */
struct source_lag {
    const char *group, *topic;
    int partition;
    int64_t messages;
};
typedef void source_lag_each(const struct source_lag *lag, void *arg);

struct source_options {
    struct event_base *base;
    const struct config *cfg;
    struct api_client *api;
    const struct config_service *const *services; /* those that this consumer runs */
    size_t n_services;
    const char *group_instance_id; /* instead of the configuration's, or NULL; Kafka only */
    struct metrics *metrics;       /* where to count; NULL: nowhere */
    bool watched;                  /* somebody asks for its lag */
    source_deliver *deliver;
    /* The source cannot go on and takes nothing more; it is still to be stopped. Called once at
     * most, from the loop. */
    void (*failed)(const struct error *err, void *arg);
    void *arg;
};

struct source_impl {
    const char *name; /* "api", "kafka" */
    void (*room)(struct source *source, size_t service, int free_slots);
    void (*stop)(struct source *source, void (*stopped)(void *arg), void *arg);
    void (*destroy)(struct source *source);
    void (*each_lag)(const struct source *source, source_lag_each *each, void *arg); /* or NULL */
};

struct source {
    const struct source_impl *impl;
};

/* The source that cfg->broker names. source_kafka is a loadable module (base/plugin.h). */
enum rc source_open(const struct source_options *options, struct source **ret,
                    struct error *err) LH_MUST_USE;

/* Room for so many more tasks of services[service]: a source keeps the newest figure. 0: deliver
 * none (Kafka: its partitions are paused while polling goes on). */
void source_room(struct source *source, size_t service, int free_slots);

/* Takes no further task. Claims under way are still delivered; then `stopped` is called, once.
 * Kafka: offsets stored so far are committed. */
void source_stop(struct source *source, void (*stopped)(void *arg), void *arg);

/* Calls `each` for every assigned partition whose lag is known (options.watched); a source without
 * partitions has none. NULL is fine. */
void source_each_lag(const struct source *source, source_lag_each *each, void *arg);

/* NULL is fine. */
void source_destroy(struct source *source);

enum rc source_api_open(const struct source_options *options, struct source **ret,
                        struct error *err) LH_MUST_USE;
enum rc source_kafka_open(const struct source_options *options, struct source **ret,
                          struct error *err) LH_MUST_USE;

#endif
