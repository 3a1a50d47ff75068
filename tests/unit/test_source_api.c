/* test_source_api.c: polls ask for what there is room for, lose nothing, and stop in order. */
#include "consumer/backoff.h"
#include "consumer/source/source.h"
#include "consumer/source/take.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "fake_api.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TASK(id)                                                                                   \
    "{\"Task\":{\"task_id\":\"" id "\",\"service\":\"a\",\"source_name\":\"\",\"condition\":1.0}," \
    "\"run_id\":\"01900000-0000-7000-8000-000000000001\",\"attempt\":1,\"lease_until\":null,"      \
    "\"deadline\":null}"
#define TAKEN(count, items) "{\"result\":\"ok\",\"count\":" count ",\"data\":[" items "]}"
#define NONE TAKEN("0", "")
#define NO(code) "{\"result\":\"exception\",\"message\":\"x\",\"code\":\"" code "\"}"

enum { LEASE_MS = 60000, SHORT_LEASE_MS = 1500, SLOTS = 64 };

struct rig {
    struct event_base *base;
    struct fake_api fake;
    struct api_client *api;
    struct source *source;
    struct config cfg;
    struct config_module module;
    struct config_service services[2];
    const struct config_service *list[2];
    const char *const *answers; /* NULL-terminated; then requests are held */
    unsigned delivered, stopped;
    char ids[8][TASK_TEXT_CAP];
    int64_t called_ms[FAKE_CALLS_MAX];
    int give_room; /* told to the source at each delivery, as a consumer does; -1: nothing */
};

static const char *answer_next(struct fake_api *fake, const char *route, const json_t *data) {
    struct rig *rig = fake->arg;
    rig->called_ms[fake->n_calls - 1] = clock_mono_ms();
    assert_string_equal(route, "/api/claim_task");
    assert_int_equal(json_array_size(json_object_get(data, "services")), 1);
    /* At most half a lease: what an answer brings is still held. */
    assert_true(json_number_value(json_object_get(data, "wait_s")) * 2000 <= rig->cfg.lease_ms);
    assert_true(json_number_value(json_object_get(data, "timeout_s")) == 1.5);
    return *rig->answers ? *rig->answers++ : NULL;
}

static void on_deliver(struct assignment *assignment, void *arg) {
    struct rig *rig = arg;
    assert_string_equal(assignment->condition, "1.0");
    int64_t left = assignment->held_until_ms - clock_mono_ms();
    assert_true(left <= rig->cfg.lease_ms);
    mem_copy_str(rig->ids[rig->delivered++], TASK_TEXT_CAP, assignment->task_id);
    assignment_finish(assignment);
    if (rig->give_room >= 0)
        source_room(rig->source, 0, rig->give_room);
}

static void on_stopped(void *arg) {
    ((struct rig *)arg)->stopped++;
}

static void rig_open_leasing(struct rig *rig, const char *const *answers, int lease_ms) {
    *rig = (struct rig){.base = event_base_new(), .answers = answers, .give_room = -1};
    rig->cfg.lease_ms = lease_ms;
    rig->services[0].name = "a";
    rig->module.timeout_ms = 1500;
    rig->module.slots = SLOTS;
    rig->services[0].module = &rig->module;
    rig->services[1].name = "b";
    rig->list[0] = &rig->services[0];
    rig->list[1] = &rig->services[1];
    fake_api_open(&rig->fake, rig->base, answer_next, rig);
    assert_int_equal(api_client_create(rig->base, rig->fake.url, NULL, "secret", &rig->api, NULL),
                     RC_OK);
    struct source_options options = {.base = rig->base,
                                     .cfg = &rig->cfg,
                                     .api = rig->api,
                                     .services = rig->list,
                                     .n_services = 2,
                                     .deliver = on_deliver,
                                     .arg = rig};
    assert_int_equal(source_api_open(&options, &rig->source, NULL), RC_OK);
}

static void rig_open(struct rig *rig, const char *const *answers) {
    rig_open_leasing(rig, answers, LEASE_MS);
}

static void rig_close(struct rig *rig) {
    source_destroy(rig->source);
    api_client_destroy(rig->api);
    fake_api_close(&rig->fake);
    loop_free(rig->base);
}

static void check_asked(const struct rig *rig, unsigned call, const char *service, int max) {
    const json_t *data = rig->fake.calls[call].data;
    const json_t *services = json_object_get(data, "services");
    assert_string_equal(json_string_value(json_array_get(services, 0)), service);
    assert_int_equal(json_integer_value(json_object_get(data, "max")), max);
}

static const char *claim_id_of(const struct rig *rig, unsigned call) {
    const char *id = json_string_value(json_object_get(rig->fake.calls[call].data, "claim_id"));
    assert_true(id && uuid_valid(id));
    return id;
}

static void test_no_room_no_poll(void **state) {
    (void)state;
    const char *const answers[] = {NULL};
    struct rig rig;
    rig_open(&rig, answers);
    source_room(rig.source, 0, 0);
    run_for(rig.base, 50);
    assert_int_equal(rig.fake.n_calls, 0);
    rig_close(&rig);
}

