/* consumer.c: keeps every slot busy, and stops in order. */
#include "consumer/consumer.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/tls.h"
#include "consumer/backoff.h"
#include "consumer/heartbeat.h"
#include "consumer/log_ship.h"
#include "consumer/metrics_table.h"
#include "consumer/monitor.h"
#include "consumer/reporter.h"
#include "consumer/run_span.h"
#include "consumer/sandbox.h"
#include "consumer/source.h"

#include <string.h>

enum {
    GRACE_MS = 10000,         /* from SIGTERM to SIGKILL */
    KILL_WAIT_MS = 5000,      /* after the second call of consumer_stop() */
    LOGS_PENDING_MAX = 10000, /* streams of ended runs; then no further run begins */
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
    bool logs_were_full;
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

/* --- room --- */

static bool logs_full(const struct consumer *consumer) {
    return log_ship_pending(consumer->logs) > LOGS_PENDING_MAX;
}

/* Free places; none while the API takes no reports, so that what is unsettled stays bounded. */
static int line_room(const struct line *line) {
    const struct consumer *consumer = line->consumer;
    if (consumer->phase != SERVING || event_pending(line->rest, EV_TIMEOUT, NULL) ||
        reporter_pending(consumer->reporter) > consumer->n_places || logs_full(consumer))
        return 0;
    return line->n_places - line->n_busy;
}

static void line_tell_room(struct line *line) {
    if (line->consumer->source && line->consumer->phase == SERVING)
        source_room(line->consumer->source, line->index, line_room(line));
}

static void tell_room(struct consumer *consumer) {
    for (size_t i = 0; i < consumer->n_lines; i++)
        line_tell_room(&consumer->lines[i]);
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

/* Whether reports keep the consumer from its end: while it drains, all; then those in memory. */
static bool reports_hold(const struct consumer *consumer) {
    return event_pending(consumer->drained, EV_TIMEOUT, NULL)
               ? reporter_pending(consumer->reporter) > 0
               : reporter_loose(consumer->reporter) > 0;
}

/* What runs have printed is on disk, for the next consumer too: it is shipped as long as that goes
 * well. */
static bool logs_hold(const struct consumer *consumer) {
    return log_ship_pending(consumer->logs) > 0 && !log_ship_rests(consumer->logs);
}

static void consumer_end_if_done(struct consumer *consumer) {
    if (consumer->phase == SERVING || consumer->phase == ENDED || !consumer->source_stopped ||
        consumer->n_busy > 0 || reports_hold(consumer) || logs_hold(consumer))
        return;
    consumer->phase = ENDED;
    consumer->options.ended(consumer->options.arg);
}

static void on_settled(void *arg) {
    struct consumer *consumer = arg;
    if (reporter_pending(consumer->reporter) == consumer->n_places) /* there is room again */
        tell_room(consumer);
    consumer_end_if_done(consumer);
}

static void on_logs_settled(void *arg) {
    struct consumer *consumer = arg;
    bool full = logs_full(consumer);
    if (full != consumer->logs_were_full)
        tell_room(consumer);
    consumer->logs_were_full = full;
    consumer_end_if_done(consumer);
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

static void hand_back(struct consumer *consumer, const char *task_id, const char *run_id,
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
        hand_back(consumer, place->task_id, place->run_id, place->span.own);
    else
        place_tell(place, stopped ? &cancelled : end);
}

static void on_run_ended(struct slot_events *events, const struct run_end *end) {
    struct place *place = (struct place *)events;
    struct consumer *consumer = place->line->consumer;
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

/* SIGTERM now, SIGKILL after the grace. Once for a reason; a further one may shorten the grace. */
static void place_stop(struct place *place, enum stopped why, int grace_ms) {
    if (place->stopped >= why && grace_ms > 0)
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

static void on_deliver(struct assignment *assignment, void *arg) {
    struct consumer *consumer = arg;
    struct place *place = free_place(line_of(consumer, assignment->service));
    bool late = clock_mono_ms() >= assignment->held_until_ms;
    if (late)
        log_warning(.msg = "claim came too late to be run", .task_id = assignment->task_id,
                    .run_id = assignment->run_id, .traceparent = assignment->traceparent,
                    .service = assignment->service);
    if (late || consumer->phase != SERVING)
        hand_back(consumer, assignment->task_id, assignment->run_id, assignment->traceparent);
    else if (place)
        place_run(place, assignment);
    else
        report_not_run(consumer, assignment, "the consumer has no free slot for the task");
    assignment_finish(assignment);
}

/* --- leases --- */

static void list_report(const char *task_id, const char *run_id, void *arg) {
    heartbeat_add(arg, task_id, run_id, NULL);
}

/* A run holds its task until its end is reported and settled. */
static void on_list(struct heartbeat *heartbeat, void *arg) {
    const struct consumer *consumer = arg;
    each_place(consumer, place) if (place->busy && place->stopped != FOR_LOSS)
        heartbeat_add(heartbeat, place->task_id, place->run_id, slot_progress(place->slot));
    reporter_each(consumer->reporter, list_report, heartbeat);
}

/* The place where the run goes on; NULL where it has ended meanwhile or lost its task. */
static struct place *place_of(const struct consumer *consumer, const char *run_id) {
    each_place(consumer, place) if (place->busy && place->stopped != FOR_LOSS &&
                                    strcmp(place->run_id, run_id) == 0) return place;
    return NULL;
}

/* A run that has ended meanwhile hears the same of its report. */
static void on_lost(const char *run_id, enum rc rc, const char *text, void *arg) {
    struct place *place = place_of(arg, run_id);
    if (!place)
        return;
    log_warning(.msg = "run lost its task", .task_id = place->task_id, .run_id = place->run_id,
                .traceparent = place->span.own, .code = rc_info(rc)->word, .error = text);
    place_stop(place, FOR_LOSS, GRACE_MS);
}

static void on_renewed(const char *run_id, int64_t held_until_ms, void *arg) {
    struct place *place = place_of(arg, run_id);
    if (place)
        slot_renew(place->slot, held_until_ms);
}

static void on_cancel(const char *run_id, int grace_ms, void *arg) {
    struct place *place = place_of(arg, run_id);
    if (!place)
        return;
    if (place->stopped < FOR_CANCEL)
        log_info(.msg = "run is cancelled", .task_id = place->task_id, .run_id = place->run_id,
                 .traceparent = place->span.own);
    place_stop(place, FOR_CANCEL, grace_ms);
}

/* --- stopping --- */

static void on_source_stopped(void *arg) {
    struct consumer *consumer = arg;
    consumer->source_stopped = true;
    consumer_end_if_done(consumer);
}

static void consumer_drain(struct consumer *consumer);

/* What runs goes on to its end, within drain_s. */
static void on_source_failed(const struct error *err, void *arg) {
    struct consumer *consumer = arg;
    log_error(.msg = "no more tasks come, so the consumer ends", .code = rc_info(err->rc)->word,
              .error = err->text);
    consumer->failure = err->rc;
    if (consumer->phase == SERVING)
        consumer_drain(consumer);
}

static void on_give_up(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct consumer *consumer = arg;
    consumer->phase = ENDED;
    consumer->options.ended(consumer->options.arg);
}

/* The time to drain is over. */
static void on_drained(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct consumer *consumer = arg;
    if (consumer->n_busy > 0)
        log_info(.msg = "stopping runs", .count = (int64_t)consumer->n_busy);
    each_place(consumer, place) if (place->busy) place_stop(place, FOR_DRAIN, GRACE_MS);
    reporter_keep(consumer->reporter);
    log_ship_keep(consumer->logs);
    consumer_end_if_done(consumer);
}

static void consumer_drain(struct consumer *consumer) {
    int ms = consumer->options.cfg->drain_ms;
    struct timeval wait = {ms / 1000, ms % 1000 * 1000};
    consumer->phase = DRAINING;
    event_add(consumer->drained, &wait);
    reporter_keep(consumer->reporter);
    log_ship_keep(consumer->logs);
    source_stop(consumer->source, on_source_stopped, consumer);
}

static void consumer_kill(struct consumer *consumer) {
    consumer->phase = KILLING;
    event_del(consumer->drained);
    source_destroy(TAKE(consumer->source));
    consumer->source_stopped = true;
    struct timeval wait = {KILL_WAIT_MS / 1000, KILL_WAIT_MS % 1000 * 1000};
    event_add(consumer->give_up, &wait);
    each_place(consumer, place) if (place->busy) place_stop(place, FOR_DRAIN, 0);
    reporter_keep(consumer->reporter);
    consumer_end_if_done(consumer);
}

void consumer_stop(struct consumer *consumer) {
    if (consumer->phase == SERVING)
        consumer_drain(consumer);
    else if (consumer->phase == DRAINING)
        consumer_kill(consumer);
}

size_t consumer_unsettled(const struct consumer *consumer) {
    return consumer->n_busy + reporter_loose(consumer->reporter);
}

enum rc consumer_failure(const struct consumer *consumer) {
    return consumer->failure;
}

size_t consumer_slots(const struct consumer *consumer) {
    return consumer->n_places;
}

/* --- how it stands --- */

bool consumer_line(const struct consumer *consumer, size_t i, struct consumer_line *ret) {
    if (i >= consumer->n_lines)
        return false;
    const struct line *line = &consumer->lines[i];
    *ret = (struct consumer_line){line->service->name, line->n_places, line->n_busy};
    return true;
}

size_t consumer_reports_waiting(const struct consumer *consumer) {
    return consumer->reporter ? reporter_pending(consumer->reporter) : 0;
}

size_t consumer_logs_waiting(const struct consumer *consumer) {
    return consumer->logs ? log_ship_pending(consumer->logs) : 0;
}

bool consumer_serves(const struct consumer *consumer) {
    return consumer->phase == SERVING;
}

void consumer_each_lag(const struct consumer *consumer, source_lag_each *each, void *arg) {
    source_each_lag(consumer->source, each, arg);
}

/* --- starting --- */

static bool is_named(const char *const *names, const char *name) {
    for (; names && *names; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

static enum rc check_names(const struct consumer_options *options, struct error *err) {
    for (const char *const *name = options->services; name && *name; name++) {
        const struct config_service *service = config_service(options->cfg, *name);
        if (!service)
            return error_set(err, RC_CONFIG, "%s: no service %s", options->cfg->file, *name);
        if (!service->module)
            return error_set(err, RC_CONFIG, "%s: service %s has no module", options->cfg->file,
                             *name);
    }
    return RC_OK;
}

/* What would stop every run stops the start. */
static enum rc check_sandboxes(const struct consumer *consumer, struct error *err) {
    struct runner_identity identity;
    char home[SANDBOX_HOME_CAP];
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < consumer->n_lines; i++)
        rc = sandbox_identity(consumer->services[i], &identity, home, err);
    return rc;
}

static enum rc pick_services(struct consumer *consumer, struct error *err) {
    const struct consumer_options *options = &consumer->options;
    const struct config *cfg = options->cfg;
    enum rc rc = check_names(options, err);
    if (rc != RC_OK)
        return rc;
    consumer->services = calloc(cfg->n_services + 1, sizeof *consumer->services);
    consumer->lines = calloc(cfg->n_services + 1, sizeof *consumer->lines);
    if (!consumer->services || !consumer->lines)
        return error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
    for (size_t i = 0; i < cfg->n_services; i++) {
        const struct config_service *service = &cfg->services[i];
        if (!service->module || (options->services && !is_named(options->services, service->name)))
            continue;
        size_t index = consumer->n_lines++;
        consumer->services[index] = service;
        consumer->lines[index] =
            (struct line){.consumer = consumer, .service = service, .index = index};
    }
    rc = check_sandboxes(consumer, err);
    if (rc != RC_OK)
        return rc;
    return consumer->n_lines ? RC_OK
                             : error_set(err, RC_CONFIG, "%s: no service has a module", cfg->file);
}

static enum rc place_open(struct place *place, struct line *line, struct error *err) {
    const struct consumer_options *options = &line->consumer->options;
    *place = (struct place){.events = {on_run_ended, on_printed, on_started}, .line = line};
    return slot_create(options->base, options->cfg, &place->events, &place->slot, err);
}

static enum rc line_fill(struct line *line, struct error *err) {
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

/* Where /metrics is to be served; NULL: nowhere. */
static const char *metrics_listen(const struct consumer *consumer) {
    const char *told = consumer->options.metrics_listen;
    return told ? told : consumer->options.cfg->metrics_listen;
}

static enum rc make_metrics(struct consumer *consumer, struct error *err) {
    consumer->names = calloc(consumer->n_lines, sizeof *consumer->names);
    for (size_t i = 0; consumer->names && i < consumer->n_lines; i++)
        consumer->names[i] = consumer->services[i]->name;
    if (consumer->names)
        consumer->metrics = consumer_metrics_create(consumer->names, consumer->n_lines);
    return consumer->metrics ? RC_OK
                             : error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
}

static enum rc start_monitor(struct consumer *consumer, struct error *err) {
    struct monitor_options options = {.base = consumer->options.base,
                                      .cfg = consumer->options.cfg,
                                      .token = consumer->options.token,
                                      .listen = metrics_listen(consumer),
                                      .consumer = consumer,
                                      .metrics = consumer->metrics};
    if (!options.listen)
        return RC_OK;
    enum rc rc = monitor_create(&options, &consumer->monitor, err);
    if (rc == RC_OK)
        log_info(.msg = "metrics", .address = monitor_address(consumer->monitor));
    return rc;
}

static enum rc open_source(struct consumer *consumer, struct error *err) {
    struct source_options options = {.base = consumer->options.base,
                                     .cfg = consumer->options.cfg,
                                     .api = consumer->api,
                                     .services = consumer->services,
                                     .n_services = consumer->n_lines,
                                     .group_instance_id = consumer->options.group_instance_id,
                                     .metrics = consumer->metrics,
                                     .watched = metrics_listen(consumer),
                                     .deliver = on_deliver,
                                     .failed = on_source_failed,
                                     .arg = consumer};
    return source_open(&options, &consumer->source, err);
}

static enum rc start_heartbeat(struct consumer *consumer, struct error *err) {
    const struct config *cfg = consumer->options.cfg;
    struct heartbeat_options options = {.base = consumer->options.base,
                                        .api = consumer->api,
                                        .lease_ms = cfg->lease_ms,
                                        .body_max = cfg->limits.body_bytes,
                                        .services = consumer->services,
                                        .n_services = consumer->n_lines,
                                        .slots = consumer->n_places,
                                        .metrics = consumer->metrics,
                                        .list = on_list,
                                        .lost = on_lost,
                                        .renewed = on_renewed,
                                        .cancel = on_cancel,
                                        .arg = consumer};
    return heartbeat_create(&options, &consumer->heartbeat, err);
}

static enum rc start_reporter(struct consumer *consumer, struct error *err) {
    struct reporter_options options = {.base = consumer->options.base,
                                       .api = consumer->api,
                                       .body_max = consumer->options.cfg->limits.body_bytes,
                                       .spool = consumer->options.cfg->consumer_spool,
                                       .settled = on_settled,
                                       .arg = consumer};
    return reporter_create(&options, &consumer->reporter, err);
}

static enum rc start_logs(struct consumer *consumer, struct error *err) {
    const struct config *cfg = consumer->options.cfg;
    struct log_ship_options options = {.base = consumer->options.base,
                                       .api = consumer->api,
                                       .spool = cfg->consumer_spool,
                                       .cap = cfg->limits.log_bytes,
                                       .body_max = cfg->limits.body_bytes,
                                       .metrics = consumer->metrics,
                                       .settled = on_logs_settled,
                                       .arg = consumer};
    return log_ship_create(&options, &consumer->logs, err);
}

static enum rc open_api(struct consumer *consumer, struct error *err) {
    const struct consumer_options *options = &consumer->options;
    const struct config_api_tls *files = &options->cfg->api_tls;
    const struct tls_options tls = {.ca = files->ca, .cert = files->cert, .key = files->key};
    return api_client_create(options->base, options->cfg->api_url, &tls, options->token,
                             &consumer->api, err);
}

static enum rc start(struct consumer *consumer, struct error *err) {
    enum rc rc = pick_services(consumer, err);
    if (rc == RC_OK)
        rc = make_metrics(consumer, err);
    if (rc == RC_OK)
        rc = start_monitor(consumer, err);
    if (rc == RC_OK)
        rc = open_api(consumer, err);
    if (rc == RC_OK) {
        api_client_set_metrics(consumer->api, consumer->metrics);
        rc = start_reporter(consumer, err);
    }
    if (rc == RC_OK)
        rc = start_logs(consumer, err);
    for (size_t i = 0; rc == RC_OK && i < consumer->n_lines; i++)
        rc = line_fill(&consumer->lines[i], err);
    if (rc == RC_OK)
        rc = start_heartbeat(consumer, err);
    if (rc == RC_OK)
        rc = open_source(consumer, err);
    return rc;
}

enum rc consumer_create(const struct consumer_options *options, struct consumer **ret,
                        struct error *err) {
    struct consumer *consumer = calloc(1, sizeof *consumer);
    if (!consumer)
        return error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
    consumer->options = *options;
    consumer->drained = event_new(options->base, -1, 0, on_drained, consumer);
    consumer->give_up = event_new(options->base, -1, 0, on_give_up, consumer);
    enum rc rc = consumer->drained && consumer->give_up
                     ? start(consumer, err)
                     : error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
    if (rc != RC_OK) {
        consumer_destroy(consumer);
        return rc;
    }
    for (size_t i = 0; i < consumer->n_lines; i++)
        line_tell_room(&consumer->lines[i]);
    *ret = consumer;
    return RC_OK;
}

enum rc consumer_set_token(struct consumer *consumer, const char *token, struct error *err) {
    return api_client_set_token(consumer->api, token, err);
}

static void line_finish(struct line *line) {
    for (int i = 0; i < line->n_places; i++) {
        slot_destroy(line->places[i].slot);
        log_run_end(TAKE(line->places[i].log));
    }
    free(line->places);
    if (line->rest)
        event_free(line->rest);
}

void consumer_destroy(struct consumer *consumer) {
    if (!consumer)
        return;
    monitor_destroy(consumer->monitor);
    source_destroy(consumer->source);
    for (size_t i = 0; i < consumer->n_lines; i++)
        line_finish(&consumer->lines[i]);
    heartbeat_destroy(consumer->heartbeat);
    reporter_destroy(consumer->reporter);
    log_ship_destroy(consumer->logs);
    api_client_destroy(consumer->api);
    if (consumer->drained)
        event_free(consumer->drained);
    if (consumer->give_up)
        event_free(consumer->give_up);
    metrics_destroy(consumer->metrics);
    free(consumer->names);
    free(consumer->lines);
    free(consumer->services);
    free(consumer);
}
