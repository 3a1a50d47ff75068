/* verb_result.c: longhaul result. */
#include "cli/cli.h"

#include "base/clock.h"

#include <time.h>

enum { POLL_FIRST_MS = 50, POLL_MAX_MS = 2000 };

static enum rc ask(const struct cli *cli, struct answer *ret, struct error *err) {
    LH_CLEANUP_BUF struct buf body;
    buf_init(&body, CLI_BODY_MAX_BYTES);
    buf_str(&body, "{\"data\":{\"task_id\":");
    buf_json_str(&body, cli->args[0]);
    buf_str(&body, "}}");
    return client_post(cli->client, "/api/result_task", &body, ret, err);
}

static void sleep_ms(int64_t ms) {
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&left, NULL);
}

/* Worth asking again: the task has not ended, or an API that was there is away for a moment. */
static bool goes_on(enum rc rc, bool answered) {
    bool away = rc == RC_IO || rc_info(rc)->http == 503 || rc == RC_OUTCOME_UNKNOWN;
    return rc == RC_NOT_FINISHED || (away && answered);
}

/* Asks until the task has ended, for at most timeout_ms (< 0: for ever). */
static enum rc ask_until_final(const struct cli *cli, int64_t timeout_ms, struct answer *ret,
                               struct error *err) {
    int64_t begin_ms = clock_mono_ms(), pause_ms = POLL_FIRST_MS;
    bool answered = false;
    for (;;) {
        enum rc rc = ask(cli, ret, err);
        if (!goes_on(rc, answered))
            return rc;
        answered = true;
        int64_t left_ms = begin_ms + timeout_ms - clock_mono_ms();
        if (timeout_ms >= 0 && left_ms <= 0)
            return rc;
        sleep_ms(timeout_ms >= 0 && left_ms < pause_ms ? left_ms : pause_ms);
        pause_ms = pause_ms * 3 / 2 < POLL_MAX_MS ? pause_ms * 3 / 2 : POLL_MAX_MS;
    }
}

enum rc verb_result(const struct cli *cli, struct error *err) {
    int64_t timeout_ms = cli->value[OPTION_WAIT] ? -1 : 0;
    if (cli->value[OPTION_TIMEOUT] && !cli->value[OPTION_WAIT])
        return error_set(err, RC_USAGE, "--timeout goes with --wait");
    enum rc rc =
        cli->value[OPTION_TIMEOUT] ? cli_seconds(cli, OPTION_TIMEOUT, &timeout_ms, err) : RC_OK;
    if (rc != RC_OK)
        return rc;
    LH_ANSWER answer = {0};
    rc = ask_until_final(cli, timeout_ms, &answer, err);
    if (rc != RC_OK)
        return rc;
    struct json_span data;
    if (!cli->value[OPTION_JSON] && json_span_member(answer.body, "data", &data))
        cli_print_json(data);
    else
        cli_print_json(answer.body);
    return RC_OK;
}
