/* result_task.c: POST /api/result_task: what a finished task's module gave. */
#include "api/handlers/handlers.h"

#include "api/call/params.h"
#include "api/call/task_fields.h"
#include "api/wait/await.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static void reply_failed(struct call *call, const struct task *task) {
    const char *why = task->error_text ? task->error_text : task_status_message(task);
    char text[480];
    snprintf(text, sizeof text, "the task failed%s%.400s", why ? ": " : "", why ? why : "");
    struct buf more;
    call_buf_init(&more);
    buf_str(&more, ",\"error\":{\"class\":");
    buf_json_str(&more, task_error_class_name(task->error_class));
    buf_str(&more, ",\"text\":");
    buf_json_str(&more, why);
    buf_char(&more, '}');
    bool whole = buf_rc(&more) == RC_OK;
    call_reply_rc_more(call, RC_TASK_FAILED, text, whole ? more.data : "");
    buf_finish(&more);
}

static void reply_unfinished(struct call *call, const struct task *task) {
    char text[64];
    snprintf(text, sizeof text, "the task is %s", task_status_name(task->status));
    call_reply_rc(call, RC_NOT_FINISHED, text);
}

static void reply_result(struct call *call, const struct task *task) {
    struct buf buf;
    call_buf_init(&buf);
    buf_str(&buf, "{\"result\":\"ok\",\"data\":");
    if (task->result)
        buf_append(&buf, task->result, task->result_len);
    else
        buf_str(&buf, "null");
    buf_str(&buf, ",\"start_time\":");
    call_put_time(&buf, task->start_at);
    buf_str(&buf, ",\"end_time\":");
    call_put_time(&buf, task->end_at);
    buf_str(&buf, ",\"spend_time\":");
    task_put_spent(task, &buf);
    buf_char(&buf, '}');
    call_reply(call, &buf);
}

static void on_answer(struct call *call, struct query *query) {
    if (query->rc != RC_OK)
        call_reply_query(call, query);
    else if (!query->tasks[0].task_id[0])
        call_reply_rc(call, RC_UNKNOWN_TASK, NULL);
    else if (query->tasks[0].sub == SUB_REMOVED)
        call_reply_rc(call, RC_RESULT_EXPIRED, NULL);
    else if (query->tasks[0].status == TASK_FAILED)
        reply_failed(call, &query->tasks[0]);
    else if (query->tasks[0].status != TASK_FINISHED)
        reply_unfinished(call, &query->tasks[0]);
    else
        reply_result(call, &query->tasks[0]);
}

static bool is_ready(const struct query *query, bool changed) {
    (void)changed;
    return await_all_final(query);
}

static enum rc read_question(const struct call *call, struct query **ret, struct error *err) {
    char id[TASK_TEXT_CAP];
    enum rc rc = param_task_id(call->data, id, err);
    if (rc != RC_OK)
        return rc;
    struct query *query = *ret = query_create_for(QUERY_BY_ID, id);
    if (!query)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    query->want_result = query->brief = true;
    return RC_OK;
}

void handle_result_task(struct call *call) {
    struct query *query = NULL;
    struct error err = {.text = ""};
    int64_t wait_ms = 0;
    enum rc rc = read_question(call, &query, &err);
    if (rc == RC_OK)
        rc = param_wait(call_holder(call, "wait_s"), &wait_ms, &err);
    if (rc == RC_OK) {
        await_tasks(call, query, wait_ms, is_ready, on_answer);
        return;
    }
    query_destroy(query);
    call_reply_rc(call, rc, err.text);
}
