/* delete_task.c: POST /api/delete_task: a task that has ended is removed; a tombstone stays. */
#include "api/handlers/handlers.h"

#include "api/call/params.h"

static void on_deleted(struct call *call, struct op *op) {
    if (op->rc == RC_OK)
        call_reply_task_id(call, op->task_id);
    else
        call_reply_op(call, op);
}

void handle_delete_task(struct call *call) {
    struct op *op = op_create(OP_REMOVE);
    struct error err = {.text = ""};
    enum rc rc = op ? param_task_id(call->data, op->task_id, &err) : RC_NO_MEMORY;
    if (rc == RC_OK) {
        call_apply(call, op, on_deleted);
        return;
    }
    op_destroy(op);
    call_reply_rc(call, rc, err.text);
}
