/* logs_task.c: POST /api/logs_task: what a run printed, from an offset on or its last lines,
 * waiting for more if asked to. */
#include "api/handlers/handlers.h"

#include "api/log_text.h"
#include "api/params.h"
#include "api/waits.h"
#include "base/base64.h"
#include "base/clock.h"
#include "base/mem.h"
#include "task/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    BYTES_MIN = 4, /* the longest character */
    BYTES_MAX = 1 << 20,
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
    int64_t offset;  /* negative: none was given */
    int64_t bytes, lines;
    size_t window; /* bytes to ask the store for */
    bool base64;
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

/* ---- what there is to say ---- */

/* A piece of the log as the answer shows it. */
struct view {
    const char *bytes;
    size_t len;
    int64_t next;    /* offset to go on at */
    int64_t skipped; /* bytes before the piece that are not kept */
    bool is_end;
};

/* When the attempt's run ended; 0: it runs, or may. One that the timeline has lost ended before the
 * last one began; a task may end without a run, or be of a program that notes none. */
static int64_t ended_at(const struct task *task, int64_t attempt) {
    bool is_final = task->status == TASK_FINISHED || task->status == TASK_FAILED;
    if (attempt < task->attempt) {
        int64_t at = record_ended_at(task->past, attempt);
        return at > 0 ? at : task->run.claimed_at;
    }
    return task->run.ended_at > 0 ? task->run.ended_at : is_final ? task->end_at : 0;
}

/* When nothing more is waited for; 0: nobody knows yet. */
static int64_t complete_at(const struct logs *logs, const struct query *query) {
    int64_t ended = ended_at(&query->tasks[0], query->log.attempt);
    return ended > 0 ? ended + logs->call->api->cfg->log_wait_ms : 0;
}

/* The run's last word said so: nothing is on its way. */
static bool is_silent(const struct task *task, int64_t attempt) {
    return attempt < task->attempt ? record_is_silent(task->past, attempt) : task->run.silent;
}

static bool is_complete(const struct logs *logs, const struct query *query) {
    int64_t at = complete_at(logs, query);
    return query->log.log.closed || is_silent(&query->tasks[0], query->log.attempt) ||
           (at > 0 && at <= clock_now_ms());
}

static bool is_cut(const struct run_log *log) {
    return log->cut_from < log->cut_to;
}

/* Drops what stands before the last lines, or the rest of a character that was cut. */
static void drop_front(const struct logs *logs, struct view *view) {
    bool all;
    size_t drop = 0;
    if (logs->offset < 0 && logs->lines > 0)
        drop = log_text_tail(view->bytes, view->len, logs->lines, &all);
    if (drop == 0 && logs->offset < 0 && logs->lines > 0 && view->len == BYTES_MAX)
        drop = log_text_rest(view->bytes, view->len);
    view->bytes += drop;
    view->len -= drop;
    if (drop > 0)
        view->skipped = 0;
}

/* Drops what is not asked for, or cannot be shown yet, from the end. */
static void drop_back(const struct logs *logs, const struct query *query, struct view *view) {
    const struct store_log *log = &query->log;
    int64_t end = log->at + (int64_t)log->len;
    bool more = is_cut(&log->log) && end == log->log.cut_from ? false
                : end == log->log.end                         ? !is_complete(logs, query)
                                                              : true;
    if (logs->offset >= 0 && logs->lines > 0) {
        size_t len = log_text_head(view->bytes, view->len, logs->lines);
        more |= len < view->len;
        view->len = len;
    }
    if (more && !logs->base64)
        view->len = log_text_whole(view->bytes, view->len);
}

static struct view view_of(const struct logs *logs, const struct query *query) {
    const struct store_log *log = &query->log;
    struct view view = {.bytes = log->bytes ? log->bytes : "", .len = log->len};
    if (is_cut(&log->log) && log->at == log->log.cut_to)
        view.skipped = log->at - (logs->offset >= 0 ? logs->offset : log->log.cut_from);
    drop_front(logs, &view);
    drop_back(logs, query, &view);
    view.next = log->at + (view.bytes - (log->bytes ? log->bytes : view.bytes)) + (int64_t)view.len;
    view.is_end = view.next == log->log.end && is_complete(logs, query);
    return view;
}

static void reply(struct logs *logs, const struct view *view) {
    struct buf buf;
    call_buf_init(&buf);
    buf_printf(&buf, "{\"result\":\"ok\",\"%s\":", logs->base64 ? "base64" : "text");
    if (logs->base64) {
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
    query->log_from = logs->offset >= 0 || logs->lines > 0 ? logs->offset : 0;
    query->max_bytes = logs->window;
    call_query(logs->call, query, on_answer);
}

/* The last lines may begin before the window. */
static bool needs_more(struct logs *logs, const struct query *query) {
    const struct store_log *log = &query->log;
    bool all;
    if (logs->offset >= 0 || logs->lines == 0 || logs->window == BYTES_MAX ||
        log->len < logs->window)
        return false;
    (void)log_text_tail(log->bytes, log->len, logs->lines, &all);
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
    int64_t at = complete_at(logs, query), ms = at > 0 ? at - clock_now_ms() : -1;
    if (logs->call->api->cfg->store == STORE_MONGODB && (ms < 0 || ms > AGAIN_MS))
        ms = AGAIN_MS;
    if (ms < 0)
        return true;
    struct timeval wait = {ms / 1000, ms % 1000 * 1000};
    return event_add(logs->again, &wait) == 0;
}

static void answer_or_park(struct logs *logs, struct query *query) {
    bool waits = logs->waiter && !waiter_is_over(logs->waiter);
    struct view view = view_of(logs, query);
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
    } else if (logs->attempt > query->tasks[0].attempt) {
        refuse_attempt(call, &query->tasks[0]);
    } else if (logs->offset > query->log.log.end) {
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
    logs->base64 = strcmp(name, "base64") == 0;
    if (!logs->base64 && strcmp(name, "text") != 0)
        return error_set(err, RC_INVALID_PARAMETER, "encoding must be text or base64");
    return RC_OK;
}

static enum rc read_amount(const json_t *data, struct logs *logs, struct error *err) {
    enum rc rc = param_int(data, "bytes", BYTES_MIN, BYTES_MAX, &logs->bytes, err);
    if (rc == RC_OK)
        rc = param_int(data, "lines", 1, LINES_MAX, &logs->lines, err);
    if (rc == RC_OK && logs->bytes > 0 && logs->lines > 0)
        rc = error_set(err, RC_INVALID_PARAMETER, "bytes and lines exclude each other");
    logs->window = (size_t)(logs->bytes > 0 ? logs->bytes : BYTES_DEFAULT);
    if (logs->lines > 0 && logs->offset >= 0)
        logs->window = BYTES_MAX;
    return rc;
}

static enum rc read_call(const struct call *call, struct logs *logs, struct error *err) {
    const json_t *data = call->data;
    logs->offset = -1;
    enum rc rc = param_task_id(data, logs->task_id, err);
    if (rc == RC_OK)
        rc = read_stream(data, logs, err);
    if (rc == RC_OK)
        rc = read_encoding(data, logs, err);
    if (rc == RC_OK)
        rc = param_int(data, "attempt", 1, INT64_MAX, &logs->attempt, err);
    if (rc == RC_OK)
        rc = param_int(data, "offset", 0, INT64_MAX, &logs->offset, err);
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
