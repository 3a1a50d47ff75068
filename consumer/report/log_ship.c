/* log_ship.c: streams, and the call that takes their pieces. */
#include "consumer/report/log_ship.h"

#include "base/base64.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "consumer/backoff.h"
#include "consumer/metrics_table.h"
#include "consumer/report/log_file.h"
#include "consumer/report/spool_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

enum {
    PIECES_MAX = 1000, /* the API takes no more in one call */
    PIECE_MIN_BYTES = 64,
    PIECE_FRAME_BYTES = 320, /* of a piece in the body, but for its bytes and its task's id */
    BODY_MAX_BYTES = 1 << 20,
    CALL_MS = 10000,
    ADOPT_MS = 5000, /* between two looks for what others have left */
    NAME_CAP = UUID_CAP + 32,
};

static const char file_end[] = ".log";

/* A stream from the run's begin, or from when it was found on disk, until it is shipped. */
struct stream {
    TAILQ_ENTRY(stream) link; /* while it is queued */
    LIST_ENTRY(stream) entry; /* of all */
    struct log_ship *ship;
    struct log_file file; /* open while the run goes on, later only when it is read */
    bool has_file;        /* something was printed */
    int64_t taken;        /* where the API goes on */
    bool ended;           /* the run has: file.end is the stream's */
    bool queued;          /* it has something to ship and is not in the call that is out */
    bool sent;            /* it is in that call */
    bool broken;          /* what follows is not kept */
    char traceparent[TRACEPARENT_CAP]; /* of the run; "": none, or not known */
};

struct log_run {
    struct stream *streams[RUN_STREAMS];
};

TAILQ_HEAD(stream_queue, stream);

/* A piece of the call that is out. */
struct sent {
    struct stream *stream;
    bool ends;
};

struct log_ship {
    struct log_ship_options options;
    struct spool_folder *folder; /* NULL: output is not kept */
    struct stream_queue queue;
    LIST_HEAD(, stream) streams;
    size_t n_ended;
    struct event *due, *adopt;
    struct api_call *call; /* NULL: none is out */
    struct buf body;
    char *piece; /* room for the bytes of one */
    size_t piece_max;
    struct sent sent[PIECES_MAX];
    size_t n_sent;
    bool full; /* the call could not take all that waited */
    struct backoff backoff;
    bool resting; /* after a failure, until `due` */
    bool keeping; /* the consumer stops */
    enum rc last; /* what the last call came to, to log a refusal once */
};

/* ---- when ---- */

static void set_due(struct log_ship *ship, int ms) {
    struct timeval wait = {ms / 1000, ms % 1000 * 1000};
    event_add(ship->due, &wait);
}

static bool has_something(const struct stream *stream) {
    return stream->ended || stream->taken < stream->file.end;
}

static bool is_full(const struct stream *stream) {
    return stream->file.end - stream->taken >= SHIP_BYTES;
}

/* The stream waits for the next call, which goes out a while later, so that it takes the pieces of
 * many. */
static void queue_stream(struct stream *stream) {
    struct log_ship *ship = stream->ship;
    if (stream->sent)
        return;
    if (!stream->queued)
        TAILQ_INSERT_TAIL(&ship->queue, stream, link);
    stream->queued = true;
    if (ship->call || ship->resting)
        return;
    if (is_full(stream) || ship->keeping)
        set_due(ship, 0);
    else if (!event_pending(ship->due, EV_TIMEOUT, NULL))
        set_due(ship, SHIP_MS);
}

static void tell_settled(struct log_ship *ship) {
    if (ship->options.settled)
        ship->options.settled(ship->options.arg);
}

/* ---- the end of a stream ---- */

static void file_name(const struct log_file *file, char ret[NAME_CAP]) {
    snprintf(ret, NAME_CAP, "%s-%s%s", file->run_id, run_stream_name(file->stream), file_end);
}

/* Not while it is in a call. */
static void stream_free(struct stream *stream) {
    if (stream->queued)
        TAILQ_REMOVE(&stream->ship->queue, stream, link);
    LIST_REMOVE(stream, entry);
    stream->ship->n_ended -= stream->ended;
    log_file_finish(&stream->file);
    free(stream);
}

/* It is with the API, or the API will never have it. */
static void stream_done(struct stream *stream) {
    char name[NAME_CAP];
    file_name(&stream->file, name);
    if (stream->has_file)
        spool_folder_remove(stream->ship->folder, name);
    stream_free(stream);
}

