/* test_consumer.c: slots are filled, ends are reported, leases are renewed, stopping goes in order;
 * slots and API are played by the test. */
#include "consumer/consumer.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "consumer/backoff.h"
#include "consumer/report/log_file.h"
#include "consumer/slot/slot.h"
#include "fake_api.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define RUN "01900000-0000-7000-8000-000000000001"
#define TASK(id, service)                                                                          \
    "{\"Task\":{\"task_id\":\"" id "\",\"service\":\"" service "\",\"source_name\":\"\","          \
    "\"condition\":1.0},\"run_id\":\"" RUN "\",\"attempt\":1}"
#define TAKEN(items) "{\"result\":\"ok\",\"count\":1,\"data\":[" items "]}"
#define OK "{\"result\":\"ok\",\"status\":{}}"
#define UNAVAILABLE "{\"result\":\"exception\",\"message\":\"x\",\"code\":\"STORE_UNAVAILABLE\"}"
#define CANCEL(grace)                                                                              \
    "{\"result\":\"ok\",\"data\":[{\"task_id\":\"t1\",\"lease_until\":null,\"cancel\":true" grace  \
    "}]}"

/* --- slots that run until the test ends their run --- */

struct slot {
    struct slot_events *events;
    bool busy;
    char task_id[TASK_TEXT_CAP];
    int64_t held_until_ms;
    int grace_ms;
    const char *progress;
};

static struct slot *slots[8];
static unsigned n_slots, n_started, n_stopped, n_killed;

void assignment_finish(struct assignment *assignment) {
    free(assignment->source_name);
    free(assignment->condition);
    *assignment = (struct assignment){0};
}

enum rc slot_create(struct event_base *base, const struct config *cfg,
                    const struct sandbox *sandbox, struct slot_events *events, struct slot **ret,
                    struct error *err) {
    (void)base;
    (void)cfg;
    (void)sandbox;
    (void)err;
    *ret = slots[n_slots++] = calloc(1, sizeof **ret);
    (*ret)->events = events;
    return RC_OK;
}

enum rc slot_start(struct slot *slot, const struct config_service *service,
                   const struct assignment *assignment, struct error *err) {
    assert_false(slot->busy);
    assert_string_equal(service->name, assignment->service);
    if (strcmp(assignment->task_id, "bad") == 0)
        return error_set(err, RC_IO, "no more processes");
    slot->busy = true;
    mem_copy_str(slot->task_id, sizeof slot->task_id, assignment->task_id);
    n_started++;
    return RC_OK;
}

static void slot_end_as(struct slot *slot, const struct run_end *end) {
    assert_true(slot->busy);
    slot->busy = false;
    slot->events->ended(slot->events, end);
}

static void slot_end(struct slot *slot, bool finished) {
    struct run_end end = {.finished = finished,
                          .result = finished ? "7" : NULL,
                          .result_len = finished,
                          .error_class = ERROR_FATAL,
                          .error_text = "of the module"};
    slot_end_as(slot, &end);
}

void slot_stop(struct slot *slot, int grace_ms) {
    assert_true(slot->busy);
    slot->grace_ms = grace_ms;
    (*(grace_ms == 0 ? &n_killed : &n_stopped))++;
}

void slot_renew(struct slot *slot, int64_t held_until_ms) {
    assert_true(slot->busy);
    slot->held_until_ms = held_until_ms;
}

const char *slot_progress(const struct slot *slot) {
    return slot->progress;
}

bool slot_idle(const struct slot *slot) {
    return !slot->busy;
}

void slot_destroy(struct slot *slot) {
    free(slot);
}

/* --- the rig --- */

enum {
    BRIEF_MS = 900, /* a lease that is renewed soon, and not over before its claim is read */
    EARLY_MS = 20,  /* that a timer may be */
};

