/* test_held.c: directories that are held, and those whose makers have died. */
#include "consumer/runner/held.h"
#include "consumer/runner/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { MADE = 2000 };

static char base[PATH_MAX];

static int make_base(void **state) {
    (void)state;
    const char *folder = getenv("TMPDIR");
    snprintf(base, sizeof base, "%s/longhaul-held-XXXXXX", folder ? folder : "/tmp");
    return mkdtemp(base) ? 0 : -1;
}

/* It has to be empty by then. */
static int remove_base(void **state) {
    (void)state;
    return rmdir(base);
}

static void put_file(const struct held *scratch) {
    char path[PATH_MAX + 8];
    snprintf(path, sizeof path, "%s/file", scratch->path);
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(access(path, F_OK), 0);
}

static void test_held(void **state) {
    (void)state;
    struct held scratch;
    assert_int_equal(held_make(base, &scratch), 0);
    put_file(&scratch);
    assert_int_equal(held_sweep(base, scratch_remove), 0);
    assert_int_equal(access(scratch.path, F_OK), 0);
    held_end(&scratch, scratch_remove);
    held_end(&scratch, scratch_remove);
}

static void test_nowhere(void **state) {
    (void)state;
    struct held scratch;
    char missing[PATH_MAX + 8];
    snprintf(missing, sizeof missing, "%s/none", base);
    assert_int_equal(held_make(missing, &scratch), ENOENT);
    assert_string_equal(scratch.path, "");
    held_end(&scratch, scratch_remove);
    assert_int_equal(held_sweep(missing, scratch_remove), 0);
}

/* Who makes one and dies, with its mode as the last thing that it changes. */
static void leave_one(mode_t mode) {
    pid_t pid = fork();
    if (pid == 0) {
        struct held scratch;
        _exit(held_make(base, &scratch) || chmod(scratch.path, mode));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void test_left(void **state) {
    (void)state;
    leave_one(0700);
    leave_one(0);
    assert_int_equal(held_sweep(base, scratch_remove), 2);
    assert_int_equal(held_sweep(base, scratch_remove), 0);
}

/* One is never taken from its maker, at whatever moment somebody sweeps. */
static void test_swept_meanwhile(void **state) {
    (void)state;
    pid_t sweeper = fork();
    if (sweeper == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* also where this test fails */
        while (getppid() != 1)
            held_sweep(base, scratch_remove);
        _exit(0);
    }
    for (int i = 0; i < MADE; i++) {
        struct held scratch;
        assert_int_equal(held_make(base, &scratch), 0);
        put_file(&scratch);
        held_end(&scratch, scratch_remove);
    }
    kill(sweeper, SIGKILL);
    assert_int_equal(waitpid(sweeper, NULL, 0), sweeper);
    held_sweep(base, scratch_remove);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_held),
        cmocka_unit_test(test_nowhere),
        cmocka_unit_test(test_left),
        cmocka_unit_test(test_swept_meanwhile),
    };
    return cmocka_run_group_tests(tests, make_base, remove_base);
}
