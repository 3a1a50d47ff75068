/* poll.c: what watchers learn from the store: how the tasks stand that they name, and over a
 * store that other processes write too what those have changed.
 *
 * Tasks that are named are looked at every WATCH_TICK_MS, so a change by another process is an
 * event like one of our own. What concerns a selection of services or tags cannot be asked for:
 * there the counts of tasks are looked at once a second, and where those of a watched service have
 * changed its watchers are told of a gap, whoever has changed them.
 */
#include "api/watch/watcher.h"

#include "base/mem.h"

#include <string.h>

enum { SNAPSHOT_IDS = 100, ASK_IDS = 1000, COUNT_TICKS = 1000 / WATCH_TICK_MS + 1 };

struct watch_poll {
    struct watches *watches;
    size_t asking; /* queries about named tasks that are out */
    bool counting;
    struct store_count *counts; /* as they were at the last look */
    size_t n_counts;
    bool has_counts;
    bool blind; /* a hello was said without counts: the next ones are a change */
};

enum rc watch_poll_create(struct watches *watches, struct watch_poll **ret) {
    struct watch_poll *poll = calloc(1, sizeof *poll);
    if (!poll)
        return RC_NO_MEMORY;
    poll->watches = watches;
    *ret = poll;
    return RC_OK;
}

void watch_poll_destroy(struct watch_poll *poll) {
    if (!poll)
        return;
    free(poll->counts);
    free(poll);
}

static struct query *ids_query(size_t max) {
    struct query *query = query_create(QUERY_BY_ID);
    if (query && !(query->ids = calloc(max, sizeof *query->ids)))
        query_destroy(TAKE(query));
    return query;
}

static bool add_id(struct query *query, const char *id) {
    char *copy = strdup(id);
    if (copy)
        query->ids[query->n_ids++] = copy;
    return copy != NULL;
}

/* ---- how the tasks of a watcher stand ---- */

static void note(struct watches *watches, struct watch_task *named, const struct task *task) {
    if (named->known && task->task_id[0] && task->rev > named->rev) {
        watches_see(watches, task, NULL); /* others are told of it too */
    } else if (!named->known) {
        named->known = true;
        named->sight = task->task_id[0] ? watch_sight(task) : 0;
        named->rev = task->rev;
    }
}

/* As an event without a number: the client goes on where it was. */
static void tell(struct watcher *watcher, const char *id, const struct task *task) {
    struct watches *watches = watcher->watches;
    LH_CLEANUP_BUF struct buf data;
    LH_CLEANUP_BUF struct buf tags;
    buf_init(&data, WATCH_EVENT_MAX_BYTES);
    buf_init(&tags, WATCH_EVENT_MAX_BYTES);
    bool there = task->task_id[0] && watcher_allows(watcher, task->service);
    if (there)
        watches_put_task(watches, task, &data);
    else
        watches_put_gone(id, &data);
    if (there)
        watch_tags_put(task->tags, &tags);
    buf_char(&tags, '\0');
    bool ok = buf_rc(&data) == RC_OK && buf_rc(&tags) == RC_OK;
    const struct watch_event event = {
        .type = WATCH_STATUS, .service = there ? task->service : "", .tags = ok ? tags.data : ""};
    if (!ok)
        watcher->gap = "memory";
    else if (watcher_takes(watcher, &event))
        watcher_write(watcher, "status", data.data, data.len, false);
}

static void on_read(struct query *query, void *arg) {
    struct watcher *watcher = arg;
    watcher->has_snapshot_out = false;
    if (!watcher->req) {
        watcher_release(watcher);
        return;
    }
    if (query->rc != RC_OK)
        return; /* the next tick asks again */
    for (size_t i = 0; i < query->n_ids && watcher_has_room(watcher); i++) {
        note(watcher->watches, watcher->members[watcher->snapshot_at++].task, &query->tasks[i]);
        tell(watcher, query->ids[i], &query->tasks[i]);
    }
    watcher->needs_snapshot = watcher->snapshot_at < watcher->n_members;
    if (!watcher->needs_snapshot)
        watcher_write(watcher, NULL, NULL, 0, true); /* from here on the client can go on */
    watcher_touch(watcher);
}

void watcher_read_tasks(struct watcher *watcher) {
    struct query *query = ids_query(SNAPSHOT_IDS);
    bool ok = query != NULL;
    for (size_t i = watcher->snapshot_at; ok && i < watcher->n_members; i++)
        if (query->n_ids < SNAPSHOT_IDS)
            ok = add_id(query, watcher->members[i].task->id);
    if (!ok)
        query_destroy(query);
    else
        watcher->has_snapshot_out =
            executor_query(watcher->watches->api->executor, query, on_read, watcher) == RC_OK;
}

