/* update_task.c: POST /api/update_task: a new condition for a task that is not running. */
#include "api/handlers/handlers.h"

#include "api/call/params.h"
#include "base/mem.h"
#include "task/message.h"

#include <string.h>

static void on_edited(struct call *call, struct op *op) {
    if (op->rc == RC_OK)
        call_reply_task_id(call, op->task_id);
    else
        call_reply_op(call, op);
}

/* The bytes of a task's message besides its condition. */
static enum rc message_frame(const struct config_service *service, const char *task_id,
                             int64_t *ret_bytes) {
    struct task task = {.source_name = service->source_name, .condition = ""};
    mem_copy_str(task.task_id, sizeof task.task_id, task_id);
    mem_copy_str(task.service, sizeof task.service, service->name);
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, SIZE_MAX / 2);
    message_encode(&task, &buf);
    *ret_bytes = (int64_t)buf.len;
    return buf_rc(&buf);
}

/* True where the id is one that create_task gives to tasks of the service. */
static bool may_be_of(const char *task_id, const char *service) {
    size_t len = strlen(service);
    return strncmp(task_id, "ts_", 3) == 0 && strncmp(task_id + 3, service, len) == 0 &&
           task_id[3 + len] == '_';
}

/* Most bytes of a condition whose message still fits its topic. The task's service stands in its
 * id; where two names fit, the smaller topic decides. */
static enum rc condition_max(const struct api *api, const char *task_id, size_t *ret) {
    int64_t max = api->cfg->limits.body_bytes;
    for (size_t i = 0; api_has_broker(api) && i < api->cfg->n_services; i++) {
        const struct config_service *service = &api->cfg->services[i];
        int64_t frame = 0;
        if (!may_be_of(task_id, service->name))
            continue;
        if (message_frame(service, task_id, &frame) != RC_OK)
            return RC_NO_MEMORY;
        int64_t room = publisher_message_max_bytes(api->publisher, service->name) - frame;
        max = room < max ? room : max;
    }
    *ret = max > 0 ? (size_t)max : 0;
    return RC_OK;
}

void handle_update_task(struct call *call) {
    struct op *op = op_create(OP_EDIT);
    struct error err = {.text = ""};
    enum rc rc = op ? param_task_id(call->data, op->task_id, &err) : RC_NO_MEMORY;
    size_t max = 0;
    if (rc == RC_OK)
        rc = condition_max(call->api, op->task_id, &max);
    if (rc == RC_OK)
        rc = param_value(call->text, "condition", PARAM_REQUIRED, max, &op->value, &op->value_len,
                         &err);
    if (rc == RC_OK) {
        op->broker = api_has_broker(call->api);
        call_apply(call, op, on_edited);
        return;
    }
    op_destroy(op);
    call_reply_rc(call, rc, err.text);
}
