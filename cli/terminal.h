/* terminal.h: what stdout and stderr are, and how wide. */
#ifndef LH_CLI_TERMINAL_H
#define LH_CLI_TERMINAL_H

#include "base/rc.h"

#include <stdbool.h>
#include <stddef.h>

/* Whether a person looks at it. */
bool terminal_out(void);
bool terminal_err(void);

/* Whether stdout takes colours: a terminal, and NO_COLOR is not set. */
bool terminal_colour(void);

/* Columns and rows of stdout's terminal; 80 and 24 where it does not say. */
void terminal_size(int *ret_columns, int *ret_rows);

/* The escape sequence that begins the colour of a word such as "failed" or "ok"; NULL: none. */
const char *terminal_colour_of(const char *word);
#define TERMINAL_PLAIN "\x1b[0m"

/* Writes what stdout holds back. RC_IO where it cannot be written, RC_INTERRUPTED where a signal
 * came while it waited for the reader. */
enum rc terminal_flush(struct error *err) LH_MUST_USE;

/* Writes many bytes to stdout, after what it holds back; failures likewise, and what was written
 * then is a beginning of them. */
enum rc terminal_write(const char *bytes, size_t len, struct error *err) LH_MUST_USE;

/* Whether the reader of stdout has gone away. */
bool terminal_broken_pipe(void);

#endif
