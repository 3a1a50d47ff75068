/* watches.c: who watches, and which events there are. */
#include "api/watch/watcher.h"

#include "api/call/task_fields.h"
#include "api/sweep/services.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    RING_EVENTS = 8192,
    RING_BYTES = 4 << 20,
    NAMED_MAX = 200000,      /* namings of tasks by all watchers */
    TEXTS_MAX_BYTES = 32768, /* message and error of an event */
    KEEP_EVENTS_MS = 60000,  /* after the last watcher has gone */
};

/* ---- turns ---- */

static void on_turn(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct watches *watches = arg;
    struct watcher *watcher;
    while ((watcher = TAILQ_FIRST(&watches->dirty))) {
        TAILQ_REMOVE(&watches->dirty, watcher, dirty_link);
        watcher->dirty = false;
        watcher_serve(watcher);
    }
}

void watcher_touch(struct watcher *watcher) {
    if (watcher->dirty || !watcher->req)
        return;
    watcher->dirty = true;
    TAILQ_INSERT_TAIL(&watcher->watches->dirty, watcher, dirty_link);
    event_active(watcher->watches->turn, EV_TIMEOUT, 0);
}

/* ---- events ---- */

static uint64_t status_sight(const struct task *task) {
    const int64_t numbers[] = {task->status, task->sub, task->attempt};
    return hash_add(HASH_NONE, numbers, sizeof numbers);
}

static uint64_t progress_sight(const struct task *task) {
    return hash_add(hash_text(task->progress), &task->attempt, sizeof task->attempt);
}

uint64_t watch_sight(const struct task *task) {
    return task->progress ? status_sight(task) ^ progress_sight(task) : status_sight(task);
}

void watches_put_task(struct watches *watches, const struct task *task, struct buf *to) {
    struct task shown = *task;
    size_t texts = task->error_text ? strlen(task->error_text) : 0;
    for (size_t i = 0; i < TASK_MESSAGES; i++)
        texts += task->message[i] ? strlen(task->message[i]) : 0;
    if (texts > TEXTS_MAX_BYTES) {
        memset(shown.message, 0, sizeof shown.message);
        shown.error_text = NULL;
    }
    buf_clear(to);
    task_fields_put(watches->fields, &shown, services_sub_name(watches->api->services, task), to);
    if (texts > TEXTS_MAX_BYTES && to->len > 0 && buf_rc(to) == RC_OK) {
        to->data[to->len - 1] = ',';
        buf_str(to, "\"truncated\":true}");
    }
    /* Only white space between JSON values can be a line's end. */
    for (size_t i = 0; i < to->len; i++)
        if (to->data[i] == '\n' || to->data[i] == '\r')
            to->data[i] = ' ';
}

void watches_put_gone(const char *task_id, struct buf *to) {
    buf_clear(to);
    buf_str(to, "{\"task_id\":");
    buf_json_str(to, task_id);
    buf_str(to, ",\"service\":null,\"status\":\"Invalid\",\"create_time\":null,\"sub_status\":null,"
                "\"message\":null,\"start_time\":null,\"end_time\":null,\"attempt\":null,"
                "\"worker\":null,\"progress\":null,\"tags\":null,\"error\":null}");
}

static void tell(struct watcher *watcher, const struct watch_event *event) {
    if (!watcher_takes(watcher, event))
        return;
    if (!watcher->dirty && !watcher->behind && !watcher->needs_snapshot)
        watcher->cursor = event->number - 1; /* nothing between was for it */
    watcher_touch(watcher);
}

static void tell_all(struct watches *watches, const struct watch_event *event) {
    const struct watch_task *task = watches_find(watches, event->task_id);
    const struct watch_member *member;
    struct watcher *watcher;
    if (task)
        LIST_FOREACH(member, &task->members, link)
    tell(member->watcher, event);
    if (watches->n_broad > 0)
        TAILQ_FOREACH(watcher, &watches->all, link)
    if (watcher->n_members == 0)
        tell(watcher, event);
}

/* NULL: an event that cannot be told is a gap for all. */
static void add_news(struct watches *watches, const struct watch_news *news) {
    const struct watch_event *event = news ? watch_ring_add(watches->ring, news) : NULL;
    if (event) {
        tell_all(watches, event);
        return;
    }
    struct watcher *watcher;
    watch_ring_clear(watches->ring);
    TAILQ_FOREACH(watcher, &watches->all, link)
    watcher_touch(watcher);
}

