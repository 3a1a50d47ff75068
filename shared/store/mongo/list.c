/* list.c: a page of tasks, in order of (create_time, _id).
 *
 * Service, status and times are served by an index. What the filter asks for besides is matched
 * behind it, in at most LIST_WALK_MAX documents from the page's beginning on; where a prefix of the
 * id is asked for and few tasks have it, the index of ids serves.
 */
#include "store/mongo/mongo.h"

#include "base/mem.h"
#include "store/store_batch.h"
#include "store/store_list.h"

#include <stdio.h>
#include <string.h>

enum { CURSOR_KIND = 'm' };

/* A place in the order: {t: create_time, i: _id}. */
struct place {
    bson_t key;
    bool set;
};

struct listing {
    struct mongo_link *link;
    struct query *query;
    bool upward; /* towards newer tasks */
    bool walks;  /* some of the filter is served by no index */
    struct place from;
    struct place first, last; /* of the page, in the order of the walk */
    struct place cut; /* of the last document that a walk may look at, if there are as many */
    int64_t seen;     /* documents, of which some may be no tasks */
    bool more;
    size_t cap, bytes;
    int64_t counted;
};

/* ---- places ---- */

static bool is_comparable(const bson_iter_t *iter) {
    return BSON_ITER_HOLDS_OID(iter) || BSON_ITER_HOLDS_UTF8(iter) || BSON_ITER_HOLDS_INT(iter) ||
           BSON_ITER_HOLDS_DOUBLE(iter) || BSON_ITER_HOLDS_BINARY(iter);
}

/* Without a time, or with an _id that is too long, there is no going on from a document. */
static void place_set(struct place *place, const bson_t *doc) {
    bson_iter_t time, id;
    bson_reinit(&place->key);
    place->set = bson_iter_init_find(&time, doc, "create_time") &&
                 BSON_ITER_HOLDS_DATE_TIME(&time) && bson_iter_init_find(&id, doc, "_id") &&
                 is_comparable(&id) && bson_append_iter(&place->key, "t", 1, &time) &&
                 bson_append_iter(&place->key, "i", 1, &id) && place->key.len <= CURSOR_BYTES_MAX;
}

static bool place_read(struct place *place, const char *text) {
    uint8_t bytes[CURSOR_BYTES_MAX];
    size_t n;
    bson_t key;
    bson_iter_t iter;
    if (!cursor_read(text, CURSOR_KIND, bytes, sizeof bytes, &n) ||
        !bson_init_static(&key, bytes, n) ||
        !bson_validate(&key, BSON_VALIDATE_UTF8 | BSON_VALIDATE_UTF8_ALLOW_NULL, NULL) ||
        !bson_iter_init(&iter, &key) || !bson_iter_next(&iter) ||
        strcmp(bson_iter_key(&iter), "t") != 0 || !BSON_ITER_HOLDS_DATE_TIME(&iter) ||
        !bson_iter_next(&iter) || strcmp(bson_iter_key(&iter), "i") != 0 || !is_comparable(&iter) ||
        bson_iter_next(&iter))
        return false;
    bson_copy_to(&key, &place->key);
    return place->set = true;
}

static bool put_cursor(const struct place *place, char **ret) {
    if (!place->set)
        return true;
    *ret = cursor_make(CURSOR_KIND, bson_get_data(&place->key), place->key.len);
    return *ret;
}

/* ---- the filter ---- */

static void put_words(bson_t *to, const char *field, const char *const *words, size_t n) {
    bson_t inner, in;
    if (n == 1) {
        BSON_APPEND_UTF8(to, field, words[0]);
        return;
    }
    BSON_APPEND_DOCUMENT_BEGIN(to, field, &inner);
    BSON_APPEND_ARRAY_BEGIN(&inner, "$in", &in);
    for (size_t i = 0; i < n; i++) {
        char room[MONGO_INDEX_CAP];
        const char *key = mongo_index_key(i, room);
        BSON_APPEND_UTF8(&in, key, words[i]);
    }
    bson_append_array_end(&inner, &in);
    bson_append_document_end(to, &inner);
}

