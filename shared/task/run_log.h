/* run_log.h: what one run printed on one of its streams, as every store keeps it.
 *
 *     0          cut_from        cut_to          open_at       end
 *     |───head────|···not kept····|────chunks─────|────open─────|
 *
 * Offsets count the raw bytes of the stream from 0 and never change their meaning. What has been
 * taken lies in chunks, each written once, and in the open part, which grows in place until it is
 * worth a chunk. A log that has grown beyond its cap keeps its head and its tail, half of the cap
 * each: the bytes between cut_from and cut_to are gone (equal: none are). Whole chunks are removed,
 * so that a store may hold a little more than it shows.
 *
 * These functions decide; stores load and write. Any thread.
 */
#ifndef LH_TASK_RUN_LOG_H
#define LH_TASK_RUN_LOG_H

#include "task/task.h"

enum run_stream { STREAM_STDOUT, STREAM_STDERR, RUN_STREAMS };

enum { RUN_LOG_OPEN_BYTES = 4096, RUN_LOG_CHUNK_BYTES = 65536 };

struct run_log {
    int64_t end;              /* bytes of the stream so far: where the next one goes */
    int64_t cut_from, cut_to; /* not kept; equal: all is */
    int64_t open_at;
    char *open;  /* owned; end - open_at bytes */
    bool closed; /* no further bytes come */
};

void run_log_finish(struct run_log *log);

/* Bytes that a sender has. */
struct run_log_piece {
    int64_t offset;  /* of the first */
    int64_t skipped; /* as many before it are not kept by the sender: it cut the middle itself */
    const char *bytes;
    size_t len;
    bool close;  /* the stream ends with them */
    int64_t cap; /* most bytes of the stream that are kept */
};

struct run_log_chunk {
    int64_t at;
    const char *bytes; /* into the step's `joined` */
    size_t len;
};

/* What a store has to write beside the log itself. */
struct run_log_step {
    bool changed;
    struct run_log_chunk *chunks; /* owned; in order */
    size_t n_chunks;
    char *joined; /* owned */
};

void run_log_step_finish(struct run_log_step *step);

/* Takes the piece into *log; what overlaps is dropped. RC_OFFSET_GAP: bytes before it are missing;
 * log->end is the expected offset. RC_ALREADY_FINAL: the stream is closed and the piece goes beyond
 * its end. RC_NO_MEMORY. After a refusal nothing has changed. The caller owns *ret. */
enum rc run_log_append(struct run_log *log, const struct run_log_piece *piece,
                       struct run_log_step *ret) LH_MUST_USE;

/* True where nothing of a chunk is shown any more: it may be removed. */
bool run_log_chunk_gone(const struct run_log *log, int64_t at, int64_t until);

struct run_log_range {
    int64_t from, to;
};

/* The bytes that answer a reader who wants at most `max` from `from` on (negative: the last ones).
 * What is cut lies before the range or after it, never within. */
struct run_log_range run_log_range(const struct run_log *log, int64_t from, size_t max);

/* Copies the part of `bytes`, which stand at offset `at`, that lies in the range behind what
 * *to_len bytes at `to` (room for the range) hold already. Parts come in the order of their
 * offsets; parts that overlap are fine. */
void run_log_gather(struct run_log_range range, int64_t at, const void *bytes, size_t len, char *to,
                    size_t *to_len);

/* Which attempt of the task a run is ("": a module of the base contract). RC_STALE_RUN: the task
 * knows no such run, or an earlier one while task->past is not loaded. */
enum rc run_log_attempt(const struct task *task, const char *run_id,
                        int64_t *ret_attempt) LH_MUST_USE;

/* "stdout", "stderr". */
const char *run_stream_name(enum run_stream stream);
bool run_stream_from_name(const char *name, enum run_stream *ret);

#endif
