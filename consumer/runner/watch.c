/* watch.c: memory and number of a tree of processes, added up. */
#include "consumer/runner/watch.h"

#include "consumer/runner/group.h"
#include "consumer/runner/tree.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

struct usage {
    int64_t tasks; /* processes and their threads */
    int64_t resident_bytes;
    int64_t own_bytes; /* pages that n processes share count 1/n in each */
    bool exact;        /* measure own_bytes */
};

bool watch_needed(const struct runner_limits *limits) {
    return limits->memory_bytes > 0 || limits->nproc > 0;
}

/* What the process has of the memory that it shares, in bytes; -1: it may not be read. It walks the
 * page tables, so it costs more the larger the process is. */
static int64_t read_own(pid_t pid) {
    char path[64], line[256];
    int64_t kb = -1;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    FILE *file = fopen(path, "re");
    while (file && kb < 0 && fgets(line, sizeof line, file))
        (void)sscanf(line, "Pss: %" SCNd64, &kb);
    if (file)
        fclose(file);
    return kb < 0 ? -1 : kb * 1024;
}

static void add(const struct tree_process *process, void *arg) {
    struct usage *usage = arg;
    int64_t resident = process->pages * sysconf(_SC_PAGESIZE);
    int64_t own = usage->exact ? read_own(process->pid) : -1;
    usage->tasks += process->threads;
    usage->resident_bytes += resident;
    usage->own_bytes += own < 0 ? resident : own;
}

static struct usage measure(bool exact) {
    struct usage usage = {.exact = exact};
    tree_each(getpid(), add, &usage);
    return usage;
}

/* The sum of what is resident is cheap and never too little; what processes share is taken off only
 * when it matters. */
enum runner_why watch_check(const struct runner_limits *limits, const char *group) {
    enum runner_why why = group_check(group, limits);
    if (why != WHY_NONE)
        return why;
    struct usage usage = measure(false);
    if (limits->nproc > 0 && usage.tasks > limits->nproc)
        return WHY_NPROC;
    if (limits->memory_bytes > 0 && usage.resident_bytes > limits->memory_bytes &&
        measure(true).own_bytes > limits->memory_bytes)
        return WHY_MEMORY;
    return WHY_NONE;
}
