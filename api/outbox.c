/* outbox.c: delivery reports and the sweeper. */
#include "api/outbox.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <string.h>

enum { SWEEP_MAX_TASKS = 500, PICK_MARGIN_MS = 1000 };

struct outbox {
    struct api *api;
    struct event *tick;
    bool looking;
    int64_t void_ms; /* a pick older than this is void */
};

static struct op *op_for(enum op_kind kind, const char *task_id, const uint8_t *oid, int64_t seq) {
    struct op *op = op_create(kind);
    if (!op)
        return NULL;
    op->broker = true;
    mem_copy_str(op->task_id, sizeof op->task_id, task_id);
    memcpy(op->oid, oid, sizeof op->oid);
    op->has_oid = true;
    op->outbox_seq = seq;
    return op;
}

static void note(struct executor *executor, const struct delivery *delivery) {
    if (delivery->rc == RC_BROKER_UNAVAILABLE)
        return; /* stays pending */
    bool never = delivery->rc == RC_UNDELIVERABLE;
    if (never)
        log_error(.msg = "message can never be delivered", .task_id = delivery->task_id,
                  .error = delivery->text);
    struct op *op = op_for(never ? OP_UNDELIVERABLE : OP_DELIVERED, delivery->task_id,
                           delivery->oid, delivery->outbox_seq);
    if (op && never && !(op->error_text = strdup(delivery->text))) {
        op_destroy(op);
        op = NULL;
    }
    if (op)
        executor_note(executor, op);
}

void outbox_note(const struct delivery *deliveries, size_t n, void *arg) {
    for (size_t i = 0; i < n; i++)
        note(arg, &deliveries[i]);
}

static void on_due(struct query *query, void *arg) {
    struct outbox *outbox = arg;
    outbox->looking = false;
    if (query->rc != RC_OK || outbox->api->draining)
        return;
    for (size_t i = 0; i < query->n_tasks; i++) {
        const struct task *task = &query->tasks[i];
        struct op *op = op_for(OP_PICK, task->task_id, task->oid, task->outbox_seq);
        if (!op)
            return;
        op->pick_void_ms = outbox->void_ms;
        executor_note(outbox->api->executor, op);
    }
    if (query->n_tasks > 0)
        log_info(.msg = "unconfirmed messages are sent again", .count = (int64_t)query->n_tasks);
}

static void look(struct outbox *outbox) {
    struct query *query = query_create(QUERY_OUTBOX);
    if (!query)
        return;
    query->limit = SWEEP_MAX_TASKS;
    query->picked_before_ms = clock_now_ms() - outbox->void_ms;
    outbox->looking = executor_query(outbox->api->executor, query, on_due, outbox) == RC_OK;
}

static void on_tick(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct outbox *outbox = arg;
    struct error err;
    if (!outbox->looking && !outbox->api->draining &&
        publisher_ping(outbox->api->publisher, &err) == RC_OK)
        look(outbox);
}

enum rc outbox_create(struct api *api, struct outbox **ret, struct error *err) {
    struct outbox *outbox = calloc(1, sizeof *outbox);
    if (!outbox)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    outbox->api = api;
    outbox->void_ms = publisher_timeout_ms(api->cfg) + PICK_MARGIN_MS;
    struct timeval every = {api->cfg->sweep_ms / 1000, api->cfg->sweep_ms % 1000 * 1000};
    outbox->tick = event_new(api->base, -1, EV_PERSIST, on_tick, outbox);
    if (!outbox->tick || event_add(outbox->tick, &every) != 0) {
        outbox_destroy(outbox);
        return error_set(err, RC_NO_MEMORY, "out of memory");
    }
    *ret = outbox;
    return RC_OK;
}

void outbox_destroy(struct outbox *outbox) {
    if (!outbox)
        return;
    if (outbox->tick)
        event_free(outbox->tick);
    free(outbox);
}
