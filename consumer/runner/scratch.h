/* scratch.h: the private directories of runs. */
#ifndef LH_RUNNER_SCRATCH_H
#define LH_RUNNER_SCRATCH_H

#include <limits.h>
#include <stddef.h>

/* A directory that is held: whoever made it has it open and locked, until it ends it or dies. */
struct scratch {
    char path[PATH_MAX]; /* "": none */
    int lock;            /* -1 where the file system has no locks */
};

/* Makes a new one (mode 0700) in `base`; its path has no links. Returns 0 or an errno, with none.
 */
int scratch_make(const char *base, struct scratch *ret);

/* Removes it; none is fine. */
void scratch_end(struct scratch *scratch);

/* Removes the directory with all that is in it: any depth, read-only folders too; links are not
 * followed. What cannot be removed (a mount point) stays. Nobody else may be at work in it. */
void scratch_remove(const char *path);

/* Removes the directories in `base` whose makers have died and that nobody has removed since;
 * returns how many they were. Any thread. */
size_t scratch_sweep(const char *base);

#endif
