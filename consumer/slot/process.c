/* process.c: the pipes of a process. */
#include "consumer/slot/process.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Opens a pipe whose end for us is read by `lines`; the other end goes into *ret_stream. */
static enum rc open_stream(struct event_base *base, struct lines *lines, size_t line_max,
                           lines_take *take, void *arg, int *ret_stream, struct error *err) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set(err, RC_IO, "cannot make a pipe: %s", strerror(errno));
    *ret_stream = ends[1];
    evutil_make_socket_nonblocking(ends[0]);
    enum rc rc = lines_open(lines, base, ends[0], line_max, take, arg);
    return rc == RC_OK ? RC_OK : error_set(err, rc, "out of memory");
}

static enum rc open_streams(struct event_base *base, struct process *process,
                            const struct process_readers *readers, int streams[RUNNER_STREAMS],
                            struct error *err) {
    void *arg = readers->arg;
    enum rc rc = process->stays ? task_pipe_open(&process->tasks, base, err) : RC_OK;
    if (rc == RC_OK && process->stays)
        streams[0] = process->tasks.in;
    if (rc == RC_OK)
        rc =
            open_stream(base, &process->out, readers->out_max, readers->out, arg, &streams[1], err);
    if (rc == RC_OK)
        rc =
            open_stream(base, &process->err, readers->err_max, readers->err, arg, &streams[2], err);
    if (rc == RC_OK)
        rc = open_stream(base, &process->report, readers->report_max, readers->report, arg,
                         &streams[3], err);
    process->out.raw = readers->raw_out;
    process->err.raw = readers->raw_err;
    return rc;
}

enum rc process_create(struct event_base *base, struct launch *launch, bool stays,
                       const struct process_readers *readers, int streams[RUNNER_STREAMS],
                       struct process **ret, struct error *err) {
    struct process *process = calloc(1, sizeof *process);
    if (!process)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    *process = (struct process){.stays = stays,
                                .times = launch->times,
                                .tasks = {.in = -1, .out = -1},
                                .out = {.fd = -1},
                                .err = {.fd = -1},
                                .report = {.fd = -1}};
    streams[0] = launch->task_fd;
    enum rc rc = open_streams(base, process, readers, streams, err);
    if (rc != RC_OK) {
        process_destroy(process);
        return rc;
    }
    process->program = TAKE(launch->program);
    *ret = process;
    return RC_OK;
}

void process_take_rest(struct process *process) {
    lines_take_rest(&process->out);
    lines_take_rest(&process->err);
}

void process_destroy(struct process *process) {
    if (!process)
        return;
    lines_close(&process->report);
    lines_close(&process->out);
    lines_close(&process->err);
    task_pipe_close(&process->tasks);
    free(process->program);
    free(process);
}
