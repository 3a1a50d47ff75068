/* waits.c: calls that wait until something happens to tasks. */
#include "api/wait/waits.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"

#include <string.h>
#include <sys/queue.h>

enum {
    TICK_MS = 400,
    PLACES = 4096, /* of the table of watches */
    WATCHED_MAX = 200000,
    ASK_MAX_IDS = 1000,
    GONE_SHARE = 4, /* of the waiters' clients, how many are looked at in one tick: 1/4 */
};

/* One task that a waiter watches. */
struct watch {
    LIST_ENTRY(watch) link;
    struct waiter *waiter;
    uint64_t seen; /* what the caller saw last, as a number */
    char *task_id;
};

LIST_HEAD(watch_list, watch);
TAILQ_HEAD(waiter_list, waiter);

struct waiter {
    TAILQ_ENTRY(waiter) link; /* while parked */
    struct waits *waits;
    struct call *call;
    waiter_look *look;
    void *arg;
    int64_t until_ms; /* clock_mono_ms() */
    struct event *expire;
    bool parked, woken, over, has_seen, reads_logs;
    size_t n;
    struct watch watches[];
};

struct waits {
    struct api *api;
    struct waiter_list parked; /* whose client was looked at longest ago first */
    size_t n_parked, n_watched;
    struct event *tick; /* runs while somebody is parked */
    size_t asking;      /* queries that are out */
    struct watch_list places[PLACES];
};

/* ---- what counts as a change ---- */

static uint64_t sight_of(const struct task *task) {
    if (!task->task_id[0])
        return 0;
    const int64_t numbers[] = {task->status, task->sub, task->attempt};
    return hash_add(hash_text(task->progress ? task->progress : ""), numbers, sizeof numbers);
}

/* ---- watches ---- */

static struct watch_list *place_of(struct waits *waits, const char *task_id) {
    return &waits->places[hash_text(task_id) % PLACES];
}

static bool watch_begin(struct waiter *waiter, const char *task_id) {
    struct watch *watch = &waiter->watches[waiter->n];
    *watch = (struct watch){.waiter = waiter, .task_id = strdup(task_id)};
    if (!watch->task_id)
        return false;
    LIST_INSERT_HEAD(place_of(waiter->waits, task_id), watch, link);
    waiter->n++;
    waiter->waits->n_watched++;
    return true;
}

static void watch_end(struct watch *watch) {
    LIST_REMOVE(watch, link);
    watch->waiter->waits->n_watched--;
    free(watch->task_id);
}

/* ---- waking ---- */

static void unpark(struct waiter *waiter) {
    TAILQ_REMOVE(&waiter->waits->parked, waiter, link);
    waiter->waits->n_parked--;
    waiter->parked = false;
    event_del(waiter->expire);
}

static void run_look(struct waiter *waiter, const struct task *end) {
    waiter->woken = false;
    waiter->look(waiter, waiter->n == 1 ? end : NULL, waiter->arg);
}

/* Of a waiter that is parked. */
static void end_wait(struct waiter *waiter) {
    unpark(waiter);
    waiter->over = true;
    run_look(waiter, NULL);
}

/* False where the waiter's time is up, or it cannot be woken at its end. */
static bool run_timer(struct waiter *waiter) {
    int64_t left = waiter->until_ms - clock_mono_ms();
    struct timeval wait = {left / 1000, left % 1000 * 1000};
    return left > 0 && event_add(waiter->expire, &wait) == 0;
}

/* Timers count from the beginning of a loop's turn: they may come early. */
static void on_expire(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct waiter *waiter = arg;
    if (!run_timer(waiter))
        end_wait(waiter);
}

static bool is_news(const struct watch *watch, const uint64_t *sight) {
    const struct waiter *waiter = watch->waiter;
    return sight ? !waiter->has_seen || watch->seen != *sight : waiter->reads_logs;
}

/* Those awake are told, those asleep gathered before the first look: a look may end its waiter.
 * `sight`: of the task, NULL: its log has changed. `end`: as waiter_look() has it. */
