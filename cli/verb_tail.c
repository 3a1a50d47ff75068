/* verb_tail.c: longhaul tail: what a task's runs print, as it comes.
 *
 * Each stream is asked for by itself from the offset where it stands, so a connection that breaks
 * loses and doubles nothing. When both streams of a run are at their end, the task tells whether
 * there will be another run.
 */
#include "cli/cli.h"

#include "base/base64.h"
#include "base/mem.h"
#include "cli/arguments.h"
#include "cli/interrupt.h"
#include "cli/terminal.h"
#include "cli/terminal_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { WAIT_S = 30, STATE_WAIT_S = 2, AGAIN_MS = 500, STREAMS = 2 };

struct tail;

struct stream {
    struct tail *tail;
    const char *name; /* NULL: not asked for */
    FILE *to;
    bool escape;    /* a terminal: no control characters of the task reach it */
    int64_t offset; /* negative: the last lines first */
    bool over;
    struct client_call *call;
    struct event *again;
};

struct tail {
    const struct cli *cli;
    bool follow;
    int64_t lines;   /* negative: from the beginning */
    int64_t attempt; /* 0: none has begun */
    struct stream streams[STREAMS];
    enum rc rc;
    struct error err;
};

/* -- output -- */

static enum rc write_bytes(struct stream *stream, const char *text, struct error *err) {
    LH_FREE char *bytes = NULL;
    size_t len = 0;
    enum rc rc = base64_read(text, strlen(text), &bytes, &len);
    if (rc != RC_OK)
        return error_set(err, RC_IO, "the API answered a log that is not base64");
    if (stream->to == stdout)
        return terminal_write(bytes, len, err);
    fwrite(bytes, 1, len, stream->to);
    return RC_OK;
}

/* Bytes as they are, or text of which no control character reaches the terminal. */
static enum rc write_piece(struct stream *stream, const json_t *piece, struct error *err) {
    const char *text = json_string_value(piece);
    if (!text)
        return error_set(err, RC_IO, "the API answered no piece of a log");
    enum rc rc = stream->escape ? RC_OK : write_bytes(stream, text, err);
    if (stream->escape)
        terminal_text_write(stream->to, text, json_string_length(piece), true);
    if (rc != RC_OK)
        return rc;
    if (stream->to == stdout)
        return terminal_flush(err);
    return fflush(stream->to) == 0 ? RC_OK : error_set(err, RC_IO, "stderr cannot be written");
}

static const char *encoding_of(const struct stream *stream) {
    return stream->escape ? "text" : "base64"; /* also the member's name */
}

/* -- one run -- */

static void ask(struct stream *stream);

static void stop(struct tail *tail, enum rc rc, const struct error *err) {
    tail->rc = rc;
    if (err != &tail->err)
        tail->err = *err;
    event_base_loopbreak(client_base(tail->cli->client));
}

static void on_again(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    ask(arg);
}

/* An API that was there and is away for a moment is asked again where it was left. */
static void ask_later(struct stream *stream) {
    struct timeval pause = {0, AGAIN_MS * 1000};
    event_add(stream->again, &pause);
}

static void stream_over(struct stream *stream) {
    struct tail *tail = stream->tail;
    bool all = true;
    stream->over = true;
    for (int i = 0; i < STREAMS; i++)
        all &= tail->streams[i].over || !tail->streams[i].name;
    if (all)
        event_base_loopbreak(client_base(tail->cli->client));
}

static void take_answer(struct stream *stream, const struct answer *answer) {
    struct tail *tail = stream->tail;
    const json_t *piece = json_object_get(answer->root, encoding_of(stream));
    json_int_t skipped = json_integer_value(json_object_get(answer->root, "skipped"));
    const json_t *offset = json_object_get(answer->root, "offset");
    if (skipped > 0)
        fprintf(stderr, "longhaul: %" JSON_INTEGER_FORMAT " bytes of %s are not kept\n", skipped,
                stream->name);
    enum rc rc = write_piece(stream, piece, &tail->err);
    if (rc != RC_OK) {
        stop(tail, rc, &tail->err);
        return;
    }
    stream->offset = json_integer_value(offset);
    bool nothing = json_string_length(piece) == 0;
    if (json_is_true(json_object_get(answer->root, "is_end")) || (nothing && !tail->follow))
        stream_over(stream);
    else
        ask(stream);
}

