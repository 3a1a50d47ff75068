/* publisher_kafka.c: the publisher's Kafka back end, a loadable module.
 *
 * Two threads work beside the caller. The reporter waits on librdkafka's queue and hands delivery
 * reports on. The watch asks the broker about the topics every few seconds, which is also what ping
 * answers from. The producer itself is an `instance` that can be replaced: an idempotent producer
 * that met a fatal error is dead for good (and 2.0.2 meets some without cause), and the batch size,
 * which must fit the smallest topic, is set only at birth. The reporter puts the new instance in
 * place, purges the old one, reports what was in it and hands it to the watch, which may still be
 * using it and destroys it at its next turn.
 *
 *     send (executor) ──> instance ──DR──> reporter ──> publisher_reports
 *        └─ refused at once ──> local ────────┘
 */
#include "publisher/publisher.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "publisher/kafka_instance.h"
#include "task/message.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    ASK_MS = 2000,        /* one question to the broker */
    WATCH_UP_MS = 5000,   /* between two checks while all is well */
    WATCH_DOWN_MS = 1000, /* and while it is not */
    POLL_MS = 500,
    REPORT_BATCH = 64,
    ENVELOPE_BYTES =
        512, /* key, header and framing of a message, rounded up; not those of a trace */
    BATCH_SHRINK = 8,
    REPLACE_AGAIN_MS = 1000,
};

/* What travels with a message as its opaque. */
struct passenger {
    struct delivery delivery;
    size_t topic;
    int64_t bytes;
};

struct kafka {
    struct publisher base;
    const struct config *cfg;
    publisher_reports *reports;
    void *arg;
    struct kafka_topics topics;
    int64_t message_max_bytes; /* librdkafka's message.max.bytes, the same in every instance */
    pthread_t reporter, watch;
    bool threads; /* both run */
    atomic_bool stopping;

    pthread_mutex_t lock; /* all below, but for `state_*` */
    pthread_cond_t idle;  /* pending fell to 0 */
    pthread_cond_t turn;  /* the watch has something to do */
    struct kafka_instance *instance;
    struct kafka_instance *retired;
    struct delivery *local; /* refused by librdkafka at once; waiting for the reporter */
    size_t n_local, cap_local;
    int64_t pending;     /* accepted and not yet reported */
    int64_t batch_bytes; /* wanted; differs from the instance's: replace it */
    bool replace;        /* the instance met a fatal error */
    bool hurry;          /* the watch shall look at once */

    pthread_mutex_t state_lock;
    struct error state; /* of the last check */
    bool checked;
    char connection[256]; /* librdkafka's words on the last connection that failed; "" once it
                             answers */
};

/* -- state: what ping answers -- */

static void log_state(const struct kafka *k, enum rc rc, const char *why, bool first) {
    const char *address = k->cfg->mq.bootstrap_servers;
    if (rc == RC_OK && !first)
        log_info(.msg = "kafka is back", .address = address);
    else if (rc == RC_CONFIG)
        log_error(.msg = "kafka topic missing", .address = address, .error = why);
    else if (rc != RC_OK)
        log_error(.msg = "kafka unavailable", .address = address, .error = why);
}

/* Keeps the outcome of a check and says so where it changed. */
static void state_set(struct kafka *k, enum rc rc, const struct error *err) {
    struct error now = {0};
    pthread_mutex_lock(&k->state_lock);
    bool first = !k->checked, changed = first || rc != k->state.rc;
    k->checked = true;
    if (rc == RC_OK)
        k->connection[0] = '\0';
    else if (rc == RC_BROKER_UNAVAILABLE && k->connection[0])
        (void)error_set(&now, rc, "%.240s (%s)", err->text, k->connection);
    else
        now = *err;
    k->state = now;
    pthread_mutex_unlock(&k->state_lock);
    if (changed)
        log_state(k, rc, now.text, first);
}

