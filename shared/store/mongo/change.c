/* change.c: operations on named tasks: read, decide, write guarded, again where a guard
 * lost.
 *
 * All operations of a batch on one task form a group, in the order in which they were queued. They
 * are decided one after another on the task in memory and written as one update, so a group is
 * taken or lost as a whole.
 */
#include "store/mongo/mongo.h"

#include "base/mem.h"
#include "base/mutant.h"
#include "store/store_batch.h"
#include "task/lifecycle.h"

#include <stdio.h>
#include <string.h>

enum {
    ROUNDS_MAX = 30,
    SWEPT_DOCS = 32, /* of an answer: what there is no room for is not sent */
};

struct group {
    struct op *const *ops; /* the first of its ops in the sorted batch */
    size_t n;
    struct mongo_change change;
    bool big; /* some op needs the condition or the result */
    bool loaded;
    bool done;
};

/* The batch's groups and the round that they are in. */
struct round {
    struct mongo_link *link;
    struct group *groups; /* sorted by task_id */
    size_t n;
    struct mongo_want want; /* of the big groups */
    struct mongo_rooms rooms;
    int64_t swept_bytes; /* conditions of the sweepers' ops */
};

/* One of the searches of a round: heartbeats beside a claim do not fetch their conditions. */
struct pass {
    struct round *round;
    bool by_oid, big;
};

static bool is_mine(const struct op *op) {
    return op_is_of_task(op->kind) && op->rc == RC_OK;
}

/* ---- grouping ---- */

/* An op and its place in the queue, to sort by task and keep the order. */
struct queued {
    struct op *op;
    size_t place;
};

static int by_task_then_place(const void *a, const void *b) {
    const struct queued *left = a, *right = b;
    int order = strcmp(left->op->task_id, right->op->task_id);
    return order ? order : left->place < right->place ? -1 : 1;
}

static size_t sort_ops(struct op *const *ops, size_t n, struct queued *queue, struct op **sorted) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (is_mine(ops[i]))
            queue[count++] = (struct queued){ops[i], i};
    qsort(queue, count, sizeof *queue, by_task_then_place);
    for (size_t i = 0; i < count; i++)
        sorted[i] = queue[i].op;
    return count;
}

static size_t group_ops(struct op *const *sorted, size_t n, struct group *groups) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (count && strcmp(groups[count - 1].ops[0]->task_id, sorted[i]->task_id) == 0)
            groups[count - 1].n++;
        else
            groups[count++] = (struct group){.ops = &sorted[i], .n = 1};
    }
    return count;
}

static void fail_group(struct group *group, enum rc rc, const char *text) {
    for (size_t i = 0; i < group->n; i++)
        store_op_fail(group->ops[i], rc, text && text[0] ? text : rc_info(rc)->text);
    group->done = true;
}

/* ---- reading ---- */

static int group_by_id(const void *key, const void *member) {
    const struct group *group = member;
    return strcmp(key, group->ops[0]->task_id);
}

static struct mongo_want want_of(const struct pass *pass) {
    return pass->big ? pass->round->want : (struct mongo_want){0};
}

/* Another's op on the same task does not wait for the sweeper's. */
static bool is_swept(const struct group *group) {
    return group->n == 1 && store_op_swept(group->ops[0]);
}

/* RC_OVERLOADED: there is no room for another sweeper's op. */
static enum rc count_swept(struct round *round, const struct group *group) {
    if (!is_swept(group))
        return RC_OK;
    round->swept_bytes += (int64_t)group->change.task.condition_len;
    return round->swept_bytes < STORE_SWEPT_BYTES ? RC_OK : RC_OVERLOADED;
}

static enum rc load_document(void *with, const bson_t *doc) {
    const struct pass *pass = with;
    struct round *round = pass->round;
    struct task task;
    enum rc rc = mongo_doc_read(doc, want_of(pass), &task);
    if (rc != RC_OK)
        return rc == RC_NOT_FOUND ? RC_OK : rc;
    struct group *group =
        bsearch(task.task_id, round->groups, round->n, sizeof *round->groups, group_by_id);
    if (!group || group->loaded || group->done) {
        task_finish(&task);
        return RC_OK;
    }
    group->change.task = task;
    group->loaded = true;
    mongo_change_begin(&group->change);
    mongo_fresh_forget(round->link, task.oid);
    return count_swept(round, group);
}

