/* verb_list.c: longhaul list: a page of tasks, or all of them page after page. */
#include "cli/cli.h"

#include "base/mem.h"
#include "cli/arguments.h"
#include "cli/filter.h"
#include "cli/service_names.h"
#include "cli/table.h"
#include "cli/terminal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { ALL_PAGE = 500, NAME_CAP = 32 };

/* A list under way. */
struct list {
    const struct cli *cli;
    int64_t size, page;
    bool all;
    char *after; /* where the next page begins; NULL: at the beginning */
    int64_t shown;
    char names[TABLE_COLUMNS_MAX][NAME_CAP]; /* the columns */
    size_t n_names;
};

static enum rc read_columns(struct list *list, struct error *err) {
    const char *text = list->cli->value[OPTION_FIELDS];
    text = text ? text : "task_id,service,status,create_time,condition";
    for (size_t len; *text; text += len + (text[len] == ',')) {
        len = strcspn(text, ",");
        if (len == 0 || len >= NAME_CAP || list->n_names == TABLE_COLUMNS_MAX)
            return error_set(err, RC_USAGE, "--fields: expected names of fields, found '%s'", text);
        memcpy(list->names[list->n_names++], text, len);
    }
    return list->n_names ? RC_OK : error_set(err, RC_USAGE, "--fields: which fields?");
}

static enum rc read_options(struct list *list, struct error *err) {
    const struct cli *cli = list->cli;
    list->all = cli->value[OPTION_ALL];
    list->size = list->all ? ALL_PAGE : 10;
    if (cli->value[OPTION_PAGE] && (list->all || cli->value[OPTION_AFTER]))
        return error_set(err, RC_USAGE, "--page goes neither with --all nor with --after");
    enum rc rc = cli_integer(cli, OPTION_PAGE, 1, &list->page, err);
    if (rc == RC_OK)
        rc = cli_integer(cli, OPTION_SIZE, 1, &list->size, err);
    if (rc == RC_OK && cli->value[OPTION_AFTER]) {
        list->after = mem_dup(cli->value[OPTION_AFTER], strlen(cli->value[OPTION_AFTER]));
        rc = list->after ? RC_OK : error_set(err, RC_NO_MEMORY, "out of memory");
    }
    return rc == RC_OK ? read_columns(list, err) : rc;
}

static enum rc body_build(const struct list *list, struct buf *to, struct error *err) {
    buf_printf(to, "{\"p_size\":%" PRId64, list->size);
    if (list->page)
        buf_printf(to, ",\"page\":%" PRId64, list->page);
    if (list->after) {
        buf_str(to, ",\"after\":");
        buf_json_str(to, list->after);
    }
    if (list->cli->value[OPTION_FIELDS])
        filter_put_fields(list->cli->value[OPTION_FIELDS], to);
    enum rc rc = filter_put(list->cli, to, err);
    buf_char(to, '}');
    return rc;
}

static enum rc show_table(struct list *list, struct json_span tasks, struct error *err) {
    char upper[TABLE_COLUMNS_MAX][NAME_CAP];
    const char *headings[TABLE_COLUMNS_MAX];
    for (size_t i = 0; i < list->n_names; i++) {
        for (size_t c = 0; c < NAME_CAP; c++) {
            char letter = list->names[i][c];
            upper[i][c] = letter >= 'a' && letter <= 'z' ? (char)(letter - 'a' + 'A') : letter;
        }
        headings[i] = upper[i];
    }
    LH_TABLE table;
    struct json_span task;
    table_init(&table, headings, list->n_names);
    while (json_span_next(&tasks, &task))
        for (size_t i = 0; i < list->n_names; i++)
            table_member(&table, task, list->names[i]);
    return table_print(&table, err);
}

static enum rc show(struct list *list, const struct answer *answer, struct error *err) {
    struct json_span tasks = {"[]", 2}, task;
    (void)json_span_member(answer->body, "data", &tasks);
    list->shown += (int64_t)json_array_size(json_object_get(answer->root, "data"));
    if (list->cli->value[OPTION_LINES_OF_JSON]) {
        while (json_span_next(&tasks, &task))
            cli_print_json(task);
        return terminal_flush(err);
    }
    if (!list->cli->value[OPTION_JSON])
        return show_table(list, tasks, err);
    cli_print_json(answer->body);
    return terminal_flush(err);
}

/* How many there are, and how to go on, goes to stderr: stdout holds the tasks alone. */
static void show_rest(const struct list *list, const struct answer *answer) {
    json_int_t total = json_integer_value(json_object_get(answer->root, "total"));
    bool more = json_object_get(answer->root, "total_is") != NULL;
    if (total <= list->shown || list->all || list->cli->value[OPTION_JSON])
        return;
    fprintf(stderr, "%" PRId64 " of %" JSON_INTEGER_FORMAT "%s tasks", list->shown, total,
            more ? " or more" : "");
    if (list->after)
        fprintf(stderr, "; go on with --after %s, or --all", list->after);
    fputc('\n', stderr);
}

static enum rc show_page(struct list *list, struct error *err) {
    LH_CLEANUP_BUF struct buf body;
    buf_init(&body, CLI_BODY_MAX_BYTES);
    LH_ANSWER answer = {0};
    enum rc rc = body_build(list, &body, err);
    if (rc == RC_OK)
        rc = client_ask(list->cli->client, "/api/tasks", &body, &answer, err);
    if (rc == RC_TOO_LARGE && list->all && list->size > 1) { /* large conditions: fewer at a time */
        list->size /= 2;
        return RC_OK;
    }
    if (rc == RC_OK)
        rc = show(list, &answer, err);
    if (rc != RC_OK)
        return rc;
    const char *next = json_string_value(json_object_get(answer.root, "next"));
    free(list->after);
    list->after = next ? mem_dup(next, strlen(next)) : NULL;
    if (next && !list->after)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    list->all &= next != NULL;
    show_rest(list, &answer);
    return RC_OK;
}

/* An empty list may be that of a service whose name has a slip. */
static enum rc check_services(const struct list *list, struct error *err) {
    const char *name;
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && (name = cli_value(list->cli, OPTION_SERVICE, i)); i++)
        if (!strchr(name, ','))
            rc = service_names_check(list->cli, name, err);
    return rc;
}

enum rc verb_list(const struct cli *cli, struct error *err) {
    struct list list = {.cli = cli};
    enum rc rc = read_options(&list, err);
    do {
        if (rc == RC_OK)
            rc = show_page(&list, err);
    } while (rc == RC_OK && list.all);
    free(list.after);
    return rc == RC_OK && list.shown == 0 ? check_services(&list, err) : rc;
}