/* A status in any case, so that an index serves and what is no task stays out. */
static void put_statuses(bson_t *to, unsigned statuses) {
    const char *words[TASK_STATUSES];
    size_t n = 0;
    for (unsigned i = 0; i < TASK_STATUSES; i++)
        if (!statuses || statuses & 1u << i)
            words[n++] = task_status_name((enum task_status)i);
    put_words(to, "status", words, n);
}

static void put_from(bson_t *times, const struct listing *listing) {
    bson_iter_t time;
    if (listing->from.set && bson_iter_init_find(&time, &listing->from.key, "t"))
        BSON_APPEND_DATE_TIME(times, listing->upward ? "$gte" : "$lte", bson_iter_date_time(&time));
}

static void put_times(bson_t *to, const struct listing *listing, bool from_place) {
    const struct list_filter *filter = &listing->query->filter;
    bson_t times = BSON_INITIALIZER;
    if (from_place)
        put_from(&times, listing);
    /* The same operator twice would be one: the narrower bound is $gt, $lt. */
    if (filter->from_ms)
        BSON_APPEND_DATE_TIME(&times, "$gt", filter->from_ms - 1);
    if (filter->to_ms)
        BSON_APPEND_DATE_TIME(&times, "$lt", filter->to_ms);
    if (!bson_empty(&times))
        BSON_APPEND_DOCUMENT(to, "create_time", &times);
    bson_destroy(&times);
}

/* {FIELD: {COMPARE: value}} */
static void put_side(bson_t *list, const char *at, const char *field, const char *compare,
                     const bson_iter_t *value) {
    bson_t side, inner;
    BSON_APPEND_DOCUMENT_BEGIN(list, at, &side);
    BSON_APPEND_DOCUMENT_BEGIN(&side, field, &inner);
    bson_append_iter(&inner, compare, -1, value);
    bson_append_document_end(&side, &inner);
    bson_append_document_end(list, &side);
}

/* Among those created in the same millisecond, the _id decides. */
static void put_beyond(bson_t *to, const struct listing *listing) {
    const char *compare = listing->upward ? "$gt" : "$lt";
    bson_iter_t time, id;
    bson_t list;
    if (!listing->from.set || !bson_iter_init_find(&time, &listing->from.key, "t") ||
        !bson_iter_init_find(&id, &listing->from.key, "i"))
        return;
    BSON_APPEND_ARRAY_BEGIN(to, "$or", &list);
    put_side(&list, "0", "create_time", compare, &time);
    put_side(&list, "1", "_id", compare, &id);
    bson_append_array_end(to, &list);
}

/* What an index serves. */
static void put_indexed(bson_t *to, const struct listing *listing, bool from_place) {
    const struct list_filter *filter = &listing->query->filter;
    if (filter->n_services)
        put_words(to, "service", (const char *const *)filter->services, filter->n_services);
    put_statuses(to, filter->statuses);
    put_times(to, listing, from_place);
    if (from_place)
        put_beyond(to, listing);
}

/* A list of alternatives under construction. */
struct sides {
    bson_t list;
    size_t n;
};

static void side_begin(struct sides *sides, bson_t *ret) {
    char room[MONGO_INDEX_CAP];
    const char *key = mongo_index_key(sides->n++, room);
    BSON_APPEND_DOCUMENT_BEGIN(&sides->list, key, ret);
}

static void side_end(struct sides *sides, bson_t *side) {
    bson_append_document_end(&sides->list, side);
}

