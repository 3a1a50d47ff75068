/* run.h: starts a module's main process. */
#ifndef LH_RUNNER_RUN_H
#define LH_RUNNER_RUN_H

#include "consumer/runner/protocol.h"

#include <stddef.h>
#include <sys/types.h>

/* An order RUN taken apart; the texts point into the packet. */
struct run_order {
    const char *program;
    const char *scratch_base;
    char **args; /* owned, NULL-terminated */
    char **env;  /* owned, NULL-terminated */
    int streams[RUNNER_STREAMS];
};

/* Reads the packet of a RUN whose first bytes are a struct runner_order; 0 or an errno. `streams`
 * is not touched. */
int run_order_read(const char *packet, size_t len, struct run_order *ret);

void run_order_finish(struct run_order *order);

/* Starts the program in `folder`: own process group, every signal at its default and none blocked,
 * descriptors 0–3 and no other. Returns 0 or an errno. */
int run_spawn(const struct run_order *order, const char *folder, pid_t *ret_pid);

#endif
