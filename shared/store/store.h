/* store.h: where tasks live, one interface before two back ends (sqlite, mongodb).
 *
 * Changes come in batches of operations from one executor thread; reads come in batches of queries
 * from reader threads, each with its own number. Nothing in here knows a route or a module.
 *
 * Threads: store_apply() from one thread; store_query() with reader number r from one thread at a
 * time; apply and queries of different readers run at the same time.
 */
#ifndef LH_STORE_STORE_H
#define LH_STORE_STORE_H

#include "config/config.h"
#include "task/op.h"

struct list_tag {
    char *name, *value;
};

/* What the tasks of a list have in common; what is not set leaves all in. What it points to is the
 * query's own. */
struct list_filter {
    char **services;
    size_t n_services; /* one of these; none: any */
    unsigned statuses; /* bits 1 << enum task_status; 0: any */
    unsigned subs;     /* bits 1 << enum task_sub; 0 and not want_paused: any */
    bool want_paused;  /* with subs: those that wait (waiting, queued) for a paused service */
    char **paused;     /* services; their tasks are not queued, but paused */
    size_t n_paused;
    int64_t from_ms, to_ms; /* created at or after, created before; 0: no bound */
    char *prefix;           /* of the task_id; NULL: any */
    struct list_tag *tags;
    size_t n_tags; /* all of these */
};

enum {
    LIST_WALK_MAX = 20000,  /* tasks that one list looks at where no index serves its filter */
    LIST_COUNT_MAX = 10000, /* beyond it, such a list's total says "at least" */
    UNSENT_MAX = 10000,     /* as many messages are counted and looked at */
};

enum query_kind {
    QUERY_BY_ID,    /* the named tasks, in the order asked */
    QUERY_LIST,     /* a page of tasks, newest first, with their total */
    QUERY_COUNTS,   /* how many tasks, by service and status */
    QUERY_OUTBOX,   /* tasks whose message has to be produced (again), oldest first */
    QUERY_UNSENT,   /* how many messages are not confirmed, and since when */
    QUERY_PARKED,   /* tasks whose message waits for its service, oldest first */
    QUERY_LAPSED,   /* running tasks whose lease has run out, longest ago first */
    QUERY_BEST,     /* queued tasks of one service, in the order of claiming */
    QUERY_ALARMS,   /* tasks whose alarm_at has come, longest ago first */
    QUERY_EXPIRED,  /* final tasks that ended by a time, oldest created first */
    QUERY_WORKERS,  /* consumers that have been seen lately, by id and token */
    QUERY_SERVICES, /* what has been set of services, by name */
    QUERY_LOG,      /* what one run of a task printed */
    QUERY_PING,     /* does the store answer? */
};

struct store_count {
    char service[TASK_TEXT_CAP];
    int64_t by_status[TASK_STATUSES];
    int64_t oldest_due_at; /* when the oldest task was created that could be claimed; 0: none, or
                              not asked for */
};

/* A consumer as its last heartbeat described it. What calls itself the same with another token is
 * another one. */
struct store_worker {
    char id[WORKER_ID_CAP];
    char token[TOKEN_NAME_CAP]; /* "": the one that may do all */
    int64_t seen_at;            /* unix ms */
    char *value;                /* owned JSON text: the object that it sent */
    size_t value_len;
};

/* A piece of a log as it stands. */
struct store_log {
    int64_t attempt;    /* whose it is; 0: no run has begun */
    struct run_log log; /* all zero where nothing has come; `open` is NULL */
    int64_t at;         /* offset of the first byte */
    char *bytes;        /* owned */
    size_t len;
};

struct query {
    enum query_kind kind;

    char **ids; /* BY_ID; owned array of owned strings */
    size_t n_ids;
    bool want_condition; /* BY_ID, LIST: load it */
    bool want_result;    /* BY_ID, LIST: load it */
    bool want_past;      /* BY_ID: the records of the task's runs but the last */
    bool brief; /* BY_ID: no more needs to be loaded than id, service, status, times of start
                   and end, messages, error, attempt, progress */

    struct list_filter filter; /* LIST */
    char *after, *before; /* LIST: owned cursors from an earlier answer, one at most: what is older,
                             newer than there; NULL: from the newest, past `skip` tasks */
    char **services;      /* PARKED: of these; BEST: of the first; owned array of owned names */
    size_t n_services;
    int64_t max_running;    /* PARKED: no more than so many together with those of the (one) service
                               that run; 0: no limit */
    int64_t skip, limit;    /* LIST; OUTBOX, PARKED, BEST use limit */
    int64_t attempt;        /* LOG; 0: the latest */
    enum run_stream stream; /* LOG */
    int64_t log_from;       /* LOG: offset; negative: the last max_bytes */
    size_t max_bytes;       /* LOG: at most so many. LIST: values of more bytes together are refused
                               (RC_TOO_LARGE); one task alone always fits; 0: no bound */

    bool want_oldest;         /* COUNTS: the oldest task, too */
    int64_t lapsed_before_ms; /* LAPSED: lease_until is not after this time; uses limit */
    int64_t lapsed_lease_ms;  /* LAPSED: none whose run asked for a longer lease; 0: any */
    int64_t alarm_before_ms;  /* ALARMS: alarm_at is not after this time; uses limit */
    int64_t ended_before_ms;  /* EXPIRED: with filter.statuses; looks at up to `limit` tasks from
                                 `after` on and gives those that ended by this time; `next` goes on,
                                 NULL: there are no more */
    int64_t seen_since_ms;    /* WORKERS: seen at or after this time */
    int64_t picked_before_ms; /* OUTBOX: never picked, or picked before this time */