/* service: {COMPARE: [paused ones]} */
static void put_paused(bson_t *to, const struct list_filter *filter, const char *compare) {
    bson_t inner, names;
    BSON_APPEND_DOCUMENT_BEGIN(to, "service", &inner);
    BSON_APPEND_ARRAY_BEGIN(&inner, compare, &names);
    for (size_t i = 0; i < filter->n_paused; i++) {
        char room[MONGO_INDEX_CAP];
        const char *key = mongo_index_key(i, room);
        BSON_APPEND_UTF8(&names, key, filter->paused[i]);
    }
    bson_append_array_end(&inner, &names);
    bson_append_document_end(to, &inner);
}

/* One sub status, of ours or of a document that has no word of ours for it; `compare`: only of
 * services that are ($in) or are not ($nin) paused; NULL: of any. */
static void put_sub(struct sides *sides, const struct list_filter *filter, enum task_sub sub,
                    const char *compare) {
    bson_t side;
    if (task_sub_name(sub)) {
        side_begin(sides, &side);
        BSON_APPEND_UTF8(&side, "sub_status", task_sub_name(sub));
        if (compare)
            put_paused(&side, filter, compare);
        side_end(sides, &side);
    }
    for (unsigned i = 0; i < TASK_STATUSES; i++) {
        if (mongo_doc_foreign_sub((enum task_status)i) != sub)
            continue;
        side_begin(sides, &side);
        BSON_APPEND_NULL(&side, "lh");
        BSON_APPEND_UTF8(&side, "status", task_status_name((enum task_status)i));
        if (compare)
            put_paused(&side, filter, compare);
        side_end(sides, &side);
    }
}

static void put_subs(bson_t *to, const struct list_filter *filter) {
    struct sides sides = {.n = 0};
    BSON_APPEND_ARRAY_BEGIN(to, "$or", &sides.list);
    for (unsigned i = 0; i < TASK_SUBS; i++)
        if (filter->subs & 1u << i)
            put_sub(&sides, filter, (enum task_sub)i, i == SUB_QUEUED ? "$nin" : NULL);
    if (filter->want_paused)
        put_sub(&sides, filter, SUB_QUEUED, "$in");
    bson_append_array_end(to, &sides.list);
}

static void put_prefix(bson_t *to, const char *prefix) {
    char end[TASK_TEXT_CAP + 4];
    bson_t inner;
    snprintf(end, sizeof end, "%s\xf4\x8f\xbf\xbf", prefix); /* U+10FFFF */
    BSON_APPEND_DOCUMENT_BEGIN(to, "task_id", &inner);
    BSON_APPEND_UTF8(&inner, "$gte", prefix);
    BSON_APPEND_UTF8(&inner, "$lt", end);
    bson_append_document_end(to, &inner);
}

/* {tags: {$elemMatch: {name, value}}} for each, in $and. */
static void put_tags(bson_t *to, const struct list_filter *filter) {
    bson_t list, side, tags, match;
    BSON_APPEND_ARRAY_BEGIN(to, "$and", &list);
    for (size_t i = 0; i < filter->n_tags; i++) {
        char room[MONGO_INDEX_CAP];
        const char *key = mongo_index_key(i, room);
        BSON_APPEND_DOCUMENT_BEGIN(&list, key, &side);
        BSON_APPEND_DOCUMENT_BEGIN(&side, "tags", &tags);
        BSON_APPEND_DOCUMENT_BEGIN(&tags, "$elemMatch", &match);
        BSON_APPEND_UTF8(&match, "name", filter->tags[i].name);
        BSON_APPEND_UTF8(&match, "value", filter->tags[i].value);
        bson_append_document_end(&tags, &match);
        bson_append_document_end(&side, &tags);
        bson_append_document_end(&list, &side);
    }
    bson_append_array_end(to, &list);
}

/* What none serves. */
static void put_rest(bson_t *to, const struct list_filter *filter) {
    if (list_has_subs(filter))
        put_subs(to, filter);
    if (filter->prefix)
        put_prefix(to, filter->prefix);
    if (filter->n_tags)
        put_tags(to, filter);
}

