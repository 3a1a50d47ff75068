/* idem.c: who has the idempotency keys of new tasks. */
#include "store/mongo/mongo.h"

#include "base/mem.h"

#include <string.h>

static bool is_twin(const struct task *task, const struct task *stored) {
    return strcmp(task->service, stored->service) == 0 &&
           strcmp(task->idem_key, stored->idem_key) == 0 &&
           memcmp(task->oid, stored->oid, OBJECT_ID_LEN) != 0;
}

static void answer(struct mongo_twin *twin, const struct task *stored) {
    struct task *task = twin->task;
    task->duplicate = true;
    memcpy(task->task_id, stored->task_id, sizeof task->task_id);
    *twin->rc = task->idem_hash == stored->idem_hash ? RC_OK : RC_IDEMPOTENCY_CONFLICT;
}

static enum rc see_stored(void *with, const bson_t *doc) {
    struct mongo_twins *twins = with;
    struct task stored;
    enum rc rc = mongo_doc_read(doc, (struct mongo_want){0}, &stored);
    if (rc != RC_OK)
        return rc == RC_NOT_FOUND ? RC_OK : rc;
    for (size_t i = 0; stored.idem_key && i < twins->n; i++)
        if (is_twin(twins->at[i].task, &stored))
            answer(&twins->at[i], &stored);
    task_finish(&stored);
    return RC_OK;
}

static void put_keys(const struct mongo_twins *twins, bson_t *filter) {
    bson_t field, in;
    BSON_APPEND_DOCUMENT_BEGIN(filter, "idem", &field);
    BSON_APPEND_ARRAY_BEGIN(&field, "$in", &in);
    for (size_t i = 0; i < twins->n; i++) {
        char room[MONGO_INDEX_CAP];
        mongo_put_idem(&in, mongo_index_key(i, room), twins->at[i].task);
    }
    bson_append_array_end(&field, &in);
    bson_append_document_end(filter, &field);
}

enum rc mongo_find_twins(struct mongo_link *link, struct mongo_twins *twins, struct error *err) {
    bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER;
    put_keys(twins, &filter);
    mongo_doc_project(&opts, (struct mongo_want){0});
    /* A task has its tombstone before it goes: what is not in the one is in the other. */
    enum rc rc = mongo_find_patiently(link, &filter, &opts, see_stored, twins, err);
    if (rc == RC_OK)
        rc = mongo_find_in(link->gone, &filter, NULL, see_stored, twins, err);
    bson_destroy(&filter);
    bson_destroy(&opts);
    return rc;
}
