/* The batching worker: order, batching while busy, refusal when full, and a clean end. */
#include "api/exec/worker.h"

#include "base/mem.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { JOBS = 5000 };

struct own_job {
    struct job job;
    int number;
};

static struct {
    struct event_base *base;
    pthread_mutex_t gate; /* held: the worker's thread stands still */
    size_t largest_batch;
    int done, last_done;
    bool in_order;
} at;

static void run(unsigned thread, struct job **jobs, size_t n, void *arg) {
    (void)thread;
    (void)jobs;
    (void)arg;
    pthread_mutex_lock(&at.gate);
    if (n > at.largest_batch)
        at.largest_batch = n;
    pthread_mutex_unlock(&at.gate);
}

static void done(struct job *job) {
    struct own_job *own = (struct own_job *)job;
    at.in_order = at.in_order && own->number == at.last_done + 1;
    at.last_done = own->number;
    at.done++;
    free(own);
}

static struct worker *make_worker(size_t jobs_max) {
    at.base = event_base_new();
    pthread_mutex_init(&at.gate, NULL);
    at.largest_batch = 0;
    at.done = at.last_done = 0;
    at.in_order = true;
    struct worker_options options = {
        .base = at.base,
        .name = "test",
        .threads = 1,
        .jobs_max = jobs_max,
        .batch_max = 100,
        .run = run,
    };
    struct worker *worker;
    assert_int_equal(worker_create(&options, &worker, NULL), RC_OK);
    return worker;
}

static enum rc submit(struct worker *worker, int number, bool always) {
    struct own_job *own = malloc(sizeof *own);
    *own = (struct own_job){{.done = done}, number};
    enum rc rc = worker_submit(worker, &own->job, always);
    if (rc != RC_OK)
        free(own);
    return rc;
}

static void finish(struct worker *worker) {
    worker_destroy(worker);
    event_base_free(at.base);
    pthread_mutex_destroy(&at.gate);
}

static void test_results_come_back_in_order(void **state) {
    (void)state;
    struct worker *worker = make_worker(JOBS);
    for (int i = 1; i <= JOBS; i++)
        assert_int_equal(submit(worker, i, false), RC_OK);
    while (at.done < JOBS)
        event_base_loop(at.base, EVLOOP_ONCE);
    assert_true(at.in_order);
    finish(worker);
}

static void test_what_waits_becomes_one_batch(void **state) {
    (void)state;
    struct worker *worker = make_worker(JOBS);
    pthread_mutex_lock(&at.gate);
    for (int i = 1; i <= 300; i++)
        assert_int_equal(submit(worker, i, false), RC_OK);
    pthread_mutex_unlock(&at.gate);
    worker_drain(worker);
    assert_int_equal(at.largest_batch, 100);
    finish(worker);
    assert_int_equal(at.done, 300);
    assert_true(at.in_order);
}

/* A few jobs of one turn of the loop are one batch, and no thread begins before the turn is over.
 */
static void test_a_turn_is_one_batch(void **state) {
    (void)state;
    struct worker *worker = make_worker(JOBS);
    for (int i = 1; i <= 10; i++)
        assert_int_equal(submit(worker, i, false), RC_OK);
    pthread_mutex_lock(&at.gate);
    assert_int_equal(at.largest_batch, 0);
    pthread_mutex_unlock(&at.gate);
    while (at.done < 10)
        event_base_loop(at.base, EVLOOP_ONCE);
    assert_int_equal(at.largest_batch, 10);
    finish(worker);
}

static struct {
    struct worker *worker;
    enum rc rc; /* of submitting to it in the end of a job */
} again;

static void done_and_again(struct job *job) {
    free(job);
    again.rc = submit(again.worker, 2, true);
}

/* What the last jobs would begin finds no thread any more: it is refused, not left lying. */
static void test_nothing_begins_at_the_end(void **state) {
    (void)state;
    again.worker = make_worker(JOBS);
    again.rc = RC_OK;
    struct job *job = malloc(sizeof *job);
    *job = (struct job){.done = done_and_again};
    assert_int_equal(worker_submit(again.worker, job, false), RC_OK);
    worker_stop(again.worker);
    assert_int_equal(again.rc, RC_DRAINING);
    assert_int_equal(submit(again.worker, 3, true), RC_DRAINING);
    finish(again.worker);
    assert_int_equal(at.done, 0);
}

static void *submit_one(void *worker) {
    assert_int_equal(submit(worker, 1, false), RC_OK);
    return NULL;
}

/* What comes of another thread does not wait for a turn of the loop. */
static void test_of_another_thread(void **state) {
    (void)state;
    struct worker *worker = make_worker(JOBS);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, submit_one, worker), 0);
    pthread_join(thread, NULL);
    size_t largest = 0;
    while (largest == 0) {
        pthread_mutex_lock(&at.gate);
        largest = at.largest_batch;
        pthread_mutex_unlock(&at.gate);
    }
    assert_int_equal(largest, 1);
    finish(worker);
    assert_int_equal(at.done, 1);
}

static void test_full_is_refused_unless_promised(void **state) {
    (void)state;
    struct worker *worker = make_worker(4);
    pthread_mutex_lock(&at.gate);
    int taken = 0;
    enum rc rc = RC_OK;
    while (rc == RC_OK && taken < 1000)
        if ((rc = submit(worker, taken + 1, false)) == RC_OK)
            taken++;
    assert_int_equal(rc, RC_OVERLOADED);
    assert_int_equal(submit(worker, taken + 1, true), RC_OK);
    pthread_mutex_unlock(&at.gate);
    finish(worker);
    assert_int_equal(at.done, taken + 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_results_come_back_in_order),
        cmocka_unit_test(test_what_waits_becomes_one_batch),
        cmocka_unit_test(test_a_turn_is_one_batch),
        cmocka_unit_test(test_of_another_thread),
        cmocka_unit_test(test_nothing_begins_at_the_end),
        cmocka_unit_test(test_full_is_refused_unless_promised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
