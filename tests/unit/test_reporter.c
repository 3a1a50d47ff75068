/* test_reporter.c: what is repeated, what is given up, what a refused result becomes. */
#include "consumer/report/reporter.h"

#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "fake_api.h"

#include <glob.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define RUN "01900000-0000-7000-8000-000000000001"
#define OK "{\"result\":\"ok\",\"status\":{}}"
#define NO(code) "{\"result\":\"exception\",\"message\":\"Because\",\"code\":\"" code "\"}"

enum { ANSWERS_MAX = 4, BODY_MAX = 4096 };

struct report_case {
    struct run_end end;
    const char *answers[ANSWERS_MAX]; /* in order */
    const char *last; /* the report that is sent last, "task_id" and "run_id" left out */
    bool back;        /* the task is handed back */
};

#define FINISHED                                                                                   \
    { .finished = true, .result = "{\"n\":1.0}", .result_len = 9 }
#define FAILED                                                                                     \
    { .error_class = ERROR_RETRYABLE, .error_text = "exit \"3\"" }
#define SAYS_FINISHED "{\"status\":\"finished\",\"result\":{\"n\":1.0}}"
#define SAYS_FAILED                                                                                \
    "{\"status\":\"failed\",\"message\":\"exit \\\"3\\\"\","                                       \
    "\"error\":{\"class\":\"retryable\",\"text\":\"exit \\\"3\\\"\"}}"
#define SAYS_REFUSED                                                                               \
    "{\"status\":\"failed\",\"message\":\"the result was refused: Because\","                      \
    "\"error\":{\"class\":\"fatal\",\"text\":\"the result was refused: Because\"}}"

#define SAYS_WAITING "{\"status\":\"waiting\"}"

static const struct report_case cases[] = {
    {FINISHED, {OK}, SAYS_FINISHED},
    {{.finished = true}, {OK}, "{\"status\":\"finished\"}"},
    {FAILED, {OK}, SAYS_FAILED},
    {FINISHED, {"", NO("STORE_UNAVAILABLE"), "not json", OK}, SAYS_FINISHED},
    {FINISHED, {"{\"result\":\"exception\",\"message\":\"of a proxy\"}", OK}, SAYS_FINISHED},
    {FINISHED, {NO("OUTCOME_UNKNOWN"), NO("ALREADY_FINAL")}, SAYS_FINISHED},
    {FINISHED, {NO("QUEUE_FULL"), NO("STALE_RUN")}, SAYS_FINISHED},
    {FINISHED, {NO("UNAUTHORIZED"), NO("UNKNOWN_TASK")}, SAYS_FINISHED},
    {FINISHED, {NO("TOO_LARGE"), OK}, SAYS_REFUSED},
    {FINISHED, {NO("INVALID_PARAMETER"), NO("INTERNAL"), OK}, SAYS_REFUSED},
    {FINISHED, {NO("TOO_LARGE"), NO("INVALID_PARAMETER")}, SAYS_REFUSED},
    {FAILED, {NO("INVALID_PARAMETER")}, SAYS_FAILED},
    {.answers = {OK}, .last = SAYS_WAITING, .back = true},
    {.answers = {"", NO("DRAINING"), OK}, .last = SAYS_WAITING, .back = true},
    {.answers = {NO("OUTCOME_UNKNOWN"), NO("STALE_RUN")}, .last = SAYS_WAITING, .back = true},
    {.answers = {NO("INVALID_PARAMETER")}, .last = SAYS_WAITING, .back = true},
};

static const char *answer_next(struct fake_api *fake, const char *route, const json_t *data) {
    const struct report_case *c = fake->arg;
    assert_string_equal(route, "/api/update_status_task");
    assert_string_equal(json_string_value(json_object_get(data, "task_id")), "ts_a_1");
    assert_string_equal(json_string_value(json_object_get(data, "run_id")), RUN);
    assert_true(fake->n_calls <= ANSWERS_MAX && c->answers[fake->n_calls - 1]);
    return c->answers[fake->n_calls - 1];
}

static void on_settled(void *arg) {
    unsigned *settled = arg;
    ++*settled;
}

static void check_last(struct fake_api *fake, const char *last) {
    json_t *data = fake->calls[fake->n_calls - 1].data;
    json_object_del(data, "task_id");
    json_object_del(data, "run_id");
    LH_FREE char *said = json_dumps(data, JSON_COMPACT);
    assert_string_equal(said, last);
}

