/* test_warm.c: a real supervisor, a process that stays, one task after the other: "told this, it
 * does that, and so the run ends". */
#include "base/clock.h"
#include "base/mem.h"
#include "consumer/slot/sandbox.h"
#include "consumer/slot/slot.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_S = 60, MIB = 1024 * 1024 };

/* Does what the task's condition says, which is a piece of Python: id, n (tasks so far), all (the
 * line), say(member=value, ...). */
static const char module_code[] = "import json, os, sys, signal, time\n"
                                  "reports = os.fdopen(3, 'w', buffering=1)\n"
                                  "def say(**members): reports.write(json.dumps(members) + '\\n')\n"
                                  "def done(result): say(task_id=id, result=result)\n"
                                  "n = 0\n"
                                  "for line in sys.stdin:\n"
                                  "    all = json.loads(line)\n"
                                  "    id = all['Task']['task_id']\n"
                                  "    n += 1\n"
                                  "    exec(all['Task']['condition'])\n";

static struct {
    struct slot_events events;
    int ended;
    bool finished, no_start;
    char *result;
    enum run_cause cause;
    enum task_error_class error_class;
    char error[8192];
} seen;

static struct event_base *base;
static struct slot *slot;
static struct config cfg;
static const struct sandbox sandbox; /* as this process */
static struct config_module module;
static struct config_service service = {.name = "svc", .source_name = "src", .module = &module};
static char *command[] = {"/usr/bin/python3", "-c", (char *)module_code, NULL};
static int n_tasks;

static void on_ended(struct slot_events *events, const struct run_end *end) {
    (void)events;
    free(seen.result);
    seen.ended++;
    seen.finished = end->finished;
    seen.no_start = end->no_start;
    seen.result = end->result ? mem_dup(end->result, end->result_len) : NULL;
    seen.cause = end->cause;
    seen.error_class = end->error_class;
    snprintf(seen.error, sizeof seen.error, "%s", end->error_text ? end->error_text : "");
}

static void turn_until(bool (*done)(void)) {
    int64_t until = clock_mono_ms() + PATIENCE_S * 1000;
    while (!done() && clock_mono_ms() < until) {
        struct timeval tick = {.tv_usec = 2000};
        event_base_loopexit(base, &tick);
        event_base_dispatch(base);
    }
    assert_true(done());
}

static bool idle(void) {
    return slot_idle(slot);
}

/* Starts a run whose condition is the JSON text `condition`; deadline_ms from now, 0: none. */
static void start_json(const char *condition, int deadline_ms) {
    struct error err;
    struct assignment assignment = {.service = "svc",
                                    .source_name = "src",
                                    .run_id = "01234567-89ab-7def-8123-456789abcdef",
                                    .condition = (char *)condition,
                                    .condition_len = strlen(condition),
                                    .attempt = 7,
                                    .timeout_ms = deadline_ms,
                                    .held_until_ms = clock_mono_ms() + 3600 * 1000};
    snprintf(assignment.task_id, sizeof assignment.task_id, "ts_svc_%d", ++n_tasks);
    if (deadline_ms) {
        assignment.deadline_ms = clock_mono_ms() + deadline_ms;
        mem_copy_str(assignment.deadline, sizeof assignment.deadline, "2026-11-21T08:30:00.123Z");
    }
    int before = seen.ended;
    assert_int_equal(slot_start(slot, &service, &assignment, &err), RC_OK);
    assert_int_equal(seen.ended, before);
    assert_false(slot_idle(slot));
}

static void start_until(const char *code, int deadline_ms) {
    LH_CLEANUP_BUF struct buf condition;
    buf_init(&condition, 8 * MIB);
    buf_json_str(&condition, code);
    start_json(condition.data, deadline_ms);
}

static void start(const char *code) {
    start_until(code, 0);
}

static void run(const char *code) {
    start(code);
    turn_until(idle);
}

static void expect_result(const char *result) {
    if (!seen.finished || !seen.result || strcmp(seen.result, result) != 0)
        fail_msg("finished %d, result %s, error %s; expected %s", seen.finished, seen.result,
                 seen.error, result);
}

