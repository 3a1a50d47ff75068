/* services.c: what is paused and limited, as this process knows it. */
#include "api/sweep/services.h"

#include "api/exec/status_cache.h"
#include "api/sweep/tick.h"
#include "api/wait/polls.h"
#include "base/log.h"
#include "base/mem.h"

#include <string.h>

enum { READ_AGAIN_MS = 1000 };

struct services {
    struct api *api;
    struct event *tick;
    struct service_rule *set; /* one for each configured service, in their order */
    struct service_rules *rules;
    bool known;
    bool reading;
    unsigned changes;    /* through this process */
    unsigned changes_at; /* how many there were when the reading began */
};

static const char *name_of(const struct services *services, size_t i) {
    return services->api->cfg->services[i].name;
}

/* The place of a configured service, or the number of them. */
static size_t find(const struct services *services, const char *name) {
    size_t i = 0, n = services->api->cfg->n_services;
    while (i < n && strcmp(name_of(services, i), name) != 0)
        i++;
    return i;
}

/* What is set, with the defaults where nothing is. */
static struct service_rule effective(const struct services *services, size_t i) {
    struct service_rule rule = services->set[i];
    if (rule.max_running == SERVICE_LIMIT_UNSET)
        rule.max_running = 0;
    if (rule.max_waiting == SERVICE_LIMIT_UNSET)
        rule.max_waiting = services->api->cfg->limits.waiting_per_service;
    return rule;
}

/* Makes new rules of what is set and lets them hold. */
static bool make_rules(struct services *services) {
    size_t n = services->api->cfg->n_services;
    LH_FREE struct service_rule *all = calloc(n, sizeof *all);
    for (size_t i = 0; all && i < n; i++)
        all[i] = effective(services, i);
    struct service_rules *rules = all ? service_rules_create(all, n) : NULL;
    if (!rules)
        return false;
    service_rules_unref(services->rules);
    services->rules = rules;
    status_cache_clear(services->api->status_cache); /* where tasks are shown as paused */
    executor_set_rules(services->api->executor, service_rules_ref(rules));
    return true;
}

/* Forgets what was set: as a store says that has nothing. */
static void unset_all(struct services *services) {
    for (size_t i = 0; i < services->api->cfg->n_services; i++)
        services->set[i] = service_rule_unset(name_of(services, i));
}

/* Who waits for a task of the service asks again: there may be room. */
static void wake(struct services *services, size_t i) {
    if (services->api->polls)
        polls_wake(services->api->polls, name_of(services, i));
}

static bool changed(const struct service_rule *a, const struct service_rule *b) {
    return a->paused != b->paused || a->max_running != b->max_running ||
           a->max_waiting != b->max_waiting;
}

static void take_over(struct services *services, const struct query *query) {
    unset_all(services);
    for (size_t i = 0; i < query->n_set; i++) {
        size_t at = find(services, query->set[i].name);
        if (at < services->api->cfg->n_services)
            services->set[at] = query->set[i];
    }
    for (size_t i = 0; i < services->api->cfg->n_services; i++) {
        struct service_rule rule = effective(services, i);
        const struct service_rule *held = service_rules_find(services->rules, rule.name);
        if (held && !changed(held, &rule))
            continue;
        if (!make_rules(services))
            return;
        wake(services, i);
    }
    services->known = true;
}

static void on_tick(evutil_socket_t fd, short what, void *arg);

static void on_read(struct query *query, void *arg) {
    struct services *services = arg;
    services->reading = false;
    if (query->rc != RC_OK || services->api->draining)
        return;
    if (services->changes == services->changes_at)
        take_over(services, query);
    else
        on_tick(-1, 0, services); /* it may tell of the time before the change */
}

static void on_tick(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct services *services = arg;
    struct query *query = services->reading ? NULL : query_create(QUERY_SERVICES);
    if (!query)
        return;
    services->changes_at = services->changes;
    services->reading = executor_query(services->api->executor, query, on_read, services) == RC_OK;
}

bool services_known(const struct services *services) {
    return services->known;
}

enum rc services_check(const struct services *services, struct error *err) {
    if (services->known)
        return RC_OK;
    return error_set(err, RC_STORE_UNAVAILABLE,
                     "the store has not said yet which services are paused");
}

void services_note(struct services *services, const struct op *op) {
    services->changes++;
    size_t i = find(services, op->service.name);
    if (i == services->api->cfg->n_services)
        return;
    service_rule_set(&services->set[i], &op->service, op->service_parts);
    (void)make_rules(services); /* without memory: with the next reading */
    wake(services, i);
    const struct service_rule rule = effective(services, i);
    log_info(.msg = "service changed", .service = rule.name,
             .detail = rule.paused ? "paused" : "open");
}

const struct service_rules *services_rules(const struct services *services) {
    return services->rules;
}

const char *services_sub_name(const struct services *services, const struct task *task) {
    bool queued = task->status == TASK_WAITING && task->sub == SUB_QUEUED;
    if (queued && service_paused(services->rules, task->service))
        return "paused";
    return task_sub_name(task->sub);
}

/* Before the first request and while no reader has anything to do yet. */
static void read_first(struct services *services) {
    struct query *query = query_create(QUERY_SERVICES);
    struct error err = {.text = ""};
    if (query && store_query(services->api->store, 0, &query, 1, &err) == RC_OK)
        take_over(services, query);
    else
        log_warning(.msg = "what is paused is not known yet: no claims until then",
                    .error = err.text);
    query_destroy(query);
}

enum rc services_create(struct api *api, struct services **ret, struct error *err) {
    struct services *services = calloc(1, sizeof *services);
    if (!services)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    services->api = api;
    services->set = calloc(api->cfg->n_services, sizeof *services->set);
    bool ok = services->set &&
              tick_create(api, READ_AGAIN_MS, on_tick, services, &services->tick, err) == RC_OK;
    if (ok) {
        unset_all(services);
        ok = make_rules(services);
    }
    if (!ok) {
        services_destroy(services);
        return error_set(err, RC_NO_MEMORY, "out of memory");
    }
    read_first(services);
    *ret = services;
    return RC_OK;
}

void services_destroy(struct services *services) {
    if (!services)
        return;
    tick_destroy(services->tick);
    service_rules_unref(services->rules);
    free(services->set);
    free(services);
}
