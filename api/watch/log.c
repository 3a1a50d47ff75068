/* log.c: the logs of a watcher's tasks, attempt after attempt.
 *
 * Bytes are read from the store when there is room for them, so a slow reader holds nothing up and
 * loses nothing. A watcher has one read under way.
 */
#include "api/watch/watcher.h"

#include "api/call/log_text.h"
#include "api/call/log_view.h"
#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

enum { PIECE_BYTES = 32768, FAULT_AGAIN_MS = 1000, PROBE_BYTES = 4 };

static size_t n_tails(const struct watcher *watcher) {
    return watcher->n_members * RUN_STREAMS;
}

bool watch_log_begin(struct watcher *watcher) {
    watcher->tails = calloc(n_tails(watcher) + 1, sizeof *watcher->tails);
    for (size_t i = 0; watcher->tails && i < n_tails(watcher); i++)
        watcher->tails[i] = (struct watch_tail){.stream = (enum run_stream)(i % RUN_STREAMS),
                                                .offset = watcher->select.tail_bytes < 0 ? 0 : -1,
                                                .wants = true};
    return watcher->tails != NULL;
}

/* ---- places ---- */

void watch_log_put_places(const struct watcher *watcher, struct buf *to) {
    for (size_t i = 0; i < n_tails(watcher); i++)
        buf_printf(to, "%c%" PRId64 ".%" PRId64, i % RUN_STREAMS == 0 ? ';' : '.',
                   watcher->tails[i].attempt, watcher->tails[i].offset);
}

static bool read_number(const char **at, char before, int64_t *ret) {
    char *end;
    if (**at != before)
        return false;
    long long value = strtoll(*at + 1, &end, 10);
    if (end == *at + 1 || value < -1)
        return false;
    *at = end;
    *ret = value;
    return true;
}

bool watch_log_read_places(struct watcher *watcher, const char *text) {
    for (size_t i = 0; i < n_tails(watcher); i++) {
        struct watch_tail *tail = &watcher->tails[i];
        int64_t attempt, offset;
        if (!read_number(&text, i % RUN_STREAMS == 0 ? ';' : '.', &attempt) ||
            !read_number(&text, '.', &offset) || attempt < 0)
            return false;
        tail->attempt = attempt;
        tail->offset = offset;
    }
    return *text == '\0';
}

/* ---- reading ---- */

static void write_piece(struct watcher *watcher, const struct watch_tail *tail,
                        const struct log_view *view, const char *task_id) {
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, WATCH_EVENT_MAX_BYTES);
    buf_str(&buf, "{\"task_id\":");
    buf_json_str(&buf, task_id);
    buf_printf(&buf, ",\"attempt\":%" PRId64 ",\"stream\":\"%s\",\"offset\":%" PRId64 ",\"text\":",
               tail->attempt, run_stream_name(tail->stream), view->next);
    buf_json(&buf, view->bytes, view->len);
    buf_printf(&buf, ",\"is_end\":%s", view->is_end ? "true" : "false");
    if (view->skipped > 0)
        buf_printf(&buf, ",\"skipped\":%" PRId64, view->skipped);
    buf_char(&buf, '}');
    if (buf_rc(&buf) == RC_OK)
        watcher_write(watcher, "log", buf.data, buf.len, true);
    else
        watcher->gap = "memory";
}

/* Looks again by itself when the log counts as complete, and where others write it too. */
static void plan_again(const struct watcher *watcher, struct watch_tail *tail,
                       const struct query *query) {
    const struct api *api = watcher->watches->api;
    int64_t at = log_complete_at(api->cfg, query), ms = at > 0 ? at - clock_now_ms() : -1;
    if (api_shares_store(api) && (ms < 0 || ms > WATCH_TICK_MS))
        ms = WATCH_TICK_MS;
    tail->again_at = ms < 0 ? 0 : clock_mono_ms() + ms;
}

/* The first look at a log of which only the end is wanted: where that begins. */
static void find_beginning(struct watcher *watcher, struct watch_tail *tail, int64_t end) {
    int64_t bytes = watcher->select.tail_bytes;
    tail->offset = end > bytes ? end - bytes : 0;
    tail->from_middle = tail->offset > 0;
    tail->wants = true;
}

