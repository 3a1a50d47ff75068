/* store_logs.c: logs of runs: what is taken, what is refused, what is kept, what a reader gets. */
#include "base/mem.h"
#include "store_kit.h"
#include "store_rules.h"
#include "task/record.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BIG_CAP = 1 << 30, READ_MAX = 1 << 24 };

/* Byte i of a stream: every value comes, and no short piece repeats soon. */
static char byte_at(int64_t i) {
    return (char)((i * 167 + (i >> 8) * 13 + (i >> 16)) & 0xff);
}

static char *bytes_at(int64_t offset, size_t len) {
    char *bytes = malloc(len + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = byte_at(offset + (int64_t)i);
    return bytes;
}

static struct op *log_op(const char *id, const char *run_id, int64_t offset, size_t len) {
    struct op *op = kit_run_op(OP_LOG, id, run_id);
    op->log_cap = BIG_CAP;
    op->log_offset = offset;
    op->value = bytes_at(offset, len);
    op->value_len = len;
    return op;
}

/* Appends and gives the rc; where it is one of those that tell it, *ret_end is the end. */
static enum rc append_op(struct op *op, int64_t *ret_end) {
    enum rc rc = kit_apply(op);
    if (ret_end)
        *ret_end = op->log_end;
    op_destroy(op);
    return rc;
}

static void append(const char *id, int64_t offset, size_t len, int64_t want_end) {
    int64_t end = -1;
    assert_int_equal(append_op(log_op(id, RUN_A, offset, len), &end), RC_OK);
    assert_int_equal(end, want_end);
}

static void append_capped(const char *id, int64_t offset, size_t len, int64_t cap) {
    struct op *op = log_op(id, RUN_A, offset, len);
    op->log_cap = cap;
    assert_int_equal(append_op(op, NULL), RC_OK);
}

static void claim(const char *id, const char *run_id) {
    assert_int_equal(kit_do(kit_run_op(OP_CLAIM, id, run_id)), RC_OK);
}

static void new_run(char ret_id[TASK_TEXT_CAP]) {
    char service[SERVICE_CAP];
    kit_service(service);
    kit_new_task(service, true, false, ret_id);
    claim(ret_id, RUN_A);
}

static struct query *read_log(const char *id, enum run_stream stream, int64_t from, size_t max) {
    struct query *query = query_create(QUERY_LOG);
    query->ids = calloc(1, sizeof *query->ids);
    query->ids[0] = kit_dup(id);
    query->n_ids = 1;
    query->stream = stream;
    query->log_from = from;
    query->max_bytes = max;
    kit_query(query);
    assert_int_equal(query->rc, RC_OK);
    return query;
}

/* The bytes are those of the stream from their offset on. */
static void assert_bytes(const struct store_log *log) {
    for (size_t i = 0; i < log->len; i++)
        if (log->bytes[i] != byte_at(log->at + (int64_t)i))
            fail_msg("byte %zu of the piece at %lld is wrong", i, (long long)log->at);
}

static void assert_read(const char *id, int64_t from, size_t max, int64_t want_at, size_t want) {
    struct query *query = read_log(id, STREAM_STDOUT, from, max);
    assert_int_equal(query->log.at, want_at);
    assert_int_equal(query->log.len, want);
    assert_bytes(&query->log);
    query_destroy(query);
}

static struct run_log numbers(const char *id) {
    struct query *query = read_log(id, STREAM_STDOUT, 0, 0);
    struct run_log log = query->log.log;
    assert_null(log.open);
    query_destroy(query);
    return log;
}

void test_log_append(void **state) {
    (void)state;
    char id[TASK_TEXT_CAP];
    new_run(id);
    struct query *query = read_log(id, STREAM_STDOUT, 0, READ_MAX);
    assert_int_equal(query->n_tasks, 1);
    assert_string_equal(query->tasks[0].task_id, id);
    assert_int_equal(query->log.attempt, 1);
    assert_int_equal(query->log.log.end, 0);
    assert_int_equal(query->log.len, 0);
    assert_false(query->log.log.closed);
    query_destroy(query);
    /* around the size of the open part and of a chunk, and many chunks at once */
    static const size_t lens[] = {1, 3, 4090, 1, 1, 2, 5000, 65536, 65537, 100, 300000, 4096, 4097};
    int64_t end = 0;
    for (size_t i = 0; i < LH_COUNT(lens); i++) {
        append(id, end, lens[i], end + (int64_t)lens[i]);
        end += (int64_t)lens[i];
        assert_read(id, 0, READ_MAX, 0, (size_t)end);
    }
    assert_int_equal(numbers(id).end, end);
    query = read_log(id, STREAM_STDERR, 0, READ_MAX); /* the other stream is untouched */
    assert_int_equal(query->log.log.end, 0);
    query_destroy(query);
}

void test_log_overlap_and_gap(void **state) {
    (void)state;
    char id[TASK_TEXT_CAP];
    int64_t end;
    new_run(id);
    assert_int_equal(append_op(log_op(id, RUN_A, 1, 1), &end), RC_OFFSET_GAP);
    assert_int_equal(end, 0);
    append(id, 0, 100, 100);
    append(id, 0, 100, 100); /* again */
    append(id, 20, 30, 100); /* known already */
    append(id, 50, 100, 150);
    append(id, 150, 0, 150);
    append(id, 0, 10000, 10000);
    append(id, 9999, 70000, 79999);
    assert_int_equal(append_op(log_op(id, RUN_A, 80000, 5), &end), RC_OFFSET_GAP);
    assert_int_equal(end, 79999);
    assert_read(id, 0, READ_MAX, 0, 79999);
}

static enum rc close_at(const char *id, int64_t offset, size_t len, int64_t *ret_end) {
    struct op *op = log_op(id, RUN_A, offset, len);
    op->log_close = true;
    return append_op(op, ret_end);
}

void test_log_close(void **state) {
    (void)state;
    char id[TASK_TEXT_CAP];
    int64_t end;
    new_run(id);
    append(id, 0, 10, 10);
    assert_int_equal(close_at(id, 15, 0, &end), RC_OFFSET_GAP);
    assert_false(numbers(id).closed);
    assert_int_equal(close_at(id, 10, 5, &end), RC_OK);
    assert_int_equal(end, 15);
    assert_true(numbers(id).closed);
    assert_int_equal(close_at(id, 10, 5, &end), RC_OK); /* again */
    assert_int_equal(end, 15);
    append(id, 0, 15, 15);
    assert_int_equal(append_op(log_op(id, RUN_A, 14, 2), &end), RC_ALREADY_FINAL);
    assert_read(id, 0, READ_MAX, 0, 15);
    struct op *op = log_op(id, RUN_A, 0, 0); /* a stream that stays empty */
    op->stream = STREAM_STDERR;
    op->log_close = true;
    assert_int_equal(append_op(op, &end), RC_OK);
    struct query *query = read_log(id, STREAM_STDERR, 0, READ_MAX);
    assert_true(query->log.log.closed);
    assert_int_equal(query->log.len, 0);
    query_destroy(query);
}

void test_log_whose_run(void **state) {
    (void)state;
    char service[SERVICE_CAP], id[TASK_TEXT_CAP];
    kit_service(service);
    assert_int_equal(kit_do(log_op("ts_none", RUN_A, 0, 1)), RC_UNKNOWN_TASK);
    kit_new_task(service, true, false, id);
    assert_int_equal(kit_do(log_op(id, RUN_A, 0, 1)), RC_STALE_RUN); /* nobody has claimed it */
    assert_int_equal(kit_do(log_op(id, "", 0, 1)), RC_STALE_RUN);
    claim(id, RUN_A);
    assert_int_equal(kit_do(log_op(id, RUN_B, 0, 1)), RC_STALE_RUN);
    assert_int_equal(kit_do(log_op(id, "", 0, 1)), RC_STALE_RUN);
    append(id, 0, 5, 5);
    assert_int_equal(kit_do(kit_run_op(OP_FINISH, id, RUN_A)), RC_OK);
    append(id, 5, 5, 10); /* ended or not */
    struct query *query = read_log("ts_none", STREAM_STDOUT, 0, READ_MAX);
    assert_int_equal(query->n_tasks, 0);
    query_destroy(query);

    kit_new_task(service, true, false, id); /* a module of the base contract */
    claim(id, "");
    assert_int_equal(kit_do(log_op(id, RUN_A, 0, 1)), RC_STALE_RUN);
    assert_int_equal(kit_do(log_op(id, "", 0, 7)), RC_OK);
    assert_read(id, 0, READ_MAX, 0, 7);
}

void test_log_of_each_attempt(void **state) {
    (void)state;
    char id[TASK_TEXT_CAP];
    new_run(id);
    append(id, 0, 300, 300);
    assert_int_equal(kit_do(kit_run_op(OP_FAIL, id, RUN_A)), RC_OK);
    assert_int_equal(kit_do(kit_op(OP_START, id)), RC_OK);
    claim(id, RUN_B);
    assert_int_equal(kit_do(log_op(id, RUN_B, 0, 70)), RC_OK);
    assert_read(id, 0, READ_MAX, 0, 70); /* the latest */
    append(id, 300, 50, 350);            /* of the run before, which is in the records */
    assert_int_equal(kit_do(log_op(id, "01890000-0000-7000-8000-00000000000c", 0, 1)),
                     RC_STALE_RUN);
    assert_int_equal(kit_do(log_op(id, "", 0, 1)), RC_STALE_RUN);
    struct query *query = query_create(QUERY_LOG);
    query->ids = calloc(1, sizeof *query->ids);
    query->ids[0] = kit_dup(id);
    query->n_ids = 1;
    query->attempt = 1;
    query->max_bytes = READ_MAX;
    kit_query(query);
    assert_int_equal(query->log.attempt, 1);
    assert_int_equal(query->log.len, 350);
    assert_bytes(&query->log);
    assert_true(record_ended_at(query->tasks[0].past, 1) > 0);
    assert_int_equal(record_ended_at(query->tasks[0].past, 2), 0);
    query_destroy(query);
}

void test_log_ranges(void **state) {
    (void)state;
    char id[TASK_TEXT_CAP];
    new_run(id);
    for (int64_t at = 0; at < 200000; at += 20000)
        append(id, at, 20000, at + 20000);
    append(id, 200000, 50, 200050);
    assert_read(id, 0, 1, 0, 1);
    assert_read(id, 19999, 2, 19999, 2);
    assert_read(id, 65535, 65537, 65535, 65537);
    assert_read(id, 199990, 1000, 199990, 60);
    assert_read(id, 200010, 20, 200010, 20);
    assert_read(id, 200050, 20, 200050, 0);
    assert_read(id, 999999, 20, 200050, 0); /* beyond the end */
    assert_read(id, -1, 10, 200040, 10);
    assert_read(id, -1, 1000, 199050, 1000);
    assert_read(id, -1, READ_MAX, 0, 200050);
}

/* Head and tail of half the cap each; what lies between is not read, whatever pieces it came in. */
static void check_cut(const char *id, int64_t end, int64_t cap) {
    struct run_log log = numbers(id);
    int64_t half = cap / 2;
    assert_int_equal(log.end, end);
    assert_int_equal(log.cut_from, half);
    assert_int_equal(log.cut_to, end - half);
    assert_read(id, 0, READ_MAX, 0, (size_t)half);
    assert_read(id, half - 1, READ_MAX, half - 1, 1);
    assert_read(id, half, READ_MAX, end - half, (size_t)half);
    assert_read(id, half + 1, 10, end - half, 10);
    assert_read(id, end - half - 1, 10, end - half, 10);
    assert_read(id, end - half, READ_MAX, end - half, (size_t)half);
    assert_read(id, end - 5, READ_MAX, end - 5, 5);
    assert_read(id, -1, READ_MAX, end - half, (size_t)half);
}

void test_log_cap(void **state) {
    (void)state;
    static const struct {
        size_t piece;
        int64_t cap, end;
    } cases[] = {
        {100, 1000, 1100},          {100, 10000, 50000},
        {70000, 100000, 210000},    {5000, 100000, 500000},
        {300000, 10000, 300000},    {4096, 65536, 409600},
        {65536, 131072, 655360},    {1, 64, 200},
        {1000000, 200000, 2000000},
    };
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        char id[TASK_TEXT_CAP];
        new_run(id);
        for (int64_t at = 0; at < cases[i].end; at += (int64_t)cases[i].piece) {
            append_capped(id, at, cases[i].piece, cases[i].cap);
            if (at + (int64_t)cases[i].piece > cases[i].cap)
                check_cut(id, at + (int64_t)cases[i].piece, cases[i].cap);
        }
    }
}

