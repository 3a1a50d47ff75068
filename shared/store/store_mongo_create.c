/* store_mongo_create.c: OP_CREATE: all new tasks of a batch in one bulk insert. */
#include "store/store_mongo.h"

#include "base/mem.h"
#include "store/store_batch.h"

#include <stdio.h>
#include <string.h>

/* How many tasks a service has waiting, counted once per batch. */
struct room {
    const char *service;
    int64_t waiting;
};

struct creates {
    struct mongo_link *link;
    struct mongo_insert *inserts;
    struct op **owners; /* of each insert: its op and its place there */
    size_t *places;
    size_t n;
    struct room *rooms;
    size_t n_rooms;
};

static enum rc count_waiting(struct mongo_link *link, const char *service, int64_t limit,
                             int64_t *ret, struct error *err) {
    bson_t *filter = BCON_NEW("service", BCON_UTF8(service), "status", "{", "$in", "[", "ready",
                              "waiting", "]", "}");
    enum rc rc = mongo_count(link, filter, limit, ret, err);
    bson_destroy(filter);
    return rc;
}

static enum rc room_of(struct creates *creates, const struct op *op, const char *service,
                       struct room **ret, struct error *err) {
    for (size_t i = 0; i < creates->n_rooms; i++)
        if (strcmp(creates->rooms[i].service, service) == 0) {
            *ret = &creates->rooms[i];
            return RC_OK;
        }
    struct room room = {.service = service};
    enum rc rc = count_waiting(creates->link, service, op->max_waiting, &room.waiting, err);
    if (rc != RC_OK)
        return rc;
    *ret = &creates->rooms[creates->n_rooms++];
    **ret = room;
    return RC_OK;
}

/* RC_QUEUE_FULL where the service has its most tasks waiting. */
static enum rc admit(struct creates *creates, const struct op *op, const struct task *task,
                     struct error *err) {
    struct room *room;
    if (op->max_waiting <= 0)
        return RC_OK;
    enum rc rc = room_of(creates, op, task->service, &room, err);
    if (rc != RC_OK)
        return rc;
    if (room->waiting >= op->max_waiting)
        return RC_QUEUE_FULL;
    room->waiting++;
    return RC_OK;
}

/* Adds one task to the bulk; its own refusal goes into the op, a failure of the store is returned.
 */
static enum rc add_task(struct creates *creates, struct op *op, size_t i, struct error *err) {
    struct task *task = &op->tasks[i];
    struct mongo_insert *insert = &creates->inserts[creates->n];
    enum rc rc = op->task_rc[i] = admit(creates, op, task, err);
    if (rc == RC_STORE_UNAVAILABLE || rc == RC_QUEUE_FULL)
        return rc == RC_QUEUE_FULL ? RC_OK : rc;
    bson_t *doc = bson_new();
    rc = mongo_doc_new(task, doc);
    if (rc == RC_OK && doc->len > MONGO_DOC_BYTES_MAX)
        rc = RC_TOO_LARGE;
    if (rc != RC_OK) {
        bson_destroy(doc);
        op->task_rc[i] = rc;
        return RC_OK;
    }
    insert->task = task;
    insert->doc = doc;
    creates->owners[creates->n] = op;
    creates->places[creates->n++] = i;
    return RC_OK;
}

static enum rc add_op(struct creates *creates, struct op *op, struct error *err) {
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < op->n_tasks; i++)
        rc = add_task(creates, op, i, err);
    return rc;
}

/* An op whose items all met the same failure has it too. */
static void tell_op(struct op *op) {
    for (size_t i = 1; i < op->n_tasks; i++)
        if (op->task_rc[i] != op->task_rc[0])
            return;
    enum rc rc = op->task_rc[0];
    if (rc == RC_STORE_UNAVAILABLE || rc == RC_OUTCOME_UNKNOWN)
        store_op_fail(op, rc, rc_info(rc)->text);
}

static void tell_outcomes(struct creates *creates) {
    for (size_t i = 0; i < creates->n; i++) {
        struct op *op = creates->owners[i];
        const struct mongo_insert *insert = &creates->inserts[i];
        op->task_rc[creates->places[i]] = insert->rc;
        if (insert->rc != RC_OK)
            snprintf(op->text, sizeof op->text, "%s", insert->text);
    }
    for (size_t i = 0; i < creates->n; i++)
        if (i + 1 == creates->n || creates->owners[i + 1] != creates->owners[i])
            tell_op(creates->owners[i]);
}

static bool is_mine(const struct op *op) {
    return op->kind == OP_CREATE && op->rc == RC_OK;
}

static enum rc run(struct creates *creates, struct op *const *ops, size_t n, struct error *err) {
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        if (is_mine(ops[i]))
            rc = add_op(creates, ops[i], err);
    if (rc == RC_OK && creates->n) {
        rc = mongo_write_new(creates->link, creates->inserts, creates->n, err);
        if (rc == RC_OK || rc == RC_OUTCOME_UNKNOWN)
            tell_outcomes(creates);
    }
    for (size_t i = 0; i < creates->n; i++)
        bson_destroy(creates->inserts[i].doc);
    return rc;
}

enum rc mongo_apply_creates(struct mongo_link *link, struct op *const *ops, size_t n,
                            struct error *err) {
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += is_mine(ops[i]) ? ops[i]->n_tasks : 0;
    if (!total)
        return RC_OK;
    LH_FREE struct mongo_insert *inserts = calloc(total, sizeof *inserts);
    LH_FREE struct op **owners = calloc(total, sizeof *owners);
    LH_FREE size_t *places = calloc(total, sizeof *places);
    LH_FREE struct room *rooms = calloc(total, sizeof *rooms);
    struct creates creates = {link, inserts, owners, places, 0, rooms, 0};
    enum rc rc = inserts && owners && places && rooms
                     ? run(&creates, ops, n, err)
                     : error_set(err, RC_NO_MEMORY, "out of memory");
    for (size_t i = 0; rc != RC_OK && rc != RC_OUTCOME_UNKNOWN && i < n; i++)
        if (is_mine(ops[i]))
            store_op_fail(ops[i], rc, rc_info(rc)->text);
    return rc;
}
