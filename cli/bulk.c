/* bulk.c: lines, batches, answers. */
#include "cli/bulk.h"

#include "base/clock.h"
#include "base/ids.h"
#include "base/mem.h"
#include "cli/arguments.h"
#include "cli/line_reader.h"
#include "cli/progress.h"
#include "cli/terminal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
    BATCH_MAX = 500,
    BATCH_BYTES = 512 << 10, /* of items; a larger one goes alone */
    KEY_CAP = 300,
    GATHER_MS = 200, /* the first line of a batch waits no longer for one that has not come */
    PAUSE_MS = 500,
    PATIENCE_MS = 30000,
};

struct item {
    int64_t line;
    size_t at, len; /* in bulk->text */
    char *answer;   /* NULL: not yet */
};

struct bulk {
    const struct cli *cli;
    FILE *file;
    struct line_reader reader;
    const char *path;
    const char *key;
    char own_key[UUID_CAP];
    int64_t batch_max, patience_ms;
    struct item items[BATCH_MAX];
    size_t n;
    int64_t since_ms; /* clock_mono_ms() of the first of them */
    struct buf text;  /* the items, one after the other */
    int64_t lines, bytes, created, duplicates, refused, passed;
    enum rc first; /* refusal */
    struct progress progress;
};

/* -- answers -- */

static void refuse(struct bulk *bulk, int64_t line, enum rc rc, const char *why) {
    char text[sizeof((struct error *)0)->text];
    progress_end(&bulk->progress);
    snprintf(text, sizeof text, "line %" PRId64 ": %.400s", line, why);
    cli_say(text, rc);
    bulk->refused++;
    bulk->first = bulk->first == RC_OK ? rc : bulk->first;
}

static bool is_busy(enum rc rc) {
    int http = rc_info(rc)->http;
    return http == 429 || http == 503 || http == 504;
}

static enum rc note_answer(struct item *item, struct json_span answer, struct error *err) {
    item->answer = mem_dup(answer.at, answer.len);
    return item->answer ? RC_OK : error_set(err, RC_NO_MEMORY, "out of memory");
}

/* Why a task was not taken now; the whole ends with it where there is no patience left. */
static enum rc still_busy(const struct item *item, enum rc rc, const json_t *answer,
                          struct error *err) {
    const char *message = json_string_value(json_object_get(answer, "message"));
    return error_set(err, rc, "line %" PRId64 ": %.300s", item->line,
                     message ? message : rc_info(rc)->text);
}

/* Notes what the API said of the items that were sent. *ret_busy: the first outcome of those that
 * are to be sent again, and *err why. */
static enum rc read_answer(struct bulk *bulk, const size_t *sent, size_t n,
                           const struct answer *answer, enum rc *ret_busy, struct error *err) {
    struct json_span rest, span;
    const json_t *data = json_object_get(answer->root, "data");
    if (json_array_size(data) != n || !json_span_member(answer->body, "data", &rest))
        return error_set(err, RC_IO, "the API answered another number of tasks than were sent");
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < n && json_span_next(&rest, &span); i++) {
        struct item *item = &bulk->items[sent[i]];
        const json_t *one = json_array_get(data, i);
        const char *code = json_string_value(json_object_get(one, "code"));
        enum rc said = code ? rc_from_word(code) : RC_OK;
        if (!is_busy(said))
            rc = note_answer(item, span, err);
        else if (*ret_busy == RC_OK)
            *ret_busy = still_busy(item, said, one, err);
    }
    return rc;
}

/* Which of items[from…to) have no answer yet. */
static size_t unanswered(const struct bulk *bulk, size_t from, size_t to, size_t *ret) {
    size_t n = 0;
    for (size_t i = from; i < to; i++)
        if (!bulk->items[i].answer)
            ret[n++] = i;
    return n;
}

static enum rc send_once(struct bulk *bulk, const size_t *sent, size_t n, enum rc *ret_busy,
                         struct error *err) {
    LH_CLEANUP_BUF struct buf body;
    LH_ANSWER answer = {0};
    buf_init(&body, CLI_BODY_MAX_BYTES);
    buf_str(&body, "{\"data\":[");
    for (size_t i = 0; i < n; i++) {
        buf_str(&body, i ? "," : "");
        buf_append(&body, bulk->text.data + bulk->items[sent[i]].at, bulk->items[sent[i]].len);
    }
    buf_str(&body, "]}");
    enum rc rc = client_ask(bulk->cli->client, "/api/create_task", &body, &answer, err);
    return rc == RC_OK ? read_answer(bulk, sent, n, &answer, ret_busy, err) : rc;
}

/* An item that is too large by itself is refused as the API would refuse it. */
static enum rc note_too_large(struct bulk *bulk, size_t i, struct error *err) {
    static const char text[] =
        "{\"code\":\"TOO_LARGE\",\"message\":\"the task is larger than the API takes\"}";
    return note_answer(&bulk->items[i], (struct json_span){text, sizeof text - 1}, err);
}