/* ---- what others have changed of named tasks ---- */

/* Takes the query. */
static void ask(struct watch_poll *poll, struct query *query, query_done *done) {
    if (executor_query(poll->watches->api->executor, query, done, poll) == RC_OK)
        poll->asking++;
}

static void on_changed(struct query *query, void *arg) {
    struct watch_poll *poll = arg;
    poll->asking--;
    for (size_t i = 0; query->rc == RC_OK && i < query->n_ids; i++) {
        struct watch_task *named = watches_find(poll->watches, query->ids[i]);
        const struct task *task = &query->tasks[i];
        if (!named || !named->known)
            continue;
        if (!task->task_id[0] && named->sight != 0)
            watches_see_gone(poll->watches, named);
        else if (task->task_id[0] && watch_sight(task) != named->sight)
            watches_see(poll->watches, task, NULL);
    }
}

static void on_looked(struct query *query, void *arg) {
    struct watch_poll *poll = arg;
    struct query *changed = NULL;
    poll->asking--;
    for (size_t i = 0; query->rc == RC_OK && i < query->n_ids; i++) {
        const struct watch_task *named = watches_find(poll->watches, query->ids[i]);
        const struct task *task = &query->tasks[i];
        uint64_t sight = task->task_id[0] ? watch_sight(task) : 0;
        if (!named || !named->known || named->sight == sight)
            continue;
        if (!changed && !(changed = ids_query(query->n_ids)))
            return;
        if (!add_id(changed, query->ids[i]))
            break; /* the next look finds it again */
    }
    if (changed)
        ask(poll, changed, on_changed);
}

static void look_at_named(struct watch_poll *poll) {
    struct query *query = NULL;
    for (size_t i = 0; i < WATCH_PLACES; i++) {
        const struct watch_task *named;
        LIST_FOREACH(named, &poll->watches->tasks[i], link) {
            if (!query && !(query = ids_query(ASK_IDS)))
                return;
            query->brief = true;
            if (add_id(query, named->id) && query->n_ids == ASK_IDS)
                ask(poll, TAKE(query), on_looked);
        }
    }
    if (query)
        ask(poll, query, on_looked);
}

/* ---- that others have changed something ---- */

static void tell_of_service(struct watches *watches, const char *service) {
    struct watcher *watcher;
    TAILQ_FOREACH(watcher, &watches->all, link)
    if (watcher->n_members == 0 && watch_select_has_service(&watcher->select, service) &&
        watcher_allows(watcher, service)) {
        watcher->gap = "counts";
        watcher_touch(watcher);
    }
}

/* To those who have waited for the counts. */
static void say_hello(struct watch_poll *poll, bool counted) {
    struct watcher *watcher = TAILQ_FIRST(&poll->watches->all);
    for (struct watcher *next; watcher; watcher = next) {
        next = TAILQ_NEXT(watcher, link);
        if (!watcher->needs_counts)
            continue;
        poll->blind |= !counted;
        watcher_hello(watcher);
    }
}

static void on_counted(struct query *query, void *arg) {
    struct watch_poll *poll = arg;
    poll->counting = false;
    say_hello(poll, query->rc == RC_OK);
    if (query->rc != RC_OK)
        return;
    for (size_t i = 0; (poll->has_counts || poll->blind) && i < query->n_counts; i++) {
        const struct store_count *now = &query->counts[i];
        const struct store_count *was =
            store_count_find(poll->counts, poll->n_counts, now->service);
        if (!was || memcmp(was->by_status, now->by_status, sizeof now->by_status) != 0)
            tell_of_service(poll->watches, now->service);
    }
    free(poll->counts);
    poll->counts = TAKE(query->counts);
    poll->n_counts = query->n_counts;
    poll->has_counts = true;
    poll->blind = false;
    query->n_counts = 0;
}

static void count(struct watch_poll *poll) {
    struct query *query = query_create(QUERY_COUNTS);
    poll->counting =
        query && executor_query(poll->watches->api->executor, query, on_counted, poll) == RC_OK;
}

void watch_poll_run(struct watches *watches) {
    struct watch_poll *poll = watches->poll;
    if (watches->n_named > 0 && poll->asking == 0)
        look_at_named(poll);
    if (watches->n_broad == 0)
        poll->has_counts = poll->blind = false;
    else if (!poll->counting && watches->ticks % COUNT_TICKS == 0)
        count(poll);
}

bool watch_poll_counts(struct watches *watches) {
    struct watch_poll *poll = watches->poll;
    if (!poll->has_counts && !poll->counting)
        count(poll);
    poll->blind |= !poll->has_counts && !poll->counting;
    return poll->has_counts || !poll->counting;
}