/* The sender has cut the middle itself. */
void test_log_skipped(void **state) {
    (void)state;
    char id[TASK_TEXT_CAP];
    int64_t end;
    new_run(id);
    append(id, 0, 1000, 1000);
    struct op *op = log_op(id, RUN_A, 9000, 500);
    op->log_skipped = 7999;
    assert_int_equal(append_op(op, &end), RC_OFFSET_GAP);
    assert_int_equal(end, 1000);
    op = log_op(id, RUN_A, 9000, 500);
    op->log_skipped = 8000;
    assert_int_equal(append_op(op, &end), RC_OK);
    assert_int_equal(end, 9500);
    assert_read(id, 0, READ_MAX, 0, 1000);
    assert_read(id, 1000, READ_MAX, 9000, 500);
    op = log_op(id, RUN_A, 9000, 600); /* again, and on */
    op->log_skipped = 8000;
    assert_int_equal(append_op(op, &end), RC_OK);
    assert_int_equal(end, 9600);
    op = log_op(id, RUN_A, 20000, 100); /* a second time: the tail so far is in the middle now */
    op->log_skipped = 15000;
    assert_int_equal(append_op(op, &end), RC_OK);
    struct run_log log = numbers(id);
    assert_int_equal(log.cut_from, 1000);
    assert_int_equal(log.cut_to, 20000);
    assert_read(id, 500, READ_MAX, 500, 500);
    assert_read(id, 1000, READ_MAX, 20000, 100);
}

