/* slot.c: one run at a time through its supervisor: pipes and lines while it runs, the verdict at
 * its end. */
#include "consumer/slot.h"

#include "base/log.h"
#include "base/mem.h"
#include "consumer/lines.h"
#include "consumer/outcome.h"
#include "consumer/runner/scratch.h"
#include "consumer/supervisor.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    SWEEP_MS = 20,
    LOG_TEXT_CAP = 1024, /* of a module's line in our log */
};

/* A run from slot_start() to `ended`. */
struct run {
    struct slot *slot;
    char task_id[TASK_TEXT_CAP];
    char run_id[UUID_CAP];
    char service[TASK_TEXT_CAP];
    char *program;
    char scratch[PATH_MAX]; /* "" before it has started */
    bool orphaned;          /* its supervisor has died: what is left of it has to be killed here */
    bool failed_here;       /* failure says why it could not run or be followed to its end */
    char failure[512];
    struct outcome outcome;
    struct lines out, err, report;
};

struct slot {
    struct event_base *base;
    const struct config *cfg;
    struct slot_events *events;
    struct supervisor supervisor;
    struct event *notes; /* NULL: no supervisor */
    struct event *later; /* ends a run that failed here */
    struct run *run;     /* NULL: idle */
};

void assignment_finish(struct assignment *assignment) {
    free(assignment->source_name);
    free(assignment->condition);
    *assignment = (struct assignment){0};
}

static void run_destroy(struct run *run) {
    if (!run)
        return;
    lines_close(&run->out);
    lines_close(&run->err);
    lines_close(&run->report);
    outcome_finish(&run->outcome);
    free(run->program);
    free(run);
}

static struct run *run_create(struct slot *slot, const struct assignment *assignment) {
    struct run *run = calloc(1, sizeof *run);
    if (!run)
        return NULL;
    run->slot = slot;
    run->out.fd = run->err.fd = run->report.fd = -1;
    mem_copy_str(run->task_id, sizeof run->task_id, assignment->task_id);
    mem_copy_str(run->run_id, sizeof run->run_id, assignment->run_id);
    mem_copy_str(run->service, sizeof run->service, assignment->service);
    outcome_init(&run->outcome, (size_t)slot->cfg->limits.result_bytes);
    return run;
}

static void log_module_line(const struct run *run, const char *stream, const char *line,
                            size_t len) {
    if (!log_enabled(LOG_DEBUG))
        return;
    char text[LOG_TEXT_CAP];
    outcome_clean(text, sizeof text, line, len);
    log_debug(.msg = "module output", .task_id = run->task_id, .run_id = run->run_id,
              .service = run->service, .detail = stream, .text = text);
}

static void take_stdout(void *arg, const char *line, size_t len, bool cut) {
    struct run *run = arg;
    log_module_line(run, "stdout", line, len);
    outcome_stdout(&run->outcome, line, len, cut);
}

static void take_stderr(void *arg, const char *line, size_t len, bool cut) {
    (void)cut;
    struct run *run = arg;
    log_module_line(run, "stderr", line, len);
    outcome_stderr(&run->outcome, line, len);
}

static void take_report(void *arg, const char *line, size_t len, bool cut) {
    struct run *run = arg;
    log_module_line(run, "report", line, len);
    bool before = run->outcome.broken;
    outcome_report(&run->outcome, line, len, cut);
    if (run->outcome.broken && !before)
        slot_stop(run->slot, true);
}

/* Ends the run: takes what still lies in its pipes, judges, tells. The slot may be gone afterwards.
 */
static void end_run(struct slot *slot, int wait_status) {
    struct run *run = TAKE(slot->run);
    struct run_end end;
    lines_close(&run->report);
    lines_close(&run->out);
    lines_close(&run->err);
    outcome_judge(&run->outcome, wait_status, &end);
    if (run->failed_here)
        end = (struct run_end){.error_class = ERROR_RETRYABLE, .error_text = run->failure};
    slot->events->ended(slot->events, &end);
    run_destroy(run);
}

static void end_later(struct slot *slot, int ms) {
    struct timeval delay = {.tv_usec = ms * 1000};
    evtimer_add(slot->later, &delay);
}

/* A run that failed here has ended when nothing of it is left, which matters after the death of its
 * supervisor. */
static void on_later(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct slot *slot = arg;
    if (slot->run->orphaned && supervisor_sweep() > 0) {
        end_later(slot, SWEEP_MS);
        return;
    }
    if (slot->run->orphaned && *slot->run->scratch)
        scratch_remove(slot->run->scratch);
    end_run(slot, 0);
}

static void lose_supervisor(struct slot *slot) {
    char how[64];
    event_free(TAKE(slot->notes));
    supervisor_bury(&slot->supervisor, how, sizeof how);
    struct run *run = slot->run;
    log_error(.msg = "supervisor died", .error = how, .task_id = run ? run->task_id : NULL,
              .run_id = run ? run->run_id : NULL);
    if (!run || run->failed_here)
        return;
    run->failed_here = run->orphaned = true;
    snprintf(run->failure, sizeof run->failure, "the supervisor of the run died: %s", how);
    end_later(slot, 0);
}

