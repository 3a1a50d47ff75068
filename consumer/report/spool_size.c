/* spool_size.c: a look at sizes, two folders deep. */
#include "consumer/report/spool_size.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct sum {
    int64_t bytes;
    int files;
};

static DIR *open_folder(int at, const char *name) {
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (!folder && fd >= 0)
        close(fd);
    return folder;
}

static bool is_dots(const char *name) {
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* `inside`: the folder of one process, which holds files alone. */
static void add_folder(int at, const char *name, bool inside, struct sum *sum) {
    DIR *folder = open_folder(at, name);
    struct dirent *entry;
    struct stat found;
    while (folder && sum->files < SPOOL_SIZE_FILES && (entry = readdir(folder))) {
        if (is_dots(entry->d_name) ||
            fstatat(dirfd(folder), entry->d_name, &found, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        sum->files++;
        if (S_ISREG(found.st_mode))
            sum->bytes += found.st_size;
        else if (S_ISDIR(found.st_mode) && !inside)
            add_folder(dirfd(folder), entry->d_name, true, sum);
    }
    if (folder)
        closedir(folder);
}

int64_t spool_size(const char *path) {
    struct sum sum = {0};
    if (path)
        add_folder(AT_FDCWD, path, false, &sum);
    return sum.bytes;
}
