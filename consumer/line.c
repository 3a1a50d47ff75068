/* line.c: a service's places, and the runs in them from their start to their report. */
#include "base/clock.h"
#include "base/log.h"
#include "consumer/consumer_inside.h"

#include <string.h>

/* --- room --- */

/* Free places; none while the API takes no reports, so that what is unsettled stays bounded. */
static int line_room(const struct line *line) {
    struct consumer *consumer = line->consumer;
    if (consumer->phase != SERVING || event_pending(line->rest, EV_TIMEOUT, NULL) ||
        reporter_pending(consumer->reporter) > consumer->n_places || consumer_logs_full(consumer))
        return 0;
    return line->n_places - line->n_busy;
}

void line_tell_room(struct line *line) {
    if (line->consumer->source && line->consumer->phase == SERVING)
        source_room(line->consumer->source, line->index, line_room(line));
}

static void line_rest(struct line *line) {
    struct timeval wait = backoff_next(&line->backoff);
    event_add(line->rest, &wait);
    line_tell_room(line);
}

static void on_rested(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    line_tell_room(arg);
}

/* --- runs --- */

static void on_started(struct slot_events *events) {
    const struct line *line = ((struct place *)events)->line;
    metrics_add(line->consumer->metrics, METRIC_MODULE_STARTS, line->index, 1);
}

static void on_printed(struct slot_events *events, enum run_stream stream, const char *bytes,
                       size_t len) {
    struct place *place = (struct place *)events;
    log_run_write(place->log, stream, bytes, len);
}

static void report(struct consumer *consumer, const char *task_id, const char *run_id,
                   const struct run_end *end) {
    const char *trace = end->traceparent;
    if (reporter_send(consumer->reporter, task_id, run_id, end) == RC_OK)
        return;
    struct run_end brief = {.error_class = ERROR_RETRYABLE,
                            .traceparent = trace,
                            .error_text = "the consumer had no memory for the result"};
    if (reporter_send(consumer->reporter, task_id, run_id, &brief) != RC_OK)
        log_error(.msg = "report lost", .task_id = task_id, .run_id = run_id, .traceparent = trace,
                  .error = rc_info(RC_NO_MEMORY)->text);
}

void consumer_hand_back(struct consumer *consumer, const char *task_id, const char *run_id,
                        const char *trace) {
    log_info(.msg = "task handed back", .task_id = task_id, .run_id = run_id, .traceparent = trace);
    if (reporter_hand_back(consumer->reporter, task_id, run_id, trace) != RC_OK)
        log_error(.msg = "report lost", .task_id = task_id, .run_id = run_id, .traceparent = trace,
                  .error = rc_info(RC_NO_MEMORY)->text);
}

static void report_not_run(struct consumer *consumer, const struct assignment *assignment,
                           const char *text) {
    log_error(.msg = "task not run", .task_id = assignment->task_id, .run_id = assignment->run_id,
              .traceparent = assignment->traceparent, .service = assignment->service,
              .error = text);
    struct run_end end = {
        .error_class = ERROR_RETRYABLE, .traceparent = assignment->traceparent, .error_text = text};
    report(consumer, assignment->task_id, assignment->run_id, &end);
}

static const struct run_end cancelled = {
    .cause = CAUSE_CANCELLED, .error_class = ERROR_FATAL, .error_text = "cancelled"};

/* Whether the stop is what is told of its end; else its own end is: a result that it has all the
 * same, a timeout that was there before a drain. */
static bool ended_by_stop(const struct place *place, const struct run_end *end) {
    if (end->finished)
        return place->stopped && !end->result;
    return place->stopped == FOR_CANCEL || (place->stopped && end->cause == CAUSE_ERROR);
}

/* Tells the API how the run ended, unless the task has gone on without it. A silent run's log ends
 * with that word; any other is closed when it is shipped. */
static void place_tell(struct place *place, const struct run_end *end) {
    struct log_run *log = TAKE(place->log);
    struct run_end told = *end;
    told.silent = log_run_silent(log);
    told.traceparent = place->span.own;
    report(place->line->consumer, place->task_id, place->run_id, &told);
    if (told.silent)
        log_run_drop(log);
    else
        log_run_end(log);
}

static enum run_outcome outcome_of(const struct place *place, const struct run_end *end,
                                   bool stopped) {
    static const enum run_outcome causes[] = {[CAUSE_ERROR] = OUTCOME_ERROR,
                                              [CAUSE_TIMEOUT] = OUTCOME_TIMEOUT,
                                              [CAUSE_LIMIT] = OUTCOME_LIMIT,
                                              [CAUSE_CANCELLED] = OUTCOME_CANCELLED,
                                              [CAUSE_CRASH] = OUTCOME_CRASH};
    if (place->stopped == FOR_LOSS)
        return OUTCOME_LOST;
    if (stopped)
        return place->stopped == FOR_DRAIN ? OUTCOME_HANDED_BACK : OUTCOME_CANCELLED;
    return end->finished ? OUTCOME_FINISHED : causes[end->cause];
}

static void place_count(const struct place *place, enum run_outcome outcome) {
    struct metrics *metrics = place->line->consumer->metrics;
    size_t service = place->line->index;
    metrics_add(metrics, METRIC_RUNS_ENDED,
                metrics_cell(metrics, METRIC_RUNS_ENDED, (size_t[]){service, outcome}), 1);
    metrics_observe(metrics, METRIC_RUN_TIME, service,
                    (clock_mono_ms() - place->started_ms) * 1000);
}

