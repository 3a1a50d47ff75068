/* slot.c: one run at a time, in a process of its own or in one that stays: from its beginning to
 * the verdict, and the supervisor behind it. */
#include "consumer/slot/inside.h"

#include "base/log.h"
#include "consumer/runner/group.h"
#include "consumer/runner/scratch.h"
#include "consumer/slot/sandbox.h"

#include <assert.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SWEEP_MS = 20,
    TERM_MS = 5000, /* from SIGTERM to SIGKILL at the deadline */
};

void assignment_finish(struct assignment *assignment) {
    free(assignment->source_name);
    free(assignment->condition);
    free(assignment->tracestate);
    *assignment = (struct assignment){0};
}

/* --- the run --- */

static void run_destroy(struct run *run) {
    if (!run)
        return;
    outcome_finish(&run->outcome);
    buf_finish(&run->line);
    free(run->source_name);
    free(run);
}

static struct run *run_create(struct slot *slot, const struct config_service *service,
                              const struct assignment *assignment) {
    struct run *run = calloc(1, sizeof *run);
    if (!run)
        return NULL;
    run->service = service;
    mem_copy_str(run->task_id, sizeof run->task_id, assignment->task_id);
    mem_copy_str(run->run_id, sizeof run->run_id, assignment->run_id);
    mem_copy_str(run->traceparent, sizeof run->traceparent, assignment->traceparent);
    outcome_init(&run->outcome, (size_t)slot->cfg->limits.result_bytes);
    run->timeout_ms = assignment->timeout_ms;
    run->times.deadline_ms = assignment->deadline_ms;
    if (slot->cfg->on_lost_lease == LOST_LEASE_KILL)
        run->times.lease_end_ms = assignment->held_until_ms;
    buf_init(&run->line, SIZE_MAX / 2);
    const char *source_name = assignment->source_name ? assignment->source_name : "";
    run->source_name = mem_dup(source_name, strlen(source_name));
    if (module_stays(service)) {
        outcome_expect(&run->outcome, run->task_id);
        module_task_line(assignment, &run->line);
    }
    if (run->source_name && buf_rc(&run->line) == RC_OK)
        return run;
    run_destroy(run);
    return NULL;
}

void slot_end_run(struct slot *slot, int wait_status) {
    struct run *run = TAKE(slot->run);
    struct run_end end;
    event_del(slot->later);
    outcome_judge(&run->outcome, wait_status, &end);
    end.no_runner = run->no_runner;
    end.no_start = run->no_start || run->no_runner;
    slot->events->ended(slot->events, &end);
    run_destroy(run);
}

/* The run could not even begin; it ends from the loop. */
static void fail_here(struct slot *slot, const char *text) {
    slot->run->no_start = true;
    outcome_decide(&slot->run->outcome, CAUSE_ERROR, "%s", text);
    wait_for(slot->later, 0);
}

/* --- the process --- */

void slot_kill_process(struct slot *slot) {
    slot->process->leaving = true;
    if (slot->notes)
        supervisor_stop(&slot->supervisor, 0);
}

static enum rc need_supervisor(struct slot *slot, struct error *err);
static void lose_supervisor(struct slot *slot);

static enum rc send_once(struct slot *slot, const struct buf *order,
                         const int streams[RUNNER_STREAMS], struct error *err) {
    enum rc rc = need_supervisor(slot, err);
    if (rc != RC_OK)
        return rc;
    slot->run->no_runner = false;
    rc = supervisor_run(&slot->supervisor, order, streams, err);
    if (rc != RC_OK)
        lose_supervisor(slot);
    return rc;
}

/* Sends the order; a supervisor that has died unnoticed while it was idle is replaced. */
static enum rc send_order(struct slot *slot, const struct buf *order,
                          const int streams[RUNNER_STREAMS], struct error *err) {
    enum rc rc = send_once(slot, order, streams, err);
    return rc == RC_OK ? rc : send_once(slot, order, streams, err);
}