struct rig {
    struct event_base *base;
    struct fake_api fake;
    struct config_module modules[2];
    struct config_service services[3];
    struct config cfg;
    struct consumer *consumer;
    const char *claims[8]; /* NULL-terminated answers to claims; then held */
    const char *reports;   /* the answer to every report */
    const char *beats;     /* the answer to every heartbeat */
    int64_t claimed_ms[8]; /* when those were asked for */
    unsigned n_polls, n_claims, n_reports, n_beats, n_beaten, n_logs, n_held_logs, ended;
    bool hold_logs;  /* the next call with output */
    struct buf logs; /* the answer to the last piece of output */
};

/* Takes every piece: nothing is printed here, so all are ends. */
static const char *answer_logs(struct rig *rig, const json_t *data) {
    buf_finish(&rig->logs);
    buf_init(&rig->logs, 1 << 20);
    buf_str(&rig->logs, "{\"result\":\"ok\",\"data\":[");
    for (size_t i = 0; i < json_array_size(data); i++)
        buf_str(&rig->logs, i ? ",{\"offset\":0}" : "{\"offset\":0}");
    buf_str(&rig->logs, "]}");
    rig->n_logs += (unsigned)json_array_size(data);
    return rig->logs.data;
}

static const char *answer_call(struct fake_api *fake, const char *route, const json_t *data) {
    struct rig *rig = fake->arg;
    if (strcmp(route, "/api/heartbeat_task") == 0) {
        rig->n_beats++;
        rig->n_beaten += json_array_size(data) > 0;
        return rig->beats;
    }
    if (strcmp(route, "/api/claim_task") == 0) {
        rig->n_polls++;
        rig->claimed_ms[rig->n_claims] = clock_mono_ms();
        return rig->claims[rig->n_claims] ? rig->claims[rig->n_claims++] : NULL;
    }
    if (strcmp(route, "/api/log_task") == 0) {
        bool hold = TAKE(rig->hold_logs);
        rig->n_held_logs += hold;
        const char *answer = answer_logs(rig, data);
        return hold ? NULL : answer;
    }
    rig->n_reports++;
    return rig->reports;
}

static void on_ended(void *arg) {
    ((struct rig *)arg)->ended++;
}

static enum rc rig_start(struct rig *rig, const char *const *names, struct error *err) {
    struct consumer_options options = {.base = rig->base,
                                       .cfg = &rig->cfg,
                                       .token = "secret",
                                       .services = names,
                                       .ended = on_ended,
                                       .arg = rig};
    return consumer_create(&options, &rig->consumer, err);
}

static void rig_open(struct rig *rig) {
    *rig = (struct rig){.base = event_base_new(), .reports = OK, .beats = OK};
    n_slots = n_started = n_stopped = n_killed = 0;
    fake_api_open(&rig->fake, rig->base, answer_call, rig);
    rig->modules[0].slots = 2;
    rig->modules[1].slots = 1;
    rig->services[0] = (struct config_service){.name = "a", .module = &rig->modules[0]};
    rig->services[1] = (struct config_service){.name = "bare"};
    rig->services[2] = (struct config_service){.name = "c", .module = &rig->modules[1]};
    rig->cfg = (struct config){.file = "x.yaml",
                               .services = rig->services,
                               .n_services = 3,
                               .broker = BROKER_NONE,
                               .lease_ms = 30000,
                               .drain_ms = 30000,
                               .limits.body_bytes = 1 << 20,
                               .api_url = rig->fake.url};
}

/* A consumer of "a" that runs t1. */
static void rig_run_leased(struct rig *rig, int lease_ms) {
    const char *names[] = {"a", NULL};
    rig_open(rig);
    rig->cfg.lease_ms = lease_ms;
    rig->claims[0] = TAKEN(TASK("t1", "a"));
    assert_int_equal(rig_start(rig, names, NULL), RC_OK);
    run_until(rig->base, &n_started, 1);
}

static void rig_run_one(struct rig *rig) {
    rig_run_leased(rig, 30000);
}

static void rig_close(struct rig *rig) {
    consumer_destroy(rig->consumer);
    fake_api_close(&rig->fake);
    buf_finish(&rig->logs);
    loop_free(rig->base);
}

