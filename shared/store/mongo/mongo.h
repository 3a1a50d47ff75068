/* mongo.h: the MongoDB back end's inside: its parts and what they lend one another.
 *
 * One link (client and collection handle) per thread, taken from the driver's pool at the thread's
 * first call and kept for life: link 0 applies, link 1+r belongs to reader r. Nothing is shared
 * between links but the immutable URI and the state of the set-up (docs/internals/mongodb.md).
 */
#ifndef LH_STORE_STORE_MONGO_H
#define LH_STORE_STORE_MONGO_H

#include "store/mongo/doc.h"
#include "store/store.h"

#include <mongoc/mongoc.h>
#include <pthread.h>
#include <stdatomic.h>

enum {
    MONGO_NAME_CAP = 64,      /* of a collection */
    MONGO_SELECT_MS = 3000,   /* until a server is found */
    MONGO_CONNECT_MS = 2000,  /* until a connection stands */
    MONGO_SOCKET_MS = 10000,  /* until a command is answered */
    MONGO_WTIMEOUT_MS = 5000, /* until a majority has a write */
    MONGO_SETTLE_MS = 5000,   /* how long an unknown outcome is asked after */
    MONGO_SETUP_MS = 300000,  /* until an index is built, at start only */
    MONGO_AGAIN_MS = 500,     /* between two attempts to set up */
};

/* What batches have changed and the counters do not say yet. */
struct mongo_delta {
    char service[TASK_TEXT_CAP];
    int64_t by_status[TASK_STATUSES];
    int64_t moved[TASK_STATUSES]; /* how many came or went */
};

struct mongo_deltas {
    struct mongo_delta *rows;
    size_t n;
};

struct mongo_link {
    struct mongo_store *store;
    mongoc_client_t *client; /* NULL until the first call */
    mongoc_collection_t *tasks;
    mongoc_collection_t *workers;
    mongoc_collection_t *logs;
    mongoc_collection_t *services;
    mongoc_collection_t *gone;
    struct mongo_deltas deltas; /* of the thread that applies */
    struct task **fresh;        /* of it, too: mongo/fresh.c */
};

/* A thread of the store's own. */
struct mongo_task {
    struct mongo_store *store;
    struct mongo_link link;
    pthread_t thread;
    pthread_mutex_t lock; /* of `stop`, and of what the thread is handed */
    pthread_cond_t wake;
    atomic_bool started;
    bool stop;
};

/* The thread that tells the counters. */
struct mongo_teller {
    struct mongo_task task;
    struct mongo_deltas gathered; /* to be told */
    struct mongo_deltas sent;     /* being told */
};

struct mongo_store {
    struct store base;
    mongoc_uri_t *uri;
    bool guess_auth; /* a login without authSource: "admin", or else the database itself */
    char *database;
    const char *collection;
    char peer[256]; /* hosts, for texts */

    atomic_bool ready; /* indexes stand, no duplicates, pool open */
    atomic_bool setting_up;
    pthread_mutex_t lock; /* of the two below; never held over I/O */
    struct error setup_error;
    int64_t setup_failed_ms; /* clock_mono_ms(), 0: never */

    mongoc_client_pool_t *pool; /* from `ready` on */
    struct mongo_link *links;   /* 1 + readers */
    unsigned n_links;
    struct mongo_teller teller; /* from `ready` on, as is the other */
    struct mongo_task recount;
};

/* ---- mongo/uri.c ---- */

/* The URI of the configuration with our time limits. RC_CONFIG. */
enum rc mongo_uri_make(const struct config *cfg, unsigned n_links, struct mongo_store *store,
                       struct error *err) LH_MUST_USE;

/* ---- mongo/setup.c ---- */

/* Logs in, makes the indexes, looks for duplicates, opens the pool; `at_start` allows the time that
 * an index takes. RC_CONFIG: cannot serve (login, duplicates). RC_STORE_UNAVAILABLE: no answer. */
enum rc mongo_setup(struct mongo_store *store, bool at_start, struct error *err) LH_MUST_USE;

