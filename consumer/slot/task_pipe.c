/* task_pipe.c: task lines into a pipe. */
#include "consumer/slot/task_pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Writes what the pipe takes now; true when nothing is left. */
static bool write_some(struct task_pipe *pipe) {
    while (pipe->n_written < pipe->line.len) {
        ssize_t n =
            write(pipe->out, pipe->line.data + pipe->n_written, pipe->line.len - pipe->n_written);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        pipe->n_written += (size_t)n;
    }
    return true;
}

static void on_writable(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct task_pipe *pipe = arg;
    if (!write_some(pipe))
        event_add(pipe->writable, NULL);
}

enum rc task_pipe_open(struct task_pipe *pipe, struct event_base *base, struct error *err) {
    int ends[2];
    *pipe = (struct task_pipe){.in = -1, .out = -1};
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set(err, RC_IO, "cannot make a pipe: %s", strerror(errno));
    pipe->in = ends[0];
    pipe->out = ends[1];
    buf_init(&pipe->line, SIZE_MAX / 2);
    evutil_make_socket_nonblocking(pipe->out);
    pipe->writable = event_new(base, pipe->out, EV_WRITE, on_writable, pipe);
    if (pipe->writable)
        return RC_OK;
    task_pipe_close(pipe);
    return error_set(err, RC_NO_MEMORY, "out of memory");
}

static void move(struct buf *to, struct buf *from) {
    buf_finish(to);
    *to = *from;
    buf_init(from, to->max);
}

void task_pipe_give(struct task_pipe *pipe, struct buf *line) {
    move(&pipe->line, line);
    pipe->n_written = 0;
    on_writable(pipe->out, EV_WRITE, pipe);
}

bool task_pipe_take_back(struct task_pipe *pipe, struct buf *ret) {
    int unread;
    if (pipe->in < 0 || pipe->line.len == 0 || ioctl(pipe->in, FIONREAD, &unread) != 0 ||
        (size_t)unread < pipe->n_written)
        return false;
    move(ret, &pipe->line);
    return true;
}

void task_pipe_end(struct task_pipe *pipe) {
    if (pipe->writable)
        event_free(pipe->writable);
    pipe->writable = NULL;
    if (pipe->out >= 0)
        close(pipe->out);
    pipe->out = -1;
}

void task_pipe_close(struct task_pipe *pipe) {
    task_pipe_end(pipe);
    if (pipe->in >= 0)
        close(pipe->in);
    pipe->in = -1;
    buf_finish(&pipe->line);
}
