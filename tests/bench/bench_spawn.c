/* bench_spawn.c: how many processes a second a loop of posix_spawn and wait gets through.
 *
 *     bench_spawn COUNT CONCURRENCY PROGRAM
 *
 * Each process gets what a `command` module gets: one task line on stdin, pipes as stdout and
 * stderr, a pipe as descriptor 3; all three are read to their end before it is waited for.
 * CONCURRENCY of them run at a time. Prints one JSON line. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { OUTPUTS = 3, CONCURRENCY_MAX = 256, COUNT_MAX = 10000000 };

/* Where the outputs stand in the process; above them while they are put in place. */
static const int places[OUTPUTS] = {1, 2, 3};

static const char line[] =
    "{\"Task\":{\"task_id\":\"ts_bench_019342a1b2c3d4e5f60718293a4b5c6d\",\"service\":\"bench\","
    "\"source_name\":\"\",\"condition\":{\"id\":1,\"op\":\"echo\",\"user\":\"u-000001\"}}}\n";

struct child {
    pid_t pid;
    int outputs[OUTPUTS]; /* -1: at its end */
    bool said;            /* something on descriptor 3 */
};

static void die(const char *what, int error) {
    fprintf(stderr, "bench_spawn: %s: %s\n", what, strerror(error));
    exit(1);
}

static void make_pipe(int ends[2]) {
    if (pipe2(ends, O_CLOEXEC) != 0)
        die("pipe", errno);
}

static void spawn(struct child *child, const char *program) {
    posix_spawn_file_actions_t actions;
    char *args[] = {(char *)program, NULL}, *env[] = {NULL};
    int input[2], output[OUTPUTS][2];
    posix_spawn_file_actions_init(&actions);
    make_pipe(input);
    if (write(input[1], line, sizeof line - 1) < 0)
        die("write", errno);
    posix_spawn_file_actions_adddup2(&actions, input[0], 0);
    for (int i = 0; i < OUTPUTS; i++) {
        make_pipe(output[i]);
        posix_spawn_file_actions_adddup2(&actions, output[i][1], places[i]);
        child->outputs[i] = output[i][0];
    }
    child->said = false;
    int failed = posix_spawn(&child->pid, program, &actions, NULL, args, env);
    if (failed)
        die(program, failed);
    posix_spawn_file_actions_destroy(&actions);
    close(input[0]);
    for (int i = 0; i < OUTPUTS; i++)
        close(output[i][1]);
    close(input[1]);
}

static void read_output(struct child *child, int i) {
    char buf[4096];
    ssize_t n = read(child->outputs[i], buf, sizeof buf);
    if (n > 0) {
        child->said = child->said || places[i] == 3;
        return;
    }
    close(child->outputs[i]);
    child->outputs[i] = -1;
}

/* True where the process is over and waited for. */
static bool is_over(struct child *child) {
    int status;
    for (int i = 0; i < OUTPUTS; i++)
        if (child->outputs[i] >= 0)
            return false;
    if (waitpid(child->pid, &status, 0) != child->pid)
        die("waitpid", errno);
    if (status != 0 || !child->said) {
        fprintf(stderr, "bench_spawn: the program ended with status %d%s\n", status,
                child->said ? "" : " and said nothing on descriptor 3");
        exit(1);
    }
    return true;
}

static void wait_for_output(struct child *children, long n) {
    struct pollfd polls[CONCURRENCY_MAX * OUTPUTS];
    for (long i = 0; i < n * OUTPUTS; i++)
        polls[i] =
            (struct pollfd){.fd = children[i / OUTPUTS].outputs[i % OUTPUTS], .events = POLLIN};
    if (poll(polls, (nfds_t)(n * OUTPUTS), -1) < 0)
        die("poll", errno);
    for (long i = 0; i < n * OUTPUTS; i++)
        if (polls[i].revents)
            read_output(&children[i / OUTPUTS], (int)(i % OUTPUTS));
}

static void run(long count, long concurrency, const char *program) {
    struct child children[CONCURRENCY_MAX];
    long started = 0, n = 0;
    while (started < count || n > 0) {
        for (; n < concurrency && started < count; n++, started++)
            spawn(&children[n], program);
        wait_for_output(children, n);
        for (long i = n; i-- > 0;)
            if (is_over(&children[i]))
                children[i] = children[--n];
    }
}

int main(int argc, char **argv) {
    long count = argc == 4 ? strtol(argv[1], NULL, 10) : 0;
    long concurrency = argc == 4 ? strtol(argv[2], NULL, 10) : 0;
    if (count < 1 || count > COUNT_MAX || concurrency < 1 || concurrency > CONCURRENCY_MAX) {
        fprintf(stderr, "usage: bench_spawn COUNT CONCURRENCY PROGRAM\n");
        return 64;
    }
    struct timespec begun, end;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    run(count, concurrency, argv[3]);
    clock_gettime(CLOCK_MONOTONIC, &end);
    double s = (double)(end.tv_sec - begun.tv_sec) + (double)(end.tv_nsec - begun.tv_nsec) / 1e9;
    printf("{\"count\":%ld,\"concurrency\":%ld,\"s\":%.3f,\"per_s\":%.1f}\n", count, concurrency, s,
           (double)count / s);
    return 0;
}
