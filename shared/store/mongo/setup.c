/* setup.c: the first contact with the server, and the links of the threads. */
#include "store/mongo/mongo.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

enum rc mongo_unavailable(const bson_error_t *fault, struct error *err) {
    error_set(err, RC_STORE_UNAVAILABLE, "mongodb: %s", fault->message);
    if (err)
        err->retryable = true;
    return RC_STORE_UNAVAILABLE;
}

static bool is_login_fault(const bson_error_t *fault) {
    return (fault->domain == MONGOC_ERROR_CLIENT &&
            fault->code == MONGOC_ERROR_CLIENT_AUTHENTICATE) ||
           (fault->domain == MONGOC_ERROR_SERVER && (fault->code == 18 || fault->code == 13));
}

static bool is_answer(const bson_error_t *fault) {
    return fault->domain == MONGOC_ERROR_SERVER;
}

static enum rc log_in(mongoc_client_t *client, const char *database, bson_error_t *fault) {
    bson_t ping = BSON_INITIALIZER;
    BSON_APPEND_INT32(&ping, "ping", 1);
    bool ok = mongoc_client_command_simple(client, database, &ping, NULL, NULL, fault);
    bson_destroy(&ping);
    if (ok)
        return RC_OK;
    return is_login_fault(fault) ? RC_CONFIG : RC_STORE_UNAVAILABLE;
}

/* A client of its own for the set-up: building an index may take longer than any other command. */
static mongoc_client_t *setup_client(const struct mongo_store *store, bool at_start) {
    mongoc_uri_t *uri = mongoc_uri_copy(store->uri);
    if (at_start)
        mongoc_uri_set_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, MONGO_SETUP_MS);
    mongoc_client_t *client = mongoc_client_new_from_uri(uri);
    if (client)
        mongoc_client_set_error_api(client, MONGOC_ERROR_API_VERSION_2);
    mongoc_uri_destroy(uri);
    return client;
}

/* Connects and logs in; a login that "admin" does not know is tried on the database itself. */
static enum rc connect_client(struct mongo_store *store, bool at_start, mongoc_client_t **ret,
                              struct error *err) {
    bson_error_t fault = {0};
    mongoc_client_t *client = setup_client(store, at_start);
    if (!client)
        return error_set(err, RC_CONFIG, "mongodb %s: the driver refuses the address", store->peer);
    enum rc rc = log_in(client, store->database, &fault);
    if (rc == RC_CONFIG && store->guess_auth) {
        mongoc_client_destroy(client);
        mongoc_uri_set_auth_source(store->uri, store->database);
        client = setup_client(store, at_start);
        rc = client ? log_in(client, store->database, &fault) : RC_CONFIG;
        if (rc != RC_OK)
            mongoc_uri_set_auth_source(store->uri, "admin");
    }
    if (rc == RC_OK) {
        *ret = client;
        return RC_OK;
    }
    mongoc_client_destroy(client);
    return rc == RC_CONFIG
               ? error_set(err, rc, "mongodb %s: login refused: %s", store->peer, fault.message)
               : mongo_unavailable(&fault, err);
}

enum { WORKER_KEPT_S = 86400 };

/* The indexes, in the order in which they are made; the first has to stand, the others make it
 * fast (that of the workers forgets those long gone). */
static const struct index {
    const char *name;
    const char *keys; /* field:direction, in order */
    bool unique;
    bool sparse; /* of documents that have the field */
    bool pending_only;
    bool alarmed_only;
    bool running_only;
    enum mongo_beside beside;
    bool expires;
} indexes[] = {
    {"task_id_1", "task_id:1", .unique = true},
    {"lh_idem", "idem:1", .unique = true, .sparse = true},
    {"lh_due", "service:1 status:1 rank:1 _id:1"},
    {"lh_alarm", "alarm_at:1 _id:1", .alarmed_only = true},
    {"lh_service_list", "service:1 status:1 create_time:-1 _id:-1"},
    {"lh_status_list", "status:1 create_time:-1 _id:-1"},
    {"lh_outbox_pick", "outbox.pick_at:1 service:1 _id:1", .pending_only = true},
    {"lh_lease", "lease.until:1 _id:1", .running_only = true},
    {"lh_claim", "run.claim_id:1", .running_only = true},
    {"lh_worker_seen", "seen_at:1", .beside = BESIDE_WORKERS, .expires = true},
    {"lh_log", "task_id:1 attempt:1 stream:1 until:1", .beside = BESIDE_LOGS},
    {"lh_gone_idem", "idem:1", .sparse = true, .beside = BESIDE_GONE},
    {"lh_gone_removed", "removed_time:1", .beside = BESIDE_GONE},
};

void mongo_collection_name(const struct mongo_store *store, enum mongo_beside beside,
                           char ret[MONGO_NAME_CAP]) {
    static const char *const ends[] = {[BESIDE_TASKS] = "",
                                       [BESIDE_WORKERS] = "_worker",
                                       [BESIDE_LOGS] = "_log",
                                       [BESIDE_SERVICES] = "_service",
                                       [BESIDE_GONE] = "_gone"};
    snprintf(ret, MONGO_NAME_CAP, "%s%s", store->collection, ends[beside]);
}

