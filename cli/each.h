/* each.h: one call for each argument of a verb. */
#ifndef LH_CLI_EACH_H
#define LH_CLI_EACH_H

#include "cli/cli.h"

/* Appends what the call says besides its subject, from ','. */
typedef enum rc each_more(const struct cli *cli, struct buf *to, struct error *err);

struct each {
    const char *path;    /* "/api/cancel_task" */
    const char *subject; /* the member that names the argument: "task_id", "service" */
    each_more *more;     /* NULL: nothing */
    void (*show)(const struct answer *answer); /* prints a line */
};

/* Makes the calls in the order of the arguments. One that is refused is said on stderr with its
 * argument and does not stop the others; the first refusal is the outcome. */
enum rc each_argument(const struct cli *cli, const struct each *each,
                      struct error *err) LH_MUST_USE;

#endif
