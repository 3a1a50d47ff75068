/* polls.h: claim_task calls that wait for a task.
 *
 * A poll asks the store first; if nothing is due it is parked with its deadline. A create or start
 * through this process wakes as many parked polls as tasks became due; over a store that other
 * processes write too, parked polls also ask again twice a second. Loop thread only.
 */
#ifndef LH_API_POLLS_H
#define LH_API_POLLS_H

#include "api/call.h"

struct polls;

enum rc polls_create(struct api *api, struct polls **ret, struct error *err) LH_MUST_USE;

/* Takes up to `max` tasks of the services (owned names) for the call, waiting up to wait_ms for the
 * first, and answers it. Takes the array in every case. */
void polls_take(struct polls *polls, struct call *call, char **services, size_t n_services,
                size_t max, int64_t wait_ms);

/* Wakes those that wait for what this op made due. */
void polls_notice(struct polls *polls, const struct op *op);

/* Answers all that are parked with no task: the API stops. */
void polls_release(struct polls *polls);

/* NULL is fine. None may be parked. */
void polls_destroy(struct polls *polls);

#endif