/* The text begins so. */
static void expect_error(enum task_error_class error_class, const char *text) {
    if (seen.finished || seen.error_class != error_class ||
        strncmp(seen.error, text, strlen(text)) != 0)
        fail_msg("finished %d, result %s, class %d, error %s; expected %s", seen.finished,
                 seen.result, seen.error_class, seen.error, text);
}

/* The process that a run finds. */
static pid_t pid_now(void) {
    run("done(os.getpid())");
    if (!seen.finished || !seen.result)
        fail_msg("%s", seen.error);
    return (pid_t)strtol(seen.result, NULL, 10);
}

static pid_t watched;

static bool is_gone(void) {
    return kill(watched, 0) != 0 && errno == ESRCH;
}

/* A slot of its own for each test: a command that stays. */
static int setup(void **state) {
    (void)state;
    struct error err;
    module = (struct config_module){.kind = MODULE_WARM, .command = command, .slots = 1};
    cfg = (struct config){.dir = "/nonexistent", .limits = {.result_bytes = MIB}};
    base = event_base_new();
    seen.events.ended = on_ended;
    assert_int_equal(slot_create(base, &cfg, &sandbox, &seen.events, &slot, &err), RC_OK);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    slot_destroy(slot);
    event_base_free(base);
    return 0;
}

static void test_many(void **state) {
    (void)state;
    pid_t pid = pid_now();
    for (int i = 2; i < 200; i++) {
        char expected[64];
        snprintf(expected, sizeof expected, "[%d,%d]", pid, i);
        run("done([os.getpid(), n])");
        expect_result(expected);
    }
}

static void test_line(void **state) {
    (void)state;
    run("del all['Task']['condition']; done(all)");
    expect_result(
        "{\"Task\":{\"task_id\":\"ts_svc_1\",\"service\":\"svc\",\"source_name\":\"src\"},"
        "\"run_id\":\"01234567-89ab-7def-8123-456789abcdef\",\"attempt\":7,"
        "\"deadline\":null}");
    start_until("done(all['deadline'])", 3600 * 1000);
    turn_until(idle);
    expect_result("\"2026-11-21T08:30:00.123Z\"");
    setenv("AUTH_TOKEN", "secret", 1);
    run("os.kill(os.getpid(), 9)");
    run("done(sorted(set(os.environ) - {'PATH', 'HOME', 'LANG', 'TZ', 'LC_CTYPE'}))");
    unsetenv("AUTH_TOKEN");
    expect_result("[\"LONGHAUL_REPORT_FD\",\"SERVICE\",\"SOURCE_NAME\"]");
    run("done([os.environ['SERVICE'], os.environ['SOURCE_NAME'], os.listdir('.')])");
    expect_result("[\"svc\",\"src\",[]]");
}

