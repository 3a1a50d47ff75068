/* loop.h: the end of an event loop. */
#ifndef LH_BASE_LOOP_H
#define LH_BASE_LOOP_H

#include <event2/event.h>
#include <stddef.h>

/* Frees a loop (NULL: nothing) after what lived on it. A bufferevent whose callbacks are deferred
 * (those of http_client.h and tls.h) lives until its last callback has run, and so does a resolver;
 * libevent 2.1 drops such callbacks with the loop: so they run first. Its thread. */
static inline void loop_free(struct event_base *base) {
    if (!base)
        return;
    event_base_loop(base, EVLOOP_NONBLOCK);
    event_base_free(base);
}

/* Frees n events; NULL is fine. Its thread. */
static inline void loop_free_events(struct event *const *events, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (events[i])
            event_free(events[i]);
}

#endif
