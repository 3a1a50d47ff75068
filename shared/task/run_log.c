/* run_log.c: how the log of a stream grows, what of it is kept, what a reader gets. */
#include "task/run_log.h"

#include "base/mem.h"
#include "task/record.h"

#include <string.h>

static const char *const stream_names[RUN_STREAMS] = {"stdout", "stderr"};

const char *run_stream_name(enum run_stream stream) {
    return stream_names[stream];
}

bool run_stream_from_name(const char *name, enum run_stream *ret) {
    for (unsigned i = 0; i < RUN_STREAMS; i++)
        if (strcmp(stream_names[i], name) == 0) {
            *ret = (enum run_stream)i;
            return true;
        }
    return false;
}

void run_log_finish(struct run_log *log) {
    free(log->open);
    *log = (struct run_log){0};
}

void run_log_step_finish(struct run_log_step *step) {
    free(step->chunks);
    free(step->joined);
    *step = (struct run_log_step){0};
}

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

bool run_log_chunk_gone(const struct run_log *log, int64_t at, int64_t until) {
    return log->cut_from <= at && until <= log->cut_to;
}

/* The first cut decides where the head ends, whatever the cap is later. */
static void cut(struct run_log *log, int64_t head, int64_t to) {
    if (log->cut_from == log->cut_to)
        log->cut_from = log->cut_to = head;
    log->cut_to = larger(log->cut_to, to);
}

static size_t open_len(const struct run_log *log) {
    return (size_t)(log->end - log->open_at);
}

/* Cuts `len` bytes at offset `at` into chunks behind those of the step, but for what is gone. */
static void add_chunks(const struct run_log *log, int64_t at, const char *bytes, size_t len,
                       struct run_log_step *step) {
    while (len > 0) {
        size_t part = len < RUN_LOG_CHUNK_BYTES ? len : RUN_LOG_CHUNK_BYTES;
        if (!run_log_chunk_gone(log, at, at + (int64_t)part))
            step->chunks[step->n_chunks++] = (struct run_log_chunk){at, bytes, part};
        at += (int64_t)part;
        bytes += part;
        len -= part;
    }
}

/* The piece without what is here already. */
static struct run_log_piece new_part(const struct run_log *log, struct run_log_piece piece) {
    int64_t known = smaller(larger(log->end - piece.offset, 0), (int64_t)piece.len);
    piece.offset += known;
    piece.bytes = piece.bytes ? piece.bytes + known : NULL;
    piece.len -= (size_t)known;
    return piece;
}

static enum rc check(const struct run_log *log, const struct run_log_piece *piece) {
    if (piece->offset - piece->skipped > log->end)
        return RC_OFFSET_GAP;
    bool goes_on = piece->len > 0 || piece->offset > log->end;
    return log->closed && goes_on ? RC_ALREADY_FINAL : RC_OK;
}

/* Room for the open part and the piece, one behind the other, and for their chunks. */
static bool make_room(const struct run_log *log, const struct run_log_piece *piece,
                      struct run_log_step *step) {
    size_t len = open_len(log) + piece->len;
    step->joined = malloc(len + 1);
    step->chunks = calloc(len / RUN_LOG_CHUNK_BYTES + 3, sizeof *step->chunks);
    if (!step->joined || !step->chunks)
        return false;
    if (open_len(log) > 0)
        memcpy(step->joined, log->open, open_len(log));
    if (piece->len > 0)
        memcpy(step->joined + open_len(log), piece->bytes, piece->len);
    return true;
}

/* Ends, cuts and chunks; *ret_open is the new open part, in step->joined. */
static void advance(struct run_log *log, const struct run_log_piece *piece,
                    struct run_log_step *step, const char **ret_open) {
    const char *bytes = step->joined;
    size_t open = open_len(log);
    int64_t open_at = log->open_at, end = piece->offset + (int64_t)piece->len,
            half = piece->cap / 2;
    if (piece->offset > log->end)
        cut(log, smaller(log->end, half), piece->offset);
    if (end > piece->cap)
        cut(log, half, end - half);
    if (piece->offset > log->end) {
        add_chunks(log, open_at, bytes, open, step);
        bytes += open;
        open = 0;
        open_at = piece->offset;
    }
    if (open + piece->len > RUN_LOG_OPEN_BYTES) {
        add_chunks(log, open_at, bytes, open + piece->len, step);
        bytes += open + piece->len;
        open_at = end;
    }
    log->end = end;
    log->open_at = open_at;
    *ret_open = bytes;
}

static enum rc take(struct run_log *log, const struct run_log_piece *piece,
                    struct run_log_step *step) {
    char *room = malloc(RUN_LOG_OPEN_BYTES);
    if (!room || !make_room(log, piece, step)) {
        free(room);
        return RC_NO_MEMORY;
    }
    const char *open;
    advance(log, piece, step, &open);
    memcpy(room, open, open_len(log));
    free(log->open);
    log->open = room;
    return RC_OK;
}

enum rc run_log_append(struct run_log *log, const struct run_log_piece *piece,
                       struct run_log_step *ret) {
    struct run_log_piece part = new_part(log, *piece);
    struct run_log_step step = {0};
    enum rc rc = check(log, &part);
    step.changed = part.len > 0 || part.offset > log->end;
    if (rc == RC_OK && step.changed)
        rc = take(log, &part, &step);
    if (rc != RC_OK) {
        run_log_step_finish(&step);
        return rc;
    }
    step.changed |= part.close && !log->closed;
    log->closed |= part.close;
    *ret = step;
    return RC_OK;
}

struct run_log_range run_log_range(const struct run_log *log, int64_t from, size_t max) {
    bool is_cut = log->cut_from < log->cut_to;
    if (from < 0)
        from = larger(log->end - (int64_t)max, is_cut ? log->cut_to : 0);
    from = smaller(from, log->end);
    if (is_cut && from >= log->cut_from)
        from = larger(from, log->cut_to);
    int64_t to = smaller(log->end, from + (int64_t)max);
    if (is_cut && from < log->cut_from)
        to = smaller(to, log->cut_from);
    return (struct run_log_range){from, to};
}

void run_log_gather(struct run_log_range range, int64_t at, const void *bytes, size_t len, char *to,
                    size_t *to_len) {
    int64_t next = range.from + (int64_t)*to_len, until = smaller(at + (int64_t)len, range.to);
    if (at > next || until <= next)
        return;
    memcpy(to + *to_len, (const char *)bytes + (next - at), (size_t)(until - next));
    *to_len += (size_t)(until - next);
}

enum rc run_log_attempt(const struct task *task, const char *run_id, int64_t *ret_attempt) {
    bool has_run = task->attempt > 0 || task->start_at > 0;
    bool is_last = has_run && strcmp(task->run_id, run_id) == 0;
    int64_t attempt = is_last ? task->attempt : record_attempt(task->past, run_id);
    if (!is_last && attempt == 0)
        return RC_STALE_RUN;
    *ret_attempt = attempt;
    return RC_OK;
}
