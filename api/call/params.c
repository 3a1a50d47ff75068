/* params.c: reading the fields of a request. */
#include "api/call/params.h"

#include "base/clock.h"
#include "base/mem.h"
#include "task/progress.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { WAIT_MAX_S = 60 };

static enum rc must(struct error *err, const char *name, const char *what) {
    return error_set(err, RC_INVALID_PARAMETER, "%s must be %s", name, what);
}

static enum rc read_string(const json_t *object, const char *name, size_t min, size_t max,
                           const char **ret, struct error *err) {
    const json_t *value = json_object_get(object, name);
    size_t len = json_string_length(value);
    if (!json_is_string(value))
        return must(err, name, "a string");
    const char *text = json_string_value(value);
    if (len < min || len > max || strlen(text) != len)
        return error_set(err, RC_INVALID_PARAMETER,
                         "%s must be a string of %zu to %zu bytes without NUL", name, min, max);
    *ret = text;
    return RC_OK;
}

enum rc param_string(const json_t *object, const char *name, enum param_need need, size_t max_bytes,
                     const char **ret, struct error *err) {
    if (need == PARAM_OPTIONAL && !json_object_get(object, name))
        return RC_OK;
    return read_string(object, name, 1, max_bytes, ret, err);
}

enum rc param_text(const json_t *object, const char *name, size_t max_bytes, const char **ret,
                   struct error *err) {
    const json_t *value = json_object_get(object, name);
    if (!value || json_is_null(value))
        return RC_OK;
    return read_string(object, name, 0, max_bytes, ret, err);
}

enum rc param_int(const json_t *object, const char *name, int64_t min, int64_t max, int64_t *ret,
                  struct error *err) {
    const json_t *value = json_object_get(object, name);
    if (!value)
        return RC_OK;
    if (!json_is_integer(value) || json_integer_value(value) < min ||
        json_integer_value(value) > max)
        return error_set(err, RC_INVALID_PARAMETER,
                         "%s must be an integer from %" PRId64 " to %" PRId64, name, min, max);
    *ret = json_integer_value(value);
    return RC_OK;
}

enum rc param_seconds(const json_t *object, const char *name, int64_t max_s, int64_t *ret_ms,
                      struct error *err) {
    const json_t *value = json_object_get(object, name);
    if (!value)
        return RC_OK;
    double seconds = json_number_value(value);
    if (!json_is_number(value) || seconds < 0 || seconds > (double)max_s)
        return error_set(err, RC_INVALID_PARAMETER, "%s must be a number from 0 to %" PRId64, name,
                         max_s);
    *ret_ms = (int64_t)llround(seconds * 1000);
    return RC_OK;
}

enum rc param_wait(const json_t *object, int64_t *ret_ms, struct error *err) {
    return param_seconds(object, "wait_s", WAIT_MAX_S, ret_ms, err);
}

enum rc param_duration(const json_t *object, const char *name, int64_t max_s, int64_t *ret_ms,
                       struct error *err) {
    int64_t ms = 1;
    enum rc rc = param_seconds(object, name, max_s, &ms, err);
    if (rc != RC_OK)
        return rc;
    if (ms < 1)
        return must(err, name, "more than 0 seconds");
    if (json_object_get(object, name))
        *ret_ms = ms;
    return RC_OK;
}

enum rc param_time(const json_t *object, const char *name, int64_t *ret_at, struct error *err) {
    const json_t *value = json_object_get(object, name);
    if (!value)
        return RC_OK;
    if (!json_is_string(value) || !clock_from_text(json_string_value(value), ret_at))
        return must(err, name, "a time such as 2026-11-21T08:30:00.123Z");
    return RC_OK;
}

enum rc param_progress(const json_t *object, struct json_span text, char **ret, struct error *err) {
    const json_t *value = json_object_get(object, "progress");
    size_t len;
    if (!value || json_is_null(value))
        return RC_OK;
    if (!progress_valid(value))
        return must(err, "progress",
                    "a number from 0 to 1 or an object {\"done\",\"total\",\"text\"}");
    return param_value(text, "progress", PARAM_REQUIRED, PROGRESS_MAX_BYTES, ret, &len, err);
}

enum rc param_bool(const json_t *object, const char *name, bool *ret, struct error *err) {
    const json_t *value = json_object_get(object, name);
    if (!value)
        return RC_OK;
    if (!json_is_boolean(value))
        return must(err, name, "true or false");
    *ret = json_is_true(value);
    return RC_OK;
}

enum rc param_value(struct json_span text, const char *name, enum param_need need, size_t max_bytes,
                    char **ret, size_t *ret_len, struct error *err) {
    struct json_span value;
    if (!json_span_member(text, name, &value))
        return need == PARAM_OPTIONAL ? RC_OK : must(err, name, "given (any JSON value)");
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, max_bytes);
    struct error why;
    enum rc rc = json_carry(value, &buf, &why);
    if (rc == RC_TOO_LARGE)
        return error_set(err, rc, "%s is larger than %zu bytes", name, max_bytes);
    if (rc != RC_OK)
        return error_set(err, rc, "%s: %s", name, why.text);
    *ret = buf_take(&buf, ret_len);
    return *ret ? RC_OK : error_set(err, RC_NO_MEMORY, "out of memory");
}

enum rc param_task_id(const json_t *object, char ret[TASK_TEXT_CAP], struct error *err) {
    const char *id = NULL;
    enum rc rc = param_string(object, "task_id", PARAM_REQUIRED, TASK_TEXT_CAP - 1, &id, err);
    if (rc == RC_OK)
        mem_copy_str(ret, TASK_TEXT_CAP, id);
    return rc;
}

enum rc param_uuid(const json_t *object, const char *name, enum param_need need, char ret[UUID_CAP],
                   struct error *err) {
    const char *text = NULL;
    enum rc rc = param_string(object, name, need, UUID_CAP - 1, &text, err);
    if (rc != RC_OK || !text)
        return rc;
    if (!uuid_valid(text))
        return must(err, name, "a UUID");
    mem_copy_str(ret, UUID_CAP, text);
    return RC_OK;
}

enum rc param_run_id(const json_t *object, enum param_need need, char ret[UUID_CAP],
                     struct error *err) {
    return param_uuid(object, "run_id", need, ret, err);
}
