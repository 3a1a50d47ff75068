/* tree.h: the processes below a subreaper, found through /proc. */
#ifndef LH_RUNNER_TREE_H
#define LH_RUNNER_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Sends `signal` to every living descendant of `root`, however it has detached itself, and returns
 * how many there were. A child that `spare` accepts is left alone with all below it; NULL spares
 * none. Processes that are born during the walk may be missed: repeat until 0. Zombies do not
 * count. */
size_t tree_signal(pid_t root, int signal, bool (*spare)(pid_t pid, void *arg), void *arg);

/* Resident memory of all descendants of `root`; what they share counts for each. */
int64_t tree_resident_bytes(pid_t root);

/* Kills the descendants of `root` from its children downwards, each as soon as it is found: what is
 * killed cannot fork any more. Those that it orphans become children of `root`, a subreaper, so
 * repeat until there is no child. */
void tree_kill(pid_t root);

struct tree_process {
    pid_t pid, parent;
    bool zombie;
    int64_t threads;
    int64_t pages; /* resident */
};

/* Calls `each` for the living descendants of `root`. Where the kernel lists children it reads their
 * files alone, so it costs what the tree is large; one that comes or goes meanwhile may be missed.
 */
void tree_each(pid_t root, void (*each)(const struct tree_process *process, void *arg), void *arg);

#endif
