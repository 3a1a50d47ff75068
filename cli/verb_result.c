/* verb_result.c: longhaul result. */
#include "cli/cli.h"

#include "base/clock.h"
#include "cli/arguments.h"

#include <inttypes.h>

enum { WAIT_MAX_MS = 30000, PAUSE_MS = 500 };

static enum rc ask(const struct cli *cli, int64_t wait_ms, struct answer *ret, struct error *err) {
    LH_CLEANUP_BUF struct buf body;
    buf_init(&body, CLI_BODY_MAX_BYTES);
    buf_str(&body, "{\"data\":{\"task_id\":");
    buf_json_str(&body, cli->args[0]);
    if (wait_ms > 0)
        buf_printf(&body, ",\"wait_s\":%" PRId64 ".%03" PRId64, wait_ms / 1000, wait_ms % 1000);
    buf_str(&body, "}}");
    return client_ask(cli->client, "/api/result_task", &body, ret, err);
}

static int64_t left_of(int64_t end_ms) {
    return end_ms < 0 ? WAIT_MAX_MS : end_ms - clock_mono_ms();
}

/* Asks until the task has ended, for at most timeout_ms (< 0: for ever). The API holds the answer
 * meanwhile; an API that was there and is away for a moment is waited for. */
static enum rc ask_until_final(const struct cli *cli, int64_t timeout_ms, struct answer *ret,
                               struct error *err) {
    int64_t end_ms = timeout_ms < 0 ? -1 : clock_mono_ms() + timeout_ms;
    for (;;) {
        int64_t left_ms = left_of(end_ms);
        enum rc rc = ask(cli, left_ms < WAIT_MAX_MS ? left_ms : WAIT_MAX_MS, ret, err);
        bool away = rc != RC_NOT_FINISHED && client_may_recover(cli->client, rc);
        if ((rc != RC_NOT_FINISHED && !away) || left_of(end_ms) <= 0)
            return rc;
        enum rc slept = away ? client_sleep(cli->client, PAUSE_MS, err) : RC_OK;
        if (slept != RC_OK)
            return slept;
    }
}

static enum rc read_timeout(const struct cli *cli, int64_t *ret_ms, struct error *err) {
    *ret_ms = cli->value[OPTION_WAIT] ? -1 : 0;
    if (cli->value[OPTION_TIMEOUT] && !cli->value[OPTION_WAIT])
        return error_set(err, RC_USAGE, "--timeout goes with --wait");
    return cli_duration(cli, OPTION_TIMEOUT, ret_ms, err);
}

enum rc verb_result(const struct cli *cli, struct error *err) {
    int64_t timeout_ms;
    LH_ANSWER answer = {0};
    enum rc rc = read_timeout(cli, &timeout_ms, err);
    if (cli->value[OPTION_WAIT]) /* --timeout is all the patience that there is */
        client_be_impatient(cli->client);
    if (rc == RC_OK)
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
