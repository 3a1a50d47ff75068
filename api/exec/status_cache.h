/* status_cache.h: what status_task answers of tasks that were asked for lately, as finished text.
 *
 * Only over a store that this process alone writes: every change comes by the writer's batches. The
 * writer shows each batch before queries can see what it does, and the texts of its tasks go then;
 * a read that may have begun before that batch was over brings no text of them back:
 *
 *     reader    reads the task as batch 6 left it ──────────────────────> status_cache_keep(6):
 * refused writer         status_cache_forget(batch 7: the task is marked 7) ── commit ── over
 *
 * So what is here is what the store says: whoever has seen a later state, by whatever call, finds
 * no earlier one here. Texts found in one look are of one moment. The memory is bounded; those go
 * first that were not asked for since they were looked at last. Any thread.
 */
#ifndef LH_API_STATUS_CACHE_H
#define LH_API_STATUS_CACHE_H

#include "base/json.h"
#include "task/op.h"

struct status_cache;

/* Of at most max_bytes, which are taken as they are needed. NULL when out of memory. */
struct status_cache *status_cache_create(size_t max_bytes);

/* Appends the texts of all n tasks, with commas between, and says true; false, and what was
 * appended is of no use, where one is not at hand or not for these eyes. NULL cache: false. */
bool status_cache_put(struct status_cache *cache, const struct json_span *ids, size_t n,
                      const struct task_access *access, struct buf *to);

/* Keeps the text of a task as a query read it; batch: that query's `batch`. A tombstone goes
 * without a batch that names it, so it is not kept. NULL cache: nothing happens. */
void status_cache_keep(struct status_cache *cache, uint64_t batch, const struct task *task,
                       const char *text, size_t len);

/* Forgets the tasks that the batch changes; an executor_herald, the arg is the cache. */
void status_cache_forget(uint64_t batch, struct op *const *ops, size_t n, void *arg);

/* Forgets all: the texts would be others now. NULL is fine. */
void status_cache_clear(struct status_cache *cache);

/* Bytes that the texts take, with what they cost beside. */
size_t status_cache_bytes(struct status_cache *cache);

/* NULL is fine. */
void status_cache_destroy(struct status_cache *cache);

#endif
