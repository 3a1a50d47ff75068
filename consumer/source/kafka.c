/* kafka.c: tasks by messages: each is claimed from the API before its offset is committed.
 */
#include "consumer/source/kafka.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/mutant.h"
#include "consumer/metrics_table.h"
#include "task/message.h"

#include <assert.h>
#include <string.h>

enum {
    PART_CLAIMS_MAX = 1024, /* not settled or behind one that is not; more pause the partition */
    STOP_MS = 10000,        /* then source_stop() ends with whatever is still under way */
};

struct kafka_source {
    struct source source;
    struct source_options options;
    struct kafka_feed *feeds; /* in options.services' order */
    struct kafka_member *members;
    size_t n_members;
    int64_t n_skipped; /* messages that could not be tasks of ours */
    bool stopping, closing, failed;
    void (*stopped)(void *arg);
    void *stopped_arg;
    struct event *finished;
};

static void close_if_done(struct kafka_source *source);

struct event_base *kafka_source_base(const struct kafka_source *source) {
    return source->options.base;
}

const struct config *kafka_source_config(const struct kafka_source *source) {
    return source->options.cfg;
}

struct metrics *kafka_source_metrics(const struct kafka_source *source) {
    return source->options.metrics;
}

bool kafka_source_is_watched(const struct kafka_source *source) {
    return source->options.watched;
}

const char *kafka_source_instance_id(const struct kafka_source *source) {
    const char *id = source->options.group_instance_id;
    return id ? id : source->options.cfg->mq.group_instance_id;
}

void kafka_source_failed(struct kafka_source *source, const struct error *err) {
    if (source->failed)
        return;
    source->failed = true;
    source->options.failed(err, source->options.arg);
}

void kafka_source_flow(struct kafka_source *source, const struct kafka_feed *feed) {
    for (size_t i = 0; i < source->n_members; i++)
        if (strcmp(source->members[i].group, feed->group) == 0)
            kafka_member_flow(&source->members[i]);
}

static struct kafka_feed *find_feed(struct kafka_source *source, const char *group,
                                    const char *service) {
    for (size_t i = 0; i < source->options.n_services; i++) {
        struct kafka_feed *feed = &source->feeds[i];
        if (strcmp(feed->group, group) == 0 && strcmp(feed->service->name, service) == 0)
            return feed;
    }
    return NULL;
}

bool kafka_source_must_wait(const struct kafka_source *source, const struct kafka_part *part) {
    if (source->stopping || part->n_claims >= PART_CLAIMS_MAX)
        return true;
    for (size_t i = 0; i < source->options.n_services; i++) {
        const struct kafka_feed *feed = &source->feeds[i];
        if (kafka_feed_must_wait(feed) && strcmp(feed->group, part->member->group) == 0 &&
            strcmp(feed->service->topic, part->topic) == 0)
            return true;
    }
    return false;
}

/* -- messages -- */

static void skip(struct kafka_source *source, const struct kafka_part *part,
                 const rd_kafka_message_t *message, const char *why) {
    metrics_add(source->options.metrics, METRIC_KAFKA_SKIPPED, 0, 1);
    log_error(.msg = "message skipped", .topic = part->topic, .partition = part->partition,
              .offset = message->offset, .error = why, .count = ++source->n_skipped);
}

/* Finds out whose task the message is; NULL: skipped. */
static struct kafka_feed *read_message(struct kafka_source *source, const struct kafka_part *part,
                                       const rd_kafka_message_t *message, char *task_id) {
    struct message task;
    struct error err;
    if (message_decode(message->payload, message->len, &task, &err) != RC_OK) {
        skip(source, part, message, err.text);
        return NULL;
    }
    struct kafka_feed *feed = find_feed(source, part->member->group, task.service);
    if (!feed)
        skip(source, part, message, "its service is not served from this topic's group");
    memcpy(task_id, task.task_id, TASK_TEXT_CAP);
    message_finish(&task);
    return feed;
}

static void read_trace(const rd_kafka_message_t *message, char ret[TRACEPARENT_CAP]) {
    rd_kafka_headers_t *headers;
    const void *value;
    size_t len;
    char text[TRACEPARENT_CAP] = "";
    if (!rd_kafka_message_headers(message, &headers) &&
        !rd_kafka_header_get_last(headers, "traceparent", &value, &len) && len < sizeof text) {
        memcpy(text, value, len);
        (void)!traceparent_read(text, ret);
    }
}

bool kafka_source_message(struct kafka_source *source, struct kafka_part *part,
                          const rd_kafka_message_t *message) {
    if (source->stopping)
        return true;
    struct kafka_claim *claim = kafka_claim_create(part, message->offset);
    if (!claim)
        return false;
    if (LH_MUTANT("claim-before-offset"))
        kafka_part_commit(part, message->offset + 1);
    struct kafka_feed *feed = read_message(source, part, message, claim->task_id);
    read_trace(message, claim->traceparent);
    if (feed)
        kafka_feed_add(feed, claim);
    else
        kafka_claim_skip(claim);
    return true;
}

void kafka_source_revoked(struct kafka_source *source, struct kafka_part *part) {
    (void)source;
    struct kafka_claim *claim;
    while ((claim = TAILQ_FIRST(&part->claims)))
        kafka_claim_orphan(claim);
}

