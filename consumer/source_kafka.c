/* source_kafka.c: tasks by messages: each is claimed from the API before its offset is committed.
 */
#include "consumer/source_kafka.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "task/message.h"

#include <assert.h>
#include <string.h>

enum {
    WAITING_MAX = 512, /* claims that wait for room; more pause the service's partitions … */
    WAITING_LOW = 256, /* … until so few are left, as the next fetch may take half a second */
    PART_CLAIMS_MAX = 1024, /* not settled or behind one that is not; more pause the partition */
    CLAIM_TIMEOUT_MS = 30000,
    CLAIM_BODY_CAP = 2048,
    STOP_MS = 10000, /* then source_stop() ends with whatever is still under way */
};

/* One service. */
struct kafka_feed {
    struct kafka_source *source;
    const struct config_service *service;
    const char *group;
    int room;
    struct kafka_claims waiting, sent;
    int n_waiting, n_sent;
    bool full; /* between WAITING_MAX and WAITING_LOW */
};

struct kafka_source {
    struct source source;
    struct source_options options;
    struct kafka_feed *feeds; /* in options.services' order */
    struct kafka_member *members;
    size_t n_members;
    int64_t n_skipped; /* messages that could not be tasks of ours */
    bool stopping, closing;
    void (*stopped)(void *arg);
    void *stopped_arg;
    struct event *finished;
};

/* Refusals after which a message is of no more use. The others, and answers that are none, may
 * pass. */
static const struct {
    const char *code;
    enum log_level level;
} final_refusals[] = {
    {"ALREADY_CLAIMED", LOG_DEBUG},
    {"ALREADY_FINAL", LOG_DEBUG},
    {"STALE_RUN", LOG_INFO},
    {"NOT_DUE", LOG_DEBUG},
    {"UNKNOWN_TASK", LOG_WARNING},
    {"TASK_REMOVED", LOG_INFO},
    {"INVALID_PARAMETER", LOG_WARNING},
    {"SERVICE_NOT_SUPPORT", LOG_WARNING},
};

static void feed_serve(struct kafka_feed *feed);
static void close_if_done(struct kafka_source *source);

struct event_base *kafka_source_base(const struct kafka_source *source) {
    return source->options.base;
}

const struct config *kafka_source_config(const struct kafka_source *source) {
    return source->options.cfg;
}

/* -- claims -- */

static void claim_destroy(struct kafka_claim *claim) {
    api_cancel(claim->call);
    if (claim->again)
        event_free(claim->again);
    free(claim);
}

/* Frees the settled claims at the partition's head and commits past them. */
static void part_advance(struct kafka_part *part) {
    struct kafka_claim *claim;
    int64_t commit_at = -1;
    while ((claim = TAILQ_FIRST(&part->claims)) && claim->settled) {
        commit_at = claim->offset + 1;
        TAILQ_REMOVE(&part->claims, claim, in_part);
        part->n_claims--;
        claim_destroy(claim);
    }
    if (commit_at >= 0)
        kafka_part_commit(part, commit_at);
}

/* The claim, which was sent, has its outcome. It may be gone afterwards. */
static void claim_settle(struct kafka_claim *claim) {
    TAILQ_REMOVE(&claim->feed->sent, claim, in_feed);
    claim->feed->n_sent--;
    claim->settled = true;
    if (claim->part)
        part_advance(claim->part);
    else
        claim_destroy(claim);
}

static void claim_again(struct kafka_claim *claim) {
    struct timeval wait = backoff_next(&claim->backoff);
    event_add(claim->again, &wait);
}

static void claim_answered(const struct api_answer *answer, void *arg);

