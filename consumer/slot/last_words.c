/* last_words.c: what the runtimes of languages print when a program dies. */
#include "consumer/slot/last_words.h"

#include <ctype.h>
#include <string.h>

static bool begins(const char *line, size_t len, const char *with) {
    return len >= strlen(with) && memcmp(line, with, strlen(with)) == 0;
}

static size_t indent(const char *line, size_t len) {
    size_t n = 0;
    while (n < len && (line[n] == ' ' || line[n] == '\t' || line[n] == '\r'))
        n++;
    return n;
}

bool last_words_blank(const char *line, size_t len) {
    return indent(line, len) == len;
}

static bool has_words(const char *line, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (isalnum((unsigned char)line[i]) || (unsigned char)line[i] >= 0x80)
            return true;
    return false;
}

static bool is_frame(const char *line, size_t len) {
    size_t n = indent(line, len);
    if (n == 0)
        return begins(line, len, "stack backtrace:");
    return begins(line + n, len - n, "at ") || begins(line + n, len - n, "... ");
}

static bool is_footer(const char *line, size_t len) {
    static const char *const footers[] = {"Node.js v", "[signal SIG",
                                          "note: run with `RUST_BACKTRACE",
                                          "note: Some details are omitted"};
    for (size_t i = 0; i < sizeof footers / sizeof *footers; i++)
        if (begins(line, len, footers[i]))
            return true;
    return false;
}

bool last_words_say_why(enum stack_trace *trace, const char *line, size_t len) {
    bool blank = last_words_blank(line, len);
    if (begins(line, len, "goroutine ") && line[len - 1] == ':')
        *trace = TRACE_GOROUTINE;
    else if (is_frame(line, len) && *trace != TRACE_GOROUTINE)
        *trace = TRACE_FRAMES;
    else if (*trace == TRACE_GOROUTINE ? blank : indent(line, len) == 0 && has_words(line, len))
        *trace = TRACE_NONE;
    return *trace == TRACE_NONE && !blank && !is_footer(line, len);
}
