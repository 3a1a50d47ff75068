/* kafka_member.c: one consumer of librdkafka on the loop. */
#include "consumer/source/kafka.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "consumer/metrics_table.h"
#include "publisher/kafka_conf.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    POLLS_A_TURN = 64, /* then the loop serves others */
    TICK_MS = 1000,    /* polls also without a wake-up, for max.poll.interval.ms */
    COMMIT_MS = 200,
    ERROR_AGAIN_MS = 30000,
};

/* A process that has a name in its group is given time to come back. */
static const char named_session_ms[] = "45000";

static const struct kafka_property defaults[] = {
    {"partition.assignment.strategy", "range"},
    {"auto.offset.reset", "earliest"},
    {"session.timeout.ms", "10000"},
    {"heartbeat.interval.ms", "3000"},
    {"isolation.level", "read_committed"},
    {"check.crcs", "true"},
    {"socket.timeout.ms", "10000"}, /* what a broker does not answer holds up our end so long */
    {"fetch.wait.max.ms", "500"},
    {"queued.min.messages", "32"},
    {"fetch.message.max.bytes", "65536"}, /* a pause throws away what was fetched ahead */
    {"queued.max.messages.kbytes", "16384"},
    {"topic.metadata.refresh.interval.ms", "10000"},
    {"socket.nagle.disable", "true"},
    {"socket.keepalive.enable", "true"},
    {"reconnect.backoff.ms", "50"},
    {"reconnect.backoff.max.ms", "1000"},
    {"log.connection.close", "false"},
    {NULL, NULL},
};

static const struct kafka_property fixed[] = {
    {"enable.auto.commit", "false"},
    {"enable.auto.offset.store", "false"},
    {"enable.partition.eof", "false"},
    {"allow.auto.create.topics", "false"},
    {NULL, NULL},
};

static const struct kafka_role consumer = {defaults, fixed};

static struct timeval in_ms(int ms) {
    return (struct timeval){ms / 1000, ms % 1000 * 1000};
}

/* -- partitions -- */

static struct kafka_part *find_part(const struct kafka_member *member, const char *topic,
                                    int32_t partition) {
    struct kafka_part *part;
    LIST_FOREACH(part, &member->parts, next)
    if (part->partition == partition && strcmp(part->topic, topic) == 0)
        return part;
    return NULL;
}

/* False when there is no memory: messages of a partition that is not listed are passed over and
 * stay uncommitted. */
static bool part_add(struct kafka_member *member, const rd_kafka_topic_partition_t *assigned) {
    struct kafka_part *part = calloc(1, sizeof *part);
    char *topic = strdup(assigned->topic);
    if (!part || !topic) {
        free(part);
        free(topic);
        return false;
    }
    *part = (struct kafka_part){
        .member = member,
        .topic = topic,
        .partition = assigned->partition,
        .commit_at = -1,
        .settled = -1,
        .end = -1,
    };
    TAILQ_INIT(&part->claims);
    LIST_INSERT_HEAD(&member->parts, part, next);
    return true;
}

static void set_paused(struct kafka_part *part, bool paused) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, part->topic, part->partition);
    rd_kafka_t *rk = part->member->rk;
    rd_kafka_resp_err_t failed =
        paused ? rd_kafka_pause_partitions(rk, list) : rd_kafka_resume_partitions(rk, list);
    if (!failed)
        failed = list->elems[0].err;
    rd_kafka_topic_partition_list_destroy(list);
    if (!failed)
        part->paused = paused;
}

static bool is_ending(const struct kafka_member *member) {
    return member->closing || member->dead;
}

/* librdkafka 2.0.2 keeps a pause through revocation and assignment (rdkafka_assignment.c clears its
 * own alone), so what we paused is resumed before it goes: where it comes back it is a new part. */
static void part_drop(struct kafka_part *part) {
    if (part->paused && !is_ending(part->member))
        set_paused(part, false);
    kafka_source_revoked(part->member->source, part);
    LIST_REMOVE(part, next);
    free(part->topic);
    free(part);
}

void kafka_member_flow(struct kafka_member *member) {
    struct kafka_part *part;
    if (is_ending(member))
        return;
    LIST_FOREACH(part, &member->parts, next) {
        bool wait = kafka_source_must_wait(member->source, part);
        if (wait != part->paused)
            set_paused(part, wait);
    }
}

/* -- commits -- */

void kafka_part_commit(struct kafka_part *part, int64_t offset) {
    struct timeval wait = in_ms(COMMIT_MS);
    part->commit_at = offset;
    if (offset > part->settled)
        part->settled = offset;
    if (!event_pending(part->member->commit, EV_TIMEOUT, NULL))
        event_add(part->member->commit, &wait);
}