static enum rc kafka_ping(struct publisher *publisher, struct error *err) {
    struct kafka *k = (struct kafka *)publisher;
    pthread_mutex_lock(&k->state_lock);
    enum rc rc = k->state.rc == RC_OK ? RC_OK : RC_BROKER_UNAVAILABLE;
    if (rc != RC_OK)
        (void)error_set(err, rc, "%s", k->state.text);
    pthread_mutex_unlock(&k->state_lock);
    return rc;
}

static bool kafka_reachable(struct publisher *publisher) {
    struct kafka *k = (struct kafka *)publisher;
    pthread_mutex_lock(&k->state_lock);
    enum rc rc = k->state.rc;
    pthread_mutex_unlock(&k->state_lock);
    return rc == RC_OK || rc == RC_CONFIG;
}

/* -- reports -- */

static void hand_over(struct kafka *k, const struct delivery *deliveries, size_t n) {
    if (n == 0)
        return;
    k->reports(deliveries, n, k->arg);
    pthread_mutex_lock(&k->lock);
    k->pending -= (int64_t)n;
    if (k->pending == 0)
        pthread_cond_broadcast(&k->idle);
    pthread_mutex_unlock(&k->lock);
}

static void want_replacement(struct kafka *k) {
    pthread_mutex_lock(&k->lock);
    k->replace = true;
    pthread_mutex_unlock(&k->lock);
}

/* The broker says too large. A message that travelled in company may have been refused for its
 * company's sake: then batches become smaller until it travels alone. */
static enum rc too_large(struct kafka *k, const struct kafka_instance *instance,
                         const struct passenger *passenger) {
    int64_t limit = k->topics.items[passenger->topic].max_bytes;
    bool alone = passenger->bytes >= instance->batch_bytes || instance->batch_bytes == 1;
    if (alone || (limit > 0 && passenger->bytes > limit + ENVELOPE_BYTES))
        return RC_UNDELIVERABLE;
    pthread_mutex_lock(&k->lock);
    int64_t smaller = instance->batch_bytes / BATCH_SHRINK;
    k->batch_bytes = smaller > 0 ? smaller : 1;
    pthread_mutex_unlock(&k->lock);
    return RC_BROKER_UNAVAILABLE;
}

static enum rc outcome(struct kafka *k, const struct kafka_instance *instance,
                       const struct passenger *passenger, rd_kafka_resp_err_t failure) {
    switch (failure) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return RC_OK;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
        return too_large(k, instance, passenger);
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
        return RC_UNDELIVERABLE;
    case RD_KAFKA_RESP_ERR__FATAL:
        want_replacement(k);
        return RC_BROKER_UNAVAILABLE;
    default:
        return RC_BROKER_UNAVAILABLE;
    }
}

/* Where the message lies, or why it does not. */
static void put_text(struct delivery *delivery, const rd_kafka_message_t *message) {
    if (message->err)
        snprintf(delivery->text, sizeof delivery->text, "%s", rd_kafka_err2str(message->err));
    else if (message->rkt)
        snprintf(delivery->text, sizeof delivery->text, "%s/%" PRId32 "/%" PRId64,
                 rd_kafka_topic_name(message->rkt), message->partition, message->offset);
}

static void report_messages(struct kafka *k, struct kafka_instance *instance,
                            rd_kafka_event_t *event) {
    struct delivery batch[REPORT_BATCH];
    size_t n = 0;
    const rd_kafka_message_t *message;
    while ((message = rd_kafka_event_message_next(event))) {
        struct passenger *passenger = message->_private;
        struct delivery *delivery = &batch[n++];
        *delivery = passenger->delivery;
        delivery->rc = outcome(k, instance, passenger, message->err);
        int64_t took_us = rd_kafka_message_latency(message);
        delivery->took_us = took_us > 0 ? took_us : 0;
        put_text(delivery, message);
        free(passenger);
        if (n == REPORT_BATCH) {
            hand_over(k, batch, n);
            n = 0;
        }
    }
    hand_over(k, batch, n);
}

static void look_soon(struct kafka *k) {
    pthread_mutex_lock(&k->lock);
    k->hurry = true;
    pthread_cond_signal(&k->turn);
    pthread_mutex_unlock(&k->lock);
}

