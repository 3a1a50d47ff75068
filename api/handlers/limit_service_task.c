/* limit_service_task.c: POST /api/limit_service_task: how many tasks of a service may run and wait.
 */
#include "api/call/params.h"
#include "api/handlers/handlers.h"
#include "api/handlers/service_state.h"
#include "base/mem.h"

#define LIMIT_MAX INT64_C(1000000000000)

/* null puts the configuration's default back. */
static enum rc read_limit(const struct call *call, struct op *op, const char *name,
                          enum service_part part, int64_t *ret, struct error *err) {
    const json_t *value = json_object_get(call->data, name);
    if (!value)
        return RC_OK;
    op->service_parts |= part;
    *ret = SERVICE_LIMIT_UNSET;
    return json_is_null(value) ? RC_OK : param_int(call->data, name, 0, LIMIT_MAX, ret, err);
}

static enum rc read_limits(const struct call *call, struct op *op, struct error *err) {
    struct service_rule *rule = &op->service;
    enum rc rc = read_limit(call, op, "max_running", SERVICE_MAX_RUNNING, &rule->max_running, err);
    if (rc == RC_OK)
        rc = read_limit(call, op, "max_waiting", SERVICE_MAX_WAITING, &rule->max_waiting, err);
    if (rc == RC_OK && !op->service_parts)
        return error_set(err, RC_INVALID_PARAMETER,
                         "max_running or max_waiting must be given: 0 for no limit, null for the "
                         "configured one");
    return rc;
}

void handle_limit_service_task(struct call *call) {
    struct op *op = NULL;
    struct error err = {.text = ""};
    enum rc rc = service_state_op(call, &op, &err);
    if (rc == RC_OK)
        rc = read_limits(call, op, &err);
    if (rc == RC_OK) {
        service_state_apply(call, op);
        return;
    }
    op_destroy(op);
    call_reply_rc(call, rc, err.text);
}
