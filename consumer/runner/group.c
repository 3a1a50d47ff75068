/* group.c: the files of a cgroup. */
#include "consumer/runner/group.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum { LINE_CAP = 2 * PATH_MAX, REMOVE_MAX = 100000, CLEAR_TRIES = 250, CLEAR_PAUSE_MS = 20 };

/* --- files --- */

static bool join(char to[PATH_MAX], const char *folder, const char *name) {
    int n = snprintf(to, PATH_MAX, "%s/%s", folder, name);
    return n > 0 && n < PATH_MAX;
}

static bool write_file(const char *folder, const char *name, const char *text) {
    char path[PATH_MAX];
    int fd = join(path, folder, name) ? open(path, O_WRONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return false;
    ssize_t n = write(fd, text, strlen(text));
    close(fd);
    return n == (ssize_t)strlen(text);
}

static bool has_file(const char *folder, const char *name) {
    char path[PATH_MAX];
    return join(path, folder, name) && access(path, W_OK) == 0;
}

/* The number that stands behind `key` in a file of "key number" lines; -1: not there. */
static int64_t read_number(const char *folder, const char *name, const char *key) {
    char path[PATH_MAX], line[256], word[64];
    FILE *file = join(path, folder, name) ? fopen(path, "re") : NULL;
    int64_t number, found = -1;
    while (file && found < 0 && fgets(line, sizeof line, file))
        if (sscanf(line, "%63s %" SCNd64, word, &number) == 2 && strcmp(word, key) == 0)
            found = number;
    if (file)
        fclose(file);
    return found;
}

/* --- where --- */

static const char below[] = "/longhaul-supervisor";

/* Undoes the octal escapes of mountinfo. */
static void unescape(char *text) {
    char *to = text;
    for (const char *at = text; *at; to++) {
        if (at[0] == '\\' && at[1] >= '0' && at[1] <= '3' && at[2] && at[3]) {
            *to = (char)((at[1] - '0') << 6 | (at[2] - '0') << 3 | (at[3] - '0'));
            at += 4;
        } else {
            *to = *at++;
        }
    }
    *to = '\0';
}

/* The mount point of a cgroup2 line of mountinfo, and which of its folders is mounted there. */
static bool read_mount(char *line, char **ret_root, char **ret_point) {
    char *fields[5], *rest = line;
    char *type = strstr(line, " - ");
    if (!type || strncmp(type + 3, "cgroup2 ", 8) != 0)
        return false;
    for (size_t i = 0; i < 5; i++)
        if (!(fields[i] = strsep(&rest, " ")))
            return false;
    unescape(fields[3]);
    unescape(fields[4]);
    *ret_root = fields[3];
    *ret_point = fields[4];
    return true;
}

/* Our own cgroup, as the line "0::/path" of /proc/self/cgroup has it. */
static bool read_own(char path[PATH_MAX]) {
    char line[LINE_CAP];
    bool found = false;
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file && !found && fgets(line, sizeof line, file))
        if (strncmp(line, "0::/", 4) == 0) {
            line[strcspn(line, "\n")] = '\0';
            found = snprintf(path, PATH_MAX, "%s", line + 3) < PATH_MAX;
        }
    if (file)
        fclose(file);
    return found && strncmp(path, "/..", 3) != 0;
}

/* `own` seen through a mount of `root` at `point`. */
static bool place(const char *root, const char *point, const char *own, char home[PATH_MAX]) {
    size_t len = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (strncmp(own, root, len) != 0 || (own[len] && own[len] != '/'))
        return false;
    int n = snprintf(home, PATH_MAX, "%s%s", point, strcmp(own + len, "/") == 0 ? "" : own + len);
    return n > 0 && n < PATH_MAX && access(home, W_OK) == 0;
}

/* Where a consumer has stepped down its runs' groups are made beside it. */
static void step_up(char own[PATH_MAX]) {
    size_t len = strlen(own), name = strlen(below);
    if (len >= name && strcmp(own + len - name, below) == 0)
        own[len - name] = '\0';
}