/* Keeps why a connection failed, for state_set(). */
static void note_connection(struct kafka *k, rd_kafka_event_t *event) {
    pthread_mutex_lock(&k->state_lock);
    snprintf(k->connection, sizeof k->connection, "%s", rd_kafka_event_error_string(event));
    pthread_mutex_unlock(&k->state_lock);
}

static void note_error(struct kafka *k, struct kafka_instance *instance, rd_kafka_event_t *event) {
    if (rd_kafka_event_error_is_fatal(event)) {
        char reason[256];
        rd_kafka_fatal_error(instance->rk, reason, sizeof reason);
        log_warning(.msg = "kafka producer failed and is replaced", .error = reason);
        want_replacement(k);
    } else if (rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
        look_soon(k);
    } else {
        note_connection(k, event);
    }
}

/* Takes one event, waiting at most timeout_ms for it; false where there was none. */
static bool serve(struct kafka *k, struct kafka_instance *instance, int timeout_ms) {
    rd_kafka_event_t *event = rd_kafka_queue_poll(instance->queue, timeout_ms);
    if (!event)
        return false;
    if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR)
        report_messages(k, instance, event);
    else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR)
        note_error(k, instance, event);
    rd_kafka_event_destroy(event);
    return true;
}

static void report_local(struct kafka *k) {
    pthread_mutex_lock(&k->lock);
    LH_FREE struct delivery *local = TAKE(k->local);
    size_t n = k->n_local;
    k->n_local = k->cap_local = 0;
    pthread_mutex_unlock(&k->lock);
    hand_over(k, local, n);
}

/* Puts a new instance in place and reports everything that was in the old one. */
static void replace_instance(struct kafka *k, int64_t batch_bytes) {
    struct kafka_instance *fresh;
    struct error err;
    if (kafka_instance_create(k->cfg, &k->topics, batch_bytes, &fresh, &err) != RC_OK) {
        log_error(.msg = "kafka producer not replaced", .error = err.text);
        nanosleep(&(struct timespec){.tv_sec = REPLACE_AGAIN_MS / 1000}, NULL);
        return;
    }
    pthread_mutex_lock(&k->lock);
    struct kafka_instance *old = k->instance;
    k->instance = fresh;
    k->replace = false;
    k->batch_bytes = fresh->batch_bytes;
    pthread_mutex_unlock(&k->lock);
    rd_kafka_purge(old->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    while (rd_kafka_outq_len(old->rk) > 0 && !k->stopping)
        serve(k, old, 100);
    pthread_mutex_lock(&k->lock);
    k->replace = false; /* what the old one's last reports asked for has been done */
    old->next = k->retired;
    k->retired = old;
    pthread_cond_signal(&k->turn);
    pthread_mutex_unlock(&k->lock);
}

static void *reporter_main(void *arg) {
    struct kafka *k = arg;
    while (!k->stopping) {
        pthread_mutex_lock(&k->lock);
        struct kafka_instance *instance = k->instance;
        int64_t batch_bytes = k->batch_bytes;
        bool replace = k->replace || batch_bytes != instance->batch_bytes;
        pthread_mutex_unlock(&k->lock);
        if (replace)
            replace_instance(k, batch_bytes);
        else
            serve(k, instance, POLL_MS);
        report_local(k);
    }
    return NULL;
}

/* -- the watch -- */

static void destroy_retired(struct kafka *k) {
    pthread_mutex_lock(&k->lock);
    struct kafka_instance *retired = TAKE(k->retired);
    pthread_mutex_unlock(&k->lock);
    while (retired) {
        struct kafka_instance *next = retired->next;
        kafka_instance_destroy(retired);
        retired = next;
    }
}

/* Makes batches fit the smallest topic. */
static void fit_topics(struct kafka *k) {
    pthread_mutex_lock(&k->lock);
    int64_t smallest = kafka_topics_smallest(&k->topics, k->batch_bytes);
    if (smallest < k->batch_bytes) {
        k->batch_bytes = smallest;
        rd_kafka_queue_yield(k->instance->queue);
    }
    pthread_mutex_unlock(&k->lock);
}

static struct timespec deadline(int64_t ms) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + ms % 1000 * 1000000;
    until.tv_sec += ms / 1000 + ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    return until;
}

