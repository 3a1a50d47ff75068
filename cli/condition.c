/* condition.c: gathers the text and checks it. */
#include "cli/condition.h"

#include "base/mem.h"
#include "cli/interrupt.h"

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
    if (interrupt_seen())
        return error_set(err, RC_INTERRUPTED, "interrupted");
    if (ferror(file))
        return error_set(err, RC_IO, "%s: %s", path, strerror(errno));
    return buf_rc(to) == RC_OK ? RC_OK : error_set(err, buf_rc(to), "%s: too large", path);
}

static enum rc gather(const struct cli *cli, const char *text, const char *otherwise,
                      struct buf *to, struct error *err) {
    const char *path = cli->value[OPTION_FILE];
    if (text && path)
        return error_set(err, RC_USAGE, "give the condition as an argument or by --file");
    if (path || (text && strcmp(text, "-") == 0))
        return file_read(path ? path : "-", to, err);
    if (!text && !otherwise)
        return error_set(err, RC_USAGE, "which condition? Give it as an argument or by --file");
    buf_str(to, text ? text : otherwise);
    return buf_rc(to);
}

static enum rc check(const struct buf *text, struct error *err) {
    LH_JSON root = NULL;
    struct error why;
    enum rc rc = json_read((struct json_span){text->data, text->len}, &root, &why);
    if (rc == RC_OK)
        return RC_OK;
    const char *what = strncmp(why.text, "body: ", 6) == 0 ? why.text + 6 : why.text;
    return error_set(err, rc, "condition: %s", what);
}

enum rc condition_read(const struct cli *cli, const char *text, const char *otherwise,
                       struct buf *to, struct error *err) {
    enum rc rc = gather(cli, text, otherwise, to, err);
    if (rc == RC_OK && !to->data)
        buf_str(to, "");
    return rc == RC_OK ? check(to, err) : rc;
}
