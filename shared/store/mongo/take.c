/* take.c: OP_TAKE: the oldest due tasks of a batch's services, shared out and claimed.
 *
 * One search serves all takes of a batch. What another process claimed first is lost and searched
 * for again, a few times.
 */
#include "store/mongo/mongo.h"

#include "base/mem.h"
#include "store/store_batch.h"
#include "task/lifecycle.h"

#include <string.h>

enum { ROUNDS_MAX = 10, FOUND_MAX = 1000 };

struct candidate {
    struct mongo_change change;
    struct op *op; /* the take that gets it; NULL: none has room */
};

/* The takes of a batch and what the round's search found for them. */
struct takes {
    struct mongo_link *link;
    struct op **ops;
    size_t n;
    struct candidate *found;
    size_t n_found, cap;
    struct mongo_rooms rooms; /* counted anew in each round */
};

static bool is_mine(const struct op *op) {
    return op->kind == OP_TAKE && op->rc == RC_OK && op->max > 0 && op->n_services > 0;
}

static size_t room_of(const struct op *op) {
    return op->max - op->n_tasks;
}

/* How many of the service run, and whether one more may. */
static enum rc admit(struct takes *takes, const struct op *op, const char *service,
                     struct mongo_room **ret, struct error *err) {
    enum rc rc = mongo_room(&takes->rooms, op->rules, service, ret, err);
    return rc == RC_OK ? service_admit(op->rules, service, *ret ? (*ret)->n : 0) : rc;
}

static bool refused(enum rc rc) {
    return rc == RC_SERVICE_PAUSED || rc == RC_LIMIT_REACHED;
}

static enum rc put_names(struct takes *takes, const struct op *op, bson_t *in, size_t *k,
                         struct error *err) {
    char key[MONGO_INDEX_CAP];
    struct mongo_room *room;
    for (size_t i = 0; i < op->n_services; i++) {
        enum rc rc = admit(takes, op, op->services[i], &room, err);
        if (rc != RC_OK && !refused(rc))
            return rc;
        const char *at = mongo_index_key(*k, key);
        if (rc == RC_OK && BSON_APPEND_UTF8(in, at, op->services[i]))
            ++*k;
    }
    return RC_OK;
}

/* The services from which a task may be taken; *ret_n of them. */
static enum rc put_services(struct takes *takes, bson_t *to, size_t *ret_n, struct error *err) {
    bson_t in;
    enum rc rc = RC_OK;
    *ret_n = 0;
    BSON_APPEND_ARRAY_BEGIN(to, "$in", &in);
    for (size_t i = 0; rc == RC_OK && i < takes->n; i++)
        if (room_of(takes->ops[i]))
            rc = put_names(takes, takes->ops[i], &in, ret_n, err);
    bson_append_array_end(to, &in);
    return rc;
}

/* Waiting and queued; a base-contract document has no word for the latter. */
static void put_waiting(const bson_t *services, bson_t *to) {
    bson_t sub, in;
    BSON_APPEND_DOCUMENT(to, "service", services);
    BSON_APPEND_UTF8(to, "status", task_status_name(TASK_WAITING));
    BSON_APPEND_DOCUMENT_BEGIN(to, "sub_status", &sub);
    BSON_APPEND_ARRAY_BEGIN(&sub, "$in", &in);
    BSON_APPEND_UTF8(&in, "0", task_sub_name(SUB_QUEUED));
    BSON_APPEND_NULL(&in, "1");
    bson_append_array_end(&sub, &in);
    bson_append_document_end(to, &sub);
}

/* Queued, or ready with its message on the way; a base-contract document only when it is waiting.
 */
static void put_filter(const bson_t *services, bson_t *to) {
    bson_t any, waiting, producing;
    BSON_APPEND_ARRAY_BEGIN(to, "$or", &any);
    BSON_APPEND_DOCUMENT_BEGIN(&any, "0", &waiting);
    put_waiting(services, &waiting);
    bson_append_document_end(&any, &waiting);
    BSON_APPEND_DOCUMENT_BEGIN(&any, "1", &producing);
    BSON_APPEND_DOCUMENT(&producing, "service", services);
    BSON_APPEND_UTF8(&producing, "status", task_status_name(TASK_READY));
    BSON_APPEND_UTF8(&producing, "sub_status", task_sub_name(SUB_PRODUCING));
    bson_append_document_end(&any, &producing);
    bson_append_array_end(to, &any);
}

/* Documents without a rank, those of other programs, come first. */
static void put_opts(size_t limit, bson_t *to) {
    bson_t sort;
    BSON_APPEND_DOCUMENT_BEGIN(to, "sort", &sort);
    BSON_APPEND_INT32(&sort, "rank", 1);
    BSON_APPEND_INT32(&sort, "_id", 1);
    bson_append_document_end(to, &sort);
    BSON_APPEND_INT64(to, "limit", (int64_t)limit);
    mongo_doc_project(to, (struct mongo_want){.condition = true});
}

