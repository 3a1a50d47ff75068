/* log_write.c: OP_LOG: appends by compare-and-set on the stream's head.
 *
 * All appends of a batch to one stream are decided one after another on its head in memory. Their
 * chunks are written first, then the head, guarded by the end that was read: a chunk that no head
 * reaches yet is not read. Where another process was faster the head is read again, and what it has
 * taken of the same bytes overlaps and is dropped; so nothing is doubled, also after an answer that
 * was lost.
 */
#include "base/mem.h"
#include "store/mongo/log.h"
#include "store/store_batch.h"
#include "task/lifecycle.h"

#include <stdio.h>
#include <string.h>

enum { ROUNDS_MAX = 30 };

/* An append and its place in the queue. */
struct append {
    struct op *op;
    size_t place;
    struct mongo_log_key key;
    bool known;               /* its run is: key.attempt is set */
    struct run_log_step step; /* of the round */
};

/* The appends to one stream. */
struct stream {
    struct append *appends;
    size_t n;
    char id[MONGO_LOG_KEY_CAP];
    struct run_log read, log; /* as loaded, and as it shall be */
    bool exists;
    bool unreadable; /* what stands there is no head: nothing is decided on it */
    size_t n_chunks;
    bool done;
};

struct work {
    struct mongo_link *link;
    struct append *appends; /* in the order of streams, then of the queue */
    size_t n;
    struct stream *streams;
    size_t n_streams;
    struct mongo_want want; /* of a task */
};

static bool is_mine(const struct op *op) {
    return op->kind == OP_LOG && op->rc == RC_OK;
}

/* ---- whose run? ---- */

static void judge_run(struct append *append, const struct task *task) {
    append->op->rc = lifecycle_log(task, append->op, &append->key.attempt);
    append->known = append->op->rc == RC_OK;
}

static enum rc see_task(void *with, const bson_t *doc) {
    struct work *work = with;
    struct task task;
    enum rc rc = mongo_doc_read(doc, work->want, &task);
    if (rc != RC_OK)
        return rc == RC_NOT_FOUND ? RC_OK : rc;
    for (size_t i = 0; i < work->n; i++)
        if (!work->appends[i].known && strcmp(work->appends[i].op->task_id, task.task_id) == 0)
            judge_run(&work->appends[i], &task);
    task_finish(&task);
    return RC_OK;
}

static void put_in(bson_t *filter, const char *field, const char *const *texts, size_t n) {
    bson_t inner, in;
    char room[MONGO_INDEX_CAP];
    BSON_APPEND_DOCUMENT_BEGIN(filter, field, &inner);
    BSON_APPEND_ARRAY_BEGIN(&inner, "$in", &in);
    for (size_t i = 0; i < n; i++)
        BSON_APPEND_UTF8(&in, mongo_index_key(i, room), texts[i]);
    bson_append_array_end(&inner, &in);
    bson_append_document_end(filter, &inner);
}

/* Looks up the tasks of the appends whose outcome so far is `rc`. */
static enum rc find_tasks(struct work *work, enum rc of, struct error *err) {
    LH_FREE const char **ids = calloc(work->n, sizeof *ids);
    if (!ids)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    size_t n = 0;
    for (size_t i = 0; i < work->n; i++) {
        const struct op *op = work->appends[i].op;
        if (op->rc == of && (n == 0 || strcmp(ids[n - 1], op->task_id) != 0))
            ids[n++] = op->task_id;
    }
    if (n == 0)
        return RC_OK;
    bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER;
    put_in(&filter, "task_id", ids, n);
    mongo_doc_project(&opts, work->want);
    enum rc rc = mongo_find(work->link, &filter, &opts, see_task, work, err);
    bson_destroy(&filter);
    bson_destroy(&opts);
    return rc;
}

/* The records of earlier runs are read only for one of them. */
static enum rc find_runs(struct work *work, struct error *err) {
    for (size_t i = 0; i < work->n; i++)
        work->appends[i].op->rc = RC_UNKNOWN_TASK;
    enum rc rc = find_tasks(work, RC_UNKNOWN_TASK, err);
    work->want.past = true;
    return rc == RC_OK ? find_tasks(work, RC_STALE_RUN, err) : rc;
}

/* ---- grouping ---- */

static int by_stream_then_place(const void *a, const void *b) {
    const struct append *left = a, *right = b;
    int order = strcmp(left->op->task_id, right->op->task_id);
    if (!order && left->key.attempt != right->key.attempt)
        order = left->key.attempt < right->key.attempt ? -1 : 1;
    if (!order)
        order = (int)left->key.stream - (int)right->key.stream;
    return order ? order : left->place < right->place ? -1 : 1;
}

/* Appends of a run that is not known are left out. */
static void group(struct work *work) {
    qsort(work->appends, work->n, sizeof *work->appends, by_stream_then_place);
    for (size_t i = 0; i < work->n; i++) {
        struct append *append = &work->appends[i];
        if (!append->known)
            continue;
        struct stream stream = {.appends = append, .n = 1};
        mongo_log_id(&append->key, stream.id);
        struct stream *last = work->n_streams ? &work->streams[work->n_streams - 1] : NULL;
        if (last && strcmp(last->id, stream.id) == 0)
            last->n++;
        else
            work->streams[work->n_streams++] = stream;
    }
}

