/* worker_task.h: the consumers that have been seen lately, for the routes that tell of them. */
#ifndef LH_API_WORKER_TASK_H
#define LH_API_WORKER_TASK_H

#include "api/call/call.h"
#include "store/store.h"

/* An OP_WORKER of how the consumer that makes the call describes itself: `worker`, which is the
 * member of that name of the object in `text`. The caller owns *ret. RC_INVALID_PARAMETER,
 * RC_TOO_LARGE, RC_NO_MEMORY. */
enum rc worker_op(const struct call *call, const json_t *worker, struct json_span text,
                  struct op **ret, struct error *err) LH_MUST_USE;

/* Asks for those seen in the last minute; NULL when out of memory. */
struct query *worker_query(void);

/* How many of them said that they serve each configured service, in their order: *ret has room for
 * all, zeroed. */
void worker_count_all(const struct query *query, const struct config *cfg, size_t *ret);

#endif