/* Starts a process as the launch says. */
static enum rc start_process(struct slot *slot, struct launch *launch, const struct buf *order,
                             struct error *err) {
    struct process_readers readers = hear_readers(slot, slot->run->outcome.result_max);
    int streams[RUNNER_STREAMS] = {-1, -1, -1, -1};
    struct process *process = NULL;
    enum rc rc = process_create(slot->base, launch, module_stays(slot->run->service), &readers,
                                streams, &process, err);
    if (rc == RC_OK)
        rc = send_order(slot, order, streams, err);
    for (int i = 1; i < RUNNER_STREAMS; i++)
        if (streams[i] >= 0)
            close(streams[i]);
    if (rc == RC_OK)
        slot->process = process;
    else
        process_destroy(process);
    return rc;
}

static struct runner_limits module_limits(const struct config_module *module) {
    return (struct runner_limits){.memory_bytes = (int64_t)module->memory_mb << 20,
                                  .nproc = module->nproc,
                                  .nofile = module->nofile};
}

/* HOME is the user's own, where the configuration does not say another. */
static enum rc take_identity(const struct slot *slot, const struct config_service *service,
                             struct launch *launch, struct error *err) {
    const char *home = slot->sandbox->home;
    launch->shown = slot->cfg->dir;
    launch->identity = slot->sandbox->identity;
    return home[0] ? launch_home(launch, service->module, home, err) : RC_OK;
}

/* Starts a process for the run. A module that cannot be started is the run's error. */
static enum rc begin_run(struct slot *slot, const struct assignment *assignment,
                         struct error *err) {
    struct run *run = slot->run;
    struct launch launch;
    struct error why;
    LH_CLEANUP_BUF struct buf order;
    buf_init(&order, RUNNER_ORDER_MAX);
    enum rc rc = module_prepare(slot->cfg, run->service, assignment, &launch, &why);
    launch.times = run->times;
    launch.limits = module_limits(run->service->module);
    if (rc == RC_OK)
        rc = take_identity(slot, run->service, &launch, &why);
    launch.grace_ms = TERM_MS;
    if (rc == RC_OK)
        rc = supervisor_pack(&launch, &order, &why);
    if (rc == RC_OK)
        rc = start_process(slot, &launch, &order, err);
    else
        fail_here(slot, why.text);
    if (rc != RC_OK && run->no_runner)
        fail_here(slot, err->text);
    launch_finish(&launch);
    if (!slot->process)
        return slot->run->no_start ? RC_OK : rc;
    if (slot->process->stays)
        stay_give(slot);
    run->begun = true;
    return RC_OK;
}

/* Starts a new process for a run that has waited for the end of the one before. */
static void begin_waiting(struct slot *slot) {
    struct assignment assignment = {.source_name = slot->run->source_name};
    struct error err;
    mem_copy_str(assignment.service, sizeof assignment.service, slot->run->service->name);
    if (begin_run(slot, &assignment, &err) != RC_OK)
        fail_here(slot, err.text);
}

enum rc slot_start(struct slot *slot, const struct config_service *service,
                   const struct assignment *assignment, struct error *err) {
    assert(slot_idle(slot));
    slot->run = run_create(slot, service, assignment);
    if (!slot->run)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    enum rc rc = RC_OK;
    if (!slot->process)
        rc = begin_run(slot, assignment, err);
    else if (!slot->process->leaving)
        stay_give(slot);
    if (rc != RC_OK)
        run_destroy(TAKE(slot->run));
    return rc;
}

/* --- the end of the process --- */

