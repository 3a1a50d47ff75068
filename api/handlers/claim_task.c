/* claim_task.c: POST /api/claim_task: a consumer takes due tasks, waiting for the first if asked
 * to. */
#include "api/handlers/handlers.h"
#include "api/handlers/worker_task.h"

#include "api/call/params.h"
#include "api/sweep/services.h"
#include "api/wait/polls.h"
#include "base/mem.h"

#include <string.h>

enum { CLAIM_MAX_TASKS = 1000, CLAIM_MAX_BYTES = 64 << 20 };

static const char *const fields[] = {"services", "max",    "wait_s", "timeout_s",
                                     "claim_id", "worker", "lease_s"};

static enum rc read_service(const struct call *call, const json_t *value, struct poll_want *want,
                            struct error *err) {
    const char *name = json_string_value(value);
    if (!name || strlen(name) != json_string_length(value))
        return error_set(err, RC_INVALID_PARAMETER, "services must be an array of names");
    if (!config_service(call->api->cfg, name))
        return error_set(err, RC_SERVICE_NOT_SUPPORT, "service not support");
    enum rc rc = call_check_service(call, name, err);
    if (rc != RC_OK)
        return rc;
    if (!(want->services[want->n_services] = strdup(name)))
        return error_set(err, RC_NO_MEMORY, "out of memory");
    want->n_services++;
    return RC_OK;
}

static enum rc read_services(const struct call *call, struct poll_want *want, struct error *err) {
    const json_t *services = json_object_get(call->data, "services");
    size_t n = json_array_size(services);
    if (n == 0 || n > call->api->cfg->n_services)
        return error_set(err, RC_INVALID_PARAMETER,
                         "services must be an array of 1 to %zu names of services",
                         call->api->cfg->n_services);
    want->services = calloc(n, sizeof *want->services);
    if (!want->services)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        rc = read_service(call, json_array_get(services, i), want, err);
    return rc;
}

/* "Up to max": no more than fit in an answer of a bounded size. */
static size_t most_tasks(const struct config *cfg, int64_t max) {
    int64_t fit = CLAIM_MAX_BYTES / cfg->limits.body_bytes;
    fit = fit > 1 ? fit : 1;
    return (size_t)(max < fit ? max : fit);
}

static enum rc read_worker(const struct call *call, struct poll_want *want, struct op **ret,
                           struct error *err) {
    const json_t *worker = json_object_get(call->data, "worker");
    enum rc rc = worker ? worker_op(call, worker, call->text, ret, err) : RC_OK;
    if (rc == RC_OK && worker)
        mem_copy_str(want->worker_id, sizeof want->worker_id, (*ret)->worker_id);
    return rc;
}

/* As long as the configuration's own may be. */
static enum rc read_lease(const json_t *data, struct poll_want *want, struct error *err) {
    int64_t ms = LEASE_MIN_MS;
    enum rc rc = param_seconds(data, "lease_s", LEASE_MAX_MS / 1000, &ms, err);
    if (rc != RC_OK || ms < LEASE_MIN_MS)
        return error_set(err, RC_INVALID_PARAMETER, "lease_s must be a number from %.10g to %d",
                         (double)LEASE_MIN_MS / 1000, LEASE_MAX_MS / 1000);
    if (json_object_get(data, "lease_s"))
        want->lease_ms = ms;
    return RC_OK;
}

static enum rc read_want(const struct call *call, struct poll_want *want, struct op **ret_worker,
                         struct error *err) {
    const json_t *data = call->data;
    int64_t max = 1;
    enum rc rc = param_int(data, "max", 1, CLAIM_MAX_TASKS, &max, err);
    if (rc == RC_OK)
        rc = param_uuid(data, "claim_id", PARAM_OPTIONAL, want->claim_id, err);
    if (rc == RC_OK)
        rc = param_wait(data, &want->wait_ms, err);
    if (rc == RC_OK)
        rc = param_duration(data, "timeout_s", TASK_TIMEOUT_MAX_S, &want->timeout_ms, err);
    if (rc == RC_OK)
        rc = read_lease(data, want, err);
    if (rc == RC_OK)
        rc = read_worker(call, want, ret_worker, err);
    if (rc == RC_OK)
        rc = call_refuse_outside(call, fields, LH_COUNT(fields), err);
    if (rc == RC_OK)
        rc = read_services(call, want, err);
    if (rc == RC_OK)
        rc = services_check(call->api->services, err);
    want->max = most_tasks(call->api->cfg, max);
    return rc;
}

void handle_claim_task(struct call *call) {
    struct poll_want want = {.max = 0};
    struct error err = {.text = ""};
    struct op *worker = NULL;
    enum rc rc = read_want(call, &want, &worker, &err);
    if (rc == RC_OK && worker)
        rc = executor_apply(call->api->executor, TAKE(worker), NULL, NULL);
    if (rc == RC_OK) {
        polls_take(call->api->polls, call, &want);
        return;
    }
    op_destroy(worker);
    poll_want_finish(&want);
    call_reply_rc(call, rc, err.text);
}
