/* scratch.c: removes scratch directories.
 *
 * It works without recursion: a folder inside a folder is moved up to the top before its
 * parent is removed, so two descriptors are enough for a tree of any depth.
 */
#include "consumer/runner/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
