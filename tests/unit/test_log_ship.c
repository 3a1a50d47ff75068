/* test_log_ship.c: what runs print, brought to an API that is slow, away, forgetful or strict. */
#include "consumer/report/log_ship.h"

#include "base/base64.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "fake_api.h"

#include <dirent.h>
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

#define RUN "01900000-0000-7000-8000-00000000000"
#define NO(code) "{\"result\":\"exception\",\"message\":\"Because\",\"code\":\"" code "\"}"

enum { LOGS_MAX = 8, LOG_MAX_BYTES = 4 << 20, CAP = 1 << 20, BODY_MAX = 1 << 20 };

/* A stream as the API below has it. Bytes that were left out stand as 0. */
struct held {
    char key[128];
    char *bytes;
    int64_t end;
    int64_t skipped;
    bool closed;
};

struct bench {
    struct event_base *base;
    struct fake_api server;
    struct api_client *api;
    struct log_ship *ship;
    char spool[64];
    struct held held[LOGS_MAX];
    size_t n_held;
    unsigned closed, settled;
    const char *faults[8]; /* of the next calls: an answer instead of ours; NULL: none */
    unsigned n_faults;
    bool lose_answers;     /* what a faulty call brought is taken all the same */
    const char *item_code; /* every item is refused so */
    size_t largest;        /* body, in pieces' bytes */
    char *answer;
};

static char byte_at(int64_t i) {
    return (char)((i * 131 + (i >> 8) * 7 + (i >> 16)) & 0xff);
}

static struct held *held_of(struct bench *bench, const json_t *item) {
    char key[128];
    snprintf(key, sizeof key, "%s %s", json_string_value(json_object_get(item, "run_id")),
             json_string_value(json_object_get(item, "stream")));
    for (size_t i = 0; i < bench->n_held; i++)
        if (strcmp(bench->held[i].key, key) == 0)
            return &bench->held[i];
    assert_true(bench->n_held < LOGS_MAX);
    struct held *held = &bench->held[bench->n_held++];
    memcpy(held->key, key, sizeof key);
    held->bytes = calloc(1, LOG_MAX_BYTES);
    return held;
}

static struct held *held_named(struct bench *bench, const char *key) {
    for (size_t i = 0; i < bench->n_held; i++)
        if (strcmp(bench->held[i].key, key) == 0)
            return &bench->held[i];
    fail_msg("nothing has come of %s", key);
    return NULL;
}

static char *bytes_of(const json_t *item, size_t *ret_len) {
    const json_t *text = json_object_get(item, "text"), *base64 = json_object_get(item, "base64");
    char *bytes = NULL;
    *ret_len = 0;
    assert_true(!text || !base64);
    if (base64)
        assert_int_equal(
            base64_read(json_string_value(base64), json_string_length(base64), &bytes, ret_len),
            RC_OK);
    if (text)
        bytes = mem_dup(json_string_value(text), *ret_len = json_string_length(text));
    return bytes;
}

/* As the API does it. */
static void take_item(struct bench *bench, const json_t *item, struct buf *answer) {
    struct held *held = held_of(bench, item);
    size_t len;
    LH_FREE char *bytes = bytes_of(item, &len);
    int64_t offset = json_integer_value(json_object_get(item, "offset"));
    int64_t skipped = json_integer_value(json_object_get(item, "skipped"));
    buf_printf(answer, "{\"task_id\":\"t\"");
    if (bench->item_code) {
        buf_printf(answer, ",\"code\":\"%s\",\"message\":\"Because\"}", bench->item_code);
        return;
    }
    assert_true(offset + (int64_t)len <= LOG_MAX_BYTES);
    bool gap = offset - skipped > held->end;
    if (!gap) {
        held->skipped += offset > held->end ? offset - held->end : 0;
        if (len > 0)
            memcpy(held->bytes + offset, bytes, len);
        if (offset + (int64_t)len > held->end)
            held->end = offset + (int64_t)len;
        bool ends = json_is_true(json_object_get(item, "end"));
        bench->closed += ends && !held->closed;
        held->closed |= ends;
    }
    buf_printf(answer, ",\"offset\":%lld%s}", (long long)held->end,
               gap ? ",\"code\":\"OFFSET_GAP\",\"message\":\"Because\"" : "");
}