bool group_find_home(char home[PATH_MAX]) {
    char own[PATH_MAX], line[LINE_CAP], *root, *point;
    const char *word = getenv("LONGHAUL_CGROUP");
    bool found = false;
    if (!(word && strcmp(word, "off") == 0) && read_own(own)) {
        step_up(own);
        FILE *file = fopen("/proc/self/mountinfo", "re");
        while (file && !found && fgets(line, sizeof line, file))
            found = read_mount(line, &root, &point) && place(root, point, own, home);
        if (file)
            fclose(file);
    }
    if (!found)
        home[0] = '\0';
    return found;
}

void group_step_down(void) {
    char home[PATH_MAX], path[PATH_MAX], value = '0';
    if (group_find_home(home) && getxattr(home, "user.delegate", &value, 1) == 1 && value == '1' &&
        join(path, home, below + 1) && (mkdir(path, 0755) == 0 || errno == EEXIST))
        write_file(path, "cgroup.procs", "0");
}

/* --- life --- */

/* Sets a limit where the controller is there or can be had. */
static bool set_limit(const char *home, const char *path, const char *controller, const char *file,
                      int64_t value) {
    char text[32];
    if (!has_file(path, file))
        write_file(home, "cgroup.subtree_control", controller);
    snprintf(text, sizeof text, "%" PRId64, value);
    return write_file(path, file, text);
}

static void set_limits(const char *home, const struct runner_limits *limits, const char *path) {
    if (limits->memory_bytes > 0 &&
        set_limit(home, path, "+memory", "memory.max", limits->memory_bytes)) {
        write_file(path, "memory.swap.max", "0");
        write_file(path, "memory.oom.group", "1");
    }
    if (limits->nproc > 0)
        set_limit(home, path, "+pids", "pids.max", limits->nproc);
}

void group_make(const char *home, const struct runner_limits *limits, struct held *ret) {
    *ret = (struct held){.lock = -1};
    if (!*home || held_make(home, ret) != 0)
        return;
    if (has_file(ret->path, "cgroup.kill"))
        set_limits(home, limits, ret->path);
    else
        held_end(ret, group_remove);
}

void group_kill(const char *path) {
    if (*path)
        write_file(path, "cgroup.kill", "1");
}

bool group_is_empty(const char *path) {
    return !*path || read_number(path, "cgroup.events", "populated") <= 0;
}

enum runner_why group_check(const char *path, const struct runner_limits *limits) {
    if (*path && limits->memory_bytes > 0 && read_number(path, "memory.events", "oom_kill") > 0)
        return WHY_MEMORY;
    if (*path && limits->nproc > 0 && read_number(path, "pids.events", "max") > 0)
        return WHY_NPROC;
    return WHY_NONE;
}

/* Follows the first folder in each folder down to one that has none. */
static void find_lowest(char path[PATH_MAX]) {
    for (bool deeper = true; deeper;) {
        DIR *dir = opendir(path);
        deeper = false;
        for (struct dirent *entry; dir && !deeper && (entry = readdir(dir));) {
            size_t len = strlen(path);
            deeper =
                entry->d_type == DT_DIR && entry->d_name[0] != '.' &&
                snprintf(path + len, PATH_MAX - len, "/%s", entry->d_name) < (int)(PATH_MAX - len);
            if (!deeper)
                path[len] = '\0';
        }
        if (dir)
            closedir(dir);
    }
}

void group_remove(const char *path) {
    char lowest[PATH_MAX];
    for (int i = 0; *path && i < REMOVE_MAX && rmdir(path) != 0; i++) {
        memcpy(lowest, path, strlen(path) + 1);
        find_lowest(lowest);
        if (rmdir(lowest) != 0)
            return;
    }
}

void group_clear(const char *path) {
    const struct timespec pause = {.tv_nsec = CLEAR_PAUSE_MS * 1000000};
    for (int i = 0; i < CLEAR_TRIES && !group_is_empty(path); i++) {
        group_kill(path);
        nanosleep(&pause, NULL);
    }
    group_remove(path);
}
