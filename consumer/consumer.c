/* consumer.c: keeps every slot busy, and stops in order. */
#include "base/clock.h"
#include "base/log.h"
#include "base/tls.h"
#include "consumer/consumer_inside.h"
#include "consumer/slot/sandbox.h"
#include "consumer/slot/tmp_check.h"

#include <string.h>

/* --- room --- */

bool consumer_logs_full(struct consumer *consumer) {
    bool full = log_ship_pending(consumer->logs) > LOGS_PENDING_MAX;
    consumer->logs_were_full = consumer->logs_were_full || full;
    return full;
}

static void tell_room(struct consumer *consumer) {
    for (size_t i = 0; i < consumer->n_lines; i++)
        line_tell_room(&consumer->lines[i]);
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

void consumer_end_if_done(struct consumer *consumer) {
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
    bool were_full = consumer->logs_were_full, full = consumer_logs_full(consumer);
    consumer->logs_were_full = full;
    if (full != were_full)
        tell_room(consumer);
    consumer_end_if_done(consumer);
}

/* --- tasks --- */

static void on_deliver(struct assignment *assignment, void *arg) {
    struct consumer *consumer = arg;
    bool late = clock_mono_ms() >= assignment->held_until_ms;
    if (late)
        log_warning(.msg = "claim came too late to be run", .task_id = assignment->task_id,
                    .run_id = assignment->run_id, .traceparent = assignment->traceparent,
                    .service = assignment->service);
    if (late || consumer->phase != SERVING)
        consumer_hand_back(consumer, assignment->task_id, assignment->run_id,
                           assignment->traceparent);
    else
        consumer_run(consumer, assignment);
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
    consumer->source_stopped = true; /* its end may take a while: the runs' comes first */
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

enum rc consumer_find_users(struct consumer *consumer, struct error *err) {
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < consumer->n_lines; i++)
        rc = sandbox_find(consumer->services[i], &consumer->lines[i].sandbox, err);
    return rc;
}

/* What would stop every run stops the start. */
static enum rc make_sandboxes(struct consumer *consumer, struct error *err) {
    enum rc rc = consumer_find_users(consumer, err);
    for (size_t i = 0; rc == RC_OK && i < consumer->n_lines; i++)
        if (consumer->services[i]->module->private_tmp)
            rc = tmp_check(consumer->options.cfg, consumer->services[i], err);
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
    rc = make_sandboxes(consumer, err);
    if (rc != RC_OK)
        return rc;
    return consumer->n_lines ? RC_OK
                             : error_set(err, RC_CONFIG, "%s: no service has a module", cfg->file);
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

static struct tls_options api_tls(const struct consumer *consumer) {
    const struct config_api_tls *files = &consumer->options.cfg->api_tls;
    return (struct tls_options){.ca = files->ca, .cert = files->cert, .key = files->key};
}

static enum rc open_api(struct consumer *consumer, struct error *err) {
    const struct consumer_options *options = &consumer->options;
    const struct tls_options tls = api_tls(consumer);
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
        rc = line_open(&consumer->lines[i], err);
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
    enum rc rc = api_client_set_token(consumer->api, token, err);
    if (rc == RC_OK)
        reporter_again(consumer->reporter);
    return rc == RC_OK ? monitor_set_token(consumer->monitor, token, err) : rc;
}

enum rc consumer_reload_tls(struct consumer *consumer, struct error *err) {
    const struct tls_options tls = api_tls(consumer);
    return api_client_reload_tls(consumer->api, &tls, err);
}

void consumer_destroy(struct consumer *consumer) {
    if (!consumer)
        return;
    monitor_destroy(consumer->monitor);
    source_destroy(consumer->source);
    for (size_t i = 0; i < consumer->n_lines; i++)
        line_close(&consumer->lines[i]);
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