/* The API takes nothing more of it: what the run still prints goes nowhere. */
static void stream_break(struct stream *stream) {
    stream->broken = true;
    stream->taken = stream->file.end;
    if (stream->ended)
        stream_done(stream);
    else if (stream->has_file)
        log_file_forget(&stream->file);
}

/* ---- answers ---- */

static void take_end(struct stream *stream, int64_t end, bool ends) {
    if (end > stream->taken)
        metrics_add(stream->ship->options.metrics, METRIC_LOG_BYTES, 0, end - stream->taken);
    stream->taken = end;
    if (stream->ended && ends && end >= stream->file.end) {
        stream_done(stream);
        return;
    }
    if (!stream->ended && stream->has_file && end >= stream->file.end)
        log_file_forget(&stream->file);
    if (has_something(stream))
        queue_stream(stream);
}

static void refuse(struct stream *stream, enum rc rc, const char *text) {
    log_warning(.msg = "output refused", .task_id = stream->file.task_id,
                .run_id = stream->file.run_id, .traceparent = stream->traceparent,
                .detail = run_stream_name(stream->file.stream), .code = rc_info(rc)->word,
                .error = text);
    stream_break(stream);
}

/* A refusal of the service, not of the run. */
static bool may_pass(enum rc rc) {
    return rc_info(rc)->http >= 500 || rc_info(rc)->http == 429;
}

/* True where the piece is to be sent again as it was. */
static bool take_item(const struct sent *sent, const json_t *item) {
    struct stream *stream = sent->stream;
    const char *code = json_string_value(json_object_get(item, "code"));
    const char *text = json_string_value(json_object_get(item, "message"));
    const json_t *offset = json_object_get(item, "offset");
    enum rc rc = code ? rc_from_word(code) : RC_OK;
    bool tells = rc == RC_OK || rc == RC_OFFSET_GAP;
    bool again = may_pass(rc) || (tells && !json_is_integer(offset));
    if (again)
        queue_stream(stream);
    else if (tells)
        take_end(stream, json_integer_value(offset), rc == RC_OK && sent->ends);
    else
        refuse(stream, rc, text ? text : code);
    return again;
}

/* `items` NULL: nothing is known of any. True where some are to be sent again. */
static bool take_items(struct log_ship *ship, const json_t *items) {
    bool again = !items;
    size_t n = ship->n_sent;
    ship->n_sent = 0;
    for (size_t i = 0; i < n; i++)
        ship->sent[i].stream->sent = false;
    for (size_t i = 0; i < n; i++) {
        if (items)
            again |= take_item(&ship->sent[i], json_array_get(items, i));
        else
            queue_stream(ship->sent[i].stream);
    }
    return again;
}

/* The API takes smaller bodies than we were told. */
static void shrink(struct log_ship *ship) {
    ship->options.body_max /= 2;
    if (ship->piece_max > PIECE_MIN_BYTES)
        ship->piece_max /= 2;
}

static void plan_next(struct log_ship *ship, bool again) {
    ship->resting = again;
    if (again) {
        struct timeval wait = backoff_next(&ship->backoff);
        event_add(ship->due, &wait);
        return;
    }
    backoff_reset(&ship->backoff);
    struct stream *stream;
    TAILQ_FOREACH(stream, &ship->queue, link)
    ship->full |= is_full(stream);
    if (!TAILQ_EMPTY(&ship->queue))
        set_due(ship, ship->full || ship->keeping ? 0 : SHIP_MS);
}

static void on_answer(const struct api_answer *answer, void *arg) {
    struct log_ship *ship = arg;
    ship->resting = true; /* nothing goes out before all is taken */
    ship->call = NULL;
    const json_t *items = answer->rc == RC_OK ? json_object_get(answer->answer, "data") : NULL;
    bool again = take_items(ship, items);
    if (answer->rc == RC_TOO_LARGE)
        shrink(ship);
    if (answer->rc != RC_OK && !answer->outage && answer->rc != ship->last)
        log_error(.msg = "output not taken", .code = rc_info(answer->rc)->word,
                  .error = answer->text);
    ship->last = answer->rc;
    plan_next(ship, again);
    tell_settled(ship);
}

/* ---- the call ---- */

/* As text where it is text, and not much longer so than in base64. */
static void put_bytes(struct buf *to, const char *bytes, size_t len) {
    size_t mark = to->len;
    if (utf8_valid(bytes, len)) {
        buf_str(to, ",\"text\":");
        buf_json(to, bytes, len);
        if (to->len - mark <= len / 3 * 4 + 32)
            return;
        to->len = mark;
    }
    buf_str(to, ",\"base64\":\"");
    base64_put(to, bytes, len);
    buf_char(to, '"');
}

