/* help.h: what --help prints, made of the tables. */
#ifndef LH_CLI_HELP_H
#define LH_CLI_HELP_H

#include "cli/cli.h"

void help_all(void);
void help_verb(const struct cli_verb *verb);
void help_version(void);

/* "-f, --file FILE" of an option, in a static buffer. */
const char *help_option_head(enum cli_option option);

/* The words of the error table that a program ends with this status for, "A, B"; false: none. */
bool help_exit_words(int status, struct buf *to);

/* What the statuses of the program mean in short, in rising order. */
extern const struct help_exit {
    int status;
    const char *meaning;
} help_exits[];
extern const size_t n_help_exits;

/* The environment variables that the program reads. */
extern const struct help_variable { const char *name, *meaning; } help_variables[];
extern const size_t n_help_variables;

#endif
