/* task_options.c: priority, times, retries, tags and the idempotency key of a new task. */
#include "api/handlers/task_options.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/trace.h"

#include <math.h>
#include <string.h>

enum {
    YEAR_S = 366 * 86400,
    MAX_ATTEMPTS = 1000,
    TAGS_MAX = 64,
    TAG_NAME_BYTES = 64,
    TAG_VALUE_BYTES = 256,
    IDEM_KEY_BYTES = 255
};

static void set_defaults(const struct config_module *module, struct task *task) {
    task_init(task);
    if (!module)
        return;
    task->max_attempts = module->max_attempts;
    task->retry =
        (struct task_retry){(enum task_retry_kind)module->retry_kind, module->retry_base_ms,
                            module->retry_max_ms, module->retry_jitter};
}

static enum rc read_delay(const json_t *item, struct lifecycle_start *start, struct error *err) {
    int64_t run_at = 0;
    if (json_object_get(item, "delay_s") && json_object_get(item, "run_at"))
        return error_set(err, RC_INVALID_PARAMETER, "delay_s must be absent where run_at is given");
    enum rc rc = param_seconds(item, "delay_s", 10 * YEAR_S, &start->delay_ms, err);
    if (rc == RC_OK)
        rc = param_time(item, "run_at", &run_at, err);
    if (rc == RC_OK && run_at > start->now_ms)
        start->delay_ms = run_at - start->now_ms;
    return rc;
}

static enum rc read_jitter(const json_t *retry, int64_t *ret_permille, struct error *err) {
    const json_t *value = json_object_get(retry, "jitter");
    if (!value)
        return RC_OK;
    double share = json_number_value(value);
    if (!json_is_number(value) || share < 0 || share > 1)
        return error_set(err, RC_INVALID_PARAMETER, "retry.jitter must be a number from 0 to 1");
    *ret_permille = llround(share * 1000);
    return RC_OK;
}

static enum rc read_retry(const json_t *item, struct task_retry *ret, struct error *err) {
    const json_t *retry = json_object_get(item, "retry");
    const char *kind = NULL;
    if (!retry)
        return RC_OK;
    if (!json_is_object(retry))
        return error_set(err, RC_INVALID_PARAMETER,
                         "retry must be an object {\"kind\",\"base_s\",\"max_s\",\"jitter\"}");
    enum rc rc = param_string(retry, "kind", PARAM_OPTIONAL, 32, &kind, err);
    if (rc == RC_OK && kind && !task_retry_from_name(kind, &ret->kind))
        return error_set(err, RC_INVALID_PARAMETER, "retry.kind must be exponential or fixed");
    if (rc == RC_OK)
        rc = param_seconds(retry, "base_s", YEAR_S, &ret->base_ms, err);
    if (rc == RC_OK)
        rc = param_seconds(retry, "max_s", YEAR_S, &ret->max_ms, err);
    return rc == RC_OK ? read_jitter(retry, &ret->jitter_permille, err) : rc;
}

static bool is_tag(const char *name, const json_t *value) {
    return *name && strlen(name) <= TAG_NAME_BYTES && json_is_string(value) &&
           json_string_length(value) <= TAG_VALUE_BYTES &&
           strlen(json_string_value(value)) == json_string_length(value);
}

static enum rc read_tags(const json_t *item, char **ret, struct error *err) {
    json_t *tags = json_object_get(item, "tags"), *value;
    const char *name;
    if (!tags)
        return RC_OK;
    if (!json_is_object(tags) || json_object_size(tags) > TAGS_MAX)
        return error_set(err, RC_INVALID_PARAMETER, "tags must be an object of at most %d strings",
                         TAGS_MAX);
    json_object_foreach(tags, name, value) if (!is_tag(name, value)) return error_set(
        err, RC_INVALID_PARAMETER,
        "tags must have names of 1 to %d bytes and strings of at most %d bytes without NUL",
        TAG_NAME_BYTES, TAG_VALUE_BYTES);
    *ret = json_object_size(tags) ? json_dumps(tags, JSON_COMPACT) : NULL;
    return *ret || !json_object_size(tags) ? RC_OK : error_set(err, RC_NO_MEMORY, "out of memory");
}

