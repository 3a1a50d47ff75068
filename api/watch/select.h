/* select.h: what a watcher wants to hear of. Pure but for memory. */
#ifndef LH_API_WATCH_SELECT_H
#define LH_API_WATCH_SELECT_H

#include "api/watch/ring.h"
#include "base/json.h"

enum {
    WATCH_MAX_IDS = 1000,
    WATCH_MAX_NAMES = 100, /* services; tags */
    WATCH_MAX_LOGS = 16,   /* ids, where logs are watched */
    WATCH_TAIL_MAX_BYTES = 1 << 20,
};

/* All that is given must hold. */
struct watch_select {
    char **ids; /* one of these; none: any task. No id stands twice. This and what it points to are
                   its own, as are those below */
    size_t n_ids;
    char **services; /* one of these; none: any */
    size_t n_services;
    char **tags; /* "key=value", all of these */
    size_t n_tags;
    unsigned types;     /* bits 1 << enum watch_type */
    int64_t tail_bytes; /* a log that is new to the watcher begins so many bytes before its end;
                           negative: at its beginning */
};

/* Reads task_id, service, tag, types (each a string or an array of strings; types also with commas)
 * and tail_bytes. RC_INVALID_PARAMETER, RC_TOO_MANY; *ret is to be finished in every case. */
enum rc watch_select_read(const json_t *object, struct watch_select *ret,
                          struct error *err) LH_MUST_USE;

void watch_select_finish(struct watch_select *select);

/* True where the event is of one of the types, services and of all the tags. The ids are left to
 * the caller, who has an index of them. */
bool watch_select_takes(const struct watch_select *select, const struct watch_event *event);

bool watch_select_has_service(const struct watch_select *select, const char *service);

/* Appends the tags of a task (JSON object of strings, or NULL) as "key=value" NUL …. */
void watch_tags_put(const char *json, struct buf *to);

const char *watch_type_name(enum watch_type type);

#endif
