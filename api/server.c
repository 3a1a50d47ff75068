/* server.c: the API process from its parts.
 *
 * Stopping goes from the outside in: no new connections; what waits for a task is released;
 * requests in flight are answered; what was queued is made durable; the publisher flushes, so that
 * its reports still reach the store; then everything is freed. A second signal ends the process at
 * once: everything that was acknowledged is durable already.
 */
#include "api/server.h"

#include "api/call/audit.h"
#include "api/call/tokens.h"
#include "api/call/tracing.h"
#include "api/exec/status_cache.h"
#include "api/meter/meter.h"
#include "api/routes.h"
#include "api/sweep/alarms.h"
#include "api/sweep/doorbells.h"
#include "api/sweep/leases.h"
#include "api/sweep/outbox.h"
#include "api/sweep/retention.h"
#include "api/sweep/services.h"
#include "api/wait/polls.h"
#include "api/wait/waits.h"
#include "api/watch/watches.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/notify.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum {
    HEADER_MAX_BYTES = 16384,
    HEADERS_MAX = 64,
    DRAIN_LOOK_MS = 20,
    DRAIN_MAX_MS = 15000,
    FLUSH_MAX_MS = 5000,
    CLOSE_MS = 10000, /* for the service manager: the rest of the way out */
};

struct server {
    struct api api;
    struct http_tls_options tls;
    struct outbox *outbox;
    struct leases *leases;
    struct alarms *alarms;
    struct retention *retention;
    struct event *on_term, *on_int, *on_hup, *drain, *watchdog;
    int64_t drain_until_ms; /* clock_mono_ms() */
};

static void on_drain(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct server *server = arg;
    unsigned pending = http_server_pending(server->api.http);
    if (pending > 0 && clock_mono_ms() < server->drain_until_ms) {
        polls_release(server->api.polls);
        waits_release(server->api.waits);
        watches_release(server->api.watches);
        return;
    }
    if (pending > 0)
        log_warning(.msg = "requests without an answer are dropped", .count = pending);
    event_base_loopexit(server->api.base, NULL); /* lets what is deferred end first */
}

static void on_signal(evutil_socket_t number, short what, void *arg) {
    (void)what;
    struct server *server = arg;
    if (server->api.draining) {
        log_warning(.msg = "second signal: stopped at once", .signal = number);
        _exit(128 + (int)number);
    }
    log_info(.msg = "stopping", .signal = number);
    notify_stopping(DRAIN_MAX_MS + FLUSH_MAX_MS + CLOSE_MS);
    server->api.draining = true;
    server->drain_until_ms = clock_mono_ms() + DRAIN_MAX_MS;
    http_server_stop(server->api.http);
    polls_release(server->api.polls);
    waits_release(server->api.waits);
    watches_release(server->api.watches);
    event_add(server->drain, &(struct timeval){0, DRAIN_LOOK_MS * 1000});
}

static void tell_ready(const struct api *api) {
    char status[300];
    snprintf(status, sizeof status, "serving at %s", http_server_address(api->http));
    notify_ready(status);
}

/* What is wrong changes nothing. */
static void on_hangup(evutil_socket_t number, short what, void *arg) {
    (void)number;
    (void)what;
    const struct server *server = arg;
    struct error err = {.text = ""};
    notify_reloading();
    if (tokens_reload(server->api.tokens, &err) == RC_OK) {
        log_info(.msg = "tokens read again", .count = (int64_t)tokens_count(server->api.tokens));
        watches_release(server->api.watches);
    } else {
        log_error(.msg = "tokens not read again: those of before hold",
                  .code = rc_info(err.rc)->word, .error = err.text);
    }
    if (http_server_reload_tls(server->api.http, &err) != RC_OK)
        log_error(.msg = "certificates not read again: those of before hold",
                  .code = rc_info(err.rc)->word, .error = err.text);
    if (tracing_reload_tls(server->api.tracing, &err) != RC_OK)
        log_error(.msg = "tracing.ca not read again: that of before holds",
                  .code = rc_info(err.rc)->word, .error = err.text);
    if (audit_reopen(server->api.audit, &err) != RC_OK)
        log_error(.msg = "audit file not opened again: the one of before goes on",
                  .error = err.text);
    tell_ready(&server->api);
}