static const struct fake_call *last_call(const struct rig *rig, const char *route) {
    for (unsigned i = rig->fake.n_calls; i-- > 0;)
        if (strcmp(rig->fake.calls[i].route, route) == 0)
            return &rig->fake.calls[i];
    fail_msg("no call of %s", route);
    return NULL;
}

static const json_t *last_report(const struct rig *rig) {
    return last_call(rig, "/api/update_status_task")->data;
}

static void check_text(const json_t *data, const char *name, const char *expect) {
    const char *text = json_string_value(json_object_get(data, name));
    assert_string_equal(text ? text : "(none)", expect);
}

static void test_services(void **state) {
    (void)state;
    static const struct {
        const char *names[3];
        enum rc rc;
        unsigned n_slots;
        const char *text;
    } cases[] = {
        {{NULL}, RC_OK, 3, ""},
        {{"c", NULL}, RC_OK, 1, ""},
        {{"c", "a", NULL}, RC_OK, 3, ""},
        {{"d", NULL}, RC_CONFIG, 0, "x.yaml: no service d"},
        {{"a", "bare", NULL}, RC_CONFIG, 0, "x.yaml: service bare has no module"},
    };
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        struct rig rig;
        struct error err = {.text = ""};
        rig_open(&rig);
        assert_int_equal(rig_start(&rig, cases[i].names[0] ? cases[i].names : NULL, &err),
                         cases[i].rc);
        assert_int_equal(n_slots, cases[i].n_slots);
        assert_string_equal(err.text, cases[i].text);
        rig_close(&rig);
    }
}

static void test_run_and_report(void **state) {
    (void)state;
    struct rig rig;
    rig_run_one(&rig);
    slot_end(slots[0], true);
    run_until(rig.base, &rig.n_reports, 1);
    check_text(last_report(&rig), "task_id", "t1");
    check_text(last_report(&rig), "run_id", RUN);
    check_text(last_report(&rig), "status", "finished");
    assert_int_equal(json_integer_value(json_object_get(last_report(&rig), "result")), 7);
    rig_close(&rig);
}

/* What cannot be run is reported at once, and does not hold a slot. */
static void test_not_run_is_reported(void **state) {
    (void)state;
    static const struct {
        const char *items;
        const char *task_id, *message;
    } cases[] = {
        {TASK("bad", "a"), "bad", "no more processes"},
        {TASK("t1", "a") "," TASK("t2", "a") "," TASK("t3", "a"), "t3",
         "the consumer has no free slot for the task"},
        {TASK("t1", "other"), "t1", "the consumer has no free slot for the task"},
    };
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        const char *names[] = {"a", NULL};
        char answer[2048];
        struct rig rig;
        rig_open(&rig);
        snprintf(answer, sizeof answer, TAKEN("%s"), cases[i].items);
        rig.claims[0] = answer;
        assert_int_equal(rig_start(&rig, names, NULL), RC_OK);
        run_until(rig.base, &rig.n_reports, 1);
        check_text(last_report(&rig), "task_id", cases[i].task_id);
        check_text(last_report(&rig), "status", "failed");
        check_text(last_report(&rig), "message", cases[i].message);
        check_text(json_object_get(last_report(&rig), "error"), "class", "retryable");
        rig_close(&rig);
    }
}

/* A host that cannot start runs rests between tries. */
static void test_rests_after_a_failed_start(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig);
    for (size_t i = 0; i + 1 < LH_COUNT(rig.claims); i++)
        rig.claims[i] = TAKEN(TASK("bad", "c"));
    const char *names[] = {"c", NULL};
    assert_int_equal(rig_start(&rig, names, NULL), RC_OK);
    run_until(rig.base, &rig.n_claims, 3);
    for (int i = 0; i < 2; i++) /* less a quarter */
        assert_true(rig.claimed_ms[i + 1] - rig.claimed_ms[i] >=
                    (BACKOFF_MIN_MS << i) * 3 / 4 - EARLY_MS);
    rig_close(&rig);
}