/* What a task does, and what is said of it; whether the next one finds the same process. */
static const struct {
    const char *code, *result, *error;
    enum task_error_class error_class;
    bool same;
} ends[] = {
    {"done({'b': [1.0, None]})", "{\"b\":[1.0,null]}", .same = true},
    {"done(None)", "null", .same = true},
    {"print(5); say(task_id=id, progress=0.5); say(task_id=id, progress={'done': 1}); done(6)", "6",
     .same = true},
    {"say(task_id=id, error={'class': 'fatal', 'text': 'no such table'})", NULL, "no such table",
     ERROR_FATAL, true},
    {"say(task_id=id, error={'text': 'busy'})", NULL, "busy", ERROR_RETRYABLE, true},
    {"say(task_id=id, error={'text': 'both'}, result=1)", NULL, "both", ERROR_RETRYABLE, true},
    /* rules broken */
    {"say(task_id='ts_svc_0', result=1); time.sleep(1000)", NULL,
     "line 1 on descriptor 3: its \"task_id\" is not that of the task", ERROR_FATAL},
    {"say(result=1); time.sleep(1000)", NULL, "line 1 on descriptor 3: its \"task_id\" is not",
     ERROR_FATAL},
    {"say(task_id=5, result=1); time.sleep(1000)", NULL,
     "line 1 on descriptor 3: its \"task_id\" is not", ERROR_FATAL},
    {"say(task_id=id, progress=1); reports.write('garbage\\n'); time.sleep(1000)", NULL,
     "line 2 on descriptor 3: not JSON", ERROR_FATAL},
    {"reports.write('5\\n'); time.sleep(1000)", NULL,
     "line 1 on descriptor 3: its \"task_id\" is not", ERROR_FATAL},
    {"say(task_id=id); time.sleep(1000)", NULL, "line 1 on descriptor 3: not an object with",
     ERROR_FATAL},
    {"say(task_id=id, error='x'); time.sleep(1000)", NULL,
     "line 1 on descriptor 3: error must be an object", ERROR_FATAL},
    {"done('x' * (1 << 20)); time.sleep(1000)", NULL,
     "line 1 on descriptor 3: the result is larger than limits.result_kb", ERROR_FATAL},
    {"reports.write('x' * (1 << 21)); time.sleep(1000)", NULL,
     "line 1 on descriptor 3: longer than a result may be", ERROR_FATAL},
    /* deaths */
    {"print('bad luck', file=sys.stderr); os._exit(3)", NULL, "exit status 3: bad luck",
     ERROR_RETRYABLE},
    {"os._exit(75)", NULL, "exit status 75 (retryable)", ERROR_RETRYABLE},
    {"os._exit(0)", NULL, "exit status 0 without a result", ERROR_RETRYABLE},
    {"signal.signal(11, signal.SIG_DFL); os.kill(os.getpid(), 11)", NULL,
     "killed by signal 11 (SIGSEGV)", ERROR_RETRYABLE},
    {"print('{\"a\": 1}', flush=True); os._exit(0)", NULL, "exit status 0 without a result",
     ERROR_RETRYABLE},
    {"done(1); os._exit(3)", "1"},
    {"say(task_id=id, error={'text': 'first'}); os._exit(3)", NULL, "first", ERROR_RETRYABLE},
    {"done(1); os.kill(os.getpid(), 9)", "1"},
    /* said after the end */
    {"reports.write('{\"task_id\":\"%s\",\"result\":1}\\n{\"task_id\":\"%s\",\"progress\":1}\\n' % "
     "(id, id)); time.sleep(1000)",
     "1"},
    {"done(1); reports.write('garbage\\n'); time.sleep(1000)", "1"},
};

static void test_ends(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(ends); i++) {
        pid_t before = pid_now();
        run(ends[i].code);
        if (ends[i].error)
            expect_error(ends[i].error_class, ends[i].error);
        else
            expect_result(ends[i].result);
        assert_false(seen.no_start);
        if ((pid_now() == before) != ends[i].same)
            fail_msg("%s: the same process? not %d", ends[i].code, ends[i].same);
    }
}

/* What a task has printed is its own: the last words of one are not those of the next. */
static void test_last_words(void **state) {
    (void)state;
    run("print('of the first', file=sys.stderr); sys.stderr.write('begun'); sys.stderr.flush(); "
        "done(1)");
    run("os._exit(4)");
    expect_error(ERROR_RETRYABLE, "exit status 4");
    assert_string_equal(seen.error, "exit status 4");
}

/* A process that dies while it idles costs no task, noticed or not. */
static void test_idle_death(void **state) {
    (void)state;
    for (int i = 0; i < 5; i++) {
        watched = pid_now();
        kill(watched, SIGKILL);
        while (!is_gone()) /* the slot hears of it with the next turn of the loop */
            usleep(1000);
        assert_int_not_equal(pid_now(), watched);
    }
    watched = pid_now();
    kill(watched, SIGKILL);
    turn_until(is_gone);
    assert_int_not_equal(pid_now(), watched);
}

/* A line on descriptor 3 while there is no task: the process is replaced. */
static void test_stray(void **state) {
    (void)state;
    run("import threading; threading.Timer(0.05, lambda: say(task_id=id, progress=1)).start(); "
        "done(os.getpid())");
    watched = (pid_t)strtol(seen.result, NULL, 10);
    turn_until(is_gone);
    assert_int_not_equal(pid_now(), watched);
}

static char ready[64];

static bool is_ready(void) {
    return access(ready, F_OK) == 0;
}

/* Starts code that makes the file %s once it is at work. */
static void start_and_wait(const char *code, int deadline_ms) {
    char text[1024];
    snprintf(ready, sizeof ready, "/tmp/longhaul-test-warm-%d", getpid());
    snprintf(text, sizeof text, code, ready);
    start_until(text, deadline_ms);
    turn_until(is_ready);
    unlink(ready);
}

