/* reporter.c: final reports, repeated until they are settled. */
#include "consumer/report/reporter.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "consumer/backoff.h"
#include "consumer/report/spool.h"

#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

enum {
    MESSAGE_MAX_BYTES = 4096,
    CALL_TIMEOUT_MS = 30000,
    REPORTS_MAX = 500,    /* in a call */
    KEEP_MS = 1000,       /* without an answer: the report is written to disk */
    LOOK_MS = 5000,       /* between two looks for what others have left */
    FORBIDDEN_MS = 30000, /* between two tries of a report that the token may not make */
};
#define BODY_MAX_BYTES ((size_t)1 << 30)

enum stage {
    RESTING, /* until its next try */
    READY,   /* for the next call */
    OUT,     /* in the call that is out */
};

struct report {
    LIST_ENTRY(report) entry;
    TAILQ_ENTRY(report) turn; /* READY, OUT */
    struct reporter *reporter;
    enum stage stage;
    char task_id[TASK_TEXT_CAP];
    char run_id[UUID_CAP];
    char traceparent[TRACEPARENT_CAP]; /* of the run, for log lines; "": none, or not known */
    bool finished;                     /* says `finished`, else `failed` or `waiting` */
    bool alone;                        /* the API did not take a call that it was in with others */
    struct buf body;                   /* of a call that it is alone in */
    bool forbidden;                    /* the last try found that the token may not make it */
    bool kept;                         /* is on disk */
    struct event *again;               /* RESTING: the next try; else the time to keep it */
    struct backoff backoff;
};

TAILQ_HEAD(turns, report);

struct reporter {
    struct reporter_options options;
    struct spool *spool; /* NULL: memory only */
    struct event *look;
    bool disk_failed; /* said already */
    size_t n_pending, n_kept;
    LIST_HEAD(, report) reports;
    struct turns ready;
    struct event *next;    /* the next call goes out when the loop has served what it woke for */
    struct api_call *call; /* one at a time: what ends meanwhile goes out together */
    struct turns out;      /* its reports, in its order */
    size_t n_out;
    bool listed; /* they are in an array, and so is what the answer says of them */
};

/* How a call ended for one report of it. */
struct report_outcome {
    enum rc rc;
    const char *text;
};

/* What an outcome means for a report. */
enum verdict {
    AGAIN,    /* nothing is known: repeat */
    TAKEN,    /* it stands in the store */
    TOO_LATE, /* the task has gone on without this run */
    REFUSED,  /* the API does not take what it says */
    NOT_OURS, /* the token may not make it */
};

static enum verdict judge(enum rc rc) {
    switch (rc) {
    case RC_OK:
        return TAKEN;
    case RC_ALREADY_FINAL:
    case RC_STALE_RUN:
    case RC_UNKNOWN_TASK:
    case RC_TASK_REMOVED:
    case RC_ALREADY_CLAIMED:
    case RC_NOT_DUE:
        return TOO_LATE;
    case RC_INVALID_PARAMETER:
    case RC_SERVICE_NOT_SUPPORT:
    case RC_TOO_LARGE:
        return REFUSED;
    case RC_FORBIDDEN:
        return NOT_OURS;
    default:
        return AGAIN;
    }
}

/* The longest beginning of `text` that has at most MESSAGE_MAX_BYTES and ends with a whole
 * character. */
static size_t message_len(const char *text) {
    size_t len = strlen(text);
    if (len <= MESSAGE_MAX_BYTES)
        return len;
    size_t cut = MESSAGE_MAX_BYTES;
    while (cut > MESSAGE_MAX_BYTES - 4 && utf8_char(text + cut, len - cut) == 0)
        cut--;
    return cut;
}

/* `error` is what a failure is of that says nothing more. */
static const char *const cause_names[] = {
    [CAUSE_ERROR] = NULL,
    [CAUSE_TIMEOUT] = "timeout",
    [CAUSE_LIMIT] = "limit",
    [CAUSE_CANCELLED] = "cancelled",
};

/* A run that the loss of its lease has killed counts as what the API would have made of it. */
static const char crashed[] = "\"waiting\",\"cause\":\"crash\"";