/* While the API takes no reports, no more tasks are claimed than can be kept in mind. */
static void test_unsettled_is_bounded(void **state) {
    (void)state;
    const char *names[] = {"c", NULL};
    struct rig rig;
    rig_open(&rig);
    rig.reports = UNAVAILABLE;
    for (size_t i = 0; i + 1 < LH_COUNT(rig.claims); i++)
        rig.claims[i] = TAKEN(TASK("t1", "c"));
    assert_int_equal(rig_start(&rig, names, NULL), RC_OK);
    for (unsigned i = 1; i <= 2; i++) {
        run_until(rig.base, &n_started, i);
        slot_end(slots[0], true);
    }
    run_for(rig.base, 100);
    assert_int_equal(n_started, 2);
    rig.reports = OK;
    run_until(rig.base, &n_started, 3);
    rig_close(&rig);
}

/* Leaves the output of so many runs as a consumer does that was killed. */
static void leave_logs(const char *spool, int n) {
    char name[256];
    struct error err;
    snprintf(name, sizeof name, "%s/logs-1-x", spool);
    assert_int_equal(mkdir(name, 0700), 0);
    for (int i = 0; i <= n; i++) {
        struct log_file file = {.cap = 1024, .task_id = "t"};
        snprintf(file.run_id, sizeof file.run_id, "01900000-0000-7000-8000-%012d", i);
        snprintf(name, sizeof name, i < n ? "%s/logs-1-x/%d.log" : "%s/logs-1-x/lock", spool, i);
        int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(log_file_begin(&file, fd, &err), RC_OK);
        log_file_finish(&file);
    }
}

/* While too much output waits nothing more is run. The next task comes when it is less, also where
 * no answer of the API came while it was too much: only the run that ended then was told. */
static void test_waiting_logs_are_bounded(void **state) {
    (void)state;
    const char *names[] = {"c", NULL};
    char spool[] = "/tmp/longhaul-consumer-XXXXXX";
    struct rig rig;
    rig_open(&rig);
    assert_non_null(mkdtemp(spool));
    leave_logs(spool, LOGS_PENDING_MAX + 1);
    rig.cfg.consumer_spool = spool;
    rig.cfg.limits.log_bytes = 1024;
    rig.hold_logs = true;
    rig.claims[0] = rig.claims[1] = TAKEN(TASK("t1", "c"));
    assert_int_equal(rig_start(&rig, names, NULL), RC_OK);
    run_until(rig.base, &n_started, 1);
    run_until(rig.base, &rig.n_held_logs, 1);
    slot_end(slots[0], true);
    run_until(rig.base, &rig.n_reports, 1);
    run_for(rig.base, 50);
    assert_int_equal(rig.n_polls, 1);
    LH_FREE char *answer = strdup(rig.logs.data);
    fake_api_release(&rig.fake, answer);
    run_until(rig.base, &n_started, 2);
    run_until(rig.base, &rig.n_logs, LOGS_PENDING_MAX + 1);
    slot_end(slots[0], true);
    run_until(rig.base, &rig.n_reports, 2);
    rig_close(&rig);
    assert_int_equal(rmdir(spool), 0);
}

/* The answer lay unread for longer than its lease (a stopped process): another may run the task. */
static void test_a_late_claim_is_not_run(void **state) {
    (void)state;
    const char *names[] = {"a", NULL};
    struct rig rig;
    rig_open(&rig);
    rig.cfg.lease_ms = 100;
    assert_int_equal(rig_start(&rig, names, NULL), RC_OK);
    run_until(rig.base, &rig.n_polls, 1);
    run_for(rig.base, 150);
    fake_api_release(&rig.fake, TAKEN(TASK("t1", "a")));
    run_until(rig.base, &rig.n_reports, 1);
    check_text(last_report(&rig), "task_id", "t1");
    check_text(last_report(&rig), "status", "waiting");
    assert_int_equal(n_started, 0);
    rig_close(&rig);
}

