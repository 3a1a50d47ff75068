/* verb_task.c: longhaul cancel, start, edit and delete: what changes a task. */
#include "cli/cli.h"

#include "cli/arguments.h"
#include "cli/condition.h"
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

enum rc verb_edit(const struct cli *cli, struct error *err) {
    LH_CLEANUP_BUF struct buf condition, body;
    buf_init(&condition, CLI_BODY_MAX_BYTES);
    buf_init(&body, CLI_BODY_MAX_BYTES + 65536);
    enum rc rc = condition_read(cli, cli->n_args > 1 ? cli->args[1] : NULL, NULL, &condition, err);
    if (rc != RC_OK)
        return rc;
    buf_str(&body, "{\"data\":{\"task_id\":");
    buf_json_str(&body, cli->args[0]);
    buf_str(&body, ",\"condition\":");
    buf_append(&body, condition.data, condition.len);
    buf_str(&body, "}}");
    LH_ANSWER answer = {0};
    rc = client_ask(cli->client, "/api/update_task", &body, &answer, err);
    if (rc != RC_OK)
        return rc;
    if (cli->value[OPTION_JSON])
        cli_print_json(answer.body);
    else
        show_id(&answer);
    return RC_OK;
}