/* AUTH_TOKEN may be missing where there are other tokens. */
static enum rc open_tokens(struct api *api, struct error *err) {
    enum rc rc = RC_OK;
    if (config_has_auth_token(api->cfg))
        rc = config_auth_token(api->cfg, &api->token, err);
    if (rc == RC_OK)
        rc = tokens_create(api->cfg->file, api->token, &api->tokens, err);
    if (rc == RC_OK && !api->token && tokens_count(api->tokens) == 0)
        rc = config_auth_token(api->cfg, &api->token, err);
    return rc;
}

static enum rc open_status_cache(struct api *api, struct error *err) {
    int64_t max_bytes = api_shares_store(api) ? 0 : api->cfg->limits.status_cache_bytes;
    if (max_bytes == 0)
        return RC_OK;
    api->status_cache = status_cache_create((size_t)max_bytes);
    if (!api->status_cache)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    executor_set_herald(api->executor, status_cache_forget, api->status_cache);
    return RC_OK;
}

static enum rc open_store(struct server *server, const char *fault, struct error *err) {
    struct api *api = &server->api;
    enum rc rc = store_open(api->cfg, EXECUTOR_READERS, &api->store, err);
    if (rc == RC_OK && fault)
        rc = store_fault_wrap(api->store, fault, &api->store, err);
    if (rc == RC_OK)
        rc = executor_create(api->base, api->store, &api->executor, err);
    if (rc == RC_OK)
        rc = open_status_cache(api, err);
    return rc;
}

static void on_op(struct op *op, void *arg) {
    struct api *api = arg;
    meter_notice(api->meter, op);
    tracing_notice(api->tracing, op);
    waits_notice(api->waits, op);
    watches_notice(api->watches, op);
}

static enum rc open_waits(struct api *api, struct error *err) {
    enum rc rc = waits_create(api, &api->waits, err);
    if (rc == RC_OK)
        rc = watches_create(api, &api->watches, err);
    if (rc == RC_OK)
        rc = meter_create(api, &api->meter, err);
    if (rc == RC_OK)
        rc = tracing_create(api, &api->tracing, err);
    if (rc == RC_OK)
        executor_set_observer(api->executor, on_op, api);
    return rc;
}

static enum rc open_publisher(struct server *server, struct error *err) {
    struct api *api = &server->api;
    enum rc rc = publisher_open(api->cfg, outbox_note, api, &api->publisher, err);
    if (rc != RC_OK || !api->publisher)
        return rc;
    executor_set_publisher(api->executor, api->publisher);
    return outbox_create(api, &server->outbox, err);
}

static enum rc open_http(struct server *server, struct error *err) {
    struct api *api = &server->api;
    const struct config_limits *limits = &api->cfg->limits;
    const struct config_tls *tls = &api->cfg->tls;
    server->tls = (struct http_tls_options){
        .cert = tls->cert,
        .key = tls->key,
        .client_ca = tls->client_cert == CLIENT_CERT_OFF ? NULL : tls->client_ca,
        .client_required = tls->client_cert == CLIENT_CERT_REQUIRED,
    };
    struct http_options options = {
        .tls = tls->cert ? &server->tls : NULL,
        .listen = api->cfg->listen,
        .body_max_bytes = (size_t)limits->body_bytes,
        .header_max_bytes = HEADER_MAX_BYTES,
        .headers_max = HEADERS_MAX,
        .connections_max = (unsigned)limits->connections,
        .header_ms = limits->header_ms,
        .body_ms = limits->body_ms,
        .idle_ms = limits->idle_ms,
        .observer = meter_http,
    };
    return http_server_create(api->base, &options, routes_handle, api, &api->http, err);
}

