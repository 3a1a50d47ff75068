/* test_slot.c: a real supervisor runs real little modules: dialogues of "this script, that end". */
#include "base/clock.h"
#include "base/mem.h"
#include "consumer/runner/group.h"
#include "consumer/slot/outcome.h"
#include "consumer/slot/sandbox.h"
#include "consumer/slot/slot.h"

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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_S = 60 };
#define DEADLINE "2026-11-21T08:30:00.123Z"

/* The end of a run, copied. */
struct seen {
    struct slot_events events;
    struct event_base *base;
    int ended;
    bool finished;
    char *result;
    enum run_cause cause;
    enum task_error_class error_class;
    char error[8192];
};

/* What the next runs are given beside their script. */
static struct {
    int64_t timeout_ms;    /* 0: none */
    int64_t held_until_ms; /* 0: the lease does not matter */
    int memory_mb, nproc, nofile;
    int64_t output_bytes;
} given;

static struct event_base *base;
static struct seen seen;
static struct slot *slot;
static struct config cfg;
static const struct sandbox sandbox; /* as this process */
static char folder[] = "/tmp/longhaul-test-slot-XXXXXX";

static void on_ended(struct slot_events *events, const struct run_end *end) {
    struct seen *to = (struct seen *)events;
    free(to->result);
    to->ended++;
    to->finished = end->finished;
    to->result = end->result ? mem_dup(end->result, end->result_len) : NULL;
    to->cause = end->cause;
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
    static struct config_module module; /* a slot keeps the service until the run has ended */
    static struct config_service service = {.name = "svc", .source_name = "src", .module = &module};
    module = (struct config_module){.kind = MODULE_COMMAND,
                                    .command = command,
                                    .slots = 1,
                                    .env = env,
                                    .n_env = n_env,
                                    .memory_mb = given.memory_mb,
                                    .nproc = given.nproc,
                                    .nofile = given.nofile,
                                    .output_bytes = given.output_bytes};
    struct assignment assignment = {.task_id = "ts_svc_1",
                                    .service = "svc",
                                    .source_name = "src",
                                    .run_id = "01234567-89ab-7def-8123-456789abcdef",
                                    .condition = (char *)condition,
                                    .condition_len = strlen(condition),
                                    .attempt = 7,
                                    .held_until_ms = given.held_until_ms,
                                    .timeout_ms = given.timeout_ms};
    if (given.timeout_ms) {
        assignment.deadline_ms = clock_mono_ms() + given.timeout_ms;
        mem_copy_str(assignment.deadline, sizeof assignment.deadline, DEADLINE);
    }
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

static void expect_ready(void) {
    snprintf(wait_for_ready, sizeof wait_for_ready, "%s/ready", folder);
    unlink(wait_for_ready);
}

static void start_and_wait(const char *script) {
    expect_ready();
    char text[2048];
    snprintf(text, sizeof text, "%s", script);
    start_sh(text, "1");
    turn_until(ready);
}

static void test_stop(void **state) {
    (void)state;
    char script[1024];
    snprintf(script, sizeof script,
             "setsid sh -c 'trap \"touch %s/child; exit\" TERM; touch %s/trapped;"
             " while :; do sleep 0.01; done' &"
             "trap 'wait; echo 8; exit 0' TERM; while ! [ -e %s/trapped ]; do sleep 0.01; done;"
             "touch %s/ready; while :; do sleep 0.01; done",
             folder, folder, folder, folder);
    start_and_wait(script);
    slot_stop(slot, 60000);
    turn_until(idle);
    assert_true(seen.finished);
    assert_string_equal(seen.result, "8");
    char child[PATH_MAX];
    snprintf(child, sizeof child, "%s/child", folder);
    assert_int_equal(access(child, F_OK), 0);

    snprintf(script, sizeof script, "trap '' TERM; touch %s/ready; while :; do sleep 0.01; done",
             folder);
    start_and_wait(script);
    slot_stop(slot, 60000);
    slot_stop(slot, 0);
    slot_stop(slot, 0);
    turn_until(idle);
    assert_string_equal(seen.error, "killed by signal 9 (SIGKILL)");
    slot_stop(slot, 0);
    run_sh("echo 1", "1");
    assert_string_equal(seen.result, "1");
}

/* SIGTERM may be ignored: SIGKILL follows, without a further word. */
static void test_stop_with_grace(void **state) {
    (void)state;
    char script[1024];
    snprintf(script, sizeof script, "trap '' TERM; touch %s/ready; while :; do sleep 0.01; done",
             folder);
    start_and_wait(script);
    slot_stop(slot, 100);
    turn_until(idle);
    assert_string_equal(seen.error, "killed by signal 9 (SIGKILL)");
    start_and_wait(script);
    slot_stop(slot, 60000);
    slot_stop(slot, 100); /* a shorter grace */
    slot_stop(slot, 60000);
    turn_until(idle);
    assert_string_equal(seen.error, "killed by signal 9 (SIGKILL)");
}

/* At its deadline a run gets SIGTERM; it has failed, whatever it says then. Each round gives the
 * script twice the time to come so far. */
static void test_deadline(void **state) {
    (void)state;
    char script[1024], error[64];
    given.timeout_ms = 150;
    snprintf(script, sizeof script,
             "setsid sleep 1000 & echo $! >%s/p1; printenv DEADLINE >%s/deadline;"
             "trap 'echo 1; exit 0' TERM; touch %s/ready; while :; do sleep 0.01; done",
             folder, folder, folder);
    expect_ready();
    while (!ready() && given.timeout_ms < PATIENCE_S * 1000) {
        given.timeout_ms *= 2;
        snprintf(error, sizeof error, "timed out after %.10g s", (double)given.timeout_ms / 1000);
        int64_t before = clock_mono_ms();
        run_sh(script, "1");
        assert_true(clock_mono_ms() - before >= given.timeout_ms);
        assert_false(seen.finished);
        assert_int_equal(seen.cause, CAUSE_TIMEOUT);
        assert_int_equal(seen.error_class, ERROR_RETRYABLE);
        assert_string_equal(seen.error, error);
    }
    assert_string_equal(content("deadline"), DEADLINE);
    assert_true(is_gone(pid_in("p1")));
    given.timeout_ms = 1000000;
    run_sh("echo 1", "1");
    assert_true(seen.finished);
    given.timeout_ms = 0;
}

static bool ready_or_idle(void) {
    return ready() || idle();
}

/* A run outlives its lease, which is renewed. False: we were too slow to renew it in time. */
static bool renew_in_time(int lease_ms) {
    char script[512];
    snprintf(script, sizeof script, "touch %s/ready; sleep %d.%03d; echo 1", folder,
             lease_ms / 1000, lease_ms % 1000);
    given.held_until_ms = clock_mono_ms() + lease_ms;
    expect_ready();
    start_sh(script, "1");
    turn_until(ready_or_idle);
    slot_renew(slot, clock_mono_ms() + 1000000);
    bool in_time = clock_mono_ms() < given.held_until_ms - lease_ms / 2;
    turn_until(idle);
    return in_time;
}

/* With on_lost_lease: kill the supervisor ends a run whose lease is not renewed. */
static void test_lost_lease(void **state) {
    (void)state;
    cfg.on_lost_lease = LOST_LEASE_KILL;
    given.held_until_ms = clock_mono_ms() + 300;
    run_sh("trap '' TERM; while :; do sleep 0.01; done", "1");
    assert_true(clock_mono_ms() >= given.held_until_ms);
    assert_int_equal(seen.cause, CAUSE_CRASH);
    assert_string_equal(seen.error, "killed as its lease ran out (on_lost_lease: kill)");

    for (int lease_ms = 1000; !renew_in_time(lease_ms) && lease_ms < PATIENCE_S * 500;)
        lease_ms *= 2;
    assert_true(seen.finished);

    cfg.on_lost_lease = LOST_LEASE_KEEP;
    given.held_until_ms = clock_mono_ms() + 1;
    run_sh("sleep 0.2; echo 1", "1");
    assert_true(seen.finished);
    given.held_until_ms = 0;
}

static void check_limit(const char *text) {
    assert_false(seen.finished);
    assert_int_equal(seen.cause, CAUSE_LIMIT);
    assert_int_equal(seen.error_class, ERROR_RETRYABLE);
    assert_string_equal(seen.error, text);
    memset(&given, 0, sizeof given);
    run_sh("echo 1", "1");
    assert_true(seen.finished);
}

static void run_python(const char *script) {
    char *command[] = {"python3", "-c", (char *)script, NULL};
    start(command, "1", NULL, 0);
    turn_until(idle);
}

/* Memory counts over all processes of the run, and what they share only once. */
static void test_memory(void **state) {
    (void)state;
    static const char text[] = "memory_mb: the run used more than 64 MiB";
    given.memory_mb = 64;
    run_python("import time\na = []\nwhile True: a.append(bytearray(1 << 20)), time.sleep(0.001)");
    check_limit(text);
    given.memory_mb = 64;
    run_python("import os, time\n"
               "for i in range(4): os.fork()\n"
               "if os.fork() == 0: os.setsid()\n"
               "a = bytearray(8 << 20)\ntime.sleep(1000)");
    check_limit(text);
    given.memory_mb = 300;
    run_python("import os, time\n"
               "a = bytearray(100 << 20)\n"
               "for i in range(3): os.fork()\n" /* 800 MiB in sum, 100 in truth */
               "time.sleep(0.5)\nprint(1)");
    assert_true(seen.finished);
    memset(&given, 0, sizeof given);
}

/* Parents end at once, each child in a session of its own. The bomb has fuel for 1500 processes, so
 * that a supervisor that fails does no harm. */
static const char bomb[] = "import os, time\n"
                           "main, fuel = os.getpid(), os.open('fuel', os.O_RDWR | os.O_CREAT | "
                           "os.O_APPEND)\n"
                           "def burn():\n"
                           " os.write(fuel, b'x')\n"
                           " while os.fstat(fuel).st_size > 1500: time.sleep(1)\n"
                           " return os.fork()\n"
                           "while True:\n"
                           " try:\n"
                           "  if burn() and burn() and os.getpid() != main: os._exit(0)\n"
                           "  os.setsid()\n"
                           " except OSError: pass";

static void test_nproc(void **state) {
    (void)state;
    static const char text[] = "nproc: the run had more than 20 processes and threads";
    given.nproc = 20;
    run_sh("i=0; while [ $i -lt 500 ]; do sleep 100 & i=$((i+1)); done; wait", "1");
    check_limit(text);
    given.nproc = 20;
    run_python(bomb);
    check_limit(text);
    given.nproc = 20;
    run_python("import threading, time\n"
               "for i in range(30): threading.Thread(target=time.sleep, args=(1000,)).start()");
    check_limit(text);
    given.nproc = 20;
    run_sh("for i in 1 2 3 4 5 6 7 8; do sleep 0.3 & done; wait; echo 1", "1");
    assert_true(seen.finished);
    memset(&given, 0, sizeof given);
}

static void test_nofile(void **state) {
    (void)state;
    given.nofile = 16;
    run_python("import os\ntry:\n while True: n = os.dup(0)\n"
               "except OSError as error: print('\"%d %s\"' % (n, error.strerror))");
    assert_string_equal(seen.result, "\"15 Too many open files\"");
    given.nofile = 0;
}

static void test_output(void **state) {
    (void)state;
    static const char text[] = "output_kb: the run wrote more than 64 KiB";
    given.output_bytes = 64 << 10;
    run_sh("yes", "1");
    check_limit(text);
    given.output_bytes = 64 << 10;
    run_sh("setsid sh -c 'yes >&2' & sleep 1000", "1");
    check_limit(text);
    given.output_bytes = 64 << 10;
    run_sh("head -c 65533 /dev/zero >&2; echo; echo 1", "1");
    assert_true(seen.finished);
    given.output_bytes = 0;
}

/* The cgroup that the last run said that it was in is gone; false: it was in none of its own. */
static bool group_is_gone(const char *home) {
    const char *name = seen.result ? strstr(seen.result, "longhaul-run-") : NULL;
    char *path;
    if (!name)
        return false;
    assert_true(asprintf(&path, "%s/%.*s", home, (int)strlen(name) - 1, name) > 0);
    assert_int_not_equal(access(path, F_OK), 0);
    free(path);
    return true;
}

/* A run is in a cgroup of its own where the host has them, and that is gone afterwards, with those
 * that the module has made below it. */
static void test_group(void **state) {
    (void)state;
    char *script, home[PATH_MAX];
    bool possible = group_find_home(home);
    run_sh("sed -n 's/^0::\\(.*\\)$/\"\\1\"/p' /proc/self/cgroup", "1");
    assert_int_equal(group_is_gone(home), possible);
    if (!possible)
        return;
    assert_true(asprintf(&script,
                         "own=$(sed -n 's/^0::.*\\(longhaul-run.*\\)/\\1/p' /proc/self/cgroup);"
                         "mkdir -p %s/$own/a/b && echo \"\\\"$own\\\"\"",
                         home) > 0);
    run_sh(script, "1");
    free(script);
    assert_true(group_is_gone(home));
}

static void write_in_folder(const char *name, const char *text) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    fputs(text, file);
    fclose(file);
}

