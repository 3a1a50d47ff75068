/* publisher.h: tells the broker about due tasks; one interface, back ends kafka and none.
 *
 * The publisher is handed tasks whose outbox is pending and picked, sends the base contract's
 * message to the service's topic with the task id as key, and reports each delivery exactly once.
 */
#ifndef LH_PUBLISHER_PUBLISHER_H
#define LH_PUBLISHER_PUBLISHER_H

#include "base/trace.h"
#include "config/config.h"
#include "task/task.h"

struct delivery {
    char task_id[TASK_TEXT_CAP];
    uint8_t oid[OBJECT_ID_LEN];
    char traceparent[TRACEPARENT_CAP]; /* the task's, for log lines; "": none */
    int64_t outbox_seq;
    enum rc rc; /* RC_OK: delivered. RC_BROKER_UNAVAILABLE: not, or nobody knows: the sweeper sends
                   it again. RC_UNDELIVERABLE: it can never be, `text` says why */
    int64_t took_us; /* since the publisher took it; 0: it never went out */
    char text[320];  /* delivered: where it lies, "TOPIC/PARTITION/OFFSET"; else Kafka's words */
};

/* Called on a thread of the publisher; the array is borrowed. Must not block. */
typedef void publisher_reports(const struct delivery *deliveries, size_t n, void *arg);

struct publisher;

struct publisher_impl {
    const char *name; /* "kafka" */
    enum rc (*send)(struct publisher *publisher, const struct task *tasks, size_t n,
                    size_t *ret_sent);
    enum rc (*ping)(struct publisher *publisher, struct error *err);
    bool (*reachable)(struct publisher *publisher);
    void (*flush)(struct publisher *publisher, int timeout_ms);
    void (*destroy)(struct publisher *publisher);
    int64_t (*message_max_bytes)(const struct publisher *publisher, const char *service);
};

struct publisher {
    const struct publisher_impl *impl;
};

/* Opens the publisher that cfg names. With broker none *ret is NULL and RC_OK: there is nobody to
 * tell. A topic that is missing and may not be created is RC_CONFIG and named. A broker that does
 * not answer is no failure: the topics are checked when it does, and ping says
 * RC_BROKER_UNAVAILABLE until then. */
enum rc publisher_open(const struct config *cfg, publisher_reports *reports, void *arg,
                       struct publisher **ret, struct error *err) LH_MUST_USE;

/* Queues the messages of n tasks (condition loaded); copies what it needs. *ret_sent of them were
 * taken, in order; RC_OVERLOADED when the local queue is full: the rest waits for the sweeper.
 * Never blocks. One thread. */
enum rc publisher_send(struct publisher *publisher, const struct task *tasks, size_t n,
                       size_t *ret_sent);

/* RC_OK while the broker is reachable and has every topic (known from its own thread; never
 * blocks). Any thread. */
enum rc publisher_ping(struct publisher *publisher, struct error *err);

/* Whether the broker is there, though it may lack a topic: messages of the others can go. Any
 * thread. */
bool publisher_reachable(struct publisher *publisher);

/* Most bytes of a whole message that the service's topic takes. Any thread. */
int64_t publisher_message_max_bytes(const struct publisher *publisher, const char *service);

/* After so long an unconfirmed message counts as not sent (Kafka's delivery.timeout.ms); a pick is
 * void then. */
int64_t publisher_timeout_ms(const struct config *cfg);

/* Waits until every message has its report, at most timeout_ms. */
void publisher_flush(struct publisher *publisher, int timeout_ms);

/* Stops its threads; no report comes after it returns. NULL is fine. */
void publisher_destroy(struct publisher *publisher);

/* What the broker says of what the configuration names. The names are borrowed from it. */
struct broker_topic {
    const char *name, *service;
    bool missing;
    char problem[160]; /* "" : none */
    int partitions, leaderless;
};

struct broker_group {
    const char *name;
    char problem[160];
    char state[32]; /* Kafka's word: "Stable", "Empty", "Dead" */
    int members;
};

struct broker_view {
    int brokers;
    struct broker_topic *topics; /* each once */
    size_t n_topics;
    struct broker_group *groups;
    size_t n_groups;
};

/* Asks the broker of cfg (broker kafka) about its topics and groups, each question for at most
 * timeout_ms, and changes nothing. Blocks; any thread. RC_BROKER_UNAVAILABLE: no answer. The caller
 * owns *ret. */
enum rc publisher_look(const struct config *cfg, int timeout_ms, struct broker_view **ret,
                       struct error *err) LH_MUST_USE;

void broker_view_destroy(struct broker_view *view);

enum rc publisher_kafka_look(const struct config *cfg, int timeout_ms, struct broker_view **ret,
                             struct error *err) LH_MUST_USE;

enum rc publisher_kafka_open(const struct config *cfg, publisher_reports *reports, void *arg,
                             struct publisher **ret, struct error *err) LH_MUST_USE;

#endif