static void put_failure(struct buf *body, const struct run_end *end) {
    const char *text = end->error_text ? end->error_text : "";
    const char *error_class = task_error_class_name(end->error_class);
    size_t len = message_len(text);
    buf_str(body, "\"failed\"");
    if (cause_names[end->cause])
        buf_printf(body, ",\"cause\":\"%s\"", cause_names[end->cause]);
    buf_str(body, ",\"message\":");
    buf_json(body, text, len);
    buf_str(body, ",\"error\":{\"class\":");
    buf_json_str(body, error_class ? error_class : task_error_class_name(ERROR_FATAL));
    buf_str(body, ",\"text\":");
    buf_json(body, text, len);
    buf_char(body, '}');
}

/* What `end` says; NULL: the task is handed back. */
static void put_end(struct buf *body, const struct run_end *end) {
    if (!end) {
        buf_str(body, "\"waiting\"");
    } else if (!end->finished && end->cause == CAUSE_CRASH) {
        buf_str(body, crashed);
    } else if (!end->finished) {
        put_failure(body, end);
    } else {
        buf_str(body, "\"finished\"");
        if (end->result) {
            buf_str(body, ",\"result\":");
            buf_append(body, end->result, end->result_len);
        }
    }
}

static enum rc build_body(struct report *report, const struct run_end *end) {
    struct buf *body = &report->body;
    report->finished = end && end->finished;
    buf_clear(body);
    buf_str(body, "{\"data\":{\"task_id\":");
    buf_json_str(body, report->task_id);
    buf_str(body, ",\"run_id\":");
    buf_json_str(body, report->run_id);
    buf_str(body, ",\"status\":");
    put_end(body, end);
    buf_str(body, end && end->silent ? ",\"silent\":true}}" : "}}");
    return buf_rc(body);
}

static void report_destroy(struct report *report) {
    if (!report)
        return;
    if (report->again)
        event_free(report->again);
    buf_finish(&report->body);
    free(report);
}

static void report_settle(struct report *report) {
    struct reporter *reporter = report->reporter;
    LIST_REMOVE(report, entry);
    reporter->n_pending--;
    if (report->kept) {
        reporter->n_kept--;
        spool_remove(reporter->spool, report->run_id);
    }
    report_destroy(report);
    reporter->options.settled(reporter->options.arg);
}

/* Writes the report to disk unless it is there. A disk that cannot take it is tried again with the
 * next occasion. */
static void report_keep(struct report *report) {
    struct reporter *reporter = report->reporter;
    struct error err;
    if (report->kept || !reporter->spool)
        return;
    struct json_span body = {report->body.data, report->body.len};
    enum rc rc = spool_put(reporter->spool, report->run_id, body, &err);
    if (rc == RC_OK) {
        report->kept = true;
        reporter->n_kept++;
    } else if (!reporter->disk_failed) {
        log_error(.msg = "reports are kept in memory only", .task_id = report->task_id,
                  .run_id = report->run_id, .traceparent = report->traceparent, .error = err.text);
    }
    reporter->disk_failed = rc != RC_OK;
}

/* For the next call. Those that come while the loop is at work go out together. */
static void report_ready(struct report *report) {
    static const struct timeval keep = {KEEP_MS / 1000, KEEP_MS % 1000 * 1000};
    struct reporter *reporter = report->reporter;
    report->stage = READY;
    TAILQ_INSERT_TAIL(&reporter->ready, report, turn);
    if (!report->kept)
        event_add(report->again, &keep);
    if (!reporter->call)
        event_active(reporter->next, EV_TIMEOUT, 0);
}

static void report_rest(struct report *report) {
    static const struct timeval forbidden = {FORBIDDEN_MS / 1000, 0};
    struct timeval wait = report->forbidden ? forbidden : backoff_next(&report->backoff);
    report->stage = RESTING;
    report_keep(report);
    event_add(report->again, &wait);
    report->reporter->options.settled(report->reporter->options.arg);
}