static void claim_send(struct kafka_claim *claim) {
    LH_CLEANUP_BUF struct buf body;
    buf_init(&body, CLAIM_BODY_CAP);
    buf_str(&body, "{\"data\":{\"task_id\":");
    buf_json_str(&body, claim->task_id);
    buf_printf(&body, ",\"status\":\"running\",\"run_id\":\"%s\"}}", claim->run_id);
    if (buf_rc(&body) == RC_OK)
        claim->call = api_post(claim->feed->source->options.api, "/api/update_status_task",
                               body.data, body.len, CLAIM_TIMEOUT_MS, claim_answered, claim);
    if (!claim->call)
        claim_again(claim);
}

static void on_again(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    claim_send(arg);
}

/* True for a refusal that settles the claim; it is logged. */
static bool is_final(const struct kafka_claim *claim, const struct api_answer *answer) {
    const char *code = json_string_value(json_object_get(answer->answer, "code"));
    for (size_t i = 0; code && i < LH_COUNT(final_refusals); i++) {
        if (strcmp(code, final_refusals[i].code) != 0)
            continue;
        if (log_enabled(final_refusals[i].level))
            log_at(final_refusals[i].level, .msg = "message dropped", .task_id = claim->task_id,
                   .run_id = claim->run_id, .service = claim->feed->service->name, .code = code,
                   .error = answer->text);
        return true;
    }
    return false;
}

static bool read_claimed(const struct kafka_claim *claim, const struct api_answer *answer,
                         struct assignment *ret) {
    struct json_span item;
    struct error err = {.text = "status: is missing"};
    if (json_span_member(answer->raw, "status", &item) &&
        assignment_from_claim(item, ret, &err) == RC_OK)
        return true;
    log_error(.msg = "claimed task cannot be read", .task_id = claim->task_id,
              .run_id = claim->run_id, .error = err.text);
    return false;
}

static void claim_answered(const struct api_answer *answer, void *arg) {
    struct kafka_claim *claim = arg;
    struct kafka_feed *feed = claim->feed;
    struct kafka_source *source = feed->source;
    struct assignment assignment;
    claim->call = NULL;
    if (answer->rc == RC_OK && read_claimed(claim, answer, &assignment)) {
        assignment.held_until_ms = claim->asked_ms + source->options.cfg->lease_ms;
        claim_settle(claim);
        source->options.deliver(&assignment, source->options.arg);
    } else if (answer->rc != RC_OK && is_final(claim, answer)) {
        claim_settle(claim);
    } else {
        claim_again(claim);
        return;
    }
    feed_serve(feed);
    close_if_done(source);
}

/* -- feeds -- */

/* Pauses and resumes where the room or the waiting claims have changed. */
static void flow(struct kafka_feed *feed) {
    struct kafka_source *source = feed->source;
    feed->full = feed->n_waiting > (feed->full ? WAITING_LOW : WAITING_MAX - 1);
    for (size_t i = 0; i < source->n_members; i++)
        if (strcmp(source->members[i].group, feed->group) == 0)
            kafka_member_flow(&source->members[i]);
}

/* Sends waiting claims as far as there is room. */
static void feed_serve(struct kafka_feed *feed) {
    struct kafka_claim *claim;
    while (!feed->source->stopping && feed->n_sent < feed->room &&
           (claim = TAILQ_FIRST(&feed->waiting))) {
        TAILQ_REMOVE(&feed->waiting, claim, in_feed);
        feed->n_waiting--;
        TAILQ_INSERT_TAIL(&feed->sent, claim, in_feed);
        feed->n_sent++;
        claim->asked_ms = clock_mono_ms();
        claim_send(claim);
    }
    flow(feed);
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
        if (feed->full && strcmp(feed->group, part->member->group) == 0 &&
            strcmp(feed->service->topic, part->topic) == 0)
            return true;
    }
    return false;
}

/* -- messages -- */