static void add_event(struct watches *watches, const struct task *task, enum watch_type type) {
    LH_CLEANUP_BUF struct buf data;
    LH_CLEANUP_BUF struct buf tags;
    buf_init(&data, WATCH_EVENT_MAX_BYTES);
    buf_init(&tags, WATCH_EVENT_MAX_BYTES);
    watches_put_task(watches, task, &data);
    watch_tags_put(task->tags, &tags);
    const struct watch_news news = {
        .type = type,
        .status = status_sight(task),
        .progress = task->progress ? progress_sight(task) : 0,
        .task_id = task->task_id,
        .service = task->service,
        .tags = tags.data,
        .tags_len = tags.len,
        .data = data.data ? data.data : "",
        .data_len = data.len,
    };
    bool ok = buf_rc(&data) == RC_OK && buf_rc(&tags) == RC_OK;
    add_news(watches, ok ? &news : NULL);
}

/* Where no event of the task is at hand: what most probably was new. A run that begins does so at
 * the op's time, or at its claim's, where another clock was ahead. */
static bool is_new_status(const struct task *task, const struct op *op) {
    return !op || op->kind != OP_HEARTBEAT || task->run.started_at >= op->now_ms;
}

static const struct watch_event *newest(const struct watches *watches, const struct task *task,
                                        enum watch_type type) {
    return watch_ring_newest(watches->ring, task->task_id, type);
}

static void touch_tails(const struct watch_task *task) {
    const struct watch_member *member;
    LIST_FOREACH(member, &task->members, link) {
        struct watcher *watcher = member->watcher;
        if (watcher->tails)
            watch_log_touch(watcher, (size_t)(member - watcher->members));
    }
}

void watches_see_gone(struct watches *watches, struct watch_task *task) {
    LH_CLEANUP_BUF struct buf data;
    buf_init(&data, WATCH_EVENT_MAX_BYTES);
    watches_put_gone(task->id, &data);
    task->sight = 0;
    const struct watch_news news = {.type = WATCH_STATUS,
                                    .task_id = task->id,
                                    .service = "",
                                    .data = data.data ? data.data : "",
                                    .data_len = data.len};
    if (buf_rc(&data) == RC_OK)
        add_news(watches, &news);
}

void watches_see(struct watches *watches, const struct task *task, const struct op *op) {
    uint64_t sight = status_sight(task);
    struct watch_task *named = watches_find(watches, task->task_id);
    if (named) {
        if (named->known && task->rev < named->rev && task->sub != SUB_REMOVED)
            return; /* read before what is known */
        named->known = true;
        named->sight = watch_sight(task);
        named->rev = task->rev;
        touch_tails(named);
    }
    const struct watch_event *status = newest(watches, task, WATCH_STATUS);
    const struct watch_event *progress = newest(watches, task, WATCH_PROGRESS);
    if (status ? status->status != sight : is_new_status(task, op)) {
        add_event(watches, task, WATCH_STATUS);
        return;
    }
    if (!progress || (status && status->number > progress->number))
        progress = status;
    if (task->progress && (!progress || progress->progress != progress_sight(task)))
        add_event(watches, task, WATCH_PROGRESS);
}

static bool tells_of_tasks(enum op_kind kind) {
    static const bool tells[OP_KINDS] = {
        [OP_CREATE] = true,    [OP_CLAIM] = true,  [OP_TAKE] = true,          [OP_FINISH] = true,
        [OP_FAIL] = true,      [OP_START] = true,  [OP_EDIT] = true,          [OP_HEARTBEAT] = true,
        [OP_HAND_BACK] = true, [OP_LAPSE] = true,  [OP_CANCEL] = true,        [OP_ALARM] = true,
        [OP_DELIVERED] = true, [OP_REMOVE] = true, [OP_UNDELIVERABLE] = true,
    };
    return tells[kind];
}

void watches_notice(struct watches *watches, const struct op *op) {
    if (!watches->active || op->rc != RC_OK || !tells_of_tasks(op->kind))
        return;
    for (size_t i = 0; i < op->n_tasks; i++) {
        struct task task = op->tasks[i];
        if ((op->task_rc && op->task_rc[i] != RC_OK) || task.duplicate || !task.task_id[0])
            continue;
        if (op->kind == OP_REMOVE)
            task.sub = SUB_REMOVED;
        watches_see(watches, &task, op);
    }
}

void watches_notice_log(struct watches *watches, const char *task_id) {
    const struct watch_task *task = watches->n_named ? watches_find(watches, task_id) : NULL;
    if (task)
        touch_tails(task);
}

/* ---- tasks that are named ---- */

static struct watch_task_list *place_of(struct watches *watches, const char *task_id) {
    return &watches->tasks[hash_text(task_id) % WATCH_PLACES];
}

struct watch_task *watches_find(struct watches *watches, const char *task_id) {
    struct watch_task *task;
    if (watches->n_named > 0)
        LIST_FOREACH(task, place_of(watches, task_id), link)
    if (strcmp(task->id, task_id) == 0)
        return task;
    return NULL;
}