/* All of it, in one document; what may have the same operators stands apart. */
static void put_all(bson_t *to, const struct listing *listing, bool from_place) {
    bson_t rest = BSON_INITIALIZER, list;
    put_indexed(to, listing, from_place);
    put_rest(&rest, &listing->query->filter);
    if (!bson_empty(&rest)) {
        BSON_APPEND_ARRAY_BEGIN(to, "$and", &list);
        BSON_APPEND_DOCUMENT(&list, "0", &rest);
        bson_append_array_end(to, &list);
    }
    bson_destroy(&rest);
}

static void put_sort(bson_t *to, const char *key, bool upward) {
    bson_t sort;
    BSON_APPEND_DOCUMENT_BEGIN(to, key, &sort);
    BSON_APPEND_INT32(&sort, "create_time", upward ? 1 : -1);
    BSON_APPEND_INT32(&sort, "_id", upward ? 1 : -1);
    bson_append_document_end(to, &sort);
}

/* ---- a walk: documents that an index gives, then the rest of the filter on as many of them ----
 */

/* A pipeline under construction: {pipeline: [...]}. */
struct pipeline {
    bson_t doc, stages;
    size_t n;
};

static void stage_begin(struct pipeline *pipeline, bson_t *ret) {
    char room[MONGO_INDEX_CAP];
    const char *key = mongo_index_key(pipeline->n++, room);
    BSON_APPEND_DOCUMENT_BEGIN(&pipeline->stages, key, ret);
}

static void stage_end(struct pipeline *pipeline, bson_t *stage) {
    bson_append_document_end(&pipeline->stages, stage);
}

static void add_number(struct pipeline *pipeline, const char *name, int64_t number) {
    bson_t stage;
    stage_begin(pipeline, &stage);
    BSON_APPEND_INT64(&stage, name, number);
    stage_end(pipeline, &stage);
}

static void pipeline_begin(struct pipeline *pipeline, const struct listing *listing,
                           bool from_place) {
    bson_t stage, match;
    *pipeline = (struct pipeline){.n = 0};
    bson_init(&pipeline->doc);
    BSON_APPEND_ARRAY_BEGIN(&pipeline->doc, "pipeline", &pipeline->stages);
    stage_begin(pipeline, &stage);
    BSON_APPEND_DOCUMENT_BEGIN(&stage, "$match", &match);
    put_indexed(&match, listing, from_place);
    bson_append_document_end(&stage, &match);
    stage_end(pipeline, &stage);
    stage_begin(pipeline, &stage);
    put_sort(&stage, "$sort", from_place && listing->upward);
    stage_end(pipeline, &stage);
    add_number(pipeline, "$limit", LIST_WALK_MAX);
    stage_begin(pipeline, &stage);
    BSON_APPEND_DOCUMENT_BEGIN(&stage, "$match", &match);
    put_rest(&match, &listing->query->filter);
    bson_append_document_end(&stage, &match);
    stage_end(pipeline, &stage);
}

/* Runs it and hands each document over. */
static enum rc pipeline_run(struct pipeline *pipeline, struct listing *listing, mongo_see_doc *see,
                            struct error *err) {
    bson_append_array_end(&pipeline->doc, &pipeline->stages);
    mongoc_cursor_t *cursor = mongoc_collection_aggregate(listing->link->tasks, MONGOC_QUERY_NONE,
                                                          &pipeline->doc, NULL, NULL);
    enum rc rc = mongo_see_all(cursor, see, listing, err);
    bson_destroy(&pipeline->doc);
    return rc;
}

/* ---- counting ---- */

static enum rc see_count(void *with, const bson_t *doc) {
    struct listing *listing = with;
    bson_iter_t n;
    if (bson_iter_init_find(&n, doc, "n"))
        listing->counted = bson_iter_as_int64(&n);
    return RC_OK;
}

