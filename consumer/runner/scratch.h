/* scratch.h: the private directory in which a module runs. */
#ifndef LH_RUNNER_SCRATCH_H
#define LH_RUNNER_SCRATCH_H

#include <limits.h>

/* Makes a new directory (mode 0700) in `base`; its path has no links. Returns 0 or an errno, with
 * the path "". */
int scratch_make(const char *base, char path[PATH_MAX]);

/* Removes the directory with all that is in it: any depth, read-only folders too; links are not
 * followed. What cannot be removed (a mount point) stays. Nobody else may be at work in it. */
void scratch_remove(const char *path);

#endif
