/* alarms.c: looks for tasks whose alarm has come. */
#include "api/sweep/alarms.h"

#include "api/sweep/tick.h"
#include "api/wait/polls.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <string.h>

enum { ALARM_MAX_TASKS = 1000 };

struct alarms {
    struct api *api;
    struct event *tick;
    bool looking;
    size_t ringing; /* ops under way */
};

static void on_rung(struct op *op, void *arg) {
    struct alarms *alarms = arg;
    polls_notice(alarms->api->polls, op, 0);
    if (op->rc == RC_OK && op->tasks[0].status == TASK_FAILED)
        log_info(.msg = "task expired", .task_id = op->task_id,
                 .traceparent = op->tasks[0].traceparent, .service = op->tasks[0].service);
    alarms->ringing--;
}

static void ring(struct alarms *alarms, const struct task *task) {
    const struct api *api = alarms->api;
    struct op *op = op_create_for(OP_ALARM, task->task_id, task->oid);
    if (!op)
        return;
    op->broker = api_has_broker(api);
    if (executor_apply(api->executor, op, on_rung, alarms) == RC_OK)
        alarms->ringing++;
}

static void on_found(struct query *query, void *arg) {
    struct alarms *alarms = arg;
    alarms->looking = false;
    if (query->rc != RC_OK || alarms->api->draining)
        return;
    for (size_t i = 0; i < query->n_tasks; i++)
        ring(alarms, &query->tasks[i]);
}

static void look(struct alarms *alarms) {
    struct query *query = query_create(QUERY_ALARMS);
    if (!query)
        return;
    query->limit = ALARM_MAX_TASKS;
    query->alarm_before_ms = clock_now_ms();
    alarms->looking = executor_query(alarms->api->executor, query, on_found, alarms) == RC_OK;
}

static void on_tick(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct alarms *alarms = arg;
    if (!alarms->looking && !alarms->ringing && !alarms->api->draining)
        look(alarms);
}

enum rc alarms_create(struct api *api, struct alarms **ret, struct error *err) {
    struct alarms *alarms = calloc(1, sizeof *alarms);
    if (!alarms)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    alarms->api = api;
    enum rc rc = tick_create(api, api->cfg->sweep_ms, on_tick, alarms, &alarms->tick, err);
    if (rc == RC_OK)
        *ret = alarms;
    else
        alarms_destroy(alarms);
    return rc;
}

void alarms_destroy(struct alarms *alarms) {
    if (!alarms)
        return;
    tick_destroy(alarms->tick);
    free(alarms);
}
