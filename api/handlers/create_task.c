/* create_task.c: POST /api/create_task: one task, or up to 1000 in one write. */
#include "api/handlers/handlers.h"

#include "api/call/audit.h"
#include "api/call/params.h"
#include "api/handlers/task_options.h"
#include "base/clock.h"
#include "base/mem.h"
#include "task/lifecycle.h"
#include "task/message.h"

#include <string.h>

enum { CREATE_MAX_TASKS = 1000 };

/* An item of the request: refused, or the number of its task in the op. */
struct item {
    enum rc rc;
    size_t task;
    char *text; /* why it was refused; owned */
};

struct create {
    bool bulk;
    size_t n;
    struct item items[];
};

static void create_free(void *state) {
    struct create *create = state;
    for (size_t i = 0; create && i < create->n; i++)
        free(create->items[i].text);
    free(create);
}

/* The encoded message must fit before the task is stored: what Kafka can never take is refused
 * here. */
static enum rc check_message(const struct api *api, const struct task *task, struct error *err) {
    if (!api_has_broker(api))
        return RC_OK;
    int64_t max = publisher_message_max_bytes(api->publisher, task->service);
    size_t trace = message_trace_bytes(task);
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, (size_t)max > trace ? (size_t)max - trace : 0);
    message_encode(task, &buf);
    if (buf_rc(&buf) == RC_TOO_LARGE)
        return error_set(err, RC_TOO_LARGE,
                         "condition: the task's message is larger than the %lld bytes of its topic",
                         (long long)max);
    return buf_rc(&buf) == RC_OK ? RC_OK : error_set(err, buf_rc(&buf), "out of memory");
}

static enum rc find_service(const struct call *call, const json_t *item, struct task *task,
                            struct error *err) {
    const char *name = NULL;
    const struct api *api = call->api;
    enum rc rc = param_string(item, "service", PARAM_REQUIRED, TASK_TEXT_CAP - 1, &name, err);
    if (rc != RC_OK)
        return rc;
    const struct config_service *service = config_service(api->cfg, name);
    if (!service)
        return error_set(err, RC_SERVICE_NOT_SUPPORT, "service not support");
    rc = call_check_service(call, name, err);
    if (rc != RC_OK)
        return rc;
    mem_copy_str(task->service, sizeof task->service, name);
    task->source_name = strdup(service->source_name);
    return task->source_name ? RC_OK : error_set(err, RC_NO_MEMORY, "out of memory");
}

static enum rc read_task(const struct call *call, const json_t *item, struct json_span text,
                         struct task *task, struct error *err) {
    const struct api *api = call->api;
    if (!json_is_object(item))
        return error_set(err, RC_INVALID_PARAMETER,
                         "data must be an object or an array of objects");
    const struct config *cfg = api->cfg;
    struct lifecycle_start start = {
        .broker = api_has_broker(api), .age_ms = cfg->age_ms, .now_ms = clock_now_ms()};
    enum rc rc = find_service(call, item, task, err);
    if (rc == RC_OK)
        rc = param_value(text, "condition", PARAM_REQUIRED, (size_t)api->cfg->limits.body_bytes,
                         &task->condition, &task->condition_len, err);
    if (rc == RC_OK)
        rc = task_options_read(item, config_service(cfg, task->service)->module, task, &start, err);
    if (rc == RC_OK)
        rc = task_options_key(item, http_req_header(call->req, "Idempotency-Key"), task, err);
    if (rc == RC_OK)
        rc = task_options_trace(item, call->traceparent, call->tracestate, task, err);
    if (rc != RC_OK)
        return rc;
    lifecycle_new(task, &start);
    return check_message(api, task, err);
}

/* Reads one item into the op's next task, or notes why not. */
static void read_item(struct call *call, struct op *op, struct create *create,
                      struct json_span text, const json_t *value) {
    struct item *item = &create->items[create->n++];
    struct task *task = &op->tasks[op->n_tasks];
    struct error err;
    *item = (struct item){.task = op->n_tasks};
    item->rc = read_task(call, value, text, task, &err);
    if (item->rc == RC_OK) {
        op->n_tasks++;
        return;
    }
    task_finish(task);
    item->text = strdup(err.text);
    if (item->rc == RC_FORBIDDEN)
        audit_call_forbidden(call, NULL, err.text);
}

static void read_items(struct call *call, struct op *op, struct create *create) {
    struct json_span rest = call->text, text = call->text;
    if (!create->bulk) {
        read_item(call, op, create, text, call->data);
        return;
    }
    for (size_t i = 0; json_span_next(&rest, &text); i++)
        read_item(call, op, create, text, json_array_get(call->data, i));
}

