/* tick.c: the clock of the sweepers and of the services. */
#include "api/sweep/tick.h"

enum rc tick_create(const struct api *api, int ms, event_callback_fn on_tick, void *arg,
                    struct event **ret, struct error *err) {
    struct timeval every = {ms / 1000, ms % 1000 * 1000};
    struct event *tick = event_new(api->base, -1, EV_PERSIST, on_tick, arg);
    if (tick && event_add(tick, &every) == 0) {
        *ret = tick;
        return RC_OK;
    }
    tick_destroy(tick);
    return error_set(err, RC_NO_MEMORY, "out of memory");
}

void tick_destroy(struct event *tick) {
    if (tick)
        event_free(tick);
}