static void commit_all(struct kafka_member *member) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
    struct kafka_part *part;
    LIST_FOREACH(part, &member->parts, next)
    if (part->commit_at >= 0) {
        rd_kafka_topic_partition_list_add(list, part->topic, part->partition)->offset =
            part->commit_at;
        part->commit_at = -1;
    }
    if (list->cnt > 0)
        rd_kafka_commit(member->rk, list, 1);
    rd_kafka_topic_partition_list_destroy(list);
}

static void on_commit(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    commit_all(arg);
}

/* A commit that failed is made again, unless a newer one stands or the partition is no longer ours.
 */
static void commit_done(rd_kafka_t *rk, rd_kafka_resp_err_t failed,
                        rd_kafka_topic_partition_list_t *offsets, void *arg) {
    (void)rk;
    struct kafka_member *member = arg;
    for (int i = 0; offsets && i < offsets->cnt; i++) {
        const rd_kafka_topic_partition_t *at = &offsets->elems[i];
        struct kafka_part *part = find_part(member, at->topic, at->partition);
        if ((!failed && !at->err) || !part || part->commit_at >= 0 || member->closing)
            continue;
        log_warning(.msg = "offset not committed", .topic = at->topic, .partition = at->partition,
                    .offset = at->offset, .error = rd_kafka_err2str(failed ? failed : at->err));
        kafka_part_commit(part, at->offset);
    }
}

/* -- rebalance -- */

static void count_rebalance(const struct kafka_member *member, enum rebalance_what what) {
    metrics_add(kafka_source_metrics(member->source), METRIC_KAFKA_REBALANCES, what, 1);
}

static void take_over(struct kafka_member *member, rd_kafka_topic_partition_list_t *list) {
    for (int i = 0; i < list->cnt; i++)
        if (!part_add(member, &list->elems[i]))
            log_error(.msg = "partition not served", .topic = list->elems[i].topic,
                      .partition = list->elems[i].partition, .error = "out of memory");
    backoff_reset(&member->backoff);
    count_rebalance(member, REBALANCE_ASSIGNED);
    log_info(.msg = "partitions assigned", .detail = member->group, .count = list->cnt);
}

static void give_up(struct kafka_member *member, rd_kafka_topic_partition_list_t *list) {
    commit_all(member);
    for (int i = 0; i < list->cnt; i++) {
        struct kafka_part *part = find_part(member, list->elems[i].topic, list->elems[i].partition);
        if (part)
            part_drop(part);
    }
    count_rebalance(member, REBALANCE_REVOKED);
    log_info(.msg = "partitions revoked", .detail = member->group, .count = list->cnt);
}

static void rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t what,
                      rd_kafka_topic_partition_list_t *list, void *arg) {
    struct kafka_member *member = arg;
    bool gets = what == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    bool steps = strcmp(rd_kafka_rebalance_protocol(rk), "COOPERATIVE") == 0;
    if (!gets)
        give_up(member, list);
    if (steps)
        rd_kafka_error_destroy(gets ? rd_kafka_incremental_assign(rk, list)
                                    : rd_kafka_incremental_unassign(rk, list));
    else
        rd_kafka_assign(rk, gets ? list : NULL);
    if (gets)
        take_over(member, list);
    kafka_member_flow(member);
}

/* -- polling -- */

static void take_error(struct kafka_member *member, const rd_kafka_message_t *message) {
    int64_t now_ms = clock_mono_ms();
    if (message->err == member->last_error && now_ms - member->last_error_ms < ERROR_AGAIN_MS)
        return;
    member->last_error = message->err;
    member->last_error_ms = now_ms;
    log_warning(.msg = "kafka says",
                .topic = message->rkt ? rd_kafka_topic_name(message->rkt) : NULL,
                .partition = message->partition, .detail = member->group,
                .code = rd_kafka_err2name(message->err), .error = rd_kafka_message_errstr(message));
}

static void take(struct kafka_member *member, const rd_kafka_message_t *message) {
    if (message->err == RD_KAFKA_RESP_ERR__FATAL) {
        struct timeval wait = backoff_next(&member->backoff);
        member->dead = true;
        event_add(member->renew, &wait);
        return;
    }
    if (message->err) {
        take_error(member, message);
        return;
    }
    struct kafka_part *part =
        find_part(member, rd_kafka_topic_name(message->rkt), message->partition);
    if (!part || kafka_source_message(member->source, part, message))
        return;
    log_error(.msg = "partition not served", .topic = part->topic, .partition = part->partition,
              .offset = message->offset, .error = "out of memory");
    part_drop(part);
}

