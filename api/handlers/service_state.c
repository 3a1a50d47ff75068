/* service_state.c: what the routes that change the state of a service share. */
#include "api/handlers/service_state.h"

#include "api/call/params.h"
#include "api/sweep/services.h"
#include "base/mem.h"

#include <inttypes.h>

enum rc service_state_op(const struct call *call, struct op **ret, struct error *err) {
    static const char *const names[] = {"service", "max_running", "max_waiting"};
    const char *name = NULL;
    enum rc rc = call_refuse_outside(call, names, LH_COUNT(names), err);
    if (rc == RC_OK)
        rc = param_string(call->data, "service", PARAM_REQUIRED, SERVICE_CAP - 1, &name, err);
    if (rc != RC_OK)
        return rc;
    if (!config_service(call->api->cfg, name))
        return error_set(err, RC_SERVICE_NOT_SUPPORT, "service not support");
    rc = call_check_service(call, name, err);
    if (rc != RC_OK)
        return rc;
    struct op *op = op_create(OP_SERVICE);
    if (!op)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    mem_copy_str(op->service.name, sizeof op->service.name, name);
    *ret = op;
    return RC_OK;
}

static void put_limit(struct buf *buf, int64_t limit) {
    if (limit)
        buf_printf(buf, "%" PRId64, limit);
    else
        buf_str(buf, "null");
}

void service_state_put(struct buf *buf, const struct api *api, const char *name) {
    const struct service_rules *rules = services_rules(api->services);
    buf_printf(buf, "\"paused\":%s,\"limits\":{\"max_running\":",
               service_paused(rules, name) ? "true" : "false");
    put_limit(buf, service_max_running(rules, name));
    buf_str(buf, ",\"max_waiting\":");
    put_limit(buf, service_max_waiting(rules, name));
    buf_char(buf, '}');
}

static void answer(struct call *call) {
    const char *name = json_string_value(json_object_get(call->data, "service"));
    struct buf buf;
    call_buf_init(&buf);
    buf_str(&buf, "{\"result\":\"ok\",\"service\":");
    buf_json_str(&buf, name);
    buf_char(&buf, ',');
    service_state_put(&buf, call->api, name);
    buf_char(&buf, '}');
    call_reply(call, &buf);
}

static void on_settled(struct op *none, void *arg) {
    (void)none;
    answer(arg);
}

/* A batch that has begun since goes by the rules of before; the answer says that none does. */
static void on_changed(struct call *call, struct op *op) {
    if (op->rc != RC_OK) {
        call_reply_op(call, op);
        return;
    }
    services_note(call->api->services, op);
    if (executor_settle(call->api->executor, on_settled, call) != RC_OK)
        answer(call);
}

void service_state_apply(struct call *call, struct op *op) {
    call_apply(call, op, on_changed);
}
