/* log.c: logs of runs as documents, and QUERY_LOG. */
#include "store/mongo/log.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { READS_MAX = 5 };

void mongo_log_id(const struct mongo_log_key *key, char ret[MONGO_LOG_KEY_CAP]) {
    snprintf(ret, MONGO_LOG_KEY_CAP, "%s/%" PRId64 "/%s", key->task_id, key->attempt,
             run_stream_name(key->stream));
}

static void put_stream(const struct mongo_log_key *key, bson_t *to) {
    BSON_APPEND_UTF8(to, "task_id", key->task_id);
    BSON_APPEND_INT64(to, "attempt", key->attempt);
    BSON_APPEND_UTF8(to, "stream", run_stream_name(key->stream));
}

static void put_bytes(bson_t *to, const char *name, const char *bytes, size_t len) {
    bson_append_binary(to, name, -1, BSON_SUBTYPE_BINARY, (const uint8_t *)(bytes ? bytes : ""),
                       (uint32_t)len);
}

/* ---- writing ---- */

void mongo_log_put_chunk(const struct mongo_log_key *key, const struct run_log_chunk *chunk,
                         bson_t *to_key, bson_t *to_body) {
    char head[MONGO_LOG_KEY_CAP], id[MONGO_LOG_KEY_CAP + 48];
    int64_t until = chunk->at + (int64_t)chunk->len;
    mongo_log_id(key, head);
    snprintf(id, sizeof id, "%s/%" PRId64 "-%" PRId64, head, chunk->at, until);
    BSON_APPEND_UTF8(to_key, "_id", id);
    bson_t set;
    BSON_APPEND_DOCUMENT_BEGIN(to_body, "$set", &set);
    put_stream(key, &set);
    BSON_APPEND_INT64(&set, "at", chunk->at);
    BSON_APPEND_INT64(&set, "until", until);
    put_bytes(&set, "bytes", chunk->bytes, chunk->len);
    bson_append_document_end(to_body, &set);
}

void mongo_log_put_head(const struct mongo_log_key *key, const struct run_log *read,
                        const struct run_log *log, bson_t *to_guard, bson_t *to_body) {
    char id[MONGO_LOG_KEY_CAP];
    mongo_log_id(key, id);
    BSON_APPEND_UTF8(to_guard, "_id", id);
    BSON_APPEND_INT64(to_guard, "end", read->end);
    BSON_APPEND_BOOL(to_guard, "closed", read->closed);
    bson_t set;
    BSON_APPEND_DOCUMENT_BEGIN(to_body, "$set", &set);
    put_stream(key, &set);
    BSON_APPEND_INT64(&set, "end", log->end);
    BSON_APPEND_INT64(&set, "cut_from", log->cut_from);
    BSON_APPEND_INT64(&set, "cut_to", log->cut_to);
    BSON_APPEND_INT64(&set, "open_at", log->open_at);
    put_bytes(&set, "open", log->open, (size_t)(log->end - log->open_at));
    BSON_APPEND_BOOL(&set, "closed", log->closed);
    bson_append_document_end(to_body, &set);
}

void mongo_log_put_within(const struct mongo_log_key *key, int64_t from, int64_t to,
                          bson_t *to_filter) {
    bson_t at, until;
    put_stream(key, to_filter);
    BSON_APPEND_DOCUMENT_BEGIN(to_filter, "until", &until);
    BSON_APPEND_INT64(&until, "$gt", from);
    BSON_APPEND_INT64(&until, "$lte", to);
    bson_append_document_end(to_filter, &until);
    BSON_APPEND_DOCUMENT_BEGIN(to_filter, "at", &at);
    BSON_APPEND_INT64(&at, "$gte", from);
    bson_append_document_end(to_filter, &at);
}

/* ---- reading ---- */

static bool int_at(const bson_t *doc, const char *name, int64_t *ret) {
    bson_iter_t iter;
    if (!bson_iter_init_find(&iter, doc, name) || !BSON_ITER_HOLDS_INT(&iter))
        return false;
    *ret = bson_iter_as_int64(&iter);
    return true;
}

static bool bytes_at(const bson_t *doc, const char *name, const uint8_t **ret, size_t *ret_len) {
    bson_iter_t iter;
    bson_subtype_t subtype;
    uint32_t len;
    if (!bson_iter_init_find(&iter, doc, name) || !BSON_ITER_HOLDS_BINARY(&iter))
        return false;
    bson_iter_binary(&iter, &subtype, &len, ret);
    *ret_len = len;
    return true;
}

enum rc mongo_log_read_head(const bson_t *doc, struct run_log *ret) {
    struct run_log log = {0};
    bson_iter_t closed;
    const uint8_t *open;
    size_t len;
    if (!int_at(doc, "end", &log.end) || !int_at(doc, "cut_from", &log.cut_from) ||
        !int_at(doc, "cut_to", &log.cut_to) || !int_at(doc, "open_at", &log.open_at) ||
        !bytes_at(doc, "open", &open, &len) || (int64_t)len != log.end - log.open_at ||
        !bson_iter_init_find(&closed, doc, "closed") || !BSON_ITER_HOLDS_BOOL(&closed))
        return RC_NOT_FOUND;
    log.closed = bson_iter_bool(&closed);
    log.open = mem_dup(open, len);
    if (!log.open)
        return RC_NO_MEMORY;
    *ret = log;
    return RC_OK;
}

static enum rc see_head(void *with, const bson_t *doc) {
    return mongo_log_read_head(doc, with);
}

