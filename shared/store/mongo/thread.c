/* thread.c: a thread of the store's own, with a link, that rests and is stopped. */
#include "store/mongo/mongo.h"

#include <time.h>

bool mongo_task_rest(struct mongo_task *task, int64_t ms) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + ms % 1000 * 1000000;
    until.tv_sec += ms / 1000 + ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_mutex_lock(&task->lock);
    int timeout = 0;
    while (!task->stop && !timeout)
        timeout = pthread_cond_timedwait(&task->wake, &task->lock, &until);
    bool stop = task->stop;
    pthread_mutex_unlock(&task->lock);
    return stop;
}

void mongo_task_start(struct mongo_store *store, struct mongo_task *task, void *(*run)(void *arg),
                      void *arg) {
    pthread_condattr_t attr;
    task->store = store;
    if (!mongo_link_open(store, &task->link))
        return;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&task->lock, NULL);
    pthread_cond_init(&task->wake, &attr);
    pthread_condattr_destroy(&attr);
    atomic_store(&task->started, pthread_create(&task->thread, NULL, run, arg) == 0);
}

void mongo_task_stop(struct mongo_store *store, struct mongo_task *task) {
    if (atomic_load(&task->started)) {
        pthread_mutex_lock(&task->lock);
        task->stop = true;
        pthread_cond_broadcast(&task->wake);
        pthread_mutex_unlock(&task->lock);
        pthread_join(task->thread, NULL);
        pthread_cond_destroy(&task->wake);
        pthread_mutex_destroy(&task->lock);
        atomic_store(&task->started, false);
    }
    mongo_link_close(store, &task->link);
}