static void drop_rest_of_character(struct watch_tail *tail, struct log_view *view) {
    size_t rest = tail->from_middle ? log_text_rest(view->bytes, view->len) : 0;
    tail->from_middle = tail->from_middle && view->len == 0;
    view->bytes += rest;
    view->len -= rest;
}

static void read_piece(struct watcher *watcher, struct watch_tail *tail,
                       const struct query *query) {
    const struct log_wish wish = {.offset = tail->offset};
    const char *id = query->tasks[0].task_id;
    struct log_view view = log_view_of(watcher->watches->api->cfg, &wish, query);
    bool moves = view.next > tail->offset, news = moves || (view.is_end && !tail->told_end);
    drop_rest_of_character(tail, &view);
    tail->offset = view.next;
    tail->told_end = view.is_end;
    if (news)
        write_piece(watcher, tail, &view, id);
    if (view.is_end && query->tasks[0].attempt > tail->attempt)
        *tail = (struct watch_tail){
            .stream = tail->stream, .attempt = tail->attempt + 1, .wants = true};
    else if (moves)
        tail->wants = true;
    else if (!view.is_end || api_shares_store(watcher->watches->api))
        plan_again(watcher, tail, query);
}

static void take_answer(struct watcher *watcher, struct watch_tail *tail,
                        const struct query *query) {
    const struct store_log *log = &query->log;
    if (query->rc != RC_OK) {
        tail->again_at = clock_mono_ms() + FAULT_AGAIN_MS;
    } else if (query->n_tasks == 0 || log->attempt == 0 ||
               !watcher_allows(watcher, query->tasks[0].service)) {
        if (api_shares_store(watcher->watches->api))
            tail->again_at = clock_mono_ms() + WATCH_TICK_MS;
    } else if (tail->attempt > query->tasks[0].attempt || tail->offset > log->log.end) {
        watcher->gap = "unknown id"; /* no place that we have named: begins anew */
        *tail = (struct watch_tail){.stream = tail->stream, .wants = true};
        watcher_touch(watcher);
    } else {
        tail->attempt = log->attempt;
        if (tail->offset < 0)
            find_beginning(watcher, tail, log->log.end);
        else
            read_piece(watcher, tail, query);
    }
}

static void on_answer(struct query *query, void *arg) {
    struct watcher *watcher = arg;
    watcher->has_log_out = false;
    if (!watcher->req) {
        watcher_release(watcher);
        return;
    }
    take_answer(watcher, &watcher->tails[watcher->next_tail], query);
    watcher->next_tail++;
    watcher_touch(watcher);
}

static bool ask(struct watcher *watcher, const struct watch_tail *tail, const char *task_id) {
    struct query *query = query_create_for(QUERY_LOG, task_id);
    if (!query)
        return false;
    query->stream = tail->stream;
    query->attempt = tail->attempt;
    query->log_from = tail->offset;
    query->max_bytes = tail->offset < 0 ? PROBE_BYTES : PIECE_BYTES;
    return executor_query(watcher->watches->api->executor, query, on_answer, watcher) == RC_OK;
}

void watch_log_go(struct watcher *watcher) {
    size_t n = n_tails(watcher);
    if (watcher->has_log_out || !watcher_has_room(watcher))
        return;
    for (size_t i = 0; i < n; i++) {
        size_t at = (watcher->next_tail + i) % n;
        struct watch_tail *tail = &watcher->tails[at];
        if (!tail->wants)
            continue;
        watcher->next_tail = at;
        watcher->has_log_out = ask(watcher, tail, watcher->members[at / RUN_STREAMS].task->id);
        tail->wants = false;
        tail->again_at = watcher->has_log_out ? 0 : clock_mono_ms() + FAULT_AGAIN_MS;
        return;
    }
}

void watch_log_touch(struct watcher *watcher, size_t i) {
    for (size_t k = 0; k < RUN_STREAMS; k++)
        watcher->tails[i * RUN_STREAMS + k].wants = true;
    watcher_touch(watcher);
}

void watch_log_tick(struct watcher *watcher, int64_t now) {
    for (size_t i = 0; i < n_tails(watcher); i++) {
        struct watch_tail *tail = &watcher->tails[i];
        if (tail->again_at == 0 || now < tail->again_at)
            continue;
        tail->again_at = 0;
        tail->wants = true;
        watcher_touch(watcher);
    }
}
