/* update_status_task.c: POST /api/update_status_task: a module's claim (running), its final word,
 * or a run given back (waiting); one, or an array of them answered item by item. */
#include "api/handlers/handlers.h"

#include "api/call/batch.h"
#include "api/call/params.h"
#include "api/sweep/doorbells.h"
#include "api/sweep/services.h"
#include "base/mem.h"
#include "task/message.h"

#include <string.h>

enum { MESSAGE_MAX_BYTES = 65536, UPDATE_MAX_ITEMS = 1000 };

static const struct report {
    const char *status;
    enum op_kind kind;
} reports[] = {
    {"running", OP_CLAIM}, {"finished", OP_FINISH}, {"failed", OP_FAIL}, {"waiting", OP_HAND_BACK}};

/* One update of the request. */
struct update {
    const struct call *call;
    const json_t *data;
    struct json_span text; /* the bytes of `data` */
};

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
static enum rc read_result(const struct update *update, struct op *op, struct error *err) {
    const json_t *result = json_object_get(update->data, "result");
    if (!result || json_is_null(result))
        return RC_OK;
    if (op->kind != OP_FINISH)
        return error_set(err, RC_INVALID_PARAMETER,
                         "result must be absent unless status is finished");
    return param_value(update->text, "result", PARAM_OPTIONAL,
                       (size_t)update->call->api->cfg->limits.result_bytes, &op->value,
                       &op->value_len, err);
}

static const struct cause {
    const char *word;
    enum task_end end;
} causes[] = {{"error", END_ERROR}, {"timeout", END_TIMEOUT},
              {"limit", END_LIMIT}, {"cancelled", END_CANCELLED},
              {"crash", END_CRASH}, {"kill_unconfirmed", END_KILL_UNCONFIRMED}};

/* A run that crashed has not failed: it is given back and counted. */
static enum rc take_cause(struct op *op, enum task_end end, struct error *err) {
    if (op->kind == OP_FAIL && end != END_CRASH) {
        op->end = end;
        return RC_OK;
    }
    if ((op->kind == OP_HAND_BACK || (op->kind == OP_FAIL && op->run_id[0])) && end == END_CRASH) {
        op->kind = OP_HAND_BACK;
        op->crash = true;
        return RC_OK;
    }
    return error_set(err, RC_INVALID_PARAMETER,
                     "cause must be absent unless status is failed (or, with crash, waiting)");
}

static enum rc read_cause(const json_t *data, struct op *op, struct error *err) {
    const char *cause = NULL;
    enum rc rc = param_string(data, "cause", PARAM_OPTIONAL, 32, &cause, err);
    if (rc != RC_OK || !cause)
        return rc;
    for (size_t i = 0; i < LH_COUNT(causes); i++)
        if (strcmp(cause, causes[i].word) == 0)
            return take_cause(op, causes[i].end, err);
    return error_set(err, RC_INVALID_PARAMETER,
                     "cause must be error, timeout, limit, cancelled, crash or kill_unconfirmed");
}

/* Who the run is, how long an attempt may take, how far it is. */
static enum rc read_run(const struct update *update, struct op *op, struct error *err) {
    const json_t *data = update->data;
    const char *worker = NULL;
    enum rc rc = param_string(data, "worker", PARAM_OPTIONAL, WORKER_ID_CAP - 1, &worker, err);
    if (rc == RC_OK)
        rc = param_duration(data, "timeout_s", TASK_TIMEOUT_MAX_S, &op->timeout_ms, err);
    if (rc == RC_OK)
        rc = param_int(data, "attempt", 1, INT64_MAX, &op->attempt, err);
    if (rc == RC_OK)
        rc = param_bool(data, "silent", &op->silent, err);
    if (rc == RC_OK && op->silent && op->kind == OP_CLAIM)
        return error_set(err, RC_INVALID_PARAMETER, "silent must be absent with status running");
    if (rc == RC_OK && worker)
        mem_copy_str(op->worker_id, sizeof op->worker_id, worker);
    return rc == RC_OK ? param_progress(data, update->text, &op->progress, err) : rc;
}

static enum rc read_message(const json_t *data, struct op *op, struct error *err) {
    const char *message = NULL;
    enum rc rc = param_text(data, "message", MESSAGE_MAX_BYTES, &message, err);
    if (rc == RC_OK && message && op->kind == OP_HAND_BACK)
        return error_set(err, RC_INVALID_PARAMETER, "message must be absent with status waiting");
    return rc == RC_OK ? copy_text(message, &op->message, err) : rc;
}

static enum rc read_status(const json_t *data, struct op *op, struct error *err) {
    const char *status = NULL;
    enum rc rc = param_string(data, "status", PARAM_REQUIRED, 16, &status, err);
    const struct report *report = rc == RC_OK ? find_report(status) : NULL;
    if (rc == RC_OK && !report)
        return error_set(err, RC_INVALID_PARAMETER,
                         "status must be running, finished, failed or waiting");
    if (rc == RC_OK)
        op->kind = report->kind;
    return rc;
}

static void set_rules(const struct api *api, struct op *op) {
    op->broker = api_has_broker(api);
    op->lease_ms = api->cfg->lease_ms;
    op->guard_ms = api->cfg->legacy_timeout_ms;
    op->max_crashes = api->cfg->max_crashes;
}