static void apply_all(struct op **ops, size_t n) {
    struct error err = {0};
    if (store_apply(kit_store, ops, n, &err) != RC_OK)
        fail_msg("%s", err.text);
}

/* In the order of the batch; streams and tasks apart; a refused one spoils nothing. */
void test_log_batch(void **state) {
    (void)state;
    char a[TASK_TEXT_CAP], b[TASK_TEXT_CAP];
    new_run(a);
    new_run(b);
    struct op *ops[] = {
        log_op(a, RUN_A, 0, 3000),   log_op(b, RUN_A, 0, 10),      log_op(a, RUN_A, 3000, 3000),
        log_op(a, RUN_A, 9000, 1),   log_op(a, RUN_A, 0, 10),      log_op(a, RUN_B, 0, 10),
        log_op(a, RUN_A, 6000, 100), log_op("ts_no", RUN_A, 0, 1), log_op(a, RUN_A, 6100, 90000),
        log_op(b, RUN_A, 5, 10),
    };
    static const enum rc want[] = {RC_OK,        RC_OK, RC_OK,           RC_OFFSET_GAP, RC_OK,
                                   RC_STALE_RUN, RC_OK, RC_UNKNOWN_TASK, RC_OK,         RC_OK};
    ops[1]->stream = STREAM_STDERR;
    ops[4]->stream = STREAM_STDERR;
    ops[9]->stream = STREAM_STDERR;
    apply_all(ops, LH_COUNT(ops));
    for (size_t i = 0; i < LH_COUNT(ops); i++) {
        assert_int_equal(ops[i]->rc, want[i]);
        assert_int_equal(ops[i]->n_tasks, 0);
    }
    assert_int_equal(ops[3]->log_end, 6000);
    assert_int_equal(ops[8]->log_end, 96100);
    for (size_t i = 0; i < LH_COUNT(ops); i++)
        op_destroy(ops[i]);
    assert_read(a, 0, READ_MAX, 0, 96100);
    struct query *query = read_log(b, STREAM_STDERR, 0, READ_MAX);
    assert_int_equal(query->log.len, 15);
    assert_bytes(&query->log);
    query_destroy(query);
}

