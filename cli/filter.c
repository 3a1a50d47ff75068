/* filter.c: options to fields. */
#include "cli/filter.h"

#include "base/clock.h"
#include "base/mem.h"
#include "cli/arguments.h"
#include "cli/task_options.h"

#include <stdio.h>
#include <string.h>

/* Where one text may hold several, separated by commas. */
static void put_names(const struct cli *cli, enum cli_option option, const char *field,
                      struct buf *to) {
    const char *text;
    if (!cli->value[option])
        return;
    buf_printf(to, ",\"%s\":[", field);
    bool any = false;
    for (size_t i = 0; (text = cli_value(cli, option, i)); i++)
        for (size_t len; *text; text += len + (text[len] == ',')) {
            len = strcspn(text, ",");
            buf_str(to, any ? "," : "");
            buf_json(to, text, len);
            any = true;
        }
    buf_char(to, ']');
}

void filter_put_fields(const char *names, struct buf *to) {
    buf_str(to, ",\"fields\":[");
    for (size_t len; *names; names += len + (names[len] == ',')) {
        len = strcspn(names, ",");
        buf_json(to, names, len);
        buf_str(to, names[len] ? "," : "");
    }
    buf_char(to, ']');
}

/* "2h" is so long ago; "2026-11-21" is its first moment; all else is the API's to read. */
static enum rc put_time(const struct cli *cli, enum cli_option option, const char *field,
                        struct buf *to, struct error *err) {
    const char *text = cli->value[option];
    char at[CLOCK_TEXT_CAP];
    int64_t ago_ms = 0;
    if (!text)
        return RC_OK;
    buf_printf(to, ",\"%s\":", field);
    if (text[0] && strchr("smhd", text[strlen(text) - 1])) {
        enum rc rc = cli_duration(cli, option, &ago_ms, err);
        clock_to_text(clock_now_ms() - ago_ms, at);
        buf_json_str(to, at);
        return rc;
    }
    if (strlen(text) == 10) {
        snprintf(at, sizeof at, "%sT00:00:00Z", text);
        text = at;
    }
    if (!clock_from_text(text, &ago_ms))
        return error_set(err, RC_USAGE,
                         "--%s: expected 2026-11-21, 2026-11-21T08:30:00Z or an age as 2h, found "
                         "'%s'",
                         option_rows[option].name, cli->value[option]);
    buf_json_str(to, text);
    return RC_OK;
}

enum rc filter_put(const struct cli *cli, struct buf *to, struct error *err) {
    put_names(cli, OPTION_SERVICE, "service", to);
    put_names(cli, OPTION_STATUS, "status", to);
    put_names(cli, OPTION_SUB_STATUS, "sub_status", to);
    if (cli->value[OPTION_PREFIX]) {
        buf_str(to, ",\"task_id\":");
        buf_json_str(to, cli->value[OPTION_PREFIX]);
    }
    enum rc rc = put_time(cli, OPTION_FROM, "from", to, err);
    if (rc == RC_OK)
        rc = put_time(cli, OPTION_TO, "to", to, err);
    if (rc != RC_OK || !cli->value[OPTION_TAG])
        return rc;
    buf_str(to, ",\"tags\":");
    return task_options_tags(cli, OPTION_TAG, to, err);
}
