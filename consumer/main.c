/* main.c: longhaul-consumer: starts in order, waits for signals, ends in order. */
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/notify.h"
#include "config/options.h"
#include "consumer/consumer.h"
#include "consumer/leftovers.h"
#include "consumer/run_span.h"
#include "consumer/runner/group.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

static const struct options_extra extra[] = {
    {"service", "NAME", "serve this service only; may be repeated", true},
    {"group-instance-id", "ID", "name of this process in its Kafka groups, each process its own",
     false},
    {"metrics-listen", "ADDRESS", "where /metrics is served, instead of metrics_listen", false},
};

static const struct options_program about = {
    .name = "longhaul-consumer",
    .component = "consumer",
    .summary = "Claims tasks, runs their modules and reports how they ended.",
    .manual =
        "Runs the modules of the services named, or of every service with a `module`.\n\n"
        "SIGTERM and SIGINT end it cleanly: its runs may end for `drain_s`, then they are stopped "
        "and their\n"
        "tasks are given back to the queue. A second one stops them at once.",
    .extra = extra,
    .n_extra = LH_COUNT(extra),
};

enum {
    STOP_MS = 60000, /* for the service manager: from the end of the drain to that of the process */
    FLUSH_MAX_MS = 2000, /* for the spans that are left */
};

struct program {
    struct options options;
    char *token;
    const char **services; /* NULL-terminated; NULL: all */
    struct event_base *base;
    struct event *term, *interrupt, *hangup, *watchdog;
    struct consumer *consumer;
    struct spans *spans; /* NULL: none are kept */
};

static void on_signal(evutil_socket_t number, short what, void *arg) {
    (void)what;
    struct program *program = arg;
    log_info(.msg = "stopping", .signal = number,
             .count = (int64_t)consumer_unsettled(program->consumer));
    notify_stopping(program->options.cfg->drain_ms + STOP_MS);
    consumer_stop(program->consumer);
}

static void tell_ready(const struct program *program) {
    char status[300];
    snprintf(status, sizeof status, "%zu slots, tasks from %.200s",
             consumer_slots(program->consumer), program->options.cfg->api_url);
    notify_ready(status);
}

/* Takes the token as its file has it now; with what is wrong the one of before stays. */
static enum rc reload(struct program *program, struct error *err) {
    LH_FREE char *token = NULL;
    enum rc rc = config_consumer_token(program->options.cfg, &token, err);
    return rc == RC_OK ? consumer_set_token(program->consumer, token, err) : rc;
}

static void tell_fault(enum rc rc, const struct error *err, const char *msg) {
    if (rc != RC_OK)
        log_error(.msg = msg, .code = rc_info(rc)->word, .error = err->text);
}

static void on_hangup(evutil_socket_t number, short what, void *arg) {
    (void)number, (void)what;
    struct program *program = arg;
    struct error err = {.text = ""};
    notify_reloading();
    enum rc rc = reload(program, &err);
    if (rc == RC_OK)
        log_info(.msg = "token read again");
    tell_fault(rc, &err, "token not read again: that of before holds");
    rc = consumer_reload_tls(program->consumer, &err);
    tell_fault(rc, &err, "certificates not read again: those of before hold");
    rc = spans_reload_tls(program->spans, &err);
    tell_fault(rc, &err, "tracing.ca not read again: that of before holds");
    rc = consumer_find_users(program->consumer, &err);
    tell_fault(rc, &err, "users not looked up again: those of before hold");
    tell_ready(program);
}

static void on_ended(void *arg) {
    struct program *program = arg;
    event_base_loopbreak(program->base);
}

static enum rc no_memory(struct error *err) {
    return error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
}

/* The services that --service names. */
static enum rc list_services(struct program *program, struct error *err) {
    size_t n = 0;
    while (options_value(&program->options, "service", n))
        n++;
    if (n == 0)
        return RC_OK;
    program->services = calloc(n + 1, sizeof *program->services);
    if (!program->services)
        return no_memory(err);
    for (size_t i = 0; i < n; i++)
        program->services[i] = options_value(&program->options, "service", i);
    return RC_OK;
}

