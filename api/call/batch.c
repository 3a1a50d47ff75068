/* batch.c: several items of one call. */
#include "api/call/batch.h"

#include "api/call/audit.h"
#include "api/call/tracing.h"
#include "api/wait/polls.h"
#include "base/mem.h"

#include <stdio.h>

/* Of conditions that the ops of a batch bring along, and that its answer tells. */
#define CONDITIONS_MAX_BYTES ((int64_t)64 << 20)

struct slot {
    struct batch *batch;
    size_t item;
};

struct batch {
    struct call *call;
    batch_done *done;
    size_t n, left; /* left: ops without an outcome, and one for batch_run() itself */
    size_t next;    /* the first item that the executor has not been given */
    size_t heavy;   /* ops that are out and bring a condition along */
    int64_t bytes;  /* of the conditions that wait for the answer */
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

/* An op brings a condition of at most body_bytes. */
static bool has_room(const struct batch *batch) {
    int64_t max = CONDITIONS_MAX_BYTES / batch->call->api->cfg->limits.body_bytes;
    return batch->heavy == 0 || (int64_t)batch->heavy < max;
}

static void give_next(struct batch *batch);

/* What no answer shows is not kept for it, nor are more claims than an answer of a bounded size
 * tells: those are said again. */
static void keep_condition(struct batch *batch, size_t i, struct op *op) {
    struct task *task = op->n_tasks == 1 ? op->tasks : NULL;
    if (!task || !task->condition)
        return;
    int64_t len = (int64_t)task->condition_len;
    bool shown = op->kind == OP_CLAIM && op->rc == RC_OK;
    bool fits = batch->bytes == 0 || batch->bytes + len <= CONDITIONS_MAX_BYTES;
    if (shown && fits) {
        batch->bytes += len;
        return;
    }
    free(TAKE(task->condition));
    task->condition_len = 0;
    if (shown)
        batch_refuse(batch, i, RC_OUTCOME_UNKNOWN,
                     "the answer has no room for the task that was claimed: claim it again");
}

/* The executor frees the op that it gave; what it says is moved into the item's own. */
static void on_applied(struct op *op, void *arg) {
    struct slot *slot = arg;
    struct batch *batch = slot->batch;
    struct batch_item *item = &batch->items[slot->item];
    polls_notice(batch->call->api->polls, op, 0);
    if (batch->n == 1)
        tracing_commit(batch->call->api->tracing, batch->call, op);
    batch->heavy -= op_needs_condition(op);
    item->op = op_move(op);
    if (item->op) {
        batch_refuse(batch, slot->item, item->op->rc, item->op->text);
        keep_condition(batch, slot->item, item->op);
    }
    give_next(batch);
    settle(batch);
}

static void give(struct batch *batch, size_t i, struct op *op) {
    bool heavy = op_needs_condition(op);
    op->access = token_access(batch->call->token);
    batch->left++;
    batch->heavy += heavy;
    enum rc rc = executor_apply(batch->call->api->executor, op, on_applied, &batch->slots[i]);
    if (rc == RC_OK)
        return;
    batch->left--;
    batch->heavy -= heavy;
    batch_refuse(batch, i, rc, NULL);
}

/* In the order of the call, as many as it may have out at once. */
static void give_next(struct batch *batch) {
    for (; batch->next < batch->n && has_room(batch); batch->next++) {
        struct op *op = TAKE(batch->items[batch->next].op);
        if (op)
            give(batch, batch->next, op);
    }
}

void batch_run(struct batch *batch) {
    batch->left = 1;
    give_next(batch);
    settle(batch);
}
