/* status_task.c: POST /api/status_task: what stands for up to max_status_task ids, in the order
 * asked. */
#include "api/handlers/handlers.h"

#include "api/params.h"
#include "base/mem.h"

#include <string.h>

static const char *const later[] = {"wait_s", "until"};

static void put_error(struct buf *buf, const struct task *task) {
    if (!task->error_text && task->error_class == ERROR_NONE) {
        buf_str(buf, "null");
        return;
    }
    buf_str(buf, "{\"class\":");
    buf_json_str(buf, task_error_class_name(task->error_class));
    buf_str(buf, ",\"text\":");
    buf_json_str(buf, task->error_text);
    buf_char(buf, '}');
}

static void put_known(struct buf *buf, const struct task *task) {
    buf_printf(buf, ",\"status\":\"%s\",\"message\":", task_status_name(task->status));
    buf_json_str(buf, task_status_message(task));
    buf_str(buf, ",\"start_time\":");
    call_put_time(buf, task->start_at);
    buf_str(buf, ",\"end_time\":");
    call_put_time(buf, task->end_at);
    buf_str(buf, ",\"sub_status\":");
    buf_json_str(buf, task_sub_name(task->sub));
    buf_printf(buf, ",\"attempt\":%lld,\"error\":", (long long)task->attempt);
    put_error(buf, task);
}

static void put_status(struct buf *buf, const char *id, const struct task *task) {
    buf_str(buf, "{\"task_id\":");
    buf_json_str(buf, id);
    if (task->task_id[0])
        put_known(buf, task);
    else
        buf_str(buf, ",\"status\":\"Invalid\",\"message\":null,\"start_time\":null,"
                     "\"end_time\":null,\"sub_status\":null,\"attempt\":null,\"error\":null");
    buf_char(buf, '}');
}

static void on_answer(struct call *call, struct query *query) {
    if (query->rc != RC_OK) {
        call_reply_query(call, query);
        return;
    }
    struct buf buf;
    call_buf_init(&buf);
    buf_str(&buf, "{\"result\":\"ok\",\"status\":[");
    for (size_t i = 0; i < query->n_ids; i++) {
        buf_str(&buf, i ? "," : "");
        put_status(&buf, query->ids[i], &query->tasks[i]);
    }
    buf_str(&buf, "]}");
    call_reply(call, &buf);
}

static enum rc read_id(const json_t *item, struct query *query, struct error *err) {
    if (!json_is_object(item))
        return error_set(err, RC_INVALID_PARAMETER, "data must be an array of {\"task_id\"}");
    const char *id = NULL;
    enum rc rc = param_string(item, "task_id", PARAM_REQUIRED, TASK_TEXT_CAP - 1, &id, err);
    if (rc == RC_OK)
        rc = param_refuse(item, later, LH_COUNT(later), err);
    if (rc != RC_OK)
        return rc;
    char *copy = strdup(id);
    if (!copy)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    query->ids[query->n_ids++] = copy;
    return RC_OK;
}

static enum rc read_ids(const struct call *call, struct query *query, struct error *err) {
    bool one = json_is_object(call->data);
    size_t n = one ? 1 : json_array_size(call->data), max = (size_t)call->api->cfg->max_status_task;
    if (n > max)
        return error_set(err, RC_TOO_MANY, "data must have at most %zu ids (max_status_task)", max);
    query->ids = calloc(n ? n : 1, sizeof *query->ids);
    if (!query->ids)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    enum rc rc = call_refuse_later(call, later, LH_COUNT(later), err);
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        rc = read_id(one ? call->data : json_array_get(call->data, i), query, err);
    return rc;
}

void handle_status_task(struct call *call) {
    struct query *query = query_create(QUERY_BY_ID);
    struct error err = {.text = ""};
    enum rc rc = query ? read_ids(call, query, &err) : RC_NO_MEMORY;
    if (rc == RC_OK) {
        call_query(call, query, on_answer);
        return;
    }
    query_destroy(query);
    call_reply_rc(call, rc, err.text);
}