/* Pieces of any size and any overlap, now and then beyond the end: a model of a few lines says what
 * stands. */
void test_log_random(void **state) {
    (void)state;
    for (int round = 0; round < 6; round++) {
        char id[TASK_TEXT_CAP];
        new_run(id);
        int64_t end = 0, cap = (int64_t)1000 << round * 2;
        for (int i = 0; i < 60; i++) {
            size_t len = (size_t)(rand() % (rand() % 4 ? 3000 : 150000));
            int64_t offset = end - rand() % 2000 + (rand() % 8 == 0 ? 2500 : 0), told = 0;
            offset = offset < 0 ? 0 : offset;
            struct op *op = log_op(id, RUN_A, offset, len);
            op->log_cap = cap;
            enum rc rc = append_op(op, &told);
            assert_int_equal(rc, offset > end ? RC_OFFSET_GAP : RC_OK);
            if (rc == RC_OK && offset + (int64_t)len > end)
                end = offset + (int64_t)len;
            assert_int_equal(told, end);
            if (end > cap)
                check_cut(id, end, cap);
            else
                assert_read(id, 0, READ_MAX, 0, (size_t)end);
        }
    }
}

void test_log_survives(void **state) {
    (void)state;
    char id[TASK_TEXT_CAP];
    new_run(id);
    append(id, 0, 100000, 100000);
    append(id, 100000, 77, 100077);
    kit_reopen();
    assert_read(id, 0, READ_MAX, 0, 100077);
    append(id, 99999, 101, 100100);
    assert_read(id, 0, READ_MAX, 0, 100100);
}

