/* batch.c: several items of one call. */
#include "api/call/batch.h"

#include "api/call/audit.h"
#include "api/call/tracing.h"
#include "api/wait/polls.h"
#include "base/mem.h"

#include <stdio.h>

struct slot {
    struct batch *batch;
    size_t item;
};

struct batch {
    struct call *call;
    batch_done *done;
    size_t n, left; /* left: ops without an outcome, and one for batch_run() itself */
    struct slot *slots;
    struct batch_item items[];
};

void batch_destroy(struct batch *batch) {
    if (!batch)
        return;
    for (size_t i = 0; i < batch->n; i++)
        op_destroy(batch->items[i].op);
    free(batch->slots);
    free(batch);
}

struct batch *batch_create(struct call *call, size_t n, batch_done *done) {
    struct batch *batch = calloc(1, sizeof *batch + n * sizeof batch->items[0]);
    struct slot *slots = calloc(n + 1, sizeof *slots);
    if (!batch || !slots) {
        free(batch);
        free(slots);
        return NULL;
    }
    *batch = (struct batch){.call = call, .done = done, .n = n, .slots = slots};
    for (size_t i = 0; i < n; i++) {
        slots[i] = (struct slot){batch, i};
        batch->items[i].rc = RC_NO_MEMORY;
    }
    return batch;
}

void batch_refuse(struct batch *batch, size_t i, enum rc rc, const char *text) {
    struct batch_item *item = &batch->items[i];
    item->rc = rc;
    snprintf(item->text, sizeof item->text, "%s", text ? text : "");
    if (rc == RC_FORBIDDEN)
        audit_call_forbidden(batch->call, item->op ? item->op->task_id : NULL, item->text);
}

void batch_put(struct batch *batch, size_t i, struct op *op) {
    batch->items[i].op = op;
}

static void settle(struct batch *batch) {
    if (--batch->left > 0)
        return;
    batch->done(batch->call, batch->items, batch->n);
    batch_destroy(batch);
}

/* The executor frees the op that it gave; what it says is moved into the item's own. */
static void on_applied(struct op *op, void *arg) {
    struct slot *slot = arg;
    struct batch *batch = slot->batch;
    struct batch_item *item = &batch->items[slot->item];
    polls_notice(batch->call->api->polls, op, 0);
    if (batch->n == 1)
        tracing_commit(batch->call->api->tracing, batch->call, op);
    item->op = op_move(op);
    if (item->op)
        batch_refuse(batch, slot->item, item->op->rc, item->op->text);
    settle(batch);
}

void batch_run(struct batch *batch) {
    batch->left = 1;
    for (size_t i = 0; i < batch->n; i++) {
        struct op *op = TAKE(batch->items[i].op);
        if (!op)
            continue;
        batch->left++;
        op->access = token_access(batch->call->token);
        enum rc rc = executor_apply(batch->call->api->executor, op, on_applied, &batch->slots[i]);
        if (rc == RC_OK)
            continue;
        batch->left--;
        batch_refuse(batch, i, rc, NULL);
    }
    settle(batch);
}
