/* recount.c: a thread that counts each service's tasks once an hour and corrects the
 * counters by what they have drifted.
 *
 * One of the processes does it: it sets `at` in the document {_id: 0, at, done_at} of the services'
 * collection, where nobody has for an hour. `done_at` stands once all have been counted; before,
 * the counters are not used.
 *
 * Tasks change while they are counted. `moved` says by how much at most: counters and count are
 * read as  counters, count, a moment, counters; what they differ by beyond what moved in between is
 * drift. The moment lets changes arrive that are in the tasks already and not in the counters yet.
 */
#include "store/mongo/mongo.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <string.h>

enum {
    HOUR_MS = 60 * 60 * 1000,
    UNDONE_MS = 60 * 1000, /* then the first count of a process that died is begun anew */
    LOOK_MS = 60 * 1000,
    MOMENT_MS = 100,
    PASSES_MAX = 5, /* until one finds that nothing moved */
};

/* ---- one service ---- */

static enum rc keep_counters(void *with, const bson_t *doc) {
    mongo_counts_read(doc, with);
    return RC_OK;
}

static enum rc read_counters(struct mongo_link *link, const char *service,
                             struct mongo_counters *ret) {
    bson_t *filter = BCON_NEW("_id", BCON_UTF8(service));
    bson_t opts = BSON_INITIALIZER;
    *ret = (struct mongo_counters){.moved = {0}};
    enum rc rc = mongo_find_in(link->services, filter, &opts, keep_counters, ret, NULL);
    bson_destroy(filter);
    bson_destroy(&opts);
    return rc;
}

static enum rc count_all(struct mongo_link *link, const char *service, int64_t ret[TASK_STATUSES]) {
    enum rc rc = RC_OK;
    for (int i = 0; rc == RC_OK && i < TASK_STATUSES; i++) {
        bson_t *filter = BCON_NEW("service", BCON_UTF8(service), "status",
                                  BCON_UTF8(task_status_name((enum task_status)i)));
        rc = mongo_count(link, filter, 0, &ret[i], NULL);
        bson_destroy(filter);
    }
    return rc;
}

/* What the counters are to be corrected by; *ret_moved: something changed meanwhile. */
static struct mongo_delta drift_of(const char *service, const int64_t counted[TASK_STATUSES],
                                   const struct mongo_counters *before,
                                   const struct mongo_counters *after, bool *ret_moved) {
    struct mongo_delta drift = {.service = ""};
    (void)mem_copy_str(drift.service, sizeof drift.service, service);
    *ret_moved = false;
    for (int i = 0; i < TASK_STATUSES; i++) {
        int64_t off = counted[i] - before->by_status[i];
        int64_t moved = after->moved[i] - before->moved[i];
        *ret_moved = *ret_moved || moved;
        if (off > moved)
            drift.by_status[i] = off - moved;
        else if (-off > moved)
            drift.by_status[i] = off + moved;
    }
    return drift;
}

/* *ret_again: the service was busy. */
static enum rc recount_pass(struct mongo_task *task, const char *service, bool *ret_again) {
    struct mongo_link *link = &task->link;
    struct mongo_counters before, after;
    int64_t counted[TASK_STATUSES] = {0};
    enum rc rc = read_counters(link, service, &before);
    if (rc == RC_OK)
        rc = count_all(link, service, counted);
    if (rc == RC_OK && mongo_task_rest(task, MOMENT_MS))
        return RC_DRAINING;
    if (rc == RC_OK)
        rc = read_counters(link, service, &after);
    if (rc != RC_OK)
        return rc;
    struct mongo_delta drift = drift_of(service, counted, &before, &after, ret_again);
    mongo_counts_correct(link, &drift);
    return RC_OK;
}

static enum rc recount_service(struct mongo_task *task, const char *service) {
    bool again = true;
    enum rc rc = RC_OK;
    for (int i = 0; rc == RC_OK && again && i < PASSES_MAX; i++)
        rc = recount_pass(task, service, &again);
    return rc;
}

/* ---- all of them ---- */

/* Services that have tasks, and those that have counters: their last task may be gone. */
struct names {
    char (*names)[TASK_TEXT_CAP];
    size_t n;
};

static enum rc add_name(struct names *names, const char *name) {
    for (size_t i = 0; i < names->n; i++)
        if (strcmp(names->names[i], name) == 0)
            return RC_OK;
    void *all = reallocarray(names->names, names->n + 1, TASK_TEXT_CAP);
    if (!all)
        return RC_NO_MEMORY;
    names->names = all;
    if (name[0] && mem_copy_str(names->names[names->n], TASK_TEXT_CAP, name))
        names->n++;
    return RC_OK;
}

