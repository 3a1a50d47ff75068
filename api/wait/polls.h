/* polls.h: claim_task calls that wait for a task.
 *
 * A poll asks the store first; if nothing is due it is parked with its deadline. A create or start
 * through this process wakes as many parked polls as tasks became due (a create of an embedded
 * store even before it is stored: both share a commit); over a store that other processes write
 * too, parked polls also ask again twice a second. Loop thread only.
 */
#ifndef LH_API_POLLS_H
#define LH_API_POLLS_H

#include "api/call/call.h"

struct polls;

enum rc polls_create(struct api *api, struct polls **ret, struct error *err) LH_MUST_USE;

/* What a call asks for. */
struct poll_want {
    char **services; /* owned array of owned names */
    size_t n_services;
    size_t max;              /* most tasks */
    int64_t wait_ms;         /* for the first of them */
    int64_t lease_ms;        /* of their runs; 0: the configuration's */
    int64_t timeout_ms;      /* of the attempts of tasks that name none; 0: none */
    char claim_id[UUID_CAP]; /* the caller's name of the call, which makes it repeatable; "" */
    char worker_id[WORKER_ID_CAP]; /* who asks, "" for nobody; it has one poll at a time */
};

/* Frees what it owns. */
void poll_want_finish(struct poll_want *want);

/* Takes tasks for the call and answers it. An earlier poll of the same worker that still waits is
 * answered with none. Takes what *want owns in every case. */
void polls_take(struct polls *polls, struct call *call, struct poll_want *want);

/* Queues the create, as executor_apply() does, and right behind it the questions of polls that wait
 * for its tasks: one batch, one commit stores and claims them. *ret_asked: how many. */
enum rc polls_create_tasks(struct polls *polls, struct op *op, op_done *done, void *arg,
                           size_t *ret_asked) LH_MUST_USE;

/* Wakes those that wait for what this op made due, but for as many tasks as polls have been asked
 * along with it. */
void polls_notice(struct polls *polls, const struct op *op, size_t asked);

/* Wakes all that wait for a task of the service: it has been resumed, or may run more. */
void polls_wake(struct polls *polls, const char *service);

/* Answers all that are parked with no task: the API stops. */
void polls_release(struct polls *polls);

/* NULL is fine. None may be parked. */
void polls_destroy(struct polls *polls);

#endif