static enum rc load_head(struct mongo_link *link, const struct mongo_log_key *key,
                         struct run_log *ret, struct error *err) {
    char id[MONGO_LOG_KEY_CAP];
    mongo_log_id(key, id);
    bson_t *filter = BCON_NEW("_id", BCON_UTF8(id));
    bson_t opts = BSON_INITIALIZER;
    enum rc rc = mongo_find_in(link->logs, filter, &opts, see_head, ret, err);
    bson_destroy(filter);
    bson_destroy(&opts);
    return rc;
}

/* A range that is being put together. */
struct gather {
    struct run_log_range range;
    char *bytes;
    size_t len;
};

static enum rc see_chunk(void *with, const bson_t *doc) {
    struct gather *gather = with;
    const uint8_t *bytes;
    int64_t at;
    size_t len;
    if (int_at(doc, "at", &at) && bytes_at(doc, "bytes", &bytes, &len))
        run_log_gather(gather->range, at, bytes, len, gather->bytes, &gather->len);
    return RC_OK;
}

/* Chunks overlap where two processes wrote the same bytes at once: any of them will do. */
static enum rc load_chunks(struct mongo_link *link, const struct mongo_log_key *key,
                           struct gather *gather, struct error *err) {
    bson_t filter = BSON_INITIALIZER, range;
    put_stream(key, &filter);
    BSON_APPEND_DOCUMENT_BEGIN(&filter, "until", &range);
    BSON_APPEND_INT64(&range, "$gt", gather->range.from);
    BSON_APPEND_INT64(&range, "$lte", gather->range.to + RUN_LOG_CHUNK_BYTES);
    bson_append_document_end(&filter, &range);
    bson_t *opts = BCON_NEW("sort", "{", "until", BCON_INT32(1), "}");
    enum rc rc = mongo_find_in(link->logs, &filter, opts, see_chunk, gather, err);
    bson_destroy(&filter);
    bson_destroy(opts);
    return rc;
}

/* Loads the range of a log whose head has been read. RC_NOT_FOUND: chunks of it are gone. */
static enum rc load_range(struct mongo_link *link, const struct mongo_log_key *key,
                          const struct run_log *log, struct gather *gather, struct error *err) {
    size_t want = (size_t)(gather->range.to - gather->range.from);
    gather->bytes = malloc(want + 1);
    if (!gather->bytes)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    enum rc rc = gather->range.from < log->open_at ? load_chunks(link, key, gather, err) : RC_OK;
    if (rc != RC_OK)
        return rc;
    run_log_gather(gather->range, log->open_at, log->open, (size_t)(log->end - log->open_at),
                   gather->bytes, &gather->len);
    return gather->len == want ? RC_OK : RC_NOT_FOUND;
}

static enum rc load_once(struct mongo_link *link, const struct mongo_log_key *key,
                         struct query *query, struct error *err) {
    struct store_log ret = {.attempt = key->attempt};
    struct gather gather = {0};
    enum rc rc = load_head(link, key, &ret.log, err);
    if (rc == RC_OK) {
        gather.range = run_log_range(&ret.log, query->log_from, query->max_bytes);
        rc = load_range(link, key, &ret.log, &gather, err);
    }
    free(TAKE(ret.log.open));
    if (rc != RC_OK) {
        free(gather.bytes);
        return rc;
    }
    ret.at = gather.range.from;
    ret.bytes = gather.bytes;
    ret.len = gather.len;
    query->log = ret;
    return RC_OK;
}

/* Between head and chunks the log may have been cut: then the head says so the next time. */
static enum rc load_log(struct mongo_link *link, struct query *query, struct error *err) {
    const struct task *task = &query->tasks[0];
    struct mongo_log_key key = {.task_id = query->ids[0],
                                .attempt = query->attempt ? query->attempt : task->attempt,
                                .stream = query->stream};
    enum rc rc = RC_NOT_FOUND;
    for (int i = 0; rc == RC_NOT_FOUND && i < READS_MAX; i++)
        rc = load_once(link, &key, query, err);
    if (rc == RC_NOT_FOUND)
        return error_set(err, RC_STORE_UNAVAILABLE, "mongodb: the log of %s has holes",
                         key.task_id);
    return rc;
}

static struct mongo_want want_of(const struct query *query) {
    return (struct mongo_want){.past = query->attempt > 0};
}

static enum rc see_task(void *with, const bson_t *doc) {
    struct query *query = with;
    enum rc rc = mongo_doc_read(doc, want_of(query), &query->tasks[0]);
    query->n_tasks = rc == RC_OK;
    return rc == RC_NOT_FOUND ? RC_OK : rc;
}

enum rc mongo_query_log(struct mongo_link *link, struct query *query, struct error *err) {
    query->tasks = calloc(1, sizeof *query->tasks);
    if (!query->tasks)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    bson_t *filter = BCON_NEW("task_id", BCON_UTF8(query->ids[0]));
    bson_t opts = BSON_INITIALIZER;
    mongo_doc_project(&opts, want_of(query));
    BSON_APPEND_INT32(&opts, "limit", 1);
    enum rc rc = mongo_find(link, filter, &opts, see_task, query, err);
    bson_destroy(filter);
    bson_destroy(&opts);
    if (rc == RC_OK && !query->n_tasks)
        return mongo_gone_find(link, (const char *const *)query->ids, 1, see_task, query, err);
    return rc == RC_OK ? load_log(link, query, err) : rc;
}