enum rc task_options_read(const json_t *item, const struct config_module *module, struct task *task,
                          struct lifecycle_start *start, struct error *err) {
    bool now = true;
    set_defaults(module, task);
    enum rc rc = param_bool(item, "start", &now, err);
    if (rc == RC_OK)
        rc = param_int(item, "priority", 0, PRIORITY_MAX, &task->priority, err);
    if (rc == RC_OK)
        rc = read_delay(item, start, err);
    if (rc == RC_OK)
        rc = param_duration(item, "timeout_s", TASK_TIMEOUT_MAX_S, &task->timeout_ms, err);
    if (rc == RC_OK)
        rc = param_duration(item, "expire_s", 10 * YEAR_S, &task->expire_ms, err);
    if (rc == RC_OK)
        rc = param_int(item, "max_attempts", 1, MAX_ATTEMPTS, &task->max_attempts, err);
    if (rc == RC_OK)
        rc = read_retry(item, &task->retry, err);
    if (rc == RC_OK)
        rc = read_tags(item, &task->tags, err);
    if (rc == RC_OK && !now && start->delay_ms)
        rc = error_set(err, RC_INVALID_PARAMETER,
                       "start must be true where delay_s or run_at is given");
    start->held = !now;
    return rc;
}

/* Over the data as sorted JSON: equal data, equal number. A request that is made again may
 * come in a span of its own. */
static bool hash_data(const json_t *item, uint64_t *ret) {
    static const char *const apart[] = {"idempotency_key", "traceparent", "tracestate"};
    json_t *data = json_copy((json_t *)item);
    char *text = NULL;
    for (size_t i = 0; data && i < LH_COUNT(apart); i++)
        (void)json_object_del(data, apart[i]);
    if (data)
        text = json_dumps(data, JSON_COMPACT | JSON_SORT_KEYS);
    bool done = text;
    *ret = hash_text(text ? text : "");
    free(text);
    json_decref(data);
    return done;
}

static enum rc take_trace(const char *parent, const char *state, struct task *task,
                          struct error *err) {
    if (!*parent)
        return RC_OK;
    task->traceparent = strdup(parent);
    task->tracestate = state ? strdup(state) : NULL;
    bool all = task->traceparent && (!state || task->tracestate);
    return all ? RC_OK : error_set(err, RC_NO_MEMORY, "out of memory");
}

enum rc task_options_trace(const json_t *item, const char *parent, const char *state,
                           struct task *task, struct error *err) {
    const char *text = NULL, *own_state = NULL;
    char own[TRACEPARENT_CAP];
    enum rc rc = param_string(item, "traceparent", PARAM_OPTIONAL, 1024, &text, err);
    if (rc == RC_OK)
        rc = param_string(item, "tracestate", PARAM_OPTIONAL, TRACESTATE_CAP - 1, &own_state, err);
    if (rc != RC_OK)
        return rc;
    if (text && !traceparent_read(text, own))
        return error_set(err, RC_INVALID_PARAMETER,
                         "traceparent must be one of W3C Trace Context: 00-TRACE_ID-SPAN_ID-FLAGS");
    if (own_state && (!text || !tracestate_valid(own_state)))
        return error_set(err, RC_INVALID_PARAMETER,
                         "tracestate must be a list of W3C Trace Context beside traceparent");
    return text ? take_trace(own, own_state, task, err) : take_trace(parent, state, task, err);
}

static enum rc check_header(const char *header, struct error *err) {
    size_t len = strlen(header);
    if (len >= 1 && len <= IDEM_KEY_BYTES)
        return RC_OK;
    return error_set(err, RC_INVALID_PARAMETER, "Idempotency-Key must have 1 to %d bytes",
                     IDEM_KEY_BYTES);
}

enum rc task_options_key(const json_t *item, const char *header, struct task *task,
                         struct error *err) {
    const char *key = NULL;
    enum rc rc = param_string(item, "idempotency_key", PARAM_OPTIONAL, IDEM_KEY_BYTES, &key, err);
    if (rc == RC_OK && header)
        rc = check_header(header, err);
    if (rc != RC_OK)
        return rc;
    if (key && header && strcmp(key, header) != 0)
        return error_set(err, RC_INVALID_PARAMETER,
                         "idempotency_key must be equal to the header Idempotency-Key");
    key = key ? key : header;
    if (!key)
        return RC_OK;
    task->idem_key = strdup(key);
    if (!task->idem_key || !hash_data(item, &task->idem_hash))
        return error_set(err, RC_NO_MEMORY, "out of memory");
    return RC_OK;
}