static void list_one(const char *task_id, const char *run_id, void *arg) {
    unsigned *n = arg;
    assert_string_equal(task_id, "ts_a_1");
    assert_string_equal(run_id, RUN);
    ++*n;
}

static unsigned n_listed(const struct reporter *reporter) {
    unsigned n = 0;
    reporter_each(reporter, list_one, &n);
    return n;
}

static struct reporter *make_reporter(struct event_base *base, struct api_client *api,
                                      const char *spool, unsigned *settled) {
    struct reporter_options options = {.base = base,
                                       .api = api,
                                       .body_max = BODY_MAX,
                                       .spool = spool,
                                       .settled = on_settled,
                                       .arg = settled};
    struct reporter *reporter;
    assert_int_equal(reporter_create(&options, &reporter, NULL), RC_OK);
    return reporter;
}

static void check_case(const struct report_case *c) {
    struct event_base *base = event_base_new();
    struct fake_api fake;
    struct api_client *api;
    unsigned settled = 0, n_answers = 0;
    while (n_answers < ANSWERS_MAX && c->answers[n_answers])
        n_answers++;
    fake_api_open(&fake, base, answer_next, (void *)c);
    assert_int_equal(api_client_create(base, fake.url, NULL, "secret", &api, NULL), RC_OK);
    struct reporter *reporter = make_reporter(base, api, NULL, &settled);
    assert_int_equal(c->back ? reporter_hand_back(reporter, "ts_a_1", RUN, "")
                             : reporter_send(reporter, "ts_a_1", RUN, &c->end),
                     RC_OK);
    assert_int_equal(reporter_pending(reporter), 1);
    assert_int_equal(n_listed(reporter), 1);
    while (reporter_pending(reporter) > 0)
        run_until(base, &settled, settled + 1);
    assert_int_equal(n_listed(reporter), 0);
    assert_int_equal(fake.n_calls, n_answers);
    check_last(&fake, c->last);
    reporter_destroy(reporter);
    api_client_destroy(api);
    fake_api_close(&fake);
    loop_free(base);
}

static void test_outcomes(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(cases); i++)
        check_case(&cases[i]);
}

/* A message has at most 4096 bytes and ends with a whole character. */
static void test_long_text_is_cut(void **state) {
    (void)state;
    char text[6001], expect[4096], last[9000];
    for (size_t i = 0; i < 6000; i += 3)
        memcpy(text + i, "€", 3);
    text[6000] = '\0';
    snprintf(expect, sizeof expect, "%.4095s", text);
    snprintf(last, sizeof last,
             "{\"status\":\"failed\",\"message\":\"%s\",\"error\":{\"class\":\"fatal\","
             "\"text\":\"%s\"}}",
             expect, expect);
    struct report_case c = {{.error_text = text}, {OK}, last};
    check_case(&c);
}

static void test_destroy_with_pending(void **state) {
    (void)state;
    struct event_base *base = event_base_new();
    struct api_client *api;
    unsigned settled = 0;
    struct run_end end = FINISHED;
    assert_int_equal(api_client_create(base, "http://127.0.0.1:1", NULL, "secret", &api, NULL),
                     RC_OK);
    struct reporter *reporter = make_reporter(base, api, NULL, &settled);
    assert_int_equal(reporter_send(reporter, "ts_a_1", RUN, &end), RC_OK);
    run_for(base, 50);
    assert_int_equal(reporter_send(reporter, "ts_a_1", RUN, &end), RC_OK);
    assert_int_equal(reporter_pending(reporter), 2);
    reporter_destroy(reporter);
    api_client_destroy(api);
    loop_free(base);
}

/* --- several in one call --- */

struct several {
    const char *answers[8]; /* in order; the first call is held */
    size_t sizes[8];        /* reports in each call, 0: not an array */
};

/* OK to each of n reports, 0: to one that is no array. */
static const char *ok_to(size_t n) {
    static const char *const to[] = {
        OK, "{\"result\":\"ok\",\"status\":[{\"task_id\":\"a\"}]}",
        "{\"result\":\"ok\",\"status\":[{\"task_id\":\"a\"},{\"task_id\":\"a\"}]}"};
    assert_true(n < LH_COUNT(to));
    return to[n];
}