static void on_again(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct report *report = arg;
    if (report->stage == RESTING) {
        report_ready(report);
        return;
    }
    report_keep(report);
    report->reporter->options.settled(report->reporter->options.arg);
}

/* The API does not take the report. A result becomes a failure that says why; anything else that is
 * refused is given up. */
static void report_refused(struct report *report, const struct report_outcome *outcome) {
    log_error(.msg = "report refused", .task_id = report->task_id, .run_id = report->run_id,
              .traceparent = report->traceparent, .code = rc_info(outcome->rc)->word,
              .error = outcome->text);
    char text[576];
    snprintf(text, sizeof text, "the result was refused: %.512s", outcome->text);
    struct run_end failure = {.error_class = ERROR_FATAL, .error_text = text};
    if (report->finished && build_body(report, &failure) == RC_OK)
        report_ready(report);
    else
        report_settle(report);
}

/* Another token has claimed the run, or this one has lost a right. As long as the run may end the
 * task, somebody may mend that; then the API answers STALE_RUN. */
static void report_forbidden(struct report *report, const struct report_outcome *outcome) {
    if (!report->forbidden)
        log_error(.msg = "the token may not report the end of the run: it is tried until the task "
                         "has gone on without it",
                  .task_id = report->task_id, .run_id = report->run_id,
                  .traceparent = report->traceparent, .code = rc_info(outcome->rc)->word,
                  .error = outcome->text);
    report->forbidden = true;
    report_rest(report);
}

static void report_answered(struct report *report, const struct report_outcome *outcome) {
    enum verdict verdict = judge(outcome->rc);
    event_del(report->again);
    if (verdict != NOT_OURS)
        report->forbidden = false;
    switch (verdict) {
    case TAKEN:
        report_settle(report);
        break;
    case TOO_LATE:
        log_warning(.msg = "report came too late", .task_id = report->task_id,
                    .run_id = report->run_id, .traceparent = report->traceparent,
                    .code = rc_info(outcome->rc)->word, .error = outcome->text);
        report_settle(report);
        break;
    case REFUSED:
        report_refused(report, outcome);
        break;
    case NOT_OURS:
        report_forbidden(report, outcome);
        break;
    case AGAIN:
        report_rest(report);
        break;
    }
}

/* --- calls --- */

/* An item of the answer to several reports. */
static struct report_outcome outcome_of_item(const json_t *item) {
    const char *code = json_string_value(json_object_get(item, "code"));
    const char *message = json_string_value(json_object_get(item, "message"));
    if (!json_is_object(item))
        return (struct report_outcome){RC_IO, "the answer does not tell"};
    if (!code)
        return (struct report_outcome){RC_OK, ""};
    return (struct report_outcome){rc_from_word(code), message ? message : code};
}

/* A call that is refused as a whole says nothing of its reports: each is tried by itself. */
static void call_refused(struct turns *reports) {
    struct report *report;
    while ((report = TAILQ_FIRST(reports))) {
        TAILQ_REMOVE(reports, report, turn);
        report->alone = true;
        report_ready(report);
    }
}

static void on_answer(const struct api_answer *answer, void *arg) {
    struct reporter *reporter = arg;
    const json_t *items = json_object_get(answer->answer, "status");
    struct turns reports = TAILQ_HEAD_INITIALIZER(reports);
    struct report *report;
    reporter->call = NULL;
    TAILQ_CONCAT(&reports, &reporter->out, turn);
    if (!TAILQ_EMPTY(&reporter->ready))
        event_active(reporter->next, EV_TIMEOUT, 0);
    if (reporter->listed && judge(answer->rc) == REFUSED)
        call_refused(&reports);
    for (size_t i = 0; (report = TAILQ_FIRST(&reports)); i++) {
        struct report_outcome outcome = {answer->rc, answer->text};
        TAILQ_REMOVE(&reports, report, turn);
        if (reporter->listed && answer->rc == RC_OK)
            outcome = outcome_of_item(json_array_get(items, i));
        report_answered(report, &outcome);
    }
}