/* No process is left of it. The slot may be gone afterwards. */
static void end_process(struct slot *slot, int wait_status) {
    bool by_itself = slot->process->stays && !slot->process->leaving;
    bool new = slot->process->n_done == 0;
    event_del(slot->leave);
    process_destroy(slot->process);
    slot->process = NULL;
    struct run *run = slot->run;
    if (!run && by_itself)
        log_warning(.msg = "idle module ended",
                    .status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 0,
                    .signal = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0);
    if (!run)
        return;
    if (!run->begun && !run->stopped) {
        begin_waiting(slot);
        return;
    }
    if (!run->begun)
        outcome_decide(&run->outcome, CAUSE_ERROR, "stopped before it began");
    run->no_start = by_itself && new && !run->outcome.ended && !run->outcome.decided;
    slot_end_run(slot, wait_status);
}

/* Kills what a dead supervisor has left; true when nothing is. */
static bool clear_orphans(struct process *process) {
    group_kill(process->group);
    if (supervisor_sweep() > 0 || !group_is_empty(process->group))
        return false;
    if (*process->scratch)
        scratch_remove(process->scratch);
    if (*process->tmp)
        scratch_remove(process->tmp);
    group_remove(process->group);
    return true;
}

/* Ends from the loop: what a dead supervisor has left, which has to be gone first; a run whose last
 * report has come; one that could not begin. */
static void on_later(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct slot *slot = arg;
    struct process *process = slot->process;
    if (process && process->orphaned && !clear_orphans(process)) {
        wait_for(slot->later, SWEEP_MS);
    } else if (process && process->orphaned) {
        end_process(slot, 0);
    } else if (process) {
        stay_end_run(slot);
    } else {
        slot_end_run(slot, 0);
    }
}

/* --- the supervisor --- */

static void lose_supervisor(struct slot *slot) {
    char how[160];
    event_free(TAKE(slot->notes));
    bool other = supervisor_bury(&slot->supervisor, how, sizeof how);
    struct run *run = run_at_work(slot);
    log_error(.msg = other ? "longhaul-runner is of another version" : "supervisor died",
              .error = how, .task_id = run ? run->task_id : NULL,
              .run_id = run ? run->run_id : NULL, .traceparent = run ? run->traceparent : NULL);
    if (slot->run)
        slot->run->no_runner = other;
    if (!slot->process)
        return;
    slot->process->orphaned = slot->process->leaving = true;
    if (run)
        outcome_decide(&run->outcome, CAUSE_ERROR, "the supervisor of the run died: %s", how);
    wait_for(slot->later, 0);
}

static void take_started(struct slot *slot, const struct runner_note *note) {
    const struct run *run = slot->run;
    mem_copy_str(slot->process->scratch, sizeof slot->process->scratch, note->scratch);
    mem_copy_str(slot->process->tmp, sizeof slot->process->tmp, note->tmp);
    mem_copy_str(slot->process->group, sizeof slot->process->group, note->group);
    if (slot->events->started)
        slot->events->started(slot->events);
    log_debug(.msg = "module started", .task_id = run ? run->task_id : NULL,
              .run_id = run ? run->run_id : NULL, .traceparent = run ? run->traceparent : NULL,
              .service = run ? run->service->name : NULL, .pid = note->value);
}

static void take_not_started(struct slot *slot, const struct runner_note *note) {
    struct run *run = slot->run;
    outcome_decide(&run->outcome, CAUSE_ERROR, "cannot start %s: %s", slot->process->program,
                   strerror(note->value));
    run->no_start = true;
    process_destroy(slot->process);
    slot->process = NULL;
    slot_end_run(slot, 0);
}

/* Why the supervisor has ended the process; of a time that was of the run before the one that is at
 * work, and came as that had just ended, nothing is said. */
static void take_why(struct run *run, const struct runner_note *note) {
    switch ((enum runner_why)note->why) {
    case WHY_NONE:
        break;
    case WHY_DEADLINE:
        if (is_past(run->times.deadline_ms))
            outcome_decide(&run->outcome, CAUSE_TIMEOUT, "timed out after %.10g s",
                           (double)run->timeout_ms / 1000);
        break;
    case WHY_LEASE:
        if (is_past(run->times.lease_end_ms))
            outcome_decide(&run->outcome, CAUSE_CRASH,
                           "killed as its lease ran out (on_lost_lease: kill)");
        break;
    case WHY_MEMORY:
        outcome_decide(&run->outcome, CAUSE_LIMIT, "memory_mb: the run used more than %d MiB",
                       run->service->module->memory_mb);
        break;
    case WHY_NPROC:
        outcome_decide(&run->outcome, CAUSE_LIMIT,
                       "nproc: the run had more than %d processes and threads",
                       run->service->module->nproc);
        break;
    }
}

