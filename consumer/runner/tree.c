/* tree.c: walks /proc once, marks what descends from the root, signals it. */
#include "consumer/runner/tree.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct process {
    pid_t pid, parent;
    bool zombie;
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

/* Reads state and parent of /proc/NAME/stat; the command name in it may hold anything, so from the
 * last ')'. */
static bool read_process(int proc, const char *name, struct process *ret) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "%.20s/stat", name);
    int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
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
    if (!past || sscanf(past + 1, " %c %d", &state, &parent) != 2)
        return false;
    *ret = (struct process){.pid = (pid_t)strtol(name, NULL, 10),
                            .parent = parent,
                            .zombie = state == 'Z' || state == 'X'};
    return true;
}

static void read_processes(struct processes *list) {
    DIR *dir = opendir("/proc");
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (isdigit((unsigned char)*entry->d_name) && grow(list) &&
            read_process(dirfd(dir), entry->d_name, &list->at[list->n]))
            list->n++;
    closedir(dir);
}

static bool is_below(const struct processes *list, pid_t parent) {
    for (size_t i = 0; i < list->n; i++)
        if (list->at[i].pid == parent)
            return list->at[i].below;
    return false;
}

static void mark_below(struct processes *list, pid_t root, bool (*spare)(pid_t, void *),
                       void *arg) {
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < list->n; i++) {
            struct process *process = &list->at[i];
            if (process->below || !(process->parent == root || is_below(list, process->parent)))
                continue;
            if (process->parent == root && spare && spare(process->pid, arg))
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
        if (list.at[i].below && !list.at[i].zombie) {
            alive++;
            kill(list.at[i].pid, signal);
        }
    free(list.at);
    return alive;
}
