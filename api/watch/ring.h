/* ring.h: the newest events of tasks, for those who watch.
 *
 *        first          cursor of a reader          last
 *     ───[e][e][x][e][e][x][e][e][e][e][x][e][e][e][e]
 *                  x: superseded: a newer one of the same task and type stands behind it
 *
 * Numbers rise by one with every event and never come again. The ring holds so many events and
 * bytes; the oldest go first. A reader remembers the number of the last event that it has seen and
 * goes on behind it; what it has missed meanwhile is either here or it has a gap. One that has
 * fallen behind leaves out what is superseded. Pure but for memory; one thread.
 */
#ifndef LH_API_WATCH_RING_H
#define LH_API_WATCH_RING_H

#include "base/rc.h"

#include <stdint.h>
#include <sys/queue.h>

enum watch_type { WATCH_STATUS, WATCH_PROGRESS, WATCH_LOG, WATCH_TYPES };

/* An event; its texts lie behind it. */
struct watch_event {
    LIST_ENTRY(watch_event) same; /* while nothing newer of its task and type is known */
    int64_t number;
    enum watch_type type;
    bool superseded;
    size_t bytes;    /* all that it takes */
    uint64_t status; /* what the task looked like, as numbers */
    uint64_t progress;
    const char *task_id; /* as are those below: its own */
    const char *service;
    const char *tags; /* "key=value" NUL … and an empty one */
    const char *data; /* one line of JSON */
    size_t data_len;
};

struct watch_ring;

/* max_events: a power of two. last: a number; those up to it have been and are not here. NULL when
 * out of memory. */
struct watch_ring *watch_ring_create(size_t max_events, size_t max_bytes, int64_t last);

/* NULL is fine. */
void watch_ring_destroy(struct watch_ring *ring);

struct watch_news {
    enum watch_type type;
    uint64_t status, progress;
    const char *task_id, *service;
    const char *tags; /* as in struct watch_event */
    size_t tags_len;  /* with the last NUL */
    const char *data;
    size_t data_len;
};

/* Adds an event (copied). NULL: out of memory, or larger than the ring: its number is lost, and who
 * is behind it has a gap. */
const struct watch_event *watch_ring_add(struct watch_ring *ring, const struct watch_news *news);

/* The event of that number; NULL: it is not here (any more, or yet). */
const struct watch_event *watch_ring_at(const struct watch_ring *ring, int64_t number);

/* The newest of that task and type; NULL: none is here. */
const struct watch_event *watch_ring_newest(const struct watch_ring *ring, const char *task_id,
                                            enum watch_type type);

/* The number of the last event, and of the oldest one behind which nothing is missing. */
int64_t watch_ring_last(const struct watch_ring *ring);
int64_t watch_ring_first(const struct watch_ring *ring);

size_t watch_ring_bytes(const struct watch_ring *ring);

/* Forgets all events, and says so: whoever has not seen them has a gap. */
void watch_ring_clear(struct watch_ring *ring);

#endif
