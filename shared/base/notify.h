/* notify.h: tells the service manager where the process stands, in the datagrams of sd_notify(3)
 * to the socket that $NOTIFY_SOCKET names.
 *
 * Where the variable is not set nobody asks and nothing is sent; what cannot be sent is not sent
 * again, since the manager has time limits of its own for that. Nothing here blocks. Any thread,
 * but for the watchdog, which is of its loop's thread.
 */
#ifndef LH_BASE_NOTIFY_H
#define LH_BASE_NOTIFY_H

#include "base/rc.h"

#include <event2/event.h>
#include <stdint.h>

/* The process serves; `status` (one line) is shown by `systemctl status`. Also the end of a reload.
 */
void notify_ready(const char *status);

/* The process reads its files again; notify_ready() says when it is done. */
void notify_reloading(void);

/* The process ends, within `within_ms` at most: the manager waits for so long, also where its own
 * limit is shorter. */
void notify_stopping(int64_t within_ms);

/* Milliseconds within which the manager wants a sign of life of this process; 0: it wants none. */
int64_t notify_watchdog_ms(void);

/* As long as the loop turns the manager is told so, twice in the time that it gives. *ret stays
 * NULL where it wants no sign of life; else event_free() ends it. */
enum rc notify_watchdog(struct event_base *base, struct event **ret, struct error *err) LH_MUST_USE;

#endif
