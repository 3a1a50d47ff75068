/* test_slot.c: a real supervisor runs real little modules: dialogues of "this script, that end". */
#include "base/clock.h"
#include "base/mem.h"
#include "consumer/slot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_S = 60 };

/* The end of a run, copied. */
struct seen {
    struct slot_events events;
    struct event_base *base;
    int ended;
    bool finished;
    char *result;
    enum task_error_class error_class;
    char error[8192];
};

static struct event_base *base;
static struct seen seen;
static struct slot *slot;
static struct config cfg;
static char folder[] = "/tmp/longhaul-test-slot-XXXXXX";

static void on_ended(struct slot_events *events, const struct run_end *end) {
    struct seen *to = (struct seen *)events;
    free(to->result);
    to->ended++;
    to->finished = end->finished;
    to->result = end->result ? mem_dup(end->result, end->result_len) : NULL;
    to->error_class = end->error_class;
    snprintf(to->error, sizeof to->error, "%s", end->error_text ? end->error_text : "");
    event_base_loopbreak(to->base);
}

/* Turns the loop until `done` or the patience ends. */
static void turn_until(bool (*done)(void)) {
    int64_t until = clock_mono_ms() + PATIENCE_S * 1000;
    while (!done() && clock_mono_ms() < until) {
        struct timeval tick = {.tv_usec = 5000};
        event_base_loopexit(base, &tick);
        event_base_dispatch(base);
    }
    assert_true(done());
}

static bool idle(void) {
    return slot_idle(slot);
}

static void start(char **command, const char *condition, struct config_pair *env, size_t n_env) {
    struct config_module module = {
        .kind = MODULE_COMMAND, .command = command, .slots = 1, .env = env, .n_env = n_env};
    struct config_service service = {.name = "svc", .source_name = "src", .module = &module};
    struct assignment assignment = {.task_id = "ts_svc_1",
                                    .service = "svc",
                                    .source_name = "src",
                                    .run_id = "01234567-89ab-7def-8123-456789abcdef",
                                    .condition = (char *)condition,
                                    .condition_len = strlen(condition),
                                    .attempt = 7};
    struct error err;
    int before = seen.ended;
    assert_int_equal(slot_start(slot, &service, &assignment, &err), RC_OK);
    assert_int_equal(seen.ended, before);
    assert_false(slot_idle(slot));
}

static void start_sh(const char *script, const char *condition) {
    char *command[] = {"sh", "-c", (char *)script, NULL};
    start(command, condition, NULL, 0);
}

static void run_sh(const char *script, const char *condition) {
    int before = seen.ended;
    start_sh(script, condition);
    turn_until(idle);
    assert_int_equal(seen.ended, before + 1);
}

/* What file `name` of the test's folder holds; "" without it. */
static const char *content(const char *name) {
    static char text[65536];
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] =
        n > 0 && strchr(text, '\n') == text + n - 1 ? '\0' : text[strcspn(text, "\n")];
    return text;
}

static pid_t pid_in(const char *name) {
    return (pid_t)strtol(content(name), NULL, 10);
}

static bool is_gone(pid_t pid) {
    return pid > 0 && kill(pid, 0) != 0 && errno == ESRCH;
}

