/* line_reader.h: the lines of a file, a pipe or a terminal, and whether more has come yet. */
#ifndef LH_CLI_LINE_READER_H
#define LH_CLI_LINE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct line_reader {
    int fd;     /* borrowed */
    char *data; /* owned */
    size_t cap, from, to;
    bool ended;
};

enum line_read {
    LINE_READ,        /* a line */
    LINE_LATE,        /* until_ms has come before it */
    LINE_END,         /* there are no more */
    LINE_INTERRUPTED, /* interrupt_seen() */
    LINE_FAILED,      /* errno says why */
};

void line_reader_init(struct line_reader *reader, int fd);
void line_reader_finish(struct line_reader *reader);

/* Reads the next line; *ret_text is it, with its '\n' where it has one, until the next call.
 * What is at hand is read at any time; until_ms (clock_mono_ms()) is how long more is waited for,
 * negative: for ever. */
enum line_read line_reader_next(struct line_reader *reader, int64_t until_ms, const char **ret_text,
                                size_t *ret_len);

#endif