static enum rc open_events(struct server *server, struct error *err) {
    struct event_base *base = server->api.base;
    server->drain = event_new(base, -1, EV_PERSIST, on_drain, server);
    server->on_term = evsignal_new(base, SIGTERM, on_signal, server);
    server->on_int = evsignal_new(base, SIGINT, on_signal, server);
    server->on_hup = evsignal_new(base, SIGHUP, on_hangup, server);
    if (!server->drain || !server->on_term || !server->on_int || !server->on_hup ||
        event_add(server->on_term, NULL) || event_add(server->on_int, NULL) ||
        event_add(server->on_hup, NULL))
        return error_set(err, RC_NO_MEMORY, "signal events cannot be made");
    return notify_watchdog(base, &server->watchdog, err);
}

static enum rc server_open(struct server *server, const char *fault, struct error *err) {
    struct api *api = &server->api;
    enum rc rc = open_tokens(api, err);
    if (rc == RC_OK && !(api->base = event_base_new()))
        rc = error_set(err, RC_NO_MEMORY, "the event loop cannot be made");
    if (rc == RC_OK)
        rc = audit_create(api->cfg, api->base, &api->audit, err);
    if (rc == RC_OK)
        rc = open_store(server, fault, err);
    if (rc == RC_OK)
        rc = open_waits(api, err);
    if (rc == RC_OK)
        rc = services_create(api, &api->services, err);
    if (rc == RC_OK)
        rc = open_publisher(server, err);
    if (rc == RC_OK)
        rc = polls_create(api, &api->polls, err);
    if (rc == RC_OK)
        rc = doorbells_create(api, &api->doorbells, err);
    if (rc == RC_OK)
        rc = leases_create(api, &server->leases, err);
    if (rc == RC_OK)
        rc = alarms_create(api, &server->alarms, err);
    if (rc == RC_OK)
        rc = retention_create(api, &server->retention, err);
    if (rc == RC_OK)
        rc = open_events(server, err);
    if (rc == RC_OK)
        rc = open_http(server, err);
    return rc;
}

/* The publisher's reports become ops and some ops become messages: drain, flush, then part the two.
 */
static void close_publisher(struct api *api) {
    if (!api->publisher)
        return;
    executor_drain(api->executor);
    publisher_flush(api->publisher, FLUSH_MAX_MS);
    executor_set_publisher(api->executor, NULL);
    publisher_destroy(TAKE(api->publisher));
}

static void free_events(struct server *server) {
    struct event *events[] = {server->drain, server->on_term, server->on_int, server->on_hup,
                              server->watchdog};
    loop_free_events(events, LH_COUNT(events));
}

/* Signals have no loop to wait for any more: from here on SIGTERM and SIGINT end the process. */
static void server_close(struct server *server) {
    struct api *api = &server->api;
    free_events(server);
    close_publisher(api);
    executor_destroy(api->executor);
    outbox_destroy(server->outbox);
    leases_destroy(server->leases);
    alarms_destroy(server->alarms);
    retention_destroy(server->retention);
    http_server_destroy(api->http);
    polls_destroy(api->polls);
    doorbells_destroy(api->doorbells);
    waits_destroy(api->waits);
    watches_destroy(api->watches);
    meter_destroy(api->meter);
    services_destroy(api->services);
    status_cache_destroy(api->status_cache);
    store_destroy(api->store);
    audit_destroy(api->audit);
    tracing_flush(api->tracing);
    tracing_destroy(api->tracing);
    loop_free(api->base);
    tokens_destroy(api->tokens);
    free(api->token);
}

static void say_ready(const struct api *api) {
    log_info(.msg = "ready", .address = http_server_address(api->http), .pid = getpid(),
             .detail = api->cfg->store == STORE_SQLITE ? api->cfg->sqlite_path : "mongodb");
    tell_ready(api);
}

enum rc server_run(const struct config *cfg, const char *store_fault, struct error *err) {
    struct server server = {.api.cfg = cfg};
    signal(SIGHUP, SIG_IGN); /* before the loop, and after it, nothing is read again */
    enum rc rc = server_open(&server, store_fault, err);
    if (rc == RC_OK) {
        say_ready(&server.api);
        event_base_dispatch(server.api.base);
    }
    server_close(&server);
    if (rc == RC_OK)
        log_info(.msg = "stopped");
    return rc;
}
