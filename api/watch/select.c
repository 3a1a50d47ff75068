/* select.c: what a watcher wants to hear of. */
#include "api/watch/select.h"

#include "base/mem.h"
#include "task/task.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { TAG_MAX_BYTES = 4096, TYPES_MAX_BYTES = 64 };

static const char *const type_names[WATCH_TYPES] = {"status", "progress", "log"};

const char *watch_type_name(enum watch_type type) {
    return type_names[type];
}

/* ---- reading ---- */

/* How many texts the field has; -1: it is neither a string nor an array. */
static ssize_t count_of(const json_t *field) {
    return !field                  ? 0
           : json_is_array(field)  ? (ssize_t)json_array_size(field)
           : json_is_string(field) ? 1
                                   : -1;
}

/* NULL: it is no string of 1 to max bytes without NUL. */
static const char *text_at(const json_t *field, size_t i, size_t max) {
    const json_t *value = json_is_array(field) ? json_array_get(field, i) : field;
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    return text && len > 0 && len <= max && strlen(text) == len ? text : NULL;
}

static enum rc read_texts(const json_t *object, const char *name, size_t max, size_t max_bytes,
                          char ***ret, size_t *ret_n, struct error *err) {
    const json_t *field = json_object_get(object, name);
    ssize_t n = count_of(field);
    if (n > (ssize_t)max)
        return error_set(err, RC_TOO_MANY, "%s may stand %zu times at most", name, max);
    if (n > 0 && !(*ret = calloc((size_t)n, sizeof **ret)))
        return error_set(err, RC_NO_MEMORY, "out of memory");
    for (ssize_t i = 0; i < n; i++) {
        const char *text = text_at(field, (size_t)i, max_bytes);
        if (!text)
            n = -1;
        else if (!((*ret)[*ret_n] = strdup(text)))
            return error_set(err, RC_NO_MEMORY, "out of memory");
        else
            (*ret_n)++;
    }
    return n >= 0 ? RC_OK
                  : error_set(err, RC_INVALID_PARAMETER,
                              "%s must be a string of 1 to %zu bytes, or an array of them", name,
                              max_bytes);
}

