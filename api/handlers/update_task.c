/* update_task.c: POST /api/update_task: a new condition for a task that is not running. */
#include "api/handlers/handlers.h"

#include "api/params.h"

static void on_edited(struct call *call, struct op *op) {
    if (op->rc == RC_OK)
        call_reply_task_id(call, op->task_id);
    else
        call_reply_op(call, op);
}

/* Most bytes of a condition whose message still fits its topic; the task's service is not known
 * here, so the smallest topic decides. */
static size_t condition_max(const struct api *api) {
    int64_t max = api->cfg->limits.body_bytes;
    for (size_t i = 0; api_has_broker(api) && i < api->cfg->n_services; i++) {
        int64_t topic = publisher_message_max_bytes(api->publisher, api->cfg->services[i].name);
        int64_t room = topic - 4 * TASK_TEXT_CAP;
        max = room < max ? room : max;
    }
    return (size_t)max;
}

void handle_update_task(struct call *call) {
    struct op *op = op_create(OP_EDIT);
    struct error err = {.text = ""};
    enum rc rc = op ? param_task_id(call->data, op->task_id, &err) : RC_NO_MEMORY;
    if (rc == RC_OK)
        rc = param_value(call->text, "condition", PARAM_REQUIRED, condition_max(call->api),
                         &op->value, &op->value_len, &err);
    if (rc == RC_OK) {
        op->broker = api_has_broker(call->api);
        call_apply(call, op, on_edited);
        return;
    }
    op_destroy(op);
    call_reply_rc(call, rc, err.text);
}
