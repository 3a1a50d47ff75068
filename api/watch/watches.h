/* watches.h: clients that are told what happens to tasks while it happens (/api/watch).
 *
 *   op with its outcome ──> event ──> ring (api/watch/ring.h) ──> watchers whose selection takes it
 *   another process' change ─ poll ─┘                              └─> http stream, one turn later
 *   log that has grown ─────────────────────> tails (api/watch/log.c) ──┘
 *
 * Nothing is queued for a watcher but what its connection has not taken yet, limits.watch_kb at
 * most: it reads the ring and the logs from where it stands, when it has room. One that falls
 * behind the ring is told that it has a gap. While nobody watches, or has watched lately, there are
 * no events. Loop thread only. docs/internals/watch.md.
 */
#ifndef LH_API_WATCHES_H
#define LH_API_WATCHES_H

#include "api/call/call.h"
#include "api/watch/select.h"

struct watches;

enum rc watches_create(struct api *api, struct watches **ret, struct error *err) LH_MUST_USE;

/* Answers the call with a stream of events that lasts until its client goes or the API stops, or
 * refuses it. Takes what *select owns. last_id: of the last event that the client has seen, or
 * NULL. */
void watches_begin(struct watches *watches, struct call *call, struct watch_select *select,
                   const char *last_id);

/* An op has its outcome. */
void watches_notice(struct watches *watches, const struct op *op);

/* The log of a task has grown or is closed. */
void watches_notice_log(struct watches *watches, const char *task_id);

/* Ends all streams: the API stops, or what their tokens may do has changed. */
void watches_release(struct watches *watches);

/* NULL is fine. No stream may be left, and no query out. */
void watches_destroy(struct watches *watches);

#endif
