/* worker.c: batching threads behind an event loop. */
#include "api/exec/worker.h"

#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { CALL_AT = 24 }; /* jobs of one turn of the loop that are enough to begin with */

struct list {
    struct job *first;
    struct job **end;
    size_t n;
};

struct thread {
    struct worker *worker;
    unsigned number;
    pthread_t id;
    struct job **batch; /* batch_max of them */
};

struct worker {
    struct worker_options options;
    pthread_mutex_t lock; /* waiting, uncalled, busy, stopping */
    pthread_cond_t wake;
    pthread_cond_t idle;
    struct list waiting;
    size_t uncalled; /* of them, jobs for which no thread has been called yet */
    pthread_t loop;
    struct event *turn_end;
    unsigned busy; /* threads with a batch */
    bool stopping;
    pthread_mutex_t done_lock; /* done */
    struct list done;
    int done_fd;
    struct event *done_event;
    struct thread *threads;
    unsigned started;
};

static void list_init(struct list *list) {
    *list = (struct list){.end = &list->first};
}

static void list_add(struct list *list, struct job *job) {
    job->next = NULL;
    *list->end = job;
    list->end = &job->next;
    list->n++;
}

static struct job *list_take(struct list *list) {
    struct job *job = list->first;
    if (!job)
        return NULL;
    list->first = job->next;
    if (!list->first)
        list->end = &list->first;
    list->n--;
    return job;
}

/* Waits for jobs; 0 when the worker stops and none is left. */
static size_t take_batch(struct worker *worker, struct job **batch) {
    size_t n = 0;
    pthread_mutex_lock(&worker->lock);
    while (worker->waiting.n == worker->uncalled && !worker->stopping)
        pthread_cond_wait(&worker->wake, &worker->lock);
    while (n < worker->options.batch_max && worker->waiting.first)
        batch[n++] = list_take(&worker->waiting);
    worker->uncalled = 0;
    if (worker->waiting.first)
        pthread_cond_signal(&worker->wake);
    worker->busy += n > 0;
    pthread_mutex_unlock(&worker->lock);
    return n;
}

static void note_idle(struct worker *worker) {
    pthread_mutex_lock(&worker->lock);
    worker->busy--;
    pthread_cond_broadcast(&worker->idle);
    pthread_mutex_unlock(&worker->lock);
}

static void hand_back(struct worker *worker, struct job **batch, size_t n) {
    pthread_mutex_lock(&worker->done_lock);
    bool was_empty = !worker->done.first;
    for (size_t i = 0; i < n; i++)
        list_add(&worker->done, batch[i]);
    pthread_mutex_unlock(&worker->done_lock);
    if (was_empty)
        (void)!write(worker->done_fd, &(uint64_t){1}, sizeof(uint64_t));
}

static void *thread_main(void *arg) {
    struct thread *thread = arg;
    struct worker *worker = thread->worker;
    size_t n;
    while ((n = take_batch(worker, thread->batch)) > 0) {
        worker->options.run(thread->number, thread->batch, n, worker->options.arg);
        hand_back(worker, thread->batch, n);
        note_idle(worker);
    }
    return NULL;
}

static void call_done(struct worker *worker) {
    pthread_mutex_lock(&worker->done_lock);
    struct job *job = worker->done.first;
    list_init(&worker->done);
    pthread_mutex_unlock(&worker->done_lock);
    while (job) {
        struct job *next = job->next;
        job->done(job);
        job = next;
    }
}

static void call_thread(struct worker *worker) {
    worker->uncalled = 0;
    pthread_cond_signal(&worker->wake);
}

/* What the loop had at hand is served. */
static void on_turn_end(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct worker *worker = arg;
    pthread_mutex_lock(&worker->lock);
    if (worker->uncalled > 0)
        call_thread(worker);
    pthread_mutex_unlock(&worker->lock);
}

static void on_done(evutil_socket_t fd, short what, void *arg) {
    (void)what;
    uint64_t count;
    (void)!read(fd, &count, sizeof count);
    call_done(arg);
}