static const char *answer_several(struct fake_api *fake, const char *route, const json_t *data) {
    struct several *several = fake->arg;
    (void)route;
    several->sizes[fake->n_calls - 1] = json_array_size(data);
    const char *answer = several->answers[fake->n_calls - 1];
    return answer && strcmp(answer, OK) == 0 ? ok_to(json_array_size(data)) : answer;
}

/* Sends one report, and `more` while its call is out; then all until they are settled. */
static void send_several(struct several *several, unsigned more, const char *result) {
    struct event_base *base = event_base_new();
    struct fake_api fake;
    struct api_client *api;
    unsigned settled = 0;
    struct run_end end = {.finished = true, .result = result, .result_len = strlen(result)};
    fake_api_open(&fake, base, answer_several, several);
    assert_int_equal(api_client_create(base, fake.url, NULL, "secret", &api, NULL), RC_OK);
    struct reporter *reporter = make_reporter(base, api, NULL, &settled);
    assert_int_equal(reporter_send(reporter, "ts_a_0", RUN, &end), RC_OK);
    run_until(base, &fake.n_calls, 1);
    for (unsigned i = 0; i < more; i++)
        assert_int_equal(reporter_send(reporter, "ts_a_1", RUN, &end), RC_OK);
    fake_api_release(&fake, OK);
    while (reporter_pending(reporter) > 0)
        run_until(base, &settled, settled + 1);
    reporter_destroy(reporter);
    api_client_destroy(api);
    fake_api_close(&fake);
    loop_free(base);
}

/* Each has the outcome of its own item. */
static void test_one_call_for_several(void **state) {
    (void)state;
    struct several several = {
        {NULL,
         "{\"result\":\"ok\",\"status\":[{\"task_id\":\"a\",\"status\":\"finished\"},"
         "{\"task_id\":\"a\",\"message\":\"m\",\"code\":\"STALE_RUN\"},"
         "{\"task_id\":\"a\",\"message\":\"m\",\"code\":\"STORE_UNAVAILABLE\"}]}",
         NO("INTERNAL"), OK, OK}};
    send_several(&several, 4, "1"); /* the answer tells of three: the fourth is sent again, too */
    assert_int_equal(several.sizes[0], 0);
    assert_int_equal(several.sizes[1], 4);
    assert_true(several.sizes[2] == 0 || several.sizes[2] == 2);
}

/* A call that the API refuses as a whole is made again, one by one. */
static void test_refused_together(void **state) {
    (void)state;
    struct several several = {{NULL, NO("TOO_LARGE"), OK, OK, OK}};
    send_several(&several, 3, "1");
    assert_int_equal(several.sizes[1], 3);
    for (size_t i = 2; i < 5; i++)
        assert_int_equal(several.sizes[i], 0);
}

/* No call is larger than the API takes, but for one report that is. */
static void test_calls_of_bounded_size(void **state) {
    (void)state;
    char large[BODY_MAX + 3] = "\"";
    memset(large + 1, 'x', BODY_MAX / 2);
    large[BODY_MAX / 2 + 1] = '"';
    struct several halves = {{NULL, OK, OK, OK}};
    send_several(&halves, 3, large);
    memset(large + 1, 'x', BODY_MAX);
    large[BODY_MAX + 1] = '"';
    struct several wholes = {{NULL, OK, OK}};
    send_several(&wholes, 2, large);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(halves.sizes[i] + wholes.sizes[i], 0);
}

/* --- on disk --- */

struct disk {
    struct event_base *base;
    struct fake_api fake;
    struct api_client *api;
    char folder[64], spool[80];
    const char *answer; /* to every report; NULL: it is held */
    unsigned settled;
};

static const char *answer_same(struct fake_api *fake, const char *route, const json_t *data) {
    struct disk *disk = fake->arg;
    assert_string_equal(route, "/api/update_status_task");
    assert_string_equal(json_string_value(json_object_get(data, "run_id")), RUN);
    return disk->answer;
}

static void disk_open(struct disk *disk, const char *answer) {
    *disk =
        (struct disk){.base = event_base_new(), .folder = "/tmp/reporter-XXXXXX", .answer = answer};
    assert_non_null(mkdtemp(disk->folder));
    snprintf(disk->spool, sizeof disk->spool, "%s/a/b", disk->folder);
    fake_api_open(&disk->fake, disk->base, answer_same, disk);
    assert_int_equal(
        api_client_create(disk->base, disk->fake.url, NULL, "secret", &disk->api, NULL), RC_OK);
}