static void take_items(struct bench *bench, const json_t *data) {
    struct buf answer;
    buf_init(&answer, 1 << 20);
    buf_str(&answer, "{\"result\":\"ok\",\"data\":[");
    for (size_t i = 0; i < json_array_size(data); i++) {
        buf_str(&answer, i ? "," : "");
        take_item(bench, json_array_get(data, i), &answer);
    }
    buf_str(&answer, "]}");
    free(bench->answer);
    bench->answer = buf_take(&answer, NULL);
    assert_non_null(bench->answer);
}

static const char *answer(struct fake_api *api, const char *route, const json_t *data) {
    struct bench *bench = api->arg;
    assert_string_equal(route, "/api/log_task");
    char *text = json_dumps(data, JSON_COMPACT);
    size_t len = strlen(text) + sizeof "{\"data\":}";
    bench->largest = len > bench->largest ? len : bench->largest;
    free(text);
    if (bench->n_faults == 0) {
        take_items(bench, data);
        return bench->answer;
    }
    const char *fault = bench->faults[0];
    memmove(bench->faults, bench->faults + 1, sizeof bench->faults - sizeof bench->faults[0]);
    bench->n_faults--;
    if (bench->lose_answers)
        take_items(bench, data);
    return fault;
}

static void on_settled(void *arg) {
    ((struct bench *)arg)->settled++;
}

static void start(struct bench *bench, int64_t cap, int64_t body_max) {
    struct error err;
    struct log_ship_options options = {.base = bench->base,
                                       .api = bench->api,
                                       .spool = bench->spool,
                                       .cap = cap,
                                       .body_max = body_max,
                                       .settled = on_settled,
                                       .arg = bench};
    assert_int_equal(log_ship_create(&options, &bench->ship, &err), RC_OK);
}

static struct bench *bench_open(void) {
    struct bench *bench = calloc(1, sizeof *bench);
    struct error err;
    bench->base = event_base_new();
    snprintf(bench->spool, sizeof bench->spool, "/tmp/longhaul-ship-XXXXXX");
    assert_non_null(mkdtemp(bench->spool));
    fake_api_open(&bench->server, bench->base, answer, bench);
    assert_int_equal(
        api_client_create(bench->base, bench->server.url, NULL, "secret", &bench->api, &err),
        RC_OK);
    return bench;
}

/* How many files lie in the folders of the spool, locks left out. */
static unsigned count_files(const char *path) {
    unsigned n = 0;
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        char name[512];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (entry->d_type == DT_DIR)
            n += count_files(name);
        else if (strcmp(entry->d_name, "lock") != 0)
            n++;
    }
    if (dir)
        closedir(dir);
    return n;
}

static void bench_close(struct bench *bench) {
    log_ship_destroy(bench->ship);
    assert_int_equal(rmdir(bench->spool), 0); /* nothing is left in it */
    api_client_destroy(bench->api);
    fake_api_close(&bench->server);
    for (size_t i = 0; i < bench->n_held; i++)
        free(bench->held[i].bytes);
    loop_free(bench->base);
    free(bench->answer);
    free(bench);
}

static void fault(struct bench *bench, const char *answer_text) {
    bench->faults[bench->n_faults++] = answer_text;
}

/* Prints `len` bytes of the pattern, from offset `at` of the stream. */
static void print(struct log_run *run, enum run_stream stream, int64_t at, size_t len) {
    char *bytes = malloc(len + 1);
    for (size_t i = 0; i < len; i++)
        bytes[i] = byte_at(at + (int64_t)i);
    log_run_write(run, stream, bytes, len);
    free(bytes);
}

static void check(struct bench *bench, const char *key, int64_t want) {
    const struct held *held = held_named(bench, key);
    assert_int_equal(held->end, want);
    assert_int_equal(held->skipped, 0);
    assert_true(held->closed);
    for (int64_t i = 0; i < want; i++)
        if (held->bytes[i] != byte_at(i))
            fail_msg("byte %lld of %s is wrong", (long long)i, key);
}

static void wait_closed(struct bench *bench, unsigned n) {
    run_until(bench->base, &bench->closed, n);
    while (log_ship_pending(bench->ship) > 0)
        run_for(bench->base, 5);
}