/* The runs that leave something to look at: finished with a result, or failed with a text. */
static const struct {
    const char *script;
    const char *result; /* NULL: failed, "none": finished without one */
    const char *error;
    enum task_error_class error_class;
} ends[] = {
    /* exit statuses */
    {"exit 0", "none"},
    {"echo bad luck >&2; exit 3", NULL, "exit status 3: bad luck", ERROR_RETRYABLE},
    {"exit 1", NULL, "exit status 1", ERROR_RETRYABLE},
    {"exit 75", NULL, "exit status 75 (retryable)", ERROR_RETRYABLE},
    {"kill -9 $$", NULL, "killed by signal 9 (SIGKILL)", ERROR_RETRYABLE},
    {"kill -SEGV $$", NULL, "killed by signal 11 (SIGSEGV)", ERROR_RETRYABLE},
    {"printf 'one\\n  \\ntw\\377o\\001' >&2; exit 2", NULL, "exit status 2: tw\xef\xbf\xbdo",
     ERROR_RETRYABLE},
    /* the last JSON line of stdout */
    {"echo '{\"a\": 1}'; echo done", "{\"a\":1}"},
    {"echo 1; echo '[1, 2.50]'; echo '{broken'", "[1,2.50]"},
    {"printf '\"no newline\"'", "\"no newline\""},
    {"printf ' 42 \\r\\n'", "42"},
    {"echo '{\"a\": 1, \"a\": 2}'", "none"},
    {"echo null", "null"},
    {"printf '\\377\\376\\000\\n{\\000}\\n'", "none"},
    {"echo '{\"a\":1}'; exit 4", NULL, "exit status 4", ERROR_RETRYABLE},
    {"i=0; while [ $i -lt 65 ]; do printf '['; i=$((i+1)); done; while [ $i -gt 0 ]; do printf "
     "']'; i=$((i-1)); done",
     NULL, "the last JSON line of stdout is no result: nested deeper than 64", ERROR_FATAL},
    /* report lines */
    {"echo '{\"result\": {\"b\": 1e5}}' >&3; echo 99", "{\"b\":1e5}"},
    {"echo '{\"result\":1}' >&3; echo '{\"result\":2}' >&3", "2"},
    {"printf '\\n{\"result\":3}' >&3", "3"},
    {"echo '{\"progress\":0.5}' >&3; echo 99", "none"},
    {"echo '{\"progress\":0.5,\"result\":5}' >&3", "5"},
    {"echo '{\"result\":null}' >&3", "null"},
    {"echo '{\"result\":1}' >&3; exit 9", NULL, "exit status 9", ERROR_RETRYABLE},
    {"echo '{\"error\":{\"class\":\"fatal\",\"text\":\"no such table\"}}' >&3; echo "
     "'{\"result\":1}' >&3",
     NULL, "no such table", ERROR_FATAL},
    {"echo '{\"error\":{\"class\":\"retryable\",\"text\":\"busy\\\\n\"}}' >&3; exit 1", NULL,
     "busy", ERROR_RETRYABLE},
    {"echo '{\"error\":{\"text\":\"plain\"}}' >&3; exit 75", NULL, "plain", ERROR_RETRYABLE},
    {"echo '{\"error\":{\"class\":\"odd\",\"text\":\"x\"}}' >&3", NULL,
     "line 1 on descriptor 3: error.class must be", ERROR_FATAL},
    {"echo '{\"error\":\"x\"}' >&3", NULL, "line 1 on descriptor 3: error must be an object",
     ERROR_FATAL},
    {"echo '{\"result\":1}' >&3; echo garbage >&3; sleep 1000", NULL,
     "line 2 on descriptor 3: not JSON", ERROR_FATAL},
    {"printf '\\000\\001\\377\\n' >&3; sleep 1000", NULL, "line 1 on descriptor 3: not",
     ERROR_FATAL},
    {"echo '[1]' >&3", NULL, "line 1 on descriptor 3: not an object with", ERROR_FATAL},
    {"echo '{\"other\":1}' >&3", NULL, "line 1 on descriptor 3: not an object with", ERROR_FATAL},
    {"echo '{\"result\":1e-999}' >&3", NULL,
     "line 1 on descriptor 3: result: a real number underflows", ERROR_FATAL},
    /* stdin */
    {"cat", "{\"Task\":{\"task_id\":\"ts_svc_1\",\"service\":\"svc\",\"source_name\":\"src\","
            "\"condition\":{\"n\":1.0}}}"},
    {"exec <&-; echo 1", "1"},
    {"read -r line && ! read -r more && echo 1", "1"},
    {"echo x >/proc/self/fd/0 2>/dev/null; cat >/dev/null; echo 2", "2"},
};