static void disk_close(struct disk *disk) {
    char command[128];
    api_client_destroy(disk->api);
    fake_api_close(&disk->fake);
    loop_free(disk->base);
    snprintf(command, sizeof command, "rm -rf %s", disk->folder);
    assert_int_equal(system(command), 0);
}

static struct reporter *disk_reporter(struct disk *disk) {
    return make_reporter(disk->base, disk->api, disk->spool, &disk->settled);
}

static void disk_send(struct reporter *reporter) {
    struct run_end end = FINISHED;
    assert_int_equal(reporter_send(reporter, "ts_a_1", RUN, &end), RC_OK);
    assert_int_equal(reporter_loose(reporter), 1);
}

static unsigned count_files(const struct disk *disk) {
    glob_t found;
    char pattern[128];
    snprintf(pattern, sizeof pattern, "%s/*/*.json", disk->spool);
    int rc = glob(pattern, 0, NULL, &found);
    unsigned n = rc == 0 ? (unsigned)found.gl_pathc : 0;
    globfree(&found);
    return n;
}

/* While the API answers, no file is written; the folder is not even made. */
static void test_no_disk_while_the_api_answers(void **state) {
    (void)state;
    struct disk disk;
    disk_open(&disk, OK);
    struct reporter *reporter = disk_reporter(&disk);
    disk_send(reporter);
    run_until(disk.base, &disk.settled, 1);
    assert_int_equal(reporter_pending(reporter), 0);
    reporter_destroy(reporter);
    assert_int_not_equal(access(disk.spool, F_OK), 0);
    disk_close(&disk);
}

/* After a first try that failed, and after a while without an answer. */
static void test_kept_until_settled(void **state) {
    (void)state;
    const char *const answers[] = {NO("STORE_UNAVAILABLE"), "", NULL};
    for (size_t i = 0; i < LH_COUNT(answers); i++) {
        struct disk disk;
        disk_open(&disk, answers[i]);
        struct reporter *reporter = disk_reporter(&disk);
        disk_send(reporter);
        run_until(disk.base, &disk.settled, 1);
        assert_int_equal(reporter_pending(reporter), 1);
        assert_int_equal(reporter_loose(reporter), 0);
        assert_int_equal(count_files(&disk), 1);
        disk.answer = OK;
        if (disk.fake.n_held > 0)
            fake_api_release(&disk.fake, OK);
        while (reporter_pending(reporter) > 0)
            run_until(disk.base, &disk.settled, disk.settled + 1);
        assert_int_equal(count_files(&disk), 0);
        reporter_destroy(reporter);
        disk_close(&disk);
    }
}

/* What a process leaves, the next one reports, word for word; a refusal of it is an end. */
static void test_left_for_the_next(void **state) {
    (void)state;
    const char *const answers[] = {OK, NO("STALE_RUN"), NO("ALREADY_FINAL"), NO("UNKNOWN_TASK"),
                                   NO("TASK_REMOVED")};
    for (size_t i = 0; i < LH_COUNT(answers); i++) {
        struct disk disk;
        disk_open(&disk, "");
        struct reporter *first = disk_reporter(&disk);
        disk_send(first);
        run_until(disk.base, &disk.settled, 1);
        reporter_destroy(first);
        assert_int_equal(count_files(&disk), 1);
        disk.answer = answers[i];
        disk.settled = 0;
        struct reporter *second = disk_reporter(&disk);
        run_until(disk.base, &disk.settled, 1);
        assert_int_equal(reporter_pending(second), 0);
        assert_int_equal(count_files(&disk), 0);
        check_last(&disk.fake, SAYS_FINISHED);
        reporter_destroy(second);
        disk_close(&disk);
    }
}

/* A result that is refused after a takeover becomes a failure as ever. */
static void test_refused_after_takeover(void **state) {
    (void)state;
    struct disk disk;
    disk_open(&disk, "");
    struct reporter *first = disk_reporter(&disk);
    disk_send(first);
    run_until(disk.base, &disk.settled, 1);
    reporter_destroy(first);
    disk.answer = NO("TOO_LARGE");
    disk.settled = 0;
    struct reporter *second = disk_reporter(&disk);
    run_until(disk.base, &disk.settled, 1);
    check_last(&disk.fake, SAYS_REFUSED);
    assert_int_equal(count_files(&disk), 0);
    reporter_destroy(second);
    disk_close(&disk);
}

