/* service.c: what is paused and limited. */
#include "task/service.h"

#include "base/mem.h"
#include "base/mutant.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct service_rules {
    atomic_uint users;
    size_t n;
    struct service_rule rules[]; /* by name */
};

struct service_rule service_rule_unset(const char *name) {
    struct service_rule rule = {.max_running = SERVICE_LIMIT_UNSET,
                                .max_waiting = SERVICE_LIMIT_UNSET};
    mem_copy_str(rule.name, sizeof rule.name, name);
    return rule;
}

void service_rule_set(struct service_rule *rule, const struct service_rule *from, unsigned parts) {
    if (parts & SERVICE_PAUSED)
        rule->paused = from->paused;
    if (parts & SERVICE_MAX_RUNNING)
        rule->max_running = from->max_running;
    if (parts & SERVICE_MAX_WAITING)
        rule->max_waiting = from->max_waiting;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct service_rule *)a)->name, ((const struct service_rule *)b)->name);
}

struct service_rules *service_rules_create(const struct service_rule *rules, size_t n) {
    struct service_rules *own = malloc(sizeof *own + n * sizeof own->rules[0]);
    if (!own)
        return NULL;
    atomic_init(&own->users, 1);
    own->n = n;
    if (n) {
        memcpy(own->rules, rules, n * sizeof own->rules[0]);
        qsort(own->rules, n, sizeof own->rules[0], by_name);
    }
    return own;
}

struct service_rules *service_rules_ref(struct service_rules *rules) {
    atomic_fetch_add(&rules->users, 1);
    return rules;
}

void service_rules_unref(struct service_rules *rules) {
    if (rules && atomic_fetch_sub(&rules->users, 1) == 1)
        free(rules);
}

static int name_of_rule(const void *key, const void *member) {
    return strcmp(key, ((const struct service_rule *)member)->name);
}

const struct service_rule *service_rules_find(const struct service_rules *rules, const char *name) {
    if (!rules || !rules->n)
        return NULL;
    return bsearch(name, rules->rules, rules->n, sizeof rules->rules[0], name_of_rule);
}

bool service_paused(const struct service_rules *rules, const char *name) {
    const struct service_rule *rule = service_rules_find(rules, name);
    return rule && rule->paused;
}

static int64_t limit_of(int64_t limit) {
    return limit > 0 ? limit : 0;
}

int64_t service_max_running(const struct service_rules *rules, const char *name) {
    const struct service_rule *rule = service_rules_find(rules, name);
    return rule ? limit_of(rule->max_running) : 0;
}

int64_t service_max_waiting(const struct service_rules *rules, const char *name) {
    const struct service_rule *rule = service_rules_find(rules, name);
    return rule ? limit_of(rule->max_waiting) : 0;
}

enum rc service_admit(const struct service_rules *rules, const char *name, int64_t running) {
    int64_t max = service_max_running(rules, name);
    if (LH_MUTANT("service-gate"))
        return RC_OK;
    if (service_paused(rules, name))
        return RC_SERVICE_PAUSED;
    return max && running >= max ? RC_LIMIT_REACHED : RC_OK;
}
