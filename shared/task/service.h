/* service.h: a service as a thing with a state: paused or not, and how many of its tasks may run
 * and wait.
 *
 * The store keeps what was set of each service. The API reads it each second, puts the
 * configuration's defaults where nothing is set, and hands the result to the store with every batch
 * of operations as one immutable set of rules: so the store decides by them inside the batch.
 */
#ifndef LH_TASK_SERVICE_H
#define LH_TASK_SERVICE_H

#include "base/ids.h"
#include "base/rc.h"

#include <stdint.h>

enum { SERVICE_LIMIT_UNSET = -1 };

struct service_rule {
    char name[SERVICE_CAP];
    bool paused;
    int64_t max_running; /* 0: no limit; SERVICE_LIMIT_UNSET (in the store): as configured */
    int64_t max_waiting; /* ready and waiting tasks together; likewise */
};

enum service_part { SERVICE_PAUSED = 1, SERVICE_MAX_RUNNING = 2, SERVICE_MAX_WAITING = 4 };

/* A rule of which nothing has been set. */
struct service_rule service_rule_unset(const char *name);

/* Copies the parts (a set of enum service_part). */
void service_rule_set(struct service_rule *rule, const struct service_rule *from, unsigned parts);

/* Rules by service. Immutable once made, shared by counting; any thread. */
struct service_rules;

/* A copy of n rules, in any order, each name once; counted once. NULL when out of memory. */
struct service_rules *service_rules_create(const struct service_rule *rules, size_t n);
struct service_rules *service_rules_ref(struct service_rules *rules);
void service_rules_unref(struct service_rules *rules); /* NULL is fine */

/* The service's rule, or NULL: neither paused nor limited. NULL rules have none. */
const struct service_rule *service_rules_find(const struct service_rules *rules, const char *name);

bool service_paused(const struct service_rules *rules, const char *name);

/* The limits; 0: none. */
int64_t service_max_running(const struct service_rules *rules, const char *name);
int64_t service_max_waiting(const struct service_rules *rules, const char *name);

/* Whether one more task of the service may run beside `running`: RC_OK, RC_SERVICE_PAUSED or
 * RC_LIMIT_REACHED. */
enum rc service_admit(const struct service_rules *rules, const char *name,
                      int64_t running) LH_MUST_USE;

#endif
