/* status_task.c: POST /api/status_task: what stands for up to max_status_task ids, in the order
 * asked. */
#include "api/handlers/handlers.h"

#include "api/call/params.h"
#include "api/call/task_fields.h"
#include "api/sweep/services.h"
#include "api/wait/await.h"
#include "base/mem.h"

#include <string.h>

/* How long the answer may be held, and for what. */
struct hold {
    int64_t wait_ms;
    await_ready *ready;
};

static void put_known(struct buf *buf, const struct services *services, const struct task *task) {
    buf_str(buf, ",\"status\":\"");
    buf_str(buf, task_status_name(task->status));
    buf_str(buf, "\",\"message\":");
    buf_json_str(buf, task_status_message(task));
    buf_str(buf, ",\"start_time\":");
    call_put_time(buf, task->start_at);
    buf_str(buf, ",\"end_time\":");
    call_put_time(buf, task->end_at);
    buf_str(buf, ",\"sub_status\":");
    buf_json_str(buf, services_sub_name(services, task));
    buf_str(buf, ",\"attempt\":");
    buf_int(buf, task->attempt);
    buf_str(buf, ",\"error\":");
    task_put_error(task, buf);
    buf_str(buf, ",\"progress\":");
    buf_str(buf, task->progress ? task->progress : "null");
}

static void put_status(struct buf *buf, const struct services *services, const char *id,
                       const struct task *task) {
    buf_str(buf, "{\"task_id\":");
    buf_json_str(buf, id);
    if (task->task_id[0])
        put_known(buf, services, task);
    else
        buf_str(buf, ",\"status\":\"Invalid\",\"message\":null,\"start_time\":null,"
                     "\"end_time\":null,\"sub_status\":null,\"attempt\":null,\"error\":null,"
                     "\"progress\":null");
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
        put_status(&buf, call->api->services, query->ids[i], &query->tasks[i]);
    }
    buf_str(&buf, "]}");
    call_reply(call, &buf);
}

/* What would change by itself does not: it is told at once. */
static bool is_news(const struct query *query, bool changed) {
    return changed || await_all_final(query);
}

static bool is_final(const struct query *query, bool changed) {
    (void)changed;
    return await_all_final(query);
}

static enum rc read_hold(const struct call *call, struct hold *ret, struct error *err) {
    const char *until = "change";
    enum rc rc = param_wait(call_holder(call, "wait_s"), &ret->wait_ms, err);
    if (rc == RC_OK)
        rc = param_string(call_holder(call, "until"), "until", PARAM_OPTIONAL, 16, &until, err);
    if (rc == RC_OK && strcmp(until, "change") != 0 && strcmp(until, "final") != 0)
        rc = error_set(err, RC_INVALID_PARAMETER, "until must be change or final");
    ret->ready = strcmp(until, "final") == 0 ? is_final : is_news;
    return rc;
}

/* What concerns the whole call may not stand in one item of several. */
static enum rc refuse_inside(const json_t *item, struct error *err) {
    static const char *const names[] = {"wait_s", "until"};
    for (size_t i = 0; i < LH_COUNT(names); i++)
        if (json_object_get(item, names[i]))
            return error_set(err, RC_INVALID_PARAMETER, "%s must stand beside data, not in it",
                             names[i]);
    return RC_OK;
}

static enum rc read_id(const json_t *item, struct query *query, struct error *err) {
    if (!json_is_object(item))
        return error_set(err, RC_INVALID_PARAMETER, "data must be an array of {\"task_id\"}");
    const char *id = NULL;
    enum rc rc = param_string(item, "task_id", PARAM_REQUIRED, TASK_TEXT_CAP - 1, &id, err);
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
    query->brief = true;
    query->ids = calloc(n ? n : 1, sizeof *query->ids);
    if (!query->ids)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    enum rc rc = one ? read_id(call->data, query, err) : RC_OK;
    for (size_t i = 0; rc == RC_OK && !one && i < n; i++) {
        const json_t *item = json_array_get(call->data, i);
        rc = refuse_inside(item, err);
        if (rc == RC_OK)
            rc = read_id(item, query, err);
    }
    return rc;
}

void handle_status_task(struct call *call) {
    struct query *query = query_create(QUERY_BY_ID);
    struct error err = {.text = ""};
    struct hold hold = {0};
    enum rc rc = query ? read_ids(call, query, &err) : RC_NO_MEMORY;
    if (rc == RC_OK)
        rc = read_hold(call, &hold, &err);
    if (rc == RC_OK) {
        await_tasks(call, query, hold.wait_ms, hold.ready, on_answer);
        return;
    }
    query_destroy(query);
    call_reply_rc(call, rc, err.text);
}
