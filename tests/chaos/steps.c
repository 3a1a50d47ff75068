/* steps.c: the record of a run, and the steps of its task. */
#include "steps.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum { PROCESSES_MAX = 256, STEPS_MAX = 1024 };

static void die(const char *what) {
    fprintf(stderr, "chaos: %s: %s\n", what, strerror(errno));
    exit(70);
}

static long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void wait_ms(long ms) {
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0)
        ;
}

/* One write, so that lines of several processes never mix. */
static void record(const struct chaos_run *run, const char *line, size_t len) {
    char file[512];
    snprintf(file, sizeof file, "%s/runs.jsonl", run->folder);
    int fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, line, len) != (ssize_t)len)
        die(file);
    close(fd);
}

/* The kernel's start time of a process, 0 where it is gone or dead. */
static unsigned long long born(int pid) {
    char name[64], text[1024];
    snprintf(name, sizeof name, "/proc/%d/stat", pid);
    FILE *file = fopen(name, "r");
    if (!file)
        return 0;
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = '\0';
    char *at = strrchr(text, ')'), state = '\0';
    unsigned long long ret = 0;
    if (!at ||
        sscanf(at,
               ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &state, &ret) != 2)
        return 0;
    return state == 'Z' || state == 'X' ? 0 : ret;
}

/* A line of the task's list of processes. */
struct process {
    int pid;
    unsigned long long born;
    char role[16], run_id[64];
};

static size_t read_processes(FILE *file, struct process *ret) {
    size_t n = 0;
    while (n < PROCESSES_MAX && fscanf(file, "%d %llu %15s %63s", &ret[n].pid, &ret[n].born,
                                       ret[n].role, ret[n].run_id) == 4)
        n++;
    return n;
}

/* Process i is done with the task, or dead. */
static bool is_over(const struct process *list, size_t n, size_t i) {
    for (size_t later = i + 1; later < n; later++)
        if (list[later].pid == list[i].pid && strcmp(list[later].run_id, list[i].run_id) == 0 &&
            strcmp(list[later].role, "done") == 0)
            return true;
    return strcmp(list[i].role, "done") == 0 || born(list[i].pid) != list[i].born;
}

/* The processes of the file that are alive, as [pid, role, run id]. */
static void list_others(FILE *file, char *line, size_t cap) {
    struct process list[PROCESSES_MAX];
    size_t n = read_processes(file, list), len = 0;
    line[0] = '\0';
    for (size_t i = 0; i < n; i++)
        if (list[i].pid != getpid() && !is_over(list, n, i) && len + 128 < cap)
            len += (size_t)snprintf(line + len, cap - len, "%s[%d,\"%s\",\"%s\"]", len ? "," : "",
                                    list[i].pid, list[i].role, list[i].run_id);
}

static FILE *open_list(const struct chaos_run *run) {
    char name[640];
    size_t len = strlen(run->task_id);
    snprintf(name, sizeof name, "%s/live/%s/%s", run->folder,
             run->task_id + (len > 2 ? len - 2 : 0), run->task_id);
    FILE *file = fopen(name, "a+e");
    if (!file || flock(fileno(file), LOCK_EX) != 0)
        die(name);
    rewind(file);
    return file;
}

static void add_process(FILE *file, const struct chaos_run *run, const char *role) {
    fseek(file, 0, SEEK_END);
    fprintf(file, "%d %llu %s %s\n", (int)getpid(), born(getpid()), role, run->run_id);
    fflush(file);
}

void chaos_start(const struct chaos_run *run, const char *role) {
    char others[2048], line[3072];
    FILE *file = open_list(run);
    long long looked_at = now_ns(); /* whoever is alive was so later than this */
    list_others(file, others, sizeof others);
    add_process(file, run, role);
    int n =
        snprintf(line, sizeof line,
                 "{\"k\":\"start\",\"t\":%lld,\"task\":\"%s\",\"run\":\"%s\",\"attempt\":%ld,"
                 "\"pid\":%d,\"role\":\"%s\",\"others\":[%s]}\n",
                 looked_at, run->task_id, run->run_id, run->attempt, (int)getpid(), role, others);
    record(run, line, (size_t)n);
    fclose(file);
}

/* Before the world hears of it: what is known of the run's end afterwards is true already. */
static void note_end(const struct chaos_run *run, const char *how) {
    char line[512];
    int n = snprintf(line, sizeof line,
                     "{\"k\":\"end\",\"t\":%lld,\"task\":\"%s\",\"run\":\"%s\",\"pid\":%d,"
                     "\"how\":\"%s\"}\n",
                     now_ns(), run->task_id, run->run_id, (int)getpid(), how);
    record(run, line, (size_t)n);
    if (!run->stays)
        return;
    FILE *file = open_list(run);
    add_process(file, run, "done");
    fclose(file);
}

static void leave_child(const struct chaos_run *run) {
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid > 0)
        return;
    setsid();
    if (fork() != 0)
        _exit(0);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    chaos_start(run, "child");
    for (;;)
        pause();
}

static void end_by_signal(const struct chaos_run *run, int number) {
    note_end(run, "signal");
    signal(number, SIG_DFL);
    raise(number);
    wait_ms(1000);
    exit(70);
}

struct turn {
    const struct chaos_run *run;
    void (*progress)(void *);
    void *arg;
    bool skipping;
    struct chaos_end end;
};

/* False where the step is the last. */
static bool do_step(struct turn *turn, const char *step) {
    char word[32] = "", text[16] = "";
    sscanf(step, "%31s %15s", word, text);
    int number = (int)strtol(text, NULL, 10);
    if (strcmp(word, "upto") == 0)
        turn->skipping = turn->run->attempt > number;
    else if (turn->skipping)
        return true;
    else if (strcmp(word, "sleep") == 0)
        wait_ms(number);
    else if (strcmp(word, "signal") == 0)
        end_by_signal(turn->run, number);
    else if (strcmp(word, "ignore") == 0)
        signal(SIGTERM, SIG_IGN);
    else if (strcmp(word, "progress") == 0)
        turn->progress(turn->arg);
    else if (strcmp(word, "fork") == 0)
        leave_child(turn->run);
    else if (strcmp(word, "silent") == 0)
        turn->end.how = CHAOS_SILENT;
    else if (strcmp(word, "error") == 0) {
        turn->end.how = CHAOS_ERROR;
        memcpy(turn->end.error_class, text, sizeof text);
    } else if (strcmp(word, "exit") == 0) {
        turn->end.how = CHAOS_EXIT;
        turn->end.status = number;
    }
    return turn->end.how == CHAOS_RESULT || turn->end.how == CHAOS_SILENT;
}

struct chaos_end chaos_do(const struct chaos_run *run, const char *json, void (*progress)(void *),
                          void *arg) {
    static const char *const words[] = {"result", "silent", "error", "exit"};
    struct turn turn = {.run = run, .progress = progress, .arg = arg};
    char copy[STEPS_MAX] = "", *rest = copy, *step;
    const char *steps = strstr(json, "\"do\":\"");
    if (steps) {
        steps += strlen("\"do\":\"");
        snprintf(copy, sizeof copy, "%.*s", (int)strcspn(steps, "\""), steps);
    }
    while ((step = strsep(&rest, ";")) && do_step(&turn, step))
        ;
    note_end(run, words[turn.end.how]);
    return turn.end;
}

void chaos_result(const struct chaos_run *run, char text[CHAOS_RESULT_CAP]) {
    snprintf(text, CHAOS_RESULT_CAP, "{\"run\":\"%s\",\"attempt\":%ld,\"pid\":%d}", run->run_id,
             run->attempt, (int)getpid());
}
