/* executor.h: makes operations durable in batches and answers queries in batches, off the loop.
 *
 * One writer thread owns store_apply(); what became due in a batch goes to the publisher right
 * after its commit, before the answers. Reader threads own store_query(). A store that fails is
 * logged once per outage, with its own words, and once when it is back.
 */
#ifndef LH_API_EXECUTOR_H
#define LH_API_EXECUTOR_H

#include "base/metrics.h"
#include "publisher/publisher.h"
#include "store/store.h"

#include <event2/event.h>

enum { EXECUTOR_READERS = 2 };

struct executor;

/* Called on the loop's thread, once. The op (query) is freed when it returns. */
typedef void op_done(struct op *op, void *arg);
typedef void query_done(struct query *query, void *arg);

/* Borrows the store. */
enum rc executor_create(struct event_base *base, struct store *store, struct executor **ret,
                        struct error *err) LH_MUST_USE;

/* Whom to tell about due tasks; NULL: nobody (any more). While no op is queued that makes one due.
 */
void executor_set_publisher(struct executor *executor, struct publisher *publisher);

/* Whom to show every op that has its outcome, before its own `done`, also those that nobody waits
 * for; on the loop's thread. Before the first op is queued. */
void executor_set_observer(struct executor *executor, op_done *observer, void *arg);

/* Is shown each batch, by a number that rises, on the writer's thread: before queries can see what
 * it does. Every op has its outcome. */
typedef void executor_herald(uint64_t batch, struct op *const *ops, size_t n, void *arg);

/* Whom to show them; with a store that tells of its batches (store_set_herald()). Before the first
 * op is queued. */
void executor_set_herald(struct executor *executor, executor_herald *herald, void *arg);

/* Where to count what the store does; NULL: nowhere. Before the first op is queued. */
void executor_set_metrics(struct executor *executor, struct metrics *metrics);

/* Ops, and queries, that wait for a thread. Any thread. */
size_t executor_ops_waiting(struct executor *executor);
size_t executor_queries_waiting(struct executor *executor);

/* By which rules services are paused and limited from the next batch on. Takes the rules; NULL: by
 * none. Any thread. */
void executor_set_rules(struct executor *executor, struct service_rules *rules);

/* Queues the op; takes it in every case. RC_OVERLOADED, and RC_DRAINING while executor_destroy() is
 * at work: refused, the op is freed, `done` not called. Loop thread. */
enum rc executor_apply(struct executor *executor, struct op *op, op_done *done,
                       void *arg) LH_MUST_USE;

/* The same for a query. */
enum rc executor_query(struct executor *executor, struct query *query, query_done *done,
                       void *arg) LH_MUST_USE;

/* Calls `done`, with no op, when every batch that had begun before the call is over: rules that
 * were set before hold everywhere then. Not refused before executor_destroy(). Loop thread. */
enum rc executor_settle(struct executor *executor, op_done *done, void *arg) LH_MUST_USE;

/* Queues an op whose outcome nobody waits for; not refused before executor_destroy(). Takes the op.
 * Any thread. */
void executor_note(struct executor *executor, struct op *op);

/* clock_mono_ms() when the store last failed to serve: a call failed, a batch took longer than
 * stall_ms or has been out for that long now, or an op was refused for want of room. 0: never. Any
 * thread. */
int64_t executor_failed_at(const struct executor *executor);

/* From which duration on a call of the store counts as a failure to serve; none before this is
 * called. */
void executor_set_stall(struct executor *executor, int64_t stall_ms);

/* Waits until every op that is queued has been applied. */
void executor_drain(struct executor *executor);

/* Works off what is queued, calling every `done`, which gets nothing more queued. NULL is fine. */
void executor_destroy(struct executor *executor);

#endif