static void wake_watchers(struct waits *waits, const char *task_id, const uint64_t *sight,
                          const struct task *end) {
    struct waiter_list asleep = TAILQ_HEAD_INITIALIZER(asleep);
    struct watch *watch;
    LIST_FOREACH(watch, place_of(waits, task_id), link) {
        struct waiter *waiter = watch->waiter;
        if (!is_news(watch, sight) || strcmp(watch->task_id, task_id) != 0)
            continue;
        waiter->woken = true;
        if (!waiter->parked)
            continue;
        unpark(waiter);
        TAILQ_INSERT_TAIL(&asleep, waiter, link);
    }
    struct waiter *waiter;
    while ((waiter = TAILQ_FIRST(&asleep))) {
        TAILQ_REMOVE(&asleep, waiter, link);
        run_look(waiter, end);
    }
}

void waits_wake_readers(struct waits *waits, const char *task_id) {
    if (waits->n_watched > 0)
        wake_watchers(waits, task_id, NULL, NULL);
}

void waits_notice(struct waits *waits, const struct op *op) {
    if (op->rc != RC_OK || op->kind == OP_CREATE)
        return;
    bool ends = op->kind == OP_FINISH || op->kind == OP_FAIL;
    for (size_t i = 0; i < op->n_tasks && waits->n_watched > 0; i++) {
        const struct task *task = &op->tasks[i];
        uint64_t sight = sight_of(task);
        wake_watchers(waits, task->task_id, &sight, ends ? task : NULL);
    }
}

/* ---- what others change, and clients that go ---- */

static void on_found(struct query *query, void *arg) {
    struct waits *waits = arg;
    waits->asking--;
    if (query->rc != RC_OK)
        return;
    for (size_t i = 0; i < query->n_ids; i++) {
        uint64_t sight = sight_of(&query->tasks[i]);
        wake_watchers(waits, query->ids[i], &sight, NULL);
    }
}

static void send_query(struct waits *waits, struct query *query) {
    if (executor_query(waits->api->executor, query, on_found, waits) == RC_OK)
        waits->asking++;
}

/* True where an earlier watch of the list names the same task. */
static bool is_asked(const struct watch_list *list, const struct watch *watch) {
    const struct watch *other;
    LIST_FOREACH(other, list, link) {
        if (other == watch)
            return false;
        if (strcmp(other->task_id, watch->task_id) == 0)
            return true;
    }
    return false;
}

static struct query *ids_query(void) {
    struct query *query = query_create(QUERY_BY_ID);
    if (query && !(query->ids = calloc(ASK_MAX_IDS, sizeof *query->ids))) {
        query_destroy(query);
        return NULL;
    }
    return query;
}

/* Adds the id to the query, which is sent when it is full. False when out of memory: the next tick
 * asks again. */
static bool ask_after(struct waits *waits, struct query **query, const char *task_id) {
    if (!*query && !(*query = ids_query()))
        return false;
    char *id = strdup(task_id);
    if (!id)
        return false;
    (*query)->ids[(*query)->n_ids++] = id;
    if ((*query)->n_ids == ASK_MAX_IDS)
        send_query(waits, TAKE(*query));
    return true;
}

static void ask_all(struct waits *waits) {
    struct query *query = NULL;
    bool ok = true;
    for (size_t i = 0; ok && i < PLACES; i++) {
        const struct watch *watch;
        LIST_FOREACH(watch, &waits->places[i], link)
        if (!is_asked(&waits->places[i], watch))
            ok = ok && ask_after(waits, &query, watch->task_id);
    }
    if (query)
        send_query(waits, query);
}

/* A client that has closed its side gets what stands, if it is still there to read it. */
static void look_after_clients(struct waits *waits) {
    size_t n = (waits->n_parked + GONE_SHARE - 1) / GONE_SHARE;
    for (size_t i = 0; i < n && !TAILQ_EMPTY(&waits->parked); i++) {
        struct waiter *waiter = TAILQ_FIRST(&waits->parked);
        TAILQ_REMOVE(&waits->parked, waiter, link);
        TAILQ_INSERT_TAIL(&waits->parked, waiter, link);
        if (http_req_client_gone(waiter->call->req))
            end_wait(waiter);
    }
}

