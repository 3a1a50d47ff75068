/* status_task.c: POST /api/status_task: what stands for up to max_status_task ids, in the order
 * asked. */
#include "api/handlers/handlers.h"

#include "api/call/params.h"
#include "api/call/task_fields.h"
#include "api/exec/status_cache.h"
#include "api/meter/meter.h"
#include "api/meter/metrics_table.h"
#include "api/sweep/services.h"
#include "api/wait/await.h"
#include "base/mem.h"

#include <string.h>

enum { ONE_BYTES = 320 }; /* of an answer: most often enough for one task */

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

static void begin_answer(struct buf *buf, size_t n) {
    call_buf_init(buf);
    (void)buf_reserve(buf, n * ONE_BYTES); /* what fails comes up at the end */
    buf_str(buf, "{\"result\":\"ok\",\"status\":[");
}

static void end_answer(struct call *call, struct buf *buf) {
    buf_str(buf, "]}");
    call_reply(call, buf);
}

static void on_answer(struct call *call, struct query *query) {
    if (query->rc != RC_OK) {
        call_reply_query(call, query);
        return;
    }
    struct buf buf;
    begin_answer(&buf, query->n_ids);
    for (size_t i = 0; i < query->n_ids; i++) {
        buf_str(&buf, i ? "," : "");
        size_t at = buf.len;
        put_status(&buf, call->api->services, query->ids[i], &query->tasks[i]);
        if (buf_rc(&buf) == RC_OK)
            status_cache_keep(call->api->status_cache, query->batch, &query->tasks[i],
                              buf.data + at, buf.len - at);
    }
    end_answer(call, &buf);
}

/* False where the store has to be asked. */
static bool answer_at_once(struct call *call, const char *const *ids, size_t n) {
    struct buf buf;
    begin_answer(&buf, n);
    bool known = status_cache_put(call->api->status_cache, ids, n, token_access(call->token), &buf);
    metrics_add(meter_metrics(call->api->meter), METRIC_STATUS_READS,
                known ? SOURCE_MEMORY : SOURCE_STORE, 1);
    if (known)
        end_answer(call, &buf);
    else
        buf_finish(&buf);
    return known;
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
    if (json_object_size(item) == 1 && json_object_get(item, "task_id"))
        return RC_OK;
    for (size_t i = 0; i < LH_COUNT(names); i++)
        if (json_object_get(item, names[i]))
            return error_set(err, RC_INVALID_PARAMETER, "%s must stand beside data, not in it",
                             names[i]);
    return RC_OK;
}

static enum rc read_id(const json_t *item, const char **ret, struct error *err) {
    if (!json_is_object(item))
        return error_set(err, RC_INVALID_PARAMETER, "data must be an array of {\"task_id\"}");
    return param_string(item, "task_id", PARAM_REQUIRED, TASK_TEXT_CAP - 1, ret, err);
}

/* The ids are borrowed from the call. */
static enum rc read_ids(const struct call *call, const char *ids[STATUS_IDS_MAX], size_t *ret_n,
                        struct error *err) {
    bool one = json_is_object(call->data);
    size_t n = one ? 1 : json_array_size(call->data), max = (size_t)call->api->cfg->max_status_task;
    if (n > max)
        return error_set(err, RC_TOO_MANY, "data must have at most %zu ids (max_status_task)", max);
    enum rc rc = one ? read_id(call->data, &ids[0], err) : RC_OK;
    for (size_t i = 0; rc == RC_OK && !one && i < n; i++) {
        const json_t *item = json_array_get(call->data, i);
        rc = refuse_inside(item, err);
        if (rc == RC_OK)
            rc = read_id(item, &ids[i], err);
    }
    *ret_n = n;
    return rc;
}

static void ask_store(struct call *call, const char *const *ids, size_t n,
                      const struct hold *hold) {
    struct query *query = query_create_by_id(ids, n);
    if (!query) {
        call_reply_rc(call, RC_NO_MEMORY, NULL);
        return;
    }
    query->brief = true;
    await_tasks(call, query, hold->wait_ms, hold->ready, on_answer);
}

void handle_status_task(struct call *call) {
    const char *ids[STATUS_IDS_MAX];
    size_t n = 0;
    struct error err = {.text = ""};
    struct hold hold = {0};
    enum rc rc = read_ids(call, ids, &n, &err);
    if (rc == RC_OK)
        rc = read_hold(call, &hold, &err);
    if (rc != RC_OK)
        call_reply_rc(call, rc, err.text);
    else if (hold.wait_ms > 0 || !answer_at_once(call, ids, n))
        ask_store(call, ids, n, &hold);
}
