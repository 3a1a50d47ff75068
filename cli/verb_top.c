/* verb_top.c: longhaul top: services and running tasks, live.
 *
 * Every --interval two questions go out at once, service_task and tasks; when both are answered the
 * screen is drawn. Keys, the window's size and signals are events of the same loop.
 */
#include "cli/cli.h"

#include "base/clock.h"
#include "base/mem.h"
#include "cli/arguments.h"
#include "cli/interrupt.h"
#include "cli/terminal.h"
#include "cli/top_screen.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { INTERVAL_MS = 2000, INTERVAL_MIN_MS = 100, TASKS = 200, EVENTS = 5, BAR = 10 };

#define TITLE "\x1b[1m"
#define HEADING "\x1b[7m"
#define ALARM "\x1b[31m"

/* One of the two questions. */
struct question {
    struct top *top;
    struct client_call *call;
    struct answer answer; /* the last one */
};

/* What a service had ended by when it was last looked at. */
struct ended {
    char *service;
    int64_t finished, failed;
};

struct top {
    const struct cli *cli;
    int64_t interval_ms;
    bool once, quit;
    struct question services, tasks;
    struct ended *before; /* of the last frame, in the answer's order */
    size_t n_before;
    int64_t before_ms, shown_ms; /* when they were asked for; 0: never */
    char problem[560];           /* why there is no new answer */
    enum rc rc;
    struct top_screen screen;
    struct event *events[EVENTS];
    size_t n_events;
    struct event *next;
};

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

static void forget_before(struct top *top) {
    for (size_t i = 0; i < top->n_before; i++)
        free(top->before[i].service);
    free(TAKE(top->before));
    top->n_before = 0;
}

