/* heartbeat_task.c: POST /api/heartbeat_task: a consumer renews the leases of all its runs, and
 * says who it is. */
#include "api/handlers/handlers.h"
#include "api/handlers/worker_task.h"

#include "api/call/batch.h"
#include "api/call/params.h"
#include "base/mem.h"

#include <string.h>

enum { HEARTBEAT_MAX_RUNS = 1000 };

static void put_item(struct buf *buf, const struct batch_item *item, const char *task_id) {
    buf_str(buf, "{\"task_id\":");
    buf_json_str(buf, task_id);
    buf_str(buf, ",\"lease_until\":");
    call_put_time(buf, item->rc == RC_OK ? item->op->tasks[0].lease_until : 0);
    bool cancel = item->rc == RC_OK && item->op->tasks[0].sub == SUB_CANCELLING;
    buf_str(buf, cancel ? ",\"cancel\":true" : ",\"cancel\":false");
    if (cancel)
        buf_printf(buf, ",\"grace_s\":%.10g", (double)item->op->tasks[0].grace_ms / 1000);
    if (item->rc != RC_OK) {
        buf_char(buf, ',');
        call_put_error(buf, item->rc, item->text);
    }
    buf_char(buf, '}');
}

/* The id that item i of the request names, or NULL. */
static const char *id_of(const struct call *call, size_t i) {
    const json_t *runs =
        json_is_array(call->data) ? call->data : json_object_get(call->root, "data");
    return json_string_value(json_object_get(json_array_get(runs, i), "task_id"));
}

/* A store that failed all of them failed the call: the consumer repeats it. */
static const struct batch_item *common_fault(const struct batch_item *items, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (rc_info(items[i].rc)->http >= 500)
            return &items[i];
    return NULL;
}

static void on_beaten(struct call *call, struct batch_item *items, size_t n) {
    const struct batch_item *fault = common_fault(items, n);
    if (fault) {
        call_reply_rc(call, fault->rc, fault->text);
        return;
    }
    size_t runs = json_array_size(json_object_get(call->root, "data"));
    struct buf buf;
    call_buf_init(&buf);
    buf_printf(&buf, "{\"result\":\"ok\",\"count\":%zu,\"data\":[", runs);
    for (size_t i = 0; i < runs; i++) {
        buf_str(&buf, i ? "," : "");
        put_item(&buf, &items[i], id_of(call, i));
    }
    buf_str(&buf, "]}");
    call_reply(call, &buf);
}

/* Names the run; a run that is named wrongly is the whole call's fault. */
static enum rc read_run(const struct call *call, const json_t *item, const char *worker_id,
                        struct op *op, struct error *err) {
    if (!json_is_object(item))
        return error_set(err, RC_INVALID_PARAMETER,
                         "data must be an array of {\"task_id\",\"run_id\"}");
    op->lease_ms = call->api->cfg->lease_ms;
    mem_copy_str(op->worker_id, sizeof op->worker_id, worker_id);
    enum rc rc = param_task_id(item, op->task_id, err);
    if (rc == RC_OK)
        rc = param_run_id(item, PARAM_REQUIRED, op->run_id, err);
    return rc;
}

/* What the run says of itself is its own fault. */
static void add_run(struct batch *batch, size_t i, const json_t *item, struct json_span text,
                    struct op *op) {
    struct error err = {.text = ""};
    enum rc rc = param_progress(item, text, &op->progress, &err);
    if (rc == RC_OK) {
        batch_put(batch, i, op);
        return;
    }
    batch_refuse(batch, i, rc, err.text);
    op_destroy(op);
}

static enum rc read_runs(const struct call *call, const char *worker_id, struct batch *batch,
                         struct error *err) {
    struct json_span rest = call->text, text;
    for (size_t i = 0; json_span_next(&rest, &text); i++) {
        const json_t *item = json_array_get(call->data, i);
        struct op *op = op_create(OP_HEARTBEAT);
        enum rc rc = op ? read_run(call, item, worker_id, op, err)
                        : error_set(err, RC_NO_MEMORY, "out of memory");
        if (rc != RC_OK) {
            op_destroy(op);
            return rc;
        }
        add_run(batch, i, item, text, op);
    }
    return RC_OK;
}

static enum rc read_call(const struct call *call, struct batch *batch, bool worker,
                         struct error *err) {
    if (!worker)
        return read_runs(call, "", batch, err);
    struct op *op = NULL;
    enum rc rc = worker_op(call, json_object_get(call->root, "worker"), call->body, &op, err);
    if (rc != RC_OK)
        return rc;
    batch_put(batch, json_array_size(call->data), op);
    return read_runs(call, op->worker_id, batch, err);
}

void handle_heartbeat_task(struct call *call) {
    if (!json_is_array(call->data)) {
        call_reply_rc(call, RC_INVALID_PARAMETER,
                      "data must be an array of {\"task_id\",\"run_id\"}");
        return;
    }
    size_t n = json_array_size(call->data);
    if (n > HEARTBEAT_MAX_RUNS) {
        call_reply_rc(call, RC_TOO_MANY, "data must have at most 1000 runs");
        return;
    }
    const json_t *worker = json_object_get(call->root, "worker");
    struct batch *batch = batch_create(call, n + (worker ? 1 : 0), on_beaten);
    struct error err = {.text = ""};
    enum rc rc = batch ? read_call(call, batch, worker != NULL, &err) : RC_NO_MEMORY;
    if (rc == RC_OK) {
        batch_run(batch);
        return;
    }
    batch_destroy(batch);
    call_reply_rc(call, rc, err.text);
}