static enum rc see_candidate(void *with, const bson_t *doc) {
    struct takes *takes = with;
    if (takes->n_found == takes->cap)
        return RC_OK;
    struct candidate *candidate = &takes->found[takes->n_found];
    *candidate = (struct candidate){0};
    enum rc rc =
        mongo_doc_read(doc, (struct mongo_want){.condition = true}, &candidate->change.task);
    if (rc != RC_OK)
        return rc == RC_NOT_FOUND ? RC_OK : rc;
    mongo_change_begin(&candidate->change);
    mongo_fresh_forget(takes->link, candidate->change.task.oid);
    takes->n_found++;
    return RC_OK;
}

static enum rc search(struct takes *takes, size_t limit, struct error *err) {
    bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, services = BSON_INITIALIZER;
    size_t n;
    enum rc rc = put_services(takes, &services, &n, err);
    put_filter(&services, &filter);
    put_opts(limit, &opts);
    if (rc == RC_OK && n)
        rc = mongo_find(takes->link, &filter, &opts, see_candidate, takes, err);
    bson_destroy(&services);
    bson_destroy(&filter);
    bson_destroy(&opts);
    return rc;
}

static bool serves(const struct op *op, const char *service) {
    for (size_t i = 0; i < op->n_services; i++)
        if (strcmp(op->services[i], service) == 0)
            return true;
    return false;
}

/* Gives the candidate to the first take that wants it and claims it in memory. */
static void assign(struct takes *takes, struct candidate *candidate, size_t *given) {
    unsigned parts;
    char text[64];
    struct mongo_room *room;
    const struct service_rules *rules = takes->ops[0]->rules;
    const char *service = candidate->change.task.service;
    if (admit(takes, takes->ops[0], service, &room, NULL) != RC_OK)
        return;
    for (size_t i = 0; i < takes->n; i++) {
        struct op *op = takes->ops[i];
        if (given[i] >= room_of(op) || !serves(op, service))
            continue;
        struct op claim = {
            .kind = OP_TAKE,
            .broker = op->broker,
            .now_ms = op->now_ms,
            .lease_ms = op->lease_ms,
            .asked_lease_ms = op->asked_lease_ms,
            .timeout_ms = op_timeout_ms(op, service),
            .rules = rules,
            .access = op->access,
            .running = room ? room->n : 0,
        };
        memcpy(claim.claim_id, op->claim_id, sizeof claim.claim_id);
        memcpy(claim.worker_id, op->worker_id, sizeof claim.worker_id);
        if (lifecycle_apply(&candidate->change.task, &claim, &parts, text, sizeof text) != RC_OK)
            return;
        candidate->change.parts = parts;
        candidate->change.task.foreign = false;
        candidate->op = op;
        given[i]++;
        if (room)
            room->n++;
        return;
    }
}

static enum rc keep(struct op *op, struct task *task) {
    struct task *tasks = realloc(op->tasks, (op->n_tasks + 1) * sizeof *tasks);
    if (!tasks)
        return RC_NO_MEMORY;
    op->tasks = tasks;
    tasks[op->n_tasks++] = *task;
    *task = (struct task){0};
    return RC_OK;
}

/* What was claimed goes to its take. One that got nothing while its claims are unknown says so; one
 * that got some answers with those. Returns how many claims were lost to others. */
static size_t hand_out(struct takes *takes, enum rc rc) {
    size_t lost = 0;
    for (size_t i = 0; i < takes->n_found; i++) {
        struct candidate *candidate = &takes->found[i];
        if (!candidate->op)
            continue;
        lost += candidate->change.state == CHANGE_LOST;
        if (candidate->change.state != CHANGE_HELD)
            continue;
        mongo_counts_move(takes->link, candidate->change.task.service,
                          candidate->change.status_read, candidate->change.task.status);
        (void)keep(candidate->op, &candidate->change.task);
    }
    for (size_t i = 0; rc != RC_OK && i < takes->n_found; i++) {
        struct op *op = takes->found[i].op;
        if (op && takes->found[i].change.state == CHANGE_OPEN && op->n_tasks == 0)
            store_op_fail(op, rc, rc_info(rc)->text);
    }
    return lost;
}

static enum rc claim_found(struct takes *takes, size_t *ret_lost, struct error *err) {
    LH_FREE struct mongo_change **changes = calloc(takes->n_found, sizeof(struct mongo_change *));
    LH_FREE size_t *given = calloc(takes->n, sizeof *given);
    size_t n = 0;
    if (!changes || !given)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < takes->n_found; i++) {
        assign(takes, &takes->found[i], given);
        if (takes->found[i].op)
            changes[n++] = &takes->found[i].change;
    }
    enum rc rc = n ? mongo_write_changes(takes->link, changes, n, err) : RC_OK;
    *ret_lost = hand_out(takes, rc);
    return rc;
}

static void forget_found(struct takes *takes) {
    for (size_t i = 0; i < takes->n_found; i++)
        task_finish(&takes->found[i].change.task);
    takes->n_found = 0;
}

