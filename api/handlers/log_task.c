/* log_task.c: POST /api/log_task: appends to the logs of runs, one piece or up to 1000. */
#include "api/handlers/handlers.h"

#include "api/call/batch.h"
#include "api/call/params.h"
#include "api/wait/waits.h"
#include "api/watch/watches.h"
#include "base/base64.h"
#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

enum { LOG_MAX_ITEMS = 1000 };

/* Far beyond what a module prints, and sums of it do not overflow. */
#define OFFSET_MAX ((int64_t)1 << 60)

static void put_end(struct buf *buf, const struct batch_item *item) {
    if (item->op && (item->rc == RC_OK || item->rc == RC_OFFSET_GAP))
        buf_printf(buf, ",\"offset\":%" PRId64, item->op->log_end);
}

static void put_item(struct buf *buf, const struct batch_item *item, const json_t *data) {
    buf_str(buf, "{\"task_id\":");
    buf_json_str(buf, json_string_value(json_object_get(data, "task_id")));
    buf_str(buf, ",\"stream\":");
    buf_json_str(buf, json_string_value(json_object_get(data, "stream")));
    put_end(buf, item);
    if (item->rc != RC_OK) {
        buf_char(buf, ',');
        call_put_error(buf, item->rc, item->text);
    }
    buf_char(buf, '}');
}

/* One piece: the item is the answer. */
static void reply_one(struct call *call, const struct batch_item *item) {
    LH_CLEANUP_BUF struct buf more;
    call_buf_init(&more);
    put_end(&more, item);
    if (item->rc != RC_OK) {
        bool whole = more.data && buf_rc(&more) == RC_OK;
        call_reply_rc_more(call, item->rc, item->text, whole ? more.data : "");
        return;
    }
    struct buf buf;
    call_buf_init(&buf);
    buf_printf(&buf, "{\"result\":\"ok\",\"offset\":%" PRId64 "}", item->op->log_end);
    call_reply(call, &buf);
}

static void reply_all(struct call *call, const struct batch_item *items, size_t n) {
    struct buf buf;
    call_buf_init(&buf);
    buf_printf(&buf, "{\"result\":\"ok\",\"count\":%zu,\"data\":[", n);
    for (size_t i = 0; i < n; i++) {
        buf_str(&buf, i ? "," : "");
        put_item(&buf, &items[i], json_array_get(call->data, i));
    }
    buf_str(&buf, "]}");
    call_reply(call, &buf);
}

/* A store that failed failed the call: it is to be sent again as it is. */
static const struct batch_item *common_fault(const struct batch_item *items, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (rc_info(items[i].rc)->http >= 500)
            return &items[i];
    return NULL;
}

/* The first bytes of a stream: the run has printed something. */
static void note_output(const struct api *api, const struct op *logged) {
    if (logged->log_offset > 0 || logged->value_len == 0)
        return;
    struct op *op = op_create(OP_OUTPUT);
    if (!op)
        return;
    mem_copy_str(op->task_id, sizeof op->task_id, logged->task_id);
    mem_copy_str(op->run_id, sizeof op->run_id, logged->run_id);
    executor_note(api->executor, op);
}

static void on_logged(struct call *call, struct batch_item *items, size_t n) {
    const struct api *api = call->api; /* the call ends with its reply */
    const struct batch_item *fault = common_fault(items, n);
    if (fault)
        call_reply_rc(call, fault->rc, fault->text);
    else if (json_is_array(call->data))
        reply_all(call, items, n);
    else
        reply_one(call, &items[0]);
    for (size_t i = 0; i < n; i++)
        if (items[i].rc == RC_OK) {
            note_output(api, items[i].op);
            waits_wake_readers(api->waits, items[i].op->task_id);
            watches_notice_log(api->watches, items[i].op->task_id);
        }
}