/* ---- rounds ---- */

static void fail_stream(struct stream *stream, enum rc rc, const char *text) {
    for (size_t i = 0; i < stream->n; i++)
        store_op_fail(stream->appends[i].op, rc, text && *text ? text : rc_info(rc)->text);
    stream->done = true;
}

/* Takes part in what the round writes. */
static bool is_open(const struct stream *stream) {
    return !stream->done && !stream->unreadable;
}

static enum rc see_head(void *with, const bson_t *doc) {
    struct work *work = with;
    bson_iter_t iter;
    if (!bson_iter_init_find(&iter, doc, "_id") || !BSON_ITER_HOLDS_UTF8(&iter))
        return RC_OK;
    const char *id = bson_iter_utf8(&iter, NULL);
    for (size_t i = 0; i < work->n_streams; i++) {
        struct stream *stream = &work->streams[i];
        if (stream->done || stream->exists || strcmp(stream->id, id) != 0)
            continue;
        enum rc rc = mongo_log_read_head(doc, &stream->log);
        stream->exists = true;
        stream->unreadable = rc == RC_NOT_FOUND;
        return rc == RC_NOT_FOUND ? RC_OK : rc;
    }
    return RC_OK;
}

static enum rc load_heads(struct work *work, struct error *err) {
    LH_FREE const char **ids = calloc(work->n_streams, sizeof *ids);
    if (!ids)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    size_t n = 0;
    for (size_t i = 0; i < work->n_streams; i++)
        if (!work->streams[i].done)
            ids[n++] = work->streams[i].id;
    bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER;
    put_in(&filter, "_id", ids, n);
    enum rc rc = mongo_find_in(work->link->logs, &filter, &opts, see_head, work, err);
    bson_destroy(&filter);
    bson_destroy(&opts);
    return rc;
}

/* Decides every append of the stream on its head; done where nothing has to be written. */
static void decide(struct stream *stream) {
    bool changed = false;
    stream->read = stream->log;
    stream->read.open = NULL; /* the guard is numbers alone */
    for (size_t i = 0; i < stream->n; i++) {
        struct append *append = &stream->appends[i];
        struct op *op = append->op;
        struct run_log_piece piece = {op->log_offset, op->log_skipped, op->value,
                                      op->value_len,  op->log_close,   op->log_cap};
        op->rc = run_log_append(&stream->log, &piece, &append->step);
        op->log_end = stream->log.end;
        changed |= append->step.changed;
        stream->n_chunks += append->step.n_chunks;
        if (op->rc == RC_NO_MEMORY) {
            fail_stream(stream, RC_NO_MEMORY, NULL);
            return;
        }
    }
    stream->done = !changed;
}

static void forget_round(struct work *work) {
    for (size_t i = 0; i < work->n_streams; i++) {
        struct stream *stream = &work->streams[i];
        run_log_finish(&stream->log);
        stream->exists = stream->unreadable = false;
        stream->n_chunks = 0;
        for (size_t k = 0; k < stream->n; k++)
            run_log_step_finish(&stream->appends[k].step);
    }
}

static void free_upserts(struct mongo_upsert *upserts, size_t n) {
    for (size_t i = 0; i < n; i++) {
        bson_destroy(upserts[i].key);
        bson_destroy(upserts[i].body);
    }
}

static size_t put_chunks(const struct append *append, struct mongo_upsert *upserts) {
    const struct run_log_step *step = &append->step;
    for (size_t i = 0; i < step->n_chunks; i++) {
        upserts[i] = (struct mongo_upsert){.key = bson_new(), .body = bson_new()};
        mongo_log_put_chunk(&append->key, &step->chunks[i], upserts[i].key, upserts[i].body);
    }
    return step->n_chunks;
}

/* A stream one of whose chunks the server refuses is not written further. */
static void judge_chunks(struct stream *stream, const struct mongo_upsert *upserts) {
    for (size_t i = 0; i < stream->n_chunks && !stream->done; i++)
        if (upserts[i].rc != RC_OK)
            fail_stream(stream, upserts[i].rc, upserts[i].text);
}

/* Chunks alone store nothing, so a failure is "surely not stored". */
static enum rc write_chunks(struct work *work, struct error *err) {
    size_t n = 0, k = 0;
    for (size_t i = 0; i < work->n_streams; i++)
        n += is_open(&work->streams[i]) ? work->streams[i].n_chunks : 0;
    if (n == 0)
        return RC_OK;
    LH_FREE struct mongo_upsert *upserts = calloc(n, sizeof *upserts);
    if (!upserts)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < work->n_streams; i++)
        for (size_t a = 0; is_open(&work->streams[i]) && a < work->streams[i].n; a++)
            k += put_chunks(&work->streams[i].appends[a], upserts + k);
    enum rc rc = mongo_write_upserts(work->link->logs, upserts, n, err);
    k = 0;
    for (size_t i = 0; rc == RC_OK && i < work->n_streams; i++) {
        struct stream *stream = &work->streams[i];
        bool written = is_open(stream);
        if (written)
            judge_chunks(stream, upserts + k);
        k += written ? stream->n_chunks : 0;
    }
    free_upserts(upserts, n);
    return rc == RC_OUTCOME_UNKNOWN ? RC_STORE_UNAVAILABLE : rc;
}

