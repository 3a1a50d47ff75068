/* launch.h: everything that a supervisor needs to start a process. */
#ifndef LH_CONSUMER_LAUNCH_H
#define LH_CONSUMER_LAUNCH_H

#include "consumer/runner/protocol.h"
#include "consumer/slot/slot.h"

struct launch {
    char *program; /* path, with a slash */
    char **args;   /* NULL-terminated, the first is the program's name as configured */
    char **env;    /* NULL-terminated, "NAME=value" */
    int task_fd;   /* becomes stdin; -1: none */
    struct runner_times times;
    struct runner_limits limits;
    struct runner_identity identity;
    const char *shown; /* with private_tmp: the folder that is to be seen in it */
    uint32_t grace_ms; /* from SIGTERM to SIGKILL at the deadline */
};

/* The folder in which runs get theirs. */
const char *launch_base(void);

/* Each fills in its part; what a failure leaves is freed by launch_finish() too. RC_NO_MEMORY, or
 * RC_IO with a text for the task's error. */

/* The environment of the service's module; without what differs from run to run where the process
 * stays for many. */
enum rc launch_env(struct launch *launch, const struct config_module *module,
                   const struct assignment *assignment, bool stays, struct error *err) LH_MUST_USE;

/* HOME of another user than the consumer's, unless the configuration sets it; after launch_env().
 */
enum rc launch_home(struct launch *launch, const struct config_module *module, const char *home,
                    struct error *err) LH_MUST_USE;

/* Program and arguments of a configured command; after launch_env(), for its PATH. */
enum rc launch_command(struct launch *launch, const struct config *cfg, char *const *command,
                       struct error *err) LH_MUST_USE;

/* longhaul-NAME with one argument. */
enum rc launch_helper(struct launch *launch, const char *name, const char *arg,
                      struct error *err) LH_MUST_USE;

void launch_finish(struct launch *launch);

#endif
