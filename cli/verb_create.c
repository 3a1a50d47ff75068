/* verb_create.c: longhaul create. */
#include "cli/cli.h"

#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void file_close_ptr(FILE **file) {
    if (*file && *file != stdin)
        fclose(*file);
}

/* The whole of a file, "-" is stdin. */
static enum rc file_read(const char *path, struct buf *to, struct error *err) {
    LH_CLEANUP(file_close_ptr) FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (!file)
        return error_set(err, RC_IO, "%s: %s", path, strerror(errno));
    char chunk[65536];
    size_t n;
    while ((n = fread(chunk, 1, sizeof(chunk), file)) > 0)
        buf_append(to, chunk, n);
    if (ferror(file))
        return error_set(err, RC_IO, "%s: %s", path, strerror(errno));
    return buf_rc(to) == RC_OK ? RC_OK : error_set(err, buf_rc(to), "%s: too large", path);
}

static enum rc condition_gather(const struct cli *cli, struct buf *to, struct error *err) {
    const char *text = cli->n_args > 1 ? cli->args[1] : NULL, *path = cli->value[OPTION_FILE];
    if (text && path)
        return error_set(err, RC_USAGE, "create: give the condition as an argument or by --file");
    if (path || (text && strcmp(text, "-") == 0))
        return file_read(path ? path : "-", to, err);
    buf_str(to, text ? text : "{}");
    return buf_rc(to);
}

/* Checked here, so that no text can end the value and say more than a condition. */
static enum rc condition_check(const struct buf *text, struct error *err) {
    LH_JSON root = NULL;
    struct error why;
    enum rc rc = json_read((struct json_span){text->data, text->len}, &root, &why);
    if (rc == RC_OK)
        return RC_OK;
    const char *what = strncmp(why.text, "body: ", 6) == 0 ? why.text + 6 : why.text;
    return error_set(err, rc, "condition: %s", what);
}

static void body_build(const struct cli *cli, const struct buf *condition, struct buf *to) {
    buf_str(to, "{\"data\":{\"service\":");
    buf_json_str(to, cli->args[0]);
    buf_str(to, ",\"condition\":");
    buf_append(to, condition->data, condition->len);
    if (cli->value[OPTION_NO_START])
        buf_str(to, ",\"start\":false");
    buf_str(to, "}}");
}

enum rc verb_create(const struct cli *cli, struct error *err) {
    LH_CLEANUP_BUF struct buf condition, body;
    buf_init(&condition, CLI_BODY_MAX_BYTES);
    buf_init(&body, CLI_BODY_MAX_BYTES + 1024);
    enum rc rc = condition_gather(cli, &condition, err);
    if (rc == RC_OK && !condition.data)
        buf_str(&condition, "");
    if (rc == RC_OK)
        rc = condition_check(&condition, err);
    if (rc != RC_OK)
        return rc;
    body_build(cli, &condition, &body);
    LH_ANSWER answer = {0};
    rc = client_post(cli->client, "/api/create_task", &body, &answer, err);
    if (rc != RC_OK)
        return rc;
    const char *id = json_string_value(json_object_get(answer.root, "task_id"));
    if (cli->value[OPTION_JSON])
        cli_print_json(answer.body);
    else if (id)
        puts(id);
    return RC_OK;
}