/* What is noted of a message that has just been sent needs no reading. */
static void load_fresh(struct round *round) {
    for (size_t i = 0; i < round->n; i++) {
        struct group *group = &round->groups[i];
        const struct op *op = group->ops[0];
        if (group->done || group->n > 1 || op->kind != OP_DELIVERED || !op->has_oid ||
            !mongo_fresh_take(round->link, op->oid, &group->change.task))
            continue;
        group->loaded = true;
        mongo_change_begin(&group->change);
        group->change.guessed = true;
    }
}

/* An element of the list below: the _id where the op knows it, else the task_id. */
static void put_id(const struct group *group, size_t i, bson_t *in) {
    const struct op *op = group->ops[0];
    char room[MONGO_INDEX_CAP];
    const char *key = mongo_index_key(i, room);
    if (op->has_oid)
        mongo_put_oid(in, key, op->oid);
    else
        BSON_APPEND_UTF8(in, key, op->task_id);
}

static bool is_of_pass(const struct group *group, const struct pass *pass) {
    return !group->done && !group->loaded && group->ops[0]->has_oid == pass->by_oid &&
           group->big == pass->big;
}

/* {_id or task_id: {$in: [...]}} of the pass's open groups; false where there are none. *ret_swept:
 * sweepers' ops are among them. */
static bool put_open(const struct pass *pass, bson_t *filter, bool *ret_swept) {
    const struct round *round = pass->round;
    bson_t field, in;
    size_t k = 0;
    BSON_APPEND_DOCUMENT_BEGIN(filter, pass->by_oid ? "_id" : "task_id", &field);
    BSON_APPEND_ARRAY_BEGIN(&field, "$in", &in);
    for (size_t i = 0; i < round->n; i++) {
        const struct group *group = &round->groups[i];
        if (!is_of_pass(group, pass))
            continue;
        put_id(group, k++, &in);
        *ret_swept = *ret_swept || is_swept(group);
    }
    bson_append_array_end(&field, &in);
    bson_append_document_end(filter, &field);
    return k > 0;
}

static enum rc search(struct pass *pass, struct error *err) {
    bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER;
    enum rc rc = RC_OK;
    bool swept = false;
    if (put_open(pass, &filter, &swept)) {
        mongo_doc_project(&opts, want_of(pass));
        if (swept)
            BSON_APPEND_INT32(&opts, "batchSize", SWEPT_DOCS);
        rc = mongo_find(pass->round->link, &filter, &opts, load_document, pass, err);
    }
    bson_destroy(&filter);
    bson_destroy(&opts);
    return rc;
}

static void refuse_swept(struct round *round) {
    for (size_t i = 0; i < round->n; i++) {
        struct group *group = &round->groups[i];
        if (!group->done && !group->loaded && is_swept(group))
            fail_group(group, RC_OVERLOADED, NULL);
    }
}

static enum rc run_pass(struct pass *pass, struct error *err) {
    enum rc rc = search(pass, err);
    if (rc != RC_OVERLOADED)
        return rc;
    refuse_swept(pass->round);
    return search(pass, err);
}

static enum rc load(struct round *round, struct error *err) {
    struct pass passes[] = {
        {round, true, true}, {round, true, false}, {round, false, true}, {round, false, false}};
    enum rc rc = RC_OK;
    load_fresh(round);
    for (size_t i = 0; rc == RC_OK && i < LH_COUNT(passes); i++)
        rc = run_pass(&passes[i], err);
    return rc;
}

/* A tombstone tells of the task, to those who may know of it. */
static void tell_gone(struct group *group, const bson_t *doc) {
    bson_iter_t at;
    bool named = bson_iter_init_find(&at, doc, "service") && BSON_ITER_HOLDS_UTF8(&at);
    const char *service = named ? bson_iter_utf8(&at, NULL) : "";
    for (size_t i = 0; i < group->n; i++) {
        bool told = task_access_allows(group->ops[i]->access, service);
        enum rc rc = told ? RC_TASK_REMOVED : RC_UNKNOWN_TASK;
        store_op_fail(group->ops[i], rc, rc_info(rc)->text);
    }
    group->done = true;
}

static enum rc see_gone(void *with, const bson_t *doc) {
    struct round *round = with;
    bson_iter_t id;
    if (!bson_iter_init_find(&id, doc, "task_id") || !BSON_ITER_HOLDS_UTF8(&id))
        return RC_OK;
    struct group *group = bsearch(bson_iter_utf8(&id, NULL), round->groups, round->n,
                                  sizeof *round->groups, group_by_id);
    if (group)
        tell_gone(group, doc);
    return RC_OK;
}