/* What the kernel's controllers say of a group; here by files of our own. */
static void test_controllers(void **state) {
    (void)state;
    static const struct {
        const char *memory, *pids, *events;
        struct runner_limits limits;
        enum runner_why why;
        bool empty;
    } cases[] = {
        {"low 0\nmax 7\noom_kill 0\n",
         "max 0\n",
         "populated 1\nfrozen 0\n",
         {9, 9, 0},
         WHY_NONE,
         false},
        {"low 0\nmax 7\noom_kill 2\n", "max 0\n", "populated 0\n", {9, 9, 0}, WHY_MEMORY, true},
        {"oom_kill 0\n", "max 31\n", "frozen 0\npopulated 1\n", {9, 9, 0}, WHY_NPROC, false},
        {"", "", "", {9, 9, 0}, WHY_NONE, true},
        /* what the run has no limit for, the host or a group above has met */
        {"oom_kill 2\n", "max 31\n", "populated 0\n", {0}, WHY_NONE, true},
        {"oom_kill 2\n", "max 31\n", "populated 0\n", {.nproc = 9}, WHY_NPROC, true},
        {"oom_kill 2\n", "max 31\n", "populated 0\n", {.memory_bytes = 9}, WHY_MEMORY, true},
    };
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        write_in_folder("memory.events", cases[i].memory);
        write_in_folder("pids.events", cases[i].pids);
        write_in_folder("cgroup.events", cases[i].events);
        assert_int_equal(group_check(folder, &cases[i].limits), cases[i].why);
        assert_int_equal(group_is_empty(folder), cases[i].empty);
    }
    assert_int_equal(group_check("", &cases[0].limits), WHY_NONE);
    assert_true(group_is_empty(""));
}

