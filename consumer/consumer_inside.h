/* consumer_inside.h: what consumer.c and line.c share; for nobody else. */
#ifndef LH_CONSUMER_CONSUMER_INSIDE_H
#define LH_CONSUMER_CONSUMER_INSIDE_H

#include "base/mem.h"
#include "consumer/backoff.h"
#include "consumer/consumer.h"
#include "consumer/metrics_table.h"
#include "consumer/monitor.h"
#include "consumer/report/heartbeat.h"
#include "consumer/report/log_ship.h"
#include "consumer/report/reporter.h"
#include "consumer/run_span.h"
#include "consumer/slot/sandbox.h"
#include "consumer/slot/slot.h"

enum {
    GRACE_MS = 10000,    /* from SIGTERM to SIGKILL */
    KILL_WAIT_MS = 5000, /* after the second call of consumer_stop() */
};

struct line;

/* Why we stop a run; the last reason counts. */
enum stopped {
    NOT_STOPPED,
    FOR_DRAIN,  /* unless it has a result all the same, the task is handed back */
    FOR_CANCEL, /* unless it has a result all the same, it is reported as cancelled */
    FOR_LOSS,   /* the task has gone on without this run: its end is not reported */
};

/* A slot and the run in it. */
struct place {
    struct slot_events events; /* first: the slot hands it back */
    struct line *line;
    struct slot *slot;
    struct log_run *log;
    bool busy;
    enum stopped stopped; /* by us, and what that makes of its end */
    char task_id[TASK_TEXT_CAP];
    char run_id[UUID_CAP];
    struct run_span span;
    int64_t started_ms;
};

/* A service and its places. After a run that could not be started, or whose process died before it
 * had done anything, the line rests, so that a sick host does not spoil task after task. */
struct line {
    struct consumer *consumer;
    const struct config_service *service;
    struct sandbox sandbox;
    size_t index; /* in the source's services */
    struct place *places;
    int n_places, n_busy;
    struct event *rest; /* pending while it rests */
    struct backoff backoff;
};

enum phase { SERVING, DRAINING, KILLING, ENDED };

struct consumer {
    struct consumer_options options;
    struct metrics *metrics;
    const char **names; /* of the services */
    struct monitor *monitor;
    struct api_client *api;
    struct reporter *reporter;
    struct log_ship *logs;
    bool logs_were_full; /* since on_logs_settled() was last called: lines were told of no room */
    struct heartbeat *heartbeat;
    struct source *source;
    const struct config_service **services;
    struct line *lines;
    size_t n_lines;
    size_t n_places, n_busy;
    enum phase phase;
    bool source_stopped;
    enum rc failure;       /* of the source: why it stops */
    struct event *drained; /* pending while it drains: runs may end by themselves */
    struct event *give_up;
};

/* Every place, in `place`. */
#define each_place(consumer, place)                                                                \
    for (size_t line_ = 0; line_ < (consumer)->n_lines; line_++)                                   \
        for (struct place *place = (consumer)->lines[line_].places,                                \
                          *end_ = place + (consumer)->lines[line_].n_places;                       \
             place < end_; place++)

/* ---- line.c ---- */

/* Makes the line's places; what has been made is for line_close(). */
enum rc line_open(struct line *line, struct error *err) LH_MUST_USE;
void line_close(struct line *line);

/* Tells the source how many tasks the line can take now. */
void line_tell_room(struct line *line);

/* Runs the task in a free place of its service, or reports why not. */
void consumer_run(struct consumer *consumer, const struct assignment *assignment);

/* SIGTERM now, SIGKILL after the grace. Once for a reason; a further one may shorten the grace. */
void place_stop(struct place *place, enum stopped why, int grace_ms);

/* The task goes back to the queue: its run has not begun, or was stopped for a drain. */
void consumer_hand_back(struct consumer *consumer, const char *task_id, const char *run_id,
                        const char *trace);

/* ---- consumer.c ---- */

/* Whether the logs that wait are so many that no further run may begin. Whoever is told so is told
 * when it is over: line_tell_room(). */
bool consumer_logs_full(struct consumer *consumer);

void consumer_end_if_done(struct consumer *consumer);

#endif
