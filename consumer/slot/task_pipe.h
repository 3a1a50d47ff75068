/* task_pipe.h: the stdin of a process that stays: our end gives it one task line after the other.
 *
 * Writing never makes the loop wait. We keep a reading end too, so that the pipe outlives a process
 * that has died: what it has not read of a line can be told then. Loop thread only.
 */
#ifndef LH_CONSUMER_TASK_PIPE_H
#define LH_CONSUMER_TASK_PIPE_H

#include "base/buf.h"

#include <event2/event.h>

struct task_pipe {
    int in, out; /* the process's end and ours; -1: closed */
    struct event *writable;
    struct buf line; /* the last one */
    size_t n_written;
};

/* RC_IO or RC_NO_MEMORY, with a text. */
enum rc task_pipe_open(struct task_pipe *pipe, struct event_base *base,
                       struct error *err) LH_MUST_USE;

/* Gives the bytes of `line`, which is empty afterwards. The line before must have been read. */
void task_pipe_give(struct task_pipe *pipe, struct buf *line);

/* Whether no byte of the last line has been read. Takes the line back into *ret then. */
bool task_pipe_take_back(struct task_pipe *pipe, struct buf *ret);

/* The process finds the end of its stdin. */
void task_pipe_end(struct task_pipe *pipe);

/* Closes what is open; fine for one that was never opened and has -1 for its ends. */
void task_pipe_close(struct task_pipe *pipe);

#endif
