/* verb_task.c: longhaul cancel, start and delete: what changes tasks. */
#include "cli/cli.h"

#include "cli/arguments.h"
#include "cli/each.h"

#include <inttypes.h>
#include <stdio.h>

static void show_id(const struct answer *answer) {
    const char *id = json_string_value(json_object_get(answer->root, "task_id"));
    puts(id ? id : "");
}

static void show_state(const struct answer *answer) {
    static const char *const members[] = {"task_id", "status", "sub_status"};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        const char *text = json_string_value(json_object_get(answer->root, members[i]));
        printf("%s%s", i ? "\t" : "", text ? text : "-");
    }
    putchar('\n');
}

static enum rc more_cancel(const struct cli *cli, struct buf *to, struct error *err) {
    int64_t grace_ms = -1;
    enum rc rc = cli_duration(cli, OPTION_GRACE, &grace_ms, err);
    if (grace_ms >= 0)
        buf_printf(to, ",\"grace_s\":%" PRId64 ".%03" PRId64, grace_ms / 1000, grace_ms % 1000);
    if (cli->value[OPTION_REASON]) {
        buf_str(to, ",\"reason\":");
        buf_json_str(to, cli->value[OPTION_REASON]);
    }
    return rc;
}

enum rc verb_cancel(const struct cli *cli, struct error *err) {
    static const struct each each = {"/api/cancel_task", "task_id", more_cancel, show_state};
    return each_argument(cli, &each, err);
}

static enum rc more_start(const struct cli *cli, struct buf *to, struct error *err) {
    (void)err;
    buf_str(to, cli->value[OPTION_FORCE] ? ",\"force\":true" : "");
    return RC_OK;
}

enum rc verb_start(const struct cli *cli, struct error *err) {
    static const struct each each = {"/api/start_task", "task_id", more_start, show_id};
    return each_argument(cli, &each, err);
}

enum rc verb_delete(const struct cli *cli, struct error *err) {
    static const struct each each = {"/api/delete_task", "task_id", NULL, show_id};
    return each_argument(cli, &each, err);
}
