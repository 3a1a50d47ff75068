/* consumer.h: a consumer: services, their slots, the source that fills them, the reporter.
 *
 *   source ── claimed task ──> free slot of its service ── end of the run ──> reporter ──> API
 *      ^                                    │
 *      └──────────── room ──────────────────┘
 *
 * The source is told the room of each service whenever it changes; the heartbeat renews the leases
 * of all runs until their reports are settled. Stopping goes in this order: the source takes
 * nothing more, runs end, reports are settled, `ended` is called. Loop thread only.
 */
#ifndef LH_CONSUMER_CONSUMER_H
#define LH_CONSUMER_CONSUMER_H

#include "base/spans.h"
#include "config/config.h"
#include "consumer/source/source.h"

#include <event2/event.h>

enum { LOGS_PENDING_MAX = 10000 }; /* streams of ended runs; then no further run begins */

struct consumer;

struct consumer_options {
    struct event_base *base;
    const struct config *cfg;
    const char *token;           /* copied */
    const char *const *services; /* names to serve, NULL-terminated; NULL: all that have a module */
    const char *group_instance_id; /* instead of the configuration's, or NULL */
    const char *metrics_listen;    /* likewise */
    struct spans *spans;           /* where the spans of runs go; NULL: nowhere */
    void (*ended)(void *arg);      /* after consumer_stop, or a failure: all is done, or given up */
    void *arg;
};

/* Starts the slots and opens the source. RC_CONFIG for services that cannot be served. */
enum rc consumer_create(const struct consumer_options *options, struct consumer **ret,
                        struct error *err) LH_MUST_USE;

/* First call: takes no further task, hands back what is claimed and not started, lets runs end for
 * drain_s, then stops them (SIGTERM, SIGKILL after GRACE_MS) and hands their tasks back, and
 * settles all reports, or after drain_s leaves them on disk; leases are renewed meanwhile. Second
 * call: kills what runs at once, hands it back, and gives up after KILL_WAIT_MS. Further calls do
 * nothing. */
void consumer_stop(struct consumer *consumer);

/* Calls that begin from now on carry this token, which is copied. RC_CONFIG for one that cannot be
 * used; then the old one stays. */
enum rc consumer_set_token(struct consumer *consumer, const char *token,
                           struct error *err) LH_MUST_USE;

/* Reads the files of api_tls again, for connections to the API that begin from now on. RC_CONFIG
 * for one that cannot be used; then those of before stay. */
enum rc consumer_reload_tls(struct consumer *consumer, struct error *err) LH_MUST_USE;

/* Looks the modules' users and groups up again, for processes that start from now on. RC_CONFIG for
 * one that is not there any more: it and those that follow stay as they were. Blocks where they are
 * not in files. */
enum rc consumer_find_users(struct consumer *consumer, struct error *err) LH_MUST_USE;

/* Runs without an end, and reports that are neither settled nor on disk: lost if it is destroyed
 * now. */
size_t consumer_unsettled(const struct consumer *consumer);

/* Why it stopped by itself; RC_OK where it was told to. */
enum rc consumer_failure(const struct consumer *consumer);

/* Runs at a time, over all services. */
size_t consumer_slots(const struct consumer *consumer);

/* How a consumer stands, for monitor.h. */

/* The i-th service that it serves; false beyond the last. */
struct consumer_line {
    const char *service;
    int slots, busy;
};
bool consumer_line(const struct consumer *consumer, size_t i, struct consumer_line *ret);

/* Reports, and streams of output of ended runs, that the API does not have yet. */
size_t consumer_reports_waiting(const struct consumer *consumer);
size_t consumer_logs_waiting(const struct consumer *consumer);

/* False once it stops. */
bool consumer_serves(const struct consumer *consumer);

/* As source_each_lag(). */
void consumer_each_lag(const struct consumer *consumer, source_lag_each *each, void *arg);

/* NULL is fine. */
void consumer_destroy(struct consumer *consumer);

#endif
