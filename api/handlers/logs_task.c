/* logs_task.c: POST /api/logs_task: what a run printed, from an offset on or its last lines,
 * waiting for more if asked to. */
#include "api/handlers/handlers.h"

#include "api/call/log_text.h"
#include "api/call/log_view.h"
#include "api/call/params.h"
#include "api/wait/waits.h"
#include "base/base64.h"
#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    BYTES_MIN = 4, /* the longest character */
    BYTES_MAX = LOG_VIEW_MAX_BYTES,
    BYTES_DEFAULT = 64 << 10,
    LINES_MAX = 100000,
    LOGS_MAX_WAIT_S = 60,
    AGAIN_MS = 400, /* where other processes write the log too */
};

struct logs {
    struct call *call;
    char task_id[TASK_TEXT_CAP];
    enum run_stream stream;
    int64_t attempt; /* 0: the latest */
    struct log_wish wish;
    int64_t bytes;
    size_t window; /* bytes to ask the store for */
    int64_t wait_ms;
    struct waiter *waiter; /* NULL: the call does not wait */
    struct event *again;
};

static void logs_free(void *state) {
    struct logs *logs = state;
    if (!logs)
        return;
    waiter_destroy(logs->waiter);
    if (logs->again)
        event_free(logs->again);
    free(logs);
}

/* ---- answers ---- */

static void reply(struct logs *logs, const struct log_view *view) {
    struct buf buf;
    call_buf_init(&buf);
    buf_printf(&buf, "{\"result\":\"ok\",\"%s\":", logs->wish.raw ? "base64" : "text");
    if (logs->wish.raw) {
        buf_char(&buf, '"');
        base64_put(&buf, view->bytes, view->len);
        buf_char(&buf, '"');
    } else {
        buf_json(&buf, view->bytes, view->len);
    }
    buf_printf(&buf, ",\"offset\":%" PRId64 ",\"is_end\":%s", view->next,
               view->is_end ? "true" : "false");
    if (view->skipped > 0)
        buf_printf(&buf, ",\"skipped\":%" PRId64, view->skipped);
    buf_char(&buf, '}');
    call_reply(logs->call, &buf);
}

static void refuse_attempt(struct call *call, const struct task *task) {
    char text[96];
    snprintf(text, sizeof text, "attempt must be an integer from 1 to %" PRId64 ", the latest",
             task->attempt);
    call_reply_rc(call, RC_INVALID_PARAMETER, text);
}

static void refuse_offset(struct call *call, int64_t end) {
    char text[96], more[64];
    snprintf(text, sizeof text, "offset must not be beyond the end of the log, %" PRId64, end);
    snprintf(more, sizeof more, ",\"offset\":%" PRId64, end);
    call_reply_rc_more(call, RC_OFFSET_GAP, text, more);
}

/* ---- asking and waiting ---- */

static void on_answer(struct call *call, struct query *query);

static void ask(struct logs *logs) {
    struct query *query = query_create_for(QUERY_LOG, logs->task_id);
    if (!query) {
        call_reply_rc(logs->call, RC_NO_MEMORY, NULL);
        return;
    }
    query->stream = logs->stream;
    query->attempt = logs->attempt;
    query->log_from = logs->wish.offset >= 0 || logs->wish.lines > 0 ? logs->wish.offset : 0;
    query->max_bytes = logs->window;
    call_query(logs->call, query, on_answer);
}

/* The last lines may begin before the window. */
static bool needs_more(struct logs *logs, const struct query *query) {
    const struct store_log *log = &query->log;
    bool all;
    if (logs->wish.offset >= 0 || logs->wish.lines == 0 || logs->window == BYTES_MAX ||
        log->len < logs->window)
        return false;
    (void)log_text_tail(log->bytes, log->len, logs->wish.lines, &all);
    return all;
}

static void on_again(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct logs *logs = arg;
    waiter_poke(logs->waiter);
}

/* Looks again by itself when the log counts as complete, and where others write it too. */
static bool plan_again(struct logs *logs, const struct query *query) {
    int64_t at = log_complete_at(logs->call->api->cfg, query),
            ms = at > 0 ? at - clock_now_ms() : -1;
    if (api_shares_store(logs->call->api) && (ms < 0 || ms > AGAIN_MS))
        ms = AGAIN_MS;
    if (ms < 0)
        return true;
    struct timeval wait = {ms / 1000, ms % 1000 * 1000};
    return event_add(logs->again, &wait) == 0;
}

static void answer_or_park(struct logs *logs, struct query *query) {
    bool waits = logs->waiter && !waiter_is_over(logs->waiter);
    struct log_view view = log_view_of(logs->call->api->cfg, &logs->wish, query);
    if (logs->waiter)
        (void)waiter_sees(logs->waiter, query->tasks);
    if (waits && view.len == 0 && view.skipped == 0 && !view.is_end && plan_again(logs, query))
        waiter_park(logs->waiter);
    else
        reply(logs, &view);
}