static bool has_progress(void) {
    return slot_progress(slot);
}

/* The newest that is valid is kept as it came; others are left out and end nothing. */
static void test_progress(void **state) {
    (void)state;
    static const struct {
        const char *line, *expect;
    } cases[] = {
        {"{\"progress\":0.4}", "0.4"},
        {"{\"progress\": { \"done\": 4, \"total\": 1e1, \"text\": \"\\u00e4\" } }",
         "{\"done\":4,\"total\":1e1,\"text\":\"\\u00e4\"}"},
        {"{\"progress\":0}", "0"},
        {"{\"progress\":1.0000001}", NULL},
        {"{\"progress\":-1}", NULL},
        {"{\"progress\":\"half\"}", NULL},
        {"{\"progress\":null}", NULL},
        {"{\"progress\":{}}", NULL},
        {"{\"progress\":{\"done\":-1}}", NULL},
        {"{\"progress\":{\"text\":5}}", NULL},
        {"{\"progress\":[1]}", NULL},
    };
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        struct outcome outcome;
        outcome_init(&outcome, 1024);
        outcome_report(&outcome, "{\"progress\":0.25}", 17, false);
        outcome_report(&outcome, cases[i].line, strlen(cases[i].line), false);
        assert_string_equal(outcome.progress.data, cases[i].expect ? cases[i].expect : "0.25");
        assert_int_equal(outcome.odd_progress, !cases[i].expect);
        assert_false(outcome.broken);
        outcome_finish(&outcome);
    }
    assert_null(slot_progress(slot));
    start_sh("echo '{\"progress\":0.5}' >&3; sleep 1000", "1");
    assert_null(slot_progress(slot));
    turn_until(has_progress);
    assert_string_equal(slot_progress(slot), "0.5");
    slot_stop(slot, 0);
    turn_until(idle);
    assert_null(slot_progress(slot));
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
    assert_int_equal(seen.cause, CAUSE_LIMIT);
    assert_int_equal(seen.error_class, ERROR_FATAL);
    char *much[] = {"python3", "-c",
                    "f = open(3, 'w')\nwhile True: f.write('{\"result\":\"' + 'x' * (1 << 20))",
                    NULL};
    start(much, "1", NULL, 0);
    turn_until(idle);
    assert_non_null(strstr(seen.error, "longer than a result may be"));
    assert_int_equal(seen.cause, CAUSE_LIMIT);
    char *printed[] = {"python3", "-c", "print(1); print('\"' + 'x' * (1 << 20) + '\"')", NULL};
    start(printed, "1", NULL, 0);
    turn_until(idle);
    assert_non_null(strstr(seen.error, "the last JSON line of stdout is no result: larger than"));
    assert_int_equal(seen.cause, CAUSE_LIMIT);
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
    run_sh("head -c 30000000 /dev/zero | tr '\\0' x; echo; head -c 30000000 /dev/urandom >&2;"
           "yes 'a line of log' | head -n 500000; echo 5",
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
    siginfo_t dead;
    pid_t second = runner_pid();
    kill(second, SIGKILL);
    assert_int_equal(waitid(P_PID, (id_t)second, &dead, WEXITED | WNOWAIT), 0);
    run_sh("echo 2", "1");
    assert_string_equal(seen.result, "2");
}