static void on_answer(enum rc rc, struct answer *answer, const struct error *err, void *arg) {
    struct stream *stream = arg;
    struct tail *tail = stream->tail;
    stream->call = NULL;
    if (rc == RC_OK)
        take_answer(stream, answer);
    else if (tail->follow && client_may_recover(tail->cli->client, rc))
        ask_later(stream);
    else
        stop(tail, rc, err);
}

static void ask(struct stream *stream) {
    struct tail *tail = stream->tail;
    LH_CLEANUP_BUF struct buf body;
    buf_init(&body, 4096);
    buf_str(&body, "{\"data\":{\"task_id\":");
    buf_json_str(&body, tail->cli->args[0]);
    buf_printf(&body, ",\"stream\":\"%s\",\"encoding\":\"%s\",\"attempt\":%" PRId64, stream->name,
               encoding_of(stream), tail->attempt);
    if (stream->offset >= 0)
        buf_printf(&body, ",\"offset\":%" PRId64, stream->offset);
    else
        buf_printf(&body, ",\"lines\":%" PRId64, tail->lines);
    if (tail->follow)
        buf_printf(&body, ",\"wait_s\":%d", WAIT_S);
    buf_str(&body, "}}");
    if (buf_rc(&body) == RC_OK)
        stream->call = client_start(tail->cli->client, "/api/logs_task", &body, on_answer, stream);
    if (!stream->call) {
        (void)error_set(&tail->err, RC_NO_MEMORY, "out of memory");
        stop(tail, RC_NO_MEMORY, &tail->err);
    }
}

/* Both streams of the run, until they are at their end or, without following, where it stands. */
static enum rc tail_run(struct tail *tail, struct error *err) {
    tail->rc = RC_OK;
    for (int i = 0; i < STREAMS; i++) {
        struct stream *stream = &tail->streams[i];
        stream->over = false;
        if (stream->name)
            ask(stream);
    }
    bool over = false;
    while (!over && tail->rc == RC_OK && !interrupt_seen()) {
        event_base_dispatch(client_base(tail->cli->client));
        over = true;
        for (int i = 0; i < STREAMS; i++)
            over &= tail->streams[i].over || !tail->streams[i].name;
    }
    for (int i = 0; i < STREAMS; i++) {
        client_cancel(TAKE(tail->streams[i].call));
        event_del(tail->streams[i].again);
    }
    if (tail->rc != RC_OK)
        return error_set(err, tail->rc, "%s", tail->err.text);
    return over ? RC_OK : error_set(err, RC_INTERRUPTED, "interrupted");
}

/* -- the task -- */

struct task_state {
    int64_t attempt;
    bool final;
};

/* A change between two questions wakes no wait: waits are short. */
static enum rc ask_state(struct tail *tail, bool wait, struct task_state *ret, struct error *err) {
    LH_CLEANUP_BUF struct buf body;
    LH_ANSWER answer = {0};
    buf_init(&body, 4096);
    buf_str(&body, "{\"data\":[{\"task_id\":");
    buf_json_str(&body, tail->cli->args[0]);
    buf_printf(&body, "}],\"wait_s\":%d}", wait ? STATE_WAIT_S : 0);
    enum rc rc = client_ask(tail->cli->client, "/api/status_task", &body, &answer, err);
    if (rc != RC_OK)
        return rc;
    const json_t *task = json_array_get(json_object_get(answer.root, "status"), 0);
    const char *status = json_string_value(json_object_get(task, "status"));
    const char *sub = json_string_value(json_object_get(task, "sub_status"));
    if (!status || strcmp(status, "Invalid") == 0)
        return error_set(err, RC_UNKNOWN_TASK, "%.255s: no such task", tail->cli->args[0]);
    if (sub && strcmp(sub, "removed") == 0)
        return error_set(err, RC_TASK_REMOVED, "%.255s: the task has been removed",
                         tail->cli->args[0]);
    ret->final = strcmp(status, "finished") == 0 || strcmp(status, "failed") == 0;
    ret->attempt = json_integer_value(json_object_get(task, "attempt"));
    return RC_OK;
}

