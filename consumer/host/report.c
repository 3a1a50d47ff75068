/* report.c: the functions behind longhaul.h. */
#include "consumer/host/report.h"

#include "base/json.h"
#include "base/write_all.h"

#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static atomic_bool term_seen;

static const char *const class_names[] = {
    [LONGHAUL_RETRYABLE] = "retryable", [LONGHAUL_FATAL] = "fatal"};

static void on_term(int signal) {
    (void)signal;
    term_seen = true;
}

void report_catch_term(void) {
    struct sigaction action = {.sa_handler = on_term};
    term_seen = false;
    sigaction(SIGTERM, &action, NULL);
}

bool report_release_term(void) {
    signal(SIGTERM, SIG_DFL);
    return term_seen;
}

static void begin_line(const struct report *report, struct buf *to, const char *member) {
    buf_init(to, SIZE_MAX / 2);
    buf_str(to, "{\"task_id\":");
    buf_json_str(to, report->task_id);
    buf_printf(to, ",\"%s\":", member);
}

/* Closes the line and writes it at once. */
static bool send_line(const struct report *report, struct buf *line) {
    buf_str(line, "}\n");
    return buf_rc(line) == RC_OK && write_all(report->fd, line->data, line->len);
}

static int take_progress(struct longhaul_run *run, double done, double total, const char *text) {
    struct report *report = (struct report *)run;
    if (!isfinite(done) || !isfinite(total) || done < 0 || total < 0)
        return -1;
    LH_CLEANUP_BUF struct buf line;
    begin_line(report, &line, "progress");
    buf_printf(&line, "{\"done\":%.17g,\"total\":%.17g", done, total);
    if (text) {
        buf_str(&line, ",\"text\":");
        buf_json_str(&line, text);
    }
    buf_char(&line, '}');
    pthread_mutex_lock(&report->lock);
    bool sent = send_line(report, &line);
    pthread_mutex_unlock(&report->lock);
    return sent ? 0 : -1;
}

static void keep_error(struct report *report, int error_class, const char *text) {
    buf_clear(&report->error);
    buf_str(&report->error, text);
    report->error_class = error_class;
    report->has_error = true;
}

/* Appends the JSON value in `text` without its white space. */
static enum rc carry(const char *text, struct buf *to, struct error *err) {
    LH_JSON root = NULL;
    struct json_span span = {text, strlen(text)};
    enum rc rc = json_read(span, &root, err);
    return rc == RC_OK ? json_carry(span, to, err) : rc;
}

static int take_result(struct longhaul_run *run, const char *json) {
    struct report *report = (struct report *)run;
    struct error err;
    pthread_mutex_lock(&report->lock);
    buf_clear(&report->result);
    enum rc rc = carry(json ? json : "", &report->result, &err);
    report->has_result = rc == RC_OK;
    if (rc != RC_OK) {
        char text[sizeof err.text + 32];
        snprintf(text, sizeof text, "longhaul_result: %s",
                 err.text + (strncmp(err.text, "body: ", 6) == 0 ? 6 : 0));
        keep_error(report, LONGHAUL_FATAL, text);
    }
    pthread_mutex_unlock(&report->lock);
    return rc == RC_OK ? 0 : -1;
}

static int take_error(struct longhaul_run *run, int error_class, const char *text) {
    struct report *report = (struct report *)run;
    pthread_mutex_lock(&report->lock);
    keep_error(report, error_class == LONGHAUL_FATAL ? LONGHAUL_FATAL : LONGHAUL_RETRYABLE,
               text ? text : "");
    pthread_mutex_unlock(&report->lock);
    return 0;
}

static int is_cancelled(const struct longhaul_run *run) {
    (void)run;
    return term_seen;
}

void report_init(struct report *report, int fd, const char *task_id) {
    *report = (struct report){.run = {.size = sizeof report->run,
                                      .progress = take_progress,
                                      .result = take_result,
                                      .error = take_error,
                                      .cancelled = is_cancelled},
                              .fd = fd,
                              .task_id = task_id};
    pthread_mutex_init(&report->lock, NULL);
    buf_init(&report->result, SIZE_MAX / 2);
    buf_init(&report->error, SIZE_MAX / 2);
}

void report_finish(struct report *report) {
    buf_finish(&report->result);
    buf_finish(&report->error);
    pthread_mutex_destroy(&report->lock);
}

static void put_error(const struct report *report, struct buf *line) {
    begin_line(report, line, "error");
    buf_printf(line, "{\"class\":\"%s\",\"text\":", class_names[report->error_class]);
    buf_json_str(line, report->error.data);
    buf_char(line, '}');
}

static void put_result(const struct report *report, struct buf *line) {
    begin_line(report, line, "result");
    if (report->has_result)
        buf_append(line, report->result.data, report->result.len);
    else
        buf_str(line, "null");
}

bool report_end(struct report *report, int status) {
    LH_CLEANUP_BUF struct buf line;
    fflush(NULL);
    pthread_mutex_lock(&report->lock);
    if (status != 0 && !report->has_error) {
        char text[64];
        snprintf(text, sizeof text, "longhaul_run returned %d%s", status,
                 status == EX_TEMPFAIL ? " (retryable)" : "");
        keep_error(report, LONGHAUL_RETRYABLE, text);
    }
    if (report->has_error)
        put_error(report, &line);
    else
        put_result(report, &line);
    bool sent = send_line(report, &line);
    pthread_mutex_unlock(&report->lock);
    return sent;
}