/* The thread's link, ready for use, or RC_STORE_UNAVAILABLE. */
enum rc mongo_link_get(struct mongo_store *store, unsigned number, struct mongo_link **ret,
                       struct error *err) LH_MUST_USE;

/* A link of the pool's; false: there is none. */
bool mongo_link_open(struct mongo_store *store, struct mongo_link *ret) LH_MUST_USE;
void mongo_link_close(struct mongo_store *store, struct mongo_link *link);

/* Collections beside that of the tasks. */
enum mongo_beside { BESIDE_TASKS, BESIDE_WORKERS, BESIDE_LOGS, BESIDE_SERVICES, BESIDE_GONE };

/* The name of one, or of that of the tasks. */
void mongo_collection_name(const struct mongo_store *store, enum mongo_beside beside,
                           char ret[MONGO_NAME_CAP]);

/* RC_STORE_UNAVAILABLE with the driver's words. Returns it. */
enum rc mongo_unavailable(const bson_error_t *fault, struct error *err);

/* ---- mongo/find.c ---- */

/* Gets one document; anything but RC_OK ends the search with that rc. */
typedef enum rc mongo_see_doc(void *with, const bson_t *doc);

/* Finds documents and hands each over; all in one answer unless opts say "batchSize".
 * RC_STORE_UNAVAILABLE where the server does not answer. */
enum rc mongo_find(struct mongo_link *link, const bson_t *filter, const bson_t *opts,
                   mongo_see_doc *see, void *with, struct error *err) LH_MUST_USE;

/* The same in another collection than the tasks'. */
enum rc mongo_find_in(mongoc_collection_t *collection, const bson_t *filter, const bson_t *opts,
                      mongo_see_doc *see, void *with, struct error *err) LH_MUST_USE;

/* Finds tasks, repeated for MONGO_SETTLE_MS while the server does not answer; `see` may get a
 * document again. */
enum rc mongo_find_patiently(struct mongo_link *link, const bson_t *filter, const bson_t *opts,
                             mongo_see_doc *see, void *with, struct error *err) LH_MUST_USE;

/* Hands over what the cursor (taken) gives. */
enum rc mongo_see_all(mongoc_cursor_t *cursor, mongo_see_doc *see, void *with,
                      struct error *err) LH_MUST_USE;

/* Exactly how many documents match, at most `limit` (0: all). */
enum rc mongo_count(struct mongo_link *link, const bson_t *filter, int64_t limit, int64_t *ret,
                    struct error *err) LH_MUST_USE;

/* Waits between two attempts. */
void mongo_pause(void);

/* ---- mongo/write.c ---- */

/* A new document and what became of it. */
struct mongo_insert {
    const struct task *task;
    bson_t *doc; /* the caller's */
    enum rc rc;
    char text[192];
};

/* Inserts as one bulk. RC_OK: each has its own rc. Else that of all whose rc says so. */
enum rc mongo_write_new(struct mongo_link *link, struct mongo_insert *inserts, size_t n,
                        struct error *err) LH_MUST_USE;

/* ---- mongo/idem.c ---- */

/* A new task with an idempotency key, and where its outcome goes. */
struct mongo_twin {
    struct task *task;
    enum rc *rc;
};

struct mongo_twins {
    struct mongo_twin *at;
    size_t n;
};

/* Looks up who has the keys. A task whose key is another's becomes its duplicate: task_id is the
 * other's, *rc RC_OK or RC_IDEMPOTENCY_CONFLICT. The others are left as they are. */
enum rc mongo_find_twins(struct mongo_link *link, struct mongo_twins *twins,
                         struct error *err) LH_MUST_USE;

/* A document that replaces the fields of the one with the same key, or is new. */
struct mongo_upsert {
    bson_t *key, *body; /* the caller's; body is an update */
    bool exists;        /* mongo_write_guarded(): it is not new */
    enum rc rc;
    char text[192];
};

/* Writes them as one bulk; each key once. RC_OK: each has its own rc. Else that of all. One that
 * another process inserts at the same moment is RC_OK, whose fields stay is open. */