enum { SENDERS = 3, SENT_BYTES = 400000 };

struct sender {
    struct store *store;
    const char *id;
    unsigned seed;
};

/* Sends the whole stream in pieces of its own, each again now and then, going on where the store
 * says. */
static void *send_all(void *arg) {
    struct sender *sender = arg;
    int64_t at = 0;
    while (at < SENT_BYTES) {
        int64_t back = rand_r(&sender->seed) % 3000;
        int64_t offset = at > back ? at - back : 0;
        size_t len = (size_t)(rand_r(&sender->seed) % 9000) + 3000;
        if (offset + (int64_t)len > SENT_BYTES)
            len = (size_t)(SENT_BYTES - offset);
        struct op *op = log_op(sender->id, RUN_A, offset, len);
        struct error err = {0};
        if (store_apply(sender->store, &op, 1, &err) != RC_OK || op->rc != RC_OK)
            abort();
        at = op->log_end;
        op_destroy(op);
    }
    return NULL;
}

/* Several processes take the same bytes at once: every byte stands once. */
void test_log_race(void **state) {
    (void)state;
    if (!kit_is_mongodb())
        skip(); /* the SQLite file has one writer */
    char id[TASK_TEXT_CAP];
    new_run(id);
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){kit_open(), id, i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
    }
    for (unsigned i = 0; i < SENDERS; i++) {
        pthread_join(threads[i], NULL);
        store_destroy(senders[i].store);
    }
    assert_int_equal(numbers(id).end, SENT_BYTES);
    assert_read(id, 0, READ_MAX, 0, SENT_BYTES);
}
