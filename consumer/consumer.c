/* consumer.c: keeps every slot busy, and stops in order. */
#include "consumer/consumer.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "consumer/backoff.h"
#include "consumer/heartbeat.h"
#include "consumer/reporter.h"
#include "consumer/source.h"

#include <string.h>

enum {
    GRACE_MS = 10000,    /* from SIGTERM to SIGKILL */
    KILL_WAIT_MS = 5000, /* after the second call of consumer_stop() */
};

struct line;

/* A slot and the run in it. */
struct place {
    struct slot_events events; /* first: the slot hands it back */
    struct line *line;
    struct slot *slot;
    bool busy;
    bool stopped;       /* by us: unless it has a result all the same, the task is handed back */
    bool lost;          /* the task has gone on without this run: its end is not reported */
    struct event *kill; /* pending between the soft and the hard stop */
    char task_id[TASK_TEXT_CAP];
    char run_id[UUID_CAP];
    int64_t started_ms;
};

/* A service and its places. After a run that this host could not start (no processes, no memory)
 * the line rests, so that a sick host does not spoil task after task. */
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
    struct api_client *api;
    struct reporter *reporter;
    struct heartbeat *heartbeat;
    struct source *source;
    const struct config_service **services;
    struct line *lines;
    size_t n_lines;
    size_t n_places, n_busy;
    enum phase phase;
    bool source_stopped;
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

/* Free places; none while the API takes no reports, so that what is unsettled stays bounded. */
static int line_room(const struct line *line) {
    const struct consumer *consumer = line->consumer;
    if (consumer->phase != SERVING || event_pending(line->rest, EV_TIMEOUT, NULL) ||
        reporter_pending(consumer->reporter) > consumer->n_places)
        return 0;
    return line->n_places - line->n_busy;
}