/* Sends items[from…to) until each has its answer; in halves where they are too many at a time. What
 * the API is too busy for goes again until patience ends: then so does the whole. */
static enum rc send_items(struct bulk *bulk, size_t from, size_t to, struct error *err) {
    size_t sent[BATCH_MAX], n;
    enum rc rc = RC_OK;
    int64_t end_ms = clock_mono_ms() + bulk->patience_ms;
    while (rc == RC_OK && (n = unanswered(bulk, from, to, sent)) > 0) {
        enum rc busy = RC_OK;
        rc = send_once(bulk, sent, n, &busy, err);
        if ((rc == RC_TOO_LARGE || rc == RC_TOO_MANY) && to - from > 1) {
            size_t middle = from + (to - from) / 2;
            rc = send_items(bulk, from, middle, err);
            return rc == RC_OK ? send_items(bulk, middle, to, err) : rc;
        }
        if (rc == RC_TOO_LARGE)
            rc = note_too_large(bulk, from, err);
        if (rc == RC_OK && busy != RC_OK && clock_mono_ms() >= end_ms)
            return busy;
        if (rc == RC_OK && busy != RC_OK)
            rc = client_sleep(bulk->cli->client, PAUSE_MS, err);
    }
    return rc;
}

static void print_answer(struct bulk *bulk, const struct item *item) {
    LH_JSON root = NULL;
    struct error why;
    struct json_span span = {item->answer, strlen(item->answer)};
    if (json_read(span, &root, &why) != RC_OK)
        return;
    const char *id = json_string_value(json_object_get(root, "task_id"));
    const char *code = json_string_value(json_object_get(root, "code"));
    if (code || !id) {
        const char *message = json_string_value(json_object_get(root, "message"));
        refuse(bulk, item->line, rc_from_word(code ? code : ""), message ? message : "refused");
        return;
    }
    bool duplicate = json_is_true(json_object_get(root, "duplicate"));
    bulk->duplicates += duplicate;
    bulk->created += !duplicate;
    if (bulk->cli->value[OPTION_JSON])
        cli_print_json(span);
    else
        puts(id);
}

/* Sends the batch, prints the answers that came, and begins a new one. */
static enum rc send_batch(struct bulk *bulk, struct error *err) {
    enum rc rc = bulk->n ? send_items(bulk, 0, bulk->n, err) : RC_OK;
    for (size_t i = 0; i < bulk->n; i++) {
        if (bulk->items[i].answer)
            print_answer(bulk, &bulk->items[i]);
        free(TAKE(bulk->items[i].answer));
    }
    bulk->n = 0;
    buf_clear(&bulk->text);
    progress_show(&bulk->progress, bulk->bytes, bulk->created + bulk->duplicates);
    return rc == RC_OK ? terminal_flush(err) : rc;
}

/* -- lines -- */

static bool is_blank(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (!strchr(" \t\r\n", text[i]))
            return false;
    return true;
}

/* Makes the line an item of the batch; a line that is wrong is refused and passed. */
static enum rc take_line(struct bulk *bulk, bulk_read *read, const char *text, size_t len,
                         struct error *err) {
    char key[KEY_CAP];
    LH_JSON root = NULL;
    struct error why = {.text = ""};
    snprintf(key, sizeof key, "%.255s:%" PRId64, bulk->key, bulk->lines);
    struct bulk_line line = {.number = bulk->lines, .text = {text, len}, .key = key};
    size_t at = bulk->text.len;
    enum rc rc = json_read(line.text, &root, &why);
    line.root = root;
    if (rc == RC_OK)
        rc = read(bulk->cli, &line, &bulk->text, &why);
    if (rc == RC_OK && buf_rc(&bulk->text) != RC_OK)
        return error_set(err, buf_rc(&bulk->text), "out of memory");
    if (rc == RC_INVALID_PARAMETER) {
        bulk->text.len = at;
        refuse(bulk, bulk->lines, rc, why.text);
        return RC_OK;
    }
    if (rc != RC_OK)
        return error_set(err, rc, "%s", why.text);
    if (bulk->text.len == at)
        bulk->passed++;
    else
        bulk->items[bulk->n++] =
            (struct item){.line = bulk->lines, .at = at, .len = bulk->text.len - at};
    return RC_OK;
}

static enum rc note_line(struct bulk *bulk, bulk_read *read, const char *text, size_t len,
                         struct error *err) {
    bulk->lines++;
    bulk->bytes += (int64_t)len;
    if (bulk->n == 0)
        bulk->since_ms = clock_mono_ms();
    enum rc rc = is_blank(text, len) ? RC_OK : take_line(bulk, read, text, len, err);
    if (rc == RC_OK && ((int64_t)bulk->n >= bulk->batch_max || bulk->text.len >= BATCH_BYTES))
        rc = send_batch(bulk, err);
    return rc;
}