static void test_stop_lets_runs_end(void **state) {
    (void)state;
    struct rig rig;
    rig_run_one(&rig);
    run_until(rig.base, &rig.n_polls, 2);
    consumer_stop(rig.consumer);
    fake_api_release(&rig.fake, TAKEN(TASK("t2", "a"))); /* claimed as we stop: handed back */
    run_until(rig.base, &rig.n_reports, 1);
    check_text(last_report(&rig), "task_id", "t2");
    check_text(last_report(&rig), "run_id", RUN);
    check_text(last_report(&rig), "status", "waiting");
    rig.reports = UNAVAILABLE;
    slot_end(slots[0], false);
    run_until(rig.base, &rig.n_reports, 2);
    check_text(last_report(&rig), "status", "failed");
    run_for(rig.base, 50);
    assert_int_equal(rig.ended, 0);
    assert_int_equal(consumer_unsettled(rig.consumer), 1);
    rig.reports = OK;
    run_until(rig.base, &rig.ended, 1);
    assert_int_equal(consumer_unsettled(rig.consumer), 0);
    assert_int_equal(n_started, 1);
    assert_int_equal(n_stopped + n_killed, 0);
    rig_close(&rig);
}

/* After the time to drain runs are stopped and, when they have ended, handed back. */
static void test_drain_has_an_end(void **state) {
    (void)state;
    for (int drain_ms = 0; drain_ms <= 200; drain_ms += 200) {
        struct rig rig;
        rig_run_one(&rig);
        run_until(rig.base, &rig.n_polls, 2);
        rig.cfg.drain_ms = drain_ms;
        int64_t begun = clock_mono_ms();
        consumer_stop(rig.consumer);
        fake_api_release(&rig.fake, TAKEN(""));
        run_until(rig.base, &n_stopped, 1);
        assert_true(clock_mono_ms() - begun >= drain_ms - EARLY_MS);
        assert_int_equal(rig.n_reports, 0);
        slot_end(slots[0], false);
        run_until(rig.base, &rig.ended, 1);
        check_text(last_report(&rig), "task_id", "t1");
        check_text(last_report(&rig), "status", "waiting");
        assert_int_equal(n_killed, 0);
        assert_int_equal(consumer_unsettled(rig.consumer), 0);
        rig_close(&rig);
    }
}

/* The grace of a cancel may be an hour: a drain waits for it no longer than for any other run. */
static void test_drain_ends_a_cancelled_run(void **state) {
    (void)state;
    struct rig rig;
    rig_run_leased(&rig, BRIEF_MS);
    rig.beats = CANCEL(",\"grace_s\":3600");
    run_until(rig.base, &n_stopped, 1);
    assert_int_equal(slots[0]->grace_ms, 3600000);
    rig.cfg.drain_ms = 100;
    consumer_stop(rig.consumer);
    run_until(rig.base, &n_stopped, 2);
    assert_int_equal(slots[0]->grace_ms, 10000);
    run_until(rig.base, &rig.n_beaten, rig.n_beaten + 2);
    assert_int_equal(n_stopped, 2);
    slot_end(slots[0], false);
    run_until(rig.base, &rig.n_reports, 1);
    check_text(last_report(&rig), "cause", "cancelled");
    rig_close(&rig);
}

static void test_second_stop_kills(void **state) {
    (void)state;
    struct rig rig;
    rig_run_one(&rig);
    run_until(rig.base, &rig.n_polls, 2);
    consumer_stop(rig.consumer);
    consumer_stop(rig.consumer);
    consumer_stop(rig.consumer);
    assert_int_equal(n_killed, 1);
    slot_end(slots[0], false);
    run_until(rig.base, &rig.ended, 1);
    check_text(last_report(&rig), "status", "waiting");
    assert_int_equal(consumer_unsettled(rig.consumer), 0);
    rig_close(&rig);
}

/* A run that finished before the kill reached it has finished. */
static void test_finished_beats_the_kill(void **state) {
    (void)state;
    struct rig rig;
    rig_run_one(&rig);
    consumer_stop(rig.consumer);
    consumer_stop(rig.consumer);
    slot_end(slots[0], true);
    run_until(rig.base, &rig.ended, 1);
    check_text(last_report(&rig), "status", "finished");
    rig_close(&rig);
}

