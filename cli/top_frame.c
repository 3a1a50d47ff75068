/* top_frame.c: longhaul top's frames: services with their rates, running tasks with their progress.
 */
#include "cli/top.h"

#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    BAR = 10,
    WIDE = 122, /* columns that all of a running task needs, up to the end of its id */
};

#define TITLE "\x1b[1m"
#define HEADING "\x1b[7m"
#define ALARM "\x1b[31m"

/* -- numbers -- */

static int64_t number(const json_t *object, const char *name) {
    return json_integer_value(json_object_get(object, name));
}

static const char *text_of(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "-";
}

/* "3.2 h" of seconds. */
static const char *age_text(double seconds, char ret[16]) {
    if (seconds < 60)
        snprintf(ret, 16, "%.1fs", seconds);
    else if (seconds < 3600)
        snprintf(ret, 16, "%.0fm", seconds / 60);
    else if (seconds < 86400)
        snprintf(ret, 16, "%.1fh", seconds / 3600);
    else
        snprintf(ret, 16, "%.1fd", seconds / 86400);
    return ret;
}

/* What ended per second since the last frame; negative: not known yet. */
static double rate(const struct top *top, const char *service, const char *which, int64_t now) {
    int64_t since_ms = top->shown_ms - top->before_ms;
    for (size_t i = 0; top->before_ms && since_ms > 0 && i < top->n_before; i++)
        if (strcmp(top->before[i].service, service) == 0) {
            bool failed = strcmp(which, "failed") == 0;
            int64_t was = failed ? top->before[i].failed : top->before[i].finished;
            return now < was ? 0 : (double)(now - was) * 1000 / (double)since_ms;
        }
    return -1;
}

static const char *rate_text(double per_s, char ret[16]) {
    if (per_s < 0)
        snprintf(ret, 16, "-");
    else
        snprintf(ret, 16, "%.1f", per_s);
    return ret;
}

void top_forget(struct top *top) {
    for (size_t i = 0; i < top->n_before; i++)
        free(top->before[i].service);
    free(TAKE(top->before));
    top->n_before = 0;
}

void top_remember(struct top *top) {
    const json_t *rows = json_object_get(top->services.answer.root, "data");
    top_forget(top);
    top->before = calloc(json_array_size(rows) + 1, sizeof *top->before);
    for (size_t i = 0; top->before && i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i), *counts = json_object_get(row, "counts");
        const char *name = text_of(row, "service");
        char *copy = mem_dup(name, strlen(name));
        if (!copy)
            return;
        top->before[top->n_before++] =
            (struct ended){copy, number(counts, "finished"), number(counts, "failed")};
    }
    top->before_ms = top->shown_ms;
}

/* -- drawing -- */

static void draw_service(struct top *top, const json_t *row) {
    const json_t *counts = json_object_get(row, "counts");
    const json_t *oldest = json_object_get(row, "oldest_waiting_s");
    const char *name = text_of(row, "service");
    bool paused = json_is_true(json_object_get(row, "paused"));
    char shown[80];
    snprintf(shown, sizeof shown, "%s%.60s", paused ? "(paused) " : "", name);
    int64_t waiting = number(counts, "waiting"), workers = number(row, "workers");
    char age[16] = "-", done[16], lost[16];
    if (json_is_number(oldest))
        age_text(json_number_value(oldest), age);
    double failed = rate(top, name, "failed", number(counts, "failed"));
    rate_text(rate(top, name, "finished", number(counts, "finished")), done);
    rate_text(failed, lost);
    bool alarm = paused || failed > 0 || (waiting > 0 && workers == 0);
    top_screen_line(&top->screen, alarm ? ALARM : NULL,
                    "%-16.16s %5" PRId64 " %7" PRId64 " %7" PRId64 " %8" PRId64 " %6" PRId64
                    " %6s %6s %6s %4" PRId64,
                    shown, number(counts, "ready"), waiting, number(counts, "running"),
                    number(counts, "finished"), number(counts, "failed"), done, lost, age, workers);
}