static void take_started(struct slot *slot, const struct runner_note *note) {
    struct run *run = slot->run;
    mem_copy_str(run->scratch, sizeof run->scratch, note->scratch);
    log_debug(.msg = "module started", .task_id = run->task_id, .run_id = run->run_id,
              .service = run->service, .pid = note->value);
}

static void take_not_started(struct slot *slot, const struct runner_note *note) {
    struct run *run = slot->run;
    run->failed_here = true;
    snprintf(run->failure, sizeof run->failure, "cannot start %s: %s", run->program,
             strerror(note->value));
    end_run(slot, 0);
}

static void on_note(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct slot *slot = arg;
    struct runner_note note;
    int got = supervisor_note(&slot->supervisor, &note);
    if (got < 0)
        lose_supervisor(slot);
    else if (got > 0 && slot->run && note.kind == NOTE_STARTED)
        take_started(slot, &note);
    else if (got > 0 && slot->run && note.kind == NOTE_NOT_STARTED)
        take_not_started(slot, &note);
    else if (got > 0 && slot->run && note.kind == NOTE_ENDED)
        end_run(slot, note.value);
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

/* Opens a pipe whose end for us is read by `lines`; the other end goes into *ret_stream. */
static enum rc open_stream(struct run *run, struct lines *lines, size_t line_max, lines_take *take,
                           int *ret_stream, struct error *err) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set(err, RC_IO, "cannot make a pipe: %s", strerror(errno));
    *ret_stream = ends[1];
    evutil_make_socket_nonblocking(ends[0]);
    enum rc rc = lines_open(lines, run->slot->base, ends[0], line_max, take, run);
    return rc == RC_OK ? RC_OK : error_set(err, rc, "out of memory");
}

static enum rc open_streams(struct run *run, int streams[RUNNER_STREAMS], struct error *err) {
    size_t result_max = run->outcome.result_max;
    enum rc rc = open_stream(run, &run->out, result_max, take_stdout, &streams[1], err);
    if (rc == RC_OK)
        rc = open_stream(run, &run->err, LOG_TEXT_CAP, take_stderr, &streams[2], err);
    if (rc == RC_OK)
        rc = open_stream(run, &run->report, result_max + OUTCOME_REPORT_SLACK, take_report,
                         &streams[3], err);
    return rc;
}

/* Sends the order; a supervisor that has died unnoticed while it was idle is replaced. */
static enum rc send_order(struct slot *slot, const struct buf *order,
                          const int streams[RUNNER_STREAMS], struct error *err) {
    enum rc rc = need_supervisor(slot, err);
    if (rc != RC_OK)
        return rc;
    rc = supervisor_run(&slot->supervisor, order, streams, err);
    if (rc == RC_OK)
        return rc;
    lose_supervisor(slot);
    rc = need_supervisor(slot, err);
    return rc == RC_OK ? supervisor_run(&slot->supervisor, order, streams, err) : rc;
}

static enum rc begin(struct slot *slot, struct run *run, const struct buf *order, int task_fd,
                     struct error *err) {
    int streams[RUNNER_STREAMS] = {task_fd, -1, -1, -1};
    enum rc rc = open_streams(run, streams, err);
    if (rc == RC_OK)
        rc = send_order(slot, order, streams, err);
    for (int i = 1; i < RUNNER_STREAMS; i++)
        if (streams[i] >= 0)
            close(streams[i]);
    return rc;
}

enum rc slot_start(struct slot *slot, const struct config_service *service,
                   const struct assignment *assignment, struct error *err) {
    assert(slot_idle(slot));
    struct run *run = run_create(slot, assignment);
    if (!run)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    struct launch launch;
    struct error why;
    LH_CLEANUP_BUF struct buf order;
    buf_init(&order, RUNNER_ORDER_MAX);
    enum rc rc = module_prepare(slot->cfg, service, assignment, &launch, &why);
    if (rc == RC_OK)
        rc = supervisor_pack(&launch, &order, &why);
    if (rc != RC_OK) {
        run->failed_here = true;
        mem_copy_str(run->failure, sizeof run->failure, why.text);
        slot->run = run;
        end_later(slot, 0);
        launch_finish(&launch);
        return RC_OK;
    }
    run->program = TAKE(launch.program);
    rc = begin(slot, run, &order, launch.task_fd, err);
    launch_finish(&launch);
    if (rc == RC_OK)
        slot->run = run;
    else
        run_destroy(run);
    return rc;
}

void slot_stop(struct slot *slot, bool hard) {
    if (slot->run && slot->notes)
        supervisor_stop(&slot->supervisor, hard);
}

bool slot_idle(const struct slot *slot) {
    return !slot->run;
}

enum rc slot_create(struct event_base *base, const struct config *cfg, struct slot_events *events,
                    struct slot **ret, struct error *err) {
    struct slot *slot = calloc(1, sizeof *slot);
    if (!slot)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    *slot = (struct slot){.base = base, .cfg = cfg, .events = events, .supervisor.socket = -1};
    slot->later = evtimer_new(base, on_later, slot);
    enum rc rc =
        slot->later ? need_supervisor(slot, err) : error_set(err, RC_NO_MEMORY, "out of memory");
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
    if (slot->later)
        event_free(slot->later);
    if (slot->notes)
        event_free(TAKE(slot->notes));
    supervisor_close(&slot->supervisor);
    run_destroy(slot->run);
    free(slot);
}