/* A consumer that stops writes at once what has no answer yet. */
static void test_kept_when_told(void **state) {
    (void)state;
    struct disk disk;
    disk_open(&disk, NULL);
    struct reporter *reporter = disk_reporter(&disk);
    disk_send(reporter);
    reporter_keep(reporter);
    assert_int_equal(reporter_loose(reporter), 0);
    assert_int_equal(count_files(&disk), 1);
    reporter_destroy(reporter);
    disk_close(&disk);
}

/* A disk that takes nothing: kept in memory, said once, and delivered all the same. */
static void test_without_a_disk(void **state) {
    (void)state;
    struct disk disk;
    disk_open(&disk, "");
    snprintf(disk.spool, sizeof disk.spool, "/proc/no/such");
    struct reporter *reporter = disk_reporter(&disk);
    disk_send(reporter);
    run_until(disk.base, &disk.settled, 2);
    assert_int_equal(reporter_loose(reporter), 1);
    disk.answer = OK;
    while (reporter_pending(reporter) > 0)
        run_until(disk.base, &disk.settled, disk.settled + 1);
    reporter_destroy(reporter);
    disk_close(&disk);
}

/* --- a token that may not report --- */

#define ITEM_NO(code)                                                                              \
    "{\"result\":\"ok\",\"status\":[{\"task_id\":\"a\",\"message\":\"m\",\"code\":\"" code "\"}]}"

struct forbidden_case {
    const char *answers[ANSWERS_MAX]; /* in order */
    bool listed[ANSWERS_MAX];         /* the report is an item of an array */
};

static const char *answer_forbidden(struct fake_api *fake, const char *route, const json_t *data) {
    const struct forbidden_case *c = *(const struct forbidden_case **)fake->arg;
    (void)route;
    assert_true(fake->n_calls <= ANSWERS_MAX && c->answers[fake->n_calls - 1]);
    assert_int_equal(json_is_array(data), c->listed[fake->n_calls - 1]);
    return c->answers[fake->n_calls - 1];
}

/* It rests, on disk, and its lease is not asked for, until it is tried again. */
static void check_forbidden(const struct forbidden_case *c) {
    struct disk disk;
    disk_open(&disk, OK);
    disk.fake.answer = answer_forbidden;
    disk.fake.arg = &c;
    struct reporter *reporter = disk_reporter(&disk);
    disk_send(reporter);
    unsigned n = 1;
    for (run_until(disk.base, &disk.settled, n); reporter_pending(reporter) > 0; n++) {
        assert_int_equal(disk.fake.n_calls, n);
        assert_int_equal(reporter_loose(reporter), 0);
        assert_int_equal(n_listed(reporter), 0);
        assert_int_equal(count_files(&disk), 1);
        reporter_again(reporter);
        run_until(disk.base, &disk.settled, disk.settled + 1);
    }
    assert_true(n == ANSWERS_MAX || !c->answers[n]);
    assert_int_equal(count_files(&disk), 0);
    reporter_destroy(reporter);
    disk_close(&disk);
}

static void test_forbidden(void **state) {
    (void)state;
    static const struct forbidden_case forbidden[] = {
        {{NO("FORBIDDEN"), ITEM_NO("FORBIDDEN"), ITEM_NO("STALE_RUN")}, {false, true, true}},
        {{NO("FORBIDDEN"), "{\"result\":\"ok\",\"status\":[{\"task_id\":\"a\"}]}"}, {false, true}},
        {{NO("FORBIDDEN"), NO("FORBIDDEN"), ITEM_NO("TASK_REMOVED")}, {false, true, true}},
    };
    for (size_t i = 0; i < LH_COUNT(forbidden); i++)
        check_forbidden(&forbidden[i]);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    log_setup("test", LOG_TEXT, LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outcomes),
        cmocka_unit_test(test_long_text_is_cut),
        cmocka_unit_test(test_destroy_with_pending),
        cmocka_unit_test(test_one_call_for_several),
        cmocka_unit_test(test_refused_together),
        cmocka_unit_test(test_calls_of_bounded_size),
        cmocka_unit_test(test_no_disk_while_the_api_answers),
        cmocka_unit_test(test_kept_until_settled),
        cmocka_unit_test(test_left_for_the_next),
        cmocka_unit_test(test_refused_after_takeover),
        cmocka_unit_test(test_kept_when_told),
        cmocka_unit_test(test_without_a_disk),
        cmocka_unit_test(test_forbidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