/* A task whose outcome is unknown has its id beside the refusal. */
static void put_item(struct buf *buf, const struct op *op, const struct item *item) {
    enum rc rc = item->rc != RC_OK ? item->rc : op->task_rc[item->task];
    bool has_id = rc == RC_OK || (item->rc == RC_OK && rc == RC_OUTCOME_UNKNOWN);
    buf_char(buf, '{');
    if (has_id) {
        buf_str(buf, "\"task_id\":");
        buf_json_str(buf, op->tasks[item->task].task_id);
        buf_str(buf, op->tasks[item->task].duplicate ? ",\"duplicate\":true" : "");
    }
    if (rc != RC_OK) {
        buf_str(buf, has_id ? "," : "");
        call_put_error(buf, rc, item->text);
    }
    buf_char(buf, '}');
}

static void put_items(struct buf *buf, const struct op *op, const struct create *create) {
    buf_printf(buf, ",\"count\":%zu,\"data\":[", create->n);
    for (size_t i = 0; i < create->n; i++) {
        buf_str(buf, i ? "," : "");
        put_item(buf, op, &create->items[i]);
    }
    buf_char(buf, ']');
}

/* Nobody knows whether the tasks exist: the answer carries their ids. */
static void reply_unknown(struct call *call, const struct op *op, const struct create *create) {
    struct buf more;
    call_buf_init(&more);
    if (create->bulk) {
        put_items(&more, op, create);
    } else {
        buf_str(&more, ",\"task_id\":");
        buf_json_str(&more, op->tasks[0].task_id);
    }
    bool whole = buf_rc(&more) == RC_OK;
    call_reply_rc_more(call, op->rc, op->text, whole ? more.data : "");
    buf_finish(&more);
}

static void reply_bulk(struct call *call, const struct op *op, const struct create *create) {
    struct buf buf;
    call_buf_init(&buf);
    buf_str(&buf, "{\"result\":\"ok\"");
    put_items(&buf, op, create);
    buf_char(&buf, '}');
    call_reply(call, &buf);
}

static void reply_one(struct call *call, const struct task *task) {
    struct buf buf;
    if (!task->duplicate) {
        call_reply_task_id(call, task->task_id);
        return;
    }
    call_buf_init(&buf);
    buf_str(&buf, "{\"result\":\"ok\",\"task_id\":");
    buf_json_str(&buf, task->task_id);
    buf_str(&buf, ",\"duplicate\":true}");
    call_reply(call, &buf);
}

static void on_created(struct call *call, struct op *op) {
    const struct create *create = call->state;
    if (!create->bulk && op->rc == RC_OK)
        op->rc = op->task_rc[0];
    if (op->rc == RC_OUTCOME_UNKNOWN)
        reply_unknown(call, op, create);
    else if (op->rc != RC_OK)
        call_reply_op(call, op);
    else if (create->bulk)
        reply_bulk(call, op, create);
    else
        reply_one(call, &op->tasks[0]);
}

static bool op_alloc(struct op *op, size_t n) {
    op->tasks = calloc(n, sizeof *op->tasks);
    op->task_rc = calloc(n, sizeof *op->task_rc);
    return op->tasks && op->task_rc;
}

/* Nothing is left to store: the items' refusals are the answer. */
static void reply_refused(struct call *call, const struct op *op, const struct create *create) {
    if (create->bulk)
        reply_bulk(call, op, create);
    else
        call_reply_rc(call, create->items[0].rc, create->items[0].text);
}

static const char *const options[] = {"idempotency_key", "start",     "priority",    "delay_s",
                                      "run_at",          "timeout_s", "expire_s",    "tags",
                                      "max_attempts",    "retry",     "traceparent", "tracestate"};

/* What concerns the request as a whole. */
static enum rc check_request(const struct call *call, size_t n, struct error *err) {
    if (n > CREATE_MAX_TASKS)
        return error_set(err, RC_TOO_MANY, "data must have at most %d tasks", CREATE_MAX_TASKS);
    if (json_is_array(call->data) && http_req_header(call->req, "Idempotency-Key"))
        return error_set(
            err, RC_INVALID_PARAMETER,
            "Idempotency-Key is of one task: in an array each has its idempotency_key");
    return call_refuse_outside(call, options, LH_COUNT(options), err);
}

void handle_create_task(struct call *call) {
    bool bulk = json_is_array(call->data);
    size_t n = bulk ? json_array_size(call->data) : 1;
    struct error err = {.text = ""};
    enum rc rc = check_request(call, n, &err);
    if (rc != RC_OK) {
        call_reply_rc(call, rc, err.text);
        return;
    }
    struct op *op = op_create(OP_CREATE);
    struct create *create = calloc(1, sizeof *create + n * sizeof create->items[0]);
    call_keep(call, create, create_free);
    if (!op || !create || !op_alloc(op, n ? n : 1)) {
        op_destroy(op);
        call_reply_rc(call, RC_NO_MEMORY, NULL);
        return;
    }
    create->bulk = bulk;
    op->broker = api_has_broker(call->api);
    read_items(call, op, create);
    call->n_refused = create->n - op->n_tasks;
    if (op->n_tasks == 0) {
        reply_refused(call, op, create);
        op_destroy(op);
        return;
    }
    call_apply(call, op, on_created);
}
