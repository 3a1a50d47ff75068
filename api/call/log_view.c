/* log_view.c: a piece of a log as a reader may see it. */
#include "api/call/log_view.h"

#include "api/call/log_text.h"
#include "base/clock.h"
#include "task/record.h"

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

int64_t log_complete_at(const struct config *cfg, const struct query *query) {
    int64_t ended = ended_at(&query->tasks[0], query->log.attempt);
    return ended > 0 ? ended + cfg->log_wait_ms : 0;
}

/* The run's last word said so: nothing is on its way. */
static bool is_silent(const struct task *task, int64_t attempt) {
    return attempt < task->attempt ? record_is_silent(task->past, attempt) : task->run.silent;
}

static bool is_complete(const struct config *cfg, const struct query *query) {
    int64_t at = log_complete_at(cfg, query);
    return query->log.log.closed || is_silent(&query->tasks[0], query->log.attempt) ||
           (at > 0 && at <= clock_now_ms());
}

static bool is_cut(const struct run_log *log) {
    return log->cut_from < log->cut_to;
}

/* Drops what stands before the last lines, or the rest of a character that was cut. */
static void drop_front(const struct log_wish *wish, struct log_view *view) {
    bool all;
    size_t drop = 0;
    if (wish->offset < 0 && wish->lines > 0)
        drop = log_text_tail(view->bytes, view->len, wish->lines, &all);
    if (drop == 0 && wish->offset < 0 && wish->lines > 0 && view->len == LOG_VIEW_MAX_BYTES)
        drop = log_text_rest(view->bytes, view->len);
    view->bytes += drop;
    view->len -= drop;
    if (drop > 0)
        view->skipped = 0;
}

/* Drops what is not asked for, or cannot be shown yet, from the end. */
static void drop_back(const struct config *cfg, const struct log_wish *wish,
                      const struct query *query, struct log_view *view) {
    const struct store_log *log = &query->log;
    int64_t end = log->at + (int64_t)log->len;
    bool more = is_cut(&log->log) && end == log->log.cut_from ? false
                : end == log->log.end                         ? !is_complete(cfg, query)
                                                              : true;
    if (wish->offset >= 0 && wish->lines > 0) {
        size_t len = log_text_head(view->bytes, view->len, wish->lines);
        more |= len < view->len;
        view->len = len;
    }
    if (more && !wish->raw)
        view->len = log_text_whole(view->bytes, view->len);
}

struct log_view log_view_of(const struct config *cfg, const struct log_wish *wish,
                            const struct query *query) {
    const struct store_log *log = &query->log;
    struct log_view view = {.bytes = log->bytes ? log->bytes : "", .len = log->len};
    if (is_cut(&log->log) && log->at == log->log.cut_to)
        view.skipped = log->at - (wish->offset >= 0 ? wish->offset : log->log.cut_from);
    drop_front(wish, &view);
    drop_back(cfg, wish, query, &view);
    view.next = log->at + (view.bytes - (log->bytes ? log->bytes : view.bytes)) + (int64_t)view.len;
    view.is_end = view.next == log->log.end && is_complete(cfg, query);
    return view;
}