/* "[###-------]" or "12/40" of a task's progress. */
static void progress_text(const json_t *progress, char ret[40]) {
    double share = json_is_number(progress) ? json_number_value(progress) : -1;
    double total = json_number_value(json_object_get(progress, "total"));
    if (total > 0)
        share = json_number_value(json_object_get(progress, "done")) / total;
    if (!(share >= 0 && share <= 1)) {
        snprintf(ret, 40, "-");
        return;
    }
    char bar[BAR + 1];
    for (int i = 0; i < BAR; i++)
        bar[i] = i < (int)(share * BAR) ? '#' : '-';
    bar[BAR] = '\0';
    snprintf(ret, 40, "[%s] %3d %%", bar, (int)(share * 100));
}

static void draw_task(struct top *top, const json_t *row) {
    int64_t start_at = 0;
    char progress[40], age[16] = "-";
    if (clock_from_text(text_of(row, "start_time"), &start_at) && clock_now_ms() >= start_at)
        age_text((double)(clock_now_ms() - start_at) / 1000, age);
    progress_text(json_object_get(row, "progress"), progress);
    const char *id = text_of(row, "task_id");
    if (top->screen.columns < WIDE)
        top_screen_line(&top->screen, NULL, "%7s  %-18s %s", age, progress, id);
    else
        top_screen_line(&top->screen, NULL, "%-24.24s %7s  %-18s %-11s %3" PRId64 "  %s  %s",
                        text_of(row, "service"), age, progress, text_of(row, "sub_status"),
                        number(row, "attempt"), id, text_of(row, "worker"));
}

static void draw_task_heads(struct top *top) {
    if (top->screen.columns < WIDE)
        top_screen_line(&top->screen, HEADING, "%7s  %-18s %s", "RUNNING", "PROGRESS", "TASK");
    else
        top_screen_line(&top->screen, HEADING, "%-24s %7s  %-18s %-11s %3s  %s", "RUNNING", "SINCE",
                        "PROGRESS", "STATE", "ATT", "TASK, CONSUMER");
}

static void draw_head(struct top *top) {
    char now[CLOCK_TEXT_CAP];
    clock_to_text(clock_now_ms(), now);
    top_screen_line(&top->screen, TITLE, "longhaul  %s  %.19sZ  every %.1f s  q quits",
                    client_url(top->cli->client), now, (double)top->interval_ms / 1000);
    if (top->problem[0])
        top_screen_line(&top->screen, ALARM, "%s", top->problem);
    top_screen_line(&top->screen, NULL, "%s", "");
}

void top_draw(struct top *top) {
    const json_t *rows = json_object_get(top->services.answer.root, "data");
    const json_t *tasks = json_object_get(top->tasks.answer.root, "data");
    size_t i;
    const json_t *row;
    top_screen_begin(&top->screen);
    draw_head(top);
    top_screen_line(&top->screen, HEADING, "%-16s %5s %7s %7s %8s %6s %6s %6s %6s %4s", "SERVICE",
                    "READY", "WAITING", "RUNNING", "FINISHED", "FAILED", "DONE/S", "FAIL/S",
                    "OLDEST", "CONS");
    json_array_foreach(rows, i, row) draw_service(top, row);
    if (json_array_size(tasks) > 0 && top_screen_left(&top->screen) > 2) {
        top_screen_line(&top->screen, NULL, "%s", "");
        draw_task_heads(top);
        json_array_foreach(tasks, i, row) draw_task(top, row);
    }
    top_screen_end(&top->screen);
}

/* -- once, for pipes -- */

void top_print(const struct top *top) {
    static const char *const counts[] = {"ready", "waiting", "running", "finished", "failed"};
    size_t i;
    const json_t *row;
    json_array_foreach(json_object_get(top->services.answer.root, "data"), i, row) {
        const json_t *oldest = json_object_get(row, "oldest_waiting_s");
        printf("%s", text_of(row, "service"));
        for (size_t c = 0; c < LH_COUNT(counts); c++)
            printf("\t%" PRId64, number(json_object_get(row, "counts"), counts[c]));
        if (json_is_number(oldest))
            printf("\t%.3f", json_number_value(oldest));
        else
            printf("\t-");
        bool paused = json_is_true(json_object_get(row, "paused"));
        printf("\t%" PRId64 "\t%s\n", number(row, "workers"), paused ? "paused" : "runs");
    }
}
