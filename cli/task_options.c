/* task_options.c: a table from options to fields. */
#include "cli/task_options.h"

#include "base/mem.h"
#include "cli/arguments.h"

#include <inttypes.h>
#include <string.h>

static enum rc put_integer(const struct cli *cli, enum cli_option option, struct buf *to,
                           struct error *err) {
    int64_t value = 0;
    enum rc rc = cli_integer(cli, option, 0, &value, err);
    buf_int(to, value);
    return rc;
}

static enum rc put_seconds(const struct cli *cli, enum cli_option option, struct buf *to,
                           struct error *err) {
    int64_t ms = 0;
    enum rc rc = cli_duration(cli, option, &ms, err);
    buf_printf(to, "%" PRId64 ".%03" PRId64, ms / 1000, ms % 1000);
    return rc;
}

static enum rc put_text(const struct cli *cli, enum cli_option option, struct buf *to,
                        struct error *err) {
    (void)err;
    buf_json_str(to, cli->value[option]);
    return RC_OK;
}

static enum rc put_false(const struct cli *cli, enum cli_option option, struct buf *to,
                         struct error *err) {
    (void)cli, (void)option, (void)err;
    buf_str(to, "false");
    return RC_OK;
}

/* "fixed:10", "exponential:5:600". */
static enum rc put_retry(const struct cli *cli, enum cli_option option, struct buf *to,
                         struct error *err) {
    static const char *const members[] = {",\"base_s\":", ",\"max_s\":"};
    const char *text = cli->value[option];
    size_t len = strcspn(text, ":");
    buf_str(to, "{\"kind\":");
    buf_json(to, text, len);
    for (size_t i = 0; text[len]; i++) {
        char *end;
        const char *number = text + len + 1;
        double seconds = strtod(number, &end);
        if (i >= LH_COUNT(members) || end == number || (*end && *end != ':') || !(seconds >= 0) ||
            seconds > 1e9)
            return error_set(err, RC_USAGE,
                             "--retry: expected exponential or fixed, and seconds as in "
                             "fixed:10 or exponential:5:600, found '%s'",
                             text);
        buf_printf(to, "%s%.3f", members[i], seconds);
        len = (size_t)(end - text);
    }
    buf_char(to, '}');
    return RC_OK;
}

enum rc task_options_tags(const struct cli *cli, enum cli_option option, struct buf *to,
                          struct error *err) {
    const char *text;
    buf_char(to, '{');
    for (size_t i = 0; (text = cli_value(cli, option, i)); i++) {
        const char *equals = strchr(text, '=');
        if (!equals || equals == text)
            return error_set(err, RC_USAGE, "--%s: expected NAME=VALUE, found '%s'",
                             option_rows[option].name, text);
        buf_str(to, i ? "," : "");
        buf_json(to, text, (size_t)(equals - text));
        buf_char(to, ':');
        buf_json_str(to, equals + 1);
    }
    buf_char(to, '}');
    return RC_OK;
}

static const struct {
    enum cli_option option;
    const char *field;
    enum rc (*put)(const struct cli *cli, enum cli_option option, struct buf *to,
                   struct error *err);
} fields[] = {
    {OPTION_NO_START, "start", put_false},
    {OPTION_PRIORITY, "priority", put_integer},
    {OPTION_DELAY, "delay_s", put_seconds},
    {OPTION_RUN_AT, "run_at", put_text},
    {OPTION_TASK_TIMEOUT, "timeout_s", put_seconds},
    {OPTION_EXPIRE, "expire_s", put_seconds},
    {OPTION_MAX_ATTEMPTS, "max_attempts", put_integer},
    {OPTION_TASK_RETRY, "retry", put_retry},
    {OPTION_TASK_TAG, "tags", task_options_tags},
};

enum rc task_options_put(const struct cli *cli, const json_t *root, struct buf *to,
                         struct error *err) {
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < LH_COUNT(fields); i++) {
        if (!cli->value[fields[i].option] || json_object_get(root, fields[i].field))
            continue;
        buf_printf(to, ",\"%s\":", fields[i].field);
        rc = fields[i].put(cli, fields[i].option, to, err);
    }
    return rc;
}
