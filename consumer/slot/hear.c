/* hear.c: what a module's process says while it runs: prints, lines, reports. */
#include "base/log.h"
#include "consumer/slot/inside.h"

enum { TEXT_CAP = 1024 /* of a module's line in our log */ };

static void log_module_line(const struct slot *slot, const char *stream, const char *line,
                            size_t len) {
    if (!log_enabled(LOG_DEBUG))
        return;
    const struct run *run = slot->run && slot->run->begun ? slot->run : NULL;
    char text[TEXT_CAP];
    outcome_clean(text, sizeof text, line, len);
    log_debug(.msg = "module output", .task_id = run ? run->task_id : NULL,
              .run_id = run ? run->run_id : NULL, .traceparent = run ? run->traceparent : NULL,
              .service = run ? run->service->name : NULL, .detail = stream, .text = text);
}

/* A flood ends the run. */
static void count_output(struct slot *slot, size_t len) {
    struct run *run = slot->run;
    int64_t max = run->service->module->output_bytes;
    if (max <= 0)
        return;
    run->output_bytes += (int64_t)len;
    if (run->output_bytes <= max || run->output_bytes - (int64_t)len > max)
        return;
    outcome_decide(&run->outcome, CAUSE_LIMIT, "output_kb: the run wrote more than %lld KiB",
                   (long long)(max >> 10));
    slot_kill_process(slot);
}

/* What is printed between two runs belongs to none. */
static void take_printed(struct slot *slot, enum run_stream stream, const char *bytes, size_t len) {
    if (!slot->run || !slot->run->begun)
        return;
    if (slot->events->printed)
        slot->events->printed(slot->events, stream, bytes, len);
    count_output(slot, len);
}

static void see_stdout(void *arg, const char *bytes, size_t len) {
    take_printed(arg, STREAM_STDOUT, bytes, len);
}

static void see_stderr(void *arg, const char *bytes, size_t len) {
    take_printed(arg, STREAM_STDERR, bytes, len);
}

static void take_stdout(void *arg, const char *line, size_t len, bool cut) {
    struct slot *slot = arg;
    log_module_line(slot, "stdout", line, len);
    if (slot->run && slot->run->begun)
        outcome_stdout(&slot->run->outcome, line, len, cut);
}

static void take_stderr(void *arg, const char *line, size_t len, bool cut) {
    (void)cut;
    struct slot *slot = arg;
    log_module_line(slot, "stderr", line, len);
    if (slot->run && slot->run->begun)
        outcome_stderr(&slot->run->outcome, line, len);
}

/* A report that belongs to no run: nothing that such a process says could be trusted. */
static void take_stray(struct slot *slot, const char *line, size_t len) {
    char text[TEXT_CAP];
    if (slot->process->leaving)
        return;
    outcome_clean(text, sizeof text, line, len);
    log_warning(.msg = "report outside of a task", .detail = slot->process->program, .text = text);
    slot_kill_process(slot);
}

static void take_report(void *arg, const char *line, size_t len, bool cut) {
    struct slot *slot = arg;
    struct run *run = run_at_work(slot);
    log_module_line(slot, "report", line, len);
    if (!run) {
        take_stray(slot, line, len);
        return;
    }
    bool before = run->outcome.broken, odd = run->outcome.odd_progress;
    outcome_report(&run->outcome, line, len, cut);
    if (run->outcome.odd_progress && !odd)
        log_warning(.msg = "progress left out", .task_id = run->task_id, .run_id = run->run_id,
                    .traceparent = run->traceparent, .service = run->service->name,
                    .error = "must be a number from 0 to 1, or an object with done, total, text");
    bool late = run->stopped || run->outcome.decided || is_past(run->times.deadline_ms);
    if ((run->outcome.broken && !before) || (run->outcome.ended && late))
        slot_kill_process(slot);
    else if (run->outcome.ended)
        wait_for(slot->later, 0);
}

struct process_readers hear_readers(struct slot *slot, size_t result_max) {
    return (struct process_readers){.out = take_stdout,
                                    .err = take_stderr,
                                    .report = take_report,
                                    .raw_out = see_stdout,
                                    .raw_err = see_stderr,
                                    .out_max = result_max,
                                    .err_max = TEXT_CAP,
                                    .report_max = result_max + OUTCOME_REPORT_SLACK,
                                    .arg = slot};
}
