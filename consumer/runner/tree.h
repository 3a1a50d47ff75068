/* tree.h: the processes below a subreaper, found through /proc. */
#ifndef LH_RUNNER_TREE_H
#define LH_RUNNER_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Sends `signal` to every living descendant of `root`, however it has detached itself, and returns
 * how many there were. A child that `spare` accepts is left alone with all below it; NULL spares
 * none. Processes that are born during the walk may be missed: repeat until 0. Zombies do not
 * count. */
size_t tree_signal(pid_t root, int signal, bool (*spare)(pid_t pid, void *arg), void *arg);

#endif
