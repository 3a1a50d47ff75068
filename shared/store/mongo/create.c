/* create.c: OP_CREATE: all new tasks of a batch in one bulk insert. */
#include "store/mongo/mongo.h"

#include "base/mem.h"
#include "store/store_batch.h"
#include "task/lifecycle.h"

#include <stdio.h>
#include <string.h>

struct creates {
    struct mongo_link *link;
    struct mongo_insert *inserts;
    struct op **owners; /* of each insert: its op and its place there */
    size_t *places;
    size_t n;
    struct mongo_rooms rooms;
    struct mongo_twin *twins; /* room for all */
};

/* True where an earlier task of the batch has the same idempotency key: this one needs no room. */
static bool has_twin(const struct creates *creates, const struct task *task) {
    for (size_t i = 0; task->idem_key && i < creates->n; i++) {
        const struct task *earlier = creates->inserts[i].task;
        if (earlier->idem_key && strcmp(earlier->idem_key, task->idem_key) == 0 &&
            strcmp(earlier->service, task->service) == 0)
            return true;
    }
    return false;
}

/* RC_QUEUE_FULL where the service has its most tasks waiting. */
static enum rc admit(struct creates *creates, const struct op *op, struct task *task,
                     struct error *err) {
    struct mongo_room *room;
    enum rc rc = mongo_room(&creates->rooms, op->rules, task->service, &room, err);
    if (room && has_twin(creates, task))
        room = NULL;
    if (rc == RC_OK)
        rc = lifecycle_enter(task, op, room ? room->n : 0);
    if (rc == RC_OK && room)
        room->n++;
    return rc;
}

/* Adds one task to the bulk; its own refusal goes into the op, a failure of the store is returned.
 */
static enum rc add_task(struct creates *creates, struct op *op, size_t i, struct error *err) {
    struct task *task = &op->tasks[i];
    struct mongo_insert *insert = &creates->inserts[creates->n];
    if (task->duplicate)
        return RC_OK;
    task->stored_at = op->now_ms;
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
        if (insert->rc == RC_OK) {
            mongo_counts_add(creates->link, insert->task->service, insert->task->status, 1);
            mongo_fresh_keep(creates->link, insert->task);
        }
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

/* Answers creates whose idempotency key a task has already: before the bulk, so that they need no
 * room, and after it those that another process, or an earlier one of the batch, was ahead of. */
static enum rc find_twins(struct creates *creates, struct op *const *ops, size_t n, enum rc of,
                          struct error *err) {
    struct mongo_twins twins = {0};
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; is_mine(ops[i]) && k < ops[i]->n_tasks; k++)
            if (ops[i]->tasks[k].idem_key && ops[i]->task_rc[k] == of)
                creates->twins[twins.n++] =
                    (struct mongo_twin){&ops[i]->tasks[k], &ops[i]->task_rc[k]};
    twins.at = creates->twins;
    return twins.n ? mongo_find_twins(creates->link, &twins, err) : RC_OK;
}

static enum rc run(struct creates *creates, struct op *const *ops, size_t n, struct error *err) {
    enum rc rc = find_twins(creates, ops, n, RC_OK, err);
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        if (is_mine(ops[i]))
            rc = add_op(creates, ops[i], err);
    if (rc == RC_OK && creates->n) {
        rc = mongo_write_new(creates->link, creates->inserts, creates->n, err);
        if (rc == RC_OK || rc == RC_OUTCOME_UNKNOWN)
            tell_outcomes(creates);
        if (rc == RC_OK && find_twins(creates, ops, n, RC_INTERNAL, err) != RC_OK)
            rc = RC_OUTCOME_UNKNOWN;
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
    LH_FREE struct mongo_twin *twins = calloc(total, sizeof *twins);
    struct creates creates = {link, inserts, owners, places, 0, {.link = link}, twins};
    enum rc rc = inserts && owners && places && twins
                     ? run(&creates, ops, n, err)
                     : error_set(err, RC_NO_MEMORY, "out of memory");
    mongo_rooms_finish(&creates.rooms);
    for (size_t i = 0; rc != RC_OK && rc != RC_OUTCOME_UNKNOWN && i < n; i++)
        if (is_mine(ops[i]))
            store_op_fail(ops[i], rc, rc_info(rc)->text);
    return rc;
}
