/* verb_list.c: longhaul list. */
#include "cli/cli.h"
#include "cli/table.h"

#include <inttypes.h>
#include <stdio.h>

static const char *const headings[] = {"TASK_ID", "SERVICE", "STATUS", "CREATE_TIME", "CONDITION"};
static const char *const members[] = {"task_id", "service", "status", "create_time", "condition"};
enum { COLUMNS = sizeof(members) / sizeof(*members) };

static enum rc body_build(const struct cli *cli, struct buf *to, struct error *err) {
    int64_t page = 1, size = 10;
    enum rc rc = cli_integer(cli, OPTION_PAGE, 1, &page, err);
    if (rc == RC_OK)
        rc = cli_integer(cli, OPTION_SIZE, 1, &size, err);
    if (rc != RC_OK)
        return rc;
    buf_printf(to, "{\"page\":%" PRId64 ",\"p_size\":%" PRId64, page, size);
    if (cli->value[OPTION_SERVICE]) {
        buf_str(to, ",\"service\":");
        buf_json_str(to, cli->value[OPTION_SERVICE]);
    }
    if (cli->value[OPTION_STATUS]) {
        buf_str(to, ",\"status\":");
        buf_json_str(to, cli->value[OPTION_STATUS]);
    }
    buf_char(to, '}');
    return RC_OK;
}

static enum rc show(const struct answer *answer, struct error *err) {
    LH_TABLE table;
    table_init(&table, headings, COLUMNS);
    struct json_span tasks, task;
    if (json_span_member(answer->body, "data", &tasks))
        while (json_span_next(&tasks, &task))
            for (size_t i = 0; i < COLUMNS; i++)
                table_member(&table, task, members[i]);
    return table_print(&table, err);
}

/* How many there are goes to stderr: stdout holds the table alone. */
static void show_total(const struct answer *answer) {
    json_int_t total = json_integer_value(json_object_get(answer->root, "total"));
    json_int_t count = json_integer_value(json_object_get(answer->root, "count"));
    if (total > count)
        fprintf(stderr, "%" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT " tasks\n", count,
                total);
}

enum rc verb_list(const struct cli *cli, struct error *err) {
    LH_CLEANUP_BUF struct buf body;
    buf_init(&body, CLI_BODY_MAX_BYTES);
    enum rc rc = body_build(cli, &body, err);
    if (rc != RC_OK)
        return rc;
    LH_ANSWER answer = {0};
    rc = client_post(cli->client, "/api/tasks", &body, &answer, err);
    if (rc != RC_OK)
        return rc;
    if (cli->value[OPTION_JSON]) {
        cli_print_json(answer.body);
        return RC_OK;
    }
    rc = show(&answer, err);
    if (rc == RC_OK)
        show_total(&answer);
    return rc;
}