static void test_gives_up(void **state) {
    (void)state;
    struct rig rig;
    rig_run_one(&rig);
    consumer_stop(rig.consumer);
    consumer_stop(rig.consumer);
    run_until(rig.base, &rig.ended, 1);
    assert_int_equal(consumer_unsettled(rig.consumer), 1);
    rig_close(&rig);
}

/* --- leases --- */

static const struct fake_call *last_beat(const struct rig *rig) {
    return last_call(rig, "/api/heartbeat_task");
}

/* An idle consumer says who it is. */
static void test_worker(void **state) {
    (void)state;
    struct rig rig;
    rig_open(&rig);
    for (size_t i = 0; i + 1 < LH_COUNT(rig.claims); i++)
        rig.claims[i] = UNAVAILABLE;
    assert_int_equal(rig_start(&rig, NULL, NULL), RC_OK);
    run_until(rig.base, &rig.n_beats, 1);
    const json_t *worker = json_object_get(last_beat(&rig)->body, "worker");
    assert_int_equal(json_array_size(last_beat(&rig)->data), 0);
    assert_true(json_is_string(json_object_get(worker, "id")));
    assert_true(json_is_string(json_object_get(worker, "host")));
    assert_int_equal(json_integer_value(json_object_get(worker, "pid")), getpid());
    assert_int_equal(json_integer_value(json_object_get(worker, "slots")), 3);
    LH_FREE char *services = json_dumps(json_object_get(worker, "services"), JSON_COMPACT);
    assert_string_equal(services, "[\"a\",\"c\"]");
    rig_close(&rig);
}

/* A run's first heartbeat goes out soon, the others every third of the lease, until its report is
 * settled. */
static void test_heartbeat(void **state) {
    (void)state;
    struct rig rig;
    rig_run_one(&rig);
    run_until(rig.base, &rig.n_beaten, 1);
    const json_t *run = json_array_get(last_beat(&rig)->data, 0);
    assert_int_equal(json_array_size(last_beat(&rig)->data), 1);
    check_text(run, "task_id", "t1");
    check_text(run, "run_id", RUN);
    rig_close(&rig);

    const char *names[] = {"a", NULL};
    rig_open(&rig);
    rig.cfg.lease_ms = BRIEF_MS;
    rig.claims[0] = TAKEN(TASK("t1", "a"));
    rig.reports = UNAVAILABLE;
    assert_int_equal(rig_start(&rig, names, NULL), RC_OK);
    run_until(rig.base, &rig.n_beaten, 3);
    slot_end(slots[0], true);
    run_until(rig.base, &rig.n_beaten, 5); /* while its report is not settled */
    rig.reports = OK;
    while (consumer_unsettled(rig.consumer) > 0)
        run_for(rig.base, 5);
    unsigned beaten = rig.n_beaten;
    run_for(rig.base, BRIEF_MS);
    assert_in_range(rig.n_beaten, beaten, beaten + 1); /* one may have been under way */
    rig_close(&rig);
}

/* More runs than the API takes in one call are renewed in several. */
static void test_heartbeat_is_split(void **state) {
    (void)state;
    const char *names[] = {"a", NULL};
    struct rig rig;
    rig_open(&rig);
    rig.cfg.limits.body_bytes = 1;
    rig.claims[0] = TAKEN(TASK("t1", "a") "," TASK("t2", "a"));
    assert_int_equal(rig_start(&rig, names, NULL), RC_OK);
    run_until(rig.base, &rig.n_beaten, 2);
    unsigned seen = 0;
    for (unsigned i = 0; i < rig.fake.n_calls; i++) {
        const struct fake_call *call = &rig.fake.calls[i];
        if (strcmp(call->route, "/api/heartbeat_task") != 0 || json_array_size(call->data) == 0)
            continue;
        assert_int_equal(json_array_size(call->data), 1);
        const json_t *id = json_object_get(json_array_get(call->data, 0), "task_id");
        seen |= strcmp(json_string_value(id), "t1") == 0 ? 1 : 2;
    }
    assert_int_equal(seen, 3);
    rig_close(&rig);
}

