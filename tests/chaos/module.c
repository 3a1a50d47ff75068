/* module.c: a module of the chaos tests that does what its task says (steps.h).
 *
 *     chaos-module FOLDER          kind command: the task of the environment
 *     chaos-module FOLDER --warm   kind warm: one task line after the other
 */
#include "steps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 65536, REPORT_CAP = 1024 };

static void say(const char *line) {
    if (write(3, line, strlen(line)) < 0)
        exit(74);
}

static const char *need_env(const char *name) {
    const char *value = getenv(name);
    if (value)
        return value;
    fprintf(stderr, "chaos-module: %s is not set\n", name);
    exit(64);
}

/* `, "task_id": …` of a process that stays. */
static void put_task(const struct chaos_run *run, char *to, size_t cap) {
    to[0] = '\0';
    if (run->stays)
        snprintf(to, cap, ",\"task_id\":\"%s\"", run->task_id);
}

static void say_progress(void *arg) {
    char task[320], line[REPORT_CAP];
    put_task(arg, task, sizeof task);
    snprintf(line, sizeof line, "{\"progress\":0.5%s}\n", task);
    say(line);
}

/* Says how the run ended. One that has nothing to say ends its process, or gives null. */
static void say_end(const struct chaos_run *run, const struct chaos_end *end) {
    char task[320], result[CHAOS_RESULT_CAP] = "null", line[REPORT_CAP];
    put_task(run, task, sizeof task);
    if (end->how == CHAOS_EXIT)
        exit(end->status);
    if (end->how == CHAOS_SILENT && !run->stays)
        return;
    if (end->how == CHAOS_RESULT)
        chaos_result(run, result);
    if (end->how == CHAOS_ERROR)
        snprintf(line, sizeof line, "{\"error\":{\"class\":\"%s\",\"text\":\"as told\"}%s}\n",
                 end->error_class, task);
    else
        snprintf(line, sizeof line, "{\"result\":%s%s}\n", result, task);
    say(line);
}

static int run_command(const char *folder) {
    static char task[LINE_MAX_BYTES];
    struct chaos_run run = {folder, need_env("TASK_ID"), need_env("RUN_ID"),
                            strtol(need_env("ATTEMPT"), NULL, 10), false};
    chaos_start(&run, "main");
    task[fread(task, 1, sizeof task - 1, stdin)] = '\0';
    struct chaos_end end = chaos_do(&run, task, say_progress, &run);
    say_end(&run, &end);
    return end.how == CHAOS_ERROR;
}

/* The text after `key` up to the next quote, into `to`. */
static const char *member(const char *line, const char *key, char *to, size_t cap) {
    const char *at = strstr(line, key);
    if (!at) {
        fprintf(stderr, "chaos-module: no %s in: %.200s\n", key, line);
        exit(65);
    }
    at += strlen(key);
    snprintf(to, cap, "%.*s", (int)strcspn(at, "\",}"), at);
    return to;
}

static int run_warm(const char *folder) {
    static char line[LINE_MAX_BYTES];
    char task_id[256], run_id[64], attempt[32];
    while (fgets(line, sizeof line, stdin)) {
        struct chaos_run run = {.folder = folder, .stays = true};
        run.task_id = member(line, "\"task_id\":\"", task_id, sizeof task_id);
        run.run_id = member(line, "\"run_id\":\"", run_id, sizeof run_id);
        run.attempt = strtol(member(line, "\"attempt\":", attempt, sizeof attempt), NULL, 10);
        chaos_start(&run, "main");
        struct chaos_end end = chaos_do(&run, line, say_progress, &run);
        say_end(&run, &end);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[2], "--warm") == 0)
        return run_warm(argv[1]);
    return argc == 2 ? run_command(argv[1]) : 64;
}
