/* verb_import.c: longhaul import: tasks made of the lines that an export wrote. */
#include "cli/cli.h"

#include "cli/bulk.h"

#include <stdio.h>
#include <string.h>

static const char *text_of(const json_t *task, const char *name) {
    const char *text = json_string_value(json_object_get(task, name));
    return text ? text : "";
}

/* Appends ",\"name\":value" as it stands in the line, if it is there and not null. */
static void carry(const struct bulk_line *line, const char *name, struct buf *to) {
    struct json_span value;
    const json_t *member = json_object_get(line->root, name);
    if (!member || json_is_null(member) || !json_span_member(line->text, name, &value))
        return;
    buf_printf(to, ",\"%s\":", name);
    buf_append(to, value.at, value.len);
}

/* The old key, or else one made of the old id: the same line is the same task whenever it comes. */
static void put_key(const struct bulk_line *line, struct buf *to) {
    const char *old = text_of(line->root, "idempotency_key"), *id = text_of(line->root, "task_id");
    char key[256];
    snprintf(key, sizeof key, "import:%.240s", id);
    buf_str(to, ",\"idempotency_key\":");
    buf_json_str(to, old[0] ? old : id[0] ? key : line->key);
}

/* What a create gets that does not name it is left out: the answer to a key that comes again
 * depends on what is sent. */
static bool is_default(const json_t *task, const char *name) {
    const json_t *value = json_object_get(task, name);
    if (strcmp(name, "priority") == 0)
        return json_integer_value(value) == 4;
    if (strcmp(name, "max_attempts") == 0)
        return json_integer_value(value) == 1;
    return strcmp(text_of(value, "kind"), "exponential") == 0 &&
           json_number_value(json_object_get(value, "base_s")) == 5 &&
           json_number_value(json_object_get(value, "max_s")) == 600 &&
           json_number_value(json_object_get(value, "jitter")) == 0.2;
}

static bool has_ended(const json_t *task) {
    const char *status = text_of(task, "status");
    return strcmp(status, "finished") == 0 || strcmp(status, "failed") == 0;
}

static enum rc read_line(const struct cli *cli, const struct bulk_line *line, struct buf *to,
                         struct error *err) {
    static const char *const carried[] = {"timeout_s", "expire_s", "tags"};
    static const char *const defaulted[] = {"priority", "max_attempts", "retry"};
    if (!text_of(line->root, "service")[0] || !json_object_get(line->root, "condition"))
        return error_set(err, RC_INVALID_PARAMETER,
                         "expected an object with service and condition");
    if (has_ended(line->root) && !cli->value[OPTION_ENDED])
        return RC_OK;
    buf_str(to, "{\"service\":");
    buf_json_str(to, text_of(line->root, "service"));
    carry(line, "condition", to);
    if (json_is_null(json_object_get(line->root, "condition")))
        buf_str(to, ",\"condition\":null");
    for (size_t i = 0; i < sizeof carried / sizeof *carried; i++)
        carry(line, carried[i], to);
    for (size_t i = 0; i < sizeof defaulted / sizeof *defaulted; i++)
        if (!is_default(line->root, defaulted[i]))
            carry(line, defaulted[i], to);
    put_key(line, to);
    if (strcmp(text_of(line->root, "sub_status"), "held") == 0)
        buf_str(to, ",\"start\":false");
    else if (strcmp(text_of(line->root, "sub_status"), "delayed") == 0)
        carry(line, "run_at", to);
    buf_char(to, '}');
    return RC_OK;
}

enum rc verb_import(const struct cli *cli, struct error *err) {
    struct cli from = *cli;
    from.value[OPTION_FILE] = cli->n_args ? cli->args[0] : "-";
    return bulk_create(&from, read_line, err);
}