static void put_keys(bson_t *to, const char *keys) {
    bson_t inner;
    BSON_APPEND_DOCUMENT_BEGIN(to, "key", &inner);
    while (*keys) {
        size_t name = strcspn(keys, ":");
        bson_append_int32(&inner, keys, (int)name, keys[name + 1] == '-' ? -1 : 1);
        keys += strcspn(keys, " ");
        keys += strspn(keys, " ");
    }
    bson_append_document_end(to, &inner);
}

/* Which documents a partial index holds. */
static void put_partial(const struct index *index, bson_t *to) {
    bson_t after;
    if (index->pending_only)
        BSON_APPEND_BOOL(to, "outbox.pending", true);
    if (index->running_only)
        BSON_APPEND_UTF8(to, "status", task_status_name(TASK_RUNNING));
    if (!index->alarmed_only)
        return;
    BSON_APPEND_DOCUMENT_BEGIN(to, "alarm_at", &after);
    BSON_APPEND_DATE_TIME(&after, "$gt", 0);
    bson_append_document_end(to, &after);
}

static void put_index(bson_t *to, const struct index *index) {
    bson_t inner, filter;
    BSON_APPEND_DOCUMENT_BEGIN(to, "0", &inner);
    put_keys(&inner, index->keys);
    BSON_APPEND_UTF8(&inner, "name", index->name);
    if (index->unique)
        BSON_APPEND_BOOL(&inner, "unique", true);
    if (index->expires)
        BSON_APPEND_INT32(&inner, "expireAfterSeconds", WORKER_KEPT_S);
    if (index->sparse)
        BSON_APPEND_BOOL(&inner, "sparse", true);
    if (index->pending_only || index->running_only || index->alarmed_only) {
        BSON_APPEND_DOCUMENT_BEGIN(&inner, "partialFilterExpression", &filter);
        put_partial(index, &filter);
        bson_append_document_end(&inner, &filter);
    }
    bson_append_document_end(to, &inner);
}

static bool make_index(mongoc_client_t *client, const struct mongo_store *store,
                       const struct index *index, bson_error_t *fault) {
    bson_t command = BSON_INITIALIZER, list;
    char name[MONGO_NAME_CAP];
    mongo_collection_name(store, index->beside, name);
    BSON_APPEND_UTF8(&command, "createIndexes", name);
    BSON_APPEND_ARRAY_BEGIN(&command, "indexes", &list);
    put_index(&list, index);
    bson_append_array_end(&command, &list);
    bool ok =
        mongoc_client_write_command_with_opts(client, store->database, &command, NULL, NULL, fault);
    bson_destroy(&command);
    return ok;
}

/* Groups by task_id and keeps the first that stands more than once. */
static bson_t *duplicates_pipeline(void) {
    return BCON_NEW("pipeline", "[", "{", "$group", "{", "_id", "$task_id", "n", "{", "$sum",
                    BCON_INT32(1), "}", "}", "}", "{", "$match", "{", "n", "{", "$gt",
                    BCON_INT32(1), "}", "}", "}", "{", "$limit", BCON_INT32(1), "}", "]");
}

static enum rc name_duplicate(const struct mongo_store *store, const bson_t *doc,
                              struct error *err) {
    bson_iter_t id, n;
    const char *name = "null";
    if (bson_iter_init_find(&id, doc, "_id") && BSON_ITER_HOLDS_UTF8(&id))
        name = bson_iter_utf8(&id, NULL);
    int64_t count = bson_iter_init_find(&n, doc, "n") ? bson_iter_as_int64(&n) : 2;
    return error_set(err, RC_CONFIG,
                     "mongodb %s: collection %s.%s: task_id \"%.100s\" stands in %lld documents",
                     store->peer, store->database, store->collection, name, (long long)count);
}

static enum rc find_duplicates(mongoc_client_t *client, const struct mongo_store *store,
                               struct error *err) {
    mongoc_collection_t *tasks =
        mongoc_client_get_collection(client, store->database, store->collection);
    bson_t *pipeline = duplicates_pipeline();
    mongoc_cursor_t *cursor =
        mongoc_collection_aggregate(tasks, MONGOC_QUERY_NONE, pipeline, NULL, NULL);
    const bson_t *doc;
    bson_error_t fault;
    enum rc rc = RC_OK;
    if (mongoc_cursor_next(cursor, &doc))
        rc = name_duplicate(store, doc, err);
    else if (mongoc_cursor_error(cursor, &fault))
        rc = mongo_unavailable(&fault, err);
    mongoc_cursor_destroy(cursor);
    bson_destroy(pipeline);
    mongoc_collection_destroy(tasks);
    return rc;
}

