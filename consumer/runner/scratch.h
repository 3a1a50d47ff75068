/* scratch.h: the private directory in which a module runs. */
#ifndef LH_RUNNER_SCRATCH_H
#define LH_RUNNER_SCRATCH_H

#include <stddef.h>

/* Makes a new directory (mode 0700) in `base` and writes its path. Returns 0 or an errno. */
int scratch_make(const char *base, char *path, size_t cap);

/* Removes the directory with all that is in it: any depth, read-only folders too; links are not
 * followed. What cannot be removed (a mount point) stays. Nobody else may be at work in it. */
void scratch_remove(const char *path);

#endif