static enum rc count_walk(struct listing *listing, struct error *err) {
    struct pipeline pipeline;
    bson_t stage, group, sum;
    pipeline_begin(&pipeline, listing, false);
    add_number(&pipeline, "$limit", LIST_COUNT_MAX + 1);
    stage_begin(&pipeline, &stage);
    BSON_APPEND_DOCUMENT_BEGIN(&stage, "$group", &group);
    BSON_APPEND_NULL(&group, "_id");
    BSON_APPEND_DOCUMENT_BEGIN(&group, "n", &sum);
    BSON_APPEND_INT32(&sum, "$sum", 1);
    bson_append_document_end(&group, &sum);
    bson_append_document_end(&stage, &group);
    stage_end(&pipeline, &stage);
    return pipeline_run(&pipeline, listing, see_count, err);
}

static enum rc count_filter(struct listing *listing, bool all, int64_t limit, int64_t *ret,
                            struct error *err) {
    bson_t filter = BSON_INITIALIZER;
    if (all)
        put_all(&filter, listing, false);
    else
        put_indexed(&filter, listing, false);
    enum rc rc = mongo_count(listing->link, &filter, limit, ret, err);
    bson_destroy(&filter);
    return rc;
}

/* By service and status alone: the counters know it where it is dear to count. */
static enum rc count_states(struct listing *listing, struct error *err) {
    const struct list_filter *filter = &listing->query->filter;
    struct mongo_total total = {(const char *const *)filter->services, filter->n_services,
                                filter->statuses};
    bson_t all = BSON_INITIALIZER;
    put_all(&all, listing, false);
    enum rc rc = mongo_count_tasks(listing->link, &total, &all, 0, &listing->query->total, err);
    bson_destroy(&all);
    return rc;
}

static enum rc count(struct listing *listing, struct error *err) {
    struct query *query = listing->query;
    int64_t documents = 0;
    bool exact = list_is_by_state(&query->filter) && !listing->walks;
    if (exact)
        return count_states(listing, err);
    enum rc rc = listing->walks
                     ? count_walk(listing, err)
                     : count_filter(listing, true, LIST_COUNT_MAX + 1, &listing->counted, err);
    if (rc == RC_OK && listing->walks)
        rc = count_filter(listing, false, LIST_WALK_MAX + 1, &documents, err);
    bool over = listing->counted > LIST_COUNT_MAX;
    query->total = over ? LIST_COUNT_MAX : listing->counted;
    query->total_at_least = over || documents > LIST_WALK_MAX;
    return rc;
}

/* True where so few tasks have the prefix that the index of ids finds them. */
static enum rc is_rare_prefix(struct listing *listing, bool *ret, struct error *err) {
    const char *prefix = listing->query->filter.prefix;
    int64_t n = LIST_COUNT_MAX + 1;
    enum rc rc = RC_OK;
    if (prefix) {
        bson_t filter = BSON_INITIALIZER;
        put_prefix(&filter, prefix);
        rc = mongo_count(listing->link, &filter, LIST_COUNT_MAX + 1, &n, err);
        bson_destroy(&filter);
    }
    *ret = n <= LIST_COUNT_MAX;
    return rc;
}

/* ---- the page ---- */

static bool grow(struct listing *listing) {
    struct query *query = listing->query;
    if (query->n_tasks < listing->cap)
        return true;
    size_t cap = listing->cap ? listing->cap * 2 : 16;
    struct task *tasks = reallocarray(query->tasks, cap, sizeof *tasks);
    if (!tasks)
        return false;
    query->tasks = tasks;
    listing->cap = cap;
    return true;
}