static bool run_tick(struct waits *waits) {
    static const struct timeval wait = {TICK_MS / 1000, TICK_MS % 1000 * 1000};
    return event_pending(waits->tick, EV_TIMEOUT, NULL) || event_add(waits->tick, &wait) == 0;
}

static void on_tick(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct waits *waits = arg;
    look_after_clients(waits);
    if (api_shares_store(waits->api) && !waits->asking)
        ask_all(waits);
    if (waits->n_parked > 0)
        (void)run_tick(waits); /* where it cannot, the next park tries */
}

/* ---- waiters ---- */

void waiter_destroy(struct waiter *waiter) {
    if (!waiter)
        return;
    if (waiter->parked)
        unpark(waiter);
    for (size_t i = 0; i < waiter->n; i++)
        watch_end(&waiter->watches[i]);
    if (waiter->expire)
        event_free(waiter->expire);
    free(waiter);
}

enum rc waiter_create(struct waits *waits, struct call *call, char *const *ids, size_t n,
                      int64_t wait_ms, waiter_look *look, void *arg, struct waiter **ret) {
    if (n > WATCHED_MAX - waits->n_watched)
        return RC_OVERLOADED;
    struct waiter *waiter = calloc(1, sizeof *waiter + n * sizeof waiter->watches[0]);
    if (!waiter)
        return RC_NO_MEMORY;
    waiter->waits = waits;
    waiter->call = call;
    waiter->look = look;
    waiter->arg = arg;
    waiter->until_ms = clock_mono_ms() + 1 + wait_ms; /* of a ms that has begun */
    waiter->expire = event_new(waits->api->base, -1, 0, on_expire, waiter);
    bool ok = waiter->expire && run_tick(waits);
    for (size_t i = 0; ok && i < n; i++)
        ok = watch_begin(waiter, ids[i]);
    if (!ok) {
        waiter_destroy(waiter);
        return RC_NO_MEMORY;
    }
    *ret = waiter;
    return RC_OK;
}

bool waiter_sees(struct waiter *waiter, const struct task *tasks) {
    bool changed = false;
    for (size_t i = 0; i < waiter->n; i++) {
        uint64_t sight = sight_of(&tasks[i]);
        changed |= sight != waiter->watches[i].seen;
        waiter->watches[i].seen = sight;
    }
    changed &= waiter->has_seen;
    waiter->has_seen = true;
    return changed;
}

void waiter_read_logs(struct waiter *waiter) {
    waiter->reads_logs = true;
}

void waiter_poke(struct waiter *waiter) {
    waiter->woken = true;
    if (!waiter->parked)
        return;
    unpark(waiter);
    run_look(waiter, NULL);
}

bool waiter_is_over(const struct waiter *waiter) {
    return waiter->over;
}

void waiter_park(struct waiter *waiter) {
    struct waits *waits = waiter->waits;
    TAILQ_INSERT_TAIL(&waits->parked, waiter, link);
    waits->n_parked++;
    waiter->parked = true;
    if (waits->api->draining || !run_tick(waits) || !run_timer(waiter))
        end_wait(waiter);
    else if (waiter->woken) {
        unpark(waiter);
        run_look(waiter, NULL);
    }
}

void waits_release(struct waits *waits) {
    while (!TAILQ_EMPTY(&waits->parked))
        end_wait(TAILQ_FIRST(&waits->parked));
}

enum rc waits_create(struct api *api, struct waits **ret, struct error *err) {
    struct waits *waits = calloc(1, sizeof *waits);
    if (!waits)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    waits->api = api;
    TAILQ_INIT(&waits->parked);
    waits->tick = event_new(api->base, -1, 0, on_tick, waits);
    if (!waits->tick) {
        waits_destroy(waits);
        return error_set(err, RC_NO_MEMORY, "out of memory");
    }
    *ret = waits;
    return RC_OK;
}

void waits_destroy(struct waits *waits) {
    if (!waits)
        return;
    if (waits->tick)
        event_free(waits->tick);
    free(waits);
}