/* What the report says in a call with others. */
static struct json_span report_item(const struct report *report) {
    struct json_span body = {report->body.data, report->body.len}, item;
    return json_span_member(body, "data", &item) ? item : (struct json_span){"null", 4};
}

/* Whether the report goes with those that are in the call already, which are so long. */
static bool goes_along(const struct reporter *reporter, const struct report *report, size_t len) {
    const struct report *first = TAILQ_FIRST(&reporter->out);
    return !first || (!report->alone && !first->alone && reporter->n_out < REPORTS_MAX &&
                      (int64_t)(len + report->body.len) <= reporter->options.body_max);
}

/* Moves those that are ready into the call, as many as it takes. */
static void choose(struct reporter *reporter) {
    struct report *report;
    size_t len = 0;
    reporter->n_out = 0;
    while ((report = TAILQ_FIRST(&reporter->ready)) && goes_along(reporter, report, len)) {
        TAILQ_REMOVE(&reporter->ready, report, turn);
        TAILQ_INSERT_TAIL(&reporter->out, report, turn);
        report->stage = OUT;
        reporter->n_out++;
        len += report->body.len;
    }
}

/* One alone goes as it is, and the API refuses the call with it. What it is bound to refuse goes as
 * an item: the API does its work. */
static bool goes_in_a_list(const struct reporter *reporter) {
    const struct report *first = TAILQ_FIRST(&reporter->out);
    return reporter->n_out > 1 || (first->forbidden && !first->alone);
}

/* The body of a call of several. */
static void put_reports(const struct reporter *reporter, struct buf *body) {
    const struct report *report;
    buf_str(body, "{\"data\":");
    TAILQ_FOREACH(report, &reporter->out, turn) {
        struct json_span item = report_item(report);
        buf_char(body, report == TAILQ_FIRST(&reporter->out) ? '[' : ',');
        buf_append(body, item.at, item.len);
    }
    buf_str(body, "]}");
}

/* It could not be sent: its reports are tried again later. */
static void call_failed(struct reporter *reporter) {
    struct report *report;
    while ((report = TAILQ_FIRST(&reporter->out))) {
        TAILQ_REMOVE(&reporter->out, report, turn);
        report_rest(report);
    }
}

static void on_next(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct reporter *reporter = arg;
    LH_CLEANUP_BUF struct buf body;
    if (reporter->call || TAILQ_EMPTY(&reporter->ready))
        return;
    buf_init(&body, BODY_MAX_BYTES);
    choose(reporter);
    reporter->listed = goes_in_a_list(reporter);
    if (reporter->listed)
        put_reports(reporter, &body);
    const struct buf *whole = reporter->listed ? &body : &TAILQ_FIRST(&reporter->out)->body;
    if (buf_rc(whole) == RC_OK)
        reporter->call = api_post(reporter->options.api, "/api/update_status_task", whole->data,
                                  whole->len, CALL_TIMEOUT_MS, on_answer, reporter);
    if (!reporter->call)
        call_failed(reporter);
}

/* --- a report --- */

static struct report *report_create(struct reporter *reporter, const char *task_id,
                                    const char *run_id) {
    struct report *report = calloc(1, sizeof *report);
    if (!report)
        return NULL;
    report->reporter = reporter;
    buf_init(&report->body, BODY_MAX_BYTES);
    report->again = event_new(reporter->options.base, -1, 0, on_again, report);
    if (report->again && mem_copy_str(report->task_id, sizeof report->task_id, task_id) &&
        mem_copy_str(report->run_id, sizeof report->run_id, run_id))
        return report;
    report_destroy(report);
    return NULL;
}

static void report_enter(struct report *report) {
    LIST_INSERT_HEAD(&report->reporter->reports, report, entry);
    report->reporter->n_pending++;
    report->reporter->n_kept += report->kept;
    report_ready(report);
}

static enum rc report_start(struct reporter *reporter, const char *task_id, const char *run_id,
                            const char *traceparent, const struct run_end *end) {
    struct report *report = report_create(reporter, task_id, run_id);
    if (!report || build_body(report, end) != RC_OK) {
        report_destroy(report);
        return RC_NO_MEMORY;
    }
    if (traceparent)
        mem_copy_str(report->traceparent, sizeof report->traceparent, traceparent);
    report_enter(report);
    return RC_OK;
}

