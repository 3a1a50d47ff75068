/* process.h: a module's process as its slot sees it: the pipes to and from it.
 *
 * One of kind `command` serves one run. One that stays serves one run after the other until it is
 * told to leave. Loop thread only.
 */
#ifndef LH_CONSUMER_PROCESS_H
#define LH_CONSUMER_PROCESS_H

#include "consumer/slot/launch.h"
#include "consumer/slot/lines.h"
#include "consumer/slot/task_pipe.h"

struct process {
    char *program;
    char scratch[PATH_MAX]; /* "" before it has started */
    char tmp[PATH_MAX];     /* of its private /tmp; "": none */
    char group[PATH_MAX];   /* its cgroup; "": none */
    bool orphaned;          /* its supervisor has died: what is left of it has to be killed here */
    bool stays;
    bool leaving;              /* it is given no further run */
    int n_given, n_done;       /* runs that it was given; and has brought to their end by itself */
    struct runner_times times; /* as the supervisor has them */
    struct task_pipe tasks;    /* of one that stays */
    struct lines out, err, report;
};

/* Where its lines go. */
struct process_readers {
    lines_take *out, *err, *report;
    lines_see *raw_out, *raw_err;        /* their bytes as they come; NULL: nobody */
    size_t out_max, err_max, report_max; /* the longest line of each */
    void *arg;
};

/* Opens the pipes of a process to be; takes the program's name from `launch`. The other ends are
 * put into `streams`, whose first is the launch's task file or the pipe of one that stays, and
 * borrowed; the caller closes the others. RC_IO or RC_NO_MEMORY with a text; then too the caller
 * closes what is not -1 of them. */
enum rc process_create(struct event_base *base, struct launch *launch, bool stays,
                       const struct process_readers *readers, int streams[RUNNER_STREAMS],
                       struct process **ret, struct error *err) LH_MUST_USE;

/* Hands on what lies in stdout and stderr, also unfinished lines: all that it has said so far. */
void process_take_rest(struct process *process);

/* Hands on what lies in its pipes, and frees it. NULL is fine. */
void process_destroy(struct process *process);

#endif
