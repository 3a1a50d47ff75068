/* main.c: longhaul-host, the warm process of a shared object: loads it, then runs one task after
 * the other.
 *
 *     longhaul-host OBJECT
 *
 * It speaks as any warm module does (docs/modules.md), which users' own modules do too: so one that
 * is newer than its consumer, after an upgrade in place, is as good as any. The object never sees
 * the two descriptors of that: neither what it starts nor a stray print can disturb them.
 */
#include "base/mem.h"
#include "consumer/host/object.h"
#include "consumer/host/report.h"
#include "consumer/host/task.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { REPORT_FD = 3, FIRST_PRIVATE_FD = 10 };

/* Moves a descriptor out of the way; -1 with errno set. */
static int take_descriptor(int fd) {
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_PRIVATE_FD);
    if (moved >= 0)
        close(fd);
    return moved;
}

/* Takes tasks' and reports' descriptors; stdin is empty from now on. */
static int take_descriptors(FILE **ret_tasks, int *ret_reports) {
    int tasks = take_descriptor(STDIN_FILENO), reports = take_descriptor(REPORT_FD);
    *ret_reports = reports;
    *ret_tasks = tasks < 0 ? NULL : fdopen(tasks, "r");
    if (!*ret_tasks || reports < 0 || open("/dev/null", O_RDONLY) != STDIN_FILENO)
        return EX_USAGE;
    return 0;
}

/* Runs the task of one line; 0: ready for the next one. */
static int run_line(run_function *run, struct json_span line, int reports, bool *ret_stop) {
    struct host_task task;
    struct error err;
    if (host_task_read(line, &task, &err) != RC_OK) {
        fprintf(stderr, "longhaul-host: not a task: %s\n", err.text);
        return EX_PROTOCOL;
    }
    struct report report;
    report_init(&report, reports, task.task.task_id);
    report_catch_term();
    int status = run(&task.task, &report.run);
    bool sent = report_end(&report, status);
    *ret_stop = report_release_term();
    report_finish(&report);
    host_task_finish(&task);
    return sent ? 0 : EX_IOERR;
}

static int serve(run_function *run, FILE *tasks, int reports) {
    LH_FREE char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    bool stop = false;
    int status = 0;
    while (status == 0 && !stop && (len = getline(&line, &cap, tasks)) > 0)
        status = run_line(run, (struct json_span){line, (size_t)len}, reports, &stop);
    return status;
}

int main(int argc, char **argv) {
    FILE *tasks;
    int reports;
    run_function *run;
    struct error err;
    if (argc != 2 || take_descriptors(&tasks, &reports) != 0) {
        fputs("longhaul-host is started by longhaul-consumer, not by hand\n", stderr);
        return EX_USAGE;
    }
    if (object_load(argv[1], &run, &err) != RC_OK) {
        fprintf(stderr, "%s\n", err.text);
        return EX_CONFIG;
    }
    return serve(run, tasks, reports);
}
