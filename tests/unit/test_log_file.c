/* test_log_file.c: bytes on disk: ends, the ring, what another process finds. */
#include "consumer/report/log_file.h"

#include "base/mem.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define RUN "01900000-0000-7000-8000-000000000001"

static char byte_at(int64_t i) {
    return (char)((i * 131 + (i >> 8) * 7 + (i >> 16)) & 0xff);
}

static struct log_file new_file(int64_t cap) {
    struct log_file file = {.stream = STREAM_STDERR, .cap = cap};
    struct error err;
    (void)mem_copy_str(file.task_id, sizeof file.task_id, "ts_a_1");
    (void)mem_copy_str(file.run_id, sizeof file.run_id, RUN);
    int fd = memfd_create("log", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(log_file_begin(&file, fd, &err), RC_OK);
    return file;
}

static void write_more(struct log_file *file, size_t len) {
    char *bytes = malloc(len + 1);
    struct error err;
    for (size_t i = 0; i < len; i++)
        bytes[i] = byte_at(file->end + (int64_t)i);
    assert_int_equal(log_file_write(file, bytes, len, &err), RC_OK);
    free(bytes);
}

static void check_piece(const struct log_file *file, int64_t from, size_t max, int64_t want_at,
                        int64_t want_skipped, size_t want_len) {
    char *bytes = malloc(max + 1);
    struct log_piece piece;
    struct error err;
    assert_int_equal(log_file_read(file, from, bytes, max, &piece, &err), RC_OK);
    assert_int_equal(piece.at, want_at);
    assert_int_equal(piece.skipped, want_skipped);
    assert_int_equal(piece.len, want_len);
    for (size_t i = 0; i < piece.len; i++)
        if (bytes[i] != byte_at(piece.at + (int64_t)i))
            fail_msg("byte %zu of the piece at %lld is wrong", i, (long long)piece.at);
    free(bytes);
}

/* The same file as another process finds it. */
static struct log_file found(const struct log_file *file) {
    struct log_file other;
    struct error err;
    if (log_file_open(dup(file->fd), &other, &err) != RC_OK)
        fail_msg("%s", err.text);
    assert_string_equal(other.task_id, "ts_a_1");
    assert_string_equal(other.run_id, RUN);
    assert_int_equal(other.stream, STREAM_STDERR);
    return other;
}

static void check_found(const struct log_file *file) {
    struct log_file other = found(file);
    assert_int_equal(other.base, file->base);
    assert_int_equal(other.end, file->end);
    assert_int_equal(other.closed, file->closed);
    log_file_finish(&other);
}

static void test_pieces(void **state) {
    (void)state;
    struct log_file file = new_file(1 << 20);
    check_piece(&file, 0, 100, 0, 0, 0);
    check_found(&file);
    write_more(&file, 10);
    write_more(&file, 100000);
    check_piece(&file, 0, 65536, 0, 0, 65536);
    check_piece(&file, 65536, 65536, 65536, 0, 34474);
    check_piece(&file, 100010, 10, 100010, 0, 0);
    check_piece(&file, 200000, 10, 100010, 0, 0);
    check_found(&file);
    log_file_close_stream(&file);
    check_found(&file);
    log_file_finish(&file);
}

/* What is shipped needs no room any more, and the offsets go on. */
static void test_forget(void **state) {
    (void)state;
    struct log_file file = new_file(1 << 20);
    write_more(&file, 5000);
    log_file_forget(&file);
    assert_int_equal(file.base, 5000);
    assert_int_equal(lseek(file.fd, 0, SEEK_END), LOG_FILE_HEADER);
    check_found(&file);
    write_more(&file, 70);
    check_piece(&file, 5000, 1000, 5000, 0, 70);
    check_piece(&file, 0, 1000, 5000, 5000, 70);
    check_found(&file);
    log_file_finish(&file);
}

static void check_cut(const struct log_file *file) {
    int64_t half = file->cap / 2, tail = file->end - half;
    size_t max = (size_t)file->cap;
    check_piece(file, file->base, max, file->base, 0, (size_t)half);
    check_piece(file, file->base + half, max, tail, tail - file->base - half, (size_t)half);
    check_piece(file, tail - 1, 10, tail, 1, 10);
    check_piece(file, tail + 3, max, tail + 3, 0, (size_t)half - 3);
}

/* Head and tail are kept, however often the ring turns, and another process finds them. */
static void test_cut(void **state) {
    (void)state;
    static const size_t steps[] = {100, 16384, 70000, 65536, 40961};
    for (size_t i = 0; i < LH_COUNT(steps); i++) {
        struct log_file file = new_file(32768);
        for (int round = 0; round < 3; round++) {
            while (file.end - file.base < 150000) {
                write_more(&file, steps[i]);
                if (file.end - file.base <= file.cap)
                    continue;
                check_cut(&file);
                struct log_file other = found(&file);
                assert_int_equal(other.end, file.end);
                check_cut(&other);
                log_file_finish(&other);
            }
            assert_true(lseek(file.fd, 0, SEEK_END) <= LOG_FILE_HEADER + 32768 + 65536);
            log_file_forget(&file);
        }
        log_file_finish(&file);
    }
}

/* A process that is killed between a step and the note of its end: what counts is whole. */
static void test_killed_in_between(void **state) {
    (void)state;
    struct log_file file = new_file(32768);
    while (file.end < 500000) {
        write_more(&file, 30000);
        struct log_file before = found(&file);
        struct log_file half_written = file;
        write_more(&half_written, 60000);
        before.end = file.end; /* the note of before */
        if (before.end > before.cap)
            check_cut(&before);
        else
            check_piece(&before, 0, 1 << 20, 0, 0, (size_t)before.end);
        log_file_finish(&before);
        file.end = half_written.end;
    }
    log_file_finish(&file);
}

static void spoil(int fd, int64_t at, const void *bytes, size_t len) {
    assert_int_equal(pwrite(fd, bytes, len, at), len);
}

static void test_no_log(void **state) {
    (void)state;
    struct error err;
    struct log_file other;
    int fd = memfd_create("log", MFD_CLOEXEC);
    assert_int_equal(log_file_open(dup(fd), &other, &err), RC_INVALID_PARAMETER);
    assert_int_equal(ftruncate(fd, 4096), 0);
    assert_int_equal(log_file_open(dup(fd), &other, &err), RC_INVALID_PARAMETER);
    close(fd);
    struct log_file file = new_file(32768);
    write_more(&file, 100);
    int64_t huge = INT64_MAX;
    spoil(file.fd, 8, &huge, sizeof huge);
    assert_int_equal(log_file_open(dup(file.fd), &other, &err), RC_INVALID_PARAMETER);
    log_file_finish(&file);
}

/* After a restart of the host only what was synced counts. */
static void test_another_boot(void **state) {
    (void)state;
    struct log_file file = new_file(32768), other;
    struct error err;
    write_more(&file, 100);
    char head[LOG_FILE_HEADER];
    assert_true(pread(file.fd, head, sizeof head, 0) > 0);
    char *boot =
        memmem(head, sizeof head, "-", 1); /* of the magic; the next one is the boot id's */
    assert_non_null(boot);
    boot = memchr(boot + 4, '-', 100);
    assert_non_null(boot);
    spoil(file.fd, boot - head + 1, "zzz", 3);
    assert_int_equal(log_file_open(dup(file.fd), &other, &err), RC_INVALID_PARAMETER);
    assert_non_null(strstr(err.text, "restarted"));
    log_file_sync(&file);
    check_found(&file);
    log_file_finish(&file);
}

static void test_disk_that_fails(void **state) {
    (void)state;
    struct log_file file = {.cap = 32768};
    struct error err;
    (void)mem_copy_str(file.run_id, sizeof file.run_id, RUN);
    int fd = open("/dev/full", O_RDWR | O_CLOEXEC);
    assert_int_equal(log_file_begin(&file, fd, &err), RC_IO);
    assert_int_equal(file.fd, -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_forget),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_killed_in_between),
        cmocka_unit_test(test_no_log),
        cmocka_unit_test(test_another_boot),
        cmocka_unit_test(test_disk_that_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
