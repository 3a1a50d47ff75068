/* slot.h: a slot runs one module at a time through its own supervisor process (runner/).
 *
 * The consumer keeps one longhaul-runner per slot, started once with posix_spawn and told over a
 * socket what to run. The runner is the subreaper of all that runs in its slot: when the module's
 * main process has exited it kills what is left, reports the slot empty, and only then does the run
 * count as ended. When the consumer's end of the socket closes (also by kill -9) the runner kills
 * its run and exits. A runner that dies is replaced.
 *
 * The process of a kind that stays outlives its run: the next run of the slot is given to it. It is
 * replaced by a new one when it has served max_tasks, has grown beyond max_rss_mb, has been idle
 * for idle_s, when its run is stopped or breaks the rules, and when it ends. Loop thread only.
 */
#ifndef LH_CONSUMER_SLOT_H
#define LH_CONSUMER_SLOT_H

#include "base/clock.h"
#include "base/trace.h"
#include "config/config.h"
#include "task/run_log.h"

#include <event2/event.h>

/* One claimed task, as the claim answered. Owned by whoever holds it. */
struct assignment {
    char task_id[TASK_TEXT_CAP];
    char service[TASK_TEXT_CAP];
    char *source_name;
    char *condition; /* JSON text */
    size_t condition_len;
    char run_id[UUID_CAP];
    int64_t attempt;
    int64_t held_until_ms; /* clock_mono_ms(): until then the claim's lease surely stands; counted
                              from when the claim was first asked for */
    char deadline[CLOCK_TEXT_CAP];     /* by the API's clock; "": none */
    int64_t timeout_ms;                /* from the claim to the deadline; 0: none */
    int64_t deadline_ms;               /* clock_mono_ms(): when the run is ended; 0: never */
    char traceparent[TRACEPARENT_CAP]; /* the run's own span; "": the task belongs to no trace */
    char parent[TRACEPARENT_CAP];      /* that of the task */
    char *tracestate;                  /* NULL: none */
};

void assignment_finish(struct assignment *assignment);

/* Why a run failed, as the API takes it. */
enum run_cause { CAUSE_ERROR, CAUSE_TIMEOUT, CAUSE_LIMIT, CAUSE_CANCELLED, CAUSE_CRASH };

/* How a run ended; texts are borrowed for the call. */
struct run_end {
    bool finished;           /* else failed */
    bool silent;             /* it has printed nothing; the slot does not say it */
    const char *traceparent; /* of the run, NULL or "": none; the slot does not say it */
    const char *result;      /* JSON text, or NULL: none */
    size_t result_len;
    enum run_cause cause; /* failed: CAUSE_CRASH: its lease ran out, so it was killed */
    enum task_error_class error_class; /* failed */
    bool no_start;  /* failed: its process could not be started, or ended by itself before it had
                       brought any run to its end: so would the next one */
    bool no_runner; /* no_start, since the longhaul-runner is of another version */
    const char *error_text; /* failed: "exit status 3: <last line of stderr>", "killed by signal 9
                               (SIGKILL)", the module's own text … */
};

struct slot_events {
    void (*ended)(struct slot_events *events, const struct run_end *end);
    /* What the run prints, byte for byte, before `ended`; NULL: nobody wants it. */
    void (*printed)(struct slot_events *events, enum run_stream stream, const char *bytes,
                    size_t len);
    /* A process of the module has been started; NULL likewise. */
    void (*started)(struct slot_events *events);
};

struct slot;
struct sandbox;

/* Starts the runner. `sandbox` is what each process is started in, as it stands then; it and
 * `events` must outlive the slot. */
enum rc slot_create(struct event_base *base, const struct config *cfg,
                    const struct sandbox *sandbox, struct slot_events *events, struct slot **ret,
                    struct error *err) LH_MUST_USE;

/* Runs the module of `service` on `assignment` (copied). The slot must be idle. A module that
 * cannot be started ends with an error through `ended`, never from inside this call. */
enum rc slot_start(struct slot *slot, const struct config_service *service,
                   const struct assignment *assignment, struct error *err) LH_MUST_USE;

/* Sends SIGTERM to every process of the run, and SIGKILL grace_ms later; 0: SIGKILL now. A further
 * call may shorten the grace. `ended` follows when all are gone. */
void slot_stop(struct slot *slot, int grace_ms);

/* The run's lease stands until then (clock_mono_ms()). Its supervisor kills it when that passes,
 * whatever has become of this process, where the configuration says `on_lost_lease: kill`. */
void slot_renew(struct slot *slot, int64_t held_until_ms);

/* What the run has said last of its progress, JSON text, valid for the moment; NULL: nothing. */
const char *slot_progress(const struct slot *slot);

bool slot_idle(const struct slot *slot);

/* Closes the socket: the runner kills what runs and exits. NULL is fine. */
void slot_destroy(struct slot *slot);

#endif
