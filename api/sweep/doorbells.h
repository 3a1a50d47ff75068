/* doorbells.h: claims of base-contract modules on services whose messages are doorbells.
 *
 * Our consumers take tasks whose messages they have not read, and with `order: priority` take the
 * service's best task for any message. A module of the base contract in their group knows its own
 * message alone, and the one that it uses up may be the ring for another task. So a claim without
 * run_id is told in the log, and with `order: priority` one message goes out for the best task that
 * waits. Neither is done where the configuration says `legacy: true`, or gives the service no
 * module: then our consumers take no part. Loop thread only. */
#ifndef LH_API_DOORBELLS_H
#define LH_API_DOORBELLS_H

#include "api/api.h"

struct doorbells;

enum rc doorbells_create(struct api *api, struct doorbells **ret, struct error *err) LH_MUST_USE;

/* An OP_CLAIM has its outcome. */
void doorbells_notice(struct doorbells *doorbells, const struct op *op);

/* After executor_destroy(). NULL is fine. */
void doorbells_destroy(struct doorbells *doorbells);

#endif
