/* last_words.h: which line of a program's stderr says why it ended. Most programs say it last;
 * Java, JavaScript, Go and Rust say after it where they were. */
#ifndef LH_CONSUMER_LAST_WORDS_H
#define LH_CONSUMER_LAST_WORDS_H

#include <stdbool.h>
#include <stddef.h>

/* Where in a stack trace the stream is; begins as TRACE_NONE. */
enum stack_trace {
    TRACE_NONE,
    TRACE_FRAMES,    /* "    at f (x.js:1)", and what is indented or in braces behind it */
    TRACE_GOROUTINE, /* "goroutine 1 [running]:", up to a blank line */
};

/* Whether the line, which has no newline, is neither blank nor part of a stack trace nor what a
 * runtime always prints behind one. */
bool last_words_say_why(enum stack_trace *trace, const char *line, size_t len);

bool last_words_blank(const char *line, size_t len);

#endif