static enum rc read_update(const struct update *update, struct op *op, struct error *err) {
    const json_t *data = update->data;
    if (!json_is_object(data))
        return error_set(err, RC_INVALID_PARAMETER,
                         "data must be an object or an array of objects");
    enum rc rc = param_task_id(data, op->task_id, err);
    if (rc == RC_OK)
        rc = read_status(data, op, err);
    if (rc == RC_OK)
        rc = read_message(data, op, err);
    if (rc == RC_OK)
        rc = param_run_id(data, op->kind == OP_HAND_BACK ? PARAM_REQUIRED : PARAM_OPTIONAL,
                          op->run_id, err);
    if (rc == RC_OK)
        rc = read_error(data, op, err);
    if (rc == RC_OK)
        rc = read_cause(data, op, err);
    if (rc == RC_OK)
        rc = read_run(update, op, err);
    if (rc == RC_OK && op->kind == OP_CLAIM)
        rc = services_check(update->call->api->services, err);
    if (rc == RC_OK)
        rc = read_result(update, op, err);
    set_rules(update->call->api, op);
    return rc;
}

/* What a claim with a run_id is told besides. */
static void put_claim(struct buf *buf, const struct task *task) {
    buf_printf(buf, ",\"now\":\"%s\",\"run_id\":", task_status_name(task->status));
    buf_json_str(buf, task->run_id);
    buf_printf(buf, ",\"attempt\":%lld,\"lease_until\":", (long long)task->attempt);
    call_put_time(buf, task->lease_until);
    buf_char(buf, ',');
    message_put_fields(task, buf);
    buf_str(buf, ",\"deadline\":");
    call_put_time(buf, task->deadline);
    message_put_trace(task, buf);
}

/* `status` is the report's own word. */
static void put_done(struct buf *buf, const struct op *op, const json_t *data) {
    buf_str(buf, "{\"task_id\":");
    buf_json_str(buf, op->task_id);
    buf_str(buf, ",\"status\":");
    buf_json_str(buf, json_string_value(json_object_get(data, "status")));
    if (op->kind == OP_CLAIM && op->run_id[0])
        put_claim(buf, &op->tasks[0]);
    buf_char(buf, '}');
}

static void put_item(struct buf *buf, const struct batch_item *item, const json_t *data) {
    if (item->rc == RC_OK) {
        put_done(buf, item->op, data);
        return;
    }
    buf_str(buf, "{\"task_id\":");
    buf_json_str(buf, json_string_value(json_object_get(data, "task_id")));
    buf_char(buf, ',');
    call_put_error(buf, item->rc, item->text);
    buf_char(buf, '}');
}

static void on_updated(struct call *call, struct batch_item *items, size_t n) {
    bool bulk = json_is_array(call->data);
    for (size_t i = 0; i < n; i++)
        if (items[i].op)
            doorbells_notice(call->api->doorbells, items[i].op);
    if (!bulk && items[0].rc != RC_OK) {
        call_reply_rc(call, items[0].rc, items[0].text);
        return;
    }
    struct buf buf;
    call_buf_init(&buf);
    buf_str(&buf, "{\"result\":\"ok\",\"status\":");
    if (!bulk)
        put_done(&buf, items[0].op, call->data);
    for (size_t i = 0; bulk && i < n; i++) {
        buf_char(&buf, i ? ',' : '[');
        put_item(&buf, &items[i], json_array_get(call->data, i));
    }
    buf_str(&buf, !bulk ? "}" : n ? "]}" : "[]}");
    call_reply(call, &buf);
}

static void add_update(struct batch *batch, size_t i, const struct update *update) {
    struct op *op = op_create(OP_CLAIM);
    if (!op)
        return;
    struct error err = {.text = ""};
    enum rc rc = read_update(update, op, &err);
    if (rc == RC_OK) {
        batch_put(batch, i, op);
        return;
    }
    batch_refuse(batch, i, rc, err.text);
    op_destroy(op);
}

static void add_updates(struct batch *batch, struct call *call) {
    struct update update = {call, call->data, call->text};
    if (!json_is_array(call->data)) {
        add_update(batch, 0, &update);
        return;
    }
    struct json_span rest = call->text;
    for (size_t i = 0; json_span_next(&rest, &update.text); i++) {
        update.data = json_array_get(call->data, i);
        add_update(batch, i, &update);
    }
}

static const char *const fields[] = {"run_id", "attempt",  "result",    "error", "cause",
                                     "worker", "progress", "timeout_s", "silent"};

void handle_update_status_task(struct call *call) {
    struct error err = {.text = ""};
    size_t n = json_is_array(call->data) ? json_array_size(call->data) : 1;
    enum rc rc = call_refuse_outside(call, fields, LH_COUNT(fields), &err);
    if (rc == RC_OK && n > UPDATE_MAX_ITEMS)
        rc = error_set(&err, RC_TOO_MANY, "data must have at most %d updates", UPDATE_MAX_ITEMS);
    struct batch *batch = rc == RC_OK ? batch_create(call, n, on_updated) : NULL;
    if (!batch) {
        call_reply_rc(call, rc == RC_OK ? RC_NO_MEMORY : rc, err.text);
        return;
    }
    add_updates(batch, call);
    batch_run(batch);
}
