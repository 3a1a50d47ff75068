/* outcome.h: gathers what a module says while it runs, and judges at its end how the run went.
 *
 * The first rule that fits decides (docs/modules.md says the same to authors of modules):
 *
 *     we ended the run                                failed, as outcome_decide() says
 *     a line on descriptor 3 that breaks the rules    failed, fatal, the text names the line
 *     an error line                                   failed, as it says; the last one counts
 *     a process that stays gave its result            finished
 *     killed by a signal, exit status other than 0    failed, retryable
 *     a process that stays ended without a result     failed, retryable
 *     anything on descriptor 3                        finished; the last result line, or no result
 *     otherwise                                       finished; the last line of stdout that is
 * JSON, or no result
 *
 * Results are kept without white space, as JSON texts of at most result_max bytes. Loop thread
 * only.
 */
#ifndef LH_CONSUMER_OUTCOME_H
#define LH_CONSUMER_OUTCOME_H

#include "consumer/slot/last_words.h"
#include "consumer/slot/slot.h"

enum {
    OUTCOME_TEXT_CAP = 4096,
    OUTCOME_REPORT_SLACK = 4096, /* a report line may be so much longer than the result in it */
};

struct outcome {
    size_t result_max;
    const char *task_id;  /* of a process that stays: its report lines must name it; else NULL */
    bool ended;           /* it has: its result or error line has come */
    bool decided;         /* by us: what the module says does not count any more */
    enum run_cause cause; /* of that, or of what is broken */
    char decision[512];
    int64_t n_reports; /* lines on descriptor 3, empty ones not counted */
    bool broken;       /* one of them breaks the rules: the run is to be killed */
    bool has_error;
    bool has_result;
    enum task_error_class error_class;
    char error[OUTCOME_TEXT_CAP];
    struct buf result;
    struct buf progress; /* the newest that is valid, JSON text */
    bool odd_progress;   /* there was one that is not */
    bool has_printed;    /* stdout had a JSON line */
    struct buf printed;
    enum run_cause printed_cause;
    char printed_fault[128]; /* why the last JSON line of stdout cannot be a result; "": it can */
    char last_words[1024];   /* last line of stderr that says why; without one, its first */
    enum stack_trace stack_trace;
    char text[OUTCOME_TEXT_CAP];
};

void outcome_init(struct outcome *outcome, size_t result_max);
void outcome_finish(struct outcome *outcome);

/* The run fails for a reason of ours, whatever it says; the first reason stands. */
void LH_PRINTF(3, 4)
    outcome_decide(struct outcome *outcome, enum run_cause cause, const char *format, ...);

/* The module's process stays: each report line names the task that is being worked on (borrowed),
 * a result or an error is its last one, and stdout is log alone. */
void outcome_expect(struct outcome *outcome, const char *task_id);

/* One line of a stream; `cut`: only its beginning is here. */
void outcome_report(struct outcome *outcome, const char *line, size_t len, bool cut);
void outcome_stdout(struct outcome *outcome, const char *line, size_t len, bool cut);
void outcome_stderr(struct outcome *outcome, const char *line, size_t len);

/* How the run ended, from the status of its main process as waitpid() gives it. The texts point
 * into *outcome. */
void outcome_judge(struct outcome *outcome, int wait_status, struct run_end *ret);

/* Copies bytes as one line of valid UTF-8: what is no UTF-8 becomes U+FFFD, control characters
 * become spaces, what does not fit is left out at a character's boundary. */
void outcome_clean(char *to, size_t cap, const char *bytes, size_t len);

#endif
