/* retention.c: old final tasks and old tombstones go, step by step. */
#include "api/sweep/retention.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <string.h>

enum { STEP_MIN = 5, STEP_MAX = 100, STEP_LONG_MS = 100, IDLE_FACTOR = 10 };

enum stage { STAGE_FINISHED, STAGE_FAILED, STAGE_TOMBSTONES, STAGES };

struct retention {
    struct api *api;
    struct event *timer; /* of the next step; not set while one is under way */
    enum stage stage;
    char *after;       /* owned: where the stage goes on; NULL: at its beginning */
    size_t size;       /* of the next step */
    size_t removing;   /* ops under way */
    size_t removed;    /* by this step */
    bool more;         /* the stage goes on after this step */
    bool failed;       /* the store did */
    int64_t began_at;  /* clock_mono_ms() of the step */
    int64_t n[STAGES]; /* removed by this pass */
};

static int64_t kept_ms(const struct retention *retention) {
    const struct config_retention *cfg = &retention->api->cfg->retention;
    const int64_t kept[STAGES] = {cfg->finished_ms, cfg->failed_ms, cfg->tombstone_ms};
    return kept[retention->stage];
}

/* ---- between two steps ---- */

static void set_timer(struct retention *retention, int64_t ms) {
    struct timeval after = {ms / 1000, ms % 1000 * 1000};
    event_add(retention->timer, &after);
}

static void note_pass(struct retention *retention) {
    if (retention->n[STAGE_FINISHED] + retention->n[STAGE_FAILED] > 0)
        log_info(.msg = "old tasks removed",
                 .count = retention->n[STAGE_FINISHED] + retention->n[STAGE_FAILED]);
    if (retention->n[STAGE_TOMBSTONES] > 0)
        log_info(.msg = "old tombstones removed", .count = retention->n[STAGE_TOMBSTONES]);
    for (size_t i = 0; i < STAGES; i++)
        retention->n[i] = 0;
}

/* The next stage that removes anything; false where the pass is over. */
static bool next_stage(struct retention *retention) {
    free(TAKE(retention->after));
    while (++retention->stage < STAGES)
        if (kept_ms(retention))
            return true;
    return false;
}

static void begin_pass(struct retention *retention) {
    retention->stage = STAGE_FINISHED;
    if (!kept_ms(retention))
        (void)next_stage(retention);
}

/* No step shall hold up others for long, whatever the store's speed. */
static void fit_size(struct retention *retention, int64_t took_ms) {
    if (took_ms > STEP_LONG_MS)
        retention->size /= 2;
    else if (took_ms < STEP_LONG_MS / 2)
        retention->size *= 2;
    if (retention->size < STEP_MIN)
        retention->size = STEP_MIN;
    if (retention->size > STEP_MAX)
        retention->size = STEP_MAX;
}

/* The store's failure ends no pass: it goes on at the same place. */
static void end_step(struct retention *retention) {
    const struct config *cfg = retention->api->cfg;
    int64_t took_ms = clock_mono_ms() - retention->began_at + 1;
    retention->n[retention->stage] += (int64_t)retention->removed;
    fit_size(retention, took_ms);
    if (retention->failed)
        set_timer(retention, cfg->sweep_ms);
    else if (retention->more || next_stage(retention))
        set_timer(retention, retention->removed ? took_ms : took_ms * IDLE_FACTOR);
    else {
        note_pass(retention);
        begin_pass(retention);
        set_timer(retention, cfg->sweep_ms);
    }
}

/* ---- a step ---- */

static bool is_outage(enum rc rc) {
    return rc == RC_STORE_UNAVAILABLE || rc == RC_OUTCOME_UNKNOWN || rc == RC_OVERLOADED;
}

/* What another process removed, or what runs again, is none of ours any more. */
static void on_removed(struct op *op, void *arg) {
    struct retention *retention = arg;
    retention->removed += op->rc == RC_OK;
    retention->failed = retention->failed || is_outage(op->rc);
    if (--retention->removing == 0)
        end_step(retention);
}

static bool remove_task(struct retention *retention, const struct task *task, int64_t before_ms) {
    struct op *op = op_create_for(OP_REMOVE, task->task_id, task->oid);
    if (!op)
        return false;
    op->before_ms = before_ms;
    if (executor_apply(retention->api->executor, op, on_removed, retention) != RC_OK)
        return false;
    retention->removing++;
    return true;
}

/* What there is no room for is found again. */
static void on_found(struct query *query, void *arg) {
    struct retention *retention = arg;
    if (retention->api->draining)
        return;
    bool ok = query->rc == RC_OK;
    for (size_t i = 0; ok && i < query->n_tasks; i++)
        ok = remove_task(retention, &query->tasks[i], query->ended_before_ms);
    retention->failed = !ok;
    if (ok) {
        free(retention->after);
        retention->after = TAKE(query->next);
        retention->more = retention->after;
    }
    if (!retention->removing)
        end_step(retention);
}

static bool look(struct retention *retention, enum task_status status, int64_t before_ms) {
    struct query *query = query_create(QUERY_EXPIRED);
    if (!query)
        return false;
    query->filter.statuses = 1u << status;
    query->limit = (int64_t)retention->size;
    query->ended_before_ms = before_ms;
    query->after = retention->after ? strdup(retention->after) : NULL;
    return executor_query(retention->api->executor, query, on_found, retention) == RC_OK;
}

static void on_forgotten(struct op *op, void *arg) {
    struct retention *retention = arg;
    retention->removed = op->forgotten;
    retention->more = op->forgotten == op->max;
    retention->failed = op->rc != RC_OK;
    end_step(retention);
}

static bool forget(struct retention *retention, int64_t before_ms) {
    struct op *op = op_create(OP_FORGET);
    if (!op)
        return false;
    op->before_ms = before_ms;
    op->max = retention->size;
    return executor_apply(retention->api->executor, op, on_forgotten, retention) == RC_OK;
}

static void on_timer(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct retention *retention = arg;
    int64_t before_ms = clock_now_ms() - kept_ms(retention);
    if (retention->api->draining)
        return;
    retention->began_at = clock_mono_ms();
    retention->removed = 0;
    retention->more = retention->failed = false;
    bool begun =
        retention->stage == STAGE_TOMBSTONES
            ? forget(retention, before_ms)
            : look(retention, retention->stage == STAGE_FINISHED ? TASK_FINISHED : TASK_FAILED,
                   before_ms);
    if (!begun)
        set_timer(retention, retention->api->cfg->sweep_ms);
}

enum rc retention_create(struct api *api, struct retention **ret, struct error *err) {
    const struct config_retention *cfg = &api->cfg->retention;
    *ret = NULL;
    if (!cfg->finished_ms && !cfg->failed_ms && !cfg->tombstone_ms)
        return RC_OK;
    struct retention *retention = calloc(1, sizeof *retention);
    if (!retention)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    retention->api = api;
    retention->size = STEP_MAX;
    retention->timer = evtimer_new(api->base, on_timer, retention);
    if (!retention->timer) {
        retention_destroy(retention);
        return error_set(err, RC_NO_MEMORY, "out of memory");
    }
    begin_pass(retention);
    set_timer(retention, api->cfg->sweep_ms);
    *ret = retention;
    return RC_OK;
}

void retention_destroy(struct retention *retention) {
    if (!retention)
        return;
    if (retention->timer)
        event_free(retention->timer);
    free(retention->after);
    free(retention);
}
