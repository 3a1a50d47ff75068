/* timeline_task.c: POST /api/timeline_task: every run of a task with its times and how it ended. */
#include "api/handlers/handlers.h"

#include "api/call/params.h"
#include "api/sweep/services.h"
#include "base/mem.h"
#include "task/record.h"

#include <string.h>

/* Earlier runs are kept as records; the last one stands in the task. */
static void put_runs(struct buf *buf, const struct task *task) {
    buf_str(buf, ",\"data\":[");
    if (task->past)
        buf_str(buf, task->past);
    if (task->attempt > 0) {
        buf_str(buf, task->past ? "," : "");
        record_put(task, buf);
    }
    buf_char(buf, ']');
}

static void reply_timeline(struct call *call, const struct task *task) {
    struct buf buf;
    call_buf_init(&buf);
    buf_str(&buf, "{\"result\":\"ok\",\"task_id\":");
    buf_json_str(&buf, task->task_id);
    buf_printf(&buf, ",\"status\":\"%s\",\"sub_status\":", task_status_name(task->status));
    buf_json_str(&buf, services_sub_name(call->api->services, task));
    buf_str(&buf, ",\"create_time\":");
    call_put_time(&buf, task->create_at);
    buf_str(&buf, ",\"stored_time\":");
    call_put_time(&buf, task->stored_at);
    buf_str(&buf, ",\"next\":");
    record_put_next(task, &buf);
    put_runs(&buf, task);
    buf_char(&buf, '}');
    call_reply(call, &buf);
}

static void on_answer(struct call *call, struct query *query) {
    if (query->rc != RC_OK)
        call_reply_query(call, query);
    else if (!query->tasks[0].task_id[0])
        call_reply_rc(call, RC_UNKNOWN_TASK, NULL);
    else if (query->tasks[0].sub == SUB_REMOVED)
        call_reply_rc(call, RC_TASK_REMOVED, NULL);
    else
        reply_timeline(call, &query->tasks[0]);
}

static enum rc read_question(const struct call *call, struct query **ret, struct error *err) {
    char id[TASK_TEXT_CAP];
    enum rc rc = param_task_id(call->data, id, err);
    if (rc != RC_OK)
        return rc;
    struct query *query = *ret = query_create_for(QUERY_BY_ID, id);
    if (!query)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    query->want_past = true;
    return RC_OK;
}

void handle_timeline_task(struct call *call) {
    struct query *query = NULL;
    struct error err = {.text = ""};
    enum rc rc = read_question(call, &query, &err);
    if (rc == RC_OK) {
        call_query(call, query, on_answer);
        return;
    }
    query_destroy(query);
    call_reply_rc(call, rc, err.text);
}
