/* module.h: the kinds of modules, one table: how the process of a run is to be started.
 *
 * What the process then says and how it ends is judged alike for all (outcome.h).
 */
#ifndef LH_CONSUMER_MODULE_H
#define LH_CONSUMER_MODULE_H

#include "consumer/slot.h"

/* Everything that the supervisor needs to start a process. */
struct launch {
    char *program; /* path, with a slash */
    char **args;   /* NULL-terminated, the first is the program's name as configured */
    char **env;    /* NULL-terminated, "NAME=value" */
    int task_fd;   /* becomes stdin; -1: none */
};

void launch_finish(struct launch *launch);

struct module {
    const char *name;
    enum rc (*prepare)(const struct config *cfg, const struct config_service *service,
                       const struct assignment *assignment, struct launch *ret, struct error *err);
};

/* Prepares the run of `assignment` as the service's module wants it. The caller owns *ret, also
 * what a failure left in it. Failure: RC_IO or RC_NO_MEMORY with a text for the task's error. */
enum rc module_prepare(const struct config *cfg, const struct config_service *service,
                       const struct assignment *assignment, struct launch *ret,
                       struct error *err) LH_MUST_USE;

/* Kind `command`: one process per task, the Task JSON and a newline on stdin. */
enum rc module_command_prepare(const struct config *cfg, const struct config_service *service,
                               const struct assignment *assignment, struct launch *ret,
                               struct error *err) LH_MUST_USE;

#endif
