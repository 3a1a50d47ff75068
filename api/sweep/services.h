/* services.h: what is paused and limited, as this process knows it.
 *
 * Each second, and after a change through this process at once, the store's word and the
 * configuration's defaults become a new set of rules, which the executor hands to the store with
 * every batch. Loop thread only.
 */
#ifndef LH_API_SERVICES_H
#define LH_API_SERVICES_H

#include "api/api.h"

struct services;

/* Reads the state of the services where the store answers. */
enum rc services_create(struct api *api, struct services **ret, struct error *err) LH_MUST_USE;

/* False until the store has been read for the first time: a claim might begin a run that is not
 * wanted. */
bool services_known(const struct services *services);

/* RC_OK, or the refusal of a claim until then. */
enum rc services_check(const struct services *services, struct error *err) LH_MUST_USE;

/* An OP_SERVICE took effect: it holds for every op that is queued from now on. */
void services_note(struct services *services, const struct op *op);

/* The rules that hold; borrowed until the loop's next turn. */
const struct service_rules *services_rules(const struct services *services);

/* The task's sub status as readers see it: a task that waits for its paused service is "paused".
 * NULL: none. */
const char *services_sub_name(const struct services *services, const struct task *task);

/* NULL is fine. */
void services_destroy(struct services *services);

#endif
