/* tmp.c: makes the folders, and the mounts over them. */
#include "consumer/runner/tmp.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const char *const hosts[TMP_PLACES] = {"/tmp", "/var/tmp"};
static const char *const names[TMP_PLACES] = {"0", "1"};

/* A folder that whoever the module runs as may enter, whatever our umask is. */
static int make_folder(const char *path, mode_t mode) {
    if (mkdir(path, 0700) != 0)
        return errno;
    return chmod(path, mode) == 0 ? 0 : errno;
}

static int make_place(struct tmp *tmp, size_t i) {
    char path[PATH_MAX];
    if (!realpath(hosts[i], tmp->places[i])) {
        tmp->places[i][0] = '\0';
        return errno == ENOENT ? 0 : errno;
    }
    if (i > 0 && strcmp(tmp->places[i], tmp->places[0]) == 0) {
        tmp->places[i][0] = '\0';
        return 0;
    }
    int n = snprintf(path, sizeof path, "%s/%s", tmp->folder, names[i]);
    return n > 0 && n < PATH_MAX ? make_folder(path, 01777) : ENAMETOOLONG;
}

/* Makes the folder at `at` of the folder, with those above it. */
static int make_folders(const struct tmp *tmp, const char *at) {
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", tmp->folder, at), failed = 0;
    if (n < 0 || n >= PATH_MAX)
        return ENAMETOOLONG;
    char *slash = strchr(path + strlen(tmp->folder) + 1, '/');
    while (slash && (!failed || failed == EEXIST)) {
        slash = strchr(slash + 1, '/');
        if (slash)
            *slash = '\0';
        failed = make_folder(path, 0755);
        if (slash)
            *slash = '/';
    }
    return failed == EEXIST ? 0 : failed;
}

/* What of the path is below the folder, with its slash; NULL: it is elsewhere. */
static const char *part_below(const char *path, const char *folder) {
    size_t len = strlen(folder);
    return len > 0 && strncmp(path, folder, len) == 0 && path[len] == '/' ? path + len : NULL;
}

/* Nothing has to be done for what lies elsewhere. */
static int show(struct tmp *tmp, const char *path, bool read_only) {
    struct tmp_shown *shown = &tmp->shown[tmp->n_shown];
    if (!realpath(path, shown->path))
        return errno;
    for (size_t i = 0; i < TMP_PLACES; i++) {
        const char *rest = part_below(shown->path, tmp->places[i]);
        if (!rest)
            continue;
        int n = snprintf(shown->at, sizeof shown->at, "%s%s", names[i], rest);
        if (n < 0 || n >= PATH_MAX)
            return ENAMETOOLONG;
        shown->read_only = read_only;
        tmp->n_shown++;
        return make_folders(tmp, shown->at);
    }
    return 0;
}

int tmp_prepare(struct tmp *ret, const char *folder, const char *scratch, const char *also) {
    int failed = 0;
    ret->folder = folder;
    ret->n_shown = 0;
    for (size_t i = 0; i < TMP_PLACES && !failed; i++)
        failed = make_place(ret, i);
    if (!failed && *also)
        failed = show(ret, also, true);
    return failed ? failed : show(ret, scratch, false);
}

/* A bind mount keeps the rest of what its file system forbids only where it is told to. */
static bool forbid_writing(const char *at) {
    struct statvfs fs;
    if (statvfs(at, &fs) != 0)
        return false;
    unsigned long kept = fs.f_flag & (ST_NOSUID | ST_NODEV | ST_NOEXEC);
    return mount(NULL, at, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | kept, NULL) == 0;
}

bool tmp_enter(const struct tmp *tmp) {
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) != 0 ||
        chdir(tmp->folder) != 0)
        return false;
    for (size_t i = 0; i < tmp->n_shown; i++) {
        const struct tmp_shown *shown = &tmp->shown[i];
        if (mount(shown->path, shown->at, NULL, MS_BIND, NULL) != 0 ||
            (shown->read_only && !forbid_writing(shown->at)))
            return false;
    }
    for (size_t i = 0; i < TMP_PLACES; i++)
        if (*tmp->places[i] && mount(names[i], tmp->places[i], NULL, MS_BIND | MS_REC, NULL) != 0)
            return false;
    return true;
}