/* Room that is told while items are being delivered counts for the next poll only, and that poll is
 * one. */
static void test_asks_for_its_room(void **state) {
    (void)state;
    const char *const answers[] = {TAKEN("2", TASK("t1") "," TASK("t2")), NULL};
    struct rig rig;
    rig_open(&rig, answers);
    rig.give_room = 1;
    source_room(rig.source, 0, 3);
    run_until(rig.base, &rig.fake.n_calls, 2);
    assert_int_equal(rig.delivered, 2);
    assert_string_equal(rig.ids[0], "t1");
    assert_string_equal(rig.ids[1], "t2");
    check_asked(&rig, 0, "a", 3);
    check_asked(&rig, 1, "a", 1);
    source_room(rig.source, 0, 2); /* too little for a second poll */
    run_for(rig.base, 50);
    assert_int_equal(rig.fake.n_calls, 2);
    rig_close(&rig);
}

/* While tasks come, a quarter of the places is worth a second poll; it asks for what the first did
 * not, and a stop waits for both. */
static void test_second_poll(void **state) {
    (void)state;
    const char *const answers[] = {TAKEN("2", TASK("t1") "," TASK("t2")), NULL};
    struct rig rig;
    rig_open(&rig, answers);
    rig.give_room = 20;
    source_room(rig.source, 0, 22);
    run_until(rig.base, &rig.fake.n_calls, 2);
    check_asked(&rig, 1, "a", 20);
    source_room(rig.source, 0, 20 + SLOTS / 4 - 1);
    run_for(rig.base, 50);
    assert_int_equal(rig.fake.n_calls, 2);
    source_room(rig.source, 0, 20 + SLOTS / 4 - 2);
    source_room(rig.source, 0, 20 + SLOTS / 4);
    run_until(rig.base, &rig.fake.n_calls, 3);
    check_asked(&rig, 2, "a", SLOTS / 4);
    assert_string_not_equal(claim_id_of(&rig, 2), claim_id_of(&rig, 1));
    source_room(rig.source, 0, SLOTS);
    run_for(rig.base, 50);
    assert_int_equal(rig.fake.n_calls, 3);
    source_stop(rig.source, on_stopped, &rig);
    rig.give_room = -1;
    fake_api_release(&rig.fake, TAKEN("1", TASK("t3")));
    run_until(rig.base, &rig.delivered, 3);
    run_for(rig.base, 50);
    assert_int_equal(rig.stopped, 0);
    fake_api_release(&rig.fake, TAKEN("1", TASK("t4")));
    run_until(rig.base, &rig.stopped, 1);
    assert_int_equal(rig.delivered, 4);
    assert_int_equal(rig.fake.n_calls, 3);
    rig_close(&rig);
}

/* An empty queue is waited for by one poll, which then asks for all the room. */
static void test_one_poll_waits(void **state) {
    (void)state;
    const char *const answers[] = {TAKEN("1", TASK("t1")), NULL};
    struct rig rig;
    rig_open(&rig, answers);
    rig.give_room = 20;
    source_room(rig.source, 0, 21);
    run_until(rig.base, &rig.fake.n_calls, 2);
    source_room(rig.source, 0, SLOTS);
    run_until(rig.base, &rig.fake.n_calls, 3);
    run_for(rig.base, 150); /* as if they had waited */
    fake_api_release(&rig.fake, NONE);
    run_for(rig.base, 50);
    assert_int_equal(rig.fake.n_calls, 3);
    fake_api_release(&rig.fake, NONE);
    run_until(rig.base, &rig.fake.n_calls, 4);
    check_asked(&rig, 3, "a", TAKE_MAX_TASKS);
    run_for(rig.base, 50);
    assert_int_equal(rig.fake.n_calls, 4);
    rig_close(&rig);
}

/* What the lost answer of one may have brought is room that the other does not ask for. */
static void test_lost_answer_of_one(void **state) {
    (void)state;
    const char *const answers[] = {TAKEN("1", TASK("t1")), "", "", NULL};
    struct rig rig;
    rig_open(&rig, answers);
    rig.give_room = 20;
    source_room(rig.source, 0, 21);
    run_until(rig.base, &rig.fake.n_calls, 4);
    source_room(rig.source, 0, SLOTS);
    run_for(rig.base, 50);
    check_asked(&rig, 3, "a", 20);
    assert_string_equal(claim_id_of(&rig, 3), claim_id_of(&rig, 1));
    assert_int_equal(rig.fake.n_calls, 4);
    rig_close(&rig);
}

static void test_full_asks_no_more(void **state) {
    (void)state;
    const char *const answers[] = {TAKEN("1", TASK("t1")), NULL};
    struct rig rig;
    rig_open(&rig, answers);
    rig.give_room = 0;
    source_room(rig.source, 0, 1);
    run_until(rig.base, &rig.delivered, 1);
    run_for(rig.base, 50);
    assert_int_equal(rig.fake.n_calls, 1);
    source_room(rig.source, 0, 1);
    run_until(rig.base, &rig.fake.n_calls, 2);
    rig_close(&rig);
}

