/* watcher.c: one who watches: its stream, and how far it has read. */
#include "api/watch/watcher.h"

#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    KEEP_ALIVE_MS = 15000,
    RETRY_MS = 1000, /* until a client connects again */
};

/* ---- ids of events ---- */

static void put_id(const struct watcher *watcher, struct buf *to) {
    buf_printf(to, "%s-%" PRId64, watcher->watches->process, watcher->cursor);
    if (watcher->tails)
        watch_log_put_places(watcher, to);
}

/* Where the client goes on: true where nothing is missing. Places in logs hold for any process. */
static bool read_id(struct watcher *watcher, const char *id) {
    struct watches *watches = watcher->watches;
    size_t len = strlen(watches->process);
    const char *places = strchr(id, ';');
    bool ok = !watcher->tails || (places && watch_log_read_places(watcher, places));
    if (!ok || strncmp(id, watches->process, len) != 0 || id[len] != '-')
        return false;
    char *end;
    int64_t number = strtoll(id + len + 1, &end, 10);
    if (end == id + len + 1 || (*end && *end != ';') ||
        number + 1 < watch_ring_first(watches->ring) || number > watch_ring_last(watches->ring))
        return false;
    watcher->cursor = number;
    return true;
}

/* ---- writing ---- */

bool watcher_has_room(const struct watcher *watcher) {
    size_t max = (size_t)watcher->watches->api->cfg->limits.watch_bytes;
    return watcher->req && http_stream_queued(watcher->req) < max;
}

void watcher_write(struct watcher *watcher, const char *name, const char *data, size_t len,
                   bool with_id) {
    struct buf *out = &watcher->watches->out;
    buf_clear(out);
    buf_str(out, name ? "" : ":\n");
    /* Who went on before the tasks are told as they stand would miss that. */
    if (with_id && !watcher->needs_snapshot) {
        buf_str(out, "id: ");
        put_id(watcher, out);
        buf_char(out, '\n');
    }
    if (name) {
        buf_printf(out, "event: %s\ndata: ", name);
        buf_append(out, data, len);
        buf_char(out, '\n');
    }
    buf_char(out, '\n');
    if (buf_rc(out) == RC_OK)
        http_stream_write(watcher->req, out->data, out->len);
    else
        watcher->gap = "memory";
    watcher->wrote_at = clock_mono_ms();
}

void watcher_hello(struct watcher *watcher) {
    struct watches *watches = watcher->watches;
    bool all = !api_shares_store(watches->api) || watcher->n_members > 0;
    watcher->needs_counts = false;
    char text[160];
    int n = snprintf(text, sizeof text, "retry: %d\n", RETRY_MS);
    http_stream_write(watcher->req, text, (size_t)n);
    n = snprintf(text, sizeof text, "{\"process\":\"%s\",\"resumed\":%s,\"all_processes\":%s}",
                 watches->process, watcher->resumed ? "true" : "false", all ? "true" : "false");
    watcher_write(watcher, "hello", text, (size_t)n, true);
    watcher_touch(watcher);
}

static void write_gap(struct watcher *watcher) {
    char text[64];
    int n = snprintf(text, sizeof text, "{\"reason\":\"%s\"}", watcher->gap);
    watcher->gap = NULL;
    watcher_write(watcher, "gap", text, (size_t)n, true);
}

/* ---- reading ---- */

static bool names(const struct watcher *watcher, const char *task_id) {
    const struct watch_task *task = watches_find(watcher->watches, task_id);
    const struct watch_member *member;
    if (task)
        LIST_FOREACH(member, &task->members, link)
    if (member->watcher == watcher)
        return true;
    return false;
}

bool watcher_allows(const struct watcher *watcher, const char *service) {
    return task_access_allows(token_access(watcher->token), service);
}

bool watcher_takes(const struct watcher *watcher, const struct watch_event *event) {
    return watch_select_takes(&watcher->select, event) &&
           (!event->service[0] || watcher_allows(watcher, event->service));
}

static bool takes(const struct watcher *watcher, const struct watch_event *event) {
    return watcher_takes(watcher, event) &&
           (watcher->n_members == 0 || names(watcher, event->task_id));
}

static void read_ring(struct watcher *watcher) {
    const struct watch_ring *ring = watcher->watches->ring;
    int64_t last = watch_ring_last(ring), first = watch_ring_first(ring);
    if (watcher->cursor + 1 < first) {
        watcher->gap = "slow";
        watcher->cursor = first - 1;
    }
    if (watcher->gap)
        write_gap(watcher);
    while (watcher->cursor < last && watcher_has_room(watcher)) {
        const struct watch_event *event = watch_ring_at(ring, ++watcher->cursor);
        if (takes(watcher, event) && !(watcher->behind && event->superseded))
            watcher_write(watcher, watch_type_name(event->type), event->data, event->data_len,
                          true);
    }
    watcher->behind = watcher->cursor < last;
}

