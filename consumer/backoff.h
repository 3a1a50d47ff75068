/* backoff.h: how long to wait before the next try of something that may fail for a long time. */
#ifndef LH_CONSUMER_BACKOFF_H
#define LH_CONSUMER_BACKOFF_H

#include <event2/event.h>

enum { BACKOFF_MIN_MS = 200, BACKOFF_MAX_MS = 5000 };

/* Zeroed: the next wait is the shortest. */
struct backoff {
    int last_ms;
};

/* The next wait: twice the last one within the limits, less up to a quarter by chance, so that many
 * who lost the same server do not come back together. */
struct timeval backoff_next(struct backoff *backoff);

void backoff_reset(struct backoff *backoff);

#endif
