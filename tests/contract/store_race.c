/* store_race.c: many at once: each task goes to exactly one, and readers see whole states. */
#include "base/clock.h"
#include "base/mem.h"
#include "store_kit.h"
#include "store_rules.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLAIMERS = 64, TASKS = 1000, DESKS = 2, QUEUE_CAP = CLAIMERS, DEADLINE_MS = 120000 };

/* A store with the one thread that applies: takes all ops that wait as one batch, as the API does.
 */
struct desk {
    struct store *store;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t asked, answered;
    struct op *queue[QUEUE_CAP];
    bool *done[QUEUE_CAP];
    size_t n;
    bool stop;
    enum rc rc; /* of the first batch that failed */
    size_t largest;
};

static void serve_batch(struct desk *desk) {
    struct op *ops[QUEUE_CAP];
    bool *done[QUEUE_CAP];
    size_t n = desk->n;
    memcpy(ops, desk->queue, n * sizeof(struct op *));
    memcpy(done, desk->done, n * sizeof(bool *));
    desk->n = 0;
    desk->largest = n > desk->largest ? n : desk->largest;
    pthread_mutex_unlock(&desk->lock);
    struct error err = {0};
    enum rc rc = store_apply(desk->store, ops, n, &err);
    pthread_mutex_lock(&desk->lock);
    if (rc != RC_OK && desk->rc == RC_OK) {
        print_error("%s\n", err.text);
        desk->rc = rc;
    }
    for (size_t i = 0; i < n; i++)
        *done[i] = true;
    pthread_cond_broadcast(&desk->answered);
}

static void *desk_main(void *arg) {
    struct desk *desk = arg;
    pthread_mutex_lock(&desk->lock);
    while (!desk->stop || desk->n) {
        if (desk->n)
            serve_batch(desk);
        else
            pthread_cond_wait(&desk->asked, &desk->lock);
    }
    pthread_mutex_unlock(&desk->lock);
    return NULL;
}

static void desk_ask(struct desk *desk, struct op *op) {
    bool done = false;
    pthread_mutex_lock(&desk->lock);
    desk->queue[desk->n] = op;
    desk->done[desk->n++] = &done;
    pthread_cond_signal(&desk->asked);
    while (!done)
        pthread_cond_wait(&desk->answered, &desk->lock);
    pthread_mutex_unlock(&desk->lock);
}

static void desk_open(struct desk *desk, struct store *store) {
    *desk = (struct desk){.store = store};
    pthread_mutex_init(&desk->lock, NULL);
    pthread_cond_init(&desk->asked, NULL);
    pthread_cond_init(&desk->answered, NULL);
    assert_int_equal(pthread_create(&desk->thread, NULL, desk_main, desk), 0);
}

static void desk_close(struct desk *desk) {
    pthread_mutex_lock(&desk->lock);
    desk->stop = true;
    pthread_cond_signal(&desk->asked);
    pthread_mutex_unlock(&desk->lock);
    pthread_join(desk->thread, NULL);
    pthread_cond_destroy(&desk->asked);
    pthread_cond_destroy(&desk->answered);
    pthread_mutex_destroy(&desk->lock);
}

/* The task ids, and how often each was claimed. */
struct race {
    char service[SERVICE_CAP];
    char ids[TASKS][TASK_TEXT_CAP];
    atomic_int claimed[TASKS];
    atomic_int total;
    atomic_int wrong; /* outcomes that the contract does not know */
    int64_t deadline;
};

struct claimer {
    struct race *race;
    struct desk *desk;
    unsigned number;
    pthread_t thread;
};

/* The race's index of a task: its number stands in its condition. */
static size_t index_of(const struct task *task) {
    return task->condition ? (size_t)strtoul(task->condition, NULL, 10) : TASKS;
}

static void note_claim(struct race *race, const struct task *task) {
    size_t i = index_of(task);
    if (i >= TASKS || strcmp(race->ids[i], task->task_id) != 0) {
        atomic_fetch_add(&race->wrong, 1);
        return;
    }
    atomic_fetch_add(&race->claimed[i], 1);
    atomic_fetch_add(&race->total, 1);
}

/* Takes a few at a time until all are gone. */
static void claim_by_take(struct claimer *claimer) {
    struct race *race = claimer->race;
    while (atomic_load(&race->total) < TASKS && clock_mono_ms() < race->deadline) {
        struct op *op = kit_take(race->service, 1 + claimer->number % 4);
        desk_ask(claimer->desk, op);
        if (op->rc != RC_OK)
            atomic_fetch_add(&race->wrong, 1);
        for (size_t i = 0; i < op->n_tasks; i++)
            note_claim(race, &op->tasks[i]);
        op_destroy(op);
    }
}

