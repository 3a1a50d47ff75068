/* stay.c: a process that outlives its run: what it is given, and when it has to leave. */
#include "base/log.h"
#include "consumer/runner/tree.h"
#include "consumer/slot/inside.h"

enum {
    LEAVE_MS = 2000, /* that a process has to end itself when its stdin has ended */
    TIGHT_MS = 1000, /* a run that ends so shortly before its deadline: process is not kept */
};

void stay_tell_times(struct slot *slot, const struct runner_times *times) {
    struct runner_times *known = &slot->process->times;
    if (known->deadline_ms == times->deadline_ms && known->lease_end_ms == times->lease_end_ms)
        return;
    *known = *times;
    if (slot->notes)
        supervisor_times(&slot->supervisor, times);
}

void stay_give(struct slot *slot) {
    event_del(slot->leave);
    stay_tell_times(slot, &slot->run->times);
    task_pipe_give(&slot->process->tasks, &slot->run->line);
    slot->process->n_given++;
    slot->run->begun = true;
}

/* The process is given no further run: its stdin ends, and it is killed if it does not end. */
static void dismiss(struct slot *slot, const char *why) {
    log_debug(.msg = "module is dismissed", .detail = why);
    slot->process->leaving = true;
    task_pipe_end(&slot->process->tasks);
    wait_for(slot->leave, LEAVE_MS);
}

void stay_leave(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct slot *slot = arg;
    if (!slot->process)
        return;
    if (slot->process->leaving)
        slot_kill_process(slot);
    else
        dismiss(slot, "idle_s");
}

/* Why the process shall serve no further run; NULL: it may. Where the run's end came close to its
 * deadline, the supervisor may be ending the process already. */
static const char *reason_to_dismiss(const struct slot *slot) {
    const struct config_module *module = slot->run->service->module;
    const struct process *process = slot->process;
    int64_t deadline_ms = slot->run->times.deadline_ms, lease_ms = slot->run->times.lease_end_ms;
    int64_t tight_ms = clock_mono_ms() + TIGHT_MS;
    if (module->max_tasks > 0 && process->n_given >= module->max_tasks)
        return "max_tasks";
    if (module->max_rss_mb > 0 &&
        tree_resident_bytes(slot->supervisor.pid) > (int64_t)module->max_rss_mb << 20)
        return "max_rss_mb";
    if ((deadline_ms && deadline_ms < tight_ms) || (lease_ms && lease_ms < tight_ms))
        return "close to its deadline";
    return NULL;
}

/* The run's last report has come: it ends, its process stays or goes. What was printed before it
 * may still exceed the limit: then the process is on its way out, and the run ends with it. */
void stay_end_run(struct slot *slot) {
    static const struct runner_times never;
    struct process *process = slot->process;
    process_take_rest(process);
    if (slot->run->outcome.decided)
        return;
    process->n_done++;
    const char *why = reason_to_dismiss(slot);
    int idle_ms = slot->run->service->module->idle_ms;
    stay_tell_times(slot, &never);
    if (process->leaving)
        slot_kill_process(slot);
    else if (why)
        dismiss(slot, why);
    else if (idle_ms > 0)
        wait_for(slot->leave, idle_ms);
    slot_end_run(slot, 0);
}

/* A process that has served before has ended without having read anything of the run: another one
 * shall have it. */
void stay_take_back(struct slot *slot) {
    struct run *run = run_at_work(slot);
    if (run && !run->stopped && !run->outcome.decided && slot->process->n_done > 0)
        run->begun = !task_pipe_take_back(&slot->process->tasks, &run->line);
}
