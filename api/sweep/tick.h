/* tick.h: an event that comes again and again, for whatever looks into the store by itself. */
#ifndef LH_API_TICK_H
#define LH_API_TICK_H

#include "api/api.h"

/* on_tick gets arg, on the loop's thread, every `ms`. The caller frees *ret with tick_destroy(). */
enum rc tick_create(const struct api *api, int ms, event_callback_fn on_tick, void *arg,
                    struct event **ret, struct error *err) LH_MUST_USE;

/* NULL is fine. */
void tick_destroy(struct event *tick);

#endif
