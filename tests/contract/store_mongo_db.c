/* store_mongo_db.c: see store_mongo_db.h. */
#include "store_mongo_db.h"

#include <mongoc/mongoc.h>

#include <stdio.h>

void store_mongo_db_drop(const char *uri, const char *name) {
    mongoc_init();
    mongoc_client_t *client = mongoc_client_new(uri);
    mongoc_database_t *database = client ? mongoc_client_get_database(client, name) : NULL;
    bson_error_t error = {0};
    if (!database || !mongoc_database_drop(database, &error))
        fprintf(stderr, "database %s stays: %s\n", name, error.message);
    mongoc_database_destroy(database);
    mongoc_client_destroy(client);
}
