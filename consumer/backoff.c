/* backoff.c: 0.2 s, 0.4 s … 5 s. */
#include "consumer/backoff.h"

#include "base/ids.h"

struct timeval backoff_next(struct backoff *backoff) {
    int ms = backoff->last_ms ? backoff->last_ms * 2 : BACKOFF_MIN_MS;
    backoff->last_ms = ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
    uint16_t chance;
    random_bytes(&chance, sizeof chance);
    ms = backoff->last_ms - chance % (backoff->last_ms / 4);
    return (struct timeval){ms / 1000, ms % 1000 * 1000};
}

void backoff_reset(struct backoff *backoff) {
    backoff->last_ms = 0;
}
