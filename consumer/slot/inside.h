/* inside.h: what slot.c, hear.c and stay.c share; for nobody else. */
#ifndef LH_CONSUMER_SLOT_INSIDE_H
#define LH_CONSUMER_SLOT_INSIDE_H

#include "base/buf.h"
#include "base/mem.h"
#include "consumer/slot/module.h"
#include "consumer/slot/outcome.h"
#include "consumer/slot/process.h"
#include "consumer/slot/slot.h"
#include "consumer/slot/supervisor.h"

/* A run from slot_start() to `ended`. */
struct run {
    const struct config_service *service;
    char task_id[TASK_TEXT_CAP];
    char run_id[UUID_CAP];
    char traceparent[TRACEPARENT_CAP];
    char *source_name;
    bool begun;               /* the process has it; else it waits for one */
    bool stopped;             /* we were told to end it */
    bool no_start, no_runner; /* of its end, see struct run_end */
    struct runner_times times;
    int64_t timeout_ms;
    int64_t output_bytes; /* of stdout and stderr so far */
    struct buf line;      /* for a process that stays, until it has it */
    struct outcome outcome;
};

struct slot {
    struct event_base *base;
    const struct config *cfg;
    const struct sandbox *sandbox;
    struct slot_events *events;
    struct supervisor supervisor;
    struct event *notes;     /* NULL: no supervisor */
    struct event *later;     /* ends a run from the loop, or what a dead supervisor has left */
    struct event *leave;     /* pending while a process idles, or has been told to leave */
    struct process *process; /* NULL: none */
    struct run *run;         /* NULL: idle */
};

static inline void wait_for(struct event *event, int ms) {
    struct timeval delay = {ms / 1000, ms % 1000 * 1000};
    evtimer_add(event, &delay);
}

static inline bool is_past(int64_t at_ms) {
    return at_ms > 0 && at_ms <= clock_mono_ms();
}

/* The run that the process is at work on; NULL: none, it idles or has ended it. */
static inline struct run *run_at_work(const struct slot *slot) {
    return slot->run && slot->run->begun && !slot->run->outcome.ended ? slot->run : NULL;
}

/* ---- slot.c ---- */

/* Kills all that is of the process; it is given no further run. */
void slot_kill_process(struct slot *slot);

/* Judges the run and tells. The slot may be gone afterwards. */
void slot_end_run(struct slot *slot, int wait_status);

/* ---- hear.c ---- */

/* Who reads what a process of the slot says. `result_max`: bytes of a result. */
struct process_readers hear_readers(struct slot *slot, size_t result_max);

/* ---- stay.c ---- */

/* Tells the supervisor when it ends the run by itself, where that has changed. */
void stay_tell_times(struct slot *slot, const struct runner_times *times);

/* Gives the run to the process. */
void stay_give(struct slot *slot);

/* The run's last report has come: it ends, its process stays or goes. The slot may be gone
 * afterwards. */
void stay_end_run(struct slot *slot);

/* The process has ended: what it has not read of its run, another one shall have. */
void stay_take_back(struct slot *slot);

/* The event `leave`: the process has idled for long, or has not left when it was told. */
void stay_leave(evutil_socket_t fd, short what, void *slot);

#endif