/* Keeps what the frame shows, for the rates of the next one. */
static void remember(struct top *top) {
    const json_t *rows = json_object_get(top->services.answer.root, "data");
    forget_before(top);
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
    int64_t waiting = number(counts, "waiting"), workers = number(row, "workers");
    char age[16] = "-", done[16], lost[16];
    if (json_is_number(oldest))
        age_text(json_number_value(oldest), age);
    double failed = rate(top, name, "failed", number(counts, "failed"));
    rate_text(rate(top, name, "finished", number(counts, "finished")), done);
    rate_text(failed, lost);
    bool alarm = paused || failed > 0 || (waiting > 0 && workers == 0);
    top_screen_line(&top->screen, alarm ? ALARM : NULL,
                    "%-24.24s %8" PRId64 " %8" PRId64 " %8" PRId64 " %10" PRId64 " %8" PRId64
                    " %8s %8s %7s %5" PRId64 "%s",
                    name, number(counts, "ready"), waiting, number(counts, "running"),
                    number(counts, "finished"), number(counts, "failed"), done, lost, age, workers,
                    paused ? "  paused" : "");
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
    top_screen_line(&top->screen, NULL, "%-24.24s %7s  %-18s %-11s %3" PRId64 "  %s  %s",
                    text_of(row, "service"), age, progress, text_of(row, "sub_status"),
                    number(row, "attempt"), text_of(row, "task_id"), text_of(row, "worker"));
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

static void draw(struct top *top) {
    const json_t *rows = json_object_get(top->services.answer.root, "data");
    const json_t *tasks = json_object_get(top->tasks.answer.root, "data");
    size_t i;
    const json_t *row;
    top_screen_begin(&top->screen);
    draw_head(top);
    top_screen_line(&top->screen, HEADING, "%-24s %8s %8s %8s %10s %8s %8s %8s %7s %5s  ",
                    "SERVICE", "READY", "WAITING", "RUNNING", "FINISHED", "FAILED", "DONE/S",
                    "FAIL/S", "OLDEST", "CONS");
    json_array_foreach(rows, i, row) draw_service(top, row);
    if (json_array_size(tasks) > 0 && top_screen_left(&top->screen) > 2) {
        top_screen_line(&top->screen, NULL, "%s", "");
        top_screen_line(&top->screen, HEADING, "%-24s %7s  %-18s %-11s %3s  %s", "RUNNING", "SINCE",
                        "PROGRESS", "STATE", "ATT", "TASK, CONSUMER");
        json_array_foreach(tasks, i, row) draw_task(top, row);
    }
    top_screen_end(&top->screen);
}

/* -- asking -- */

static void end(struct top *top) {
    event_base_loopbreak(client_base(top->cli->client));
}

/* Both have been answered, or have failed. */
static void on_round(struct top *top) {
    struct timeval pause = {top->interval_ms / 1000, top->interval_ms % 1000 * 1000};
    if (top->once) {
        top->quit = true;
        end(top);
        return;
    }
    draw(top);
    if (!top->problem[0])
        remember(top);
    event_add(top->next, &pause);
}

/* A wrong token stays wrong; an API that is away may come back. */
static bool is_hopeless(const struct top *top, enum rc rc) {
    return rc != RC_OK && (top->once || !client_may_recover(top->cli->client, rc));
}

static void on_answer(enum rc rc, struct answer *answer, const struct error *err, void *arg) {
    struct question *question = arg;
    struct top *top = question->top;
    question->call = NULL;
    if (rc == RC_OK) {
        answer_finish(&question->answer);
        question->answer = *answer;
        *answer = (struct answer){0};
    } else {
        snprintf(top->problem, sizeof top->problem, "%s (%s)", err->text, rc_info(rc)->word);
    }
    if (is_hopeless(top, rc)) {
        top->rc = rc;
        snprintf(top->problem, sizeof top->problem, "%s", err->text);
        end(top);
    } else if (!top->services.call && !top->tasks.call) {
        on_round(top);
    }
}

static void ask(struct question *question, const char *path, const char *text) {
    LH_CLEANUP_BUF struct buf body;
    struct top *top = question->top;
    buf_init(&body, 1024);
    buf_str(&body, text);
    if (buf_rc(&body) == RC_OK)
        question->call = client_start(top->cli->client, path, &body, on_answer, question);
    if (question->call)
        return;
    top->rc = RC_NO_MEMORY;
    snprintf(top->problem, sizeof top->problem, "out of memory");
    end(top);
}

static void ask_both(struct top *top) {
    if (top->services.call || top->tasks.call)
        return;
    char text[300];
    snprintf(text, sizeof text,
             "{\"status\":\"running\",\"p_size\":%d,\"fields\":[\"task_id\",\"service\","
             "\"sub_status\",\"start_time\",\"attempt\",\"progress\",\"worker\"]}",
             TASKS);
    top->problem[0] = '\0';
    top->shown_ms = clock_mono_ms();
    ask(&top->services, "/api/service_task", "{\"data\":{\"detail\":true}}");
    ask(&top->tasks, "/api/tasks", text);
}

/* -- events -- */

static void on_next(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    ask_both(arg);
}

static void on_key(evutil_socket_t fd, short what, void *arg) {
    (void)what;
    struct top *top = arg;
    char keys[64];
    ssize_t n = read(fd, keys, sizeof keys);
    for (ssize_t i = 0; i < n; i++) {
        top->quit |= keys[i] == 'q' || keys[i] == 'Q' || keys[i] == 4;
        if (keys[i] == ' ' || keys[i] == 'r')
            ask_both(top);
    }
    top->quit |= n == 0; /* the terminal is gone */
    if (top->quit)
        end(top);
}

static void on_resize(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    draw(arg);
}

/* Ctrl-Z: the shell gets its terminal as it was, and we ours when it lets us go on. */
static void on_stop(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct top *top = arg;
    top_screen_leave(&top->screen);
    top->screen = (struct top_screen){.columns = 0};
    raise(SIGSTOP);
    top->rc = top_screen_enter(&top->screen, NULL);
    if (top->rc == RC_OK)
        draw(top);
    else
        end(top);
}

static enum rc watch(struct top *top, struct event *event, struct error *err) {
    top->events[top->n_events++] = event;
    if (event && event_add(event, NULL) == 0)
        return RC_OK;
    return error_set(err, RC_NO_MEMORY, "out of memory");
}

static enum rc watch_terminal(struct top *top, struct error *err) {
    struct event_base *base = client_base(top->cli->client);
    enum rc rc = watch(top, event_new(base, STDIN_FILENO, EV_READ | EV_PERSIST, on_key, top), err);
    if (rc == RC_OK)
        rc = watch(top, evsignal_new(base, SIGWINCH, on_resize, top), err);
    if (rc == RC_OK)
        rc = watch(top, evsignal_new(base, SIGTSTP, on_stop, top), err);
    return rc;
}

/* -- once, for pipes -- */

static void print_once(const struct top *top) {
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

/* -- the whole -- */

static enum rc begin(struct top *top, struct error *err) {
    top->services.top = top->tasks.top = top;
    top->next = evtimer_new(client_base(top->cli->client), on_next, top);
    if (!top->next)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    enum rc rc = cli_duration(top->cli, OPTION_INTERVAL, &top->interval_ms, err);
    if (rc == RC_OK && top->interval_ms < INTERVAL_MIN_MS)
        return error_set(err, RC_USAGE, "--interval: expected at least %.1f seconds",
                         INTERVAL_MIN_MS / 1000.0);
    if (rc != RC_OK || top->once)
        return rc;
    rc = top_screen_enter(&top->screen, err);
    return rc == RC_OK ? watch_terminal(top, err) : rc;
}

static void finish(struct top *top) {
    top_screen_leave(&top->screen);
    client_cancel(top->services.call);
    client_cancel(top->tasks.call);
    answer_finish(&top->services.answer);
    answer_finish(&top->tasks.answer);
    for (size_t i = 0; i < top->n_events; i++)
        if (top->events[i])
            event_free(top->events[i]);
    if (top->next)
        event_free(top->next);
    forget_before(top);
}

enum rc verb_top(const struct cli *cli, struct error *err) {
    struct top top = {.cli = cli, .interval_ms = INTERVAL_MS, .once = cli->value[OPTION_ONCE]};
    enum rc rc = begin(&top, err);
    if (rc == RC_OK)
        ask_both(&top);
    while (rc == RC_OK && top.rc == RC_OK && !top.quit && !interrupt_seen())
        event_base_dispatch(client_base(cli->client));
    if (rc == RC_OK && top.rc != RC_OK)
        rc = error_set(err, top.rc, "%s", top.problem);
    if (rc == RC_OK && top.once && top.quit)
        print_once(&top);
    finish(&top);
    if (rc == RC_OK && interrupt_seen()) /* a signal is one way to leave it */
        rc = error_set(err, RC_INTERRUPTED, "interrupted");
    return rc;
}