static void test_stop(void **state) {
    (void)state;
    pid_t before = pid_now();
    start_and_wait("open('%s', 'w'); time.sleep(1000)", 0);
    slot_stop(slot, 10000);
    turn_until(idle);
    expect_error(ERROR_RETRYABLE, "killed by signal 15 (SIGTERM)");
    assert_false(seen.no_start);
    assert_int_not_equal(pid_now(), before);

    before = pid_now();
    start_and_wait("signal.signal(15, lambda *a: done(8)); open('%s', 'w'); time.sleep(0.5); "
                   "time.sleep(1000)",
                   0);
    slot_stop(slot, 10000);
    turn_until(idle);
    expect_result("8");
    assert_int_not_equal(pid_now(), before);

    start_and_wait("signal.signal(15, signal.SIG_IGN); open('%s', 'w'); time.sleep(1000)", 0);
    slot_stop(slot, 50);
    turn_until(idle);
    expect_error(ERROR_RETRYABLE, "killed by signal 9 (SIGKILL)");
    pid_now();
}

static void test_deadline(void **state) {
    (void)state;
    pid_t before = pid_now();
    start_until("time.sleep(1000)", 100);
    turn_until(idle);
    expect_error(ERROR_RETRYABLE, "timed out after 0.1 s");
    assert_int_equal(seen.cause, CAUSE_TIMEOUT);
    assert_int_not_equal(pid_now(), before);
    /* a result after the deadline comes too late */
    start_until("signal.signal(15, lambda *a: done(8)); time.sleep(0.5); time.sleep(1000)", 100);
    turn_until(idle);
    expect_error(ERROR_RETRYABLE, "timed out after 0.1 s");
    /* the deadline of one run is not that of the next; one that ends close to it does not count */
    int64_t begun;
    do {
        before = pid_now();
        begun = clock_mono_ms();
        start_until("done(os.getpid())", 2500);
        turn_until(idle);
    } while (clock_mono_ms() - begun > 1000);
    run("time.sleep(2.6); done(os.getpid())");
    assert_int_equal(strtol(seen.result, NULL, 10), before);
    /* close to its deadline: the process is not kept */
    start_until("done(os.getpid())", 500);
    turn_until(idle);
    assert_int_not_equal(pid_now(), before);
}

static void test_lease(void **state) {
    (void)state;
    cfg.on_lost_lease = LOST_LEASE_KILL;
    pid_t before = pid_now();
    start("time.sleep(1000)");
    slot_renew(slot, clock_mono_ms() + 100);
    turn_until(idle);
    assert_int_equal(seen.cause, CAUSE_CRASH);
    assert_int_not_equal(pid_now(), before);
}

static void test_max_tasks(void **state) {
    (void)state;
    module.max_tasks = 3;
    pid_t pids[7];
    for (size_t i = 0; i < LH_COUNT(pids); i++)
        pids[i] = pid_now();
    assert_true(pids[0] == pids[1] && pids[1] == pids[2] && pids[2] != pids[3]);
    assert_true(pids[3] == pids[4] && pids[4] == pids[5] && pids[5] != pids[6]);
}

static void test_max_rss(void **state) {
    (void)state;
    module.max_rss_mb = 100;
    pid_t before = pid_now();
    assert_int_equal(pid_now(), before);
    run("hoard = b'x' * (150 << 20); done(1)");
    assert_int_not_equal(pid_now(), before);
    before = pid_now();
    assert_int_equal(pid_now(), before);
    /* what the process has started counts as well */
    run("import subprocess; subprocess.Popen(['python3', '-c', 'import sys, time; hoard = b\"x\" * "
        "(150 << 20); print(1, flush=True); time.sleep(1000)'], stdout=subprocess.PIPE)"
        ".stdout.readline(); done(1)");
    assert_int_not_equal(pid_now(), before);
}

