/* bench_fsync.c: what it costs to append 4 KiB to a file and have it on disk: bench_fsync FOLDER
 * COUNT, one JSON line. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { COUNT_MAX = 1000000, BLOCK_BYTES = 4096 };

static int64_t now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int compare(const void *a, const void *b) {
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static int measure(int fd, long count) {
    static char block[BLOCK_BYTES];
    int64_t *took_ns = calloc((size_t)count, sizeof *took_ns), sum_ns = 0;
    if (!took_ns)
        return 1;
    for (long i = 0; i < count; i++) {
        int64_t begun_ns = now_ns();
        if (write(fd, block, sizeof block) != (ssize_t)sizeof block || fdatasync(fd) != 0) {
            perror("bench_fsync");
            free(took_ns);
            return 1;
        }
        took_ns[i] = now_ns() - begun_ns;
        sum_ns += took_ns[i];
    }
    qsort(took_ns, (size_t)count, sizeof *took_ns, compare);
    printf("{\"count\":%ld,\"per_s\":%.1f,\"p50_ms\":%.3f,\"p99_ms\":%.3f}\n", count,
           (double)count * 1e9 / (double)sum_ns, (double)took_ns[count / 2] / 1e6,
           (double)took_ns[count * 99 / 100] / 1e6);
    free(took_ns);
    return 0;
}

int main(int argc, char **argv) {
    char path[4096];
    long count = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
    if (count < 1 || count > COUNT_MAX) {
        fprintf(stderr, "usage: bench_fsync FOLDER COUNT\n");
        return 64;
    }
    snprintf(path, sizeof path, "%s/fsync-XXXXXX", argv[1]);
    int fd = mkstemp(path);
    if (fd < 0) {
        perror(path);
        return 1;
    }
    unlink(path);
    int status = measure(fd, count);
    close(fd);
    return status;
}
