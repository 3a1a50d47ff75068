/* waits.h: calls that wait until something happens to tasks.
 *
 * A waiter watches the tasks of one call. Whatever this process changes about one of them wakes it
 * at once; over a store that other processes write too, all tasks that are watched are also looked
 * at together, more than twice a second.
 *
 *   waiter_create ──> first look of the caller ──> waiter_park ──change──> look ──┐
 *                                                    ^ └─over──> look, answer     │
 *                                                    └───────── nothing new ──────┘
 *
 * It is over when its time is up, its client has gone or the API stops; the caller answers then
 * with what stands. A change between two looks is not missed: the next park looks again at once.
 * There are never more waiters than connections. Loop thread only.
 */
#ifndef LH_API_WAITS_H
#define LH_API_WAITS_H

#include "api/call/call.h"

struct waits;
struct waiter;

/* Something has happened, or the wait is over: ask the store, then answer the call or park again.
 * `end`: the one task that is waited for, as its run's last word has just left it, with its result
 * and without its condition; borrowed. NULL where something else has happened. */
typedef void waiter_look(struct waiter *waiter, const struct task *end, void *arg);

enum rc waits_create(struct api *api, struct waits **ret, struct error *err) LH_MUST_USE;

/* A waiter of the call for `ids` (copied). RC_OVERLOADED: too many tasks are watched already;
 * RC_NO_MEMORY. */
enum rc waiter_create(struct waits *waits, struct call *call, char *const *ids, size_t n,
                      int64_t wait_ms, waiter_look *look, void *arg,
                      struct waiter **ret) LH_MUST_USE;

/* Before or after the answer; NULL is fine. */
void waiter_destroy(struct waiter *waiter);

/* Tells what the caller has seen now, in the order of its ids (task_id "": there is none). True
 * where something has changed since the last time: status, sub_status, attempt or progress; the
 * first time, false. */
bool waiter_sees(struct waiter *waiter, const struct task *tasks);

/* The waiter reads logs: waits_wake_readers() wakes it too. */
void waiter_read_logs(struct waiter *waiter);

/* Wakes this one alone. */
void waiter_poke(struct waiter *waiter);

/* There is nothing to tell yet. */
void waiter_park(struct waiter *waiter);

/* True where the caller must answer now. */
bool waiter_is_over(const struct waiter *waiter);

/* An op has its outcome: wakes those that watch the tasks that it changed. */
void waits_notice(struct waits *waits, const struct op *op);

/* The log of a task has grown or is closed: wakes those that read it. */
void waits_wake_readers(struct waits *waits, const char *task_id);

/* All waits are over: the API stops. */
void waits_release(struct waits *waits);

/* NULL is fine. None may be parked. */
void waits_destroy(struct waits *waits);

#endif
