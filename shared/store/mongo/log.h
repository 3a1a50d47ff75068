/* log.h: the log of a stream as documents of `<c>_log` (docs/internals/mongodb.md): a
 * head, which holds the numbers and the open part, and chunks. For the MongoDB back end's own
 * files. */
#ifndef LH_STORE_STORE_MONGO_LOG_H
#define LH_STORE_STORE_MONGO_LOG_H

#include "store/mongo/mongo.h"

enum { MONGO_LOG_KEY_CAP = TASK_TEXT_CAP + 96 };

/* A stream of one attempt of a task. */
struct mongo_log_key {
    const char *task_id; /* borrowed */
    int64_t attempt;
    enum run_stream stream;
};

/* The head's _id; a chunk's begins with it. */
void mongo_log_id(const struct mongo_log_key *key, char ret[MONGO_LOG_KEY_CAP]);

/* The key and the update that write a chunk, empty before. Written again they change nothing. */
void mongo_log_put_chunk(const struct mongo_log_key *key, const struct run_log_chunk *chunk,
                         bson_t *to_key, bson_t *to_body);

/* The guard (the head as it was read) and the update of a head, empty before. */
void mongo_log_put_head(const struct mongo_log_key *key, const struct run_log *read,
                        const struct run_log *log, bson_t *to_guard, bson_t *to_body);

/* Reads a head into *ret, which the caller owns. RC_NOT_FOUND: it is none of ours. RC_NO_MEMORY. */
enum rc mongo_log_read_head(const bson_t *doc, struct run_log *ret) LH_MUST_USE;

/* The filter of all chunks of a stream within [from, to), empty before. */
void mongo_log_put_within(const struct mongo_log_key *key, int64_t from, int64_t to,
                          bson_t *to_filter);

#endif
