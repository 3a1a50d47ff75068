/* heartbeat_task.c: POST /api/heartbeat_task: a consumer renews the leases of all its runs, and
 * says who it is. */
#include "api/handlers/handlers.h"

#include "api/batch.h"
#include "api/params.h"
#include "base/mem.h"

#include <string.h>

enum { HEARTBEAT_MAX_RUNS = 1000, WORKER_MAX_BYTES = 128 * 1024, WORKER_HOST_BYTES = 255 };

static const char *const later[] = {"progress"};

static void put_item(struct buf *buf, const struct batch_item *item, const char *task_id) {
    buf_str(buf, "{\"task_id\":");
    buf_json_str(buf, task_id);
    buf_str(buf, ",\"lease_until\":");
    call_put_time(buf, item->rc == RC_OK ? item->op->tasks[0].lease_until : 0);
    buf_str(buf, ",\"cancel\":false");
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

static enum rc read_run(const struct call *call, const json_t *item, struct op *op,
                        struct error *err) {
    if (!json_is_object(item))
        return error_set(err, RC_INVALID_PARAMETER,
                         "data must be an array of {\"task_id\",\"run_id\"}");
    op->lease_ms = call->api->cfg->lease_ms;
    enum rc rc = param_task_id(item, op->task_id, err);
    if (rc == RC_OK)
        rc = param_run_id(item, PARAM_REQUIRED, op->run_id, err);
    if (rc == RC_OK)
        rc = param_refuse(item, later, LH_COUNT(later), err);
    return rc;
}

/* A run that is named wrongly is the whole call's fault: a consumer never sends one. */
static enum rc read_runs(const struct call *call, struct batch *batch, struct error *err) {
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < json_array_size(call->data); i++) {
        struct op *op = op_create(OP_HEARTBEAT);
        if (!op)
            return error_set(err, RC_NO_MEMORY, "out of memory");
        batch_put(batch, i, op);
        rc = read_run(call, json_array_get(call->data, i), op, err);
    }
    return rc;
}

static bool all_strings(const json_t *list) {
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!json_is_string(json_array_get(list, i)))
            return false;
    return json_is_array(list);
}

/* The members of `worker` that are known must be what they are named for. */
static enum rc check_worker(const json_t *worker, struct error *err) {
    int64_t number;
    const char *host = NULL;
    const json_t *services = json_object_get(worker, "services");
    enum rc rc = param_text(worker, "host", WORKER_HOST_BYTES, &host, err);
    if (rc == RC_OK)
        rc = param_int(worker, "pid", 1, INT32_MAX, &number, err);
    if (rc == RC_OK)
        rc = param_int(worker, "slots", 0, INT32_MAX, &number, err);
    if (rc == RC_OK && services && !all_strings(services))
        return error_set(err, RC_INVALID_PARAMETER, "services must be an array of strings");
    if (rc == RC_OK && json_object_get(worker, "seen_time"))
        return error_set(err, RC_INVALID_PARAMETER, "seen_time is the answer's own");
    return rc;
}

static enum rc read_worker(const struct call *call, struct op *op, struct error *err) {
    const char *id = NULL;
    const json_t *worker = json_object_get(call->root, "worker");
    if (!json_is_object(worker))
        return error_set(
            err, RC_INVALID_PARAMETER,
            "worker must be an object {\"id\",\"host\",\"pid\",\"services\",\"slots\"}");
    enum rc rc = param_string(worker, "id", PARAM_REQUIRED, WORKER_ID_CAP - 1, &id, err);
    if (rc == RC_OK)
        rc = check_worker(worker, err);
    if (rc == RC_OK)
        rc = param_value(call->body, "worker", PARAM_REQUIRED, WORKER_MAX_BYTES, &op->value,
                         &op->value_len, err);
    if (rc == RC_OK)
        mem_copy_str(op->worker_id, sizeof op->worker_id, id);
    return rc;
}

static enum rc read_call(const struct call *call, struct batch *batch, bool worker,
                         struct error *err) {
    enum rc rc = read_runs(call, batch, err);
    if (rc != RC_OK || !worker)
        return rc;
    struct op *op = op_create(OP_WORKER);
    if (!op)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    batch_put(batch, json_array_size(call->data), op);
    return read_worker(call, op, err);
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