static void test_ends(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(ends); i++) {
        run_sh(ends[i].script, "{\"n\":1.0}");
        bool as_expected =
            ends[i].error ? !seen.finished && seen.error_class == ends[i].error_class &&
                                strstr(seen.error, ends[i].error) == seen.error
            : strcmp(ends[i].result, "none") == 0
                ? seen.finished && !seen.result
                : seen.finished && seen.result && strcmp(seen.result, ends[i].result) == 0;
        if (!as_expected)
            fail_msg("%s\n: finished %d, result %s, error class %d, error %s", ends[i].script,
                     seen.finished, seen.result ? seen.result : "none", seen.error_class,
                     seen.error);
    }
}

static void test_cannot_start(void **state) {
    (void)state;
    char plain[PATH_MAX], script[PATH_MAX];
    snprintf(plain, sizeof plain, "%s/plain", folder);
    snprintf(script, sizeof script, "%s/script", folder);
    FILE *file = fopen(plain, "w");
    fclose(file);
    file = fopen(script, "w");
    fputs("#!/nowhere/interpreter\n", file);
    fchmod(fileno(file), 0755);
    fclose(file);
    const struct {
        const char *program, *error;
    } cases[] = {{"no-such-program-anywhere", "command not found: no-such-program-anywhere"},
                 {"/nowhere/at/all", "cannot start /nowhere/at/all: No such file or directory"},
                 {plain, "Permission denied"},
                 {script, "No such file or directory"},
                 {folder, "Permission denied"}};
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        char *command[] = {(char *)cases[i].program, NULL};
        start(command, "1", NULL, 0);
        turn_until(idle);
        assert_false(seen.finished);
        assert_non_null(strstr(seen.error, cases[i].error));
    }
    run_sh("echo 1", "1");
    assert_string_equal(seen.result, "1");
}

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void test_environment(void **state) {
    (void)state;
    setenv("AUTH_TOKEN", "secret", 1);
    setenv("LANG", "C.UTF-8", 1);
    setenv("HOME", "/home/somebody", 1);
    unsetenv("TZ");
    struct config_pair env[] = {
        {"MODEL", "large one"}, {"LANG", "de_DE.UTF-8"}, {"TASK_ID", "mine"}};
    char out[PATH_MAX + 64];
    snprintf(out, sizeof out, "tr '\\0' '\\n' </proc/self/environ >%s/env", folder);
    char *command[] = {"/bin/sh", "-c", out, NULL};
    start(command, "1", env, LH_COUNT(env));
    turn_until(idle);
    unsetenv("AUTH_TOKEN");
    char path[4096];
    snprintf(path, sizeof path, "PATH=%s", getenv("PATH"));
    const char *expected[] = {"ATTEMPT=7",
                              "HOME=/home/somebody",
                              "LANG=de_DE.UTF-8",
                              "LONGHAUL_REPORT_FD=3",
                              "MODEL=large one",
                              path,
                              "RUN_ID=01234567-89ab-7def-8123-456789abcdef",
                              "SERVICE=svc",
                              "SOURCE_NAME=src",
                              "TASK_ID=ts_svc_1"};
    char *got[64];
    size_t n = 0;
    char *text = strdup(content("env"));
    for (char *rest = text, *line; n < LH_COUNT(got) && (line = strsep(&rest, "\n"));)
        if (*line && strncmp(line, "PWD=", 4) != 0)
            got[n++] = line;
    qsort(got, n, sizeof *got, compare_texts);
    assert_int_equal(n, LH_COUNT(expected));
    for (size_t i = 0; i < n; i++)
        assert_string_equal(got[i], expected[i]);
    free(text);
}

