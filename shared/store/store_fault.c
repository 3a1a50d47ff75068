/* store_fault.c: a store around a store that fails, delays or kills at chosen calls. Test only.
 *
 * The plan is a list "CALL:NUMBER=FAULT", separated by commas; CALL is apply or query, NUMBER
 * counts the calls of that kind from 1 and "*" is every call. Of several rules for one call each is
 * obeyed, in the order of the plan. FAULT:
 *
 *     unavailable   nothing reaches the inner store, RC_STORE_UNAVAILABLE
 *     unknown       the inner store is called, its answer is lost: RC_OUTCOME_UNKNOWN
 *     lost          the inner store is not called, RC_OUTCOME_UNKNOWN
 *     delay:MS      the call waits first
 *     clock:MS      (query) the store's clock is MS ahead of the API's; -MS: behind it
 *     kill          the process dies before the inner store is called
 *     kill-after    the process dies before the inner store's answer is seen
 */
#include "base/clock.h"
#include "base/mem.h"
#include "store/store_batch.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum call { CALL_APPLY, CALL_QUERY, CALLS };
enum fault {
    FAULT_UNAVAILABLE,
    FAULT_UNKNOWN,
    FAULT_LOST,
    FAULT_DELAY,
    FAULT_CLOCK,
    FAULT_KILL,
    FAULT_KILL_AFTER,
    FAULTS
};

static const char *const call_names[CALLS] = {"apply", "query"};
static const char *const fault_names[FAULTS] = {"unavailable", "unknown", "lost",      "delay",
                                                "clock",       "kill",    "kill-after"};

struct rule {
    enum call call;
    unsigned long number; /* 0: every call */
    enum fault fault;
    long ms;
};

struct fault_store {
    struct store base;
    struct store *inner; /* owned */
    struct rule *rules;
    size_t n_rules;
    atomic_ulong calls[CALLS]; /* readers query at the same time */
};

/* What becomes of one call. */
struct outcome {
    enum rc before; /* not RC_OK: the inner store is not called */
    enum rc after;  /* not RC_OK: what is said instead of the inner store's answer */
    bool kill_after;
    int64_t clock_ms;
};

static void wait_ms(long ms) {
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0)
        ;
}

static void obey(const struct rule *rule, struct outcome *outcome) {
    switch (rule->fault) {
    case FAULT_UNAVAILABLE:
        outcome->before = RC_STORE_UNAVAILABLE;
        break;
    case FAULT_LOST:
        outcome->before = RC_OUTCOME_UNKNOWN;
        break;
    case FAULT_UNKNOWN:
        outcome->after = RC_OUTCOME_UNKNOWN;
        break;
    case FAULT_DELAY:
        wait_ms(rule->ms);
        break;
    case FAULT_CLOCK:
        outcome->clock_ms = rule->ms;
        break;
    case FAULT_KILL:
        raise(SIGKILL);
        break;
    default:
        outcome->kill_after = true;
    }
}

static struct outcome decide(struct fault_store *store, enum call call) {
    unsigned long number = atomic_fetch_add(&store->calls[call], 1) + 1;
    struct outcome outcome = {.before = RC_OK, .after = RC_OK};
    for (size_t i = 0; i < store->n_rules; i++) {
        const struct rule *rule = &store->rules[i];
        if (rule->call == call && (rule->number == 0 || rule->number == number))
            obey(rule, &outcome);
    }
    return outcome;
}

static enum rc injected(struct error *err, enum rc rc) {
    return error_set(err, rc, "fault store: %s", rc_info(rc)->text);
}

static enum rc apply(struct store *base, struct op *const *ops, size_t n, struct error *err) {
    struct fault_store *store = (struct fault_store *)base;
    struct outcome outcome = decide(store, CALL_APPLY);
    if (outcome.before != RC_OK)
        return store_ops_fail(ops, n, injected(err, outcome.before), "fault store");
    store_set_herald(store->inner, base->herald, base->herald_arg);
    enum rc rc = store_apply(store->inner, ops, n, err);
    if (outcome.kill_after)
        raise(SIGKILL);
    if (outcome.after == RC_OK)
        return rc;
    return store_ops_fail(ops, n, injected(err, outcome.after), "fault store");
}

