/* verb_service.c: longhaul services, consumers, timeline (tables of one answer); pause, resume and
 * limit. */
#include "cli/cli.h"

#include "base/mem.h"
#include "cli/arguments.h"
#include "cli/each.h"
#include "cli/table.h"

#include <stdio.h>
#include <string.h>

/* A column: its heading, and the member, "outer.inner" for one of an object within. */
struct column {
    const char *heading, *member;
};

static void add_cell(struct table *table, struct json_span row, const char *member) {
    struct json_span inner;
    char outer[32];
    const char *dot = strchr(member, '.');
    if (!dot) {
        table_member(table, row, member);
        return;
    }
    snprintf(outer, sizeof outer, "%.*s", (int)(dot - member), member);
    if (!json_span_member(row, outer, &inner))
        inner = (struct json_span){"{}", 2};
    table_member(table, inner, dot + 1);
}

/* Asks and prints the rows of "data", or all of it with --json. */
static enum rc ask_and_show(const struct cli *cli, const char *path, const struct buf *body,
                            const struct column *columns, size_t n, struct error *err) {
    LH_ANSWER answer = {0};
    enum rc rc = client_ask(cli->client, path, body, &answer, err);
    if (rc != RC_OK)
        return rc;
    if (cli->value[OPTION_JSON]) {
        cli_print_json(answer.body);
        return RC_OK;
    }
    const char *headings[TABLE_COLUMNS_MAX];
    for (size_t i = 0; i < n; i++)
        headings[i] = columns[i].heading;
    LH_TABLE table;
    table_init(&table, headings, n);
    struct json_span rows, row;
    if (json_span_member(answer.body, "data", &rows))
        while (json_span_next(&rows, &row))
            for (size_t i = 0; i < n; i++)
                add_cell(&table, row, columns[i].member);
    return table_print(&table, err);
}

enum rc verb_services(const struct cli *cli, struct error *err) {
    static const struct column columns[] = {
        {"SERVICE", "service"},
        {"PAUSED", "paused"},
        {"READY", "counts.ready"},
        {"WAITING", "counts.waiting"},
        {"RUNNING", "counts.running"},
        {"FINISHED", "counts.finished"},
        {"FAILED", "counts.failed"},
        {"OLDEST_S", "oldest_waiting_s"},
        {"CONSUMERS", "workers"},
        {"MAX_RUNNING", "limits.max_running"},
        {"MAX_WAITING", "limits.max_waiting"},
        {"TOPIC", "topic"},
    };
    LH_CLEANUP_BUF struct buf body;
    buf_init(&body, 64);
    buf_str(&body, "{\"data\":{\"detail\":true}}");
    return ask_and_show(cli, "/api/service_task", &body, columns, LH_COUNT(columns), err);
}

enum rc verb_consumers(const struct cli *cli, struct error *err) {
    static const struct column columns[] = {{"ID", "id"},          {"HOST", "host"},
                                            {"PID", "pid"},        {"SLOTS", "slots"},
                                            {"SEEN", "seen_time"}, {"SERVICES", "services"}};
    LH_CLEANUP_BUF struct buf body;
    buf_init(&body, 64);
    buf_str(&body, "{}");
    return ask_and_show(cli, "/api/worker_task", &body, columns, LH_COUNT(columns), err);
}

enum rc verb_timeline(const struct cli *cli, struct error *err) {
    static const struct column columns[] = {
        {"ATTEMPT", "attempt"},      {"QUEUED", "queued_time"}, {"CLAIMED", "claimed_time"},
        {"STARTED", "started_time"}, {"ENDED", "ended_time"},   {"END", "end"},
        {"CONSUMER", "worker"},      {"ERROR", "error"}};
    LH_CLEANUP_BUF struct buf body;
    buf_init(&body, CLI_BODY_MAX_BYTES);
    buf_str(&body, "{\"data\":{\"task_id\":");
    buf_json_str(&body, cli->args[0]);
    buf_str(&body, "}}");
    return ask_and_show(cli, "/api/timeline_task", &body, columns, LH_COUNT(columns), err);
}

static void show_number(const json_t *limits, const char *name) {
    const json_t *value = json_object_get(limits, name);
    if (json_is_integer(value))
        printf("\t%s %" JSON_INTEGER_FORMAT, name, json_integer_value(value));
    else
        printf("\t%s -", name);
}

static void show_service(const struct answer *answer) {
    const char *name = json_string_value(json_object_get(answer->root, "service"));
    const json_t *limits = json_object_get(answer->root, "limits");
    bool paused = json_is_true(json_object_get(answer->root, "paused"));
    printf("%s\t%s", name ? name : "", paused ? "paused" : "runs");
    show_number(limits, "max_running");
    show_number(limits, "max_waiting");
    putchar('\n');
}

enum rc verb_pause(const struct cli *cli, struct error *err) {
    static const struct each each = {"/api/pause_service_task", "service", NULL, show_service};
    return each_argument(cli, &each, err);
}

enum rc verb_resume(const struct cli *cli, struct error *err) {
    static const struct each each = {"/api/resume_service_task", "service", NULL, show_service};
    return each_argument(cli, &each, err);
}

static enum rc put_limit(const struct cli *cli, enum cli_option option, const char *member,
                         struct buf *to, struct error *err) {
    const char *text = cli->value[option];
    int64_t limit = 0;
    if (!text)
        return RC_OK;
    buf_printf(to, ",\"%s\":", member);
    if (strcmp(text, "default") == 0) {
        buf_str(to, "null");
        return RC_OK;
    }
    enum rc rc = cli_integer(cli, option, 0, &limit, err);
    buf_int(to, limit);
    return rc == RC_OK ? rc
                       : error_set(err, rc,
                                   "--%s: expected a whole number from 0, or default, "
                                   "found '%s'",
                                   option_rows[option].name, text);
}

static enum rc more_limit(const struct cli *cli, struct buf *to, struct error *err) {
    if (!cli->value[OPTION_MAX_RUNNING] && !cli->value[OPTION_MAX_WAITING])
        return error_set(err, RC_USAGE, "limit: give --max-running or --max-waiting");
    enum rc rc = put_limit(cli, OPTION_MAX_RUNNING, "max_running", to, err);
    return rc == RC_OK ? put_limit(cli, OPTION_MAX_WAITING, "max_waiting", to, err) : rc;
}

enum rc verb_limit(const struct cli *cli, struct error *err) {
    static const struct each each = {"/api/limit_service_task", "service", more_limit,
                                     show_service};
    return each_argument(cli, &each, err);
}