enum rc mongo_write_upserts(mongoc_collection_t *collection, struct mongo_upsert *upserts, size_t n,
                            struct error *err) LH_MUST_USE;

/* Writes documents whose keys hold a guard beside their _id. *ret_all: every guard held, or its
 * document is new; else read to see which did. */
enum rc mongo_write_guarded(mongoc_collection_t *collection, struct mongo_upsert *upserts, size_t n,
                            bool *ret_all, struct error *err) LH_MUST_USE;

/* Writes guarded updates as one bulk and learns which held: each state is decided on RC_OK. Else
 * RC_STORE_UNAVAILABLE (none was written) or RC_OUTCOME_UNKNOWN; those still open may be stored. */
enum rc mongo_write_changes(struct mongo_link *link, struct mongo_change *const *changes, size_t n,
                            struct error *err) LH_MUST_USE;

/* ---- mongo/fresh.c ---- */

/* Remembers a task that has just been inserted, if its message is on the way. */
void mongo_fresh_keep(struct mongo_link *link, const struct task *task);

/* The task as it was inserted, without its condition; the caller's from now on. False: not known.
 */
bool mongo_fresh_take(struct mongo_link *link, const uint8_t oid[OBJECT_ID_LEN], struct task *ret);

/* The task has changed. */
void mongo_fresh_forget(struct mongo_link *link, const uint8_t oid[OBJECT_ID_LEN]);

/* Forgets all. */
void mongo_fresh_finish(struct mongo_link *link);

/* ---- mongo/thread.c ---- */

/* Starts the thread with a link of its own; task->started says whether. */
void mongo_task_start(struct mongo_store *store, struct mongo_task *task, void *(*run)(void *arg),
                      void *arg);

/* Ends it; no harm where it was not started. */
void mongo_task_stop(struct mongo_store *store, struct mongo_task *task);

/* Rests for so long; true, at once, where the thread is to end. On the thread. */
bool mongo_task_rest(struct mongo_task *task, int64_t ms) LH_MUST_USE;

/* ---- mongo/count.c ---- */

/* From so many tasks on they are not counted on the server, but taken from the counters. */
enum { MONGO_COUNT_MAX = 20000 };

/* The counters of a service: how many, and how many have ever come or gone. */
struct mongo_counters {
    int64_t by_status[TASK_STATUSES], moved[TASK_STATUSES];
};

/* A change that is in the store: so many more tasks of the service have the status. */
void mongo_counts_add(struct mongo_link *link, const char *service, enum task_status status,
                      int delta);
void mongo_counts_move(struct mongo_link *link, const char *service, enum task_status from,
                       enum task_status to);

/* Hands what has been added to the thread that tells the counters. */
void mongo_counts_flush(struct mongo_link *link);

/* Starts that thread, if it can, once the pool stands. Stopping it tells what is left, if the
 * server is there; no harm where it was not started. */
void mongo_teller_start(struct mongo_store *store);
void mongo_teller_stop(struct mongo_store *store);

/* Adds to the counters what they have drifted by. */
void mongo_counts_correct(struct mongo_link *link, struct mongo_delta *row);

/* The counters in a service's document. */
void mongo_counts_read(const bson_t *doc, struct mongo_counters *ret);

/* The tasks of some services (none named: of all) in some statuses (bits 1 << enum task_status; 0:
 * any). */
struct mongo_total {
    const char *const *services;
    size_t n_services;
    unsigned statuses;
};

/* How many tasks there are, `filter` saying the same as `total`; up to `limit` (0: all). Counted up
 * to MONGO_COUNT_MAX, beyond that the counters' word. */
enum rc mongo_count_tasks(struct mongo_link *link, const struct mongo_total *total,
                          const bson_t *filter, int64_t limit, int64_t *ret,
                          struct error *err) LH_MUST_USE;

/* QUERY_COUNTS from the counters; *ret_known is false, and nothing is loaded, where there are fewer
 * than MONGO_COUNT_MAX tasks or the counters are not whole yet. */
enum rc mongo_counts_load(struct mongo_link *link, struct query *query, bool *ret_known,
                          struct error *err) LH_MUST_USE;

