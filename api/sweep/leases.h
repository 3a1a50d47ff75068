/* leases.h: takes tasks back from runs whose lease has run out.
 *
 * A consumer can only renew through an API that serves and a store that answers. So no lease runs
 * out here until this process has served and reached the store without a break for a whole lease_s,
 * and for as long as the run's own lease where its claim asked for one: it counts from its start,
 * from the store's last failure, from the last refusal for want of room, and from the last time
 * that its loop stood still (a stopped process, a suspended host).
 */
#ifndef LH_API_LEASES_H
#define LH_API_LEASES_H

#include "api/api.h"

struct leases;

enum rc leases_create(struct api *api, struct leases **ret, struct error *err) LH_MUST_USE;

/* After executor_destroy(): nothing of it is under way then. NULL is fine. */
void leases_destroy(struct leases *leases);

#endif
