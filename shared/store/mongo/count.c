/* count.c: how many tasks a service has in each status, kept beside the tasks.
 *
 * What a batch changed is added up and handed to a thread of its own once it is in the store, so
 * that nobody waits for the counters; the thread sends all that has gathered as one bulk of $inc. A
 * process that dies in between, an outcome that stays unknown, and other programs that write into
 * the collection make the counters drift; mongo/recount.c finds and corrects that. So they
 * are used where counting is dear, and small numbers are counted on the server.
 */
#include "store/mongo/mongo.h"

#include "base/log.h"
#include "base/mem.h"

#include <string.h>

enum { KEY_CAP = 32, CODE_DUPLICATE = 11000, TELL_AGAIN_MS = 1000 };

/* ---- adding up ---- */

static struct mongo_delta *find_delta(struct mongo_deltas *deltas, const char *service) {
    for (size_t i = 0; i < deltas->n; i++)
        if (strcmp(deltas->rows[i].service, service) == 0)
            return &deltas->rows[i];
    struct mongo_delta *rows = reallocarray(deltas->rows, deltas->n + 1, sizeof *rows);
    if (!rows)
        return NULL;
    deltas->rows = rows;
    struct mongo_delta *row = &rows[deltas->n];
    *row = (struct mongo_delta){.service = ""};
    if (!service[0] || !mem_copy_str(row->service, sizeof row->service, service))
        return NULL;
    deltas->n++;
    return row;
}

/* Without memory the counters drift. */
static void merge(struct mongo_deltas *to, const struct mongo_deltas *from) {
    for (size_t i = 0; i < from->n; i++) {
        struct mongo_delta *row = find_delta(to, from->rows[i].service);
        for (int k = 0; row && k < TASK_STATUSES; k++) {
            row->by_status[k] += from->rows[i].by_status[k];
            row->moved[k] += from->rows[i].moved[k];
        }
    }
}

void mongo_counts_add(struct mongo_link *link, const char *service, enum task_status status,
                      int delta) {
    struct mongo_delta *row = find_delta(&link->deltas, service);
    if (!row)
        return;
    row->by_status[status] += delta;
    row->moved[status] += delta < 0 ? -delta : delta;
}

void mongo_counts_move(struct mongo_link *link, const char *service, enum task_status from,
                       enum task_status to) {
    if (from == to)
        return;
    mongo_counts_add(link, service, from, -1);
    mongo_counts_add(link, service, to, 1);
}

/* ---- writing ---- */

static const char *field(const char *group, int status, char room[KEY_CAP]) {
    snprintf(room, KEY_CAP, "%s.%s", group, task_status_name((enum task_status)status));
    return room;
}

static bool is_nothing(const struct mongo_delta *row) {
    for (int i = 0; i < TASK_STATUSES; i++)
        if (row->by_status[i] || row->moved[i])
            return false;
    return true;
}

static void put_delta(const struct mongo_delta *row, bson_t *to) {
    char room[KEY_CAP];
    bson_t inc;
    BSON_APPEND_DOCUMENT_BEGIN(to, "$inc", &inc);
    for (int i = 0; i < TASK_STATUSES; i++) {
        if (row->by_status[i])
            BSON_APPEND_INT64(&inc, field("counts", i, room), row->by_status[i]);
        if (row->moved[i])
            BSON_APPEND_INT64(&inc, field("moved", i, room), row->moved[i]);
    }
    bson_append_document_end(to, &inc);
}

static bool add_upsert(mongoc_bulk_operation_t *bulk, const struct mongo_delta *row) {
    bson_t *key = BCON_NEW("_id", BCON_UTF8(row->service));
    bson_t *opts = BCON_NEW("upsert", BCON_BOOL(true), "validate", BCON_BOOL(false));
    bson_t body = BSON_INITIALIZER;
    put_delta(row, &body);
    bool ok = mongoc_bulk_operation_update_one_with_opts(bulk, key, &body, opts, NULL);
    bson_destroy(key);
    bson_destroy(opts);
    bson_destroy(&body);
    return ok;
}

/* One acknowledgement is enough: what a failover loses is found by the recount. */
static mongoc_bulk_operation_t *begin_bulk(struct mongo_link *link) {
    bson_t *opts =
        BCON_NEW("ordered", BCON_BOOL(false), "writeConcern", "{", "w", BCON_INT32(1), "}");
    mongoc_bulk_operation_t *bulk =
        mongoc_collection_create_bulk_operation_with_opts(link->services, opts);
    bson_destroy(opts);
    return bulk;
}

