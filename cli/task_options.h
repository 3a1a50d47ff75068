/* task_options.h: what the command line says of a task to be created, as create_task's fields. */
#ifndef LH_CLI_TASK_OPTIONS_H
#define LH_CLI_TASK_OPTIONS_H

#include "cli/cli.h"

/* Appends ",\"priority\":7" and the like for every option that was given and that `root`, an object
 * of the task's fields (may be NULL), has not got. RC_USAGE names the option. */
enum rc task_options_put(const struct cli *cli, const json_t *root, struct buf *to,
                         struct error *err) LH_MUST_USE;

/* Appends ",\"NAME\":{…}" of the repeated option NAME=VALUE, if it was given. */
enum rc task_options_tags(const struct cli *cli, enum cli_option option, struct buf *to,
                          struct error *err) LH_MUST_USE;

#endif
