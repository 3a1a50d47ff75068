/* tree.c: two ways through a tree: all of /proc once, marking what descends from the root; or from
 * parent to children. */
#include "consumer/runner/tree.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct process {
    struct tree_process seen;
    bool below; /* descends from the root */
};

struct processes {
    struct process *at;
    size_t n, cap;
};

static bool grow(struct processes *list) {
    if (list->n < list->cap)
        return true;
    size_t cap = list->cap ? list->cap * 2 : 256;
    struct process *at = realloc(list->at, cap * sizeof *at);
    if (!at)
        return false;
    list->at = at;
    list->cap = cap;
    return true;
}

/* Reads /proc/PID/stat; the command name in it may hold anything, so from the last ')'. */
static bool read_process(pid_t pid, struct tree_process *ret) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    const char *past = strrchr(text, ')');
    char state;
    int parent;
    int64_t threads, pages;
    if (!past || sscanf(past + 1,
                        " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d"
                        " %" SCNd64 " %*d %*u %*u %" SCNd64,
                        &state, &parent, &threads, &pages) != 4)
        return false;
    *ret = (struct tree_process){.pid = pid,
                                 .parent = parent,
                                 .zombie = state == 'Z' || state == 'X',
                                 .threads = threads,
                                 .pages = pages};
    return true;
}

static bool add_process(struct processes *list, pid_t pid) {
    if (!grow(list) || !read_process(pid, &list->at[list->n].seen))
        return false;
    list->at[list->n++].below = false;
    return true;
}

static void read_processes(struct processes *list) {
    DIR *dir = opendir("/proc");
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (isdigit((unsigned char)*entry->d_name))
            add_process(list, (pid_t)strtol(entry->d_name, NULL, 10));
    closedir(dir);
}

static bool is_below(const struct processes *list, pid_t parent) {
    for (size_t i = 0; i < list->n; i++)
        if (list->at[i].seen.pid == parent)
            return list->at[i].below;
    return false;
}

static void mark_below(struct processes *list, pid_t root, bool (*spare)(pid_t, void *),
                       void *arg) {
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < list->n; i++) {
            struct process *process = &list->at[i];
            pid_t parent = process->seen.parent;
            if (process->below || !(parent == root || is_below(list, parent)))
                continue;
            if (parent == root && spare && spare(process->seen.pid, arg))
                continue;
            process->below = again = true;
        }
    }
}

size_t tree_signal(pid_t root, int signal, bool (*spare)(pid_t pid, void *arg), void *arg) {
    struct processes list = {0};
    read_processes(&list);
    mark_below(&list, root, spare, arg);
    size_t alive = 0;
    for (size_t i = 0; i < list.n; i++)
        if (list.at[i].below && !list.at[i].seen.zombie) {
            alive++;
            kill(list.at[i].seen.pid, signal);
        }
    free(list.at);
    return alive;
}

/* Calls `take` for the children of one thread; false where the kernel does not list them. */
static bool each_child(pid_t pid, const char *thread, void (*take)(pid_t child, void *arg),
                       void *arg) {
    char path[64];
    int child;
    snprintf(path, sizeof path, "/proc/%d/task/%.20s/children", (int)pid, thread);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    while (fscanf(file, "%d", &child) == 1)
        take(child, arg);
    fclose(file);
    return true;
}

/* The same for all threads of a process, if it is still there. */
static void each_child_of(pid_t pid, void (*take)(pid_t child, void *arg), void *arg) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (isdigit((unsigned char)*entry->d_name))
            each_child(pid, entry->d_name, take, arg);
    closedir(dir);
}

static void take_none(pid_t child, void *arg) {
    (void)child, (void)arg;
}

/* Whether this kernel has the files (CONFIG_PROC_CHILDREN). */
static bool children_listed(void) {
    static int listed = -1;
    char thread[24];
    snprintf(thread, sizeof thread, "%d", (int)getpid());
    if (listed < 0)
        listed = each_child(getpid(), thread, take_none, NULL);
    return listed == 1;
}

static void take_seen(pid_t child, void *arg) {
    add_process(arg, child);
}

/* Goes from parents to children; the list is its own queue. */
static void follow_children(struct processes *list, pid_t root) {
    each_child_of(root, take_seen, list);
    for (size_t i = 0; i < list->n; i++) {
        list->at[i].below = true;
        each_child_of(list->at[i].seen.pid, take_seen, list);
    }
}

void tree_each(pid_t root, void (*each)(const struct tree_process *process, void *arg), void *arg) {
    struct processes list = {0};
    if (children_listed()) {
        follow_children(&list, root);
    } else {
        read_processes(&list);
        mark_below(&list, root, NULL, NULL);
    }
    for (size_t i = 0; i < list.n; i++)
        if (list.at[i].below && !list.at[i].seen.zombie)
            each(&list.at[i].seen, arg);
    free(list.at);
}

static void take_victim(pid_t child, void *arg) {
    struct processes *list = arg;
    kill(child, SIGKILL);
    if (grow(list))
        list->at[list->n++].seen.pid = child;
}

void tree_kill(pid_t root) {
    struct processes list = {0};
    if (!children_listed()) {
        tree_signal(root, SIGKILL, NULL, NULL);
        return;
    }
    each_child_of(root, take_victim, &list);
    for (size_t i = 0; i < list.n; i++)
        each_child_of(list.at[i].seen.pid, take_victim, &list);
    free(list.at);
}

static void add_pages(const struct tree_process *process, void *arg) {
    *(int64_t *)arg += process->pages;
}

int64_t tree_resident_bytes(pid_t root) {
    int64_t pages = 0;
    tree_each(root, add_pages, &pages);
    return pages * sysconf(_SC_PAGESIZE);
}
