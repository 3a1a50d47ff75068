/* many.c: a shared object that does what the condition says. */
#include <longhaul.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int n_runs;

static int say_task(const struct longhaul_task *task, struct longhaul_run *run) {
    char text[1024];
    snprintf(text, sizeof text, "[\"%s\", \"%s\", \"%s\", %zu, \"%s\", %lld, \"%s\", %d,\n %d]",
             task->task_id, task->service, task->source_name, task->condition_len, task->run_id,
             (long long)task->attempt, task->deadline ? task->deadline : "none",
             task->size == sizeof *task, ++n_runs);
    return longhaul_result(run, text);
}

static int say_trace(const struct longhaul_task *task, struct longhaul_run *run) {
    char text[1024];
    snprintf(text, sizeof text, "[\"%s\", \"%s\"]", task->traceparent ? task->traceparent : "none",
             task->tracestate ? task->tracestate : "none");
    return longhaul_result(run, text);
}

static int echo(const struct longhaul_task *task, struct longhaul_run *run) {
    return longhaul_result(run, task->condition);
}

static int say_nothing(const struct longhaul_task *task, struct longhaul_run *run) {
    (void)task, (void)run;
    return 0;
}

static int give_two(const struct longhaul_task *task, struct longhaul_run *run) {
    (void)task;
    return longhaul_result(run, "1") + longhaul_result(run, " {\"b\" : [1.0, 1e5]} ");
}

static int give_no_json(const struct longhaul_task *task, struct longhaul_run *run) {
    (void)task;
    if (longhaul_result(run, "1}\n{\"task_id\":\"other\"") != -1 ||
        longhaul_result(run, NULL) != -1)
        return 9;
    return longhaul_result(run, "{broken");
}

static int fail_fatally(const struct longhaul_task *task, struct longhaul_run *run) {
    (void)task;
    longhaul_error(run, LONGHAUL_RETRYABLE, "the first");
    longhaul_result(run, "1");
    return longhaul_error(run, LONGHAUL_FATAL, "no \"such\" table\n\xff");
}

static int fail_for_now(const struct longhaul_task *task, struct longhaul_run *run) {
    (void)task;
    longhaul_error(run, LONGHAUL_RETRYABLE, NULL);
    return 3;
}

static int return_3(const struct longhaul_task *task, struct longhaul_run *run) {
    (void)task;
    longhaul_result(run, "1");
    return 3;
}

static int return_75(const struct longhaul_task *task, struct longhaul_run *run) {
    (void)task, (void)run;
    return 75;
}

static int progress(const struct longhaul_task *task, struct longhaul_run *run) {
    (void)task;
    if (longhaul_progress(run, NAN, 1, NULL) != -1 || longhaul_progress(run, -1, 1, NULL) != -1 ||
        longhaul_progress(run, 1, INFINITY, NULL) != -1)
        return 9;
    return longhaul_progress(run, 1, 4, NULL) + longhaul_progress(run, 2.5, 4, "so \"far\"");
}

static void *progress_often(void *arg) {
    for (int i = 0; i < 100; i++)
        longhaul_progress(arg, i, 100, "a text of some length, so that lines could be mixed");
    return NULL;
}

static int progress_in_threads(const struct longhaul_task *task, struct longhaul_run *run) {
    (void)task;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, progress_often, run);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    return 0;
}

static int print(const struct longhaul_task *task, struct longhaul_run *run) {
    (void)task, (void)run;
    printf("printed, and not flushed\n");
    return 0;
}

/* The host's own descriptors are out of reach. */
static int look_around(const struct longhaul_task *task, struct longhaul_run *run) {
    (void)task;
    char byte;
    int report_open = fcntl(3, F_GETFD) >= 0;
    return longhaul_result(run, read(0, &byte, 1) == 0 && !report_open ? "true" : "false");
}

static int be_stopped(const struct longhaul_task *task, struct longhaul_run *run) {
    (void)task;
    if (longhaul_cancelled(run))
        return 9;
    kill(getpid(), SIGTERM);
    return longhaul_cancelled(run) ? longhaul_result(run, "\"stopped\"") : 9;
}

static int leave(const struct longhaul_task *task, struct longhaul_run *run) {
    (void)task, (void)run;
    exit(7);
}

static int crash(const struct longhaul_task *task, struct longhaul_run *run) {
    (void)task, (void)run;
    signal(SIGSEGV, SIG_DFL); /* a sanitizer's own handler would exit */
    raise(SIGSEGV);
    return 0;
}

static const struct {
    const char *word;
    int (*act)(const struct longhaul_task *task, struct longhaul_run *run);
} acts[] = {
    {"\"task\"", say_task},
    {"\"nothing\"", say_nothing},
    {"\"trace\"", say_trace},
    {"\"two\"", give_two},
    {"\"no JSON\"", give_no_json},
    {"\"fatal\"", fail_fatally},
    {"\"for now\"", fail_for_now},
    {"\"3\"", return_3},
    {"\"75\"", return_75},
    {"\"progress\"", progress},
    {"\"threads\"", progress_in_threads},
    {"\"print\"", print},
    {"\"around\"", look_around},
    {"\"stop\"", be_stopped},
    {"\"leave\"", leave},
    {"\"crash\"", crash},
};

int longhaul_run(const struct longhaul_task *task, struct longhaul_run *run) {
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        if (strcmp(task->condition, acts[i].word) == 0)
            return acts[i].act(task, run);
    return echo(task, run);
}