/* Beyond the memory's limit once its run has ended: the next one has no part in it. */
static void grow_between_two(void) {
    char code[512];
    snprintf(ready, sizeof ready, "/tmp/longhaul-test-warm-%d", getpid());
    snprintf(code, sizeof code,
             "import threading\n"
             "def grow():\n global hoard\n while not os.path.exists('%s'): time.sleep(0.005)\n"
             " hoard = b'x' * (400 << 20)\n"
             "threading.Thread(target=grow).start(); done(os.getpid())",
             ready);
    run(code);
    assert_true(seen.finished);
    watched = (pid_t)strtol(seen.result, NULL, 10);
    fclose(fopen(ready, "w"));
    while (!is_gone()) /* the slot hears of it with the next turn of the loop */
        usleep(1000);
    unlink(ready);
    assert_int_not_equal(pid_now(), watched);
}

/* The limits of the service hold for the process; who exceeds them is gone when its run has ended.
 */
static void test_limits(void **state) {
    (void)state;
    module.output_bytes = 100 << 10;
    watched = pid_now();
    run("print('x' * (150 << 10), flush=True); done(1)");
    expect_error(ERROR_RETRYABLE, "output_kb: the run wrote more than 100 KiB");
    assert_int_equal(seen.cause, CAUSE_LIMIT);
    assert_true(is_gone());
    for (int i = 0; i < 4; i++) { /* counted for each task anew */
        run("print('x' * (60 << 10), flush=True); done(1)");
        expect_result("1");
    }
    module.memory_mb = 200;
    run("os._exit(0)");
    run("hoard = b'x' * (400 << 20); time.sleep(1000)");
    expect_error(ERROR_RETRYABLE, "memory_mb: the run used more than 200 MiB");
    grow_between_two();
}

static void test_idle(void **state) {
    (void)state;
    module.idle_ms = 100;
    watched = pid_now();
    assert_int_equal(pid_now(), watched);
    turn_until(is_gone);
    assert_int_not_equal(pid_now(), watched);
}

/* Its stdin ends, and it may do what is left to do; it is killed if it does not end. A run waits
 * meanwhile. */
static void test_dismissed(void **state) {
    (void)state;
    char *stubborn[] = {"sh", "-c",
                        "trap '' TERM HUP; read -r line; id=${line#*task_id\\\":\\\"}; "
                        "printf '{\"task_id\":\"%s\",\"result\":%d}\\n' \"${id%%\\\"*}\" $$ >&3; "
                        "while :; do sleep 0.1; done",
                        NULL};
    module.max_tasks = 1;
    module.command = stubborn;
    watched = pid_now();
    assert_int_not_equal(pid_now(), watched);
    assert_true(is_gone());
    /* stopped while it waits */
    int64_t before = clock_mono_ms();
    start("1");
    slot_stop(slot, 60000);
    turn_until(idle);
    assert_true(clock_mono_ms() - before < 50000);
    expect_error(ERROR_RETRYABLE, "stopped before it began");
    assert_false(seen.no_start);
    module.command = command;
    pid_now();
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
    watched = pid_now();
    start_and_wait("open('%s', 'w'); time.sleep(1000)", 0);
    kill(runner_pid(), SIGKILL);
    turn_until(idle);
    expect_error(ERROR_RETRYABLE, "the supervisor of the run died: killed by signal 9");
    assert_true(is_gone());
    /* while the process idles */
    watched = pid_now();
    kill(runner_pid(), SIGKILL);
    turn_until(is_gone);
    assert_int_not_equal(pid_now(), watched);
}

/* The consumer's end closes, with a process that idles and one that is at work. */
static void test_closed(void **state) {
    (void)state;
    struct error err;
    for (int at_work = 0; at_work < 2; at_work++) {
        watched = pid_now();
        if (at_work)
            start_and_wait("open('%s', 'w'); time.sleep(1000)", 0);
        slot_destroy(slot);
        turn_until(is_gone);
        assert_int_equal(slot_create(base, &cfg, &sandbox, &seen.events, &slot, &err), RC_OK);
    }
}

static void test_large(void **state) {
    (void)state;
    size_t len = 3 * MIB;
    char *condition = malloc(len + 1);
    snprintf(condition, len + 1, "\"done(len(line)) #%*s\"", (int)len - 19, "");
    start_json(condition, 0);
    turn_until(idle);
    assert_true(seen.finished && strtol(seen.result, NULL, 10) > 3 * MIB);
    free(condition);
    /* a process that never reads it */
    char *deaf[] = {"sh", "-c", "sleep 1000", NULL};
    module.command = deaf;
    run("os._exit(0)");
    condition = malloc(len + 1);
    memset(condition, '1', len);
    condition[0] = condition[len - 1] = '"';
    condition[len] = '\0';
    start_json(condition, 100);
    turn_until(idle);
    expect_error(ERROR_RETRYABLE, "timed out after 0.1 s");
    free(condition);
}

