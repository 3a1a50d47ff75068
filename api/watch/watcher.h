/* watcher.h: one who watches, and what all of them share; private to api/watch*.c. */
#ifndef LH_API_WATCHER_H
#define LH_API_WATCHER_H

#include "api/call/task_fields.h"
#include "api/watch/watches.h"

/* A log that a watcher follows, attempt after attempt. */
struct watch_tail {
    enum run_stream stream;
    int64_t attempt;  /* 0: the latest, as soon as there is one */
    int64_t offset;   /* to go on at; negative: as tail_bytes says */
    int64_t again_at; /* clock_mono_ms(): look again; 0: when something happens */
    bool wants;       /* there may be something to read */
    bool from_middle; /* its first piece may begin within a character */
    bool told_end;
};

/* A task that is named by watchers, once however many they are. */
struct watch_task {
    LIST_ENTRY(watch_task) link;
    LIST_HEAD(, watch_member) members;
    bool known; /* the two below have been read */
    uint64_t sight;
    int64_t rev;
    char id[TASK_TEXT_CAP];
};

/* A watcher's naming of a task. */
struct watch_member {
    LIST_ENTRY(watch_member) link;
    struct watcher *watcher;
    struct watch_task *task;
};

struct watcher {
    TAILQ_ENTRY(watcher) link;
    TAILQ_ENTRY(watcher) dirty_link;
    struct watches *watches;
    struct http_req *req; /* NULL: the stream has ended */
    struct token *token;  /* held; tasks that are not for it do not exist */
    struct watch_select select;
    int64_t cursor;      /* number of the last event that it is beyond */
    const char *gap;     /* why it has to be told of one; NULL: it need not */
    int64_t wrote_at;    /* clock_mono_ms() */
    bool dirty;          /* in the list of those who have something to read */
    bool behind;         /* its connection was full before it had read all */
    bool resumed;        /* it goes on where the client was */
    bool needs_counts;   /* the counts that others' changes are seen by: before its hello */
    bool needs_snapshot; /* the tasks that it names are to be read before any event */
    size_t snapshot_at;  /* of its ids, the next to be read */
    bool has_snapshot_out, has_log_out;
    size_t n_members;
    struct watch_member *members; /* in the order of its ids */
    struct watch_tail *tails;     /* RUN_STREAMS of each id, or NULL: it follows no logs */
    size_t next_tail;             /* whose turn it is to be read */
};

TAILQ_HEAD(watcher_list, watcher);
LIST_HEAD(watch_task_list, watch_task);

enum { WATCH_PLACES = 4096, WATCH_PROCESS_CAP = 20, WATCH_TICK_MS = 400 };
enum { WATCH_EVENT_MAX_BYTES = 8 << 20 }; /* one with a piece of a log */

struct watches {
    struct api *api;
    char process[WATCH_PROCESS_CAP]; /* names this process' numbers */
    task_fields fields;              /* of an event */
    struct watch_ring *ring;         /* NULL while not active */
    int64_t last_number;             /* of the ring before, where there is none */
    bool active;                     /* events are kept: there is a ring */
    int64_t idle_since;              /* clock_mono_ms(), while active without watchers */
    struct watcher_list all, dirty;
    size_t n, n_broad, n_named; /* watchers; those that name no task; namings of tasks */
    struct watch_task_list tasks[WATCH_PLACES];
    struct event *turn; /* serves the dirty ones */
    struct event *tick; /* runs while active */
    unsigned ticks;
    struct buf out; /* scratch: an event */
    struct watch_poll *poll;
};

/* ---- watches.c */

/* The watcher has something to read: it is served at the end of the loop's turn. */
void watcher_touch(struct watcher *watcher);

struct watch_task *watches_find(struct watches *watches, const char *task_id);

/* The same, made where there is none; NULL: out of memory. */
struct watch_task *watches_name(struct watches *watches, const char *task_id);

/* The task as a read or an op found it. op NULL: it was read. */
void watches_see(struct watches *watches, const struct task *task, const struct op *op);

/* A task that was known is in the store no more. */
void watches_see_gone(struct watches *watches, struct watch_task *task);

/* What counts as a change. */
uint64_t watch_sight(const struct task *task);

/* The JSON of a status or progress event; `to` is cleared first. */
void watches_put_task(struct watches *watches, const struct task *task, struct buf *to);
void watches_put_gone(const char *task_id, struct buf *to);

/* ---- watcher.c */

/* In the list of all from now on. Takes what *select owns. NULL: out of memory. */
struct watcher *watcher_create(struct watches *watches, struct token *token,
                               struct watch_select *select) LH_MUST_USE;

/* Begins its stream, as the answer of the call. */
void watcher_begin(struct watcher *watcher, struct call *call, const char *last_id);

/* Its first event, and with it all others: from here on it misses nothing. */
void watcher_hello(struct watcher *watcher);

/* Writes what it has to read, as far as there is room. */
void watcher_serve(struct watcher *watcher);

/* What its token may see of what it has selected, but for the ids. */
bool watcher_takes(const struct watcher *watcher, const struct watch_event *event);

/* True where tasks of the service are there for its token. */
bool watcher_allows(const struct watcher *watcher, const char *service);

/* Every WATCH_TICK_MS. now: clock_mono_ms() */
void watcher_tick(struct watcher *watcher, int64_t now);

/* Ends its stream, and stops it. */
void watcher_end(struct watcher *watcher);

/* It hears nothing any more; it is freed when no query is out. */
void watcher_stop(struct watcher *watcher);

bool watcher_has_room(const struct watcher *watcher);

/* Writes an event; name NULL: only the id and a comment. with_id: the client goes on behind it. */
void watcher_write(struct watcher *watcher, const char *name, const char *data, size_t len,
                   bool with_id);

/* Frees it, once its stream has ended and no query is out. */
void watcher_release(struct watcher *watcher);

/* ---- poll.c */

enum rc watch_poll_create(struct watches *watches, struct watch_poll **ret) LH_MUST_USE;
void watch_poll_destroy(struct watch_poll *poll);

/* Reads the tasks that the watcher names. */
void watcher_read_tasks(struct watcher *watcher);

/* Looks for what other processes have done. */
void watch_poll_run(struct watches *watches);

/* True where changes of other processes are seen from now on; else watcher_hello() follows for all
 * that need it, when the store has answered or cannot. */
bool watch_poll_counts(struct watches *watches);

/* ---- log.c */

/* Tails of the watcher's tasks. False when out of memory. */
bool watch_log_begin(struct watcher *watcher) LH_MUST_USE;

/* Reads on where a tail wants to and the connection has room. */
void watch_log_go(struct watcher *watcher);

/* Something may be new in the logs of the i-th task. */
void watch_log_touch(struct watcher *watcher, size_t i);

/* Tails whose time has come want to be read. */
void watch_log_tick(struct watcher *watcher, int64_t now);

/* ;ATTEMPT.OFFSET.ATTEMPT.OFFSET of each task, and back again: false where the text is none. */
void watch_log_put_places(const struct watcher *watcher, struct buf *to);
bool watch_log_read_places(struct watcher *watcher, const char *text);

#endif