static void skip(struct kafka_source *source, const struct kafka_part *part,
                 const rd_kafka_message_t *message, const char *why) {
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

static struct kafka_claim *claim_create(struct kafka_part *part, int64_t offset) {
    struct kafka_claim *claim = calloc(1, sizeof *claim);
    if (!claim)
        return NULL;
    claim->again = event_new(part->member->source->options.base, -1, 0, on_again, claim);
    if (!claim->again) {
        free(claim);
        return NULL;
    }
    claim->part = part;
    claim->offset = offset;
    uuid_make(claim->run_id);
    return claim;
}

bool kafka_source_message(struct kafka_source *source, struct kafka_part *part,
                          const rd_kafka_message_t *message) {
    if (source->stopping)
        return true;
    struct kafka_claim *claim = claim_create(part, message->offset);
    if (!claim)
        return false;
    TAILQ_INSERT_TAIL(&part->claims, claim, in_part);
    part->n_claims++;
    claim->feed = read_message(source, part, message, claim->task_id);
    if (!claim->feed) {
        claim->settled = true;
        part_advance(part);
        return true;
    }
    TAILQ_INSERT_TAIL(&claim->feed->waiting, claim, in_feed);
    claim->feed->n_waiting++;
    feed_serve(claim->feed);
    return true;
}

void kafka_source_revoked(struct kafka_source *source, struct kafka_part *part) {
    (void)source;
    struct kafka_claim *claim;
    while ((claim = TAILQ_FIRST(&part->claims))) {
        TAILQ_REMOVE(&part->claims, claim, in_part);
        part->n_claims--;
        claim->part = NULL;
        if (claim->asked_ms && !claim->settled)
            continue;
        if (!claim->settled) {
            TAILQ_REMOVE(&claim->feed->waiting, claim, in_feed);
            claim->feed->full = --claim->feed->n_waiting > WAITING_LOW;
        }
        claim_destroy(claim);
    }
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

/* Leaves the groups when no claim is under way any more. */
static void close_if_done(struct kafka_source *source) {
    if (!source->stopping || source->closing)
        return;
    for (size_t i = 0; i < source->options.n_services; i++)
        if (source->feeds[i].n_sent > 0)
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
    for (size_t i = 0; i < source->n_members; i++)
        kafka_member_flow(&source->members[i]);
    close_if_done(source);
}

static void kafka_room(struct source *base, size_t service, int free_slots) {
    struct kafka_source *source = (struct kafka_source *)base;
    assert(service < source->options.n_services);
    source->feeds[service].room = free_slots;
    feed_serve(&source->feeds[service]);
}

static void kafka_destroy(struct source *base) {
    struct kafka_source *source = (struct kafka_source *)base;
    struct kafka_claim *claim;
    for (size_t i = 0; i < source->n_members; i++)
        kafka_member_destroy(&source->members[i]);
    for (size_t i = 0; source->feeds && i < source->options.n_services; i++)
        while ((claim = TAILQ_FIRST(&source->feeds[i].sent))) {
            TAILQ_REMOVE(&source->feeds[i].sent, claim, in_feed);
            claim_destroy(claim);
        }
    if (source->finished)
        event_free(source->finished);
    free(source->members);
    free(source->feeds);
    free(source);
}

/* -- birth -- */

static const struct source_impl impl = {"kafka", kafka_room, kafka_stop, kafka_destroy};

static enum rc make_feeds(struct kafka_source *source, struct error *err) {
    const struct source_options *options = &source->options;
    size_t n = options->n_services ? options->n_services : 1;
    source->feeds = calloc(n, sizeof *source->feeds);
    source->members = calloc(n, sizeof *source->members);
    source->finished = event_new(options->base, -1, 0, on_finished, source);
    if (!source->feeds || !source->members || !source->finished)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < options->n_services; i++) {
        struct kafka_feed *feed = &source->feeds[i];
        const struct config_service *service = options->services[i];
        *feed = (struct kafka_feed){.source = source, .service = service, .group = service->group};
        TAILQ_INIT(&feed->waiting);
        TAILQ_INIT(&feed->sent);
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
    enum rc rc =
        kafka_member_open(&source->members[source->n_members++], source, group, topics, err);
    rd_kafka_topic_partition_list_destroy(topics);
    return rc;
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
