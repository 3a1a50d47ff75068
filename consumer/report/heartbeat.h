/* heartbeat.h: renews the leases of all runs that a consumer holds, and says that the consumer is
 * there.
 *
 * One call for all runs (several for more than HEARTBEAT_MAX_RUNS or body_max), every third of the
 * lease and at least every 10 s; with no runs every 10 s. A call that fails is repeated sooner and
 * changes nothing: runs go on. Loop thread only.
 */
#ifndef LH_CONSUMER_HEARTBEAT_H
#define LH_CONSUMER_HEARTBEAT_H

#include "consumer/api_client.h"

enum { HEARTBEAT_MAX_RUNS = 1000 };

struct heartbeat;

struct heartbeat_options {
    struct event_base *base;
    struct api_client *api;
    int lease_ms;
    int64_t body_max;                             /* bytes that the API takes in one call */
    const struct config_service *const *services; /* that the consumer serves; used at creation */
    size_t n_services;
    size_t slots;
    struct metrics *metrics; /* where to count; NULL: nowhere */
    /* Calls heartbeat_add() for every run that is held. */
    void (*list)(struct heartbeat *heartbeat, void *arg);
    /* The API says that the run does not hold its task (any more). */
    void (*lost)(const char *run_id, enum rc rc, const char *text, void *arg);
    /* The lease of the run stands until held_until_ms (clock_mono_ms()), counted from when the
     * renewal was sent. */
    void (*renewed)(const char *run_id, int64_t held_until_ms, void *arg);
    /* The task is to be cancelled: SIGTERM, and SIGKILL grace_ms later. Said again with every
     * heartbeat until the run has ended. */
    void (*cancel)(const char *run_id, int grace_ms, void *arg);
    void *arg;
};

/* The first heartbeat goes out from the loop at once. RC_NO_MEMORY. */
enum rc heartbeat_create(const struct heartbeat_options *options, struct heartbeat **ret,
                         struct error *err) LH_MUST_USE;

/* One run that is held (copied); for options.list only. progress: JSON text that progress_valid()
 * accepts, or NULL. */
void heartbeat_add(struct heartbeat *heartbeat, const char *task_id, const char *run_id,
                   const char *progress);

/* A run has started: the next heartbeat goes out within a second. */
void heartbeat_soon(struct heartbeat *heartbeat);

/* NULL is fine. */
void heartbeat_destroy(struct heartbeat *heartbeat);

#endif