static void wait_turn(struct kafka *k, int64_t ms) {
    struct timespec until = deadline(ms);
    int timed_out = 0;
    pthread_mutex_lock(&k->lock);
    while (!k->stopping && !k->hurry && !k->retired && timed_out == 0)
        timed_out = pthread_cond_timedwait(&k->turn, &k->lock, &until);
    k->hurry = false;
    pthread_mutex_unlock(&k->lock);
}

static void *watch_main(void *arg) {
    struct kafka *k = arg;
    struct error err;
    bool up = k->state.rc == RC_OK;
    while (!k->stopping) {
        wait_turn(k, up ? WATCH_UP_MS : WATCH_DOWN_MS);
        destroy_retired(k);
        if (k->stopping)
            break;
        pthread_mutex_lock(&k->lock);
        struct kafka_instance *instance = k->instance;
        pthread_mutex_unlock(&k->lock);
        enum rc rc = kafka_topics_check(&k->topics, instance->rk, ASK_MS, &err);
        state_set(k, rc, &err);
        if (rc == RC_OK)
            fit_topics(k);
        up = rc == RC_OK;
    }
    return NULL;
}

/* -- sending -- */

/* Takes a report that librdkafka will not make; false when out of memory. Under the lock. */
static bool add_local(struct kafka *k, const struct delivery *delivery, enum rc rc,
                      const char *text) {
    if (k->n_local == k->cap_local) {
        size_t cap = k->cap_local ? k->cap_local * 2 : 16;
        struct delivery *grown = realloc(k->local, cap * sizeof *grown);
        if (!grown)
            return false;
        k->local = grown;
        k->cap_local = cap;
    }
    struct delivery *local = &k->local[k->n_local++];
    *local = *delivery;
    local->rc = rc;
    snprintf(local->text, sizeof local->text, "%s", text);
    rd_kafka_queue_yield(k->instance->queue);
    return true;
}

static void fill_delivery(struct delivery *delivery, const struct task *task) {
    memset(delivery, 0, sizeof *delivery);
    memcpy(delivery->task_id, task->task_id, sizeof delivery->task_id);
    memcpy(delivery->oid, task->oid, sizeof delivery->oid);
    delivery->outbox_seq = task->outbox_seq;
    if (task->traceparent)
        (void)mem_copy_str(delivery->traceparent, sizeof delivery->traceparent, task->traceparent);
}

static rd_kafka_headers_t *make_headers(const struct task *task) {
    char attempt[24];
    snprintf(attempt, sizeof attempt, "%lld", (long long)task->attempt + 1);
    rd_kafka_headers_t *headers = rd_kafka_headers_new(3);
    (void)rd_kafka_header_add(headers, "attempt", -1, attempt, -1);
    if (task->traceparent)
        (void)rd_kafka_header_add(headers, "traceparent", -1, task->traceparent, -1);
    if (task->tracestate)
        (void)rd_kafka_header_add(headers, "tracestate", -1, task->tracestate, -1);
    return headers;
}

/* Gives value (owned by librdkafka on success) and passenger to librdkafka. The headers are made
 * here and not by librdkafka, which would free its own twice when it refuses the message (2.0.2).
 */
static rd_kafka_resp_err_t produce(struct kafka *k, const struct task *task, char *value,
                                   size_t len, struct passenger *passenger) {
    rd_kafka_headers_t *headers = make_headers(task);
    rd_kafka_vu_t args[] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = k->instance->topics[passenger->topic]},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_FREE},
        {.vtype = RD_KAFKA_VTYPE_KEY,
         .u.mem = {.ptr = (void *)task->task_id, .size = strlen(task->task_id)}},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {.ptr = value, .size = len}},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = passenger},
    };
    rd_kafka_error_t *failure = rd_kafka_produceva(k->instance->rk, args, LH_COUNT(args));
    rd_kafka_resp_err_t code = rd_kafka_error_code(failure);
    rd_kafka_error_destroy(failure);
    if (code)
        rd_kafka_headers_destroy(headers);
    return code;
}