/* Another process made one of the documents at the same moment: those were not added. */
static size_t keep_duplicates(const bson_t *reply, struct mongo_delta *rows, size_t n) {
    bson_iter_t errors, list, inner;
    size_t kept = 0;
    if (!bson_iter_init_find(&errors, reply, "writeErrors") || !BSON_ITER_HOLDS_ARRAY(&errors) ||
        !bson_iter_recurse(&errors, &list))
        return 0;
    while (bson_iter_next(&list)) {
        int64_t index = -1, code = 0;
        if (!bson_iter_recurse(&list, &inner))
            continue;
        while (bson_iter_next(&inner))
            if (strcmp(bson_iter_key(&inner), "index") == 0)
                index = bson_iter_as_int64(&inner);
            else if (strcmp(bson_iter_key(&inner), "code") == 0)
                code = bson_iter_as_int64(&inner);
        if (code == CODE_DUPLICATE && index >= (int64_t)kept && index < (int64_t)n)
            rows[kept++] = rows[index];
    }
    return kept;
}

/* Sends the rows; those that are left stand at the front, their number is returned. */
static size_t send_once(struct mongo_link *link, struct mongo_delta *rows, size_t n) {
    mongoc_bulk_operation_t *bulk = begin_bulk(link);
    bson_t reply;
    bson_error_t fault = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++)
        ok = add_upsert(bulk, &rows[i]);
    if (!ok) {
        mongoc_bulk_operation_destroy(bulk);
        return 0;
    }
    ok = mongoc_bulk_operation_execute(bulk, &reply, &fault) != 0;
    size_t left = ok ? 0 : keep_duplicates(&reply, rows, n);
    if (!ok && fault.domain == MONGOC_ERROR_SERVER_SELECTION)
        left = n; /* surely not sent */
    else if (!ok && !left)
        log_debug(.msg = "counters of tasks may drift", .error = fault.message);
    bson_destroy(&reply);
    mongoc_bulk_operation_destroy(bulk);
    return left;
}

/* What another process's insert kept out finds the document the second time. */
static void send_rows(struct mongo_link *link, struct mongo_deltas *deltas) {
    size_t n = 0;
    for (size_t i = 0; i < deltas->n; i++)
        if (!is_nothing(&deltas->rows[i]))
            deltas->rows[n++] = deltas->rows[i];
    size_t left = n ? send_once(link, deltas->rows, n) : 0;
    if (left && left < n)
        left = send_once(link, deltas->rows, left);
    deltas->n = left;
}

void mongo_counts_correct(struct mongo_link *link, struct mongo_delta *row) {
    if (!is_nothing(row))
        (void)send_once(link, row, 1);
}

/* ---- the thread ---- */

void mongo_counts_flush(struct mongo_link *link) {
    struct mongo_teller *teller = &link->store->teller;
    if (!link->deltas.n)
        return;
    if (!teller->task.started) {
        send_rows(link, &link->deltas);
        return;
    }
    pthread_mutex_lock(&teller->task.lock);
    merge(&teller->gathered, &link->deltas);
    pthread_cond_signal(&teller->task.wake);
    pthread_mutex_unlock(&teller->task.lock);
    link->deltas.n = 0;
}

/* Waits for something to tell; false where the store closes and nothing is left. */
static bool next(struct mongo_teller *teller) {
    pthread_mutex_lock(&teller->task.lock);
    while (!teller->gathered.n && !teller->task.stop)
        pthread_cond_wait(&teller->task.wake, &teller->task.lock);
    struct mongo_deltas gathered = teller->gathered;
    teller->gathered = teller->sent; /* empty, with its memory */
    teller->sent = gathered;
    pthread_mutex_unlock(&teller->task.lock);
    return gathered.n > 0;
}

/* Sends a copy: readers add what is under way. False where the server is not there. */
static bool tell(struct mongo_teller *teller) {
    struct mongo_deltas rows = {0};
    merge(&rows, &teller->sent);
    send_rows(&teller->task.link, &rows);
    pthread_mutex_lock(&teller->task.lock);
    teller->sent.n = 0;
    merge(&teller->gathered, &rows);
    pthread_mutex_unlock(&teller->task.lock);
    bool told = rows.n == 0;
    free(rows.rows);
    return told;
}

static void *tell_all(void *arg) {
    struct mongo_teller *teller = arg;
    bool stop = false;
    while (!stop && next(teller))
        if (!tell(teller))
            stop = mongo_task_rest(&teller->task, TELL_AGAIN_MS);
    return NULL;
}

void mongo_teller_start(struct mongo_store *store) {
    mongo_task_start(store, &store->teller.task, tell_all, &store->teller);
}

void mongo_teller_stop(struct mongo_store *store) {
    mongo_task_stop(store, &store->teller.task);
    free(TAKE(store->teller.gathered.rows));
    free(TAKE(store->teller.sent.rows));
}

/* ---- reading ---- */

static int64_t number_at(const bson_t *doc, const char *group, int status) {
    char room[KEY_CAP];
    bson_iter_t top, iter;
    return bson_iter_init(&top, doc) &&
                   bson_iter_find_descendant(&top, field(group, status, room), &iter)
               ? bson_iter_as_int64(&iter)
               : 0;
}

void mongo_counts_read(const bson_t *doc, struct mongo_counters *ret) {
    *ret = (struct mongo_counters){.moved = {0}};
    for (int i = 0; i < TASK_STATUSES; i++) {
        ret->by_status[i] = number_at(doc, "counts", i);
        ret->moved[i] = number_at(doc, "moved", i);
    }
}