/* -- stopping -- */

static void on_finished(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct kafka_source *source = arg;
    if (!source->stopped)
        return;
    for (size_t i = 0; i < source->n_members; i++)
        if (!source->members[i].closed)
            log_warning(.msg = "kafka group not left in time", .detail = source->members[i].group,
                        .ms = STOP_MS);
    TAKE(source->stopped)(source->stopped_arg);
}

void kafka_source_closed(struct kafka_source *source) {
    for (size_t i = 0; i < source->n_members; i++)
        if (!source->members[i].closed)
            return;
    event_active(source->finished, EV_TIMEOUT, 0);
}

void kafka_source_settled(struct kafka_source *source) {
    close_if_done(source);
}

/* Leaves the groups when no claim is under way any more. */
static void close_if_done(struct kafka_source *source) {
    if (!source->stopping || source->closing)
        return;
    for (size_t i = 0; i < source->options.n_services; i++)
        if (kafka_feed_busy(&source->feeds[i]))
            return;
    source->closing = true;
    for (size_t i = 0; i < source->n_members; i++)
        kafka_member_close(&source->members[i]);
}

static void kafka_stop(struct source *base, void (*stopped)(void *arg), void *arg) {
    struct kafka_source *source = (struct kafka_source *)base;
    assert(!source->stopping);
    struct timeval watchdog = {.tv_sec = STOP_MS / 1000};
    source->stopping = true;
    source->stopped = stopped;
    source->stopped_arg = arg;
    event_add(source->finished, &watchdog);
    for (size_t i = 0; i < source->options.n_services; i++)
        kafka_feed_stop(&source->feeds[i]);
    for (size_t i = 0; i < source->n_members; i++)
        kafka_member_flow(&source->members[i]);
    close_if_done(source);
}

static void kafka_room(struct source *base, size_t service, int free_slots) {
    struct kafka_source *source = (struct kafka_source *)base;
    assert(service < source->options.n_services);
    kafka_feed_room(&source->feeds[service], free_slots);
}

static void kafka_each_lag(const struct source *base, source_lag_each *each, void *arg) {
    const struct kafka_source *source = (const struct kafka_source *)base;
    for (size_t i = 0; i < source->n_members; i++)
        kafka_member_each_lag(&source->members[i], each, arg);
}

static void kafka_destroy(struct source *base) {
    struct kafka_source *source = (struct kafka_source *)base;
    for (size_t i = 0; i < source->n_members; i++)
        kafka_member_destroy(&source->members[i]);
    for (size_t i = 0; source->feeds && i < source->options.n_services; i++)
        kafka_feed_finish(&source->feeds[i]);
    if (source->finished)
        event_free(source->finished);
    free(source->members);
    free(source->feeds);
    free(source);
}

/* -- birth -- */

static const struct source_impl impl = {"kafka", kafka_room, kafka_stop, kafka_destroy,
                                        kafka_each_lag};

static enum rc make_feeds(struct kafka_source *source, struct error *err) {
    const struct source_options *options = &source->options;
    size_t n = options->n_services ? options->n_services : 1;
    source->feeds = calloc(n, sizeof *source->feeds);
    source->members = calloc(n, sizeof *source->members);
    source->finished = event_new(options->base, -1, 0, on_finished, source);
    if (!source->feeds || !source->members || !source->finished)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < options->n_services; i++) {
        const struct config_service *service = options->services[i];
        enum rc rc = kafka_feed_init(&source->feeds[i], source, options, service, err);
        if (rc != RC_OK)
            return rc;
        if (!service->topic || !service->group)
            return error_set(err, RC_CONFIG, "service %s has no source_db entry", service->name);
    }
    return RC_OK;
}

static bool has_member(const struct kafka_source *source, const char *group) {
    for (size_t i = 0; i < source->n_members; i++)
        if (strcmp(source->members[i].group, group) == 0)
            return true;
    return false;
}

static enum rc join(struct kafka_source *source, const char *group, struct error *err) {
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(4);
    for (size_t i = 0; i < source->options.n_services; i++) {
        const struct config_service *service = source->options.services[i];
        if (strcmp(service->group, group) == 0 &&
            !rd_kafka_topic_partition_list_find(topics, service->topic, RD_KAFKA_PARTITION_UA))
            rd_kafka_topic_partition_list_add(topics, service->topic, RD_KAFKA_PARTITION_UA);
    }
    return kafka_member_open(&source->members[source->n_members++], source, group, topics, err);
}

enum rc source_kafka_open(const struct source_options *options, struct source **ret,
                          struct error *err) {
    struct kafka_source *source = calloc(1, sizeof *source);
    if (!source)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    source->source.impl = &impl;
    source->options = *options;
    enum rc rc = make_feeds(source, err);
    for (size_t i = 0; rc == RC_OK && i < options->n_services; i++)
        if (!has_member(source, options->services[i]->group))
            rc = join(source, options->services[i]->group, err);
    if (rc != RC_OK) {
        kafka_destroy(&source->source);
        return rc;
    }
    *ret = &source->source;
    return RC_OK;
}
