/* log_text.h: raw bytes of a log as text that a reader can show. Pure functions. */
#ifndef LH_API_LOG_TEXT_H
#define LH_API_LOG_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many of the bytes can be shown: all, but for a character at the end whose rest is still to
 * come. */
size_t log_text_whole(const char *bytes, size_t len);

/* Bytes at the beginning that are the rest of a character which began before: at most three. */
size_t log_text_rest(const char *bytes, size_t len);

/* Where the first n lines end, `len` where there are no more than n. */
size_t log_text_head(const char *bytes, size_t len, int64_t n);

/* Where the last n lines begin; the last line need not have ended. *ret_all: there are no more than
 * n, so it is 0 and further lines may stand before. */
size_t log_text_tail(const char *bytes, size_t len, int64_t n, bool *ret_all);

#endif
