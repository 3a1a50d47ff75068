/* verb_top.c: longhaul top: services and running tasks, live.
 *
 * Every --interval two questions go out at once, service_task and tasks; when both are answered the
 * screen is drawn. Keys, the window's size and signals are events of the same loop.
 */
#include "cli/top.h"

#include "base/clock.h"
#include "base/mem.h"
#include "cli/arguments.h"
#include "cli/interrupt.h"
#include "cli/terminal.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { INTERVAL_MS = 2000, INTERVAL_MIN_MS = 100, TASKS = 200 };

/* -- asking -- */

static void end(struct top *top) {
    event_base_loopbreak(client_base(top->cli->client));
}

/* Both have been answered, or have failed. */
static void on_round(struct top *top) {
    struct timeval pause = {top->interval_ms / 1000, top->interval_ms % 1000 * 1000};
    top_draw(top);
    if (!top->problem[0])
        top_remember(top);
    event_add(top->next, &pause);
}

/* A wrong token stays wrong; an API that is away may come back. */
static bool is_hopeless(const struct top *top, enum rc rc) {
    return rc != RC_OK && !client_may_recover(top->cli->client, rc);
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
    top_draw(arg);
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
        top_draw(top);
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

/* -- the whole -- */

static enum rc read_interval(struct top *top, struct error *err) {
    enum rc rc = cli_duration(top->cli, OPTION_INTERVAL, &top->interval_ms, err);
    if (rc == RC_OK && top->interval_ms < INTERVAL_MIN_MS)
        rc = error_set(err, RC_USAGE, "--interval: expected at least %.1f seconds",
                       INTERVAL_MIN_MS / 1000.0);
    return rc;
}

static enum rc begin(struct top *top, struct error *err) {
    top->services.top = top->tasks.top = top;
    top->next = evtimer_new(client_base(top->cli->client), on_next, top);
    if (!top->next)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    enum rc rc = top_screen_enter(&top->screen, err);
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
    top_forget(top);
}

/* Only what is printed is asked for, and that again where it fails for now, as every verb does. */
static enum rc print_once(struct top *top, struct error *err) {
    LH_CLEANUP_BUF struct buf body;
    buf_init(&body, 64);
    buf_str(&body, "{\"data\":{\"detail\":true}}");
    enum rc rc =
        client_ask(top->cli->client, "/api/service_task", &body, &top->services.answer, err);
    if (rc == RC_OK)
        top_print(top);
    answer_finish(&top->services.answer);
    return rc;
}

enum rc verb_top(const struct cli *cli, struct error *err) {
    struct top top = {.cli = cli, .interval_ms = INTERVAL_MS};
    enum rc rc = read_interval(&top, err);
    if (rc == RC_OK && cli->value[OPTION_ONCE])
        return print_once(&top, err);
    if (rc == RC_OK)
        rc = begin(&top, err);
    if (rc == RC_OK)
        ask_both(&top);
    while (rc == RC_OK && top.rc == RC_OK && !top.quit && !interrupt_seen())
        event_base_dispatch(client_base(cli->client));
    if (rc == RC_OK && top.rc != RC_OK)
        rc = error_set(err, top.rc, "%s", top.problem);
    finish(&top);
    if (rc == RC_OK && interrupt_seen()) /* a signal is one way to leave it */
        rc = error_set(err, RC_INTERRUPTED, "interrupted");
    return rc;
}
