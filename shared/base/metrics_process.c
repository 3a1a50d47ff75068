/* metrics_process.c: the process as /proc shows it; names as Prometheus' own clients have them. */
#include "base/metrics_process.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/metrics.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Fields of /proc/self/stat, counted from the state, which is the third. */
enum { STAT_STATE = 3, STAT_UTIME = 14, STAT_STIME = 15, STAT_START = 22, STAT_VSIZE, STAT_RSS };

enum figure { CPU, START, VIRTUAL, RESIDENT, FDS, MAX_FDS, FIGURES };

static const struct metric_family families[FIGURES] = {
    [CPU] = {"process_cpu_seconds_total", METRIC_COUNTER,
             "User and system CPU time of the process in seconds."},
    [START] = {"process_start_time_seconds", METRIC_GAUGE,
               "When the process began, unix time in seconds."},
    [VIRTUAL] = {"process_virtual_memory_bytes", METRIC_GAUGE,
                 "Address space of the process in bytes."},
    [RESIDENT] = {"process_resident_memory_bytes", METRIC_GAUGE,
                  "Resident memory of the process in bytes."},
    [FDS] = {"process_open_fds", METRIC_GAUGE, "Open file descriptors."},
    [MAX_FDS] = {"process_max_fds", METRIC_GAUGE, "Most file descriptors that it may have open."},
};

/* A small file of /proc whole; false where it cannot be read. */
static bool read_file(const char *path, char *ret, size_t cap) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, ret, cap - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return false;
    ret[n] = '\0';
    return true;
}

/* Worked out once: the clocks drift apart, and a start that changes would look like a restart. */
static double start_time(int64_t start_ticks, double ticks) {
    static double known;
    if (known == 0)
        known = (double)(clock_now_ms() - clock_mono_ms()) / 1000 + (double)start_ticks / ticks;
    return known;
}

static void read_stat(double figures[FIGURES]) {
    char text[1024];
    const char *at = read_file("/proc/self/stat", text, sizeof text) ? strrchr(text, ')') : NULL;
    int64_t value[STAT_RSS + 1] = {0};
    for (int i = STAT_STATE; at && i <= STAT_RSS; i++) {
        at = strchr(at + 1, ' ');
        value[i] = at ? strtoll(at, NULL, 10) : 0;
    }
    if (!at)
        return;
    double ticks = (double)sysconf(_SC_CLK_TCK);
    figures[CPU] = (double)(value[STAT_UTIME] + value[STAT_STIME]) / ticks;
    figures[VIRTUAL] = (double)value[STAT_VSIZE];
    figures[RESIDENT] = (double)value[STAT_RSS] * (double)sysconf(_SC_PAGESIZE);
    figures[START] = start_time(value[STAT_START], ticks);
}

static void read_fds(double figures[FIGURES]) {
    DIR *folder = opendir("/proc/self/fd");
    struct rlimit limit;
    if (folder) {
        figures[FDS] = -3; /* ".", ".." and the folder's own */
        while (readdir(folder))
            figures[FDS]++;
        closedir(folder);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        figures[MAX_FDS] = (double)limit.rlim_cur;
}

void metrics_process_write(struct buf *to) {
    double figures[FIGURES];
    for (size_t i = 0; i < FIGURES; i++)
        figures[i] = -1;
    read_stat(figures);
    read_fds(figures);
    for (size_t i = 0; i < FIGURES; i++) {
        metric_put_head(&families[i], to);
        if (figures[i] >= 0)
            metric_put(&families[i], NULL, figures[i], to);
    }
}
