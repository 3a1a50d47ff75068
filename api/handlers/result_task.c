/* result_task.c: POST /api/result_task: what a finished task's module gave. */
#include "api/handlers/handlers.h"

#include "api/params.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const later[] = {"wait_s"};

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

/* Seconds with milliseconds; null where a time is missing. A document of another program may have
 * ended before it began. */
static void put_spent(struct buf *buf, const struct task *task) {
    if (!task->start_at || !task->end_at) {
        buf_str(buf, "null");
        return;
    }
    int64_t ms = task->end_at - task->start_at;
    uint64_t size = ms < 0 ? -(uint64_t)ms : (uint64_t)ms;
    buf_printf(buf, "%s%" PRIu64 ".%03u", ms < 0 ? "-" : "", size / 1000, (unsigned)(size % 1000));
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
    put_spent(&buf, task);
    buf_char(&buf, '}');
    call_reply(call, &buf);
}

static void on_answer(struct call *call, struct query *query) {
    if (query->rc != RC_OK)
        call_reply_query(call, query);
    else if (!query->tasks[0].task_id[0])
        call_reply_rc(call, RC_UNKNOWN_TASK, NULL);
    else if (query->tasks[0].status == TASK_FAILED)
        reply_failed(call, &query->tasks[0]);
    else if (query->tasks[0].status != TASK_FINISHED)
        reply_unfinished(call, &query->tasks[0]);
    else
        reply_result(call, &query->tasks[0]);
}

static enum rc read_id(const struct call *call, struct query *query, struct error *err) {
    char id[TASK_TEXT_CAP];
    enum rc rc = param_task_id(call->data, id, err);
    if (rc == RC_OK)
        rc = call_refuse_later(call, later, LH_COUNT(later), err);
    if (rc != RC_OK)
        return rc;
    query->want_result = true;
    query->ids = calloc(1, sizeof *query->ids);
    if (!query->ids || !(query->ids[0] = strdup(id)))
        return error_set(err, RC_NO_MEMORY, "out of memory");
    query->n_ids = 1;
    return RC_OK;
}

void handle_result_task(struct call *call) {
    struct query *query = query_create(QUERY_BY_ID);
    struct error err = {.text = ""};
    enum rc rc = query ? read_id(call, query, &err) : RC_NO_MEMORY;
    if (rc == RC_OK) {
        call_query(call, query, on_answer);
        return;
    }
    query_destroy(query);
    call_reply_rc(call, rc, err.text);
}