struct watch_task *watches_name(struct watches *watches, const char *task_id) {
    struct watch_task *task = watches_find(watches, task_id);
    if (task || !(task = calloc(1, sizeof *task)))
        return task;
    (void)mem_copy_str(task->id, sizeof task->id, task_id);
    LIST_INIT(&task->members);
    LIST_INSERT_HEAD(place_of(watches, task_id), task, link);
    return task;
}

/* ---- beginning ---- */

static bool run_tick(struct watches *watches) {
    static const struct timeval wait = {WATCH_TICK_MS / 1000, WATCH_TICK_MS % 1000 * 1000};
    return event_pending(watches->tick, EV_TIMEOUT, NULL) || event_add(watches->tick, &wait) == 0;
}

static bool activate(struct watches *watches) {
    if (!watches->ring)
        watches->ring = watch_ring_create(RING_EVENTS, RING_BYTES, watches->last_number);
    if (!watches->ring || !run_tick(watches))
        return false;
    watches->active = true;
    return true;
}

static enum rc admit(struct watches *watches, const struct watch_select *select,
                     struct error *err) {
    int64_t max = watches->api->cfg->limits.watchers;
    if ((int64_t)watches->n >= max)
        return error_set(err, RC_OVERLOADED, "%" PRId64 " watch already (limits.watchers)", max);
    if (select->n_ids > NAMED_MAX - watches->n_named)
        return error_set(err, RC_OVERLOADED, "%d tasks are watched already", NAMED_MAX);
    return activate(watches) ? RC_OK : error_set(err, RC_NO_MEMORY, "out of memory");
}

void watches_begin(struct watches *watches, struct call *call, struct watch_select *select,
                   const char *last_id) {
    struct error err = {.text = ""};
    enum rc rc = admit(watches, select, &err);
    struct watcher *watcher = rc == RC_OK ? watcher_create(watches, call->token, select) : NULL;
    if (watcher) {
        watcher_begin(watcher, call, last_id);
        return;
    }
    watch_select_finish(select);
    call_reply_rc(call, rc == RC_OK ? RC_NO_MEMORY : rc, err.text);
}

/* ---- time ---- */

static void on_tick(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct watches *watches = arg;
    struct watcher *watcher = TAILQ_FIRST(&watches->all);
    int64_t now = clock_mono_ms();
    watches->ticks++;
    for (struct watcher *next; watcher; watcher = next) {
        next = TAILQ_NEXT(watcher, link);
        watcher_tick(watcher, now);
    }
    if (watches->n > 0 && api_shares_store(watches->api))
        watch_poll_run(watches);
    if (watches->n == 0 && now - watches->idle_since >= KEEP_EVENTS_MS) {
        watches->active = false;
        watches->last_number = watch_ring_last(watches->ring);
        watch_ring_destroy(TAKE(watches->ring));
        return;
    }
    (void)run_tick(watches); /* where it cannot, the next watcher tries */
}

void watches_release(struct watches *watches) {
    while (!TAILQ_EMPTY(&watches->all))
        watcher_end(TAILQ_FIRST(&watches->all));
}

/* ---- all of them ---- */

static enum rc choose_fields(struct watches *watches, struct error *err) {
    static const char text[] = "{\"fields\":[\"task_id\",\"service\",\"status\",\"create_time\","
                               "\"sub_status\",\"message\",\"start_time\",\"end_time\",\"attempt\","
                               "\"worker\",\"progress\",\"tags\",\"error\"]}";
    LH_JSON object = NULL;
    enum rc rc = json_read((struct json_span){text, sizeof text - 1}, &object, err);
    return rc == RC_OK ? task_fields_read(object, &watches->fields, err) : rc;
}

enum rc watches_create(struct api *api, struct watches **ret, struct error *err) {
    struct watches *watches = calloc(1, sizeof *watches);
    if (!watches)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    char id[UUID_CAP];
    uuid_make(id);
    watches->api = api;
    (void)mem_copy_str(watches->process, sizeof watches->process, id + UUID_CAP - 13);
    TAILQ_INIT(&watches->all);
    TAILQ_INIT(&watches->dirty);
    buf_init(&watches->out, WATCH_EVENT_MAX_BYTES);
    watches->turn = event_new(api->base, -1, 0, on_turn, watches);
    watches->tick = event_new(api->base, -1, 0, on_tick, watches);
    enum rc rc =
        watches->turn && watches->tick ? watch_poll_create(watches, &watches->poll) : RC_NO_MEMORY;
    rc = rc == RC_OK ? choose_fields(watches, err) : error_set(err, rc, "out of memory");
    if (rc == RC_OK)
        *ret = watches;
    else
        watches_destroy(watches);
    return rc;
}

void watches_destroy(struct watches *watches) {
    if (!watches)
        return;
    watch_ring_destroy(watches->ring);
    watch_poll_destroy(watches->poll);
    if (watches->turn)
        event_free(watches->turn);
    if (watches->tick)
        event_free(watches->tick);
    buf_finish(&watches->out);
    free(watches);
}