    /* outcome */
    enum rc rc;
    char text[192];
    uint64_t batch; /* the last one that was surely over when the read began, set by the executor */
    struct store_log log; /* LOG, and what it owns; tasks[0] is the task of ids[0], if it exists,
                             and its `past` is loaded for an earlier attempt; of a removed task
                             there is no log */
    struct task *tasks;   /* owned; BY_ID: n_ids of them, task_id "" where there is none */
    size_t n_tasks;
    int64_t total;        /* LIST; without filter but service, status and sub exact. UNSENT: up
                             to UNSENT_MAX, without those that wait for their service */
    int64_t unsent_since; /* UNSENT: when the first of those tasks was made due; 0: none */
    bool total_at_least;  /* LIST: `total` were counted, and there may be more */
    char *next, *prev;    /* LIST: owned cursors, for `after` and for `before`; NULL: there is
                             nothing more */
    struct store_count *counts; /* COUNTS: owned, one per service that has tasks */
    size_t n_counts;
    struct store_worker *workers; /* WORKERS: owned, and what they own */
    size_t n_workers;
    struct service_rule *set; /* SERVICES: owned; SERVICE_LIMIT_UNSET where nothing is set */
    size_t n_set;
    int64_t store_clock_ms; /* PING: the time on the store's clock; 0: it is the API's own */
};

/* Those of the service; NULL: there are none. */
const struct store_count *store_count_find(const struct store_count *counts, size_t n,
                                           const char *service);

struct query *query_create(enum query_kind kind);

/* Of the one task; NULL when out of memory. */
struct query *query_create_for(enum query_kind kind, const char *task_id);

/* Of these; NULL when out of memory. */
struct query *query_create_by_id(const char *const *ids, size_t n);

/* With room for so many ids, of which it has none yet; NULL when out of memory. */
struct query *query_create_of_ids(enum query_kind kind, size_t max_ids);

/* Adds a copy of the id, of so many bytes; there has to be room. False when out of memory. */
bool query_add_id(struct query *query, const char *task_id, size_t len);

/* With room for so many services, of which it has none yet; NULL when out of memory. */
struct query *query_create_of(enum query_kind kind, size_t max_services);

/* Adds a copy of the name; there has to be room. False when out of memory. */
bool query_add_service(struct query *query, const char *name);

void query_destroy(struct query *query);

struct store;

/* A batch is about to take effect: after it returns, queries may see what the ops do (or nothing of
 * it, if the store fails). On store_apply()'s thread; every op has its outcome. */
typedef void store_herald(struct op *const *ops, size_t n, void *arg);

struct store_impl {
    const char *name; /* "sqlite", "mongodb" */
    enum rc (*apply)(struct store *store, struct op *const *ops, size_t n, struct error *err);
    enum rc (*query)(struct store *store, unsigned reader, struct query *const *queries, size_t n,
                     struct error *err);
    void (*destroy)(struct store *store);
};

/* A back end's struct begins with this. */
struct store {
    const struct store_impl *impl;
    store_herald *herald; /* or NULL */
    void *herald_arg;
};

/* Opens the store that cfg names; n_readers reader numbers 0 … n_readers-1 may be used.
 * RC_LOCKED: another API owns the SQLite file. RC_CONFIG: the store cannot serve (duplicate
 * task_ids in the collection, wrong login, a file of a newer version); the text says which. A
 * MongoDB server that does not answer is no failure: every apply and query says
 * RC_STORE_UNAVAILABLE until it does. */
enum rc store_open(const struct config *cfg, unsigned n_readers, struct store **ret,
                   struct error *err) LH_MUST_USE;

/* Applies a batch. On RC_OK every op has its own outcome and what was accepted is durable (on disk;
 * on MongoDB w: majority, j: true). Otherwise the rc is also written into every op whose outcome it
 * is: RC_STORE_UNAVAILABLE (surely not stored) or RC_OUTCOME_UNKNOWN (may be stored); ops of the
 * batch that did take effect keep RC_OK. *err names the store and the cause, for the log. */
enum rc store_apply(struct store *store, struct op *const *ops, size_t n,
                    struct error *err) LH_MUST_USE;

/* Whom to tell of every batch before it takes effect. Only SQLite's does: other processes write to
 * MongoDB too. Before the first store_apply(). */
void store_set_herald(struct store *store, store_herald *herald, void *arg);

/* Answers a batch of queries; the rc of a failure is also in each query. */
enum rc store_query(struct store *store, unsigned reader, struct query *const *queries, size_t n,
                    struct error *err) LH_MUST_USE;

/* Closes it; NULL is fine. No call may be under way. */
void store_destroy(struct store *store);

/* The back ends' own constructors. store_mongo is a loadable module (base/plugin.h): a program that
 * does not use MongoDB does not load its libraries. */
enum rc store_sqlite_open(const char *path, unsigned n_readers, struct store **ret,
                          struct error *err) LH_MUST_USE;
enum rc store_mongo_open(const struct config *cfg, unsigned n_readers, struct store **ret,
                         struct error *err) LH_MUST_USE;

/* Test only: wraps `inner` (owned from now on) and obeys the fault plan `plan`, e.g.
 * "apply:3=unavailable", "apply:2=unknown", "query:5=delay:200", "apply:7=kill", separated by
 * commas; numbers count calls from 1, "*" is every call. */
enum rc store_fault_wrap(struct store *inner, const char *plan, struct store **ret,
                         struct error *err) LH_MUST_USE;

#endif