static int compare(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Their order is kept: a watcher's event ids tell of logs by it. */
static enum rc refuse_doubles(const struct watch_select *select, struct error *err) {
    LH_FREE char **sorted = calloc(select->n_ids + 1, sizeof *sorted);
    if (!sorted)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < select->n_ids; i++)
        sorted[i] = select->ids[i];
    qsort(sorted, select->n_ids, sizeof *sorted, compare);
    for (size_t i = 1; i < select->n_ids; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            return error_set(err, RC_INVALID_PARAMETER, "task_id must name a task once, not %.64s",
                             sorted[i]);
    return RC_OK;
}

static bool add_type(const char *name, size_t len, unsigned *types) {
    for (unsigned i = 0; i < WATCH_TYPES; i++)
        if (strlen(type_names[i]) == len && memcmp(type_names[i], name, len) == 0) {
            *types |= 1u << i;
            return true;
        }
    return false;
}

static enum rc read_types(const json_t *object, unsigned *ret, struct error *err) {
    const json_t *field = json_object_get(object, "types");
    ssize_t n = count_of(field);
    bool ok = n >= 0 && !(field && n == 0);
    *ret = field ? 0 : 1u << WATCH_STATUS | 1u << WATCH_PROGRESS;
    for (ssize_t i = 0; ok && i < n; i++) {
        const char *at = text_at(field, (size_t)i, TYPES_MAX_BYTES);
        ok = at != NULL;
        while (ok && *at) {
            size_t len = strcspn(at, ",");
            ok = add_type(at, len, ret);
            at += len + (at[len] == ',');
        }
    }
    return ok ? RC_OK
              : error_set(err, RC_INVALID_PARAMETER, "types must be of status, progress, log");
}

/* A number, or one as a query has it. */
static enum rc read_tail(const json_t *object, int64_t *ret, struct error *err) {
    const json_t *field = json_object_get(object, "tail_bytes");
    const char *text = json_string_value(field);
    char *end = NULL;
    *ret = -1;
    if (!field)
        return RC_OK;
    bool digits = text && *text && strlen(text) < 9 && strspn(text, "0123456789") == strlen(text);
    int64_t value = digits                   ? strtoll(text, &end, 10)
                    : json_is_integer(field) ? json_integer_value(field)
                                             : -1;
    if (value < 0 || value > WATCH_TAIL_MAX_BYTES)
        return error_set(err, RC_INVALID_PARAMETER, "tail_bytes must be an integer from 0 to %d",
                         WATCH_TAIL_MAX_BYTES);
    *ret = value;
    return RC_OK;
}

static enum rc check_tags(const struct watch_select *select, struct error *err) {
    for (size_t i = 0; i < select->n_tags; i++)
        if (!strchr(select->tags[i], '='))
            return error_set(err, RC_INVALID_PARAMETER, "tag must be key=value, not %.64s",
                             select->tags[i]);
    return RC_OK;
}

static enum rc check_logs(const struct watch_select *select, struct error *err) {
    bool wanted = select->types & 1u << WATCH_LOG;
    if (wanted && (select->n_ids == 0 || select->n_ids > WATCH_MAX_LOGS))
        return error_set(err, RC_INVALID_PARAMETER,
                         "types: log needs 1 to %d task_ids whose logs are watched",
                         WATCH_MAX_LOGS);
    return RC_OK;
}

enum rc watch_select_read(const json_t *object, struct watch_select *ret, struct error *err) {
    *ret = (struct watch_select){0};
    enum rc rc = read_texts(object, "task_id", WATCH_MAX_IDS, TASK_TEXT_CAP - 1, &ret->ids,
                            &ret->n_ids, err);
    if (rc == RC_OK)
        rc = read_texts(object, "service", WATCH_MAX_NAMES, TASK_TEXT_CAP - 1, &ret->services,
                        &ret->n_services, err);
    if (rc == RC_OK)
        rc = read_texts(object, "tag", WATCH_MAX_NAMES, TAG_MAX_BYTES, &ret->tags, &ret->n_tags,
                        err);
    if (rc == RC_OK)
        rc = read_types(object, &ret->types, err);
    if (rc == RC_OK)
        rc = read_tail(object, &ret->tail_bytes, err);
    if (rc == RC_OK)
        rc = check_tags(ret, err);
    if (rc == RC_OK)
        rc = refuse_doubles(ret, err);
    return rc == RC_OK ? check_logs(ret, err) : rc;
}

static void free_texts(char **texts, size_t n) {
    for (size_t i = 0; i < n; i++)
        free(texts[i]);
    free(texts);
}

void watch_select_finish(struct watch_select *select) {
    free_texts(select->ids, select->n_ids);
    free_texts(select->services, select->n_services);
    free_texts(select->tags, select->n_tags);
    *select = (struct watch_select){0};
}

/* ---- matching ---- */

bool watch_select_has_service(const struct watch_select *select, const char *service) {
    for (size_t i = 0; i < select->n_services; i++)
        if (strcmp(select->services[i], service) == 0)
            return true;
    return select->n_services == 0;
}

static bool has_tag(const struct watch_event *event, const char *tag) {
    for (const char *at = event->tags; *at; at += strlen(at) + 1)
        if (strcmp(at, tag) == 0)
            return true;
    return false;
}

bool watch_select_takes(const struct watch_select *select, const struct watch_event *event) {
    if (!(select->types & 1u << event->type) || !watch_select_has_service(select, event->service))
        return false;
    for (size_t i = 0; i < select->n_tags; i++)
        if (!has_tag(event, select->tags[i]))
            return false;
    return true;
}

/* A tag with a NUL is nobody's: no selection can name it. */
void watch_tags_put(const char *json, struct buf *to) {
    LH_JSON tags = NULL;
    struct error err;
    if (!json || json_read((struct json_span){json, strlen(json)}, &tags, &err) != RC_OK)
        return;
    const char *name;
    json_t *value;
    json_object_foreach(tags, name, value) {
        const char *text = json_string_value(value);
        if (!text || strlen(text) != json_string_length(value))
            continue;
        buf_printf(to, "%s=%s", name, text);
        buf_char(to, '\0');
    }
}
