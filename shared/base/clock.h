/* clock.h: time. Wall time is unix milliseconds (`_at`), durations are `_ms`, texts are ISO-8601
 * UTC. */
#ifndef LH_BASE_CLOCK_H
#define LH_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

enum { CLOCK_TEXT_CAP = 32 }; /* "2026-11-21T08:30:00.123Z" and its NUL */

/* Unix time in milliseconds. */
int64_t clock_now_ms(void);

/* Milliseconds that never go back (CLOCK_BOOTTIME: counts through a suspend). */
int64_t clock_mono_ms(void);

/* Microseconds for measuring what is short (CLOCK_MONOTONIC). */
int64_t clock_mono_us(void);

/* Replaces clock_now_ms()'s source (tests); NULL restores the real one. Not thread-safe. */
void clock_inject(int64_t (*now_ms)(void));

/* Writes `at_ms` (< year 10000; below 0 is 0) with milliseconds and Z. Any thread. */
void clock_to_text(int64_t at_ms, char ret[CLOCK_TEXT_CAP]);

/* Reads "YYYY-MM-DDTHH:MM:SS[.mmm]Z"; false where the text is anything else. */
bool clock_from_text(const char *text, int64_t *ret_ms);

#endif
