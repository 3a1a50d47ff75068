/* group.h: a cgroup (version 2) of its own for each run, on hosts that let us make one.
 *
 * It is killed as one, however fast it forks, and the kernel says when it is empty. Where it has
 * the controllers, it holds the run to its limits too. Without cgroups everything works through
 * /proc: docs/internals/runner.md.
 */
#ifndef LH_RUNNER_GROUP_H
#define LH_RUNNER_GROUP_H

#include "consumer/runner/held.h"
#include "consumer/runner/protocol.h"

#include <stdbool.h>

/* The folder in which groups can be made: our own cgroup, found through /proc/self/mountinfo.
 * false, and "": there is none, or $LONGHAUL_CGROUP says "off". */
bool group_find_home(char home[PATH_MAX]);

/* A service manager that leaves its cgroup to us (Delegate=yes, told by the attribute
 * user.delegate) has put this process into it. The process goes into one below, since a group that
 * holds processes gives no controllers to others; runs' groups are then made beside that one.
 * Elsewhere nothing is done. */
void group_step_down(void);

/* Makes a group below `home` with the limits that its controllers know; none where that fails.
 * `home` may be "". Its `lock` serves clone3(). */
void group_make(const char *home, const struct runner_limits *limits, struct held *ret);

/* Kills every process in it and below. */
void group_kill(const char *path);

/* No process is left in it or below; true of "" and of what is gone. */
bool group_is_empty(const char *path);

/* Whether a controller has met one of the run's limits: WHY_MEMORY, WHY_NPROC, or WHY_NONE. What
 * the host or a group above has met is none of them. */
enum runner_why group_check(const char *path, const struct runner_limits *limits);

/* Removes an empty group with those that a module has made below it. */
void group_remove(const char *path);

/* Kills what is left in a group that nobody holds any more, waits for its end, and removes it; what
 * does not die within seconds stays. */
void group_clear(const char *path);

#endif
