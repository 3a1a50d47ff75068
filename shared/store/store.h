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

enum query_kind {
    QUERY_BY_ID,   /* the named tasks, in the order asked */
    QUERY_LIST,    /* a page of tasks, newest first, with the exact total */
    QUERY_COUNTS,  /* how many tasks, by service and status */
    QUERY_OUTBOX,  /* tasks whose message has to be produced (again), oldest first */
    QUERY_LAPSED,  /* running tasks whose lease has run out, longest ago first */
    QUERY_WORKERS, /* consumers that have been seen lately, by id */
    QUERY_PING,    /* does the store answer? */
};

struct store_count {
    char service[TASK_TEXT_CAP];
    int64_t by_status[TASK_STATUSES];
};

/* A consumer as its last heartbeat described it. */
struct store_worker {
    char id[WORKER_ID_CAP];
    int64_t seen_at; /* unix ms */
    char *value;     /* owned JSON text: the object that it sent */
    size_t value_len;
};

struct query {
    enum query_kind kind;

    char **ids; /* BY_ID; owned array of owned strings */
    size_t n_ids;
    bool want_condition; /* BY_ID: load it (LIST always does) */
    bool want_result;    /* BY_ID: load it (LIST never does) */

    char service[TASK_TEXT_CAP]; /* LIST: only this one; "": all */
    bool by_status;              /* LIST: only `status` */
    enum task_status status;
    int64_t skip, limit; /* LIST; OUTBOX uses limit */
    size_t max_bytes;    /* LIST: conditions of more bytes together are refused (RC_TOO_LARGE); one
                            task alone always fits; 0: no bound */

    int64_t lapsed_before_ms; /* LAPSED: lease_until is not after this time; uses limit */
    int64_t seen_since_ms;    /* WORKERS: seen at or after this time */
    int64_t picked_before_ms; /* OUTBOX: never picked, or picked before this time */

    /* outcome */
    enum rc rc;
    char text[192];
    struct task *tasks; /* owned; BY_ID: n_ids of them, task_id "" where there is none */
    size_t n_tasks;
    int64_t total;              /* LIST */
    struct store_count *counts; /* COUNTS: owned, one per service that has tasks */
    size_t n_counts;
    struct store_worker *workers; /* WORKERS: owned, and what they own */
    size_t n_workers;
    int64_t store_clock_ms; /* PING: the time on the store's clock; 0: it is the API's own */
};

struct query *query_create(enum query_kind kind);
void query_destroy(struct query *query);

struct store;

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
