/* outbox.h: delivery reports become operations; the sweeper sends again what was never confirmed.
 *
 * A message is sent by whoever made its task due, right after the commit (executor). Its report
 * clears the outbox. A process that dies in between leaves the outbox pending: every sweep_s each
 * API process looks for pending outboxes whose last pick is older than the broker's delivery
 * timeout, picks them by compare-and-set and sends them again.
 */
#ifndef LH_API_OUTBOX_H
#define LH_API_OUTBOX_H

#include "api/api.h"

/* The publisher's report callback; arg is the struct api, of which it reads the configuration. On
 * the publisher's thread. */
publisher_reports outbox_note;

struct outbox;

/* Starts to sweep; api->publisher must be set. */
enum rc outbox_create(struct api *api, struct outbox **ret, struct error *err) LH_MUST_USE;

/* Stops sweeping; a query under way is waited for by executor_destroy(), which must come before.
 * NULL is fine. */
void outbox_destroy(struct outbox *outbox);

#endif