void watcher_serve(struct watcher *watcher) {
    if (watcher->needs_counts)
        return;
    if (!watcher_has_room(watcher)) {
        watcher->behind = true;
        return;
    }
    if (watcher->gap)
        write_gap(watcher);
    if (watcher->needs_snapshot) {
        if (!watcher->has_snapshot_out)
            watcher_read_tasks(watcher);
        return;
    }
    read_ring(watcher);
    if (watcher->tails)
        watch_log_go(watcher);
}

static bool join(struct watcher *watcher, const char *task_id) {
    struct watch_task *task = watches_name(watcher->watches, task_id);
    if (!task)
        return false;
    struct watch_member *member = &watcher->members[watcher->n_members++];
    *member = (struct watch_member){.watcher = watcher, .task = task};
    LIST_INSERT_HEAD(&task->members, member, link);
    watcher->watches->n_named++;
    return true;
}

static void leave(struct watch_member *member) {
    LIST_REMOVE(member, link);
    member->watcher->watches->n_named--;
    if (!LIST_EMPTY(&member->task->members))
        return;
    LIST_REMOVE(member->task, link);
    free(member->task);
}

/* ---- watchers ---- */

void watcher_stop(struct watcher *watcher) {
    struct watches *watches = watcher->watches;
    watcher->req = NULL;
    if (watcher->dirty)
        TAILQ_REMOVE(&watches->dirty, watcher, dirty_link);
    watcher->dirty = false;
    TAILQ_REMOVE(&watches->all, watcher, link);
    watches->n--;
    watches->n_broad -= watcher->select.n_ids == 0;
    for (size_t i = 0; i < watcher->n_members; i++)
        leave(&watcher->members[i]);
    watcher->n_members = 0;
    if (watches->n == 0)
        watches->idle_since = clock_mono_ms();
    watcher_release(watcher);
}

void watcher_release(struct watcher *watcher) {
    if (watcher->req || watcher->has_snapshot_out || watcher->has_log_out)
        return;
    token_drop(watcher->token);
    watch_select_finish(&watcher->select);
    free(watcher->members);
    free(watcher->tails);
    free(watcher);
}

static void on_drained(void *arg) {
    struct watcher *watcher = arg;
    if (watcher->behind || watcher->tails || watcher->needs_snapshot)
        watcher_touch(watcher);
}

static void on_gone(void *arg) {
    watcher_stop(arg);
}

struct watcher *watcher_create(struct watches *watches, struct token *token,
                               struct watch_select *select) {
    struct watcher *watcher = calloc(1, sizeof *watcher);
    if (!watcher) {
        watch_select_finish(select);
        return NULL;
    }
    watcher->watches = watches;
    watcher->token = token;
    token_hold(token);
    watcher->select = *select;
    *select = (struct watch_select){0};
    TAILQ_INSERT_TAIL(&watches->all, watcher, link);
    watches->n++;
    watches->n_broad += watcher->select.n_ids == 0;
    watcher->members = calloc(watcher->select.n_ids + 1, sizeof *watcher->members);
    bool ok = watcher->members != NULL;
    for (size_t i = 0; ok && i < watcher->select.n_ids; i++)
        ok = join(watcher, watcher->select.ids[i]);
    if (ok && watcher->select.types & 1u << WATCH_LOG)
        ok = watch_log_begin(watcher);
    if (ok)
        return watcher;
    watcher_stop(watcher);
    return NULL;
}

void watcher_begin(struct watcher *watcher, struct call *call, const char *last_id) {
    static const struct http_stream hooks = {on_drained, on_gone};
    static const struct http_header headers[] = {{"Cache-Control", "no-store"},
                                                 {"X-Accel-Buffering", "no"}};
    const struct http_reply head = {.status = 200,
                                    .content_type = "text/event-stream",
                                    .headers = headers,
                                    .n_headers = LH_COUNT(headers)};
    struct watches *watches = watcher->watches;
    watcher->cursor = watch_ring_last(watches->ring);
    bool shared = api_shares_store(watches->api);
    watcher->resumed = last_id && read_id(watcher, last_id);
    if (last_id && !watcher->resumed)
        watcher->gap = "unknown id";
    watcher->needs_snapshot = watcher->n_members > 0 && (shared || !watcher->resumed);
    watcher->behind = watcher->resumed;
    watcher->req = call_stream(call, &head, &hooks, watcher);
    watcher->needs_counts = watcher->n_members == 0 && shared && !watch_poll_counts(watches);
    if (!watcher->needs_counts)
        watcher_hello(watcher);
}

void watcher_end(struct watcher *watcher) {
    http_stream_end(watcher->req);
    watcher_stop(watcher);
}

void watcher_tick(struct watcher *watcher, int64_t now) {
    if (token_expired(watcher->token)) {
        watcher_end(watcher);
        return;
    }
    if (watcher->needs_counts)
        return;
    if (!watcher->dirty && !watcher->behind && !watcher->needs_snapshot)
        watcher->cursor = watch_ring_last(watcher->watches->ring);
    if (watcher->needs_snapshot && !watcher->has_snapshot_out)
        watcher_touch(watcher);
    if (watcher->tails)
        watch_log_tick(watcher, now);
    if (now - watcher->wrote_at >= KEEP_ALIVE_MS && watcher_has_room(watcher))
        watcher_write(watcher, NULL, NULL, 0, true);
}
