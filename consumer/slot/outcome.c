/* outcome.c: report lines, the last JSON line of stdout, and the verdict. */
#include "consumer/slot/outcome.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "task/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>

void outcome_init(struct outcome *outcome, size_t result_max) {
    *outcome = (struct outcome){.result_max = result_max};
    buf_init(&outcome->result, result_max);
    buf_init(&outcome->printed, result_max);
    buf_init(&outcome->progress, PROGRESS_MAX_BYTES);
}

void outcome_expect(struct outcome *outcome, const char *task_id) {
    outcome->task_id = task_id;
}

void outcome_decide(struct outcome *outcome, enum run_cause cause, const char *format, ...) {
    if (outcome->decided)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(outcome->decision, sizeof outcome->decision, format, args);
    va_end(args);
    outcome->decided = true;
    outcome->cause = cause;
}

void outcome_finish(struct outcome *outcome) {
    buf_finish(&outcome->result);
    buf_finish(&outcome->printed);
    buf_finish(&outcome->progress);
}

void outcome_clean(char *to, size_t cap, const char *bytes, size_t len) {
    static const char unknown[] = "\xef\xbf\xbd";
    size_t n = 0;
    for (size_t i = 0; i < len;) {
        unsigned char c = (unsigned char)bytes[i];
        size_t width = c < 0x80 ? 1 : utf8_char(bytes + i, len - i);
        const char *from = c < ' ' || c == 0x7f ? " " : width ? bytes + i : unknown;
        size_t put = width ? width : sizeof unknown - 1;
        if (n + put >= cap)
            break;
        memcpy(to + n, from, put);
        n += put;
        i += width ? width : 1;
    }
    while (n > 0 && to[n - 1] == ' ')
        n--;
    to[n] = '\0';
}

/* The run breaks the rules of descriptor 3 (CAUSE_ERROR) or is over what they allow (CAUSE_LIMIT);
 * what is said first stays. */
static void LH_PRINTF(3, 4)
    broken(struct outcome *outcome, enum run_cause cause, const char *format, ...) {
    if (outcome->broken)
        return;
    char why[768], text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    int n = snprintf(text, sizeof text, "line %lld on descriptor 3: %s",
                     (long long)outcome->n_reports, why);
    outcome_clean(outcome->error, sizeof outcome->error, text, (size_t)n);
    outcome->broken = true;
    outcome->cause = cause;
    outcome->error_class = ERROR_FATAL;
}

static void take_error(struct outcome *outcome, const json_t *error) {
    const json_t *text = json_object_get(error, "text"), *word = json_object_get(error, "class");
    enum task_error_class error_class = ERROR_RETRYABLE;
    if (!json_is_object(error) || !json_is_string(text)) {
        broken(outcome, CAUSE_ERROR, "error must be an object with a string \"text\"");
    } else if (word && (!json_is_string(word) ||
                        !task_error_class_from_name(json_string_value(word), &error_class))) {
        broken(outcome, CAUSE_ERROR, "error.class must be \"retryable\" or \"fatal\"");
    } else {
        outcome_clean(outcome->error, sizeof outcome->error, json_string_value(text),
                      json_string_length(text));
        outcome->error_class = error_class;
        outcome->has_error = true;
    }
}

static void take_result(struct outcome *outcome, struct json_span value) {
    struct error err;
    buf_clear(&outcome->result);
    enum rc rc = json_carry(value, &outcome->result, &err);
    outcome->has_result = rc == RC_OK;
    if (rc == RC_TOO_LARGE)
        broken(outcome, CAUSE_LIMIT, "the result is larger than limits.result_kb (%zu KiB)",
               outcome->result_max / 1024);
    else if (rc != RC_OK)
        broken(outcome, CAUSE_ERROR, "result: %s", err.text);
}

/* One that is not as it should be is left out, and ends no run of days. */
static void take_progress(struct outcome *outcome, const json_t *value, struct json_span text) {
    struct error err;
    struct buf newest;
    buf_init(&newest, PROGRESS_MAX_BYTES);
    if (progress_valid(value) && json_carry(text, &newest, &err) == RC_OK) {
        buf_finish(&outcome->progress);
        outcome->progress = newest;
        return;
    }
    buf_finish(&newest);
    outcome->odd_progress = true;
}

static bool names_task(const struct outcome *outcome, const json_t *root) {
    const json_t *id = json_object_get(root, "task_id");
    return !outcome->task_id ||
           (json_is_string(id) && strcmp(json_string_value(id), outcome->task_id) == 0);
}

/* One line that is JSON. */
static void take_line(struct outcome *outcome, struct json_span text, const json_t *root) {
    const json_t *error = json_object_get(root, "error");
    struct json_span result, progress;
    if (!names_task(outcome, root)) {
        broken(outcome, CAUSE_ERROR, "its \"task_id\" is not that of the task");
        return;
    }
    if (error)
        take_error(outcome, error);
    if (json_is_object(root) && json_span_member(text, "progress", &progress))
        take_progress(outcome, json_object_get(root, "progress"), progress);
    if (json_is_object(root) && json_span_member(text, "result", &result))
        take_result(outcome, result);
    else if (!error && !json_object_get(root, "progress"))
        broken(outcome, CAUSE_ERROR, "not an object with \"progress\", \"result\" or \"error\"");
    outcome->ended =
        outcome->task_id && !outcome->broken && (outcome->has_error || outcome->has_result);
}

