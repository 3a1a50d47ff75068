/* outcome.h: gathers what a module says while it runs, and judges at its end how the run went.
 *
 * The first rule that fits decides (docs/modules.md says the same to authors of modules):
 *
 *     a line on descriptor 3 that breaks the rules    failed, fatal, the text names the line
 *     an error line                                   failed, as it says; the last one counts
 *     killed by a signal, exit status other than 0    failed, retryable
 *     anything on descriptor 3                        finished; the last result line, or no result
 *     otherwise                                       finished; the last line of stdout that is
 * JSON, or no result
 *
 * Results are kept without white space, as JSON texts of at most result_max bytes. Loop thread
 * only.
 */
#ifndef LH_CONSUMER_OUTCOME_H
#define LH_CONSUMER_OUTCOME_H

#include "consumer/slot.h"

enum {
    OUTCOME_TEXT_CAP = 4096,
    OUTCOME_REPORT_SLACK = 4096, /* a report line may be so much longer than the result in it */
};

struct outcome {
    size_t result_max;
    int64_t n_reports; /* lines on descriptor 3, empty ones not counted */
    bool broken;       /* one of them breaks the rules: the run is to be killed */
    bool has_error;
    bool has_result;
    enum task_error_class error_class;
    char error[OUTCOME_TEXT_CAP];
    struct buf result;
    bool has_printed; /* stdout had a JSON line */
    struct buf printed;
    char printed_fault[128]; /* why the last JSON line of stdout cannot be a result; "": it can */
    char last_words[1024];   /* last line of stderr that is not blank */
    char text[OUTCOME_TEXT_CAP];
};

void outcome_init(struct outcome *outcome, size_t result_max);
void outcome_finish(struct outcome *outcome);

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