static void put_piece(struct buf *to, const struct stream *stream, const struct log_piece *piece,
                      const char *bytes, bool ends) {
    buf_str(to, "{\"task_id\":");
    buf_json_str(to, stream->file.task_id);
    buf_printf(to, ",\"run_id\":\"%s\",\"stream\":\"%s\",\"offset\":%" PRId64, stream->file.run_id,
               run_stream_name(stream->file.stream), piece->at);
    if (piece->skipped > 0)
        buf_printf(to, ",\"skipped\":%" PRId64, piece->skipped);
    if (piece->len > 0 || !ends)
        put_bytes(to, bytes, piece->len);
    buf_str(to, ends ? ",\"end\":true}" : "}");
}

/* Opens the file of a stream that has ended; so many may wait that they cannot all stay open. */
static enum rc reopen(struct stream *stream, struct error *err) {
    char name[NAME_CAP];
    if (stream->file.fd >= 0)
        return RC_OK;
    file_name(&stream->file, name);
    stream->file.fd = spool_folder_reopen(stream->ship->folder, name, err);
    return stream->file.fd >= 0 ? RC_OK : RC_IO;
}

static enum rc read_piece(struct stream *stream, struct log_piece *ret, struct error *err) {
    struct log_ship *ship = stream->ship;
    enum rc rc = reopen(stream, err);
    if (rc == RC_OK)
        rc = log_file_read(&stream->file, stream->taken, ship->piece, ship->piece_max, ret, err);
    if (stream->ended)
        log_file_finish(&stream->file);
    return rc;
}

/* What the stream has to ship next. False: its file cannot be read any more. */
static bool next_piece(struct stream *stream, struct log_piece *ret) {
    struct error err;
    *ret = (struct log_piece){.at = stream->taken};
    if (!stream->has_file || read_piece(stream, ret, &err) == RC_OK)
        return true;
    log_error(.msg = "output lost", .task_id = stream->file.task_id, .run_id = stream->file.run_id,
              .traceparent = stream->traceparent, .detail = run_stream_name(stream->file.stream),
              .error = err.text);
    return false;
}

/* Adds the piece to the body; false where it does not fit any more. */
static bool put_if_fits(struct log_ship *ship, const struct stream *stream,
                        const struct log_piece *piece, bool ends) {
    size_t mark = ship->body.len;
    buf_str(&ship->body, ship->n_sent ? "," : "");
    put_piece(&ship->body, stream, piece, ship->piece, ends);
    bool fits =
        buf_rc(&ship->body) == RC_OK && (int64_t)ship->body.len + 2 <= ship->options.body_max;
    if (fits || ship->n_sent == 0)
        return true;
    ship->body.len = mark;
    ship->body.rc = RC_OK;
    return false;
}

/* False where the body is full. */
static bool add_piece(struct log_ship *ship, struct stream *stream) {
    struct log_piece piece;
    if (!next_piece(stream, &piece)) {
        TAILQ_REMOVE(&ship->queue, stream, link);
        stream->queued = false;
        stream_break(stream);
        return true;
    }
    bool ends = stream->ended && piece.at + (int64_t)piece.len >= stream->file.end;
    if (!put_if_fits(ship, stream, &piece, ends))
        return false;
    ship->sent[ship->n_sent++] = (struct sent){stream, ends};
    TAILQ_REMOVE(&ship->queue, stream, link);
    stream->queued = false;
    stream->sent = true;
    return true;
}

static void fill_body(struct log_ship *ship) {
    struct stream *stream;
    buf_clear(&ship->body);
    buf_str(&ship->body, "{\"data\":[");
    while (ship->n_sent < PIECES_MAX && (stream = TAILQ_FIRST(&ship->queue)))
        if (!add_piece(ship, stream))
            break;
    ship->full = !TAILQ_EMPTY(&ship->queue);
    buf_str(&ship->body, "]}");
}

static void on_due(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct log_ship *ship = arg;
    ship->resting = false;
    if (ship->call)
        return;
    fill_body(ship);
    if (ship->n_sent == 0) {
        tell_settled(ship);
        return;
    }
    if (buf_rc(&ship->body) == RC_OK)
        ship->call = api_post(ship->options.api, "/api/log_task", ship->body.data, ship->body.len,
                              CALL_MS, on_answer, ship);
    if (!ship->call)
        plan_next(ship, take_items(ship, NULL));
}

