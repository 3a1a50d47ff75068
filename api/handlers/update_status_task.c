/* update_status_task.c: POST /api/update_status_task: a module's claim (running) and its final
 * word. */
#include "api/handlers/handlers.h"

#include "api/params.h"
#include "base/mem.h"

#include <string.h>

enum { MESSAGE_MAX_BYTES = 65536 };

static const char *const later[] = {"attempt", "cause", "progress", "worker", "timeout_s"};

static const struct report {
    const char *status;
    enum op_kind kind;
} reports[] = {{"running", OP_CLAIM}, {"finished", OP_FINISH}, {"failed", OP_FAIL}};

static const struct report *find_report(const char *status) {
    for (size_t i = 0; i < LH_COUNT(reports); i++)
        if (strcmp(reports[i].status, status) == 0)
            return &reports[i];
    return NULL;
}

static enum rc copy_text(const char *text, char **ret, struct error *err) {
    if (text && !(*ret = strdup(text)))
        return error_set(err, RC_NO_MEMORY, "out of memory");
    return RC_OK;
}

static enum rc read_error(const json_t *data, struct op *op, struct error *err) {
    const json_t *error = json_object_get(data, "error");
    if (!error || json_is_null(error))
        return RC_OK;
    if (op->kind != OP_FAIL || !json_is_object(error))
        return error_set(err, RC_INVALID_PARAMETER, "error must be %s",
                         op->kind != OP_FAIL ? "absent unless status is failed"
                                             : "an object {\"class\",\"text\"}");
    const char *class_name = NULL, *text = NULL;
    enum rc rc = param_string(error, "class", PARAM_OPTIONAL, 64, &class_name, err);
    if (rc == RC_OK)
        rc = param_text(error, "text", MESSAGE_MAX_BYTES, &text, err);
    if (rc != RC_OK)
        return rc;
    if (class_name && !task_error_class_from_name(class_name, &op->error_class))
        return error_set(err, RC_INVALID_PARAMETER, "error.class must be retryable or fatal");
    return copy_text(text, &op->error_text, err);
}

/* A result that is null is the same as none, for every reader. */
static enum rc read_result(const struct call *call, struct op *op, struct error *err) {
    const json_t *result = json_object_get(call->data, "result");
    if (!result || json_is_null(result))
        return RC_OK;
    if (op->kind != OP_FINISH)
        return error_set(err, RC_INVALID_PARAMETER,
                         "result must be absent unless status is finished");
    return param_value(call->text, "result", PARAM_OPTIONAL,
                       (size_t)call->api->cfg->limits.result_bytes, &op->value, &op->value_len,
                       err);
}

static enum rc read_run_id(const json_t *data, struct op *op, struct error *err) {
    const char *run_id = NULL;
    enum rc rc = param_string(data, "run_id", PARAM_OPTIONAL, UUID_CAP - 1, &run_id, err);
    if (rc != RC_OK || !run_id)
        return rc;
    if (!uuid_valid(run_id))
        return error_set(err, RC_INVALID_PARAMETER, "run_id must be a UUID");
    mem_copy_str(op->run_id, sizeof op->run_id, run_id);
    return RC_OK;
}

static enum rc read_report(const struct call *call, struct op *op, struct error *err) {
    const char *status = NULL, *message = NULL;
    enum rc rc = param_task_id(call->data, op->task_id, err);
    if (rc == RC_OK)
        rc = param_string(call->data, "status", PARAM_REQUIRED, 16, &status, err);
    const struct report *report = rc == RC_OK ? find_report(status) : NULL;
    if (rc == RC_OK && !report)
        rc = error_set(err, RC_INVALID_PARAMETER, "status must be running, finished or failed");
    if (rc != RC_OK)
        return rc;
    op->kind = report->kind;
    rc = param_text(call->data, "message", MESSAGE_MAX_BYTES, &message, err);
    if (rc == RC_OK)
        rc = copy_text(message, &op->message, err);
    if (rc == RC_OK)
        rc = read_run_id(call->data, op, err);
    if (rc == RC_OK)
        rc = read_error(call->data, op, err);
    if (rc == RC_OK)
        rc = read_result(call, op, err);
    if (rc == RC_OK)
        rc = call_refuse_later(call, later, LH_COUNT(later), err);
    return rc;
}

/* What a claim with a run_id is told besides. */
static void put_claim(struct buf *buf, const struct task *task) {
    buf_printf(buf, ",\"now\":\"%s\",\"run_id\":", task_status_name(task->status));
    buf_json_str(buf, task->run_id);
    buf_printf(buf,
               ",\"attempt\":%lld,\"lease_until\":null,\"service\":", (long long)task->attempt);
    buf_json_str(buf, task->service);
    buf_str(buf, ",\"source_name\":");
    buf_json_str(buf, task->source_name ? task->source_name : "");
    buf_str(buf, ",\"condition\":");
    buf_append(buf, task->condition, task->condition_len);
    buf_str(buf, ",\"deadline\":null");
}

static void on_updated(struct call *call, struct op *op) {
    if (op->rc != RC_OK) {
        call_reply_op(call, op);
        return;
    }
    size_t i = 0;
    while (reports[i].kind != op->kind)
        i++;
    struct buf buf;
    call_buf_init(&buf);
    buf_str(&buf, "{\"result\":\"ok\",\"status\":{\"task_id\":");
    buf_json_str(&buf, op->task_id);
    buf_printf(&buf, ",\"status\":\"%s\"", reports[i].status);
    if (op->kind == OP_CLAIM && op->run_id[0])
        put_claim(&buf, &op->tasks[0]);
    buf_str(&buf, "}}");
    call_reply(call, &buf);
}

void handle_update_status_task(struct call *call) {
    struct op *op = op_create(OP_CLAIM);
    struct error err = {.text = ""};
    enum rc rc = op ? read_report(call, op, &err) : RC_NO_MEMORY;
    if (rc == RC_OK) {
        op->broker = api_has_broker(call->api);
        call_apply(call, op, on_updated);
        return;
    }
    op_destroy(op);
    call_reply_rc(call, rc, err.text);
}
