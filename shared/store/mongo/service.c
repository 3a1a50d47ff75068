/* service.c: OP_SERVICE and QUERY_SERVICES: what has been set of services, in a
 * collection of their own; and how many of a service's tasks wait or run, for its limits.
 *
 * A document is {_id: the service's name, paused, max_running, max_waiting}; a limit that is not
 * set is null or absent.
 */
#include "store/mongo/mongo.h"

#include "base/mem.h"
#include "store/store_batch.h"

#include <string.h>

/* ---- counting ---- */

static bson_t *filter_of(enum mongo_room_kind kind, const char *service) {
    if (kind == ROOM_RUNNING)
        return BCON_NEW("service", BCON_UTF8(service), "status", BCON_UTF8("running"));
    return BCON_NEW("service", BCON_UTF8(service), "status", "{", "$in", "[", "ready", "waiting",
                    "]", "}");
}

static unsigned statuses_of(enum mongo_room_kind kind) {
    return kind == ROOM_RUNNING ? 1u << TASK_RUNNING : 1u << TASK_READY | 1u << TASK_WAITING;
}

static struct mongo_room *find_room(struct mongo_rooms *rooms, const char *service) {
    for (size_t i = 0; i < rooms->n; i++)
        if (strcmp(rooms->rooms[i].service, service) == 0)
            return &rooms->rooms[i];
    return NULL;
}

static enum rc add_room(struct mongo_rooms *rooms, const struct service_rule *rule, int64_t max,
                        struct mongo_room **ret, struct error *err) {
    struct mongo_room room = {.service = rule->name};
    bson_t *filter = filter_of(rooms->kind, rule->name);
    struct mongo_total total = {&room.service, 1, statuses_of(rooms->kind)};
    enum rc rc = mongo_count_tasks(rooms->link, &total, filter, max, &room.n, err);
    bson_destroy(filter);
    if (rc != RC_OK)
        return rc;
    struct mongo_room *all = reallocarray(rooms->rooms, rooms->n + 1, sizeof *all);
    if (!all)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    rooms->rooms = all;
    all[rooms->n] = room;
    *ret = &all[rooms->n++];
    return RC_OK;
}

enum rc mongo_room(struct mongo_rooms *rooms, const struct service_rules *rules,
                   const char *service, struct mongo_room **ret, struct error *err) {
    const struct service_rule *rule = service_rules_find(rules, service);
    int64_t max = rooms->kind == ROOM_RUNNING ? service_max_running(rules, service)
                                              : service_max_waiting(rules, service);
    *ret = max ? find_room(rooms, service) : NULL;
    return max && !*ret ? add_room(rooms, rule, max, ret, err) : RC_OK;
}

enum rc mongo_count_running(struct mongo_link *link, const char *service, int64_t max, int64_t *ret,
                            struct error *err) {
    bson_t *filter = filter_of(ROOM_RUNNING, service);
    enum rc rc = mongo_count(link, filter, max, ret, err);
    bson_destroy(filter);
    return rc;
}

void mongo_rooms_finish(struct mongo_rooms *rooms) {
    free(TAKE(rooms->rooms));
    rooms->n = 0;
}

/* ---- writing ---- */

static bool is_mine(const struct op *op) {
    return op->kind == OP_SERVICE && op->rc == RC_OK;
}

static void put_limit(bson_t *to, const char *name, int64_t limit) {
    if (limit == SERVICE_LIMIT_UNSET)
        BSON_APPEND_NULL(to, name);
    else
        BSON_APPEND_INT64(to, name, limit);
}

static void put_parts(const struct op *op, bson_t *to) {
    bson_t set;
    BSON_APPEND_DOCUMENT_BEGIN(to, "$set", &set);
    if (op->service_parts & SERVICE_PAUSED)
        BSON_APPEND_BOOL(&set, "paused", op->service.paused);
    if (op->service_parts & SERVICE_MAX_RUNNING)
        put_limit(&set, "max_running", op->service.max_running);
    if (op->service_parts & SERVICE_MAX_WAITING)
        put_limit(&set, "max_waiting", op->service.max_waiting);
    bson_append_document_end(to, &set);
}