/* ---- runs ---- */

static struct stream *stream_create(struct log_ship *ship) {
    struct stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return NULL;
    stream->ship = ship;
    stream->file.fd = -1;
    LIST_INSERT_HEAD(&ship->streams, stream, entry);
    return stream;
}

static bool run_fill(struct log_run *run, struct log_ship *ship, const char *task_id,
                     const char *run_id) {
    for (unsigned i = 0; i < RUN_STREAMS; i++) {
        struct stream *stream = run->streams[i] = stream_create(ship);
        if (!stream)
            return false;
        stream->file.stream = (enum run_stream)i;
        stream->file.cap = ship->options.cap;
        mem_copy_str(stream->file.task_id, sizeof stream->file.task_id, task_id);
        mem_copy_str(stream->file.run_id, sizeof stream->file.run_id, run_id);
    }
    return true;
}

struct log_run *log_ship_begin(struct log_ship *ship, const char *task_id, const char *run_id) {
    struct log_run *run = calloc(1, sizeof *run);
    if (!run || run_fill(run, ship, task_id, run_id))
        return run;
    for (unsigned i = 0; i < RUN_STREAMS; i++)
        if (run->streams[i])
            stream_free(run->streams[i]);
    free(run);
    return NULL;
}

void log_run_trace(struct log_run *run, const char *traceparent) {
    for (unsigned i = 0; run && i < RUN_STREAMS; i++)
        mem_copy_str(run->streams[i]->traceparent, TRACEPARENT_CAP, traceparent);
}

static enum rc open_file(struct stream *stream, struct error *err) {
    struct log_ship *ship = stream->ship;
    char name[NAME_CAP];
    if (!ship->folder)
        return error_set(err, RC_IO, "there is no folder for it");
    file_name(&stream->file, name);
    int fd = spool_folder_open(ship->folder, name, err);
    enum rc rc = fd < 0 ? RC_IO : log_file_begin(&stream->file, fd, err);
    stream->has_file = rc == RC_OK;
    return rc;
}

void log_run_write(struct log_run *run, enum run_stream stream, const char *bytes, size_t len) {
    struct stream *to = run ? run->streams[stream] : NULL;
    struct error err;
    if (!to || to->broken || len == 0)
        return;
    enum rc rc = to->has_file ? RC_OK : open_file(to, &err);
    if (rc == RC_OK)
        rc = log_file_write(&to->file, bytes, len, &err);
    if (rc != RC_OK) {
        log_error(.msg = "output is not kept any more", .task_id = to->file.task_id,
                  .run_id = to->file.run_id, .traceparent = to->traceparent,
                  .detail = run_stream_name(stream), .error = err.text);
        to->broken = true;
    }
    if (has_something(to))
        queue_stream(to);
}

/* What is on disk may be shipped by another process; the end of a silent stream only by this one.
 */
static void stream_end(struct stream *stream) {
    stream->ended = true;
    stream->ship->n_ended++;
    if (stream->has_file)
        log_file_close_stream(&stream->file);
    log_file_finish(&stream->file);
    queue_stream(stream);
}

void log_run_end(struct log_run *run) {
    for (unsigned i = 0; run && i < RUN_STREAMS; i++)
        stream_end(run->streams[i]);
    free(run);
}

bool log_run_silent(const struct log_run *run) {
    bool silent = run;
    for (unsigned i = 0; silent && i < RUN_STREAMS; i++)
        silent = !run->streams[i]->has_file && !run->streams[i]->broken;
    return silent;
}

void log_run_drop(struct log_run *run) {
    for (unsigned i = 0; i < RUN_STREAMS; i++)
        stream_free(run->streams[i]);
    free(run);
}

/* ---- what others have left ---- */

/* A run ends with its consumer: nothing more comes of this stream. */
static void adopt_stream(struct log_ship *ship, const struct log_file *file) {
    struct stream *stream = stream_create(ship);
    if (!stream) {
        close(file->fd);
        return;
    }
    stream->file = *file;
    stream->has_file = true;
    log_info(.msg = "output taken over", .task_id = file->task_id, .run_id = file->run_id,
             .detail = run_stream_name(file->stream), .count = file->end - file->base);
    stream_end(stream);
}

