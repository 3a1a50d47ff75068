/* arguments.h: the command line read by the tables of options and verbs. */
#ifndef LH_CLI_ARGUMENTS_H
#define LH_CLI_ARGUMENTS_H

#include "cli/cli.h"

/* Where the verb stands in argv: options before it are --url URL, --token=TOKEN and the like. */
int arguments_verb(int argc, char **argv);

/* Reads the verb's options and arguments; argv[0] is the verb. Borrows from argv. RC_USAGE says
 * what is wrong. */
enum rc arguments_read(struct cli *cli, const struct cli_verb *verb, int argc, char **argv,
                       struct error *err) LH_MUST_USE;
void arguments_finish(struct cli *cli);

/* Whether there are as many arguments as the verb takes. */
enum rc arguments_check(const struct cli *cli, const struct cli_verb *verb,
                        struct error *err) LH_MUST_USE;

/* The i-th value given for an option, or NULL. */
const char *cli_value(const struct cli *cli, enum cli_option option, size_t i);

/* Reads a whole number of at least `min`, if the option was given; RC_USAGE names the option. */
enum rc cli_integer(const struct cli *cli, enum cli_option option, int64_t min, int64_t *ret,
                    struct error *err) LH_MUST_USE;

/* Seconds, possibly with decimals, or with a unit ("90", "1.5", "30s", "15m", "2h", "7d"), as
 * milliseconds, if the option was given. */
enum rc cli_duration(const struct cli *cli, enum cli_option option, int64_t *ret_ms,
                     struct error *err) LH_MUST_USE;

#endif