static enum rc upsert(struct mongo_link *link, const char *name, bson_t *body, struct op *op,
                      struct error *err) {
    struct mongo_upsert upsert = {.key = BCON_NEW("_id", BCON_UTF8(name)), .body = body};
    enum rc rc = mongo_write_upserts(link->services, &upsert, 1, err);
    bson_destroy(upsert.key);
    if (rc != RC_OK)
        store_op_fail(op, rc, rc_info(rc)->text);
    else if (upsert.rc != RC_OK)
        store_op_fail(op, upsert.rc, upsert.text);
    return rc;
}

/* Two processes that insert the document at the same moment keep the fields of either. So it is
 * made empty first: what is then set finds it. */
static enum rc set_service(struct mongo_link *link, struct op *op, struct error *err) {
    bson_t *empty = BCON_NEW("$setOnInsert", "{", "paused", BCON_BOOL(false), "}");
    bson_t parts = BSON_INITIALIZER;
    put_parts(op, &parts);
    enum rc rc = upsert(link, op->service.name, empty, op, err);
    if (rc == RC_OK && op->rc == RC_OK)
        rc = upsert(link, op->service.name, &parts, op, err);
    bson_destroy(empty);
    bson_destroy(&parts);
    return rc;
}

enum rc mongo_apply_services(struct mongo_link *link, struct op *const *ops, size_t n,
                             struct error *err) {
    enum rc rc = RC_OK;
    for (size_t i = 0; i < n; i++) {
        if (!is_mine(ops[i]))
            continue;
        if (rc == RC_OK)
            rc = set_service(link, ops[i], err);
        else
            store_op_fail(ops[i], RC_STORE_UNAVAILABLE, rc_info(RC_STORE_UNAVAILABLE)->text);
    }
    return rc;
}

/* ---- reading ---- */

static int64_t limit_at(const bson_t *doc, const char *name) {
    bson_iter_t iter;
    return bson_iter_init_find(&iter, doc, name) && BSON_ITER_HOLDS_NUMBER(&iter)
               ? bson_iter_as_int64(&iter)
               : SERVICE_LIMIT_UNSET;
}

static bool paused_at(const bson_t *doc) {
    bson_iter_t iter;
    return bson_iter_init_find(&iter, doc, "paused") && bson_iter_as_bool(&iter);
}

/* A document that cannot be one of ours is left out. */
static enum rc keep_service(void *with, const bson_t *doc) {
    struct query *query = with;
    bson_iter_t id;
    if (!bson_iter_init_find(&id, doc, "_id") || !BSON_ITER_HOLDS_UTF8(&id))
        return RC_OK;
    struct service_rule rule = service_rule_unset(bson_iter_utf8(&id, NULL));
    if (!rule.name[0])
        return RC_OK;
    rule.paused = paused_at(doc);
    rule.max_running = limit_at(doc, "max_running");
    rule.max_waiting = limit_at(doc, "max_waiting");
    bool is_set = rule.paused || rule.max_running != SERVICE_LIMIT_UNSET ||
                  rule.max_waiting != SERVICE_LIMIT_UNSET;
    if (!is_set)
        return RC_OK;
    struct service_rule *set = reallocarray(query->set, query->n_set + 1, sizeof *set);
    if (!set)
        return RC_NO_MEMORY;
    query->set = set;
    set[query->n_set++] = rule;
    return RC_OK;
}

enum rc mongo_query_services(struct mongo_link *link, struct query *query, struct error *err) {
    bson_t filter = BSON_INITIALIZER;
    bson_t *opts = BCON_NEW("sort", "{", "_id", BCON_INT32(1), "}");
    enum rc rc = mongo_find_in(link->services, &filter, opts, keep_service, query, err);
    bson_destroy(opts);
    return rc;
}