/* A server that refuses an index (another stands in its place, partial ones are unknown to it) is
 * slower, not wrong; without the unique one, no task_id may stand twice. */
static enum rc make_indexes(mongoc_client_t *client, const struct mongo_store *store,
                            struct error *err) {
    for (size_t i = 0; i < sizeof indexes / sizeof *indexes; i++) {
        bson_error_t fault;
        if (make_index(client, store, &indexes[i], &fault))
            continue;
        if (!is_answer(&fault))
            return mongo_unavailable(&fault, err);
        enum rc rc =
            indexes[i].unique && !indexes[i].sparse ? find_duplicates(client, store, err) : RC_OK;
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

static enum rc open_pool(struct mongo_store *store, struct error *err) {
    store->pool = mongoc_client_pool_new(store->uri);
    if (!store->pool)
        return error_set(err, RC_CONFIG, "mongodb %s: the driver refuses the address", store->peer);
    mongoc_client_pool_set_error_api(store->pool, MONGOC_ERROR_API_VERSION_2);
    return RC_OK;
}

/* They stand before the first batch that has something to tell. */
static void start_threads(struct mongo_store *store) {
    mongo_teller_start(store);
    mongo_recount_start(store);
    atomic_store(&store->ready, true);
}

enum rc mongo_setup(struct mongo_store *store, bool at_start, struct error *err) {
    mongoc_client_t *client;
    enum rc rc = connect_client(store, at_start, &client, err);
    if (rc != RC_OK)
        return rc;
    rc = make_indexes(client, store, err);
    mongoc_client_destroy(client);
    if (rc == RC_OK)
        rc = open_pool(store, err);
    if (rc == RC_OK)
        start_threads(store);
    return rc;
}

/* The failure of the last attempt while it is young or another thread is at it. */
static bool setup_rests(struct mongo_store *store, struct error *err) {
    pthread_mutex_lock(&store->lock);
    bool young =
        store->setup_failed_ms && clock_mono_ms() - store->setup_failed_ms < MONGO_AGAIN_MS;
    if (err)
        *err = store->setup_error;
    pthread_mutex_unlock(&store->lock);
    return young;
}

static void setup_failed(struct mongo_store *store, const struct error *err) {
    pthread_mutex_lock(&store->lock);
    store->setup_error = *err;
    store->setup_error.rc = RC_STORE_UNAVAILABLE;
    store->setup_failed_ms = clock_mono_ms();
    pthread_mutex_unlock(&store->lock);
}

static enum rc setup_again(struct mongo_store *store, struct error *err) {
    struct error fault = {0};
    if (setup_rests(store, err) || atomic_exchange(&store->setting_up, true))
        return RC_STORE_UNAVAILABLE;
    enum rc rc = atomic_load(&store->ready) ? RC_OK : mongo_setup(store, false, &fault);
    if (rc != RC_OK) {
        setup_failed(store, &fault);
        if (err)
            *err = fault;
    }
    atomic_store(&store->setting_up, false);
    return rc == RC_OK ? RC_OK : RC_STORE_UNAVAILABLE;
}

static mongoc_collection_t *get_collection(const struct mongo_store *store, mongoc_client_t *client,
                                           enum mongo_beside beside) {
    char name[MONGO_NAME_CAP];
    mongo_collection_name(store, beside, name);
    return mongoc_client_get_collection(client, store->database, name);
}

bool mongo_link_open(struct mongo_store *store, struct mongo_link *ret) {
    mongoc_client_t *client = mongoc_client_pool_pop(store->pool);
    if (!client)
        return false;
    *ret = (struct mongo_link){
        .store = store,
        .client = client,
        .tasks = get_collection(store, client, BESIDE_TASKS),
        .workers = get_collection(store, client, BESIDE_WORKERS),
        .logs = get_collection(store, client, BESIDE_LOGS),
        .services = get_collection(store, client, BESIDE_SERVICES),
        .gone = get_collection(store, client, BESIDE_GONE),
    };
    return true;
}

void mongo_link_close(struct mongo_store *store, struct mongo_link *link) {
    if (!link->client)
        return;
    mongoc_collection_destroy(link->tasks);
    mongoc_collection_destroy(link->workers);
    mongoc_collection_destroy(link->logs);
    mongoc_collection_destroy(link->services);
    mongoc_collection_destroy(link->gone);
    mongoc_client_pool_push(store->pool, link->client);
    free(link->deltas.rows);
    mongo_fresh_finish(link);
    *link = (struct mongo_link){0};
}

enum rc mongo_link_get(struct mongo_store *store, unsigned number, struct mongo_link **ret,
                       struct error *err) {
    struct mongo_link *link = &store->links[number];
    if (!atomic_load(&store->ready)) {
        enum rc rc = setup_again(store, err);
        if (rc != RC_OK)
            return rc;
    }
    if (!link->client && !mongo_link_open(store, link))
        return error_set(err, RC_STORE_UNAVAILABLE, "mongodb %s: no free connection", store->peer);
    *ret = link;
    return RC_OK;
}
