/* take.h: claims of one service by claim_task: one call at a time, repeatable by its claim_id.
 *
 * A call whose answer was lost is made again with the same claim_id and brings the same tasks, as
 * long as their leases stand; after that the tasks are the queue's again and the next call is a new
 * one. Loop thread only.
 */
#ifndef LH_CONSUMER_TAKE_H
#define LH_CONSUMER_TAKE_H

#include "consumer/source/source.h"

enum { TAKE_MAX_TASKS = 32 };

struct take;

/* How a call ended: n tasks were delivered before; rc and text as in api_answer. */
struct take_answer {
    enum rc rc;
    bool outage;
    const char *text;
    size_t n;
    int ms; /* since it was sent */
};
typedef void take_done(const struct take_answer *answer, void *arg);

struct take {
    const struct source_options *options; /* whose `deliver` gets the tasks */
    const struct config_service *service;
    take_done *done;
    void *arg;
    struct api_call *call;   /* that is out */
    char claim_id[UUID_CAP]; /* "": the last call has its answer */
    int64_t asked_ms;        /* clock_mono_ms() when the claim_id was first sent */
    int64_t sent_ms;
    int max; /* tasks asked for under this claim_id; so much room is spoken for */
};

/* Asks for up to `max` tasks (TAKE_MAX_TASKS at most), waiting wait_ms for the first; a claim_id
 * without an answer is asked again for what it was. None may be out. False: no memory, `done` is
 * not called. */
bool take_send(struct take *take, int max, int wait_ms) LH_MUST_USE;

/* Tasks that a call which is out, or has no answer yet, may still bring. */
int take_open(struct take *take);

/* Whether a call is out. */
bool take_out(const struct take *take);

/* `done` is not called any more. */
void take_cancel(struct take *take);

/* For a call of its own: the body of claim_task, and delivering what its answer holds. */
void take_put_body(struct buf *body, const struct config_service *service, int max, int wait_ms,
                   const char *claim_id);
size_t take_deliver(const struct source_options *options, const struct config_service *service,
                    const struct api_answer *answer, int64_t asked_ms);

#endif
