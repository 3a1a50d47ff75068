/* store_batch.h: what every back end does with the ops and queries of a batch. Any thread. */
#ifndef LH_STORE_STORE_BATCH_H
#define LH_STORE_STORE_BATCH_H

#include "store/store.h"

/* Readies an op, as store_apply() does before it calls the back end: RC_OK, no text, CREATE gets
 * its array of outcomes (all RC_OK), the others lose the tasks of an earlier attempt. RC_NO_MEMORY
 * is also in the op. */
enum rc store_op_begin(struct op *op) LH_MUST_USE;

/* Writes `rc` and `text` into an op whose change did not take effect or may not have. A CREATE
 * keeps its tasks (their ids may exist) and every item of it gets `rc`; the others give up their
 * tasks. */
void store_op_fail(struct op *op, enum rc rc, const char *text);

/* The same for all ops of a batch; returns rc. */
enum rc store_ops_fail(struct op *const *ops, size_t n, enum rc rc, const char *text);

/* Conditions that the sweepers' ops of one batch bring along: so many bytes, and the one that goes
 * beyond. */
#define STORE_SWEPT_BYTES ((int64_t)64 << 20)

/* True for the ops that a sweeper makes of what it has found, where they bring a condition along.
 * What a batch has no room for is refused, RC_OVERLOADED, and found again at the next look. */
bool store_op_swept(const struct op *op);

/* Counts the values of the task that was read last into a page (*bytes: those before it). False
 * where the page has grown beyond query->max_bytes: it is emptied then and says RC_TOO_LARGE. */
bool store_page_fits(struct query *query, size_t *bytes) LH_MUST_USE;

/* Frees the tasks of the query but the first n; all where n is not positive. */
void store_keep(struct query *query, int64_t n);

#endif