/* What has gathered goes out as well where the lines come slowly. */
static enum rc read_lines(struct bulk *bulk, bulk_read *read, struct error *err) {
    enum rc rc = RC_OK;
    for (bool more = true; rc == RC_OK && more;) {
        const char *text;
        size_t len;
        switch (line_reader_next(&bulk->reader, bulk->n ? bulk->since_ms + GATHER_MS : -1, &text,
                                 &len)) {
        case LINE_READ:
            rc = note_line(bulk, read, text, len, err);
            break;
        case LINE_LATE:
            rc = send_batch(bulk, err);
            break;
        case LINE_END:
            more = false;
            break;
        case LINE_INTERRUPTED:
            rc = error_set(err, RC_INTERRUPTED, "interrupted");
            break;
        case LINE_FAILED:
            rc = error_set(err, RC_IO, "%s: %s", bulk->path, strerror(errno));
        }
    }
    return rc == RC_OK ? send_batch(bulk, err) : rc;
}

/* -- the whole -- */

static enum rc open_file(struct bulk *bulk, struct error *err) {
    const char *path = bulk->cli->value[OPTION_FILE];
    bulk->path = path ? path : "-";
    bulk->file = strcmp(bulk->path, "-") == 0 ? stdin : fopen(path, "re");
    if (!bulk->file)
        return error_set(err, RC_IO, "%s: %s", path, strerror(errno));
    line_reader_init(&bulk->reader, fileno(bulk->file));
    struct stat about;
    bool known = fstat(fileno(bulk->file), &about) == 0 && S_ISREG(about.st_mode);
    progress_begin(&bulk->progress, known ? about.st_size : 0);
    return RC_OK;
}

static enum rc begin(struct bulk *bulk, struct error *err) {
    const char *key = bulk->cli->value[OPTION_KEY];
    uuid_make(bulk->own_key);
    bulk->key = key ? key : bulk->own_key;
    bulk->batch_max = BATCH_MAX;
    bulk->patience_ms = PATIENCE_MS;
    buf_init(&bulk->text, CLI_BODY_MAX_BYTES);
    enum rc rc = cli_integer(bulk->cli, OPTION_BATCH, 1, &bulk->batch_max, err);
    if (rc == RC_OK)
        rc = cli_duration(bulk->cli, OPTION_PATIENCE, &bulk->patience_ms, err);
    if (rc == RC_OK && bulk->batch_max > BATCH_MAX)
        return error_set(err, RC_USAGE, "--batch: expected a whole number from 1 to %d", BATCH_MAX);
    return rc == RC_OK ? open_file(bulk, err) : rc;
}

static void print_sum(const struct bulk *bulk) {
    char text[200];
    size_t at = (size_t)snprintf(text, sizeof text, "%" PRId64 " created", bulk->created);
    const struct {
        int64_t n;
        const char *what;
    } parts[] = {{bulk->duplicates, "were there already"},
                 {bulk->refused, "refused"},
                 {bulk->passed, "passed over"}};
    for (size_t i = 0; i < LH_COUNT(parts); i++)
        if (parts[i].n)
            at += (size_t)snprintf(text + at, sizeof text - at, ", %" PRId64 " %s", parts[i].n,
                                   parts[i].what);
    cli_say(text, RC_OK);
}

/* The same lines may be given again; those that name no key of their own need the one they had. */
static void say_how_to_go_on(const struct bulk *bulk, enum rc rc, const struct error *why,
                             struct error *err) {
    bool begun = bulk->lines > 0 && rc != RC_USAGE;
    if (begun && bulk->cli->value[OPTION_JSONL])
        (void)error_set(err, rc, "%.300s; repeat it with --key %.100s: nothing is created twice",
                        why->text, bulk->key);
    else if (begun)
        (void)error_set(err, rc, "%.300s; repeat it: nothing is created twice", why->text);
    else
        *err = *why;
}

enum rc bulk_create(const struct cli *cli, bulk_read *read, struct error *err) {
    struct bulk *bulk = calloc(1, sizeof *bulk);
    struct error why = {.text = ""};
    if (!bulk)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    bulk->cli = cli;
    enum rc rc = begin(bulk, &why), first;
    if (rc == RC_OK)
        rc = read_lines(bulk, read, &why);
    progress_end(&bulk->progress);
    if (bulk->file && !terminal_broken_pipe())
        print_sum(bulk);
    if (rc != RC_OK)
        say_how_to_go_on(bulk, rc, &why, err);
    first = bulk->first;
    if (bulk->file && bulk->file != stdin)
        fclose(bulk->file);
    line_reader_finish(&bulk->reader);
    buf_finish(&bulk->text);
    free(bulk);
    return rc != RC_OK ? rc : first;
}
