/* verb_export.c: longhaul export: tasks as lines of JSON, page after page by cursor. */
#include "cli/cli.h"

#include "base/mem.h"
#include "cli/filter.h"
#include "cli/progress.h"
#include "cli/terminal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PAGE = 500 };

static const char fields[] =
    "task_id,service,condition,status,sub_status,create_time,start_time,end_time,message,attempt,"
    "priority,max_attempts,timeout_s,expire_s,retry,run_at,tags,idempotency_key,error,result";

/* An export under way. */
struct export {
    const struct cli *cli;
    FILE *to;
    int64_t size, written;
    char *after;
    bool over;
    struct progress progress;
};

static enum rc body_build(const struct export *export, struct buf *to, struct error *err) {
    buf_printf(to, "{\"p_size\":%" PRId64, export->size);
    if (export->after) {
        buf_str(to, ",\"after\":");
        buf_json_str(to, export->after);
    }
    filter_put_fields(fields, to);
    enum rc rc = filter_put(export->cli, to, err);
    buf_char(to, '}');
    return rc;
}

static enum rc write_text(const struct export *export, const struct buf *text, struct error *err) {
    if (buf_rc(text) != RC_OK)
        return error_set(err, buf_rc(text), "out of memory");
    if (export->to == stdout)
        return terminal_write(text->data, text->len, err);
    if (fwrite(text->data, 1, text->len, export->to) == text->len && fflush(export->to) == 0)
        return RC_OK;
    return error_set(err, RC_IO, "%s: %s", export->cli->value[OPTION_OUTPUT], strerror(errno));
}

static enum rc write_tasks(struct export *export, const struct answer *answer, struct error *err) {
    LH_CLEANUP_BUF struct buf text;
    struct json_span tasks = {"[]", 2}, task;
    int64_t n = 0;
    buf_init(&text, 2 * CLI_BODY_MAX_BYTES);
    (void)json_span_member(answer->body, "data", &tasks);
    for (; json_span_next(&tasks, &task); n++) {
        buf_append(&text, task.at, task.len);
        buf_char(&text, '\n');
    }
    enum rc rc = n ? write_text(export, &text, err) : RC_OK;
    export->written += rc == RC_OK ? n : 0;
    return rc;
}

static enum rc next_page(struct export *export, const struct answer *answer, struct error *err) {
    const char *next = json_string_value(json_object_get(answer->root, "next"));
    free(export->after);
    export->after = next ? mem_dup(next, strlen(next)) : NULL;
    export->over = !next;
    if (!export->progress.total)
        export->progress.total = json_integer_value(json_object_get(answer->root, "total"));
    progress_show(&export->progress, export->written, export->written);
    return !next || export->after ? RC_OK : error_set(err, RC_NO_MEMORY, "out of memory");
}

static enum rc export_page(struct export *export, struct error *err) {
    LH_CLEANUP_BUF struct buf body;
    LH_ANSWER answer = {0};
    buf_init(&body, CLI_BODY_MAX_BYTES);
    enum rc rc = body_build(export, &body, err);
    if (rc == RC_OK)
        rc = client_ask(export->cli->client, "/api/tasks", &body, &answer, err);
    if (rc == RC_TOO_LARGE && export->size > 1) { /* large values: fewer at a time */
        export->size /= 2;
        return RC_OK;
    }
    if (rc == RC_OK)
        rc = write_tasks(export, &answer, err);
    return rc == RC_OK ? next_page(export, &answer, err) : rc;
}

static enum rc open_output(struct export *export, struct error *err) {
    const char *path = export->cli->value[OPTION_OUTPUT];
    export->to = path ? fopen(path, "we") : stdout;
    if (!export->to)
        return error_set(err, RC_IO, "%s: %s", path, strerror(errno));
    progress_begin(&export->progress, 0);
    if (!path && terminal_out()) /* the lines themselves show how far it is */
        export->progress.on = false;
    return RC_OK;
}

static enum rc close_output(struct export *export, enum rc rc, struct error *err) {
    bool own = export->to && export->to != stdout;
    if (own && fclose(export->to) != 0 && rc == RC_OK)
        return error_set(err, RC_IO, "%s: %s", export->cli->value[OPTION_OUTPUT], strerror(errno));
    return rc;
}

enum rc verb_export(const struct cli *cli, struct error *err) {
    struct export export = {.cli = cli, .size = PAGE};
    enum rc rc = open_output(&export, err);
    while (rc == RC_OK && !export.over)
        rc = export_page(&export, err);
    rc = close_output(&export, rc, err);
    progress_end(&export.progress);
    free(export.after);
    if (export.to && !terminal_broken_pipe())
        fprintf(stderr, "longhaul: %" PRId64 " task%s written\n", export.written,
                export.written == 1 ? "" : "s");
    return rc;
}