static enum rc start_thread(struct worker *worker, unsigned i) {
    struct thread *thread = &worker->threads[i];
    *thread = (struct thread){.worker = worker, .number = i};
    thread->batch = calloc(worker->options.batch_max, sizeof(struct job *));
    if (!thread->batch)
        return RC_NO_MEMORY;
    worker->started = i + 1;
    if (pthread_create(&thread->id, NULL, thread_main, thread) != 0) {
        worker->started = i;
        free(thread->batch);
        return RC_NO_MEMORY;
    }
    pthread_setname_np(thread->id, worker->options.name);
    return RC_OK;
}

static enum rc worker_init(struct worker *worker) {
    worker->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (worker->done_fd < 0)
        return RC_IO;
    worker->done_event =
        event_new(worker->options.base, worker->done_fd, EV_READ | EV_PERSIST, on_done, worker);
    worker->turn_end = event_new(worker->options.base, -1, 0, on_turn_end, worker);
    worker->threads = calloc(worker->options.threads, sizeof *worker->threads);
    if (!worker->done_event || !worker->turn_end || !worker->threads ||
        event_add(worker->done_event, NULL) != 0)
        return RC_NO_MEMORY;
    enum rc rc = RC_OK;
    for (unsigned i = 0; rc == RC_OK && i < worker->options.threads; i++)
        rc = start_thread(worker, i);
    return rc;
}

enum rc worker_create(const struct worker_options *options, struct worker **ret,
                      struct error *err) {
    struct worker *worker = calloc(1, sizeof *worker);
    if (!worker)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    worker->options = *options;
    worker->loop = pthread_self();
    worker->done_fd = -1;
    pthread_mutex_init(&worker->lock, NULL);
    pthread_mutex_init(&worker->done_lock, NULL);
    pthread_cond_init(&worker->wake, NULL);
    pthread_cond_init(&worker->idle, NULL);
    list_init(&worker->waiting);
    list_init(&worker->done);
    enum rc rc = worker_init(worker);
    if (rc != RC_OK) {
        error_set(err, rc, "threads %s cannot be started: %s", options->name, strerror(errno));
        worker_destroy(worker);
        return rc;
    }
    *ret = worker;
    return RC_OK;
}

enum rc worker_submit(struct worker *worker, struct job *job, bool always) {
    bool of_loop = pthread_equal(pthread_self(), worker->loop), first = false;
    enum rc rc = RC_OK;
    pthread_mutex_lock(&worker->lock);
    if (worker->stopping) {
        rc = RC_DRAINING;
    } else if (!always && worker->waiting.n >= worker->options.jobs_max) {
        rc = RC_OVERLOADED;
    } else {
        list_add(&worker->waiting, job);
        first = ++worker->uncalled == 1 && of_loop;
        if (!of_loop || worker->uncalled >= CALL_AT)
            call_thread(worker);
    }
    pthread_mutex_unlock(&worker->lock);
    if (first)
        event_active(worker->turn_end, EV_TIMEOUT, 0);
    return rc;
}

size_t worker_waiting(struct worker *worker) {
    pthread_mutex_lock(&worker->lock);
    size_t n = worker->waiting.n;
    pthread_mutex_unlock(&worker->lock);
    return n;
}

void worker_drain(struct worker *worker) {
    pthread_mutex_lock(&worker->lock);
    call_thread(worker);
    while (worker->waiting.first || worker->busy > 0)
        pthread_cond_wait(&worker->idle, &worker->lock);
    pthread_mutex_unlock(&worker->lock);
}

void worker_stop(struct worker *worker) {
    if (!worker)
        return;
    pthread_mutex_lock(&worker->lock);
    worker->stopping = true;
    pthread_cond_broadcast(&worker->wake);
    pthread_mutex_unlock(&worker->lock);
    for (; worker->started > 0; worker->started--) {
        pthread_join(worker->threads[worker->started - 1].id, NULL);
        free(worker->threads[worker->started - 1].batch);
    }
    call_done(worker);
}

void worker_destroy(struct worker *worker) {
    if (!worker)
        return;
    worker_stop(worker);
    if (worker->done_event)
        event_free(worker->done_event);
    if (worker->turn_end)
        event_free(worker->turn_end);
    if (worker->done_fd >= 0)
        close(worker->done_fd);
    pthread_mutex_destroy(&worker->lock);
    pthread_mutex_destroy(&worker->done_lock);
    pthread_cond_destroy(&worker->wake);
    pthread_cond_destroy(&worker->idle);
    free(worker->threads);
    free(worker);
}
