/* mutant.c: switches and fault points of test builds. */
#include "base/mutant.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char *mutant = "";
static const char *folder;

static void read_environment(void) {
    const char *named = getenv("LONGHAUL_MUTANT");
    mutant = named ? named : "";
    folder = getenv("LONGHAUL_FAULT_DIR");
}

bool mutant_is(const char *name) {
    pthread_once(&once, read_environment);
    return strcmp(mutant, name) == 0;
}

/* Takes the arming file away, so that it is obeyed once; true where it was there. */
static bool take_order(const char *point, char *order, size_t cap) {
    char armed[512], taken[544];
    snprintf(armed, sizeof armed, "%s/%s", folder, point);
    snprintf(taken, sizeof taken, "%s.%d", armed, (int)getpid());
    if (access(armed, F_OK) != 0 || rename(armed, taken) != 0)
        return false;
    FILE *file = fopen(taken, "r");
    bool got = file && fgets(order, (int)cap, file);
    if (file)
        fclose(file);
    unlink(taken);
    return got;
}

static void note_hit(const char *point, const char *order, const char *task_id) {
    struct timespec now;
    char file[512], line[640];
    clock_gettime(CLOCK_MONOTONIC, &now);
    int len = snprintf(line, sizeof line,
                       "{\"k\":\"hit\",\"t\":%lld%09ld,\"point\":\"%s\",\"order\":\"%s\","
                       "\"pid\":%d,\"task\":\"%s\"}\n",
                       (long long)now.tv_sec, now.tv_nsec, point, order, (int)getpid(), task_id);
    snprintf(file, sizeof file, "%s/hits", folder);
    int fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return;
    if (len < (int)sizeof line)
        (void)!write(fd, line, (size_t)len);
    close(fd);
}

static void wait_ms(long ms) {
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0)
        ;
}

void fault_point(const char *point, const char *task_id) {
    char order[32] = "";
    pthread_once(&once, read_environment);
    if (!folder || !take_order(point, order, sizeof order))
        return;
    order[strcspn(order, "\n")] = '\0';
    note_hit(point, order, task_id);
    if (strcmp(order, "kill") == 0)
        raise(SIGKILL);
    else if (strcmp(order, "stop") == 0)
        raise(SIGSTOP);
    else if (strncmp(order, "delay ", 6) == 0)
        wait_ms(strtol(order + 6, NULL, 10));
}
