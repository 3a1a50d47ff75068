/* batch.h: several items of one call, each an op or a refusal, answered together. */
#ifndef LH_API_BATCH_H
#define LH_API_BATCH_H

#include "api/call/call.h"

struct batch_item {
    enum rc rc;     /* outcome of the item */
    char text[512]; /* why not; "": the table's */
    struct op *op;  /* NULL where it was refused before; owned by the batch */
};

struct batch;

/* All outcomes are there: answer the call. The batch is freed when it returns. */
typedef void batch_done(struct call *call, struct batch_item *items, size_t n);

/* A batch of n items, all refused for want of memory until something else is said. NULL when out of
 * memory. */
struct batch *batch_create(struct call *call, size_t n, batch_done *done);

/* Item i is refused. */
void batch_refuse(struct batch *batch, size_t i, enum rc rc, const char *text);

/* Item i is this op (owned from now on). */
void batch_put(struct batch *batch, size_t i, struct op *op);

/* Hands every op to the executor; `done` follows when the last has its outcome, maybe at once. */
void batch_run(struct batch *batch);

/* Frees a batch that is not run after all; NULL is fine. */
void batch_destroy(struct batch *batch);

#endif