/* Takes what librdkafka has for us; the wake-up comes only once for all, so what is left over wakes
 * again. */
static void poll_messages(struct kafka_member *member) {
    for (int i = 0; i < POLLS_A_TURN && !member->dead; i++) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(member->rk, 0);
        if (!message)
            return;
        take(member, message);
        rd_kafka_message_destroy(message);
        kafka_member_flow(member);
    }
    event_active(member->readable, EV_READ, 0);
}

static void closed(struct kafka_member *member) {
    member->closed = true;
    event_del(member->tick);
    event_del(member->readable);
    kafka_source_closed(member->source);
}

/* On this queue the last revocation comes as an event, not through the callback. */
static void poll_closing(struct kafka_member *member) {
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(member->closing, 0))) {
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE)
            rebalance(member->rk, rd_kafka_event_error(event),
                      rd_kafka_event_topic_partition_list(event), member);
        rd_kafka_event_destroy(event);
    }
    if (rd_kafka_consumer_closed(member->rk))
        closed(member);
}

static void serve(struct kafka_member *member) {
    if (!member->rk || member->dead || member->closed)
        return;
    if (member->closing)
        poll_closing(member);
    else
        poll_messages(member);
}

static void on_readable(evutil_socket_t fd, short what, void *arg) {
    (void)what;
    eventfd_t count;
    (void)!eventfd_read(fd, &count);
    serve(arg);
}

static void on_tick(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    serve(arg);
}

/* -- birth and death -- */

static void on_renew(evutil_socket_t fd, short what, void *arg);

static enum rc make_events(struct kafka_member *member, struct error *err) {
    struct event_base *base = kafka_source_base(member->source);
    struct timeval tick = in_ms(TICK_MS);
    member->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (member->wake < 0)
        return error_set(err, RC_IO, "no event descriptor: %s", strerror(errno));
    member->readable = event_new(base, member->wake, EV_READ | EV_PERSIST, on_readable, member);
    member->tick = event_new(base, -1, EV_PERSIST, on_tick, member);
    member->commit = event_new(base, -1, 0, on_commit, member);
    member->renew = event_new(base, -1, 0, on_renew, member);
    if (!member->readable || !member->tick || !member->commit || !member->renew ||
        event_add(member->readable, NULL) != 0 || event_add(member->tick, &tick) != 0)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    return RC_OK;
}

static bool passed_through(const struct config_mq *mq, const char *name) {
    for (size_t i = 0; i < mq->n_librdkafka; i++)
        if (strcmp(mq->librdkafka[i].name, name) == 0)
            return true;
    return false;
}

/* Static membership, where the configuration or the command line gives the process a name. */
static enum rc set_name(struct kafka_member *member, rd_kafka_conf_t *conf, struct error *err) {
    const struct config_mq *mq = &kafka_source_config(member->source)->mq;
    const char *id = kafka_source_instance_id(member->source);
    enum rc rc = id ? kafka_conf_set(conf, "group.instance.id", id, err) : RC_OK;
    member->named = id || passed_through(mq, "group.instance.id");
    if (rc == RC_OK && member->named && !passed_through(mq, "session.timeout.ms"))
        rc = kafka_conf_set(conf, "session.timeout.ms", named_session_ms, err);
    return rc;
}

static int on_stats(rd_kafka_t *rk, char *json, size_t len, void *arg) {
    (void)rk;
    kafka_member_take_stats(arg, json, len);
    return 0; /* librdkafka frees the text */
}

/* Statistics are made where somebody asks for the lag. */
static enum rc set_stats(struct kafka_member *member, rd_kafka_conf_t *conf, struct error *err) {
    if (!kafka_source_is_watched(member->source))
        return RC_OK;
    rd_kafka_conf_set_stats_cb(conf, on_stats);
    return passed_through(&kafka_source_config(member->source)->mq, "statistics.interval.ms")
               ? RC_OK
               : kafka_conf_set(conf, "statistics.interval.ms", "5000", err);
}

static enum rc make_consumer(struct kafka_member *member, struct error *err) {
    rd_kafka_conf_t *conf;
    enum rc rc = kafka_conf_create(kafka_source_config(member->source), &consumer, &conf, err);
    if (rc != RC_OK)
        return rc;
    rc = kafka_conf_set(conf, "group.id", member->group, err);
    if (rc == RC_OK)
        rc = set_name(member, conf, err);
    if (rc == RC_OK)
        rc = set_stats(member, conf, err);
    if (rc != RC_OK) {
        rd_kafka_conf_destroy(conf);
        return rc;
    }
    rd_kafka_conf_set_opaque(conf, member);
    rd_kafka_conf_set_rebalance_cb(conf, rebalance);
    rd_kafka_conf_set_offset_commit_cb(conf, commit_done);
    return kafka_create(RD_KAFKA_CONSUMER, conf, &member->rk, err);
}

