/* ring.c: the newest events of tasks. */
#include "api/watch/ring.h"

#include "base/hash.h"
#include <stdlib.h>
#include <string.h>

LIST_HEAD(same_list, watch_event);

struct watch_ring {
    size_t max_events, max_bytes, bytes;
    int64_t first, last; /* numbers; first is last + 1 where nothing is held */
    struct watch_event **events;
    struct same_list *newest; /* max_events lists, by task and type */
};

struct watch_ring *watch_ring_create(size_t max_events, size_t max_bytes, int64_t last) {
    struct watch_ring *ring = calloc(1, sizeof *ring);
    if (!ring)
        return NULL;
    ring->max_events = max_events;
    ring->max_bytes = max_bytes;
    ring->last = last + 1; /* what was not noted counts as one that is gone */
    ring->first = last + 2;
    ring->events = calloc(max_events, sizeof(struct watch_event *));
    ring->newest = calloc(max_events, sizeof *ring->newest);
    if (ring->events && ring->newest)
        return ring;
    watch_ring_destroy(ring);
    return NULL;
}

static struct watch_event **place_of(const struct watch_ring *ring, int64_t number) {
    return &ring->events[(size_t)number & (ring->max_events - 1)];
}

static struct same_list *list_of(const struct watch_ring *ring, const char *task_id,
                                 enum watch_type type) {
    uint64_t hash = hash_add(HASH_NONE + type, task_id, strlen(task_id));
    return &ring->newest[(hash ^ hash >> 32) & (ring->max_events - 1)];
}

static struct watch_event *find_newest(const struct watch_ring *ring, const char *task_id,
                                       enum watch_type type) {
    struct watch_event *event;
    LIST_FOREACH(event, list_of(ring, task_id, type), same)
    if (event->type == type && strcmp(event->task_id, task_id) == 0)
        return event;
    return NULL;
}

static void drop_oldest(struct watch_ring *ring) {
    struct watch_event **place = place_of(ring, ring->first++), *event = *place;
    *place = NULL;
    if (!event)
        return;
    if (!event->superseded)
        LIST_REMOVE(event, same);
    ring->bytes -= event->bytes;
    free(event);
}

void watch_ring_clear(struct watch_ring *ring) {
    while (ring->first <= ring->last)
        drop_oldest(ring);
    ring->first = ++ring->last + 1;
}

void watch_ring_destroy(struct watch_ring *ring) {
    if (!ring)
        return;
    if (ring->events)
        watch_ring_clear(ring);
    free(ring->events);
    free(ring->newest);
    free(ring);
}

static const char *put(char **at, const char *bytes, size_t len) {
    char *to = *at;
    memcpy(to, bytes, len);
    to[len] = '\0';
    *at += len + 1;
    return to;
}

static struct watch_event *copy(const struct watch_news *news) {
    size_t id = strlen(news->task_id), service = strlen(news->service);
    size_t bytes = sizeof(struct watch_event) + id + service + news->tags_len + news->data_len + 4;
    struct watch_event *event = malloc(bytes);
    if (!event)
        return NULL;
    char *at = (char *)(event + 1);
    *event = (struct watch_event){
        .type = news->type, .status = news->status, .progress = news->progress, .bytes = bytes};
    event->task_id = put(&at, news->task_id, id);
    event->service = put(&at, news->service, service);
    event->tags = put(&at, news->tags_len ? news->tags : "", news->tags_len);
    event->data = put(&at, news->data, news->data_len);
    event->data_len = news->data_len;
    return event;
}

/* Makes room for an event of these bytes, which comes next. */
static void make_room(struct watch_ring *ring, size_t bytes) {
    while (ring->first <= ring->last && (ring->bytes + bytes > ring->max_bytes ||
                                         ring->last - ring->first + 2 > (int64_t)ring->max_events))
        drop_oldest(ring);
}

const struct watch_event *watch_ring_add(struct watch_ring *ring, const struct watch_news *news) {
    struct watch_event *event = copy(news);
    if (!event || event->bytes > ring->max_bytes) {
        free(event);
        watch_ring_clear(ring);
        return NULL;
    }
    make_room(ring, event->bytes);
    struct watch_event *before = find_newest(ring, event->task_id, event->type);
    if (before) {
        before->superseded = true;
        LIST_REMOVE(before, same);
    }
    event->number = ++ring->last;
    *place_of(ring, event->number) = event;
    LIST_INSERT_HEAD(list_of(ring, event->task_id, event->type), event, same);
    ring->bytes += event->bytes;
    return event;
}

const struct watch_event *watch_ring_at(const struct watch_ring *ring, int64_t number) {
    return number >= ring->first && number <= ring->last ? *place_of(ring, number) : NULL;
}

const struct watch_event *watch_ring_newest(const struct watch_ring *ring, const char *task_id,
                                            enum watch_type type) {
    return find_newest(ring, task_id, type);
}

int64_t watch_ring_last(const struct watch_ring *ring) {
    return ring->last;
}

int64_t watch_ring_first(const struct watch_ring *ring) {
    return ring->first;
}

size_t watch_ring_bytes(const struct watch_ring *ring) {
    return ring->bytes;
}
