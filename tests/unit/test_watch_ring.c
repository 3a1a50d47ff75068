/* test_watch_ring.c: the newest events of tasks: numbers, bounds, what is superseded, against a
 * model. */
#include "api/watch/ring.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { EVENTS = 16, BYTES = 1 << 20 };

static const struct watch_event *add(struct watch_ring *ring, const char *task_id,
                                     enum watch_type type, const char *data) {
    const struct watch_news news = {.type = type,
                                    .task_id = task_id,
                                    .service = "service",
                                    .tags = "a=b\0c=d",
                                    .tags_len = 8,
                                    .data = data,
                                    .data_len = strlen(data)};
    return watch_ring_add(ring, &news);
}

static void test_events_are_kept_as_they_came(void **state) {
    (void)state;
    struct watch_ring *ring = watch_ring_create(EVENTS, BYTES, 40);
    assert_int_equal(watch_ring_last(ring), 41);
    assert_int_equal(watch_ring_first(ring), 42);
    const struct watch_event *event = add(ring, "one", WATCH_PROGRESS, "{}");
    assert_int_equal(event->number, 42);
    assert_string_equal(event->task_id, "one");
    assert_string_equal(event->service, "service");
    assert_memory_equal(event->tags, "a=b\0c=d\0", 9);
    assert_string_equal(event->data, "{}");
    assert_ptr_equal(watch_ring_at(ring, 42), event);
    assert_null(watch_ring_at(ring, 41));
    assert_null(watch_ring_at(ring, 43));
    watch_ring_destroy(ring);
}

static void test_newer_events_supersede_those_of_their_task_and_type(void **state) {
    (void)state;
    struct watch_ring *ring = watch_ring_create(EVENTS, BYTES, 0);
    const struct watch_event *first = add(ring, "one", WATCH_STATUS, "1"),
                             *other = add(ring, "two", WATCH_STATUS, "2"),
                             *progress = add(ring, "one", WATCH_PROGRESS, "3"),
                             *last = add(ring, "one", WATCH_STATUS, "4");
    assert_true(first->superseded);
    assert_false(other->superseded || progress->superseded || last->superseded);
    assert_ptr_equal(watch_ring_newest(ring, "one", WATCH_STATUS), last);
    assert_ptr_equal(watch_ring_newest(ring, "one", WATCH_PROGRESS), progress);
    assert_null(watch_ring_newest(ring, "three", WATCH_STATUS));
    watch_ring_destroy(ring);
}

static void test_the_oldest_go_first(void **state) {
    (void)state;
    struct watch_ring *ring = watch_ring_create(EVENTS, BYTES, 0);
    for (int i = 0; i < 100; i++)
        assert_non_null(add(ring, i % 2 ? "odd" : "even", WATCH_STATUS, "x"));
    int64_t last = watch_ring_last(ring);
    assert_int_equal(last - watch_ring_first(ring) + 1, EVENTS);
    assert_null(watch_ring_at(ring, last - EVENTS));
    assert_non_null(watch_ring_at(ring, last - EVENTS + 1));
    watch_ring_destroy(ring);
}

static void test_bytes_are_bounded(void **state) {
    (void)state;
    char data[1001];
    memset(data, 'x', sizeof data - 1);
    data[sizeof data - 1] = '\0';
    struct watch_ring *ring = watch_ring_create(1024, 10000, 0);
    for (int i = 0; i < 100; i++) {
        assert_non_null(add(ring, "one", WATCH_STATUS, data));
        assert_true(watch_ring_bytes(ring) <= 10000);
    }
    assert_true(watch_ring_last(ring) - watch_ring_first(ring) >= 5);
    watch_ring_destroy(ring);
}

static void test_one_that_is_too_large_is_a_gap(void **state) {
    (void)state;
    char data[2001];
    memset(data, 'x', sizeof data - 1);
    data[sizeof data - 1] = '\0';
    struct watch_ring *ring = watch_ring_create(EVENTS, 2000, 0);
    add(ring, "one", WATCH_STATUS, "1");
    int64_t before = watch_ring_last(ring);
    assert_null(add(ring, "one", WATCH_STATUS, data));
    assert_true(watch_ring_first(ring) > before + 1);
    assert_int_equal(watch_ring_bytes(ring), 0);
    assert_null(watch_ring_newest(ring, "one", WATCH_STATUS));
    assert_int_equal(add(ring, "one", WATCH_STATUS, "2")->number, watch_ring_first(ring));
    watch_ring_destroy(ring);
}

static void test_clearing_is_a_gap(void **state) {
    (void)state;
    struct watch_ring *ring = watch_ring_create(EVENTS, BYTES, 0);
    add(ring, "one", WATCH_STATUS, "1");
    int64_t seen = watch_ring_last(ring);
    watch_ring_clear(ring);
    assert_true(seen + 1 < watch_ring_first(ring));
    assert_int_equal(watch_ring_first(ring), watch_ring_last(ring) + 1);
    watch_ring_destroy(ring);
    watch_ring_destroy(NULL);
}

/* A reader that leaves out what is superseded ends with the newest of every task. */
static void test_coalescing_loses_no_last_word(void **state) {
    (void)state;
    enum { TASKS = 7, ROUNDS = 2000 };
    struct watch_ring *ring = watch_ring_create(64, BYTES, 0);
    int newest[TASKS], seen[TASKS], told = 0;
    int64_t cursor = watch_ring_last(ring);
    memset(newest, -1, sizeof newest);
    memset(seen, -1, sizeof seen);
    srand(1);
    for (int i = 0; i < ROUNDS; i++) {
        int task = rand() % TASKS;
        char id[8], data[16];
        snprintf(id, sizeof id, "t%d", task);
        snprintf(data, sizeof data, "%d", newest[task] = i);
        add(ring, id, WATCH_STATUS, data);
        if (rand() % 40 > 0)
            continue;
        assert_true(cursor + 1 >= watch_ring_first(ring) || i > 60);
        if (cursor + 1 < watch_ring_first(ring))
            cursor = watch_ring_first(ring) - 1;
        while (cursor < watch_ring_last(ring)) {
            const struct watch_event *event = watch_ring_at(ring, ++cursor);
            if (event->superseded)
                continue;
            seen[event->task_id[1] - '0'] = (int)strtol(event->data, NULL, 10);
            told++;
        }
        for (int k = 0; k < TASKS; k++)
            if (newest[k] > i - 60)
                assert_int_equal(seen[k], newest[k]);
    }
    assert_true(told < ROUNDS / 2);
    watch_ring_destroy(ring);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_are_kept_as_they_came),
        cmocka_unit_test(test_newer_events_supersede_those_of_their_task_and_type),
        cmocka_unit_test(test_the_oldest_go_first),
        cmocka_unit_test(test_bytes_are_bounded),
        cmocka_unit_test(test_one_that_is_too_large_is_a_gap),
        cmocka_unit_test(test_clearing_is_a_gap),
        cmocka_unit_test(test_coalescing_loses_no_last_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
