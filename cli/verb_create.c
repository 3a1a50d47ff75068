/* verb_create.c: longhaul create. */
#include "cli/cli.h"

#include "base/ids.h"
#include "cli/bulk.h"
#include "cli/condition.h"
#include "cli/service_names.h"
#include "cli/task_options.h"

#include <stdio.h>

/* A key of its own makes the call harmless to repeat. */
static void put_key(const struct cli *cli, struct buf *to) {
    char key[UUID_CAP];
    uuid_make(key);
    buf_str(to, ",\"idempotency_key\":");
    buf_json_str(to, cli->value[OPTION_KEY] ? cli->value[OPTION_KEY] : key);
}

static enum rc body_build(const struct cli *cli, struct buf *to, struct error *err) {
    LH_CLEANUP_BUF struct buf condition;
    buf_init(&condition, CLI_BODY_MAX_BYTES);
    enum rc rc = condition_read(cli, cli->n_args > 1 ? cli->args[1] : NULL, "{}", &condition, err);
    if (rc != RC_OK)
        return rc;
    buf_str(to, "{\"data\":{\"service\":");
    buf_json_str(to, cli->args[0]);
    buf_str(to, ",\"condition\":");
    buf_append(to, condition.data, condition.len);
    put_key(cli, to);
    rc = task_options_put(cli, NULL, to, err);
    buf_str(to, "}}");
    return rc;
}

/* Appends the members of an object; to be followed by others and '}'. */
static void put_open_object(struct json_span object, const json_t *root, struct buf *to) {
    while (object.at[object.len - 1] != '}')
        object.len--;
    buf_append(to, object.at, object.len - 1);
    if (json_object_size(root) == 0) /* so that ',' may follow */
        buf_str(to, "\"service\":null");
}

/* A line is a condition where the command line names the service, else a task's fields. */
static enum rc read_line(const struct cli *cli, const struct bulk_line *line, struct buf *to,
                         struct error *err) {
    bool whole = cli->n_args == 0;
    if (whole && !json_is_object(line->root))
        return error_set(err, RC_INVALID_PARAMETER,
                         "expected an object with service and condition");
    if (whole) {
        put_open_object(line->text, line->root, to);
    } else {
        buf_str(to, "{\"service\":");
        buf_json_str(to, cli->args[0]);
        buf_str(to, ",\"condition\":");
        buf_append(to, line->text.at, line->text.len);
    }
    const json_t *root = whole ? line->root : NULL;
    if (!json_object_get(root, "idempotency_key")) {
        buf_str(to, ",\"idempotency_key\":");
        buf_json_str(to, line->key);
    }
    enum rc rc = task_options_put(cli, root, to, err);
    buf_char(to, '}');
    return rc;
}

static enum rc create_lines(const struct cli *cli, struct error *err) {
    if (cli->n_args > 1)
        return error_set(err, RC_USAGE, "--jsonl reads the conditions from --file or stdin");
    return bulk_create(cli, read_line, err);
}

enum rc verb_create(const struct cli *cli, struct error *err) {
    if (cli->value[OPTION_JSONL])
        return create_lines(cli, err);
    if (cli->n_args == 0)
        return error_set(err, RC_USAGE, "usage: longhaul create SERVICE [CONDITION | -]");
    if (cli->value[OPTION_BATCH])
        return error_set(err, RC_USAGE, "--batch goes with --jsonl");
    LH_CLEANUP_BUF struct buf body;
    buf_init(&body, CLI_BODY_MAX_BYTES + 65536);
    LH_ANSWER answer = {0};
    enum rc rc = body_build(cli, &body, err);
    if (rc == RC_OK)
        rc = client_ask(cli->client, "/api/create_task", &body, &answer, err);
    if (rc != RC_OK)
        return service_names_hint(cli, cli->args[0], rc, err);
    const char *id = json_string_value(json_object_get(answer.root, "task_id"));
    if (cli->value[OPTION_JSON])
        cli_print_json(answer.body);
    else if (id)
        puts(id);
    return RC_OK;
}
