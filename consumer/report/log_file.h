/* log_file.h: what a run prints on one stream, on disk until the API has it.
 *
 *     | head of LOG_FILE_HEADER bytes | first half of the cap | last half and a bit, as a ring |
 *
 * Every byte is written to the file as soon as it is read from the module: what has reached the
 * consumer outlives its kill -9. Nothing waits for the disk. Offsets are the stream's; the file
 * begins at `base`, which moves up when all is shipped. Of more than the cap the first half of it
 * and the last are kept, as the API does. Loop thread only.
 */
#ifndef LH_CONSUMER_LOG_FILE_H
#define LH_CONSUMER_LOG_FILE_H

#include "task/run_log.h"

enum { LOG_FILE_HEADER = 512 };

struct log_file {
    int fd; /* -1: none */
    char task_id[TASK_TEXT_CAP];
    char run_id[UUID_CAP];
    enum run_stream stream;
    int64_t base, end; /* offsets of the first byte, and behind the last */
    int64_t cap;
    bool closed; /* the run has ended: no more is written */
};

/* Begins an empty file; task_id, run_id, stream and cap are set, `fd` (owned from now on) is open
 * for reading and writing. RC_IO with the reason. */
enum rc log_file_begin(struct log_file *file, int fd, struct error *err) LH_MUST_USE;

/* Reads the head of a file that another process has left; `fd` is owned from now on. RC_IO: it
 * cannot be read; RC_INVALID_PARAMETER: it is no such file, or may have lost bytes in a crash of
 * the host. */
enum rc log_file_open(int fd, struct log_file *ret, struct error *err) LH_MUST_USE;

/* Appends. RC_IO with the reason: some of it may be written; file->end says how much. */
enum rc log_file_write(struct log_file *file, const char *bytes, size_t len,
                       struct error *err) LH_MUST_USE;

/* A piece that can be shipped. */
struct log_piece {
    int64_t at;
    int64_t skipped; /* bytes before it that are not kept */
    size_t len;
};

/* Reads up to `max` bytes of what stands at `from` or, where that is not kept, next behind it. A
 * `from` beyond the end reads nothing. */
enum rc log_file_read(const struct log_file *file, int64_t from, char *to, size_t max,
                      struct log_piece *ret, struct error *err) LH_MUST_USE;

/* Everything up to the end is shipped: the file need not keep it. A failure is harmless. */
void log_file_forget(struct log_file *file);

/* The run has ended; another process may ship the rest. A failure is harmless. */
void log_file_close_stream(struct log_file *file);

/* Makes the file fit to outlive a crash of the host. */
void log_file_sync(struct log_file *file);

/* Closes the descriptor. */
void log_file_finish(struct log_file *file);

#endif