static void test_two_streams(void **state) {
    (void)state;
    struct bench *bench = bench_open();
    start(bench, CAP, BODY_MAX);
    struct log_run *run = log_ship_begin(bench->ship, "ts_1", RUN "1");
    log_run_write(run, STREAM_STDOUT, "h\xc3\xa9\n", 4);
    log_run_write(run, STREAM_STDERR, "\xff\0", 2);
    log_run_write(run, STREAM_STDOUT, "more\n", 5);
    assert_int_equal(count_files(bench->spool), 2);
    log_run_end(run);
    assert_int_equal(log_ship_pending(bench->ship), 2);
    wait_closed(bench, 2);
    assert_int_equal(count_files(bench->spool), 0);
    assert_memory_equal(held_named(bench, RUN "1 stdout")->bytes, "h\xc3\xa9\nmore\n", 9);
    assert_memory_equal(held_named(bench, RUN "1 stderr")->bytes, "\xff\0", 2);
    assert_int_equal(bench->server.n_calls, 1);
    const json_t *first = json_array_get(bench->server.calls[0].data, 0);
    assert_string_equal(json_string_value(json_object_get(first, "text")), "h\xc3\xa9\nmore\n");
    assert_string_equal(json_string_value(json_object_get(first, "task_id")), "ts_1");
    assert_true(bench->settled > 0);
    bench_close(bench);
}

/* No file, no folder, and the ends of both streams in one call. */
static void test_silent_run(void **state) {
    (void)state;
    struct bench *bench = bench_open();
    start(bench, CAP, BODY_MAX);
    log_run_end(log_ship_begin(bench->ship, "ts_1", RUN "1"));
    log_run_end(log_ship_begin(bench->ship, "ts_2", RUN "2"));
    assert_int_equal(rmdir(bench->spool), 0);
    wait_closed(bench, 4);
    assert_int_equal(bench->server.n_calls, 1);
    assert_int_equal(mkdir(bench->spool, 0700), 0);
    bench_close(bench);
}

/* Pieces go out while the run goes on. */
static void test_while_it_runs(void **state) {
    (void)state;
    struct bench *bench = bench_open();
    start(bench, CAP, BODY_MAX);
    struct log_run *run = log_ship_begin(bench->ship, "ts_1", RUN "1");
    int64_t at = 0;
    for (unsigned i = 1; i <= 3; i++) {
        print(run, STREAM_STDOUT, at, 100000);
        at += 100000;
        for (int n = 0; n < 200 && (!bench->n_held || bench->held[0].end < at); n++)
            run_for(bench->base, 10);
        assert_int_equal(held_named(bench, RUN "1 stdout")->end, at);
    }
    log_run_end(run);
    wait_closed(bench, 2);
    check(bench, RUN "1 stdout", 300000);
    bench_close(bench);
}

/* The call did its work, its answer was lost: nothing is doubled. */
static void test_lost_answers(void **state) {
    (void)state;
    struct bench *bench = bench_open();
    bench->lose_answers = true;
    fault(bench, "");
    fault(bench, NO("OUTCOME_UNKNOWN"));
    start(bench, CAP, BODY_MAX);
    struct log_run *run = log_ship_begin(bench->ship, "ts_1", RUN "1");
    print(run, STREAM_STDOUT, 0, 70000);
    run_for(bench->base, 50);
    print(run, STREAM_STDOUT, 70000, 1000);
    log_run_end(run);
    wait_closed(bench, 2);
    check(bench, RUN "1 stdout", 71000);
    bench_close(bench);
}

/* The API is away, or refuses for now: everything comes when it is back. */
static void test_outage(void **state) {
    (void)state;
    struct bench *bench = bench_open();
    fault(bench, "");
    fault(bench, NO("STORE_UNAVAILABLE"));
    fault(bench, "{\"result\":\"ok\",\"data\":[{\"code\":\"OVERLOADED\",\"message\":\"x\"},"
                 "{\"code\":\"OVERLOADED\",\"message\":\"x\"}]}");
    start(bench, CAP, BODY_MAX);
    struct log_run *run = log_ship_begin(bench->ship, "ts_1", RUN "1");
    for (int64_t at = 0; at < 300000; at += 1000)
        print(run, STREAM_STDERR, at, 1000);
    log_run_end(run);
    wait_closed(bench, 2);
    check(bench, RUN "1 stderr", 300000);
    bench_close(bench);
}