/* Looks for the tombstones of tasks that are not there. */
static enum rc load_gone(struct round *round, struct error *err) {
    LH_FREE const char **ids = calloc(round->n, sizeof *ids);
    size_t n = 0;
    if (!ids)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < round->n; i++)
        if (!round->groups[i].done && !round->groups[i].loaded)
            ids[n++] = round->groups[i].ops[0]->task_id;
    return n ? mongo_gone_find(round->link, ids, n, see_gone, round, err) : RC_OK;
}

/* ---- deciding ---- */

static bool copy_text(const char *from, size_t len, char **to) {
    *to = from ? mem_dup(from, len) : NULL;
    return !from || *to;
}

static size_t text_len(const char *text) {
    return text ? strlen(text) : 0;
}

/* The step may move the op's texts into the task; should the guard be lost, the op needs them
 * again. So a copy of the op is decided on. */
static enum rc decide_copy(struct task *task, struct op *op, unsigned *ret_parts) {
    struct op copy = *op;
    bool all = copy_text(op->message, text_len(op->message), &copy.message);
    all &= copy_text(op->value, op->value_len, &copy.value);
    all &= copy_text(op->progress, text_len(op->progress), &copy.progress);
    all &= copy_text(op->error_text, text_len(op->error_text), &copy.error_text);
    all &= copy_text(op->place, text_len(op->place), &copy.place);
    op->text[0] = '\0';
    enum rc rc =
        all ? lifecycle_apply(task, &copy, ret_parts, op->text, sizeof op->text) : RC_NO_MEMORY;
    free(copy.message);
    free(copy.value);
    free(copy.progress);
    free(copy.error_text);
    free(copy.place);
    return rc;
}

/* The op's outcome: the task as it stands after it. */
static enum rc show_task(struct op *op, const struct task *task) {
    struct mongo_want want = {.condition = op_needs_condition(op),
                              .result = op_needs_result(op->kind)};
    tasks_free(TAKE(op->tasks), op->n_tasks);
    op->n_tasks = 0;
    struct task *shown = calloc(1, sizeof *shown);
    enum rc rc = shown ? mongo_task_copy(task, want, shown) : RC_NO_MEMORY;
    if (rc != RC_OK) {
        free(shown);
        return rc;
    }
    op->tasks = shown;
    op->n_tasks = 1;
    return RC_OK;
}

/* What else of the service runs, where a limit lets a claim ask. */
static enum rc see_room(struct round *round, const struct task *task, struct op *op,
                        struct mongo_room **ret) {
    *ret = NULL;
    enum rc rc = op->kind == OP_CLAIM
                     ? mongo_room(&round->rooms, op->rules, task->service, ret, NULL)
                     : RC_OK;
    op->running = *ret ? (*ret)->n : 0;
    return rc;
}

/* Anything but RC_OK: the group must not be written. */
static enum rc decide_op(struct round *round, struct mongo_change *change, struct op *op) {
    unsigned parts = 0;
    struct mongo_room *room;
    bool ran = change->task.status == TASK_RUNNING;
    enum rc rc = see_room(round, &change->task, op, &room);
    if (rc != RC_OK)
        return rc;
    op->rc = decide_copy(&change->task, op, &parts);
    op->parts = parts;
    if (op->rc == RC_NO_MEMORY)
        return RC_NO_MEMORY;
    if (room && !ran && change->task.status == TASK_RUNNING)
        room->n++;
    if (parts)
        change->task.foreign = false;
    change->parts |= parts;
    return show_task(op, &change->task);
}

static void decide_group(struct round *round, struct group *group) {
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < group->n; i++)
        rc = decide_op(round, &group->change, group->ops[i]);
    if (rc != RC_OK)
        fail_group(group, rc, NULL);
    else
        group->done = group->change.parts == 0;
}

/* ---- writing ---- */

static void end_group(struct mongo_link *link, struct group *group, enum rc rc) {
    const struct mongo_change *change = &group->change;
    switch (change->state) {
    case CHANGE_HELD:
        if (change->parts & PART_REMOVED)
            mongo_counts_add(link, change->task.service, change->status_read, -1);
        else
            mongo_counts_move(link, change->task.service, change->status_read, change->task.status);
        group->done = true;
        break;
    case CHANGE_REFUSED:
        fail_group(group, group->change.rc, group->change.text);
        break;
    case CHANGE_LOST:
        break;
    case CHANGE_OPEN:
        fail_group(group, rc, NULL);
    }
}