/* Descriptors 0 to 3 and no other; own process group; nothing blocked, nothing ignored. */
static void test_process(void **state) {
    (void)state;
    int leak = open("/dev/null", O_RDONLY); /* not close-on-exec */
    char *fds[] = {
        "python3", "-c",
        "import os, json\n"
        "fds = [int(x) for x in os.listdir('/proc/self/fd')]\n"
        "own = [x for x in fds if os.path.exists('/proc/self/fd/%d' % x)]\n"
        "status = dict(l.split(':', 1) for l in open('/proc/self/status').read().splitlines())\n"
        "sig = [int(status[k], 16) for k in ('SigBlk', 'SigIgn')]\n"
        /* Python itself ignores PIPE and XFSZ, the C library its own 32 and 33 */
        "sig[1] &= ~(1 << 12 | 1 << 24 | 3 << 31)\n"
        "print(json.dumps([sorted(own), os.getpgid(0) == os.getpid(), sig]))",
        NULL};
    start(fds, "1", NULL, 0);
    turn_until(idle);
    close(leak);
    assert_true(seen.finished);
    assert_string_equal(seen.result, "[[0,1,2,3],true,[0,0]]");
}

static void test_scratch(void **state) {
    (void)state;
    char script[1024];
    snprintf(script, sizeof script,
             "pwd >%s/pwd; stat -c %%a . >%s/mode; ls -A | wc -l >%s/empty; mkdir -p a/b/c 'd e'; "
             "touch a/b/x a/b/c/y;"
             "ln -s / a/root; ln -s %s out; chmod 500 a/b/c; chmod 0 a/b; chmod 500 a",
             folder, folder, folder, folder);
    run_sh(script, "1");
    assert_string_equal(content("mode"), "700");
    assert_string_equal(content("empty"), "0");
    const char *scratch = content("pwd");
    assert_non_null(strstr(scratch, "/longhaul-run-"));
    assert_int_not_equal(access(scratch, F_OK), 0);
    assert_int_equal(access(folder, F_OK), 0);
}

static void test_deep_scratch(void **state) {
    (void)state;
    char script[512];
    snprintf(script, sizeof script,
             "pwd >%s/pwd; python3 -c 'import os\nfor i in range(1500): os.mkdir(\"d\" * 9), "
             "os.chdir(\"d\" * 9)'",
             folder);
    run_sh(script, "1");
    assert_true(seen.finished);
    assert_int_not_equal(access(content("pwd"), F_OK), 0);
}

/* Whatever a module leaves behind, however it detaches itself, is gone when the run has ended. */
static void test_leftovers(void **state) {
    (void)state;
    char script[2048];
    snprintf(script, sizeof script,
             "sleep 1000 & echo $! >%s/p1\n"
             "setsid sh -c 'echo $$ >%s/p2; exec sleep 1000' &\n"
             "(setsid sh -c '(trap \"\" TERM HUP; setsid sh -c \"echo \\$\\$ >%s/p3; exec sleep "
             "1000\" &) ' &) \n"
             "while ! [ -s %s/p2 ] || ! [ -s %s/p3 ]; do sleep 0.01; done; echo 1",
             folder, folder, folder, folder, folder);
    run_sh(script, "1");
    assert_string_equal(seen.result, "1");
    assert_true(is_gone(pid_in("p1")));
    assert_true(is_gone(pid_in("p2")));
    assert_true(is_gone(pid_in("p3")));
}

/* A module that makes processes as fast as it can does not outlive its run either. */
static void test_forking(void **state) {
    (void)state;
    run_sh("i=0; while [ $i -lt 20 ]; do (while :; do setsid sleep 0.2 & sleep 0.05; done) & "
           "i=$((i+1)); done;"
           " sleep 0.2; exit 5",
           "1");
    assert_non_null(strstr(seen.error, "exit status 5"));
}

static char wait_for_ready[512];

static bool ready(void) {
    return access(wait_for_ready, F_OK) == 0;
}

static void start_and_wait(const char *script) {
    snprintf(wait_for_ready, sizeof wait_for_ready, "%s/ready", folder);
    unlink(wait_for_ready);
    char text[2048];
    snprintf(text, sizeof text, "%s", script);
    start_sh(text, "1");
    turn_until(ready);
}

