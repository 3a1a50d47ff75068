/* lines.c: a pipe cut into lines. */
#include "consumer/slot/lines.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum {
    READ_BYTES = 16 * 1024,
    READS_A_TURN = 4,  /* then the loop serves others */
    READS_AT_END = 64, /* 1 MiB, the largest pipe that an unprivileged process can make */
};

static void hand_on(struct lines *lines, bool cut) {
    if (!lines->skipping)
        lines->take(lines->arg, lines->line.data ? lines->line.data : "", lines->line.len, cut);
    lines->skipping = cut;
    buf_clear(&lines->line);
}

static void gather(struct lines *lines, const char *bytes, size_t len) {
    if (lines->skipping)
        return;
    size_t room = lines->line.max - lines->line.len;
    buf_append(&lines->line, bytes, len < room ? len : room);
    if (len > room || buf_rc(&lines->line) != RC_OK)
        hand_on(lines, true);
}

static void split(struct lines *lines, const char *bytes, size_t len) {
    for (const char *end = bytes + len; bytes < end;) {
        const char *newline = memchr(bytes, '\n', (size_t)(end - bytes));
        gather(lines, bytes, (size_t)((newline ? newline : end) - bytes));
        if (!newline)
            return;
        hand_on(lines, false);
        bytes = newline + 1;
    }
}

/* Reads up to `reads` times; false at the end of the pipe. */
static bool drain(struct lines *lines, int reads) {
    char bytes[READ_BYTES];
    while (reads-- > 0) {
        ssize_t n = read(lines->fd, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        if (lines->raw)
            lines->raw(lines->arg, bytes, (size_t)n);
        split(lines, bytes, (size_t)n);
        if (n < (ssize_t)sizeof bytes)
            return true;
    }
    return true;
}

static void shut(struct lines *lines) {
    if (lines->readable)
        event_free(lines->readable);
    lines->readable = NULL;
    if (lines->fd >= 0)
        close(lines->fd);
    lines->fd = -1;
}

static void on_readable(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct lines *lines = arg;
    if (!drain(lines, READS_A_TURN))
        shut(lines);
}

enum rc lines_open(struct lines *lines, struct event_base *base, int fd, size_t line_max,
                   lines_take *take, void *arg) {
    *lines = (struct lines){.fd = fd, .take = take, .arg = arg};
    buf_init(&lines->line, line_max);
    lines->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, lines);
    if (lines->readable && event_add(lines->readable, NULL) == 0)
        return RC_OK;
    shut(lines);
    return RC_NO_MEMORY;
}

void lines_take_rest(struct lines *lines) {
    if (lines->fd >= 0 && !drain(lines, READS_AT_END))
        shut(lines);
    if (lines->line.len > 0)
        hand_on(lines, false);
    lines->skipping = false;
}

void lines_close(struct lines *lines) {
    lines_take_rest(lines);
    shut(lines);
    buf_finish(&lines->line);
}