static pid_t closed_runner;

/* A supervisor that took its time is left to us to wait for. */
static bool all_gone(void) {
    waitpid(closed_runner, NULL, WNOHANG);
    return is_gone(closed_runner) && is_gone(pid_in("p1")) && is_gone(pid_in("p2")) &&
           access(content("pwd"), F_OK) != 0;
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
    closed_runner = runner_pid();
    slot_destroy(slot);
    slot = NULL;
    turn_until(all_gone);
    struct error err;
    assert_int_equal(slot_create(base, &cfg, &sandbox, &seen.events, &slot, &err), RC_OK);
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
    assert_int_equal(slot_create(base, &cfg, &sandbox, &seen.events, &slot, &err), RC_OK);
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
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_cannot_start),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_process),
        cmocka_unit_test(test_scratch),
        cmocka_unit_test(test_deep_scratch),
        cmocka_unit_test(test_leftovers),
        cmocka_unit_test(test_forking),
        cmocka_unit_test(test_stop_with_grace),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_lost_lease),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_nproc),
        cmocka_unit_test(test_nofile),
        cmocka_unit_test(test_output),
        cmocka_unit_test(test_controllers),
        cmocka_unit_test(test_group),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_mebibyte),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_runner_killed),
        cmocka_unit_test(test_closed),
        cmocka_unit_test(test_relative),
        cmocka_unit_test(test_no_leaks_here),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