/* Claims by name, from a place of its own on. */
static void claim_by_name(struct claimer *claimer) {
    struct race *race = claimer->race;
    for (size_t k = 0; k < TASKS && atomic_load(&race->total) < TASKS; k++) {
        size_t i = (claimer->number * 31 + k * 7) % TASKS;
        char run_id[UUID_CAP];
        uuid_make(run_id);
        struct op *op = kit_run_op(OP_CLAIM, race->ids[i], run_id);
        desk_ask(claimer->desk, op);
        if (op->rc == RC_OK)
            note_claim(race, &op->tasks[0]);
        else if (op->rc != RC_ALREADY_CLAIMED)
            atomic_fetch_add(&race->wrong, 1);
        op_destroy(op);
    }
}

static void *claimer_main(void *arg) {
    struct claimer *claimer = arg;
    if (claimer->number % 2)
        claim_by_take(claimer);
    else
        claim_by_name(claimer);
    return NULL;
}

static struct race *race_create(void) {
    struct race *race = calloc(1, sizeof *race);
    assert_non_null(race);
    kit_service(race->service);
    struct op *op = kit_create(race->service, TASKS, true, false);
    for (size_t i = 0; i < TASKS; i++) {
        char number[16];
        int len = snprintf(number, sizeof number, "%zu", i);
        kit_set_condition(op, i, number, (size_t)len);
        memcpy(race->ids[i], op->tasks[i].task_id, TASK_TEXT_CAP);
    }
    assert_int_equal(kit_do(op), RC_OK);
    race->deadline = clock_mono_ms() + DEADLINE_MS;
    return race;
}

static void check_race(const struct race *race) {
    assert_int_equal(atomic_load(&race->wrong), 0);
    assert_int_equal(atomic_load(&race->total), TASKS);
    for (size_t i = 0; i < TASKS; i++)
        assert_int_equal(atomic_load(&race->claimed[i]), 1);
    for (size_t i = 0; i < TASKS; i += 37) {
        struct task task = kit_get(race->ids[i]);
        assert_int_equal(task.status, TASK_RUNNING);
        assert_int_equal(task.attempt, 1);
        task_finish(&task);
    }
}

/* SQLite has one store and one applying thread; MongoDB two of both, as two API processes would. */
void test_64_claimers_of_1000_tasks(void **state) {
    (void)state;
    struct race *race = race_create();
    static struct desk desks[DESKS];
    static struct claimer claimers[CLAIMERS];
    unsigned n_desks = kit_is_mongodb() ? DESKS : 1;
    for (unsigned i = 0; i < n_desks; i++)
        desk_open(&desks[i], i == 0 ? kit_store : kit_open());
    for (unsigned i = 0; i < CLAIMERS; i++) {
        claimers[i] = (struct claimer){race, &desks[i / 2 % n_desks], i, 0};
        assert_int_equal(pthread_create(&claimers[i].thread, NULL, claimer_main, &claimers[i]), 0);
    }
    for (unsigned i = 0; i < CLAIMERS; i++)
        pthread_join(claimers[i].thread, NULL);
    for (unsigned i = 0; i < n_desks; i++) {
        desk_close(&desks[i]);
        assert_int_equal(desks[i].rc, RC_OK);
        print_message("desk %u: largest batch %zu\n", i, desks[i].largest);
        if (i > 0)
            store_destroy(desks[i].store);
    }
    check_race(race);
    free(race);
}

/* A reader that lists the service's tasks until told to stop. */
struct watcher {
    const char *service;
    unsigned reader;
    atomic_bool *stop;
    int failures, reads;
    pthread_t thread;
};

static void *watcher_main(void *arg) {
    struct watcher *watcher = arg;
    while (!atomic_load(watcher->stop) || watcher->reads == 0) {
        struct query *query = kit_list(watcher->service, 0, 1000);
        struct error err = {0};
        if (store_query(kit_store, watcher->reader, &query, 1, &err) != RC_OK)
            watcher->failures++;
        /* One snapshot on SQLite. MongoDB counts after the change, so its total may lag. */
        if (!kit_is_mongodb() && (int64_t)query->n_tasks != query->total)
            watcher->failures++;
        watcher->reads++;
        query_destroy(query);
    }
    return NULL;
}

void test_reads_beside_writes(void **state) {
    (void)state;
    char service[SERVICE_CAP], id[TASK_TEXT_CAP];
    kit_service(service);
    atomic_bool stop = false;
    struct watcher watchers[2];
    for (unsigned i = 0; i < 2; i++) {
        watchers[i] = (struct watcher){.service = service, .reader = i + 1, .stop = &stop};
        assert_int_equal(pthread_create(&watchers[i].thread, NULL, watcher_main, &watchers[i]), 0);
    }
    for (int i = 0; i < 60; i++) {
        kit_new_task(service, true, false, id);
        assert_int_equal(kit_do(kit_run_op(OP_CLAIM, id, RUN_A)), RC_OK);
        assert_int_equal(kit_do(kit_run_op(OP_FINISH, id, RUN_A)), RC_OK);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(watchers[i].thread, NULL);
        assert_int_equal(watchers[i].failures, 0);
    }
}