static void refuse_file(struct log_ship *ship, const struct spool_orphan *orphan, enum rc rc,
                        const char *why) {
    char aside[NAME_MAX + 1] = "";
    if (rc == RC_INVALID_PARAMETER)
        spool_folder_set_aside(ship->folder, orphan, aside, sizeof aside);
    log_error(.msg = rc == RC_INVALID_PARAMETER ? "kept output cannot be read and is set aside"
                                                : "kept output cannot be read now",
              .file = ship->options.spool, .detail = *aside ? aside : orphan->name, .error = why);
}

static void adopt_file(const struct spool_orphan *orphan, void *arg) {
    struct log_ship *ship = arg;
    struct log_file file;
    struct error err;
    char own[NAME_CAP];
    int fd = openat(orphan->from, orphan->name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    enum rc rc =
        fd < 0 ? error_set(&err, RC_IO, "%s", strerror(errno)) : log_file_open(fd, &file, &err);
    if (rc != RC_OK) {
        refuse_file(ship, orphan, rc, err.text);
        return;
    }
    file_name(&file, own);
    if (spool_folder_move(ship->folder, orphan->from, orphan->name, own))
        adopt_stream(ship, &file);
    else
        close(file.fd);
}

static void on_adopt(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct log_ship *ship = arg;
    struct timeval wait = {ADOPT_MS / 1000, ADOPT_MS % 1000 * 1000};
    if (ship->keeping)
        return;
    spool_folder_adopt(ship->folder, adopt_file, ship);
    event_add(ship->adopt, &wait);
}

/* ---- birth and death ---- */

size_t log_ship_pending(const struct log_ship *ship) {
    return ship->n_ended;
}

bool log_ship_rests(const struct log_ship *ship) {
    return ship->resting;
}

static void stream_keep(struct stream *stream) {
    struct error err;
    if (!stream->has_file || stream->taken >= stream->file.end || reopen(stream, &err) != RC_OK)
        return;
    log_file_sync(&stream->file);
    if (stream->ended)
        log_file_finish(&stream->file);
}

void log_ship_keep(struct log_ship *ship) {
    struct stream *stream;
    ship->keeping = true;
    LIST_FOREACH(stream, &ship->streams, entry)
    stream_keep(stream);
    if (!ship->call && !ship->resting && !TAILQ_EMPTY(&ship->queue))
        set_due(ship, 0);
}

/* The largest piece that fits into a body alone. */
static size_t piece_max(const struct log_ship_options *options) {
    int64_t room = (options->body_max - PIECE_FRAME_BYTES - TASK_TEXT_CAP) / 4 * 3;
    return room < PIECE_MIN_BYTES ? PIECE_MIN_BYTES
           : room < SHIP_BYTES    ? (size_t)room
                                  : (size_t)SHIP_BYTES;
}

static enum rc open_folder(struct log_ship *ship, struct error *err) {
    if (!ship->options.spool)
        return RC_OK;
    enum rc rc = spool_folder_create(ship->options.spool, "logs", file_end, &ship->folder, err);
    if (rc == RC_OK && event_add(ship->adopt, &(struct timeval){0, 0}) != 0)
        rc = error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
    return rc;
}

enum rc log_ship_create(const struct log_ship_options *options, struct log_ship **ret,
                        struct error *err) {
    struct log_ship *ship = calloc(1, sizeof *ship);
    if (!ship)
        return error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
    ship->options = *options;
    if (ship->options.body_max > BODY_MAX_BYTES)
        ship->options.body_max = BODY_MAX_BYTES;
    TAILQ_INIT(&ship->queue);
    LIST_INIT(&ship->streams);
    buf_init(&ship->body, BODY_MAX_BYTES + SHIP_BYTES * 8);
    ship->piece_max = piece_max(&ship->options);
    ship->piece = malloc(SHIP_BYTES);
    ship->due = event_new(options->base, -1, 0, on_due, ship);
    ship->adopt = event_new(options->base, -1, 0, on_adopt, ship);
    enum rc rc = ship->piece && ship->due && ship->adopt
                     ? open_folder(ship, err)
                     : error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
    if (rc != RC_OK) {
        log_ship_destroy(ship);
        return rc;
    }
    *ret = ship;
    return RC_OK;
}

void log_ship_destroy(struct log_ship *ship) {
    if (!ship)
        return;
    api_cancel(ship->call);
    while (!LIST_EMPTY(&ship->streams))
        stream_free(LIST_FIRST(&ship->streams));
    spool_folder_destroy(ship->folder);
    if (ship->due)
        event_free(ship->due);
    if (ship->adopt)
        event_free(ship->adopt);
    buf_finish(&ship->body);
    free(ship->piece);
    free(ship);
}