/* A process that dies before it has done anything says so of its run; after that it does not. */
static void test_no_start(void **state) {
    (void)state;
    char *dies[] = {"sh", "-c", "echo no licence >&2; exit 4", NULL},
         *missing[] = {"no-such-program-anywhere", NULL}, *nowhere[] = {"/nowhere/at/all", NULL};
    module.command = dies;
    for (int i = 0; i < 3; i++) {
        run("1");
        expect_error(ERROR_RETRYABLE, "exit status 4: no licence");
        assert_true(seen.no_start);
    }
    module.command = missing;
    run("1");
    expect_error(ERROR_RETRYABLE, "command not found: no-such-program-anywhere");
    assert_true(seen.no_start);
    module.command = nowhere;
    run("1");
    expect_error(ERROR_RETRYABLE, "cannot start /nowhere/at/all: No such file or directory");
    assert_true(seen.no_start);
    module.command = command;
    run("os._exit(4)");
    assert_true(seen.no_start);
    run("done(1)");
    assert_false(seen.no_start);
    run("os._exit(4)");
    assert_false(seen.no_start);
}

static void use_object(const char *name) {
    static char path[PATH_MAX];
    snprintf(path, sizeof path, OBJECTS "/object_%s.so", name);
    module = (struct config_module){.kind = MODULE_SHARED_OBJECT, .object = path, .slots = 1};
}

static void run_json(const char *condition) {
    start_json(condition, 0);
    turn_until(idle);
}

static void test_object(void **state) {
    (void)state;
    use_object("many");
    run_json("{\"n\":1.0}");
    expect_result("{\"n\":1.0}");
    run_json("\"print\"");
    expect_result("null");
    run_json("\"progress\"");
    expect_result("null");
    run_json("\"fatal\"");
    expect_error(ERROR_FATAL, "no \"such\" table");
    run_json("\"3\"");
    expect_error(ERROR_RETRYABLE, "longhaul_run returned 3");
    run_json("\"crash\"");
    expect_error(ERROR_RETRYABLE, "killed by signal 11 (SIGSEGV)");
    run_json("\"leave\"");
    expect_error(ERROR_RETRYABLE, "exit status 7");
    run_json("\"stop\"");
    expect_result("\"stopped\"");
    run_json("5");
    expect_result("5");
}

static void test_bad_object(void **state) {
    (void)state;
    use_object("unresolved");
    run_json("5");
    expect_error(ERROR_RETRYABLE, "exit status 78: cannot load " OBJECTS "/object_unresolved.so: "
                                  "undefined symbol: function_of_nobody");
    assert_true(seen.no_start);
    use_object("no_run");
    run_json("5");
    expect_error(ERROR_RETRYABLE, "exit status 78: cannot load " OBJECTS "/object_no_run.so: "
                                  "undefined symbol: longhaul_run");
    assert_true(seen.no_start);
}

static void test_no_leaks(void **state) {
    (void)state;
    pid_now();
    int before = dup(0), after;
    for (int i = 0; i < 10; i++) {
        run("done(1)");
        run("os._exit(1)");
    }
    run("done(1)");
    after = dup(0);
    assert_int_equal(before + 1, after);
    close(before);
    close(after);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_line),       TEST(test_many),       TEST(test_ends),
        TEST(test_last_words), TEST(test_idle_death), TEST(test_stray),
        TEST(test_stop),       TEST(test_deadline),   TEST(test_lease),
        TEST(test_max_tasks),  TEST(test_max_rss),    TEST(test_limits),
        TEST(test_idle),       TEST(test_dismissed),  TEST(test_runner_killed),
        TEST(test_closed),     TEST(test_large),      TEST(test_no_start),
        TEST(test_object),     TEST(test_bad_object), TEST(test_no_leaks),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(seen.result);
    libevent_global_shutdown();
    return failed;
}
