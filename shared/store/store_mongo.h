/* store_mongo.h: the MongoDB back end's inside: its parts and what they lend one another.
 *
 * One link (client and collection handle) per thread, taken from the driver's pool at the thread's
 * first call and kept for life: link 0 applies, link 1+r belongs to reader r. Nothing is shared
 * between links but the immutable URI and the state of the set-up (docs/internals/mongodb.md).
 */
#ifndef LH_STORE_STORE_MONGO_H
#define LH_STORE_STORE_MONGO_H

#include "store/store.h"
#include "store/store_mongo_doc.h"

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

struct mongo_link {
    mongoc_client_t *client; /* NULL until the first call */
    mongoc_collection_t *tasks;
    mongoc_collection_t *workers;
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
};

/* ---- store_mongo_uri.c ---- */

/* The URI of the configuration with our time limits. RC_CONFIG. */
enum rc mongo_uri_make(const struct config *cfg, unsigned n_links, struct mongo_store *store,
                       struct error *err) LH_MUST_USE;

/* ---- store_mongo_setup.c ---- */

/* Logs in, makes the indexes, looks for duplicates, opens the pool; `at_start` allows the time that
 * an index takes. RC_CONFIG: cannot serve (login, duplicates). RC_STORE_UNAVAILABLE: no answer. */
enum rc mongo_setup(struct mongo_store *store, bool at_start, struct error *err) LH_MUST_USE;

/* The thread's link, ready for use, or RC_STORE_UNAVAILABLE. */
enum rc mongo_link_get(struct mongo_store *store, unsigned number, struct mongo_link **ret,
                       struct error *err) LH_MUST_USE;

/* The name of the collection of consumers, beside that of the tasks. */
void mongo_worker_collection(const struct mongo_store *store, char ret[MONGO_NAME_CAP]);

/* RC_STORE_UNAVAILABLE with the driver's words. Returns it. */
enum rc mongo_unavailable(const bson_error_t *fault, struct error *err);

/* ---- store_mongo_find.c ---- */

/* Gets one document; anything but RC_OK ends the search with that rc. */
typedef enum rc mongo_see_doc(void *with, const bson_t *doc);

/* Finds documents and hands each over. RC_STORE_UNAVAILABLE where the server does not answer. */
enum rc mongo_find(struct mongo_link *link, const bson_t *filter, const bson_t *opts,
                   mongo_see_doc *see, void *with, struct error *err) LH_MUST_USE;

/* The same in another collection than the tasks'. */
enum rc mongo_find_in(mongoc_collection_t *collection, const bson_t *filter, const bson_t *opts,
                      mongo_see_doc *see, void *with, struct error *err) LH_MUST_USE;

/* Finds tasks, repeated for MONGO_SETTLE_MS while the server does not answer; `see` may get a
 * document again. */
enum rc mongo_find_patiently(struct mongo_link *link, const bson_t *filter, const bson_t *opts,
                             mongo_see_doc *see, void *with, struct error *err) LH_MUST_USE;

/* Exactly how many documents match, at most `limit` (0: all). */
enum rc mongo_count(struct mongo_link *link, const bson_t *filter, int64_t limit, int64_t *ret,
                    struct error *err) LH_MUST_USE;

/* Waits between two attempts. */
void mongo_pause(void);

/* ---- store_mongo_write.c ---- */

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

/* A document that replaces the fields of the one with the same key, or is new. */
struct mongo_upsert {
    bson_t *key, *body; /* the caller's; body is an update */
    enum rc rc;
    char text[192];
};

/* Writes them as one bulk; each key once. RC_OK: each has its own rc. Else that of all. One that
 * another process inserts at the same moment is RC_OK, whose fields stay is open. */
enum rc mongo_write_upserts(mongoc_collection_t *collection, struct mongo_upsert *upserts, size_t n,
                            struct error *err) LH_MUST_USE;

/* Writes guarded updates as one bulk and learns which held: each state is decided on RC_OK. Else
 * RC_STORE_UNAVAILABLE (none was written) or RC_OUTCOME_UNKNOWN; those still open may be stored. */
enum rc mongo_write_changes(struct mongo_link *link, struct mongo_change *const *changes, size_t n,
                            struct error *err) LH_MUST_USE;

/* ---- one file per kind of work: each takes its own kinds out of the batch ---- */

enum rc mongo_apply_creates(struct mongo_link *link, struct op *const *ops, size_t n,
                            struct error *err) LH_MUST_USE;
enum rc mongo_apply_changes(struct mongo_link *link, struct op *const *ops, size_t n,
                            struct error *err) LH_MUST_USE;
enum rc mongo_apply_takes(struct mongo_link *link, struct op *const *ops, size_t n,
                          struct error *err) LH_MUST_USE;
enum rc mongo_apply_workers(struct mongo_link *link, struct op *const *ops, size_t n,
                            struct error *err) LH_MUST_USE;
enum rc mongo_query_workers(struct mongo_link *link, struct query *query,
                            struct error *err) LH_MUST_USE;
enum rc mongo_run_queries(struct mongo_link *link, struct query *const *queries, size_t n,
                          struct error *err) LH_MUST_USE;

#endif
