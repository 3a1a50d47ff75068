/* verb_edit.c: longhaul edit: another condition for a task, from an argument, a file or an editor.
 */
#include "cli/cli.h"

#include "base/mem.h"
#include "cli/condition.h"
#include "cli/interrupt.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* -- the editor -- */

/* Appends the task's condition as it is stored. */
static enum rc fetch(const struct cli *cli, struct buf *to, struct error *err) {
    LH_CLEANUP_BUF struct buf body;
    LH_ANSWER answer = {0};
    buf_init(&body, CLI_BODY_MAX_BYTES);
    buf_str(&body, "{\"p_size\":1,\"fields\":[\"task_id\",\"condition\"],\"task_id\":");
    buf_json_str(&body, cli->args[0]);
    buf_char(&body, '}');
    enum rc rc = client_ask(cli->client, "/api/tasks", &body, &answer, err);
    if (rc != RC_OK)
        return rc;
    struct json_span rows, row, condition;
    const json_t *first = json_array_get(json_object_get(answer.root, "data"), 0);
    const char *id = json_string_value(json_object_get(first, "task_id"));
    if (!id || strcmp(id, cli->args[0]) != 0 || !json_span_member(answer.body, "data", &rows) ||
        !json_span_next(&rows, &row) || !json_span_member(row, "condition", &condition))
        return error_set(err, RC_UNKNOWN_TASK, "%.255s: no such task", cli->args[0]);
    buf_append(to, condition.at, condition.len);
    buf_char(to, '\n');
    return buf_rc(to) == RC_OK ? RC_OK : error_set(err, buf_rc(to), "out of memory");
}

static enum rc write_file(const struct buf *text, char path[PATH_MAX], struct error *err) {
    const char *folder = getenv("TMPDIR");
    snprintf(path, PATH_MAX, "%s/longhaul-XXXXXX", folder && folder[0] ? folder : "/tmp");
    int fd = mkstemp(path);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!file) {
        if (fd >= 0)
            close(fd);
        return error_set(err, RC_IO, "%.300s: %s", path, strerror(errno));
    }
    fwrite(text->data, 1, text->len, file);
    if (fclose(file) == 0)
        return RC_OK;
    unlink(path);
    return error_set(err, RC_IO, "%.300s: %s", path, strerror(errno));
}

/* $VISUAL or $EDITOR may be a command with arguments; the shell reads it. */
static enum rc run_editor(const char *path, struct error *err) {
    const char *editor = getenv("VISUAL");
    char command[1024];
    if (!editor || !editor[0])
        editor = getenv("EDITOR");
    if (setenv("LONGHAUL_EDIT", path, 1) != 0)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    int n = snprintf(command, sizeof command, "%s \"$LONGHAUL_EDIT\"",
                     editor && editor[0] ? editor : "vi");
    if (n < 0 || (size_t)n >= sizeof command || system(command) != 0)
        return error_set(err, RC_IO, "the editor did not end well; nothing is changed");
    return interrupt_seen() ? error_set(err, RC_INTERRUPTED, "interrupted") : RC_OK;
}

/* Lets a person change `was`; *to stays empty where nothing was changed. What cannot be read
 * afterwards stays in its file, whose name is told. */
static enum rc edit_text(const struct cli *cli, const struct buf *was, struct buf *to,
                         struct error *err) {
    char path[PATH_MAX];
    enum rc rc = write_file(was, path, err);
    if (rc != RC_OK)
        return rc;
    rc = run_editor(path, err);
    if (rc == RC_OK) {
        struct cli from = *cli;
        struct error why = {.text = ""};
        from.value[OPTION_FILE] = path;
        rc = condition_read(&from, NULL, NULL, to, &why);
        if (rc != RC_OK)
            return error_set(err, rc, "%.300s; it stands in %.150s", why.text, path);
    }
    unlink(path);
    if (rc == RC_OK && to->len == was->len && memcmp(to->data, was->data, was->len) == 0)
        buf_clear(to);
    return rc;
}

static enum rc edit_in_editor(const struct cli *cli, struct buf *to, struct error *err) {
    LH_CLEANUP_BUF struct buf was;
    buf_init(&was, CLI_BODY_MAX_BYTES);
    enum rc rc = fetch(cli, &was, err);
    return rc == RC_OK ? edit_text(cli, &was, to, err) : rc;
}

/* -- the change -- */

static enum rc change(const struct cli *cli, const struct buf *condition, struct error *err) {
    LH_CLEANUP_BUF struct buf body;
    LH_ANSWER answer = {0};
    buf_init(&body, CLI_BODY_MAX_BYTES + 65536);
    buf_str(&body, "{\"data\":{\"task_id\":");
    buf_json_str(&body, cli->args[0]);
    buf_str(&body, ",\"condition\":");
    buf_append(&body, condition->data, condition->len);
    buf_str(&body, "}}");
    enum rc rc = client_ask(cli->client, "/api/update_task", &body, &answer, err);
    if (rc != RC_OK)
        return rc;
    if (cli->value[OPTION_JSON])
        cli_print_json(answer.body);
    else
        puts(cli->args[0]);
    return RC_OK;
}

enum rc verb_edit(const struct cli *cli, struct error *err) {
    LH_CLEANUP_BUF struct buf condition;
    buf_init(&condition, CLI_BODY_MAX_BYTES);
    bool by_hand = cli->n_args == 1 && !cli->value[OPTION_FILE] && isatty(STDIN_FILENO);
    enum rc rc =
        by_hand ? edit_in_editor(cli, &condition, err)
                : condition_read(cli, cli->n_args > 1 ? cli->args[1] : NULL, NULL, &condition, err);
    if (rc == RC_OK && by_hand && condition.len == 0)
        fputs("longhaul: nothing is changed\n", stderr);
    else if (rc == RC_OK)
        rc = change(cli, &condition, err);
    return rc;
}