/* One document more than the page has says that there are more. */
static enum rc see_task(void *with, const bson_t *doc) {
    struct listing *listing = with;
    struct query *query = listing->query;
    struct mongo_want want = {.condition = query->want_condition, .result = query->want_result};
    listing->more = listing->seen++ == query->limit;
    if ((int64_t)query->n_tasks == query->limit)
        return RC_OK;
    if (!grow(listing))
        return RC_NO_MEMORY;
    place_set(&listing->last, doc);
    if (!listing->first.set)
        place_set(&listing->first, doc);
    enum rc rc = mongo_doc_read(doc, want, &query->tasks[query->n_tasks]);
    if (rc != RC_OK)
        return rc == RC_NOT_FOUND ? RC_OK : rc;
    query->n_tasks++;
    return store_page_fits(query, &listing->bytes) ? RC_OK : query->rc;
}

static enum rc see_cut(void *with, const bson_t *doc) {
    struct listing *listing = with;
    place_set(&listing->cut, doc);
    return RC_OK;
}

/* The document at which the walk ends, if there are as many. */
static enum rc find_cut(struct listing *listing, struct error *err) {
    bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, fields;
    put_indexed(&filter, listing, true);
    put_sort(&opts, "sort", listing->upward);
    BSON_APPEND_INT64(&opts, "skip", LIST_WALK_MAX - 1);
    BSON_APPEND_INT64(&opts, "limit", 1);
    BSON_APPEND_DOCUMENT_BEGIN(&opts, "projection", &fields);
    BSON_APPEND_INT32(&fields, "create_time", 1);
    bson_append_document_end(&opts, &fields);
    enum rc rc = mongo_find(listing->link, &filter, &opts, see_cut, listing, err);
    bson_destroy(&filter);
    bson_destroy(&opts);
    return rc;
}

static enum rc page_by_walk(struct listing *listing, struct error *err) {
    const struct query *query = listing->query;
    struct mongo_want want = {.condition = query->want_condition, .result = query->want_result};
    struct pipeline pipeline;
    bson_t stage;
    enum rc rc = find_cut(listing, err);
    if (rc != RC_OK)
        return rc;
    pipeline_begin(&pipeline, listing, true);
    if (query->skip)
        add_number(&pipeline, "$skip", query->skip);
    add_number(&pipeline, "$limit", query->limit + 1);
    stage_begin(&pipeline, &stage);
    mongo_doc_project_as(&stage, "$project", want);
    stage_end(&pipeline, &stage);
    return pipeline_run(&pipeline, listing, see_task, err);
}

static enum rc page_by_index(struct listing *listing, struct error *err) {
    const struct query *query = listing->query;
    struct mongo_want want = {.condition = query->want_condition, .result = query->want_result};
    bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER;
    put_all(&filter, listing, true);
    put_sort(&opts, "sort", listing->upward);
    BSON_APPEND_INT64(&opts, "skip", query->skip);
    BSON_APPEND_INT64(&opts, "limit", query->limit + 1);
    mongo_doc_project_as(&opts, "projection", want);
    enum rc rc = mongo_find(listing->link, &filter, &opts, see_task, listing, err);
    bson_destroy(&filter);
    bson_destroy(&opts);
    return rc;
}

static void reverse(struct query *query) {
    for (size_t i = 0, k = query->n_tasks; i + 1 < k; i++) {
        struct task task = query->tasks[i];
        query->tasks[i] = query->tasks[--k];
        query->tasks[k] = task;
    }
}

static enum rc put_cursors(const struct listing *listing) {
    struct query *query = listing->query;
    bool cut = !listing->more && listing->cut.set;
    const struct place *last = cut ? &listing->cut : &listing->last;
    char **onward = listing->upward ? &query->prev : &query->next;
    char **back = listing->upward ? &query->next : &query->prev;
    bool ok = !(listing->more || cut) || put_cursor(last, onward);
    if (query->before || query->after || query->skip > 0)
        ok = ok && put_cursor(&listing->first, back);
    return ok ? RC_OK : RC_NO_MEMORY;
}