static void place_end_span(const struct place *place, const struct run_end *end,
                           enum run_outcome outcome) {
    bool good = outcome == OUTCOME_FINISHED || outcome == OUTCOME_HANDED_BACK;
    const char *word = run_outcome_name(outcome);
    const char *why = !end->finished && end->error_text ? end->error_text : word;
    run_span_end(place->line->consumer->options.spans, &place->span, place->task_id, place->run_id,
                 place->line->service->name, word, good ? NULL : why);
}

static void place_report(struct place *place, const struct run_end *end) {
    struct consumer *consumer = place->line->consumer;
    bool stopped = ended_by_stop(place, end);
    enum run_outcome outcome = outcome_of(place, end, stopped);
    place_count(place, outcome);
    place_end_span(place, end, outcome);
    log_info(.msg = place->stopped == FOR_LOSS ? "lost run ended"
                    : stopped                  ? "run stopped"
                    : end->finished            ? "run finished"
                                               : "run failed",
             .task_id = place->task_id, .run_id = place->run_id, .traceparent = place->span.own,
             .service = place->line->service->name, .ms = clock_mono_ms() - place->started_ms,
             .error = end->finished ? NULL : end->error_text);
    if (place->stopped == FOR_LOSS)
        return;
    if (stopped && place->stopped == FOR_DRAIN)
        consumer_hand_back(consumer, place->task_id, place->run_id, place->span.own);
    else
        place_tell(place, stopped ? &cancelled : end);
}

static void on_run_ended(struct slot_events *events, const struct run_end *end) {
    struct place *place = (struct place *)events;
    struct consumer *consumer = place->line->consumer;
    if (end->no_runner && place->stopped == NOT_STOPPED)
        place->stopped = FOR_DRAIN; /* nothing of it has run: its task goes back to the queue */
    place_report(place, end);
    log_run_end(TAKE(place->log));
    if (end->no_start)
        line_rest(place->line);
    else
        backoff_reset(&place->line->backoff);
    place->busy = false;
    place->line->n_busy--;
    consumer->n_busy--;
    line_tell_room(place->line);
    consumer_end_if_done(consumer);
}

void place_stop(struct place *place, enum stopped why, int grace_ms) {
    if (place->stopped == why && grace_ms > 0)
        return;
    if (place->stopped < why)
        place->stopped = why;
    slot_stop(place->slot, grace_ms);
}

static struct line *line_of(struct consumer *consumer, const char *service) {
    for (size_t i = 0; i < consumer->n_lines; i++)
        if (strcmp(consumer->lines[i].service->name, service) == 0)
            return &consumer->lines[i];
    return NULL;
}

static struct place *free_place(struct line *line) {
    for (int i = 0; line && i < line->n_places; i++)
        if (!line->places[i].busy)
            return &line->places[i];
    return NULL;
}

static void place_run(struct place *place, const struct assignment *assignment) {
    struct consumer *consumer = place->line->consumer;
    struct error err;
    if (slot_start(place->slot, place->line->service, assignment, &err) != RC_OK) {
        report_not_run(consumer, assignment, err.text);
        line_rest(place->line);
        return;
    }
    mem_copy_str(place->task_id, sizeof place->task_id, assignment->task_id);
    mem_copy_str(place->run_id, sizeof place->run_id, assignment->run_id);
    run_span_begin(&place->span, assignment);
    place->log = log_ship_begin(consumer->logs, place->task_id, place->run_id);
    log_run_trace(place->log, place->span.own);
    place->started_ms = clock_mono_ms();
    place->stopped = NOT_STOPPED;
    place->busy = true;
    place->line->n_busy++;
    consumer->n_busy++;
    metrics_add(consumer->metrics, METRIC_RUNS_STARTED, place->line->index, 1);
    log_info(.msg = "run started", .task_id = place->task_id, .run_id = place->run_id,
             .traceparent = place->span.own, .service = place->line->service->name);
    heartbeat_soon(consumer->heartbeat);
    line_tell_room(place->line);
}

void consumer_run(struct consumer *consumer, const struct assignment *assignment) {
    struct place *place = free_place(line_of(consumer, assignment->service));
    if (place)
        place_run(place, assignment);
    else
        report_not_run(consumer, assignment, "the consumer has no free slot for the task");
}

/* --- opening --- */

static enum rc place_open(struct place *place, struct line *line, struct error *err) {
    const struct consumer_options *options = &line->consumer->options;
    *place = (struct place){.events = {on_run_ended, on_printed, on_started}, .line = line};
    return slot_create(options->base, options->cfg, &line->sandbox, &place->events, &place->slot,
                       err);
}

enum rc line_open(struct line *line, struct error *err) {
    struct consumer *consumer = line->consumer;
    int slots = line->service->module->slots;
    line->rest = event_new(consumer->options.base, -1, 0, on_rested, line);
    line->places = calloc((size_t)slots, sizeof *line->places);
    if (!line->rest || !line->places)
        return error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
    while (line->n_places < slots) {
        enum rc rc = place_open(&line->places[line->n_places++], line, err);
        if (rc != RC_OK)
            return rc;
        consumer->n_places++;
    }
    return RC_OK;
}

void line_close(struct line *line) {
    for (int i = 0; i < line->n_places; i++) {
        slot_destroy(line->places[i].slot);
        log_run_end(TAKE(line->places[i].log));
    }
    free(line->places);
    if (line->rest)
        event_free(line->rest);
}