/* Tombstones come first. Where they cannot be written, no task of the round is changed. */
static enum rc bury(struct round *round, struct error *err) {
    LH_FREE struct mongo_change **changes = calloc(round->n, sizeof(struct mongo_change *));
    int64_t now_ms = 0;
    size_t n = 0;
    if (!changes)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < round->n; i++)
        if (!round->groups[i].done && round->groups[i].change.parts & PART_REMOVED) {
            changes[n++] = &round->groups[i].change;
            now_ms = round->groups[i].ops[0]->now_ms;
        }
    enum rc rc = n ? mongo_gone_add(round->link, changes, n, now_ms, err) : RC_OK;
    if (n && rc == RC_OK)
        LH_FAULT_POINT("tombstone-remove", changes[0]->task.task_id);
    return rc == RC_OUTCOME_UNKNOWN ? RC_STORE_UNAVAILABLE : rc;
}

static enum rc write_groups(struct round *round, struct error *err) {
    LH_FREE struct mongo_change **changes = calloc(round->n, sizeof(struct mongo_change *));
    size_t n = 0;
    if (!changes)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < round->n; i++)
        if (!round->groups[i].done)
            changes[n++] = &round->groups[i].change;
    enum rc rc = n ? mongo_write_changes(round->link, changes, n, err) : RC_OK;
    for (size_t i = 0; i < round->n; i++)
        if (!round->groups[i].done)
            end_group(round->link, &round->groups[i], rc);
    return rc;
}

static void unload(struct round *round) {
    for (size_t i = 0; i < round->n; i++) {
        struct group *group = &round->groups[i];
        if (group->loaded)
            task_finish(&group->change.task);
        group->loaded = false;
    }
}

static enum rc run_round(struct round *round, struct error *err) {
    enum rc rc = load(round, err);
    if (rc == RC_OK)
        rc = load_gone(round, err);
    if (rc != RC_OK)
        return rc;
    for (size_t i = 0; i < round->n; i++) {
        struct group *group = &round->groups[i];
        if (group->done)
            continue;
        if (group->loaded)
            decide_group(round, group);
        else
            fail_group(group, RC_UNKNOWN_TASK, NULL);
    }
    rc = bury(round, err);
    return rc == RC_OK ? write_groups(round, err) : rc;
}

static bool all_done(const struct round *round) {
    for (size_t i = 0; i < round->n; i++)
        if (!round->groups[i].done)
            return false;
    return true;
}

static enum rc run_rounds(struct round *round, struct error *err) {
    enum rc rc = RC_OK;
    for (int i = 0; rc == RC_OK && !all_done(round) && i < ROUNDS_MAX; i++) {
        rc = run_round(round, err);
        unload(round);
        mongo_rooms_finish(&round->rooms); /* what was lost to others is counted again */
    }
    for (size_t i = 0; i < round->n; i++)
        if (!round->groups[i].done)
            fail_group(&round->groups[i], rc == RC_OK ? RC_OVERLOADED : rc, NULL);
    return rc;
}

static void see_wants(struct round *round, struct group *group) {
    for (size_t i = 0; i < group->n; i++) {
        bool condition = op_needs_condition(group->ops[i]);
        bool result = op_needs_result(group->ops[i]->kind);
        round->want.condition |= condition;
        round->want.result |= result;
        bool past = op_needs_past(group->ops[i]->kind);
        round->want.past |= past;
        group->big |= condition || result || past;
    }
}

enum rc mongo_apply_changes(struct mongo_link *link, struct op *const *ops, size_t n,
                            struct error *err) {
    LH_FREE struct queued *queue = calloc(n, sizeof *queue);
    LH_FREE struct op **sorted = calloc(n, sizeof(struct op *));
    LH_FREE struct group *groups = calloc(n, sizeof *groups);
    if (!queue || !sorted || !groups) {
        for (size_t i = 0; i < n; i++)
            if (is_mine(ops[i]))
                store_op_fail(ops[i], RC_NO_MEMORY, rc_info(RC_NO_MEMORY)->text);
        return error_set(err, RC_NO_MEMORY, "out of memory");
    }
    size_t count = sort_ops(ops, n, queue, sorted);
    struct round round = {
        .link = link,
        .groups = groups,
        .n = group_ops(sorted, count, groups),
        .rooms = {.link = link, .kind = ROOM_RUNNING},
    };
    for (size_t i = 0; i < round.n; i++)
        see_wants(&round, &groups[i]);
    return round.n ? run_rounds(&round, err) : RC_OK;
}