/* The texts among the values of a key in a collection. */
static enum rc add_distinct(struct mongo_task *task, mongoc_collection_t *collection,
                            const char *key, struct names *names) {
    bson_t *command = BCON_NEW("distinct", BCON_UTF8(mongoc_collection_get_name(collection)), "key",
                               BCON_UTF8(key));
    bson_t reply;
    bson_error_t fault;
    bson_iter_t values, list;
    bool ok = mongoc_client_read_command_with_opts(task->link.client, task->store->database,
                                                   command, NULL, NULL, &reply, &fault);
    enum rc rc = ok ? RC_OK : mongo_unavailable(&fault, NULL);
    if (ok && bson_iter_init_find(&values, &reply, "values") && BSON_ITER_HOLDS_ARRAY(&values) &&
        bson_iter_recurse(&values, &list))
        while (rc == RC_OK && bson_iter_next(&list))
            if (BSON_ITER_HOLDS_UTF8(&list))
                rc = add_name(names, bson_iter_utf8(&list, NULL));
    bson_destroy(command);
    bson_destroy(&reply);
    return rc;
}

static enum rc recount_all(struct mongo_task *task) {
    struct names names = {0};
    enum rc rc = add_distinct(task, task->link.tasks, "service", &names);
    if (rc == RC_OK)
        rc = add_distinct(task, task->link.services, "_id", &names);
    for (size_t i = 0; rc == RC_OK && i < names.n; i++)
        rc = recount_service(task, names.names[i]);
    free(names.names);
    return rc;
}

/* ---- whose turn it is ---- */

static void set_turn(struct mongo_link *link, const bson_t *key, bson_t *set, bool upsert,
                     bson_t *reply) {
    bson_t opts = BSON_INITIALIZER;
    if (upsert)
        BSON_APPEND_BOOL(&opts, "upsert", true);
    (void)mongoc_collection_update_one(link->services, key, set, &opts, reply, NULL);
    bson_destroy(&opts);
    bson_destroy(set);
}

/* Sets `at` where it is old; false: another process has, or the server does not answer. */
static bool take_turn(struct mongo_link *link, int64_t now_ms) {
    bson_t *key = BCON_NEW("_id", BCON_INT32(0));
    bson_t *due = BCON_NEW("_id", BCON_INT32(0), "$or", "[", "{", "at", "{", "$lt",
                           BCON_DATE_TIME(now_ms - HOUR_MS), "}", "}", "{", "done_at", BCON_NULL,
                           "at", "{", "$lt", BCON_DATE_TIME(now_ms - UNDONE_MS), "}", "}", "]");
    bson_t reply;
    bson_iter_t modified;
    set_turn(link, key, BCON_NEW("$setOnInsert", "{", "at", BCON_DATE_TIME(0), "}"), true, NULL);
    set_turn(link, due, BCON_NEW("$set", "{", "at", BCON_DATE_TIME(now_ms), "}"), false, &reply);
    bool mine = bson_iter_init_find(&modified, &reply, "modifiedCount") &&
                bson_iter_as_int64(&modified) == 1;
    bson_destroy(key);
    bson_destroy(due);
    bson_destroy(&reply);
    return mine;
}

static void end_turn(struct mongo_link *link) {
    bson_t *key = BCON_NEW("_id", BCON_INT32(0));
    set_turn(link, key, BCON_NEW("$set", "{", "done_at", BCON_DATE_TIME(clock_now_ms()), "}"),
             false, NULL);
    bson_destroy(key);
}

static void *run(void *arg) {
    struct mongo_task *task = arg;
    do {
        if (!take_turn(&task->link, clock_now_ms()))
            continue;
        enum rc rc = recount_all(task);
        if (rc == RC_OK)
            end_turn(&task->link);
        else if (rc != RC_DRAINING)
            log_warning(.msg = "tasks could not be counted", .code = rc_info(rc)->word);
    } while (!mongo_task_rest(task, LOOK_MS));
    return NULL;
}

void mongo_recount_start(struct mongo_store *store) {
    mongo_task_start(store, &store->recount, run, &store->recount);
}

void mongo_recount_stop(struct mongo_store *store) {
    mongo_task_stop(store, &store->recount);
}