static void test_stop(void **state) {
    (void)state;
    char script[1024];
    snprintf(
        script, sizeof script,
        "setsid sh -c 'trap \"touch %s/child; exit\" TERM; while :; do sleep 0.01; done' &"
        "trap 'wait; echo 8; exit 0' TERM; sleep 0.2; touch %s/ready; while :; do sleep 0.01; done",
        folder, folder);
    start_and_wait(script);
    slot_stop(slot, false);
    turn_until(idle);
    assert_true(seen.finished);
    assert_string_equal(seen.result, "8");
    char child[PATH_MAX];
    snprintf(child, sizeof child, "%s/child", folder);
    assert_int_equal(access(child, F_OK), 0);

    snprintf(script, sizeof script, "trap '' TERM; touch %s/ready; while :; do sleep 0.01; done",
             folder);
    start_and_wait(script);
    slot_stop(slot, false);
    slot_stop(slot, true);
    slot_stop(slot, true);
    turn_until(idle);
    assert_string_equal(seen.error, "killed by signal 9 (SIGKILL)");
    slot_stop(slot, true);
    run_sh("echo 1", "1");
    assert_string_equal(seen.result, "1");
}

static void test_mebibyte(void **state) {
    (void)state;
    size_t len = 1024 * 1024 - 2;
    char *condition = malloc(len + 3);
    memset(condition, 'x', len + 2);
    condition[0] = condition[len + 1] = '"';
    condition[len + 2] = '\0';
    char *command[] = {"python3", "-c",
                       "import json, sys, os\n"
                       "c = json.load(sys.stdin)['Task']['condition']\n"
                       "os.write(2, b'e' * 300000)\n"
                       "f = os.fdopen(3, 'w')\n"
                       "f.write(json.dumps({'result': c}) + '\\n')",
                       NULL};
    start(command, condition, NULL, 0);
    turn_until(idle);
    assert_true(seen.finished);
    assert_string_equal(seen.result, condition);
    free(condition);
    char *larger[] = {"python3", "-c",
                      "print('{\"result\":\"' + 'x' * (1 << 20) + '\"}', file=open(3, 'w'))", NULL};
    start(larger, "1", NULL, 0);
    turn_until(idle);
    assert_non_null(strstr(seen.error, "larger than limits.result_kb (1024 KiB)"));
    char *much[] = {"python3", "-c",
                    "f = open(3, 'w')\nwhile True: f.write('{\"result\":\"' + 'x' * (1 << 20))",
                    NULL};
    start(much, "1", NULL, 0);
    turn_until(idle);
    assert_non_null(strstr(seen.error, "longer than a result may be"));
    char *printed[] = {"python3", "-c", "print(1); print('\"' + 'x' * (1 << 20) + '\"')", NULL};
    start(printed, "1", NULL, 0);
    turn_until(idle);
    assert_non_null(strstr(seen.error, "the last JSON line of stdout is no result: larger than"));
}