/* Without a good answer runs go on, and the heartbeat is repeated within a third of the lease. */
static void test_heartbeat_fails(void **state) {
    (void)state;
    static const char *const answers[] = {UNAVAILABLE, "", "not json",
                                          "{\"result\":\"exception\",\"message\":\"x\","
                                          "\"code\":\"INVALID_PARAMETER\"}"};
    for (size_t i = 0; i < LH_COUNT(answers); i++) {
        const char *names[] = {"a", NULL};
        struct rig rig;
        rig_open(&rig);
        rig.cfg.lease_ms = BRIEF_MS;
        rig.beats = answers[i];
        rig.claims[0] = TAKEN(TASK("t1", "a"));
        assert_int_equal(rig_start(&rig, names, NULL), RC_OK);
        run_until(rig.base, &rig.n_beaten, 3);
        assert_int_equal(n_stopped + n_killed, 0);
        slot_end(slots[0], true);
        run_until(rig.base, &rig.n_reports, 1);
        check_text(last_report(&rig), "status", "finished");
        rig_close(&rig);
    }
}

#define SAYS(code)                                                                                 \
    "{\"result\":\"ok\",\"data\":[{\"task_id\":\"t1\",\"lease_until\":null,\"cancel\":false,"      \
    "\"code\":\"" code "\",\"message\":\"x\"}]}"

/* A run that has lost its task is stopped, and nothing is reported of it. */
static void test_lost_run(void **state) {
    (void)state;
    static const char *const answers[] = {SAYS("STALE_RUN"), SAYS("UNKNOWN_TASK"),
                                          SAYS("TASK_REMOVED")};
    for (size_t i = 0; i < LH_COUNT(answers); i++) {
        struct rig rig;
        rig_run_one(&rig);
        rig.beats = answers[i];
        run_until(rig.base, &n_stopped, 1);
        consumer_stop(rig.consumer);
        run_until(rig.base, &rig.n_polls, 2);
        fake_api_release(&rig.fake, TAKEN(""));
        slot_end(slots[0], i == 0);
        run_until(rig.base, &rig.ended, 1);
        assert_int_equal(rig.n_reports, 0);
        assert_int_equal(n_stopped, 1);
        assert_int_equal(n_killed, 0);
        rig_close(&rig);
    }
}

#define RENEWED                                                                                    \
    "{\"result\":\"ok\",\"data\":[{\"task_id\":\"t1\",\"lease_until\":null,\"cancel\":false}]}"

/* A cancelled run is stopped once, and reported as cancelled unless it has a result all the same.
 */
static void test_cancel(void **state) {
    (void)state;
    static const struct {
        const char *beats;
        struct run_end end;
        int grace_ms;
        const char *status, *cause;
    } cases[] = {
        {CANCEL(",\"grace_s\":2.5"), {.error_text = "killed"}, 2500, "failed", "cancelled"},
        {CANCEL(""), {.finished = true}, 10000, "failed", "cancelled"},
        {CANCEL(""),
         {.finished = true, .result = "7", .result_len = 1},
         10000,
         "finished",
         "(none)"},
        {CANCEL(""),
         {.cause = CAUSE_TIMEOUT, .error_text = "timed out"},
         10000,
         "failed",
         "cancelled"},
    };
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        struct rig rig;
        rig_run_leased(&rig, BRIEF_MS);
        rig.beats = cases[i].beats;
        run_until(rig.base, &n_stopped, 1);
        assert_int_equal(slots[0]->grace_ms, cases[i].grace_ms);
        run_until(rig.base, &rig.n_beaten, rig.n_beaten + 2);
        assert_int_equal(n_stopped, 1);
        slot_end_as(slots[0], &cases[i].end);
        run_until(rig.base, &rig.n_reports, 1);
        check_text(last_report(&rig), "status", cases[i].status);
        check_text(last_report(&rig), "cause", cases[i].cause);
        rig_close(&rig);
    }
}

