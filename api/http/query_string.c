/* query_string.c: the query of a request's target. */
#include "api/http/query_string.h"

#include "api/http/form.h"
#include "base/mem.h"

#include <string.h>

/* Takes `value`. False when out of memory. */
static bool add(json_t *object, const char *name, json_t *value) {
    json_t *before = json_object_get(object, name);
    if (!before)
        return json_object_set_new(object, name, value) == 0;
    if (json_is_array(before))
        return json_array_append_new(before, value) == 0;
    json_t *array = json_array();
    bool ok = array && json_array_append(array, before) == 0;
    ok = json_array_append_new(array, value) == 0 && ok;
    return json_object_set_new(object, name, array) == 0 && ok;
}

static enum rc read_pair(const char *p, size_t len, json_t *object, struct error *err) {
    LH_CLEANUP_BUF struct buf name;
    LH_CLEANUP_BUF struct buf value;
    buf_init(&name, len + 1);
    buf_init(&value, len + 1);
    bool ok = form_read_pair(p, len, &name, &value);
    if (buf_rc(&name) != RC_OK || buf_rc(&value) != RC_OK)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    if (!ok || strlen(name.data) != name.len)
        return error_set(err, RC_INVALID_PARAMETER, "query: not of the form name=value&name=value");
    if (!add(object, name.data, json_stringn(value.data ? value.data : "", value.len)))
        return error_set(err, RC_NO_MEMORY, "out of memory");
    return RC_OK;
}

enum rc query_string_read(const char *query, json_t **ret, struct error *err) {
    LH_JSON object = json_object();
    enum rc rc = object ? RC_OK : error_set(err, RC_NO_MEMORY, "out of memory");
    for (const char *p = query; rc == RC_OK && *p;) {
        size_t len = strcspn(p, "&");
        if (len > 0)
            rc = read_pair(p, len, object, err);
        p += len + (p[len] == '&');
    }
    if (rc == RC_OK)
        *ret = TAKE(object);
    return rc;
}