/* One search and one bulk; *ret_more: another round may find more. */
static enum rc run_round(struct takes *takes, bool *ret_more, struct error *err) {
    size_t limit = 0, lost = 0;
    for (size_t i = 0; i < takes->n; i++)
        limit += room_of(takes->ops[i]);
    limit = limit < takes->cap ? limit : takes->cap;
    *ret_more = false;
    if (!limit)
        return RC_OK;
    enum rc rc = search(takes, limit, err);
    if (rc == RC_OK && takes->n_found) {
        rc = claim_found(takes, &lost, err);
        *ret_more = takes->n_found == limit || lost;
    }
    forget_found(takes);
    mongo_rooms_finish(&takes->rooms);
    return rc;
}

static enum rc run_rounds(struct takes *takes, struct error *err) {
    enum rc rc = RC_OK;
    bool more = true;
    for (int i = 0; rc == RC_OK && more && i < ROUNDS_MAX; i++)
        rc = run_round(takes, &more, err);
    for (size_t i = 0; rc != RC_OK && i < takes->n; i++)
        if (takes->ops[i]->n_tasks == 0 && takes->ops[i]->rc == RC_OK)
            store_op_fail(takes->ops[i], rc, rc_info(rc)->text);
    return rc;
}

/* -- calls that are made again -- */

/* Of a task that a call of this batch claimed before. */
static enum rc see_claimed(void *with, const bson_t *doc) {
    struct takes *takes = with;
    struct task task;
    enum rc rc = mongo_doc_read(doc, (struct mongo_want){.condition = true}, &task);
    if (rc != RC_OK)
        return rc == RC_NOT_FOUND ? RC_OK : rc;
    for (size_t i = 0; rc == RC_OK && i < takes->n; i++)
        if (task.claim_id[0] && strcmp(takes->ops[i]->claim_id, task.claim_id) == 0 &&
            lifecycle_owns(takes->ops[i], &task)) {
            rc = keep(takes->ops[i], &task);
            break;
        }
    task_finish(&task);
    return rc;
}

/* The ids of the batch's calls; how many there are. */
static size_t put_claim_ids(const struct takes *takes, bson_t *to) {
    bson_t field, in;
    char room[MONGO_INDEX_CAP];
    size_t n = 0;
    BSON_APPEND_DOCUMENT_BEGIN(to, "run.claim_id", &field);
    BSON_APPEND_ARRAY_BEGIN(&field, "$in", &in);
    for (size_t i = 0; i < takes->n; i++)
        if (takes->ops[i]->claim_id[0]) {
            const char *key = mongo_index_key(n++, room);
            BSON_APPEND_UTF8(&in, key, takes->ops[i]->claim_id);
        }
    bson_append_array_end(&field, &in);
    bson_append_document_end(to, &field);
    return n;
}

static enum rc search_claimed(struct takes *takes, struct error *err) {
    bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER;
    size_t n = put_claim_ids(takes, &filter);
    BSON_APPEND_UTF8(&filter, "status", task_status_name(TASK_RUNNING));
    put_opts(FOUND_MAX, &opts);
    enum rc rc = n ? mongo_find(takes->link, &filter, &opts, see_claimed, takes, err) : RC_OK;
    bson_destroy(&filter);
    bson_destroy(&opts);
    return rc;
}

/* Answers the calls that have claimed before; the others are left in takes. */
static enum rc give_again(struct takes *takes, struct error *err) {
    size_t n = 0;
    enum rc rc = search_claimed(takes, err);
    for (size_t i = 0; i < takes->n; i++) {
        if (rc != RC_OK)
            store_op_fail(takes->ops[i], rc, rc_info(rc)->text);
        else if (takes->ops[i]->n_tasks == 0)
            takes->ops[n++] = takes->ops[i];
    }
    takes->n = n;
    return rc;
}

enum rc mongo_apply_takes(struct mongo_link *link, struct op *const *ops, size_t n,
                          struct error *err) {
    size_t count = 0, room = 0;
    LH_FREE struct op **mine = calloc(n, sizeof(struct op *));
    for (size_t i = 0; mine && i < n; i++)
        if (is_mine(ops[i])) {
            room += ops[i]->max < FOUND_MAX ? ops[i]->max : FOUND_MAX;
            mine[count++] = ops[i];
        }
    if (mine && !count)
        return RC_OK;
    size_t cap = room < FOUND_MAX ? room : FOUND_MAX;
    LH_FREE struct candidate *found = mine ? calloc(cap, sizeof *found) : NULL;
    struct takes takes = {link, mine, count, found, 0, cap, {.link = link, .kind = ROOM_RUNNING}};
    if (found) {
        enum rc rc = give_again(&takes, err);
        return rc == RC_OK ? run_rounds(&takes, err) : rc;
    }
    for (size_t i = 0; i < n; i++)
        if (is_mine(ops[i]))
            store_op_fail(ops[i], RC_NO_MEMORY, rc_info(RC_NO_MEMORY)->text);
    return error_set(err, RC_NO_MEMORY, "out of memory");
}
