/* condition.h: a condition from an argument, a file or stdin. */
#ifndef LH_CLI_CONDITION_H
#define LH_CLI_CONDITION_H

#include "cli/cli.h"

/* `text` is an argument ("-": stdin) or NULL; --file may name a file instead; with neither,
 * `otherwise` (NULL: RC_USAGE). Checked to be one JSON value, so that no text can end the value and
 * say more than a condition. *to is set up by the caller. */
enum rc condition_read(const struct cli *cli, const char *text, const char *otherwise,
                       struct buf *to, struct error *err) LH_MUST_USE;

#endif