enum rc reporter_send(struct reporter *reporter, const char *task_id, const char *run_id,
                      const struct run_end *end) {
    return report_start(reporter, task_id, run_id, end->traceparent, end);
}

enum rc reporter_hand_back(struct reporter *reporter, const char *task_id, const char *run_id,
                           const char *traceparent) {
    return report_start(reporter, task_id, run_id, traceparent, NULL);
}

void reporter_each(const struct reporter *reporter,
                   void (*each)(const char *task_id, const char *run_id, void *arg), void *arg) {
    const struct report *report;
    LIST_FOREACH(report, &reporter->reports, entry)
    if (!report->forbidden)
        each(report->task_id, report->run_id, arg);
}

void reporter_again(struct reporter *reporter) {
    struct report *report;
    LIST_FOREACH(report, &reporter->reports, entry)
    if (report->stage == RESTING)
        event_active(report->again, EV_TIMEOUT, 0);
}

size_t reporter_pending(const struct reporter *reporter) {
    return reporter->n_pending;
}

size_t reporter_loose(const struct reporter *reporter) {
    return reporter->n_pending - reporter->n_kept;
}

void reporter_keep(struct reporter *reporter) {
    struct report *report;
    if (reporter->look)
        event_del(reporter->look);
    LIST_FOREACH(report, &reporter->reports, entry)
    report_keep(report);
}

/* --- what others have left --- */

static bool report_adopt(const struct spool_report *found, void *arg) {
    struct report *report = report_create(arg, found->task_id, found->run_id);
    if (!report)
        return false;
    buf_append(&report->body, found->body.at, found->body.len);
    if (buf_rc(&report->body) != RC_OK) {
        report_destroy(report);
        return false;
    }
    report->finished = found->finished;
    report->kept = true;
    report_enter(report);
    return true;
}

static void on_look(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct reporter *reporter = arg;
    struct timeval wait = {LOOK_MS / 1000, LOOK_MS % 1000 * 1000};
    size_t n = spool_adopt(reporter->spool, report_adopt, reporter);
    if (n > 0)
        log_info(.msg = "kept reports taken over", .file = reporter->options.spool,
                 .count = (int64_t)n);
    event_add(reporter->look, &wait);
}

/* --- birth and death --- */

static enum rc open_spool(struct reporter *reporter, struct error *err) {
    if (!reporter->options.spool)
        return RC_OK;
    reporter->look = event_new(reporter->options.base, -1, 0, on_look, reporter);
    if (!reporter->look)
        return error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
    event_active(reporter->look, EV_TIMEOUT, 0);
    return spool_create(reporter->options.spool, &reporter->spool, err);
}

enum rc reporter_create(const struct reporter_options *options, struct reporter **ret,
                        struct error *err) {
    struct reporter *reporter = calloc(1, sizeof *reporter);
    if (!reporter)
        return error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
    reporter->options = *options;
    TAILQ_INIT(&reporter->ready);
    TAILQ_INIT(&reporter->out);
    reporter->next = event_new(options->base, -1, 0, on_next, reporter);
    enum rc rc = reporter->next ? open_spool(reporter, err)
                                : error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
    if (rc != RC_OK) {
        reporter_destroy(reporter);
        return rc;
    }
    *ret = reporter;
    return RC_OK;
}

void reporter_destroy(struct reporter *reporter) {
    if (!reporter)
        return;
    struct report *report;
    api_cancel(reporter->call);
    if (reporter->n_kept > 0)
        log_warning(.msg = "reports left on disk", .file = reporter->options.spool,
                    .count = (int64_t)reporter->n_kept);
    while ((report = LIST_FIRST(&reporter->reports))) {
        LIST_REMOVE(report, entry);
        report_destroy(report);
    }
    if (reporter->next)
        event_free(reporter->next);
    if (reporter->look)
        event_free(reporter->look);
    spool_destroy(reporter->spool);
    free(reporter);
}
