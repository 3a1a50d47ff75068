/* store_mongo_db.h: what the store contract does to a MongoDB server by itself. */
#ifndef LH_TESTS_STORE_MONGO_DB_H
#define LH_TESTS_STORE_MONGO_DB_H

/* Drops a database that a test made. */
void store_mongo_db_drop(const char *uri, const char *name);

#endif