static enum rc list_page(struct listing *listing, struct error *err) {
    struct query *query = listing->query;
    enum rc rc = listing->walks ? page_by_walk(listing, err) : page_by_index(listing, err);
    if (rc != RC_OK || query->rc != RC_OK)
        return rc;
    if (listing->cut.set && query->skip > 0 && query->n_tasks == 0) {
        list_refuse_page(query);
        return RC_OK;
    }
    if (listing->upward)
        reverse(query);
    rc = put_cursors(listing);
    return rc == RC_OK ? RC_OK : error_set(err, rc, "out of memory");
}

static enum rc run(struct listing *listing, struct error *err) {
    struct query *query = listing->query;
    const char *cursor = query->before ? query->before : query->after;
    bool rare = false;
    if (cursor && !place_read(&listing->from, cursor)) {
        list_refuse_cursor(query);
        return RC_OK;
    }
    enum rc rc = is_rare_prefix(listing, &rare, err);
    listing->walks =
        !rare && (list_has_subs(&query->filter) || query->filter.prefix || query->filter.n_tags);
    if (rc == RC_OK)
        rc = count(listing, err);
    if (rc == RC_OK && query->limit > 0 &&
        (cursor || query->skip < query->total || query->total_at_least))
        rc = list_page(listing, err);
    return query->rc != RC_OK ? RC_OK : rc; /* what is wrong with one concerns no other query */
}

/* ---- tasks to be removed ---- */

/* Documents of others are looked at and left in peace. */
static enum rc see_expired(void *with, const bson_t *doc) {
    struct listing *listing = with;
    struct query *query = listing->query;
    if (!grow(listing))
        return RC_NO_MEMORY;
    place_set(&listing->last, doc);
    listing->seen++;
    struct task *task = &query->tasks[query->n_tasks];
    enum rc rc = mongo_doc_read(doc, (struct mongo_want){0}, task);
    if (rc != RC_OK)
        return rc == RC_NOT_FOUND ? RC_OK : rc;
    if (!task->foreign && task->end_at && task->end_at <= query->ended_before_ms)
        query->n_tasks++;
    else
        task_finish(task);
    return RC_OK;
}

/* What was created later than the time asked for has not ended by then. */
static enum rc find_expired(struct listing *listing, struct error *err) {
    struct query *query = listing->query;
    bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER;
    query->filter.to_ms = query->ended_before_ms + 1;
    put_indexed(&filter, listing, true);
    put_sort(&opts, "sort", true);
    BSON_APPEND_INT64(&opts, "limit", query->limit);
    mongo_doc_project(&opts, (struct mongo_want){0});
    enum rc rc = mongo_find(listing->link, &filter, &opts, see_expired, listing, err);
    bson_destroy(&filter);
    bson_destroy(&opts);
    if (rc == RC_OK && listing->seen == query->limit && !put_cursor(&listing->last, &query->next))
        rc = error_set(err, RC_NO_MEMORY, "out of memory");
    return rc;
}

static enum rc run_expired(struct listing *listing, struct error *err) {
    struct query *query = listing->query;
    if (!query->after || place_read(&listing->from, query->after))
        return find_expired(listing, err);
    list_refuse_cursor(query);
    return RC_OK;
}

typedef enum rc run_listing(struct listing *listing, struct error *err);

static enum rc run_with(struct listing *listing, run_listing *run_it, struct error *err) {
    struct place *const places[] = {&listing->from, &listing->first, &listing->last, &listing->cut};
    for (size_t i = 0; i < LH_COUNT(places); i++)
        bson_init(&places[i]->key);
    enum rc rc = run_it(listing, err);
    for (size_t i = 0; i < LH_COUNT(places); i++)
        bson_destroy(&places[i]->key);
    return rc;
}

enum rc mongo_query_expired(struct mongo_link *link, struct query *query, struct error *err) {
    struct listing listing = {.link = link, .query = query, .upward = true};
    return run_with(&listing, run_expired, err);
}

enum rc mongo_query_list(struct mongo_link *link, struct query *query, struct error *err) {
    struct listing listing = {.link = link, .query = query, .upward = query->before};
    return run_with(&listing, run, err);
}
