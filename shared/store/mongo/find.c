/* find.c: finding and counting documents. */
#include "store/mongo/mongo.h"

#include "base/clock.h"

#include <time.h>

/* Documents of one answer: all that anybody asks for at once, so that there is one round trip, and
 * none that a change between two batches hides. The server cuts an answer at 16 MiB in any case. */
enum { BATCH_DOCS = 100 * 1000 };

enum rc mongo_see_all(mongoc_cursor_t *cursor, mongo_see_doc *see, void *with, struct error *err) {
    enum rc rc = RC_OK;
    bson_error_t fault;
    const bson_t *doc;
    while (rc == RC_OK && mongoc_cursor_next(cursor, &doc))
        rc = see(with, doc);
    if (rc != RC_OK)
        error_set(err, rc, "%s", rc_info(rc)->text);
    else if (mongoc_cursor_error(cursor, &fault))
        rc = mongo_unavailable(&fault, err);
    mongoc_cursor_destroy(cursor);
    return rc;
}

enum rc mongo_find_in(mongoc_collection_t *collection, const bson_t *filter, const bson_t *opts,
                      mongo_see_doc *see, void *with, struct error *err) {
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(collection, filter, opts, NULL);
    if (!opts || !bson_has_field(opts, "batchSize"))
        mongoc_cursor_set_batch_size(cursor, BATCH_DOCS);
    return mongo_see_all(cursor, see, with, err);
}

enum rc mongo_find(struct mongo_link *link, const bson_t *filter, const bson_t *opts,
                   mongo_see_doc *see, void *with, struct error *err) {
    return mongo_find_in(link->tasks, filter, opts, see, with, err);
}

void mongo_pause(void) {
    nanosleep(&(struct timespec){.tv_nsec = 100 * 1000 * 1000}, NULL);
}

enum rc mongo_find_patiently(struct mongo_link *link, const bson_t *filter, const bson_t *opts,
                             mongo_see_doc *see, void *with, struct error *err) {
    int64_t until = clock_mono_ms() + MONGO_SETTLE_MS;
    for (;;) {
        enum rc rc = mongo_find(link, filter, opts, see, with, err);
        if (rc != RC_STORE_UNAVAILABLE || clock_mono_ms() >= until)
            return rc;
        mongo_pause();
    }
}

enum rc mongo_count(struct mongo_link *link, const bson_t *filter, int64_t limit, int64_t *ret,
                    struct error *err) {
    bson_t opts = BSON_INITIALIZER;
    bson_error_t fault;
    if (limit > 0)
        BSON_APPEND_INT64(&opts, "limit", limit);
    int64_t n = mongoc_collection_count_documents(link->tasks, filter, &opts, NULL, NULL, &fault);
    bson_destroy(&opts);
    if (n < 0)
        return mongo_unavailable(&fault, err);
    *ret = n;
    return RC_OK;
}
