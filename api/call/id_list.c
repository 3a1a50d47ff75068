/* id_list.c: ids from a tree, and from bytes. */
#include "api/call/id_list.h"

#include "api/call/params.h"
#include "base/mem.h"

#include <string.h>

/* --- trees --- */

/* What concerns the whole call may not stand in one item of several. */
static enum rc refuse_inside(const json_t *item, struct error *err) {
    static const char *const names[] = {"wait_s", "until"};
    if (json_object_size(item) == 1 && json_object_get(item, "task_id"))
        return RC_OK;
    for (size_t i = 0; i < LH_COUNT(names); i++)
        if (json_object_get(item, names[i]))
            return error_set(err, RC_INVALID_PARAMETER, "%s must stand beside data, not in it",
                             names[i]);
    return RC_OK;
}

static enum rc read_id(const json_t *item, struct id_list *list, struct error *err) {
    const char *id;
    if (!json_is_object(item))
        return error_set(err, RC_INVALID_PARAMETER, "data must be an array of {\"task_id\"}");
    enum rc rc = param_string(item, "task_id", PARAM_REQUIRED, TASK_TEXT_CAP - 1, &id, err);
    if (rc == RC_OK)
        list->ids[list->n++] = (struct json_span){id, strlen(id)};
    return rc;
}

enum rc id_list_read(const json_t *data, size_t max, struct id_list *ret, struct error *err) {
    bool one = json_is_object(data);
    size_t n = one ? 1 : json_array_size(data);
    if (n > max)
        return error_set(err, RC_TOO_MANY, "data must have at most %zu ids (max_status_task)", max);
    ret->n = 0;
    enum rc rc = one ? read_id(data, ret, err) : RC_OK;
    for (size_t i = 0; rc == RC_OK && !one && i < n; i++) {
        const json_t *item = json_array_get(data, i);
        rc = refuse_inside(item, err);
        if (rc == RC_OK)
            rc = read_id(item, ret, err);
    }
    return rc;
}

/* --- bytes --- */

struct scan {
    const char *at, *end;
};

/* Takes the bytes if they come next, after white space. */
static bool take(struct scan *scan, const char *bytes, size_t len) {
    scan->at = json_skip_space(scan->at, scan->end);
    if ((size_t)(scan->end - scan->at) < len || memcmp(scan->at, bytes, len) != 0)
        return false;
    scan->at += len;
    return true;
}

static bool take_char(struct scan *scan, char c) {
    return take(scan, &c, 1);
}

/* Of printable ASCII without escapes. */
static bool take_string(struct scan *scan, struct json_span *ret) {
    if (!take_char(scan, '"'))
        return false;
    ret->at = scan->at;
    while (scan->at < scan->end && *scan->at >= ' ' && *scan->at <= '~' && *scan->at != '"' &&
           *scan->at != '\\')
        scan->at++;
    ret->len = (size_t)(scan->at - ret->at);
    return scan->at < scan->end && *scan->at++ == '"';
}

/* Takes what follows the '{' of an object with nothing but an id. */
static bool take_item(struct scan *scan, size_t max, struct id_list *list) {
    static const char name[] = "\"task_id\"";
    if (list->n >= max || !take(scan, name, sizeof name - 1) || !take_char(scan, ':'))
        return false;
    struct json_span *id = &list->ids[list->n++];
    return take_string(scan, id) && id->len > 0 && id->len < TASK_TEXT_CAP && take_char(scan, '}');
}

static bool take_data(struct scan *scan, size_t max, struct id_list *list) {
    if (take_char(scan, '{'))
        return take_item(scan, max, list);
    if (!take_char(scan, '['))
        return false;
    do
        if (!take_char(scan, '{') || !take_item(scan, max, list))
            return false;
    while (take_char(scan, ','));
    return take_char(scan, ']');
}

bool id_list_scan(struct json_span body, size_t max, struct id_list *ret) {
    static const char data[] = "\"data\"";
    struct scan scan = {body.at, body.at + body.len};
    ret->n = 0;
    if (!take_char(&scan, '{'))
        return false;
    bool taken = take(&scan, data, sizeof data - 1)
                     ? take_char(&scan, ':') && take_data(&scan, max, ret) && take_char(&scan, '}')
                     : take_item(&scan, max, ret);
    return taken && json_skip_space(scan.at, scan.end) == scan.end;
}
