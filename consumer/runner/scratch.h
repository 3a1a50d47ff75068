/* scratch.h: how the private directories of runs go (held.h: how they are made). */
#ifndef LH_RUNNER_SCRATCH_H
#define LH_RUNNER_SCRATCH_H

/* Removes the directory with all that is in it: any depth, read-only folders too; links are not
 * followed. What cannot be removed (a mount point) stays. Nobody else may be at work in it. */
void scratch_remove(const char *path);

#endif