/* ---- mongo/recount.c ---- */

/* Starts the thread, if it can; to be called once the pool stands. */
void mongo_recount_start(struct mongo_store *store);

/* Ends it; no harm where it was not started. */
void mongo_recount_stop(struct mongo_store *store);

/* ---- mongo/service.c ---- */

enum mongo_room_kind { ROOM_WAITING, ROOM_RUNNING };

/* How many tasks of a service are ready or waiting (run), as the server counted them, up to the
 * service's limit, and as the batch has changed that since. */
struct mongo_room {
    const char *service; /* the rule's */
    int64_t n;
};

/* The services of a batch that have been counted. */
struct mongo_rooms {
    struct mongo_link *link;
    enum mongo_room_kind kind;
    struct mongo_room *rooms;
    size_t n;
};

/* The service's count, made where it is not there yet; *ret is NULL where nothing limits it, and
 * valid until the next call. */
enum rc mongo_room(struct mongo_rooms *rooms, const struct service_rules *rules,
                   const char *service, struct mongo_room **ret, struct error *err) LH_MUST_USE;

/* How many tasks of the service run, counted up to `max`. */
enum rc mongo_count_running(struct mongo_link *link, const char *service, int64_t max, int64_t *ret,
                            struct error *err) LH_MUST_USE;

/* Forgets all counts. */
void mongo_rooms_finish(struct mongo_rooms *rooms);

/* ---- one file per kind of work: each takes its own kinds out of the batch ---- */

enum rc mongo_apply_creates(struct mongo_link *link, struct op *const *ops, size_t n,
                            struct error *err) LH_MUST_USE;
enum rc mongo_apply_changes(struct mongo_link *link, struct op *const *ops, size_t n,
                            struct error *err) LH_MUST_USE;
enum rc mongo_apply_takes(struct mongo_link *link, struct op *const *ops, size_t n,
                          struct error *err) LH_MUST_USE;
enum rc mongo_apply_workers(struct mongo_link *link, struct op *const *ops, size_t n,
                            struct error *err) LH_MUST_USE;
enum rc mongo_apply_logs(struct mongo_link *link, struct op *const *ops, size_t n,
                         struct error *err) LH_MUST_USE;
enum rc mongo_query_log(struct mongo_link *link, struct query *query,
                        struct error *err) LH_MUST_USE;

/* Removes all logs of the tasks. RC_STORE_UNAVAILABLE: some may be left. */
enum rc mongo_logs_delete(struct mongo_link *link, const char *const *task_ids, size_t n,
                          struct error *err) LH_MUST_USE;
enum rc mongo_apply_services(struct mongo_link *link, struct op *const *ops, size_t n,
                             struct error *err) LH_MUST_USE;
enum rc mongo_query_services(struct mongo_link *link, struct query *query,
                             struct error *err) LH_MUST_USE;
enum rc mongo_apply_forgets(struct mongo_link *link, struct op *const *ops, size_t n,
                            struct error *err) LH_MUST_USE;

/* Writes the tombstones of tasks that are about to be removed, and removes their logs. Failed, some
 * may be left beside tasks that live: that is harmless. */
enum rc mongo_gone_add(struct mongo_link *link, struct mongo_change *const *changes, size_t n,
                       int64_t now_ms, struct error *err) LH_MUST_USE;

/* Finds tombstones by the ids of their tasks; they read as tasks (mongo_doc_read). */
enum rc mongo_gone_find(struct mongo_link *link, const char *const *task_ids, size_t n,
                        mongo_see_doc *see, void *with, struct error *err) LH_MUST_USE;
enum rc mongo_query_expired(struct mongo_link *link, struct query *query,
                            struct error *err) LH_MUST_USE;
enum rc mongo_query_list(struct mongo_link *link, struct query *query,
                         struct error *err) LH_MUST_USE;
enum rc mongo_query_workers(struct mongo_link *link, struct query *query,
                            struct error *err) LH_MUST_USE;
enum rc mongo_run_queries(struct mongo_link *link, struct query *const *queries, size_t n,
                          struct error *err) LH_MUST_USE;

#endif
