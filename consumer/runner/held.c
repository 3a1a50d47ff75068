/* held.c: makes directories and locks them. */
#include "consumer/runner/held.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char prefix[] = "longhaul-run-held-";

enum { MAKE_TRIES = 100 }; /* each is lost only to somebody who sweeps right then */

/* Opens and locks the directory; EAGAIN: somebody else has it, or has just removed it. */
static int lock(struct held *held) {
    held->lock = open(held->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (held->lock < 0)
        return errno == ENOENT ? EAGAIN : errno;
    bool mine = flock(held->lock, LOCK_EX | LOCK_NB) == 0;
    bool lost = !mine && errno == EWOULDBLOCK;
    /* by its name: a cgroup that is gone has as many links as before */
    lost |= faccessat(AT_FDCWD, held->path, F_OK, AT_SYMLINK_NOFOLLOW) != 0;
    if (mine && !lost)
        return 0;
    close(held->lock);
    held->lock = -1;
    return lost ? EAGAIN : 0;
}

int held_make(const char *base, struct held *ret) {
    char real[PATH_MAX];
    int failed = realpath(base, real) ? EAGAIN : errno;
    ret->lock = -1;
    for (int i = 0; i < MAKE_TRIES && failed == EAGAIN; i++) {
        int n = snprintf(ret->path, PATH_MAX, "%s/%sXXXXXX", real, prefix);
        failed = n < 0 || n >= PATH_MAX ? ENAMETOOLONG : mkdtemp(ret->path) ? 0 : errno;
        if (!failed && (failed = lock(ret)) != 0 && failed != EAGAIN)
            rmdir(ret->path);
    }
    if (failed)
        ret->path[0] = '\0';
    return failed;
}

void held_end(struct held *held, held_remove_fn *remove) {
    if (*held->path)
        remove(held->path);
    if (*held->path && held->lock >= 0)
        close(held->lock);
    *held = (struct held){.lock = -1};
}

/* Whether it is the directory of somebody who has died; then it is removed. */
static bool sweep_one(const char *base, const char *name, held_remove_fn *remove) {
    struct held left = {.lock = -1};
    int n = snprintf(left.path, PATH_MAX, "%s/%s", base, name);
    int failed = n < 0 || n >= PATH_MAX ? ENAMETOOLONG : lock(&left);
    if (failed == EACCES && fchmodat(AT_FDCWD, left.path, 0700, AT_SYMLINK_NOFOLLOW) == 0)
        failed = lock(&left);
    if (failed || left.lock < 0)
        return false;
    held_end(&left, remove);
    return true;
}

size_t held_sweep(const char *base, held_remove_fn *remove) {
    DIR *dir = opendir(base);
    size_t n = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
            n += sweep_one(base, entry->d_name, remove);
    if (dir)
        closedir(dir);
    return n;
}
