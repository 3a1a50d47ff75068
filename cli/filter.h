/* filter.h: which tasks a verb is about, as fields of /api/tasks. */
#ifndef LH_CLI_FILTER_H
#define LH_CLI_FILTER_H

#include "cli/cli.h"

/* The options that filter_put() reads. */
#define FILTER_OPTIONS                                                                             \
    (OPTION_BIT(OPTION_SERVICE) | OPTION_BIT(OPTION_STATUS) | OPTION_BIT(OPTION_SUB_STATUS) |      \
     OPTION_BIT(OPTION_TAG) | OPTION_BIT(OPTION_FROM) | OPTION_BIT(OPTION_TO) |                    \
     OPTION_BIT(OPTION_PREFIX))

/* Appends ",\"service\":[…]" and the like for what was given. RC_USAGE names the option. */
enum rc filter_put(const struct cli *cli, struct buf *to, struct error *err) LH_MUST_USE;

/* Appends ",\"fields\":[…]" of "a,b,c". */
void filter_put_fields(const char *names, struct buf *to);

#endif
