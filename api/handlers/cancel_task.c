/* cancel_task.c: POST /api/cancel_task: stop a task, wherever it is. */
#include "api/handlers/handlers.h"

#include "api/call/params.h"
#include "base/mem.h"

#include <string.h>

enum { REASON_MAX_BYTES = 4096, GRACE_MAX_S = 3600, GRACE_MS = 10000 };

/* What stands now: the task has ended, or its run has been told to stop. */
static void on_cancelled(struct call *call, struct op *op) {
    if (op->rc != RC_OK) {
        call_reply_op(call, op);
        return;
    }
    const struct task *task = &op->tasks[0];
    struct buf buf;
    call_buf_init(&buf);
    buf_str(&buf, "{\"result\":\"ok\",\"task_id\":");
    buf_json_str(&buf, task->task_id);
    buf_printf(&buf, ",\"status\":\"%s\",\"sub_status\":", task_status_name(task->status));
    buf_json_str(&buf, task_sub_name(task->sub));
    buf_char(&buf, '}');
    call_reply(call, &buf);
}

static enum rc read_cancel(const struct call *call, struct op *op, struct error *err) {
    const char *reason = NULL;
    enum rc rc = param_task_id(call->data, op->task_id, err);
    if (rc == RC_OK)
        rc = param_text(call->data, "reason", REASON_MAX_BYTES, &reason, err);
    op->grace_ms = GRACE_MS;
    if (rc == RC_OK)
        rc = param_seconds(call->data, "grace_s", GRACE_MAX_S, &op->grace_ms, err);
    if (rc == RC_OK && reason && *reason && !(op->message = strdup(reason)))
        return error_set(err, RC_NO_MEMORY, "out of memory");
    return rc;
}

void handle_cancel_task(struct call *call) {
    struct op *op = op_create(OP_CANCEL);
    struct error err = {.text = ""};
    enum rc rc = op ? read_cancel(call, op, &err) : RC_NO_MEMORY;
    if (rc == RC_OK) {
        op->kill_max_ms = call->api->cfg->kill_max_ms;
        call_apply(call, op, on_cancelled);
        return;
    }
    op_destroy(op);
    call_reply_rc(call, rc, err.text);
}
