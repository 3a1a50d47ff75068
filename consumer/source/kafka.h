/* kafka.h: the two halves of the Kafka source, seen by one another only.
 *
 * A member is one librdkafka consumer: one group, subscribed to the topics of its services. It
 * polls on the loop, keeps the list of its partitions through rebalances, pauses and resumes them,
 * commits. The source above it makes claims of messages and says when a partition has to wait.
 *
 *     message ──> claim waits in its feed (one per service) until there is room
 *        │            └──> update_status_task, or claim_task where the order is by priority ──>
 * deliver └── stands in its partition's list, in offset order, until it is settled ──> commit
 *
 * An offset is committed when all before it are settled too: claimed durably, or refused for good.
 * A claim that was sent goes on after its partition is revoked, as its outcome may already stand in
 * the store; it commits nothing then.
 *
 * A feed that has room and no messages asks claim_task now and then for what waits elsewhere.
 */
#ifndef LH_CONSUMER_SOURCE_KAFKA_H
#define LH_CONSUMER_SOURCE_KAFKA_H

#include "consumer/backoff.h"
#include "consumer/source/source.h"
#include "consumer/source/take.h"

#include <librdkafka/rdkafka.h>
#include <sys/queue.h>

struct kafka_source;
struct kafka_feed;

/* One message on its way to be a run. */
struct kafka_claim {
    TAILQ_ENTRY(kafka_claim) in_part; /* in offset order */
    TAILQ_ENTRY(kafka_claim) in_feed; /* waiting, or sent */
    struct kafka_part *part;          /* NULL: settled, or its partition was revoked */
    struct kafka_feed *feed;
    int64_t offset;
    bool settled;
    int64_t asked_ms; /* clock_mono_ms() when it was first sent; 0: not yet */
    char task_id[TASK_TEXT_CAP];
    char traceparent[TRACEPARENT_CAP]; /* of the message, for log lines; "": none */
    char run_id[UUID_CAP];             /* the same for every try */
    struct api_call *call;
    struct event *again;
    struct backoff backoff;
};
TAILQ_HEAD(kafka_claims, kafka_claim);

/* One service. */
struct kafka_feed {
    struct kafka_source *source;
    const struct config_service *service;
    const char *group;
    int room;
    struct kafka_claims waiting, sent;
    int n_waiting, n_sent;
    bool stopping;
    bool full;         /* between the most and the fewest waiting claims (kafka_feed.c) */
    bool held;         /* the API wants no more runs now (paused, at its limit), and a claim asks */
    struct event *ask; /* pending while it is held, but for one claim that asks again */
    struct backoff hold;
    struct take take; /* of what waits elsewhere */
    struct event *idle;
    int idle_ms; /* before the next take */
};

/* RC_NO_MEMORY. */
enum rc kafka_feed_init(struct kafka_feed *feed, struct kafka_source *source,
                        const struct source_options *options, const struct config_service *service,
                        struct error *err) LH_MUST_USE;
void kafka_feed_finish(struct kafka_feed *feed);

/* A new claim of a message; NULL: no memory. Its feed is known later. */
struct kafka_claim *kafka_claim_create(struct kafka_part *part, int64_t offset);

/* The message needs no claim. */
void kafka_claim_skip(struct kafka_claim *claim);

/* The claim's partition is gone. */
void kafka_claim_orphan(struct kafka_claim *claim);

/* The claim waits for its turn. */
void kafka_feed_add(struct kafka_feed *feed, struct kafka_claim *claim);
void kafka_feed_room(struct kafka_feed *feed, int free_slots);

/* No further claim, no further take. */
void kafka_feed_stop(struct kafka_feed *feed);

/* Whether a call is under way whose outcome may be a task. */
bool kafka_feed_busy(const struct kafka_feed *feed);

/* Whether its partitions have to be paused. */
bool kafka_feed_must_wait(const struct kafka_feed *feed);

/* One assigned partition. */
struct kafka_part {
    LIST_ENTRY(kafka_part) next;
    struct kafka_member *member;
    char *topic;
    int32_t partition;
    struct kafka_claims claims; /* from the first that is not settled */
    size_t n_claims;
    int64_t commit_at; /* offset to be committed, -1: none */
    int64_t settled;   /* all before this offset is settled; -1: not known, as those below */
    int64_t end;       /* behind its last message, as Kafka said */
    bool paused;
};
LIST_HEAD(kafka_parts, kafka_part);

struct kafka_member {
    struct kafka_source *source;
    const char *group;
    rd_kafka_topic_partition_list_t *topics;
    rd_kafka_t *rk;          /* NULL: it failed and is to be made anew */
    rd_kafka_queue_t *queue; /* messages, and the callbacks */
    rd_kafka_queue_t *closing;
    int wake; /* eventfd that librdkafka writes to */
    struct event *readable, *tick, *commit;
    struct event *renew; /* pending between a fatal error and the next try to join */
    struct backoff backoff;
    struct kafka_parts parts;
    rd_kafka_resp_err_t last_error; /* logged when it changes, and again after a while */
    int64_t last_error_ms;
    bool named; /* has a group.instance.id */
    bool dead;  /* librdkafka met a fatal error */
    bool closed;
};

/* Joins the group. Takes ownership of `topics`, those of its services. An instance of librdkafka
 * that meets a fatal error is made anew by itself, unless another process has its name. */
enum rc kafka_member_open(struct kafka_member *member, struct kafka_source *source,
                          const char *group, rd_kafka_topic_partition_list_t *topics,
                          struct error *err) LH_MUST_USE;

/* Pauses what must wait and resumes what need not any more. */
void kafka_member_flow(struct kafka_member *member);

/* Commits up to (not with) `offset`, soon and in one request with others. */
void kafka_part_commit(struct kafka_part *part, int64_t offset);

/* Commits, then leaves the group without blocking; kafka_source_closed() follows. */
void kafka_member_close(struct kafka_member *member);

/* Calls `each` for the partitions whose lag is known. */
void kafka_member_each_lag(const struct kafka_member *member, source_lag_each *each, void *arg);

/* Takes what librdkafka tells of the member's partitions, JSON text. */
void kafka_member_take_stats(struct kafka_member *member, const char *json, size_t len);

/* At once: what is not committed stays uncommitted. */
void kafka_member_destroy(struct kafka_member *member);

/* What the member tells the source. message: false where there was no memory to note it. */
bool kafka_source_message(struct kafka_source *source, struct kafka_part *part,
                          const rd_kafka_message_t *message);
bool kafka_source_must_wait(const struct kafka_source *source, const struct kafka_part *part);
void kafka_source_revoked(struct kafka_source *source, struct kafka_part *part);

/* What the feeds tell it: a claim has its outcome; the need to pause may have changed. */
void kafka_source_settled(struct kafka_source *source);
void kafka_source_flow(struct kafka_source *source, const struct kafka_feed *feed);
void kafka_source_closed(struct kafka_source *source);
void kafka_source_failed(struct kafka_source *source, const struct error *err);
const char *kafka_source_instance_id(const struct kafka_source *source); /* NULL: none */
struct event_base *kafka_source_base(const struct kafka_source *source);
struct metrics *kafka_source_metrics(const struct kafka_source *source); /* or NULL */
bool kafka_source_is_watched(const struct kafka_source *source);
const struct config *kafka_source_config(const struct kafka_source *source);

#endif
