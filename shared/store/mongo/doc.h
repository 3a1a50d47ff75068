/* doc.h: a task as a MongoDB document (docs/internals/mongodb.md shows one).
 *
 * The base contract's fields keep their names and types; ours stand beside them, `lh` first, and a
 * document without `lh` is a base-contract document that nobody of ours has changed yet. A document
 * without a usable task_id, or with a status that is none of the five, is not a task. Pure
 * functions.
 */
#ifndef LH_STORE_MONGO_DOC_H
#define LH_STORE_MONGO_DOC_H

#include "task/task.h"

#include <bson/bson.h>

enum {
    MONGO_DOC_SCHEMA = 1,
    MONGO_DOC_OPS_KEPT = 16,
    MONGO_DOC_RUNS_KEPT = 1000,
    MONGO_INDEX_CAP = 16,
    MONGO_DOC_BYTES_MAX = (16 << 20) - (16 << 10), /* what servers take, less some room for keys */
};

/* Which of the big fields a reader needs. */
struct mongo_want {
    bool condition, result;
    bool past; /* the records of earlier runs */
};

/* What became of a change that was sent. */
enum mongo_change_state {
    CHANGE_OPEN,    /* not decided */
    CHANGE_HELD,    /* it is in the store */
    CHANGE_LOST,    /* somebody else changed the task first: read and decide again */
    CHANGE_REFUSED, /* the server will not have it, `rc` and `text` say why */
};

/* A task that was read and then changed in memory. The guard of its update is what was read. */
struct mongo_change {
    struct task task;
    int64_t rev_read;
    bool foreign_read;
    bool guessed; /* nothing was read: the task is taken to be as it was inserted */
    enum task_status status_read;
    unsigned parts; /* enum task_part, what to write */
    uint8_t op_id[OBJECT_ID_LEN];
    bool found; /* its document was there when the guards were verified */
    enum mongo_change_state state;
    enum rc rc;
    char text[192];
};

/* Remembers the guard of a task that has just been read, and makes the op_id. */
void mongo_change_begin(struct mongo_change *change);

/* The whole document of a new task, appended to an empty `to`. */
enum rc mongo_doc_new(const struct task *task, bson_t *to) LH_MUST_USE;

/* Appends "projection": everything but what is not wanted. */
void mongo_doc_project(bson_t *opts, struct mongo_want want);

/* The same under another key: the stage of a pipeline has it as "$project". */
void mongo_doc_project_as(bson_t *opts, const char *key, struct mongo_want want);

/* What a base-contract document has no word for: the sub status that its status means here. */
enum task_sub mongo_doc_foreign_sub(enum task_status status);

/* Reads a document into *ret (zeroed before). RC_NOT_FOUND: it is not a task. RC_NO_MEMORY. */
enum rc mongo_doc_read(const bson_t *doc, struct mongo_want want, struct task *ret) LH_MUST_USE;

/* True where the document's _id is an ObjectId (ours always are). */
bool mongo_task_has_oid(const struct task *task);

/* The key of element i of a BSON array; it stands in `room` or in the driver's own table. */
const char *mongo_index_key(size_t i, char room[MONGO_INDEX_CAP]);

/* Appends a date, or null for 0. */
void mongo_put_time(bson_t *to, const char *key, int64_t at_ms);

/* Appends an ObjectId. */
void mongo_put_oid(bson_t *to, const char *key, const uint8_t oid[OBJECT_ID_LEN]);

/* Appends what makes the task's idempotency key unique: its service, NUL, the key. */
void mongo_put_idem(bson_t *to, const char *field, const struct task *task);

/* The task's key: by _id, or by task_id where its _id is no ObjectId. */
void mongo_doc_key(const struct task *task, bson_t *to);

/* The guard: the key, and equality with what was read. */
void mongo_doc_guard(const struct mongo_change *change, bson_t *to);

/* The update of the parts that changed; raises rev and adds op_id to the recent ones. */
enum rc mongo_doc_update(const struct mongo_change *change, bson_t *to) LH_MUST_USE;

/* True where the document's list of recent operations names `op_id`. */
bool mongo_doc_has_op(const bson_t *doc, const uint8_t op_id[OBJECT_ID_LEN]);

/* A copy of the task, the big fields only where wanted. RC_NO_MEMORY leaves *ret zeroed. */
enum rc mongo_task_copy(const struct task *task, struct mongo_want want,
                        struct task *ret) LH_MUST_USE;

#endif
