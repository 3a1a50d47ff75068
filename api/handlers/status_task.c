/* status_task.c: POST /api/status_task: what stands for up to max_status_task ids, in the order
 * asked. */
#include "api/handlers/handlers.h"

#include "api/call/id_list.h"
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
static bool answer_at_once(struct call *call, const struct id_list *list) {
    struct buf buf;
    begin_answer(&buf, list->n);
    bool known = status_cache_put(call->api->status_cache, list->ids, list->n,
                                  token_access(call->token), &buf);
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

static struct query *query_of(const struct id_list *list) {
    struct query *query = query_create_of_ids(QUERY_BY_ID, list->n);
    bool named = query != NULL;
    for (size_t i = 0; named && i < list->n; i++)
        named = query_add_id(query, list->ids[i].at, list->ids[i].len);
    if (named)
        return query;
    query_destroy(query);
    return NULL;
}

static void ask_store(struct call *call, const struct id_list *list, const struct hold *hold) {
    struct query *query = query_of(list);
    if (!query) {
        call_reply_rc(call, RC_NO_MEMORY, NULL);
        return;
    }
    query->brief = true;
    await_tasks(call, query, hold->wait_ms, hold->ready, on_answer);
}

static void answer(struct call *call, const struct id_list *list, const struct hold *hold) {
    if (hold->wait_ms > 0 || !answer_at_once(call, list))
        ask_store(call, list, hold);
}

bool plain_status_task(struct call *call) {
    struct id_list list;
    struct json_span body;
    if (!call_plain_body(call, &body) ||
        !id_list_scan(body, (size_t)call->api->cfg->max_status_task, &list))
        return false;
    answer(call, &list, &(struct hold){.ready = is_news});
    return true;
}

void handle_status_task(struct call *call) {
    struct id_list list;
    struct error err = {.text = ""};
    struct hold hold = {0};
    enum rc rc = id_list_read(call->data, (size_t)call->api->cfg->max_status_task, &list, &err);
    if (rc == RC_OK)
        rc = read_hold(call, &hold, &err);
    if (rc != RC_OK)
        call_reply_rc(call, rc, err.text);
    else
        answer(call, &list, &hold);
}
