/* doorbells.c: rings once more where a module of the base contract has used up a message. */
#include "api/sweep/doorbells.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <string.h>

enum { WARN_EVERY_MS = 600000, OWED_MAX = 1000 };

/* Of one service. */
struct bell {
    struct doorbells *doorbells;
    const struct config_service *service;
    int64_t warned_at; /* clock_mono_ms(); 0: not yet */
    int owed;          /* messages that are to go out, the one under way among them */
};

struct doorbells {
    struct api *api;
    struct bell bells[]; /* in the configuration's order */
};

static void look(struct bell *bell);

static void go_on(struct bell *bell) {
    if (--bell->owed > 0 && !bell->doorbells->api->draining)
        look(bell);
    else
        bell->owed = 0;
}

static void on_rung(struct op *op, void *arg) {
    (void)op; /* claimed in between, or the store failed: the task has another ring by requeue_s */
    go_on(arg);
}

static void on_found(struct query *query, void *arg) {
    struct bell *bell = arg;
    struct op *op = NULL;
    bool more = query->rc == RC_OK && query->n_tasks > 0;
    if (more && !bell->doorbells->api->draining)
        op = op_create_for(OP_ALARM, query->tasks[0].task_id, query->tasks[0].oid);
    if (!op) {
        bell->owed = 0; /* nothing waits, or nobody knows */
        return;
    }
    op->broker = true;
    op->again = true;
    if (executor_apply(bell->doorbells->api->executor, op, on_rung, bell) != RC_OK)
        bell->owed = 0;
}

/* Looks for the service's best task. */
static void look(struct bell *bell) {
    struct query *query = query_create_of(QUERY_BEST, 1);
    if (query && query_add_service(query, bell->service->name)) {
        query->limit = 1;
        if (executor_query(bell->doorbells->api->executor, query, on_found, bell) != RC_OK)
            bell->owed = 0;
        return;
    }
    query_destroy(query);
    bell->owed = 0;
}

static void warn(struct bell *bell) {
    int64_t now = clock_mono_ms();
    if (bell->warned_at && now - bell->warned_at < WARN_EVERY_MS)
        return;
    bell->warned_at = now;
    log_warning(.msg = "claim without run_id: modules of the base contract in the service's group "
                       "need legacy: true",
                .service = bell->service->name);
}

/* Where the message stays, or another one goes out for it, nothing is missing. */
static bool has_used_one_up(const struct op *op) {
    return op->rc != RC_SERVICE_PAUSED && op->rc != RC_LIMIT_REACHED && rc_info(op->rc)->http < 500;
}

static void ring(struct bell *bell) {
    if (bell->owed == OWED_MAX)
        return;
    if (bell->owed++ == 0)
        look(bell);
}

static struct bell *find_bell(struct doorbells *doorbells, const char *service) {
    const struct config *cfg = doorbells->api->cfg;
    const struct config_service *configured = config_service(cfg, service);
    return configured ? &doorbells->bells[configured - cfg->services] : NULL;
}

void doorbells_notice(struct doorbells *doorbells, const struct op *op) {
    if (op->kind != OP_CLAIM || op->run_id[0] || op->n_tasks == 0 ||
        !api_has_broker(doorbells->api))
        return;
    struct bell *bell = find_bell(doorbells, op->tasks[0].service);
    const struct config_module *module = bell ? bell->service->module : NULL;
    if (!module || module->legacy)
        return;
    warn(bell);
    if (module->order == ORDER_PRIORITY && has_used_one_up(op))
        ring(bell);
}

enum rc doorbells_create(struct api *api, struct doorbells **ret, struct error *err) {
    const struct config *cfg = api->cfg;
    struct doorbells *doorbells =
        calloc(1, sizeof *doorbells + cfg->n_services * sizeof doorbells->bells[0]);
    if (!doorbells)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    doorbells->api = api;
    for (size_t i = 0; i < cfg->n_services; i++)
        doorbells->bells[i] = (struct bell){.doorbells = doorbells, .service = &cfg->services[i]};
    *ret = doorbells;
    return RC_OK;
}

void doorbells_destroy(struct doorbells *doorbells) {
    free(doorbells);
}