/* What is wanted of the counters, while the documents come. */
struct reading {
    const struct mongo_total *total;
    struct query *query; /* to load into; NULL: the sum is wanted */
    bool known;
    int64_t sum;
};

static bool is_wanted(const struct mongo_total *total, const char *service) {
    for (size_t i = 0; i < total->n_services; i++)
        if (strcmp(total->services[i], service) == 0)
            return true;
    return total->n_services == 0;
}

static void add_sum(struct reading *reading, const int64_t by_status[TASK_STATUSES]) {
    unsigned statuses = reading->total->statuses;
    for (int i = 0; i < TASK_STATUSES; i++)
        if (!statuses || statuses & 1u << i)
            reading->sum += by_status[i];
}

static enum rc add_row(struct query *query, const char *service,
                       const struct mongo_counters *counters) {
    struct store_count *rows = reallocarray(query->counts, query->n_counts + 1, sizeof *rows);
    if (!rows)
        return RC_NO_MEMORY;
    query->counts = rows;
    struct store_count *row = &rows[query->n_counts];
    *row = (struct store_count){.oldest_due_at = 0};
    int64_t n = 0;
    for (int i = 0; i < TASK_STATUSES; i++)
        n += row->by_status[i] = counters->by_status[i] > 0 ? counters->by_status[i] : 0;
    if (n && mem_copy_str(row->service, sizeof row->service, service))
        query->n_counts++;
    return RC_OK;
}

static enum rc see_counters(void *with, const bson_t *doc) {
    struct reading *reading = with;
    struct mongo_counters counters;
    bson_iter_t id, done;
    if (!bson_iter_init_find(&id, doc, "_id"))
        return RC_OK;
    if (BSON_ITER_HOLDS_INT32(&id))
        reading->known = bson_iter_init_find(&done, doc, "done_at");
    if (!BSON_ITER_HOLDS_UTF8(&id) || !is_wanted(reading->total, bson_iter_utf8(&id, NULL)))
        return RC_OK;
    mongo_counts_read(doc, &counters);
    add_sum(reading, counters.by_status);
    return reading->query ? add_row(reading->query, bson_iter_utf8(&id, NULL), &counters) : RC_OK;
}

static enum rc read_all(struct mongo_link *link, struct reading *reading, struct error *err) {
    bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER;
    enum rc rc = mongo_find_in(link->services, &filter, &opts, see_counters, reading, err);
    bson_destroy(&filter);
    bson_destroy(&opts);
    return rc;
}

/* What this process has not told yet, or is telling. */
static void add_untold(struct mongo_link *link, struct reading *reading) {
    struct mongo_teller *teller = &link->store->teller;
    if (!teller->task.started)
        return;
    pthread_mutex_lock(&teller->task.lock);
    const struct mongo_deltas *lists[] = {&teller->gathered, &teller->sent};
    for (size_t i = 0; i < LH_COUNT(lists); i++)
        for (size_t k = 0; k < lists[i]->n; k++)
            if (is_wanted(reading->total, lists[i]->rows[k].service))
                add_sum(reading, lists[i]->rows[k].by_status);
    pthread_mutex_unlock(&teller->task.lock);
}

enum rc mongo_count_tasks(struct mongo_link *link, const struct mongo_total *total,
                          const bson_t *filter, int64_t limit, int64_t *ret, struct error *err) {
    bool bounded = limit > 0 && limit <= MONGO_COUNT_MAX;
    struct reading reading = {.total = total};
    enum rc rc = mongo_count(link, filter, bounded ? limit : MONGO_COUNT_MAX, ret, err);
    if (rc != RC_OK || bounded || *ret < MONGO_COUNT_MAX)
        return rc;
    rc = read_all(link, &reading, err);
    if (rc == RC_OK && !reading.known)
        return mongo_count(link, filter, limit, ret, err);
    add_untold(link, &reading);
    if (rc == RC_OK && reading.sum > *ret)
        *ret = limit > 0 && reading.sum > limit ? limit : reading.sum;
    return rc;
}

static void forget_rows(struct query *query) {
    free(TAKE(query->counts));
    query->n_counts = 0;
}

enum rc mongo_counts_load(struct mongo_link *link, struct query *query, bool *ret_known,
                          struct error *err) {
    static const struct mongo_total all;
    struct reading reading = {.total = &all, .query = query};
    bson_t filter = BSON_INITIALIZER;
    int64_t n = 0;
    *ret_known = false;
    enum rc rc = mongo_count(link, &filter, MONGO_COUNT_MAX, &n, err);
    bson_destroy(&filter);
    if (rc != RC_OK || n < MONGO_COUNT_MAX)
        return rc;
    rc = read_all(link, &reading, err);
    *ret_known = rc == RC_OK && reading.known;
    if (!*ret_known)
        forget_rows(query);
    return rc;
}