/* The outcome of a message that librdkafka did not take: RC_OVERLOADED, or RC_OK once a report is
 * on its way. */
static enum rc refused(struct kafka *k, const struct delivery *delivery,
                       rd_kafka_resp_err_t failure) {
    if (failure == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        return RC_OVERLOADED;
    bool never = failure == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    if (failure == RD_KAFKA_RESP_ERR__FATAL)
        k->replace = true;
    bool added = add_local(k, delivery, never ? RC_UNDELIVERABLE : RC_BROKER_UNAVAILABLE,
                           rd_kafka_err2str(failure));
    return added ? RC_OK : RC_NO_MEMORY;
}

static enum rc send_to(struct kafka *k, const struct task *task, size_t topic) {
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, INT32_MAX);
    message_encode(task, &buf);
    size_t len;
    LH_FREE char *value = buf_take(&buf, &len);
    LH_FREE struct passenger *passenger = malloc(sizeof *passenger);
    if (!value || !passenger)
        return RC_NO_MEMORY;
    fill_delivery(&passenger->delivery, task);
    passenger->topic = topic;
    passenger->bytes = (int64_t)(len + message_trace_bytes(task)) + ENVELOPE_BYTES;
    rd_kafka_resp_err_t failure = produce(k, task, value, len, passenger);
    if (failure)
        return refused(k, &passenger->delivery, failure);
    (void)TAKE(value);
    (void)TAKE(passenger);
    return RC_OK;
}

static enum rc send_one(struct kafka *k, const struct task *task) {
    int topic = kafka_topics_find(&k->topics, task->service);
    if (topic >= 0)
        return send_to(k, task, (size_t)topic);
    struct delivery delivery;
    fill_delivery(&delivery, task);
    const char *why = "the configuration names no topic for the service";
    return add_local(k, &delivery, RC_BROKER_UNAVAILABLE, why) ? RC_OK : RC_NO_MEMORY;
}

static enum rc kafka_send(struct publisher *publisher, const struct task *tasks, size_t n,
                          size_t *ret_sent) {
    struct kafka *k = (struct kafka *)publisher;
    enum rc rc = RC_OK;
    size_t sent = 0;
    pthread_mutex_lock(&k->lock);
    while (sent < n && (rc = send_one(k, &tasks[sent])) == RC_OK)
        sent++;
    k->pending += (int64_t)sent;
    pthread_mutex_unlock(&k->lock);
    *ret_sent = sent;
    return rc;
}

static int64_t kafka_message_max_bytes(const struct publisher *publisher, const char *service) {
    const struct kafka *k = (const struct kafka *)publisher;
    int topic = kafka_topics_find(&k->topics, service);
    int64_t limit = topic >= 0 ? k->topics.items[topic].max_bytes : 0;
    if (limit == 0 || limit > k->message_max_bytes)
        limit = k->message_max_bytes;
    return limit > ENVELOPE_BYTES ? limit - ENVELOPE_BYTES : 0;
}

static void kafka_flush(struct publisher *publisher, int timeout_ms) {
    struct kafka *k = (struct kafka *)publisher;
    struct timespec until = deadline(timeout_ms);
    int timed_out = 0;
    pthread_mutex_lock(&k->lock);
    while (k->pending > 0 && timed_out == 0)
        timed_out = pthread_cond_timedwait(&k->idle, &k->lock, &until);
    pthread_mutex_unlock(&k->lock);
}

/* -- birth and death -- */

static void stop_threads(struct kafka *k) {
    pthread_mutex_lock(&k->lock);
    k->stopping = true;
    pthread_cond_broadcast(&k->turn);
    rd_kafka_queue_yield(k->instance->queue);
    pthread_mutex_unlock(&k->lock);
    pthread_join(k->reporter, NULL);
    pthread_join(k->watch, NULL);
}