/* One thread: no locks in the loop. */
static enum rc make_base(struct program *program, struct error *err) {
    struct event_config *config = event_config_new();
    if (config && event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) == 0)
        program->base = event_base_new_with_config(config);
    if (config)
        event_config_free(config);
    return program->base ? RC_OK : no_memory(err);
}

static enum rc watch_signals(struct program *program, struct error *err) {
    signal(SIGPIPE, SIG_IGN);
    program->term = evsignal_new(program->base, SIGTERM, on_signal, program);
    program->interrupt = evsignal_new(program->base, SIGINT, on_signal, program);
    program->hangup = evsignal_new(program->base, SIGHUP, on_hangup, program);
    struct event *events[] = {program->term, program->interrupt, program->hangup};
    bool ready = true;
    for (size_t i = 0; i < LH_COUNT(events); i++)
        ready = ready && events[i] && event_add(events[i], NULL) == 0;
    return ready ? notify_watchdog(program->base, &program->watchdog, err) : no_memory(err);
}

static enum rc start_consumer(struct program *program, struct error *err) {
    struct consumer_options options = {
        .base = program->base,
        .cfg = program->options.cfg,
        .token = program->token,
        .services = program->services,
        .group_instance_id = options_value(&program->options, "group-instance-id", 0),
        .metrics_listen = options_value(&program->options, "metrics-listen", 0),
        .spans = program->spans,
        .ended = on_ended,
        .arg = program};
    enum rc rc = consumer_create(&options, &program->consumer, err);
    if (rc == RC_OK)
        leftovers_remove();
    return rc;
}

static enum rc start(struct program *program, struct error *err) {
    signal(SIGHUP, SIG_IGN); /* before the loop, and after it, nothing is read again */
    enum rc rc = config_consumer_token(program->options.cfg, &program->token, err);
    group_step_down(); /* before there are runners */
    if (rc == RC_OK)
        rc = list_services(program, err);
    if (rc == RC_OK)
        rc = make_base(program, err);
    if (rc == RC_OK)
        rc = run_spans_create(program->base, program->options.cfg, &program->spans, err);
    if (rc == RC_OK)
        rc = start_consumer(program, err);
    if (rc == RC_OK)
        rc = watch_signals(program, err);
    return rc;
}

static void finish(struct program *program) {
    consumer_destroy(program->consumer);
    struct event *events[] = {program->term, program->interrupt, program->hangup,
                              program->watchdog};
    loop_free_events(events, LH_COUNT(events));
    spans_flush(program->spans, FLUSH_MAX_MS);
    spans_destroy(program->spans);
    loop_free(program->base);
    free(program->services);
    free(program->token);
    options_finish(&program->options);
}

static int run(struct program *program) {
    log_info(.msg = "ready", .address = program->options.cfg->api_url,
             .count = (int64_t)consumer_slots(program->consumer));
    tell_ready(program);
    event_base_dispatch(program->base);
    size_t left = consumer_unsettled(program->consumer);
    if (left > 0)
        log_error(.msg = "stopped with unsettled runs", .count = (int64_t)left);
    else
        log_info(.msg = "stopped");
    enum rc failure = consumer_failure(program->consumer);
    return left > 0 ? EX_TEMPFAIL : rc_info(failure)->exit;
}

int main(int argc, char **argv) {
    struct program program = {.base = NULL};
    struct error err;
    int status;
    if (!options_parse(argc, argv, &about, &program.options, &status))
        return status;
    enum rc rc = start(&program, &err);
    if (rc == RC_OK) {
        status = run(&program);
    } else {
        log_error(.msg = "cannot start", .code = rc_info(rc)->word, .error = err.text);
        status = rc_info(rc)->exit;
    }
    finish(&program);
    return status;
}