static void on_answer(struct call *call, struct query *query) {
    struct logs *logs = call->state;
    if (query->rc != RC_OK) {
        call_reply_query(call, query);
    } else if (query->n_tasks == 0) {
        call_reply_rc(call, RC_UNKNOWN_TASK, NULL);
    } else if (query->tasks[0].sub == SUB_REMOVED) {
        call_reply_rc(call, RC_TASK_REMOVED, NULL);
    } else if (logs->attempt > query->tasks[0].attempt) {
        refuse_attempt(call, &query->tasks[0]);
    } else if (logs->wish.offset > query->log.log.end) {
        refuse_offset(call, query->log.log.end);
    } else if (needs_more(logs, query)) {
        logs->window = BYTES_MAX;
        ask(logs);
    } else {
        answer_or_park(logs, query);
    }
}

static void look(struct waiter *waiter, const struct task *end, void *arg) {
    (void)waiter, (void)end;
    struct logs *logs = arg;
    event_del(logs->again);
    ask(logs);
}

static enum rc begin_wait(struct logs *logs) {
    char *ids[] = {logs->task_id};
    logs->again = event_new(logs->call->api->base, -1, 0, on_again, logs);
    if (!logs->again)
        return RC_NO_MEMORY;
    enum rc rc = waiter_create(logs->call->api->waits, logs->call, ids, 1, logs->wait_ms, look,
                               logs, &logs->waiter);
    if (rc == RC_OK)
        waiter_read_logs(logs->waiter);
    return rc;
}

/* ---- the request ---- */

static enum rc read_stream(const json_t *data, struct logs *logs, struct error *err) {
    const char *name = NULL;
    enum rc rc = param_string(data, "stream", PARAM_OPTIONAL, 16, &name, err);
    if (rc == RC_OK && name && !run_stream_from_name(name, &logs->stream))
        rc = error_set(err, RC_INVALID_PARAMETER, "stream must be stdout or stderr");
    return rc;
}

static enum rc read_encoding(const json_t *data, struct logs *logs, struct error *err) {
    const char *name = "text";
    enum rc rc = param_string(data, "encoding", PARAM_OPTIONAL, 16, &name, err);
    if (rc != RC_OK)
        return rc;
    logs->wish.raw = strcmp(name, "base64") == 0;
    if (!logs->wish.raw && strcmp(name, "text") != 0)
        return error_set(err, RC_INVALID_PARAMETER, "encoding must be text or base64");
    return RC_OK;
}

static enum rc read_amount(const json_t *data, struct logs *logs, struct error *err) {
    enum rc rc = param_int(data, "bytes", BYTES_MIN, BYTES_MAX, &logs->bytes, err);
    if (rc == RC_OK)
        rc = param_int(data, "lines", 1, LINES_MAX, &logs->wish.lines, err);
    if (rc == RC_OK && logs->bytes > 0 && logs->wish.lines > 0)
        rc = error_set(err, RC_INVALID_PARAMETER, "bytes and lines exclude each other");
    logs->window = (size_t)(logs->bytes > 0 ? logs->bytes : BYTES_DEFAULT);
    if (logs->wish.lines > 0 && logs->wish.offset >= 0)
        logs->window = BYTES_MAX;
    return rc;
}

static enum rc read_call(const struct call *call, struct logs *logs, struct error *err) {
    const json_t *data = call->data;
    logs->wish.offset = -1;
    enum rc rc = param_task_id(data, logs->task_id, err);
    if (rc == RC_OK)
        rc = read_stream(data, logs, err);
    if (rc == RC_OK)
        rc = read_encoding(data, logs, err);
    if (rc == RC_OK)
        rc = param_int(data, "attempt", 1, INT64_MAX, &logs->attempt, err);
    if (rc == RC_OK)
        rc = param_int(data, "offset", 0, INT64_MAX, &logs->wish.offset, err);
    if (rc == RC_OK)
        rc = read_amount(data, logs, err);
    if (rc == RC_OK)
        rc = param_seconds(data, "wait_s", LOGS_MAX_WAIT_S, &logs->wait_ms, err);
    return rc;
}

void handle_logs_task(struct call *call) {
    struct logs *logs = calloc(1, sizeof *logs);
    struct error err = {.text = ""};
    call_keep(call, logs, logs_free);
    if (logs)
        logs->call = call;
    enum rc rc = logs ? read_call(call, logs, &err) : RC_NO_MEMORY;
    if (rc == RC_OK && logs->wait_ms > 0)
        rc = begin_wait(logs);
    if (rc == RC_OK)
        ask(logs);
    else
        call_reply_rc(call, rc, err.text);
}
