/* fuzz_report.c: any bytes as what a module says, on descriptor 3 and on stdout: the verdict is
 * whole, and a result is JSON of the size that is allowed. The first byte chooses: bit 0, a process
 * that stays; bit 1, it exits with status 1. */
#include "base/json.h"
#include "consumer/slot/outcome.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RESULT_MAX = 256 };

static void check_result(const struct run_end *end) {
    LH_JSON root = NULL;
    struct error err;
    assert(end->result_len <= RESULT_MAX);
    assert(json_read((struct json_span){end->result, end->result_len}, &root, &err) == RC_OK);
}

/* Line by line, as from a pipe: one after the other to both streams. */
static void say(struct outcome *outcome, const char *text, size_t len) {
    for (const char *end = text + len; text < end && !outcome->ended;) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t n = (size_t)((newline ? newline : end) - text);
        bool cut = n > RESULT_MAX + OUTCOME_REPORT_SLACK;
        outcome_stdout(outcome, text, n, cut);
        outcome_report(outcome, text, n, cut);
        outcome_stderr(outcome, text, n);
        text += n + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    bool stays = data[0] & 1, fails = data[0] & 2;
    struct outcome outcome;
    struct run_end end;
    outcome_init(&outcome, RESULT_MAX);
    if (stays)
        outcome_expect(&outcome, "t1");
    say(&outcome, (const char *)data + 1, size - 1);
    outcome_judge(&outcome, fails ? 1 << 8 : 0, &end);
    if (end.finished && end.result)
        check_result(&end);
    if (!end.finished)
        assert(end.error_text && end.error_class != ERROR_NONE);
    if (stays && end.finished)
        assert(outcome.ended && end.result);
    outcome_finish(&outcome);
    return 0;
}