static void wake_from(struct kafka_member *member, rd_kafka_queue_t *queue) {
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(queue, member->wake, &one, sizeof one);
}

static enum rc join(struct kafka_member *member, struct error *err) {
    enum rc rc = make_consumer(member, err);
    if (rc != RC_OK)
        return rc;
    rd_kafka_poll_set_consumer(member->rk);
    member->queue = rd_kafka_queue_get_consumer(member->rk);
    wake_from(member, member->queue);
    rd_kafka_resp_err_t failed = rd_kafka_subscribe(member->rk, member->topics);
    return failed
               ? error_set(err, RC_CONFIG, "group %s: %s", member->group, rd_kafka_err2str(failed))
               : RC_OK;
}

/* Ends librdkafka's instance, not the member. What it held goes to whoever has the partitions next;
 * what is not committed comes again. */
static void leave(struct kafka_member *member) {
    while (!LIST_EMPTY(&member->parts))
        part_drop(LIST_FIRST(&member->parts));
    if (member->closing)
        rd_kafka_queue_destroy(TAKE(member->closing));
    if (member->queue)
        rd_kafka_queue_destroy(TAKE(member->queue));
    if (member->rk)
        rd_kafka_destroy_flags(TAKE(member->rk), RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    member->dead = false;
}

/* The name of the process in the group is another's now: two that take it from one another would
 * never end, so this one does. */
static void fenced(struct kafka_member *member) {
    struct error err;
    const char *id = kafka_source_instance_id(member->source);
    (void)error_set(&err, RC_CONFIG,
                    "group %s: another process has joined with the group_instance_id %s",
                    member->group, id ? id : "of this one");
    closed(member);
    kafka_source_failed(member->source, &err);
}

/* True where the process has to end. */
static bool bury(struct kafka_member *member) {
    char why[256] = "";
    rd_kafka_resp_err_t cause = rd_kafka_fatal_error(member->rk, why, sizeof why);
    log_error(.msg = "kafka consumer failed", .detail = member->group,
              .code = rd_kafka_err2name(cause), .error = why);
    leave(member);
    return member->named && cause == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID;
}

/* After a fatal error, from the loop: librdkafka is in no call then. */
static void on_renew(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct kafka_member *member = arg;
    struct error err;
    if (member->closed)
        return;
    if (member->dead && bury(member)) {
        fenced(member);
        return;
    }
    if (join(member, &err) == RC_OK) {
        log_info(.msg = "kafka consumer made anew", .detail = member->group);
        return;
    }
    log_error(.msg = "kafka consumer not made anew", .detail = member->group, .error = err.text);
    leave(member);
    struct timeval wait = backoff_next(&member->backoff);
    event_add(member->renew, &wait);
}

enum rc kafka_member_open(struct kafka_member *member, struct kafka_source *source,
                          const char *group, rd_kafka_topic_partition_list_t *topics,
                          struct error *err) {
    *member = (struct kafka_member){.source = source, .group = group, .topics = topics, .wake = -1};
    LIST_INIT(&member->parts);
    enum rc rc = make_events(member, err);
    return rc == RC_OK ? join(member, err) : rc;
}

/* Leaves the group; a member that has a name stays in it until its session ends. */
void kafka_member_close(struct kafka_member *member) {
    event_del(member->renew);
    if (member->closed || !member->rk || member->dead) {
        closed(member);
        return;
    }
    commit_all(member);
    member->closing = rd_kafka_queue_new(member->rk);
    wake_from(member, member->closing);
    rd_kafka_error_t *failed = rd_kafka_consumer_close_queue(member->rk, member->closing);
    if (!failed)
        return;
    log_warning(.msg = "kafka group not left", .detail = member->group,
                .error = rd_kafka_error_string(failed));
    rd_kafka_error_destroy(failed);
    closed(member);
}

static void free_event(struct event *event) {
    if (event)
        event_free(event);
}

void kafka_member_destroy(struct kafka_member *member) {
    free_event(member->readable);
    free_event(member->tick);
    free_event(member->commit);
    free_event(member->renew);
    leave(member);
    rd_kafka_topic_partition_list_destroy(member->topics);
    if (member->wake >= 0)
        close(member->wake);
}
