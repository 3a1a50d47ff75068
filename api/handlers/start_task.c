/* start_task.c: POST /api/start_task: queue a task that is ready, or run one again that has ended.
 */
#include "api/handlers/handlers.h"

#include "api/call/params.h"
#include "base/mem.h"

static void on_started(struct call *call, struct op *op) {
    if (op->rc == RC_OK)
        call_reply_task_id(call, op->task_id);
    else
        call_reply_op(call, op);
}

void handle_start_task(struct call *call) {
    struct op *op = op_create(OP_START);
    struct error err = {.text = ""};
    enum rc rc = op ? param_task_id(call->data, op->task_id, &err) : RC_NO_MEMORY;
    if (rc == RC_OK)
        rc = param_bool(call->data, "force", &op->force, &err);
    if (rc == RC_OK) {
        op->broker = api_has_broker(call->api);
        call_apply(call, op, on_started);
        return;
    }
    op_destroy(op);
    call_reply_rc(call, rc, err.text);
}