static void remove_cut(const struct work *work) {
    for (size_t i = 0; i < work->n_streams; i++) {
        const struct stream *stream = &work->streams[i];
        const struct run_log *log = &stream->log;
        if (!stream->n_chunks || log->cut_from == log->cut_to)
            continue;
        bson_t filter = BSON_INITIALIZER;
        mongo_log_put_within(&stream->appends[0].key, log->cut_from, log->cut_to, &filter);
        /* What stays is not read, and removed with the next cut or with the task. */
        (void)mongoc_collection_delete_many(work->link->logs, &filter, NULL, NULL, NULL);
        bson_destroy(&filter);
    }
}

static enum rc write_heads(struct work *work, struct error *err) {
    LH_FREE struct mongo_upsert *upserts = calloc(work->n_streams, sizeof *upserts);
    LH_FREE struct stream **open = calloc(work->n_streams, sizeof(struct stream *));
    size_t n = 0;
    bool all = false;
    if (!upserts || !open)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < work->n_streams; i++) {
        struct stream *stream = &work->streams[i];
        if (!is_open(stream))
            continue;
        upserts[n] =
            (struct mongo_upsert){.key = bson_new(), .body = bson_new(), .exists = stream->exists};
        mongo_log_put_head(&stream->appends[0].key, &stream->read, &stream->log, upserts[n].key,
                           upserts[n].body);
        open[n++] = stream;
    }
    enum rc rc = n ? mongo_write_guarded(work->link->logs, upserts, n, &all, err) : RC_OK;
    for (size_t i = 0; rc == RC_OK && i < n; i++) {
        if (upserts[i].rc != RC_OK)
            fail_stream(open[i], upserts[i].rc, upserts[i].text);
        open[i]->done |= all;
    }
    free_upserts(upserts, n);
    if (rc == RC_OK && all)
        remove_cut(work);
    return rc;
}

static bool all_done(const struct work *work) {
    for (size_t i = 0; i < work->n_streams; i++)
        if (!work->streams[i].done)
            return false;
    return true;
}

static enum rc run_round(struct work *work, struct error *err) {
    enum rc rc = load_heads(work, err);
    for (size_t i = 0; rc == RC_OK && i < work->n_streams; i++)
        if (is_open(&work->streams[i]))
            decide(&work->streams[i]);
    if (rc == RC_OK)
        rc = write_chunks(work, err);
    if (rc == RC_OK)
        rc = write_heads(work, err);
    return rc;
}

static enum rc run_rounds(struct work *work, struct error *err) {
    enum rc rc = RC_OK;
    for (int i = 0; rc == RC_OK && !all_done(work) && i < ROUNDS_MAX; i++) {
        rc = run_round(work, err);
        forget_round(work);
    }
    for (size_t i = 0; i < work->n_streams; i++)
        if (!work->streams[i].done)
            fail_stream(&work->streams[i], rc == RC_OK ? RC_OVERLOADED : rc, NULL);
    return rc;
}

static enum rc run(struct work *work, struct error *err) {
    enum rc rc = find_runs(work, err);
    if (rc != RC_OK) {
        for (size_t i = 0; i < work->n; i++)
            store_op_fail(work->appends[i].op, rc, rc_info(rc)->text);
        return rc;
    }
    group(work);
    return run_rounds(work, err);
}

enum rc mongo_apply_logs(struct mongo_link *link, struct op *const *ops, size_t n,
                         struct error *err) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += is_mine(ops[i]);
    if (!count)
        return RC_OK;
    LH_FREE struct append *appends = calloc(count, sizeof *appends);
    LH_FREE struct stream *streams = calloc(count, sizeof *streams);
    struct work work = {.link = link, .appends = appends, .streams = streams};
    if (!appends || !streams) {
        for (size_t i = 0; i < n; i++)
            if (is_mine(ops[i]))
                store_op_fail(ops[i], RC_NO_MEMORY, rc_info(RC_NO_MEMORY)->text);
        return error_set(err, RC_NO_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < n; i++)
        if (is_mine(ops[i]))
            appends[work.n++] = (struct append){
                .op = ops[i], .place = i, .key = {ops[i]->task_id, 0, ops[i]->stream}};
    return run(&work, err);
}

enum rc mongo_logs_delete(struct mongo_link *link, const char *const *task_ids, size_t n,
                          struct error *err) {
    bson_t filter = BSON_INITIALIZER;
    bson_error_t fault;
    put_in(&filter, "task_id", task_ids, n);
    bool ok = mongoc_collection_delete_many(link->logs, &filter, NULL, NULL, &fault);
    bson_destroy(&filter);
    return ok ? RC_OK : mongo_unavailable(&fault, err);
}