/* The API's store has forgotten something (a backup was restored): what is still here is sent
 * again, the rest is said to be missing. */
static void test_forgetful(void **state) {
    (void)state;
    struct bench *bench = bench_open();
    start(bench, CAP, BODY_MAX);
    struct log_run *run = log_ship_begin(bench->ship, "ts_1", RUN "1");
    print(run, STREAM_STDOUT, 0, 1000);
    run_until(bench->base, &bench->settled, 1); /* it knows that those are taken */
    struct held *held = held_named(bench, RUN "1 stdout");
    assert_int_equal(held->end, 1000);
    held->end = 400;
    print(run, STREAM_STDOUT, 1000, 500);
    log_run_end(run);
    wait_closed(bench, 2);
    assert_int_equal(held->end, 1500);
    assert_int_equal(held->skipped, 600);
    bench_close(bench);
}

/* What can never be taken is dropped once, and the run goes on unharmed. */
static void test_refused(void **state) {
    (void)state;
    static const char *const codes[] = {"STALE_RUN", "UNKNOWN_TASK", "ALREADY_FINAL",
                                        "INVALID_PARAMETER"};
    for (size_t i = 0; i < LH_COUNT(codes); i++) {
        struct bench *bench = bench_open();
        bench->item_code = codes[i];
        start(bench, CAP, BODY_MAX);
        struct log_run *run = log_ship_begin(bench->ship, "ts_1", RUN "1");
        print(run, STREAM_STDOUT, 0, 70000);
        run_until(bench->base, &bench->settled, 1);
        print(run, STREAM_STDOUT, 70000, 70000);
        run_for(bench->base, 2 * SHIP_MS);
        assert_int_equal(bench->server.n_calls, 1);
        log_run_end(run); /* the silent stream has its end to tell, the other no more */
        for (int n = 0; n < 200 && log_ship_pending(bench->ship) > 0; n++)
            run_for(bench->base, 10);
        assert_int_equal(log_ship_pending(bench->ship), 0);
        assert_int_equal(count_files(bench->spool), 0);
        bench_close(bench);
    }
}

/* A flood while the API is away: head and tail, exact, and how much was left out. */
static void test_cap(void **state) {
    (void)state;
    enum { SMALL_CAP = 32768, FLOOD = 1000000 };
    struct bench *bench = bench_open();
    for (int i = 0; i < 2; i++)
        fault(bench, NO("DRAINING"));
    start(bench, SMALL_CAP, BODY_MAX);
    struct log_run *run = log_ship_begin(bench->ship, "ts_1", RUN "1");
    for (int64_t at = 0; at < FLOOD; at += 10000)
        print(run, STREAM_STDOUT, at, 10000);
    log_run_end(run);
    wait_closed(bench, 2);
    const struct held *held = held_named(bench, RUN "1 stdout");
    assert_int_equal(held->end, FLOOD);
    assert_int_equal(held->skipped, FLOOD - SMALL_CAP);
    for (int64_t i = 0; i < FLOOD; i++) {
        bool kept = i < SMALL_CAP / 2 || i >= FLOOD - SMALL_CAP / 2;
        if (held->bytes[i] != (kept ? byte_at(i) : 0))
            fail_msg("byte %lld is wrong", (long long)i);
    }
    bench_close(bench);
}

/* Another process finds what one has left, of a run that had ended and of one that had not. */
static void test_taken_over(void **state) {
    (void)state;
    struct bench *bench = bench_open();
    start(bench, CAP, BODY_MAX);
    struct log_run *ended = log_ship_begin(bench->ship, "ts_1", RUN "1");
    struct log_run *cut_off = log_ship_begin(bench->ship, "ts_2", RUN "2");
    print(ended, STREAM_STDOUT, 0, 5000);
    print(ended, STREAM_STDERR, 0, 200);
    print(cut_off, STREAM_STDOUT, 0, 150000);
    log_run_end(ended);
    log_ship_keep(bench->ship);
    log_ship_destroy(bench->ship);
    free(cut_off);
    assert_int_equal(bench->server.n_calls, 0);
    assert_int_equal(count_files(bench->spool), 3);
    start(bench, CAP, BODY_MAX);
    wait_closed(bench, 3);
    check(bench, RUN "1 stdout", 5000);
    check(bench, RUN "1 stderr", 200);
    check(bench, RUN "2 stdout", 150000);
    assert_int_equal(count_files(bench->spool), 0);
    bench_close(bench);
}

