/* line_reader.c: see line_reader.h. */
#include "cli/line_reader.h"

#include "base/clock.h"
#include "cli/interrupt.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST_CAP = 64 << 10 };

void line_reader_init(struct line_reader *reader, int fd) {
    *reader = (struct line_reader){.fd = fd};
}

void line_reader_finish(struct line_reader *reader) {
    free(reader->data);
    line_reader_init(reader, -1);
}

/* Room behind what there is: what has been read goes, then it grows. */
static bool make_room(struct line_reader *reader) {
    if (reader->from > 0) {
        memmove(reader->data, reader->data + reader->from, reader->to - reader->from);
        reader->to -= reader->from;
        reader->from = 0;
    }
    if (reader->to < reader->cap)
        return true;
    size_t cap = reader->cap ? reader->cap * 2 : FIRST_CAP;
    char *data = realloc(reader->data, cap);
    if (!data)
        return false;
    reader->data = data;
    reader->cap = cap;
    return true;
}

static int timeout_ms(int64_t until_ms) {
    int64_t ms = until_ms - clock_mono_ms();
    return until_ms < 0 ? -1 : ms <= 0 ? 0 : ms < INT_MAX ? (int)ms : INT_MAX;
}

/* LINE_READ: something has come, or the end. */
static enum line_read wait_for_more(const struct line_reader *reader, int64_t until_ms) {
    struct pollfd wait[] = {{.fd = reader->fd, .events = POLLIN},
                            {.fd = interrupt_fd(), .events = POLLIN}};
    int n;
    do
        n = poll(wait, 2, timeout_ms(until_ms));
    while (n < 0 && errno == EINTR && !interrupt_seen());
    if (interrupt_seen())
        return LINE_INTERRUPTED;
    return n > 0 ? LINE_READ : n == 0 ? LINE_LATE : LINE_FAILED;
}

static enum line_read read_more(struct line_reader *reader, int64_t until_ms) {
    if (!make_room(reader))
        return LINE_FAILED;
    enum line_read got = wait_for_more(reader, until_ms);
    if (got != LINE_READ)
        return got;
    ssize_t n = read(reader->fd, reader->data + reader->to, reader->cap - reader->to);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN ? LINE_READ : LINE_FAILED;
    reader->to += (size_t)n;
    reader->ended = n == 0;
    return LINE_READ;
}

static void give(struct line_reader *reader, size_t len, const char **ret_text, size_t *ret_len) {
    *ret_text = reader->data + reader->from;
    *ret_len = len;
    reader->from += len;
}

enum line_read line_reader_next(struct line_reader *reader, int64_t until_ms, const char **ret_text,
                                size_t *ret_len) {
    size_t looked = 0; /* bytes of the line that have no end in them */
    for (;;) {
        size_t n = reader->to - reader->from - looked;
        const char *at = n ? reader->data + reader->from + looked : NULL;
        const char *end = n ? memchr(at, '\n', n) : NULL;
        looked += n;
        if (end || (reader->ended && looked > 0)) {
            give(reader, end ? looked - n + (size_t)(end - at) + 1 : looked, ret_text, ret_len);
            return LINE_READ;
        }
        if (reader->ended)
            return LINE_END;
        enum line_read got = read_more(reader, until_ms);
        if (got != LINE_READ)
            return got;
    }
}
