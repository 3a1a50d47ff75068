/* lines.h: reads a module's pipe on the loop and hands it on line by line.
 *
 * A pipe is always drained, whatever comes, so that a module never waits for us. A line longer than
 * the limit is handed on, marked as cut, as soon as it is; the rest of it is skipped. Memory never
 * grows beyond the limit. The last line may lack its newline. Loop thread only.
 */
#ifndef LH_CONSUMER_LINES_H
#define LH_CONSUMER_LINES_H

#include "base/buf.h"

#include <event2/event.h>

/* A line without its newline, valid for the call. It may hold any bytes, NULs too. */
typedef void lines_take(void *arg, const char *line, size_t len, bool cut);

/* Bytes as they come, before they are cut. */
typedef void lines_see(void *arg, const char *bytes, size_t len);

struct lines {
    struct event *readable;
    int fd; /* -1: closed */
    struct buf line;
    bool skipping; /* the rest of a line that was cut */
    lines_take *take;
    lines_see *raw; /* NULL: nobody sees the bytes */
    void *arg;
};

/* Owns `fd` (non-blocking) from now on, also on failure. RC_NO_MEMORY. */
enum rc lines_open(struct lines *lines, struct event_base *base, int fd, size_t line_max,
                   lines_take *take, void *arg) LH_MUST_USE;

/* Takes what lies in the pipe now and hands on an unfinished last line. */
void lines_take_rest(struct lines *lines);

/* Takes what lies in the pipe now, hands on an unfinished last line and closes. For the time when
 * no writer is left; should one be left all the same, no more than a pipe can hold is read. */
void lines_close(struct lines *lines);

#endif