static enum rc take_text(const json_t *text, struct op *op, struct error *err) {
    if (!json_is_string(text))
        return error_set(err, RC_INVALID_PARAMETER, "text must be a string");
    op->value_len = json_string_length(text);
    op->value = mem_dup(json_string_value(text), op->value_len);
    return op->value ? RC_OK : error_set(err, RC_NO_MEMORY, "out of memory");
}

static enum rc take_base64(const json_t *base64, struct op *op, struct error *err) {
    enum rc rc = json_is_string(base64)
                     ? base64_read(json_string_value(base64), json_string_length(base64),
                                   &op->value, &op->value_len)
                     : RC_INVALID_PARAMETER;
    if (rc == RC_INVALID_PARAMETER)
        return error_set(err, rc, "base64 must be a string in base64 with its padding");
    return rc == RC_OK ? rc : error_set(err, rc, "out of memory");
}

static enum rc read_bytes(const json_t *data, struct op *op, struct error *err) {
    const json_t *text = json_object_get(data, "text"), *base64 = json_object_get(data, "base64");
    if (text && base64)
        return error_set(err, RC_INVALID_PARAMETER, "text and base64 exclude each other");
    if (!text && !base64 && !op->log_close)
        return error_set(err, RC_INVALID_PARAMETER, "text, base64 or end must be given");
    if (text)
        return take_text(text, op, err);
    return base64 ? take_base64(base64, op, err) : RC_OK;
}

static enum rc read_stream(const json_t *data, struct op *op, struct error *err) {
    const char *name = json_string_value(json_object_get(data, "stream"));
    if (!name || !run_stream_from_name(name, &op->stream))
        return error_set(err, RC_INVALID_PARAMETER, "stream must be stdout or stderr");
    return RC_OK;
}

static enum rc read_offsets(const json_t *data, struct op *op, struct error *err) {
    op->log_offset = -1;
    enum rc rc = param_int(data, "offset", 0, OFFSET_MAX, &op->log_offset, err);
    if (rc == RC_OK && op->log_offset < 0)
        rc = error_set(err, RC_INVALID_PARAMETER, "offset must be an integer from 0");
    if (rc == RC_OK)
        rc = param_int(data, "skipped", 0, op->log_offset, &op->log_skipped, err);
    return rc;
}

static enum rc read_piece(const struct api *api, const json_t *data, struct op *op,
                          struct error *err) {
    if (!json_is_object(data))
        return error_set(err, RC_INVALID_PARAMETER,
                         "data must be an object or an array of objects");
    op->log_cap = api->cfg->limits.log_bytes;
    enum rc rc = param_task_id(data, op->task_id, err);
    if (rc == RC_OK)
        rc = param_run_id(data, PARAM_OPTIONAL, op->run_id, err);
    if (rc == RC_OK)
        rc = read_stream(data, op, err);
    if (rc == RC_OK)
        rc = read_offsets(data, op, err);
    if (rc == RC_OK)
        rc = param_bool(data, "end", &op->log_close, err);
    return rc == RC_OK ? read_bytes(data, op, err) : rc;
}

static void add_piece(struct batch *batch, size_t i, const struct api *api, const json_t *data) {
    struct op *op = op_create(OP_LOG);
    if (!op)
        return;
    struct error err = {.text = ""};
    enum rc rc = read_piece(api, data, op, &err);
    if (rc == RC_OK) {
        batch_put(batch, i, op);
        return;
    }
    batch_refuse(batch, i, rc, err.text);
    op_destroy(op);
}

void handle_log_task(struct call *call) {
    bool bulk = json_is_array(call->data);
    size_t n = bulk ? json_array_size(call->data) : 1;
    if (n > LOG_MAX_ITEMS) {
        call_reply_rc(call, RC_TOO_MANY, "data must have at most 1000 pieces");
        return;
    }
    struct batch *batch = batch_create(call, n, on_logged);
    if (!batch) {
        call_reply_rc(call, RC_NO_MEMORY, NULL);
        return;
    }
    for (size_t i = 0; i < n; i++)
        add_piece(batch, i, call->api, bulk ? json_array_get(call->data, i) : call->data);
    batch_run(batch);
}