static void take_ended(struct slot *slot, const struct runner_note *note) {
    stay_take_back(slot);
    if (slot->run && slot->run->begun)
        take_why(slot->run, note);
    end_process(slot, note->value);
}

static void on_note(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct slot *slot = arg;
    struct runner_note note;
    int got = supervisor_note(&slot->supervisor, &note);
    if (got < 0)
        lose_supervisor(slot);
    else if (got > 0 && slot->process && note.kind == NOTE_STARTED)
        take_started(slot, &note);
    else if (got > 0 && slot->process && note.kind == NOTE_NOT_STARTED)
        take_not_started(slot, &note);
    else if (got > 0 && slot->process && note.kind == NOTE_ENDED)
        take_ended(slot, &note);
}

static enum rc need_supervisor(struct slot *slot, struct error *err) {
    if (slot->notes)
        return RC_OK;
    enum rc rc = supervisor_start(&slot->supervisor, err);
    if (rc != RC_OK)
        return rc;
    slot->notes =
        event_new(slot->base, slot->supervisor.socket, EV_READ | EV_PERSIST, on_note, slot);
    if (slot->notes && event_add(slot->notes, NULL) == 0)
        return RC_OK;
    if (slot->notes)
        event_free(TAKE(slot->notes));
    supervisor_close(&slot->supervisor);
    return error_set(err, RC_NO_MEMORY, "out of memory");
}

/* --- the slot --- */

void slot_stop(struct slot *slot, int grace_ms) {
    if (!slot->run)
        return;
    slot->run->stopped = true;
    if (!slot->process)
        return;
    slot->process->leaving = true;
    if (slot->notes)
        supervisor_stop(&slot->supervisor, slot->run->begun ? (uint32_t)grace_ms : 0);
}

void slot_renew(struct slot *slot, int64_t held_until_ms) {
    struct run *run = slot->run;
    if (!run || !run->times.lease_end_ms)
        return;
    run->times.lease_end_ms = held_until_ms;
    if (run->begun)
        stay_tell_times(slot, &run->times);
}

const char *slot_progress(const struct slot *slot) {
    const struct run *run = run_at_work(slot);
    return run && run->outcome.progress.len > 0 ? run->outcome.progress.data : NULL;
}

bool slot_idle(const struct slot *slot) {
    return !slot->run;
}

enum rc slot_create(struct event_base *base, const struct config *cfg,
                    const struct sandbox *sandbox, struct slot_events *events, struct slot **ret,
                    struct error *err) {
    struct slot *slot = calloc(1, sizeof *slot);
    if (!slot)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    *slot = (struct slot){
        .base = base, .cfg = cfg, .sandbox = sandbox, .events = events, .supervisor.socket = -1};
    slot->later = evtimer_new(base, on_later, slot);
    slot->leave = evtimer_new(base, stay_leave, slot);
    enum rc rc = slot->later && slot->leave ? need_supervisor(slot, err)
                                            : error_set(err, RC_NO_MEMORY, "out of memory");
    if (rc != RC_OK) {
        slot_destroy(slot);
        return rc;
    }
    *ret = slot;
    return RC_OK;
}

void slot_destroy(struct slot *slot) {
    if (!slot)
        return;
    if (slot->notes)
        event_free(TAKE(slot->notes));
    supervisor_close(&slot->supervisor);
    process_destroy(slot->process);
    if (slot->later)
        event_free(slot->later);
    if (slot->leave)
        event_free(slot->leave);
    run_destroy(slot->run);
    free(slot);
}
