/* verb_status.c: longhaul status. */
#include "cli/cli.h"
#include "cli/table.h"

#include <string.h>

static const char *const headings[] = {"TASK_ID",    "STATUS",   "SUB_STATUS",
                                       "START_TIME", "END_TIME", "MESSAGE"};

/* An answer under way. */
struct show {
    const struct cli *cli;
    struct table table;
    const char *unknown; /* the first id that the API does not know */
};

static void body_build(char *const *ids, int n, struct buf *to) {
    buf_str(to, "{\"data\":[");
    for (int i = 0; i < n; i++) {
        buf_str(to, i ? ",{\"task_id\":" : "{\"task_id\":");
        buf_json_str(to, ids[i]);
        buf_char(to, '}');
    }
    buf_str(to, "]}");
}

static bool is_null(struct json_span object, const char *name) {
    struct json_span value;
    return !json_span_member(object, name, &value) || value.at[0] == 'n';
}

static void show_row(struct show *show, struct json_span task) {
    static const char *const members[] = {"task_id", "status", "sub_status", "start_time",
                                          "end_time"};
    for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++)
        table_member(&show->table, task, members[i]);
    table_member(&show->table, task, is_null(task, "message") ? "error" : "message");
}

static bool is_invalid(struct json_span task) {
    static const char word[] = "\"Invalid\"";
    struct json_span status;
    return json_span_member(task, "status", &status) && status.len == sizeof(word) - 1 &&
           memcmp(status.at, word, status.len) == 0;
}

static void show_answer(struct show *show, char *const *ids, struct json_span body) {
    struct json_span tasks, task;
    if (!json_span_member(body, "status", &tasks))
        return;
    while (json_span_next(&tasks, &task)) {
        if (is_invalid(task) && !show->unknown)
            show->unknown = *ids;
        ids++;
        if (show->cli->value[OPTION_JSON])
            cli_print_json(task);
        else
            show_row(show, task);
    }
}

/* Asks in halves where the API takes fewer ids at a time. */
static enum rc show_tasks(struct show *show, char *const *ids, int n, struct error *err) {
    LH_CLEANUP_BUF struct buf body;
    buf_init(&body, CLI_BODY_MAX_BYTES);
    body_build(ids, n, &body);
    LH_ANSWER answer = {0};
    enum rc rc = client_ask(show->cli->client, "/api/status_task", &body, &answer, err);
    if (rc == RC_TOO_MANY && n > 1) {
        rc = show_tasks(show, ids, n / 2, err);
        return rc == RC_OK ? show_tasks(show, ids + n / 2, n - n / 2, err) : rc;
    }
    if (rc == RC_OK)
        show_answer(show, ids, answer.body);
    return rc;
}

enum rc verb_status(const struct cli *cli, struct error *err) {
    struct show show = {.cli = cli};
    table_init(&show.table, headings, sizeof(headings) / sizeof(*headings));
    enum rc rc = show_tasks(&show, cli->args, cli->n_args, err);
    if (rc == RC_OK && !cli->value[OPTION_JSON])
        rc = table_print(&show.table, err);
    table_finish(&show.table);
    if (rc == RC_OK && show.unknown)
        rc = error_set(err, RC_UNKNOWN_TASK, "%s: no such task", show.unknown);
    return rc;
}