/* A file that is no log is set aside, and the others come all the same. */
static void test_broken_file(void **state) {
    (void)state;
    struct bench *bench = bench_open();
    char folder[128], name[256];
    start(bench, CAP, BODY_MAX);
    struct log_run *run = log_ship_begin(bench->ship, "ts_1", RUN "1");
    print(run, STREAM_STDOUT, 0, 500);
    log_run_end(run);
    log_ship_destroy(bench->ship);
    DIR *dir = opendir(bench->spool);
    struct dirent *entry;
    *folder = '\0';
    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            snprintf(folder, sizeof folder, "%.50s/%.60s", bench->spool, entry->d_name);
    closedir(dir);
    snprintf(name, sizeof name, "%s/x.log", folder);
    FILE *file = fopen(name, "w");
    fputs("no log", file);
    fclose(file);
    start(bench, CAP, BODY_MAX);
    wait_closed(bench, 1);
    check(bench, RUN "1 stdout", 500);
    assert_int_equal(count_files(bench->spool), 1);
    snprintf(name, sizeof name, "%s-x.bad", folder);
    assert_int_equal(unlink(name), 0);
    bench_close(bench);
}

/* Bodies keep within what the API takes, whatever the bytes are. */
static void test_small_bodies(void **state) {
    (void)state;
    enum { SMALL_BODY = 16384 };
    struct bench *bench = bench_open();
    start(bench, CAP, SMALL_BODY);
    struct log_run *run = log_ship_begin(bench->ship, "ts_1", RUN "1");
    LH_FREE char *controls = malloc(50000);
    memset(controls, '\x01', 50000);
    print(run, STREAM_STDOUT, 0, 100000);
    log_run_write(run, STREAM_STDERR, controls, 50000);
    log_run_end(run);
    wait_closed(bench, 2);
    check(bench, RUN "1 stdout", 100000);
    assert_memory_equal(held_named(bench, RUN "1 stderr")->bytes, controls, 50000);
    assert_true(bench->largest <= SMALL_BODY);
    bench_close(bench);
}

/* The API takes less than its configuration here says. */
static void test_too_large(void **state) {
    (void)state;
    struct bench *bench = bench_open();
    fault(bench, NO("TOO_LARGE"));
    fault(bench, NO("TOO_LARGE"));
    start(bench, CAP, BODY_MAX);
    struct log_run *run = log_ship_begin(bench->ship, "ts_1", RUN "1");
    print(run, STREAM_STDOUT, 0, 60000);
    log_run_end(run);
    wait_closed(bench, 2);
    check(bench, RUN "1 stdout", 60000);
    bench_close(bench);
}

/* No disk: the run goes on, its output is lost and nothing else. */
static void test_no_disk(void **state) {
    (void)state;
    struct bench *bench = bench_open();
    assert_int_equal(rmdir(bench->spool), 0);
    FILE *file = fopen(bench->spool, "w");
    fclose(file);
    start(bench, CAP, BODY_MAX);
    struct log_run *run = log_ship_begin(bench->ship, "ts_1", RUN "1");
    print(run, STREAM_STDOUT, 0, 1000);
    print(run, STREAM_STDOUT, 1000, 1000);
    log_run_end(run);
    wait_closed(bench, 2);
    assert_int_equal(held_named(bench, RUN "1 stdout")->end, 0);
    unlink(bench->spool);
    mkdir(bench->spool, 0700);
    bench_close(bench);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_streams),   cmocka_unit_test(test_silent_run),
        cmocka_unit_test(test_while_it_runs), cmocka_unit_test(test_lost_answers),
        cmocka_unit_test(test_outage),        cmocka_unit_test(test_forgetful),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_cap),
        cmocka_unit_test(test_taken_over),    cmocka_unit_test(test_broken_file),
        cmocka_unit_test(test_small_bodies),  cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_no_disk),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
