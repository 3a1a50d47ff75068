/* fresh.c: tasks that this process has just made and whose messages are under way.
 *
 * The note that a message is delivered is the next thing that happens to most tasks. It needs no
 * find where the task is as it was inserted; that it still is, the guard of the update tells, and a
 * guard that is lost has the task read. So what is kept here is a guess, and losing it costs a
 * find. Only the thread that applies comes here.
 */
#include "store/mongo/mongo.h"

#include <string.h>

enum { FRESH_MAX = 4096 };

/* Ids made one after another differ in their last bytes. */
static struct task **place_of(const struct mongo_link *link, const uint8_t oid[OBJECT_ID_LEN]) {
    size_t at = (size_t)oid[OBJECT_ID_LEN - 2] << 8 | oid[OBJECT_ID_LEN - 1];
    return &link->fresh[at % FRESH_MAX];
}

static void clear(struct task **place) {
    if (*place)
        task_finish(*place);
    free(*place);
    *place = NULL;
}

void mongo_fresh_keep(struct mongo_link *link, const struct task *task) {
    if (!task->outbox_pending || task->outbox_pick_at == OUTBOX_PARKED)
        return;
    if (!link->fresh && !(link->fresh = calloc(FRESH_MAX, sizeof(struct task *))))
        return;
    struct task **place = place_of(link, task->oid), *copy = calloc(1, sizeof *copy);
    clear(place);
    if (copy && mongo_task_copy(task, (struct mongo_want){0}, copy) == RC_OK)
        *place = copy;
    else
        free(copy);
}

bool mongo_fresh_take(struct mongo_link *link, const uint8_t oid[OBJECT_ID_LEN], struct task *ret) {
    struct task **place = link->fresh ? place_of(link, oid) : NULL;
    if (!place || !*place || memcmp((*place)->oid, oid, OBJECT_ID_LEN) != 0)
        return false;
    *ret = **place;
    free(*place);
    *place = NULL;
    return true;
}

void mongo_fresh_forget(struct mongo_link *link, const uint8_t oid[OBJECT_ID_LEN]) {
    struct task task;
    if (mongo_fresh_take(link, oid, &task))
        task_finish(&task);
}

void mongo_fresh_finish(struct mongo_link *link) {
    for (size_t i = 0; link->fresh && i < FRESH_MAX; i++)
        clear(&link->fresh[i]);
    free(link->fresh);
    link->fresh = NULL;
}