static void line_tell_room(struct line *line) {
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

static void consumer_end_if_done(struct consumer *consumer) {
    if (consumer->phase == SERVING || consumer->phase == ENDED || !consumer->source_stopped ||
        consumer_unsettled(consumer) > 0)
        return;
    consumer->phase = ENDED;
    consumer->options.ended(consumer->options.arg);
}

static void on_settled(void *arg) {
    struct consumer *consumer = arg;
    if (reporter_pending(consumer->reporter) == consumer->n_places) /* there is room again */
        for (size_t i = 0; i < consumer->n_lines; i++)
            line_tell_room(&consumer->lines[i]);
    consumer_end_if_done(consumer);
}

/* --- runs --- */

static void report(struct consumer *consumer, const char *task_id, const char *run_id,
                   const struct run_end *end) {
    if (reporter_send(consumer->reporter, task_id, run_id, end) == RC_OK)
        return;
    struct run_end brief = {.error_class = ERROR_RETRYABLE,
                            .error_text = "the consumer had no memory for the result"};
    if (reporter_send(consumer->reporter, task_id, run_id, &brief) != RC_OK)
        log_error(.msg = "report lost", .task_id = task_id, .run_id = run_id,
                  .error = rc_info(RC_NO_MEMORY)->text);
}

static void hand_back(struct consumer *consumer, const char *task_id, const char *run_id) {
    log_info(.msg = "task handed back", .task_id = task_id, .run_id = run_id);
    if (reporter_hand_back(consumer->reporter, task_id, run_id) != RC_OK)
        log_error(.msg = "report lost", .task_id = task_id, .run_id = run_id,
                  .error = rc_info(RC_NO_MEMORY)->text);
}

static void report_not_run(struct consumer *consumer, const struct assignment *assignment,
                           const char *text) {
    log_error(.msg = "task not run", .task_id = assignment->task_id, .run_id = assignment->run_id,
              .service = assignment->service, .error = text);
    struct run_end end = {.error_class = ERROR_RETRYABLE, .error_text = text};
    report(consumer, assignment->task_id, assignment->run_id, &end);
}

static void place_report(struct place *place, const struct run_end *end) {
    struct consumer *consumer = place->line->consumer;
    bool back = place->stopped && !place->lost && !(end->finished && end->result);
    log_info(.msg = place->lost     ? "lost run ended"
                    : back          ? "run stopped"
                    : end->finished ? "run finished"
                                    : "run failed",
             .task_id = place->task_id, .run_id = place->run_id,
             .service = place->line->service->name, .ms = clock_mono_ms() - place->started_ms,
             .error = end->finished ? NULL : end->error_text);
    if (back)
        hand_back(consumer, place->task_id, place->run_id);
    else if (!place->lost)
        report(consumer, place->task_id, place->run_id, end);
}

static void on_run_ended(struct slot_events *events, const struct run_end *end) {
    struct place *place = (struct place *)events;
    struct consumer *consumer = place->line->consumer;
    event_del(place->kill);
    place_report(place, end);
    place->busy = false;
    place->line->n_busy--;
    consumer->n_busy--;
    line_tell_room(place->line);
    consumer_end_if_done(consumer);
}

/* SIGTERM now, SIGKILL after a while. Once for a run. */
static void place_stop(struct place *place) {
    if (place->stopped)
        return;
    struct timeval grace = {GRACE_MS / 1000, GRACE_MS % 1000 * 1000};
    place->stopped = true;
    slot_stop(place->slot, false);
    event_add(place->kill, &grace);
}

static void place_kill(struct place *place) {
    place->stopped = true;
    event_del(place->kill);
    slot_stop(place->slot, true);
}

static void on_grace_over(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    place_kill(arg);
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
    backoff_reset(&place->line->backoff);
    mem_copy_str(place->task_id, sizeof place->task_id, assignment->task_id);
    mem_copy_str(place->run_id, sizeof place->run_id, assignment->run_id);
    place->started_ms = clock_mono_ms();
    place->stopped = place->lost = false;
    place->busy = true;
    place->line->n_busy++;
    consumer->n_busy++;
    log_info(.msg = "run started", .task_id = place->task_id, .run_id = place->run_id,
             .service = place->line->service->name);
    heartbeat_soon(consumer->heartbeat);
    line_tell_room(place->line);
}

static void on_deliver(struct assignment *assignment, void *arg) {
    struct consumer *consumer = arg;
    struct place *place = free_place(line_of(consumer, assignment->service));
    bool late = clock_mono_ms() >= assignment->held_until_ms;
    if (late)
        log_warning(.msg = "claim came too late to be run", .task_id = assignment->task_id,
                    .run_id = assignment->run_id, .service = assignment->service);
    if (late || consumer->phase != SERVING)
        hand_back(consumer, assignment->task_id, assignment->run_id);
    else if (place)
        place_run(place, assignment);
    else
        report_not_run(consumer, assignment, "the consumer has no free slot for the task");
    assignment_finish(assignment);
}

/* --- leases --- */

static void list_report(const char *task_id, const char *run_id, void *arg) {
    heartbeat_add(arg, task_id, run_id);
}

/* A run holds its task until its end is reported and settled. */
static void on_list(struct heartbeat *heartbeat, void *arg) {
    const struct consumer *consumer = arg;
    each_place(consumer, place) if (place->busy && !place->lost)
        heartbeat_add(heartbeat, place->task_id, place->run_id);
    reporter_each(consumer->reporter, list_report, heartbeat);
}

/* A run that has ended meanwhile hears the same of its report. */
static void on_lost(const char *run_id, enum rc rc, const char *text, void *arg) {
    const struct consumer *consumer = arg;
    each_place(consumer, place) {
        if (!place->busy || place->lost || strcmp(place->run_id, run_id) != 0)
            continue;
        log_warning(.msg = "run lost its task", .task_id = place->task_id, .run_id = place->run_id,
                    .code = rc_info(rc)->word, .error = text);
        place->lost = true;
        place_stop(place);
    }
}

/* --- stopping --- */

static void on_source_stopped(void *arg) {
    struct consumer *consumer = arg;
    consumer->source_stopped = true;
    consumer_end_if_done(consumer);
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
    each_place(consumer, place) if (place->busy) place_stop(place);
}

static void consumer_drain(struct consumer *consumer) {
    int ms = consumer->options.cfg->drain_ms;
    struct timeval wait = {ms / 1000, ms % 1000 * 1000};
    consumer->phase = DRAINING;
    event_add(consumer->drained, &wait);
    source_stop(consumer->source, on_source_stopped, consumer);
}

static void consumer_kill(struct consumer *consumer) {
    consumer->phase = KILLING;
    event_del(consumer->drained);
    source_destroy(TAKE(consumer->source));
    consumer->source_stopped = true;
    struct timeval wait = {KILL_WAIT_MS / 1000, KILL_WAIT_MS % 1000 * 1000};
    event_add(consumer->give_up, &wait);
    each_place(consumer, place) if (place->busy) place_kill(place);
    consumer_end_if_done(consumer);
}

void consumer_stop(struct consumer *consumer) {
    if (consumer->phase == SERVING)
        consumer_drain(consumer);
    else if (consumer->phase == DRAINING)
        consumer_kill(consumer);
}

size_t consumer_unsettled(const struct consumer *consumer) {
    return consumer->n_busy + reporter_pending(consumer->reporter);
}

size_t consumer_slots(const struct consumer *consumer) {
    return consumer->n_places;
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
    return consumer->n_lines ? RC_OK
                             : error_set(err, RC_CONFIG, "%s: no service has a module", cfg->file);
}

static enum rc place_open(struct place *place, struct line *line, struct error *err) {
    const struct consumer_options *options = &line->consumer->options;
    *place = (struct place){.events = {on_run_ended}, .line = line};
    place->kill = event_new(options->base, -1, 0, on_grace_over, place);
    if (!place->kill)
        return error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
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

static enum rc open_source(struct consumer *consumer, struct error *err) {
    struct source_options options = {.base = consumer->options.base,
                                     .cfg = consumer->options.cfg,
                                     .api = consumer->api,
                                     .services = consumer->services,
                                     .n_services = consumer->n_lines,
                                     .deliver = on_deliver,
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
                                        .list = on_list,
                                        .lost = on_lost,
                                        .arg = consumer};
    return heartbeat_create(&options, &consumer->heartbeat, err);
}

static enum rc start(struct consumer *consumer, struct error *err) {
    const struct consumer_options *options = &consumer->options;
    enum rc rc = pick_services(consumer, err);
    if (rc == RC_OK)
        rc = api_client_create(options->base, options->cfg->api_url, options->token, &consumer->api,
                               err);
    if (rc == RC_OK)
        rc = reporter_create(options->base, consumer->api, on_settled, consumer,
                             &consumer->reporter, err);
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

static void line_finish(struct line *line) {
    for (int i = 0; i < line->n_places; i++) {
        slot_destroy(line->places[i].slot);
        if (line->places[i].kill)
            event_free(line->places[i].kill);
    }
    free(line->places);
    if (line->rest)
        event_free(line->rest);
}

void consumer_destroy(struct consumer *consumer) {
    if (!consumer)
        return;
    source_destroy(consumer->source);
    for (size_t i = 0; i < consumer->n_lines; i++)
        line_finish(&consumer->lines[i]);
    heartbeat_destroy(consumer->heartbeat);
    reporter_destroy(consumer->reporter);
    api_client_destroy(consumer->api);
    if (consumer->drained)
        event_free(consumer->drained);
    if (consumer->give_up)
        event_free(consumer->give_up);
    free(consumer->lines);
    free(consumer->services);
    free(consumer);
}