/* Failures, refusals and answers that did not wait are followed by a pause, not by a storm. */
static void test_backs_off(void **state) {
    (void)state;
    const char *const answers[] = {"", NO("STORE_UNAVAILABLE"), NONE, NONE, NULL};
    struct rig rig;
    rig_open(&rig, answers);
    source_room(rig.source, 0, 1);
    run_until(rig.base, &rig.fake.n_calls, 4);
    for (int i = 0; i < 3; i++) /* less a quarter, and what a timer may be early */
        assert_true(rig.called_ms[i + 1] - rig.called_ms[i] >= (BACKOFF_MIN_MS << i) * 3 / 4 - 20);
    rig_close(&rig);
}

/* A claim whose answer is lost is made again under its name, for as many tasks; one that was
 * answered is not. */
static void test_lost_answer(void **state) {
    (void)state;
    const char *const answers[] = {TAKEN("1", TASK("t1")),  "",
                                   NO("OUTCOME_UNKNOWN"),   TAKEN("1", TASK("t2")),
                                   NO("INVALID_PARAMETER"), NULL};
    struct rig rig;
    rig_open(&rig, answers);
    source_room(rig.source, 0, 2);
    run_until(rig.base, &rig.fake.n_calls, 2);
    source_room(rig.source, 0, 7);
    run_until(rig.base, &rig.fake.n_calls, 6);
    assert_int_equal(rig.delivered, 2);
    assert_string_not_equal(claim_id_of(&rig, 1), claim_id_of(&rig, 0));
    for (unsigned i = 2; i <= 3; i++) {
        assert_string_equal(claim_id_of(&rig, i), claim_id_of(&rig, 1));
        check_asked(&rig, i, "a", 2);
    }
    assert_string_not_equal(claim_id_of(&rig, 4), claim_id_of(&rig, 1));
    check_asked(&rig, 4, "a", 7);
    assert_string_not_equal(claim_id_of(&rig, 5), claim_id_of(&rig, 4));
    rig_close(&rig);
}

/* When the leases of what it may have claimed are over, the next claim is a new one; not before. */
static void test_lost_for_longer_than_a_lease(void **state) {
    (void)state;
    const char *const answers[] = {"", "", "", "", "", "", "", NULL};
    struct rig rig;
    rig_open_leasing(&rig, answers, SHORT_LEASE_MS);
    int64_t begun = clock_mono_ms();
    unsigned last = 0;
    source_room(rig.source, 0, 1);
    do {
        run_until(rig.base, &rig.fake.n_calls, ++last + 1);
    } while (strcmp(claim_id_of(&rig, last), claim_id_of(&rig, 0)) == 0);
    assert_true(rig.called_ms[last] - begun >= SHORT_LEASE_MS);
    rig_close(&rig);
}

static void test_stop_waits_for_the_poll(void **state) {
    (void)state;
    const char *const answers[] = {NULL};
    struct rig rig;
    rig_open(&rig, answers);
    source_room(rig.source, 0, 2);
    run_until(rig.base, &rig.fake.n_calls, 1);
    source_stop(rig.source, on_stopped, &rig);
    source_room(rig.source, 1, 1);
    run_for(rig.base, 50);
    assert_int_equal(rig.stopped, 0);
    fake_api_release(&rig.fake, TAKEN("1", TASK("t1")));
    run_until(rig.base, &rig.stopped, 1);
    assert_int_equal(rig.delivered, 1);
    run_for(rig.base, 50);
    assert_int_equal(rig.stopped, 1);
    assert_int_equal(rig.fake.n_calls, 1);
    rig_close(&rig);
}

static void test_stop_while_backing_off(void **state) {
    (void)state;
    const char *const answers[] = {"", NULL};
    struct rig rig;
    rig_open(&rig, answers);
    source_room(rig.source, 0, 1);
    run_until(rig.base, &rig.fake.n_calls, 1);
    run_for(rig.base, 30);
    source_stop(rig.source, on_stopped, &rig);
    assert_int_equal(rig.stopped, 0);
    while (rig.stopped == 0) { /* if we were slow it polls again, and is waited for */
        if (rig.fake.n_held > 0)
            fake_api_release(&rig.fake, NONE);
        run_for(rig.base, 10);
    }
    unsigned calls = rig.fake.n_calls;
    run_for(rig.base, 400);
    assert_int_equal(rig.fake.n_calls, calls);
    rig_close(&rig);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    log_setup("test", LOG_TEXT, LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_room_no_poll),
        cmocka_unit_test(test_asks_for_its_room),
        cmocka_unit_test(test_second_poll),
        cmocka_unit_test(test_one_poll_waits),
        cmocka_unit_test(test_lost_answer_of_one),
        cmocka_unit_test(test_full_asks_no_more),
        cmocka_unit_test(test_backs_off),
        cmocka_unit_test(test_lost_answer),
        cmocka_unit_test(test_lost_for_longer_than_a_lease),
        cmocka_unit_test(test_stop_waits_for_the_poll),
        cmocka_unit_test(test_stop_while_backing_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
