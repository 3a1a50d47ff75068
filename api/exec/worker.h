/* worker.h: threads that take everything that waits as one batch, and hand the results back to the
 * loop.
 *
 * While one batch is being worked on the next one gathers, so batches grow with the load by
 * themselves (group commit). What one turn of the loop submits is begun when there is enough of it,
 * or at the turn's end: a batch of one would cost as much as one of all. Results reach the loop
 * through one list and one eventfd, in the order in which the batch held them.
 */
#ifndef LH_API_WORKER_H
#define LH_API_WORKER_H

#include "base/rc.h"

#include <event2/event.h>

/* The head of whatever is submitted; embed it first. */
struct job {
    struct job *next;
    void (*done)(struct job *job); /* on the loop's thread, once; owns the job from then on */
};

struct worker;

/* Works on a batch; `thread` counts from 0. On a thread of the worker. */
typedef void worker_run(unsigned thread, struct job **jobs, size_t n, void *arg);

struct worker_options {
    struct event_base *base;
    const char *name; /* of the threads, at most 15 characters */
    unsigned threads;
    size_t jobs_max;  /* waiting jobs beyond which submit refuses */
    size_t batch_max; /* most jobs in one batch */
    worker_run *run;
    void *arg;
};

/* On the loop's thread. */
enum rc worker_create(const struct worker_options *options, struct worker **ret,
                      struct error *err) LH_MUST_USE;

/* Queues the job (the worker owns it on RC_OK). RC_OVERLOADED when jobs_max wait already, unless
 * `always`, which is for what has been promised before; RC_DRAINING once it stops. Any thread. */
enum rc worker_submit(struct worker *worker, struct job *job, bool always) LH_MUST_USE;

/* Jobs that no thread has taken yet. Any thread. */
size_t worker_waiting(struct worker *worker);

/* Waits until nothing is queued or being worked on. Not on a thread of the worker. */
void worker_drain(struct worker *worker);

/* Works off what is queued, joins the threads, calls every `done`; what one of these would queue
 * here is refused. NULL is fine. On the loop's thread, with the loop no longer running. */
void worker_stop(struct worker *worker);

/* Stops it, unless that is done, and frees it. NULL is fine. */
void worker_destroy(struct worker *worker);

#endif
