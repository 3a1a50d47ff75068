/* run.h: starts a module's main process. */
#ifndef LH_RUNNER_RUN_H
#define LH_RUNNER_RUN_H

#include "consumer/runner/protocol.h"
#include "consumer/runner/tmp.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* An order RUN taken apart; the texts point into the packet. */
struct run_order {
    struct runner_order head;
    const char *program;
    const char *scratch_base;
    const char *shown; /* in a private /tmp */
    char **args;       /* owned, NULL-terminated */
    char **env;        /* owned, NULL-terminated */
    int streams[RUNNER_STREAMS];
};

/* Reads the packet of a RUN whose first bytes are a struct runner_order; 0 or an errno. `streams`
 * is not touched. */
int run_order_read(const char *packet, size_t len, struct run_order *ret);

void run_order_finish(struct run_order *order);

/* Gives this process the highest priority that it may have: it has to be faster than what it kills.
 * Programs get back what there was. */
void run_hurry(void);

/* Starts the program in `folder`: own process group, every signal at its default and none blocked,
 * descriptors 0–3 and no other, in the cgroup whose folder is open at `group` (-1: in ours), with
 * `tmp` (NULL: the host's). Returns 0 or an errno; *ret_grouped tells whether it is in the cgroup.
 */
int run_spawn(const struct run_order *order, const char *folder, const struct tmp *tmp, int group,
              pid_t *ret_pid, bool *ret_grouped);

#endif
