/* uri.c: from the configuration to the driver's URI. */
#include "store/mongo/mongo.h"

#include "base/mem.h"

#include <string.h>

static bool is_set(const char *text) {
    return text && text[0];
}

static mongoc_uri_t *uri_of_parts(const struct config_mongo *mongo) {
    mongoc_uri_t *uri = mongoc_uri_new_for_host_port(mongo->host, (uint16_t)mongo->port);
    if (!uri || !is_set(mongo->username))
        return uri;
    mongoc_uri_set_username(uri, mongo->username);
    mongoc_uri_set_password(uri, mongo->password ? mongo->password : "");
    mongoc_uri_set_auth_source(uri, "admin");
    return uri;
}

/* A URI that names a user and no password takes that of MONGO_PASSWORD, so that none need stand in
 * a file. */
static mongoc_uri_t *uri_of_text(const struct config_mongo *mongo) {
    mongoc_uri_t *uri = mongoc_uri_new(mongo->uri);
    if (uri && mongoc_uri_get_username(uri) && !mongoc_uri_get_password(uri) &&
        is_set(mongo->password))
        mongoc_uri_set_password(uri, mongo->password);
    return uri;
}

/* Our limits; what the URI itself says stands. */
static void set_limits(mongoc_uri_t *uri, unsigned n_links) {
    const struct {
        const char *option;
        int32_t value;
    } limits[] = {
        {MONGOC_URI_SERVERSELECTIONTIMEOUTMS, MONGO_SELECT_MS},
        {MONGOC_URI_CONNECTTIMEOUTMS, MONGO_CONNECT_MS},
        {MONGOC_URI_SOCKETTIMEOUTMS, MONGO_SOCKET_MS},
        {MONGOC_URI_WAITQUEUETIMEOUTMS, 1000},
    };
    for (size_t i = 0; i < LH_COUNT(limits); i++)
        if (!mongoc_uri_has_option(uri, limits[i].option))
            mongoc_uri_set_option_as_int32(uri, limits[i].option, limits[i].value);
    mongoc_uri_set_option_as_int32(uri, MONGOC_URI_MAXPOOLSIZE, (int32_t)n_links + 2);
    if (!mongoc_uri_has_option(uri, MONGOC_URI_RETRYWRITES))
        mongoc_uri_set_option_as_bool(uri, MONGOC_URI_RETRYWRITES, true);
    if (!mongoc_uri_get_appname(uri))
        mongoc_uri_set_appname(uri, "longhaul");
}

static void name_peer(const mongoc_uri_t *uri, char *to, size_t cap) {
    struct buf names;
    buf_init(&names, cap - 1);
    const mongoc_host_list_t *host = mongoc_uri_get_hosts(uri);
    buf_str(&names, host ? host->host_and_port : "mongodb");
    for (host = host ? host->next : NULL; host; host = host->next) {
        buf_char(&names, ',');
        buf_str(&names, host->host_and_port);
    }
    (void)mem_copy_str(to, cap, buf_rc(&names) == RC_OK ? names.data : "mongodb");
    buf_finish(&names);
}

enum rc mongo_uri_make(const struct config *cfg, unsigned n_links, struct mongo_store *store,
                       struct error *err) {
    const struct config_mongo *mongo = &cfg->mongo;
    bool whole = is_set(mongo->uri);
    if (!whole && !is_set(mongo->host))
        return error_set(err, RC_CONFIG, "MONGO_HOST: no MongoDB server is named");
    mongoc_uri_t *uri = whole ? uri_of_text(mongo) : uri_of_parts(mongo);
    if (!uri) /* the driver's words could hold the password */
        return error_set(err, RC_CONFIG, "%s: not the address of a MongoDB server",
                         whole ? "MONGO_URI" : "MONGO_HOST");
    store->uri = uri;
    store->guess_auth = !whole && is_set(mongo->username);
    const char *database = is_set(mongo->dbname) ? mongo->dbname : mongoc_uri_get_database(uri);
    if (!is_set(database))
        database = "longhaul";
    store->database = mem_dup(database, strlen(database));
    if (!store->database)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    store->collection = cfg->env == ENV_TEST ? "dev_task" : "prod_task";
    set_limits(uri, n_links);
    name_peer(uri, store->peer, sizeof store->peer);
    return RC_OK;
}