void outcome_report(struct outcome *outcome, const char *line, size_t len, bool cut) {
    if (outcome->broken || (!cut && last_words_blank(line, len)))
        return;
    outcome->n_reports++;
    if (cut) {
        broken(outcome, CAUSE_LIMIT, "longer than a result may be, limits.result_kb (%zu KiB)",
               outcome->result_max / 1024);
        return;
    }
    struct error err;
    struct json_span text = {line, len};
    LH_JSON root = NULL;
    if (json_read(text, &root, &err) != RC_OK)
        broken(outcome, CAUSE_ERROR, "%s",
               err.text + (strncmp(err.text, "body: ", 6) == 0 ? 6 : 0));
    else
        take_line(outcome, text, root);
}

/* Cheap: could the text be JSON at all? */
static bool looks_like_json(const char *line, size_t len, bool cut) {
    while (len > 0 && strchr(" \t\r", line[len - 1]) && line[len - 1])
        len--;
    size_t at = 0;
    while (at < len && (line[at] == ' ' || line[at] == '\t'))
        at++;
    if (at == len || !line[at])
        return false;
    if (cut)
        return strchr("{[\"", line[at]);
    return strchr("{[\"-0123456789tfn", line[at]) && line[len - 1] &&
           strchr("}]\"0123456789el", line[len - 1]);
}

void outcome_stdout(struct outcome *outcome, const char *line, size_t len, bool cut) {
    if (outcome->task_id || outcome->n_reports > 0 || !looks_like_json(line, len, cut))
        return;
    struct error err;
    LH_JSON root = NULL;
    if (!cut && json_read((struct json_span){line, len}, &root, &err) != RC_OK)
        return;
    outcome->has_printed = true;
    outcome->printed_fault[0] = '\0';
    buf_clear(&outcome->printed);
    enum rc rc =
        cut ? RC_TOO_LARGE : json_carry((struct json_span){line, len}, &outcome->printed, &err);
    outcome->printed_cause = rc == RC_TOO_LARGE ? CAUSE_LIMIT : CAUSE_ERROR;
    if (rc == RC_TOO_LARGE)
        snprintf(outcome->printed_fault, sizeof outcome->printed_fault,
                 "larger than limits.result_kb (%zu KiB)", outcome->result_max / 1024);
    else if (rc != RC_OK)
        outcome_clean(outcome->printed_fault, sizeof outcome->printed_fault, err.text,
                      strlen(err.text));
}

void outcome_stderr(struct outcome *outcome, const char *line, size_t len) {
    bool why = last_words_say_why(&outcome->stack_trace, line, len);
    if (why || (!*outcome->last_words && !last_words_blank(line, len)))
        outcome_clean(outcome->last_words, sizeof outcome->last_words, line, len);
}

static struct run_end failed(enum run_cause cause, enum task_error_class error_class,
                             const char *text) {
    return (struct run_end){.cause = cause, .error_class = error_class, .error_text = text};
}

/* Says in outcome->text what the main process died of. */
static void describe_death(struct outcome *outcome, int wait_status) {
    size_t cap = sizeof outcome->text;
    int n;
    if (WIFSIGNALED(wait_status)) {
        const char *name = sigabbrev_np(WTERMSIG(wait_status));
        n = snprintf(outcome->text, cap, "killed by signal %d (SIG%s)", WTERMSIG(wait_status),
                     name ? name : "?");
    } else {
        n = snprintf(outcome->text, cap, "exit status %d%s", WEXITSTATUS(wait_status),
                     WEXITSTATUS(wait_status) == EX_TEMPFAIL ? " (retryable)"
                     : wait_status == 0                      ? " without a result"
                                                             : "");
    }
    if (*outcome->last_words)
        snprintf(outcome->text + n, cap - (size_t)n, ": %s", outcome->last_words);
}

static void succeed(struct outcome *outcome, struct run_end *ret) {
    const struct buf *result = NULL;
    if (outcome->n_reports > 0)
        result = outcome->has_result ? &outcome->result : NULL;
    else if (outcome->has_printed)
        result = &outcome->printed;
    *ret = (struct run_end){.finished = true,
                            .result = result ? result->data : NULL,
                            .result_len = result ? result->len : 0};
}

void outcome_judge(struct outcome *outcome, int wait_status, struct run_end *ret) {
    if (outcome->decided) {
        *ret = failed(outcome->cause, ERROR_RETRYABLE, outcome->decision);
    } else if (outcome->broken || outcome->has_error) {
        *ret = failed(outcome->broken ? outcome->cause : CAUSE_ERROR, outcome->error_class,
                      outcome->error);
    } else if (outcome->ended) {
        succeed(outcome, ret);
    } else if (wait_status != 0 || outcome->task_id) {
        describe_death(outcome, wait_status);
        *ret = failed(CAUSE_ERROR, ERROR_RETRYABLE, outcome->text);
    } else if (outcome->n_reports == 0 && *outcome->printed_fault) {
        snprintf(outcome->text, sizeof outcome->text,
                 "the last JSON line of stdout is no result: %s", outcome->printed_fault);
        *ret = failed(outcome->printed_cause, ERROR_FATAL, outcome->text);
    } else {
        succeed(outcome, ret);
    }
}