static long resident_kb(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_int_equal(fscanf(file, "%*d %ld", &pages), 1);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* Floods of log neither stop the module nor stay in memory. */
static void test_flood(void **state) {
    (void)state;
    run_sh("echo 1", "1");
    long before = resident_kb();
    run_sh("head -c 100000000 /dev/zero | tr '\\0' x; echo; head -c 100000000 /dev/urandom >&2;"
           "yes 'a line of log' | head -n 2000000; echo 5",
           "1");
    assert_true(seen.finished);
    assert_string_equal(seen.result, "5");
    assert_true(resident_kb() - before < 16 * 1024);
}

static pid_t runner_pid(void) {
    FILE *file = popen("pgrep -P \"$PPID\" -x longhaul-runner", "r");
    int pid = 0;
    assert_int_equal(fscanf(file, "%d", &pid), 1);
    pclose(file);
    return pid;
}

static void test_runner_killed(void **state) {
    (void)state;
    pid_t first = runner_pid();
    char script[1024];
    snprintf(script, sizeof script,
             "pwd >%s/pwd; setsid sleep 1000 & echo $! >%s/p1; echo $$ >%s/p2; touch %s/ready; "
             "sleep 1000",
             folder, folder, folder, folder);
    start_and_wait(script);
    kill(first, SIGKILL);
    turn_until(idle);
    assert_false(seen.finished);
    assert_int_equal(seen.error_class, ERROR_RETRYABLE);
    assert_string_equal(seen.error, "the supervisor of the run died: killed by signal 9");
    assert_true(is_gone(pid_in("p1")));
    assert_true(is_gone(pid_in("p2")));
    assert_int_not_equal(access(content("pwd"), F_OK), 0);
    run_sh("echo 1", "1");
    assert_string_equal(seen.result, "1");
    /* killed while idle, and not yet noticed */
    kill(runner_pid(), SIGKILL);
    usleep(50 * 1000);
    run_sh("echo 2", "1");
    assert_string_equal(seen.result, "2");
}

static bool p2_gone(void) {
    return is_gone(pid_in("p2"));
}

/* The consumer's end of the socket closes, as it does when the consumer is killed: the tree goes,
 * the scratch too. */
static void test_closed(void **state) {
    (void)state;
    char script[1024];
    snprintf(script, sizeof script,
             "pwd >%s/pwd; trap '' TERM HUP; setsid sleep 1000 & echo $! >%s/p1; echo $$ >%s/p2; "
             "touch %s/ready;"
             "while :; do sleep 1; done",
             folder, folder, folder, folder);
    start_and_wait(script);
    pid_t runner = runner_pid();
    slot_destroy(slot);
    slot = NULL;
    turn_until(p2_gone);
    assert_true(is_gone(pid_in("p1")));
    assert_true(is_gone(runner));
    assert_int_not_equal(access(content("pwd"), F_OK), 0);
    struct error err;
    assert_int_equal(slot_create(base, &cfg, &seen.events, &slot, &err), RC_OK);
}

/* A relative path that names a file below the configuration's folder reaches the module as an
 * absolute one. */
static void test_relative(void **state) {
    (void)state;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/sub", folder);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/sub/module.sh", folder);
    FILE *file = fopen(path, "w");
    fputs("printf '\"%s %s\"' \"$0\" \"$1\"\n", file);
    fclose(file);
    char *command[] = {"sh", "sub/module.sh", "sub/none", NULL};
    start(command, "1", NULL, 0);
    turn_until(idle);
    assert_true(seen.finished);
    char expected[PATH_MAX];
    snprintf(expected, sizeof expected, "\"%s/sub/module.sh sub/none\"", folder);
    assert_string_equal(seen.result, expected);
}

static void test_no_leaks_here(void **state) {
    (void)state;
    int before = dup(0), after;
    for (int i = 0; i < 20; i++)
        run_sh("echo 1 >&2; echo 2", "1");
    after = dup(0);
    assert_int_equal(before + 1, after);
    close(before);
    close(after);
}

static int setup(void **state) {
    (void)state;
    struct error err;
    assert_non_null(mkdtemp(folder));
    cfg.dir = folder;
    cfg.limits.result_bytes = 1024 * 1024;
    base = event_base_new();
    seen = (struct seen){.events.ended = on_ended, .base = base};
    assert_int_equal(slot_create(base, &cfg, &seen.events, &slot, &err), RC_OK);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    slot_destroy(slot);
    free(seen.result);
    event_base_free(base);
    libevent_global_shutdown();
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends),          cmocka_unit_test(test_cannot_start),
        cmocka_unit_test(test_environment),   cmocka_unit_test(test_process),
        cmocka_unit_test(test_scratch),       cmocka_unit_test(test_deep_scratch),
        cmocka_unit_test(test_leftovers),     cmocka_unit_test(test_forking),
        cmocka_unit_test(test_stop),          cmocka_unit_test(test_mebibyte),
        cmocka_unit_test(test_flood),         cmocka_unit_test(test_runner_killed),
        cmocka_unit_test(test_closed),        cmocka_unit_test(test_relative),
        cmocka_unit_test(test_no_leaks_here),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