static enum rc query(struct store *base, unsigned reader, struct query *const *queries, size_t n,
                     struct error *err) {
    struct fault_store *store = (struct fault_store *)base;
    struct outcome outcome = decide(store, CALL_QUERY);
    if (outcome.before != RC_OK)
        return injected(err, outcome.before);
    enum rc rc = store_query(store->inner, reader, queries, n, err);
    for (size_t i = 0; outcome.clock_ms && i < n; i++)
        queries[i]->store_clock_ms = clock_now_ms() + outcome.clock_ms;
    if (outcome.kill_after)
        raise(SIGKILL);
    return outcome.after == RC_OK ? rc : injected(err, outcome.after);
}

static void destroy(struct store *base) {
    struct fault_store *store = (struct fault_store *)base;
    store_destroy(store->inner);
    free(store->rules);
    free(store);
}

static const struct store_impl impl = {"fault", apply, query, destroy};

/* The index of the name that `word` is, n if none. */
static size_t find_name(const char *const *names, size_t n, const char *word) {
    size_t i = 0;
    while (i < n && strcmp(names[i], word) != 0)
        i++;
    return i;
}

/* Reads a whole number from 1 to a million; false for anything else. */
static bool read_number(const char *text, unsigned long *ret) {
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    *ret = strtoul(text, &end, 10);
    return *end == '\0' && *ret >= 1 && *ret <= 1000000;
}

/* Reads "CALL:NUMBER=FAULT[:MS]" in place. */
static bool parse_rule(char *text, struct rule *ret) {
    char *fault = strchr(text, '=');
    char *number = strchr(text, ':');
    if (!fault || !number || number > fault)
        return false;
    *fault++ = '\0';
    *number++ = '\0';
    char *ms = strchr(fault, ':');
    if (ms)
        *ms++ = '\0';
    struct rule rule = {.call = (enum call)find_name(call_names, CALLS, text),
                        .fault = (enum fault)find_name(fault_names, FAULTS, fault)};
    unsigned long value = 0;
    bool behind = ms && *ms == '-' && rule.fault == FAULT_CLOCK;
    if (behind)
        ms++;
    bool wants_ms = rule.fault == FAULT_DELAY || rule.fault == FAULT_CLOCK;
    if (rule.call == CALLS || rule.fault == FAULTS || !ms == wants_ms ||
        (ms && !read_number(ms, &value)) ||
        (strcmp(number, "*") != 0 && !read_number(number, &rule.number)))
        return false;
    rule.ms = behind ? -(long)value : (long)value;
    *ret = rule;
    return true;
}

static enum rc parse_plan(struct fault_store *store, const char *plan, struct error *err) {
    LH_FREE char *copy = mem_dup(plan, strlen(plan));
    store->rules = calloc(strlen(plan) / 2 + 1, sizeof *store->rules);
    if (!copy || !store->rules)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    char *rest = copy;
    while (rest && *rest) {
        char *item = strsep(&rest, ",");
        size_t at = (size_t)(item - copy);
        if (!parse_rule(item, &store->rules[store->n_rules++]))
            return error_set(err, RC_CONFIG, "fault plan: what stands at \"%.64s\" is no rule",
                             plan + at);
    }
    return RC_OK;
}

enum rc store_fault_wrap(struct store *inner, const char *plan, struct store **ret,
                         struct error *err) {
    struct fault_store *store = calloc(1, sizeof *store);
    if (!store)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    store->base.impl = &impl;
    enum rc rc = parse_plan(store, plan, err);
    if (rc != RC_OK) {
        destroy(&store->base); /* the inner store is not ours yet */
        return rc;
    }
    store->inner = inner;
    *ret = &store->base;
    return RC_OK;
}
