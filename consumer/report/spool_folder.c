/* spool_folder.c: folders, their locks, and who owns them. */
#include "consumer/report/spool_folder.h"

#include "base/ids.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK "lock"

enum { NAME_CAP = 128, FOLDER_TRIES = 16 };

struct spool_folder {
    char *path;
    const char *prefix, *file_end;
    int root;          /* the folder of all, -1: not open yet */
    int own, own_lock; /* this process's folder, -1: not made yet */
    char name[NAME_CAP];
};

static void close_fd(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}
#define LH_FD __attribute__((cleanup(close_fd)))

static void close_dir(DIR **dir) {
    if (*dir)
        closedir(*dir);
}
#define LH_DIR __attribute__((cleanup(close_dir)))

static int open_folder(int at, const char *name) {
    return openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

static bool has_end(const char *name, const char *end) {
    size_t len = strlen(name), end_len = strlen(end);
    return len > end_len && strcmp(name + len - end_len, end) == 0;
}

/* Makes the folder and those above it that are missing. */
static bool make_path(const char *path) {
    char part[PATH_MAX];
    if (!mem_copy_str(part, sizeof part, path))
        return false;
    for (char *slash = part + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return false;
    }
    return mkdir(part, 0700) == 0 || errno == EEXIST;
}

static bool open_root(struct spool_folder *folder, bool make) {
    if (folder->root < 0 && make && !make_path(folder->path))
        return false;
    if (folder->root < 0)
        folder->root = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return folder->root >= 0;
}

/* The lock of a folder, if nobody has it; -1 with errno otherwise. A lock that was removed while it
 * was opened is nobody's. */
static int take_lock(int folder, int flags) {
    LH_FD int fd = openat(folder, LOCK, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    struct stat st;
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0 || fstat(fd, &st) != 0)
        return -1;
    if (st.st_nlink == 0) {
        errno = ENOENT;
        return -1;
    }
    int locked = fd;
    fd = -1;
    return locked;
}

/* One try; another process may take the new folder for an abandoned one before it is locked. */
static bool make_own(struct spool_folder *folder) {
    uint32_t chance;
    random_bytes(&chance, sizeof chance);
    snprintf(folder->name, sizeof folder->name, "%s-%ld-%08x", folder->prefix, (long)getpid(),
             chance);
    if (mkdirat(folder->root, folder->name, 0700) != 0)
        return false;
    folder->own = open_folder(folder->root, folder->name);
    if (folder->own >= 0)
        folder->own_lock = take_lock(folder->own, O_CREAT);
    if (folder->own_lock >= 0)
        return true;
    close_fd(&folder->own);
    return false;
}

int spool_folder_own(struct spool_folder *folder) {
    if (folder->own >= 0)
        return folder->own;
    if (!open_root(folder, true))
        return -1;
    for (int i = 0; i < FOLDER_TRIES; i++) {
        if (make_own(folder))
            return fsync(folder->root) == 0 ? folder->own : -1;
        if (errno != ENOENT && errno != EEXIST && errno != EWOULDBLOCK)
            return -1;
    }
    return -1;
}

void spool_folder_lose(struct spool_folder *folder) {
    close_fd(&folder->own_lock);
    close_fd(&folder->own);
    close_fd(&folder->root);
}

/* Only succeeds for a folder in which nothing is kept; what is half written goes with it. */
static void remove_folder(const struct spool_folder *folder, const char *name, int fd) {
    LH_DIR DIR *dir = fdopendir(dup(fd));
    struct dirent *entry;
    if (!dir)
        return;
    rewinddir(dir);
    while ((entry = readdir(dir)))
        if (has_end(entry->d_name, folder->file_end))
            return;
    rewinddir(dir);
    while ((entry = readdir(dir)))
        if (has_end(entry->d_name, SPOOL_HALF))
            unlinkat(fd, entry->d_name, 0);
    unlinkat(fd, LOCK, 0);
    unlinkat(folder->root, name, AT_REMOVEDIR);
}

/* -- files -- */

int spool_folder_open(struct spool_folder *folder, const char *name, struct error *err) {
    for (bool again = true;; again = false) {
        int own = spool_folder_own(folder);
        int fd = own < 0 ? -1 : openat(own, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd >= 0)
            return fd;
        if (errno != ENOENT || !again) {
            error_set(err, RC_IO, "%s: %s: %s", folder->path, name, strerror(errno));
            return -1;
        }
        spool_folder_lose(folder);
    }
}

int spool_folder_reopen(struct spool_folder *folder, const char *name, struct error *err) {
    int fd = folder->own < 0 ? -1 : openat(folder->own, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        error_set(err, RC_IO, "%s: %s: %s", folder->path, name, strerror(errno));
    return fd;
}

void spool_folder_remove(struct spool_folder *folder, const char *name) {
    if (folder->own >= 0)
        unlinkat(folder->own, name, 0);
}

bool spool_folder_move(struct spool_folder *folder, int from, const char *name,
                       const char *new_name) {
    int own = spool_folder_own(folder);
    return own >= 0 && renameat(from, name, own, new_name) == 0;
}

void spool_folder_set_aside(struct spool_folder *folder, const struct spool_orphan *orphan,
                            char *aside, size_t cap) {
    const char *name = orphan->name;
    int stem = (int)(strlen(name) - strlen(folder->file_end));
    int len = snprintf(aside, cap, "%.60s-%.*s.bad", orphan->from_name, stem, name);
    if (len >= (int)cap || renameat(orphan->from, name, folder->root, aside) != 0)
        unlinkat(orphan->from, name, 0);
}

/* -- taking over -- */

static void each_file(const struct spool_folder *folder, int from, const char *from_name,
                      spool_folder_each *each, void *arg) {
    LH_DIR DIR *dir = fdopendir(dup(from));
    struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (has_end(entry->d_name, folder->file_end))
            each(&(struct spool_orphan){from, from_name, entry->d_name}, arg);
}

static void adopt_one(struct spool_folder *folder, const char *name, spool_folder_each *each,
                      void *arg) {
    LH_FD int fd = open_folder(folder->root, name);
    LH_FD int lock = fd < 0 ? -1 : take_lock(fd, 0);
    if (lock < 0) {
        if (fd >= 0 && errno == ENOENT)
            unlinkat(folder->root, name, AT_REMOVEDIR); /* its maker ended before it had a lock */
        return;
    }
    each_file(folder, fd, name, each, arg);
    remove_folder(folder, name, fd);
}

static bool is_ours(const struct spool_folder *folder, const char *name) {
    size_t len = strlen(folder->prefix);
    return strncmp(name, folder->prefix, len) == 0 && name[len] == '-' &&
           strcmp(name, folder->name) != 0;
}

void spool_folder_adopt(struct spool_folder *folder, spool_folder_each *each, void *arg) {
    LH_DIR DIR *dir = open_root(folder, false) ? fdopendir(dup(folder->root)) : NULL;
    struct dirent *entry;
    if (!dir)
        return;
    rewinddir(dir);
    while ((entry = readdir(dir)))
        if (is_ours(folder, entry->d_name) && !has_end(entry->d_name, ".bad"))
            adopt_one(folder, entry->d_name, each, arg);
}

/* -- birth and death -- */

enum rc spool_folder_create(const char *path, const char *prefix, const char *file_end,
                            struct spool_folder **ret, struct error *err) {
    struct spool_folder *folder = calloc(1, sizeof *folder);
    if (folder)
        folder->path = strdup(path);
    if (!folder || !folder->path) {
        free(folder);
        return error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
    }
    folder->prefix = prefix;
    folder->file_end = file_end;
    folder->root = folder->own = folder->own_lock = -1;
    *ret = folder;
    return RC_OK;
}

void spool_folder_destroy(struct spool_folder *folder) {
    if (!folder)
        return;
    if (folder->own >= 0)
        remove_folder(folder, folder->name, folder->own);
    spool_folder_lose(folder);
    free(folder->path);
    free(folder);
}