/* The newest progress goes out with the next heartbeat. */
static void test_progress(void **state) {
    (void)state;
    struct rig rig;
    rig_run_leased(&rig, BRIEF_MS);
    run_until(rig.base, &rig.n_beaten, 1);
    const json_t *beat = json_array_get(last_call(&rig, "/api/heartbeat_task")->data, 0);
    assert_null(json_object_get(beat, "progress"));
    slots[0]->progress = "{\"done\":3}";
    run_until(rig.base, &rig.n_beaten, rig.n_beaten + 2);
    beat = json_array_get(last_call(&rig, "/api/heartbeat_task")->data, 0);
    const json_t *done = json_object_get(json_object_get(beat, "progress"), "done");
    assert_int_equal(json_integer_value(done), 3);
    rig_close(&rig);
}

/* What ended a run goes out with its report. */
static void test_causes(void **state) {
    (void)state;
    static const struct {
        enum run_cause cause;
        const char *status, *name, *text;
    } cases[] = {{CAUSE_ERROR, "failed", "(none)", "why"},
                 {CAUSE_TIMEOUT, "failed", "timeout", "why"},
                 {CAUSE_LIMIT, "failed", "limit", "why"},
                 {CAUSE_CRASH, "waiting", "crash", "(none)"}};
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        struct rig rig;
        struct run_end end = {.cause = cases[i].cause, .error_text = "why"};
        rig_run_one(&rig);
        slot_end_as(slots[0], &end);
        run_until(rig.base, &rig.n_reports, 1);
        check_text(last_report(&rig), "status", cases[i].status);
        check_text(last_report(&rig), "cause", cases[i].name);
        check_text(json_object_get(last_report(&rig), "error"), "text", cases[i].text);
        rig_close(&rig);
    }
}

/* The lease is counted from when its renewal was sent. */
static void test_renewal(void **state) {
    (void)state;
    struct rig rig;
    rig_run_leased(&rig, 3000);
    rig.beats = RENEWED;
    int64_t begun = clock_mono_ms();
    run_until(rig.base, &rig.n_beaten, 2); /* the first one's answer has been read */
    assert_in_range(slots[0]->held_until_ms, begun + 3000, clock_mono_ms() + 2999);
    rig_close(&rig);
}

/* A refusal that may pass stops nothing. */
static void test_item_that_may_pass(void **state) {
    (void)state;
    struct rig rig;
    rig_run_one(&rig);
    rig.beats = SAYS("STORE_UNAVAILABLE");
    run_until(rig.base, &rig.n_beaten, 1);
    run_for(rig.base, 50);
    assert_int_equal(n_stopped + n_killed, 0);
    rig_close(&rig);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    log_setup("test", LOG_TEXT, LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_services),
        cmocka_unit_test(test_run_and_report),
        cmocka_unit_test(test_not_run_is_reported),
        cmocka_unit_test(test_rests_after_a_failed_start),
        cmocka_unit_test(test_unsettled_is_bounded),
        cmocka_unit_test(test_waiting_logs_are_bounded),
        cmocka_unit_test(test_a_late_claim_is_not_run),
        cmocka_unit_test(test_stop_lets_runs_end),
        cmocka_unit_test(test_drain_has_an_end),
        cmocka_unit_test(test_drain_ends_a_cancelled_run),
        cmocka_unit_test(test_second_stop_kills),
        cmocka_unit_test(test_finished_beats_the_kill),
        cmocka_unit_test(test_gives_up),
        cmocka_unit_test(test_worker),
        cmocka_unit_test(test_heartbeat),
        cmocka_unit_test(test_heartbeat_is_split),
        cmocka_unit_test(test_heartbeat_fails),
        cmocka_unit_test(test_lost_run),
        cmocka_unit_test(test_item_that_may_pass),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_causes),
        cmocka_unit_test(test_renewal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
