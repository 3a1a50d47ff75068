/* leases.c: takes tasks back from runs whose lease has run out. */
#include "api/sweep/leases.h"

#include "api/sweep/tick.h"
#include "api/wait/polls.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <string.h>

enum { LAPSE_MAX_TASKS = 500, STANDSTILL_MAX_MS = 2000, STEP_MAX_MS = 1000 };

struct leases {
    struct api *api;
    struct event *tick;
    bool looking;
    bool vetted;       /* the store's clock has been asked for what is looked for now */
    bool ahead;        /* of the store's clock, as the log has it */
    size_t lapsing;    /* ops under way */
    int64_t apart;     /* clock_now_ms() less clock_mono_ms() */
    int64_t vetted_at; /* clock_now_ms() when the store's was asked for */
    int64_t looked_at; /* clock_mono_ms(), as are those below */
    int64_t ticked_at;
    int64_t steady_since;
};

static void break_at(struct leases *leases, int64_t mono_ms) {
    if (mono_ms > leases->steady_since)
        leases->steady_since = mono_ms;
}

/* The longest that the loop may pause between two ticks, or the store take for a call, without
 * having stood still. */
static int64_t standstill_ms(const struct leases *leases) {
    const struct config *cfg = leases->api->cfg;
    int64_t half = cfg->lease_ms / 2;
    return cfg->sweep_ms + (half < STANDSTILL_MAX_MS ? half : STANDSTILL_MAX_MS);
}

static int64_t clocks_apart(void) {
    return clock_now_ms() - clock_mono_ms();
}

/* A lease is a time of the wall's clock. Where that is set forward, it is as if runs had not been
 * able to renew theirs for so long. */
static void watch_clock(struct leases *leases) {
    int64_t apart = clocks_apart(), step = apart - leases->apart;
    int quarter = leases->api->cfg->lease_ms / 4;
    leases->apart = apart;
    if (step <= (quarter < STEP_MAX_MS ? quarter : STEP_MAX_MS))
        return;
    log_warning(.msg = "the clock has been set forward: leases get time to be renewed by it",
                .ms = step);
    break_at(leases, clock_mono_ms());
}

/* How long it has been without a break. */
static int64_t steady_ms(struct leases *leases) {
    watch_clock(leases);
    break_at(leases, executor_failed_at(leases->api->executor));
    return clock_mono_ms() - leases->steady_since;
}

static void on_lapsed(struct op *op, void *arg) {
    struct leases *leases = arg;
    leases->lapsing--;
    if (op->rc != RC_OK)
        return; /* renewed or ended in between, or the store failed: the next tick looks again */
    const struct task *task = &op->tasks[0];
    log_warning(.msg = "lease lost", .task_id = task->task_id, .run_id = task->run_id,
                .traceparent = task->traceparent, .service = task->service,
                .detail = task_status_name(task->status));
    polls_notice(leases->api->polls, op, 0);
}

static void lapse(struct leases *leases, const struct task *task) {
    const struct api *api = leases->api;
    struct op *op = op_create_for(OP_LAPSE, task->task_id, task->oid);
    if (!op)
        return;
    op->broker = api_has_broker(api);
    op->max_crashes = api->cfg->max_crashes;
    op->kill_max_ms = api->cfg->kill_max_ms;
    op->lease_ms = api->cfg->lease_ms;
    mem_copy_str(op->run_id, sizeof op->run_id, task->run_id);
    if (executor_apply(api->executor, op, on_lapsed, leases) == RC_OK)
        leases->lapsing++;
    else
        log_warning(.msg = "no room to take a task back yet", .task_id = task->task_id,
                    .traceparent = task->traceparent);
}

/* Asks the store something; what it is asked for tells how it stands, too. */
static void ask(struct leases *leases, struct query *query, query_done *done) {
    leases->looked_at = clock_mono_ms();
    leases->looking = executor_query(leases->api->executor, query, done, leases) == RC_OK;
    if (!leases->looking)
        break_at(leases, clock_mono_ms());
}

/* False: the store has not answered well, or nothing is to be done any more. */
static bool answered(struct leases *leases, const struct query *query) {
    int64_t now = clock_mono_ms();
    leases->looking = false;
    if (query->rc != RC_OK || now - leases->looked_at > standstill_ms(leases))
        break_at(leases, now);
    return query->rc == RC_OK && !leases->api->draining;
}

static void look(struct leases *leases);

/* Whether this process, whose clock is far ahead of the store's, would end leases that others have
 * just given. */
static bool is_ahead(struct leases *leases, int64_t store_ms) {
    int64_t by_ms = store_ms ? leases->vetted_at - store_ms : 0;
    bool ahead = by_ms > leases->api->cfg->lease_ms / 2;
    if (ahead && !leases->ahead)
        log_error(.msg = "no lease is ended by this process: its clock is ahead of the store's",
                  .ms = by_ms);
    leases->ahead = ahead;
    return ahead;
}

static void on_vetted(struct query *query, void *arg) {
    struct leases *leases = arg;
    if (!answered(leases, query) || is_ahead(leases, query->store_clock_ms))
        return;
    leases->vetted = true;
    look(leases);
}

static void vet(struct leases *leases) {
    struct query *query = query_create(QUERY_PING);
    leases->vetted_at = clock_now_ms();
    if (query)
        ask(leases, query, on_vetted);
}

static void on_found(struct query *query, void *arg) {
    struct leases *leases = arg;
    bool vetted = leases->vetted;
    leases->vetted = false;
    if (!answered(leases, query))
        return;
    int64_t steady = steady_ms(leases);
    if (steady < leases->api->cfg->lease_ms || query->n_tasks == 0)
        return;
    if (!vetted)
        vet(leases);
    for (size_t i = 0; vetted && i < query->n_tasks; i++)
        if (steady >= query->tasks[i].run.lease_ms)
            lapse(leases, &query->tasks[i]);
}

static void look(struct leases *leases) {
    struct query *query = query_create(QUERY_LAPSED);
    if (!query)
        return;
    query->limit = LAPSE_MAX_TASKS;
    query->lapsed_before_ms = clock_now_ms();
    query->lapsed_lease_ms = steady_ms(leases) + 1; /* those that must wait hide no other */
    ask(leases, query, on_found);
}

static void on_tick(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct leases *leases = arg;
    int64_t now = clock_mono_ms();
    if (now - leases->ticked_at > standstill_ms(leases))
        break_at(leases, now);
    leases->ticked_at = now;
    watch_clock(leases);
    if (!leases->looking && !leases->lapsing && !leases->api->draining)
        look(leases);
}

enum rc leases_create(struct api *api, struct leases **ret, struct error *err) {
    struct leases *leases = calloc(1, sizeof *leases);
    if (!leases)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    leases->api = api;
    leases->ticked_at = leases->steady_since = clock_mono_ms();
    leases->apart = clocks_apart();
    executor_set_stall(api->executor, standstill_ms(leases));
    enum rc rc = tick_create(api, api->cfg->sweep_ms, on_tick, leases, &leases->tick, err);
    if (rc == RC_OK)
        *ret = leases;
    else
        leases_destroy(leases);
    return rc;
}

void leases_destroy(struct leases *leases) {
    if (!leases)
        return;
    tick_destroy(leases->tick);
    free(leases);
}
