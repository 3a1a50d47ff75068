/* tasks.c: POST /api/tasks: a page of tasks, newest first, by service and status. */
#include "api/handlers/handlers.h"

#include "api/params.h"
#include "base/mem.h"

#include <inttypes.h>

enum { PAGE_MAX_TASKS = 1000, PAGE_DEFAULT_TASKS = 10, PAGE_MIN_BYTES = 16 << 20 };

static const char *const later[] = {"after", "before", "sub_status", "from",
                                    "to",    "tags",   "task_id",    "fields"};

static void put_task(struct buf *buf, const struct task *task) {
    buf_str(buf, "{\"task_id\":");
    buf_json_str(buf, task->task_id);
    buf_str(buf, ",\"service\":");
    buf_json_str(buf, task->service);
    buf_printf(buf, ",\"status\":\"%s\",\"condition\":", task_status_name(task->status));
    buf_append(buf, task->condition, task->condition_len);
    buf_str(buf, ",\"create_time\":");
    call_put_time(buf, task->create_at);
    buf_char(buf, '}');
}

static void on_answer(struct call *call, struct query *query) {
    if (query->rc != RC_OK) {
        call_reply_query(call, query);
        return;
    }
    struct buf buf;
    call_buf_init(&buf);
    buf_printf(&buf, "{\"result\":\"ok\",\"total\":%" PRId64 ",\"count\":%zu,\"data\":[",
               query->total, query->n_tasks);
    for (size_t i = 0; i < query->n_tasks; i++) {
        buf_str(&buf, i ? "," : "");
        put_task(&buf, &query->tasks[i]);
    }
    buf_str(&buf, "]}");
    call_reply(call, &buf);
}

static enum rc read_filter(const json_t *data, struct query *query, struct error *err) {
    const char *service = NULL, *status = NULL;
    enum rc rc = param_string(data, "service", PARAM_OPTIONAL, TASK_TEXT_CAP - 1, &service, err);
    if (rc == RC_OK)
        rc = param_string(data, "status", PARAM_OPTIONAL, 16, &status, err);
    if (rc != RC_OK)
        return rc;
    if (service)
        mem_copy_str(query->service, sizeof query->service, service);
    query->by_status = status != NULL;
    if (status && !task_status_from_name(status, &query->status))
        return error_set(err, RC_INVALID_PARAMETER,
                         "status must be ready, waiting, running, finished or failed");
    return RC_OK;
}

static enum rc read_page(const json_t *data, struct query *query, struct error *err) {
    int64_t page = 1;
    query->limit = PAGE_DEFAULT_TASKS;
    enum rc rc = param_int(data, "p_size", 1, PAGE_MAX_TASKS, &query->limit, err);
    if (rc == RC_OK)
        rc = param_int(data, "page", 1, INT32_MAX, &page, err);
    query->skip = (page - 1) * query->limit;
    return rc;
}

/* So many bytes of conditions fit in a page that one of the default size always does. */
static size_t page_max_bytes(const struct config *cfg) {
    size_t largest = PAGE_DEFAULT_TASKS * (size_t)cfg->limits.body_bytes;
    return largest > PAGE_MIN_BYTES ? largest : PAGE_MIN_BYTES;
}

void handle_tasks(struct call *call) {
    struct query *query = query_create(QUERY_LIST);
    struct error err = {.text = ""};
    enum rc rc = query ? read_filter(call->data, query, &err) : RC_NO_MEMORY;
    if (rc == RC_OK)
        rc = read_page(call->data, query, &err);
    if (rc == RC_OK)
        rc = call_refuse_later(call, later, LH_COUNT(later), &err);
    if (rc == RC_OK) {
        query->max_bytes = page_max_bytes(call->api->cfg);
        call_query(call, query, on_answer);
        return;
    }
    query_destroy(query);
    call_reply_rc(call, rc, err.text);
}