static void kafka_destroy(struct publisher *publisher) {
    struct kafka *k = (struct kafka *)publisher;
    if (k->threads)
        stop_threads(k);
    for (struct kafka_instance *retired = k->retired; retired; retired = retired->next)
        kafka_instance_drop(retired);
    destroy_retired(k);
    if (k->instance)
        kafka_instance_drop(k->instance);
    kafka_instance_destroy(k->instance);
    kafka_topics_finish(&k->topics);
    free(k->local);
    pthread_cond_destroy(&k->idle);
    pthread_cond_destroy(&k->turn);
    pthread_mutex_destroy(&k->lock);
    pthread_mutex_destroy(&k->state_lock);
    free(k);
}

static const struct publisher_impl impl = {
    .name = "kafka",
    .send = kafka_send,
    .ping = kafka_ping,
    .reachable = kafka_reachable,
    .flush = kafka_flush,
    .destroy = kafka_destroy,
    .message_max_bytes = kafka_message_max_bytes,
};

static void init_sync(struct kafka *k) {
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&k->idle, &attr);
    pthread_cond_init(&k->turn, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&k->lock, NULL);
    pthread_mutex_init(&k->state_lock, NULL);
}

/* Starts both threads with every signal blocked. */
static enum rc start_threads(struct kafka *k, struct error *err) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failure = pthread_create(&k->reporter, NULL, reporter_main, k);
    if (failure == 0 && (failure = pthread_create(&k->watch, NULL, watch_main, k)) != 0) {
        k->stopping = true;
        pthread_join(k->reporter, NULL);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failure != 0)
        return error_set(err, RC_IO, "no thread for kafka: %s", strerror(failure));
    k->threads = true;
    return RC_OK;
}

/* The first look at the broker, and the batch size that follows from it. RC_OK also where it does
 * not answer. */
static enum rc first_check(struct kafka *k, struct error *err) {
    struct error why;
    k->message_max_bytes = k->instance->message_max_bytes;
    enum rc rc = kafka_topics_check(&k->topics, k->instance->rk, ASK_MS, &why);
    if (rc == RC_CONFIG || rc == RC_NO_MEMORY)
        return error_set(err, rc, "%s", why.text);
    while (rc != RC_OK && serve(k, k->instance, 0))
        continue; /* nothing has been sent: these are connection errors only */
    state_set(k, rc, &why);
    int64_t smallest = kafka_topics_smallest(&k->topics, k->instance->batch_bytes);
    if (smallest < k->instance->batch_bytes) {
        struct kafka_instance *fitting;
        rc = kafka_instance_create(k->cfg, &k->topics, smallest, &fitting, err);
        if (rc != RC_OK)
            return rc;
        kafka_instance_destroy(k->instance);
        k->instance = fitting;
    }
    k->batch_bytes = k->instance->batch_bytes;
    return RC_OK;
}

enum rc publisher_kafka_open(const struct config *cfg, publisher_reports *reports, void *arg,
                             struct publisher **ret, struct error *err) {
    if (publisher_timeout_ms(cfg) <= 0)
        return error_set(err, RC_CONFIG,
                         "mq_conf.librdkafka.message.timeout.ms: must be more than 0");
    struct kafka *k = calloc(1, sizeof *k);
    if (!k)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    k->base.impl = &impl;
    k->cfg = cfg;
    k->reports = reports;
    k->arg = arg;
    init_sync(k);
    enum rc rc = kafka_topics_init(&k->topics, cfg);
    if (rc != RC_OK)
        (void)error_set(err, rc, "out of memory");
    else if ((rc = kafka_instance_create(k->cfg, &k->topics, 0, &k->instance, err)) == RC_OK &&
             (rc = first_check(k, err)) == RC_OK)
        rc = start_threads(k, err);
    if (rc != RC_OK) {
        kafka_destroy(&k->base);
        return rc;
    }
    *ret = &k->base;
    return RC_OK;
}
