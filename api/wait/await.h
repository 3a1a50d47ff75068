/* await.h: a call about named tasks, answered at once or when there is something to say.
 *
 * The tasks are read; where they are not as the caller wants them, the call waits
 * (api/wait/waits.h) and they are read again at every change. When the wait is over it is answered
 * with what stands. Loop thread only.
 */
#ifndef LH_API_AWAIT_H
#define LH_API_AWAIT_H

#include "api/call/call.h"

/* Can the call be answered with these tasks? `changed`: one is not as it was at the first look. */
typedef bool await_ready(const struct query *query, bool changed);

/* Runs the query (QUERY_BY_ID, owned) until `ready` or wait_ms are over, then calls `answer` with
 * it, or refuses the call itself. wait_ms 0: `answer` at once. Uses call_keep(). */
void await_tasks(struct call *call, struct query *query, int64_t wait_ms, await_ready *ready,
                 call_answered *answer);

/* Nothing happens by itself any more to a task that is final or does not exist. */
bool await_all_final(const struct query *query);

#endif