/* Waits for a run after tail->attempt; *ret 0: there will be none. */
static enum rc next_attempt(struct tail *tail, int64_t *ret, struct error *err) {
    struct task_state state = {0, false};
    for (bool wait = false;; wait = true) {
        enum rc rc = ask_state(tail, wait, &state, err);
        bool away =
            rc != RC_OK && rc != RC_INTERRUPTED && client_may_recover(tail->cli->client, rc);
        if (away && tail->follow)
            rc = client_sleep(tail->cli->client, AGAIN_MS, err);
        if (rc != RC_OK)
            return rc;
        if (away)
            continue;
        bool more = state.attempt > tail->attempt;
        if (more || state.final || !tail->follow) {
            *ret = more ? state.attempt : 0;
            return RC_OK;
        }
    }
}

static void begin_attempt(struct tail *tail, int64_t attempt) {
    if (tail->attempt > 0 && terminal_err())
        fprintf(stderr, "longhaul: attempt %" PRId64 "\n", attempt);
    bool first = tail->attempt == 0;
    tail->attempt = attempt;
    for (int i = 0; i < STREAMS; i++)
        tail->streams[i].offset = first && tail->lines >= 0 ? -1 : 0;
}

/* The run that was asked for, or the last one and, when following, all that come. */
static enum rc tail_task(struct tail *tail, struct error *err) {
    int64_t attempt = 0;
    enum rc rc = cli_integer(tail->cli, OPTION_ATTEMPT, 1, &attempt, err);
    if (rc == RC_OK && attempt) {
        begin_attempt(tail, attempt);
        return tail_run(tail, err);
    }
    while (rc == RC_OK) {
        rc = next_attempt(tail, &attempt, err);
        if (rc != RC_OK || attempt == 0)
            return rc;
        begin_attempt(tail, attempt);
        rc = tail_run(tail, err);
        if (!tail->follow)
            return rc;
    }
    return rc;
}

static enum rc choose_streams(struct tail *tail, struct error *err) {
    static const char *const names[STREAMS] = {"stdout", "stderr"};
    const char *wanted = tail->cli->value[OPTION_STREAM];
    bool any = false, raw = tail->cli->value[OPTION_RAW];
    for (int i = 0; i < STREAMS; i++) {
        struct stream *stream = &tail->streams[i];
        bool is_out = i == 0;
        *stream = (struct stream){.tail = tail, .to = is_out || wanted ? stdout : stderr};
        stream->escape = !raw && (stream->to == stdout ? terminal_out() : terminal_err());
        stream->again = evtimer_new(client_base(tail->cli->client), on_again, stream);
        if (!stream->again)
            return error_set(err, RC_NO_MEMORY, "out of memory");
        if (!wanted || strcmp(wanted, names[i]) == 0)
            stream->name = names[i];
        any |= stream->name != NULL;
    }
    return any ? RC_OK
               : error_set(err, RC_USAGE, "--stream: expected stdout or stderr, found '%s'",
                           wanted);
}

enum rc verb_tail(const struct cli *cli, struct error *err) {
    struct tail tail = {.cli = cli, .follow = cli->value[OPTION_FOLLOW], .lines = -1};
    enum rc rc = cli_integer(cli, OPTION_LINES, 1, &tail.lines, err);
    if (rc == RC_OK)
        rc = choose_streams(&tail, err);
    if (rc == RC_OK)
        rc = tail_task(&tail, err);
    for (int i = 0; i < STREAMS; i++)
        if (tail.streams[i].again)
            event_free(tail.streams[i].again);
    return rc;
}
