/* held.h: directories that somebody holds: whoever made one has it open and locked until it lets it
 * go or dies, so what is left of those who were killed can be told from what is in use.
 */
#ifndef LH_RUNNER_HELD_H
#define LH_RUNNER_HELD_H

#include <limits.h>
#include <stddef.h>

struct held {
    char path[PATH_MAX]; /* "": none */
    int lock;            /* a descriptor of it; -1 where the file system has no locks */
};

/* How a directory goes: with all that is in it, or not at all. */
typedef void held_remove_fn(const char *path);

/* Makes a new one (mode 0700) in `base`; its path has no links. Returns 0 or an errno, with none.
 */
int held_make(const char *base, struct held *ret);

/* Removes it, then lets it go; none is fine. */
void held_end(struct held *held, held_remove_fn *remove);

/* Removes those in `base` whose makers have died and that nobody has removed since; returns how
 * many they were. Any thread. */
size_t held_sweep(const char *base, held_remove_fn *remove);

#endif
