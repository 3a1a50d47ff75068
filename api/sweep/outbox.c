/* outbox.c: delivery reports and the sweeper. */
#include "api/sweep/outbox.h"

#include "api/meter/meter.h"
#include "api/sweep/services.h"
#include "api/sweep/tick.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/mutant.h"

#include <string.h>

enum { SWEEP_MAX_TASKS = 500, PICK_MARGIN_MS = 1000 };

struct outbox {
    struct api *api;
    struct event *tick;
    unsigned looking, picking; /* queries and picks that are out */
    bool more;                 /* a page was full */
    int64_t void_ms;           /* a pick older than this is void */
};

static struct op *op_for(enum op_kind kind, const char *task_id, const uint8_t *oid, int64_t seq) {
    struct op *op = op_create_for(kind, task_id, oid);
    if (!op)
        return NULL;
    op->broker = true;
    op->outbox_seq = seq;
    return op;
}

/* The text that the op owns of a delivery: why not, or where the message lies. */
static bool take_text(struct op *op, const struct delivery *delivery) {
    char **to = op->kind == OP_UNDELIVERABLE ? &op->error_text : &op->place;
    if (delivery->text[0])
        *to = strdup(delivery->text);
    return !delivery->text[0] || *to;
}

static void note(const struct api *api, const struct delivery *delivery) {
    if (delivery->rc == RC_BROKER_UNAVAILABLE)
        return; /* stays pending */
    bool never = delivery->rc == RC_UNDELIVERABLE;
    if (never)
        log_error(.msg = "message can never be delivered", .task_id = delivery->task_id,
                  .traceparent = delivery->traceparent, .error = delivery->text);
    struct op *op = op_for(never ? OP_UNDELIVERABLE : OP_DELIVERED, delivery->task_id,
                           delivery->oid, delivery->outbox_seq);
    if (!op)
        return;
    op->requeue_ms = api->cfg->requeue_ms;
    if (take_text(op, delivery))
        executor_note(api->executor, op);
    else
        op_destroy(op);
}

void outbox_note(const struct delivery *deliveries, size_t n, void *arg) {
    meter_deliveries(((struct api *)arg)->meter, deliveries, n);
    for (size_t i = 0; i < n; i++)
        note(arg, &deliveries[i]);
}

static void look(struct outbox *outbox);

/* What filled a page may have more behind it. */
static void look_on(struct outbox *outbox) {
    if (outbox->looking || outbox->picking || !outbox->more || outbox->api->draining)
        return;
    outbox->more = false;
    if (publisher_reachable(outbox->api->publisher))
        look(outbox);
}

static void on_picked(struct op *op, void *arg) {
    struct outbox *outbox = arg;
    outbox->picking--;
    if (op->rc == RC_OVERLOADED)
        outbox->more = false; /* large messages: the broker gets its time for what there is */
    look_on(outbox);
}

/* This process sends the message, unless another does; what there is no room for is found again. */
static void pick(struct outbox *outbox, const struct task *task) {
    struct op *op = op_for(OP_PICK, task->task_id, task->oid, task->outbox_seq);
    if (!op)
        return;
    op->pick_void_ms = outbox->void_ms;
    if (executor_apply(outbox->api->executor, op, on_picked, outbox) == RC_OK)
        outbox->picking++;
}

static void pick_all(struct outbox *outbox, const struct query *query) {
    for (size_t i = 0; i < query->n_tasks; i++)
        pick(outbox, &query->tasks[i]);
    outbox->more = outbox->more || query->n_tasks == SWEEP_MAX_TASKS;
    if (query->n_tasks > 0)
        log_info(.msg = query->kind == QUERY_PARKED
                            ? "messages go out that waited for their service"
                            : "unconfirmed messages are sent again",
                 .count = (int64_t)query->n_tasks);
}

static void on_due(struct query *query, void *arg) {
    struct outbox *outbox = arg;
    outbox->looking--;
    if (query->rc == RC_OK && !outbox->api->draining)
        pick_all(outbox, query);
    look_on(outbox);
}

static void ask(struct outbox *outbox, struct query *query) {
    if (executor_query(outbox->api->executor, query, on_due, outbox) == RC_OK)
        outbox->looking++;
}

static void look_for_unconfirmed(struct outbox *outbox) {
    struct query *query = query_create(QUERY_OUTBOX);
    if (!query)
        return;
    query->limit = SWEEP_MAX_TASKS;
    query->picked_before_ms = clock_now_ms() - outbox->void_ms;
    ask(outbox, query);
}

/* No more than there is room for: each is told to a module that will claim it. */
static void look_for_limited(struct outbox *outbox, const char *name, int64_t max_running) {
    struct query *query = query_create_of(QUERY_PARKED, 1);
    if (query && query_add_service(query, name)) {
        query->limit = SWEEP_MAX_TASKS;
        query->max_running = max_running;
        ask(outbox, query);
    } else {
        query_destroy(query);
    }
}

/* Messages that waited for a service which has been resumed, or has room under its limit. */
static void look_for_parked(struct outbox *outbox) {
    const struct api *api = outbox->api;
    const struct service_rules *rules = services_rules(api->services);
    struct query *query = query_create_of(QUERY_PARKED, api->cfg->n_services);
    for (size_t i = 0; query && i < api->cfg->n_services; i++) {
        const char *name = api->cfg->services[i].name;
        if (service_paused(rules, name))
            continue;
        if (service_max_running(rules, name))
            look_for_limited(outbox, name, service_max_running(rules, name));
        else
            (void)query_add_service(query, name);
    }
    if (query && query->n_services > 0) {
        query->limit = SWEEP_MAX_TASKS;
        ask(outbox, query);
    } else {
        query_destroy(query);
    }
}

static void look(struct outbox *outbox) {
    look_for_unconfirmed(outbox);
    look_for_parked(outbox);
}

static void on_tick(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct outbox *outbox = arg;
    if (!outbox->looking && !outbox->picking && !outbox->api->draining &&
        !LH_MUTANT("outbox-sweep") && publisher_reachable(outbox->api->publisher))
        look(outbox);
}

enum rc outbox_create(struct api *api, struct outbox **ret, struct error *err) {
    struct outbox *outbox = calloc(1, sizeof *outbox);
    if (!outbox)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    outbox->api = api;
    outbox->void_ms = publisher_timeout_ms(api->cfg) + PICK_MARGIN_MS;
    enum rc rc = tick_create(api, api->cfg->sweep_ms, on_tick, outbox, &outbox->tick, err);
    if (rc == RC_OK)
        *ret = outbox;
    else
        outbox_destroy(outbox);
    return rc;
}

void outbox_destroy(struct outbox *outbox) {
    if (!outbox)
        return;
    tick_destroy(outbox->tick);
    free(outbox);
}
