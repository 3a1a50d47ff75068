/* scratch.c: makes and removes scratch directories.
 *
 * Removal works without recursion: a folder inside a folder is moved up to the top before its
 * parent is removed, so two descriptors are enough for a tree of any depth.
 */
#include "consumer/runner/scratch.h"

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
static int lock(struct scratch *scratch) {
    struct stat st;
    scratch->lock = open(scratch->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (scratch->lock < 0)
        return errno == ENOENT ? EAGAIN : errno;
    bool held = flock(scratch->lock, LOCK_EX | LOCK_NB) == 0;
    bool lost = !held && errno == EWOULDBLOCK;
    lost |= fstat(scratch->lock, &st) != 0 || st.st_nlink == 0;
    if (held && !lost)
        return 0;
    close(scratch->lock);
    scratch->lock = -1;
    return lost ? EAGAIN : 0;
}

int scratch_make(const char *base, struct scratch *ret) {
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

static bool is_dots(const char *name) {
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static bool remove_one(int folder, const char *name) {
    return unlinkat(folder, name, 0) == 0 || unlinkat(folder, name, AT_REMOVEDIR) == 0;
}

static DIR *open_folder(int parent, const char *name) {
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir && fd >= 0)
        close(fd);
    return dir;
}

/* Moves the folder `name` up to the top under a name that is free there. */
static bool move_up(int top, int folder, const char *name) {
    static _Atomic unsigned long number;
    char to[64];
    (void)!fchmodat(folder, name, 0700, AT_SYMLINK_NOFOLLOW);
    do
        snprintf(to, sizeof to, ".longhaul-moved-%lu", number++);
    while (renameat2(folder, name, top, to, RENAME_NOREPLACE) != 0 && errno == EEXIST);
    return faccessat(top, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Empties the folder `name` of the top and removes it. */
static bool remove_folder(int top, const char *name) {
    (void)!fchmodat(top, name, 0700, AT_SYMLINK_NOFOLLOW);
    DIR *dir = open_folder(top, name);
    if (!dir)
        return false;
    bool changed = false;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (!is_dots(entry->d_name))
            changed |=
                remove_one(dirfd(dir), entry->d_name) || move_up(top, dirfd(dir), entry->d_name);
    closedir(dir);
    return unlinkat(top, name, AT_REMOVEDIR) == 0 || changed;
}

/* One pass over the top; false when nothing changed. */
static bool remove_pass(const char *path) {
    DIR *top = open_folder(AT_FDCWD, path);
    if (!top)
        return false;
    bool changed = false;
    for (struct dirent *entry; (entry = readdir(top));)
        if (!is_dots(entry->d_name))
            changed |= remove_one(dirfd(top), entry->d_name) ||
                       (entry->d_type == DT_DIR && remove_folder(dirfd(top), entry->d_name));
    closedir(top);
    return changed;
}

void scratch_remove(const char *path) {
    (void)!fchmodat(AT_FDCWD, path, 0700, AT_SYMLINK_NOFOLLOW);
    while (rmdir(path) != 0 && (errno == ENOTEMPTY || errno == EEXIST) && remove_pass(path))
        ;
}

void scratch_end(struct scratch *scratch) {
    if (*scratch->path)
        scratch_remove(scratch->path);
    if (*scratch->path && scratch->lock >= 0)
        close(scratch->lock);
    *scratch = (struct scratch){.lock = -1};
}

/* Whether it is a directory of a run of which nobody is left; then it is removed. */
static bool sweep_one(const char *base, const char *name) {
    struct scratch left = {.lock = -1};
    int n = snprintf(left.path, PATH_MAX, "%s/%s", base, name);
    int failed = n < 0 || n >= PATH_MAX ? ENAMETOOLONG : lock(&left);
    if (failed == EACCES && fchmodat(AT_FDCWD, left.path, 0700, AT_SYMLINK_NOFOLLOW) == 0)
        failed = lock(&left);
    if (failed || left.lock < 0)
        return false;
    scratch_end(&left);
    return true;
}

size_t scratch_sweep(const char *base) {
    DIR *dir = opendir(base);
    size_t n = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
            n += sweep_one(base, entry->d_name);
    if (dir)
        closedir(dir);
    return n;
}
