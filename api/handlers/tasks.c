/* tasks.c: POST /api/tasks: a page of tasks, newest first, by what they have in common. */
#include "api/handlers/handlers.h"

#include "api/call/params.h"
#include "api/call/task_fields.h"
#include "api/sweep/services.h"
#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

enum {
    PAGE_MAX_TASKS = 1000,
    PAGE_DEFAULT_TASKS = 10,
    PAGE_MIN_BYTES = 16 << 20,
    PAGE_DEEPEST = 100000, /* p_size × page; cursors go deeper */
    CURSOR_MAX_BYTES = 1000,
};

/* ---- the answer ---- */

static void put_tasks(struct buf *buf, const struct services *services, const struct query *query,
                      task_fields fields) {
    buf_printf(buf, ",\"count\":%zu,\"data\":[", query->n_tasks);
    for (size_t i = 0; i < query->n_tasks; i++) {
        buf_str(buf, i ? "," : "");
        const struct task *task = &query->tasks[i];
        task_fields_put(fields, task, services_sub_name(services, task), buf);
    }
    buf_char(buf, ']');
}

static void on_answer(struct call *call, struct query *query) {
    const task_fields *fields = call->state;
    if (query->rc != RC_OK) {
        call_reply_query(call, query);
        return;
    }
    struct buf buf;
    call_buf_init(&buf);
    buf_printf(&buf, "{\"result\":\"ok\",\"total\":%" PRId64, query->total);
    if (query->total_at_least)
        buf_str(&buf, ",\"total_is\":\"at_least\"");
    put_tasks(&buf, call->api->services, query, *fields);
    buf_str(&buf, ",\"next\":");
    buf_json_str(&buf, query->next);
    buf_str(&buf, ",\"prev\":");
    buf_json_str(&buf, query->prev);
    buf_char(&buf, '}');
    call_reply(call, &buf);
}

/* ---- the filter ---- */

/* Hands over one name of a parameter that is a string or an array of strings. */
typedef enum rc see_name(const char *name, struct list_filter *filter, struct error *err);

static enum rc read_name(const json_t *value, const char *param, see_name *see,
                         struct list_filter *filter, struct error *err) {
    const char *name = json_string_value(value);
    if (!name || !name[0] || strlen(name) != json_string_length(value))
        return error_set(err, RC_INVALID_PARAMETER, "%s must be a name or an array of names",
                         param);
    return see(name, filter, err);
}

static enum rc read_names(const json_t *data, const char *param, size_t max, see_name *see,
                          struct list_filter *filter, struct error *err) {
    const json_t *value = json_object_get(data, param);
    if (!json_is_array(value))
        return value ? read_name(value, param, see, filter, err) : RC_OK;
    size_t n = json_array_size(value);
    if (n == 0 || n > max)
        return error_set(err, RC_INVALID_PARAMETER, "%s must be an array of 1 to %zu names", param,
                         max);
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < n; i++)
        rc = read_name(json_array_get(value, i), param, see, filter, err);
    return rc;
}

static enum rc see_status(const char *name, struct list_filter *filter, struct error *err) {
    enum task_status status;
    if (!task_status_from_name(name, &status))
        return error_set(err, RC_INVALID_PARAMETER,
                         "status must be ready, waiting, running, finished or failed");
    filter->statuses |= 1u << status;
    return RC_OK;
}

static enum rc refuse_sub(struct error *err) {
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, 512);
    buf_str(&buf, "paused");
    for (unsigned i = 0; i < TASK_SUBS; i++)
        if (task_sub_name((enum task_sub)i) && i != SUB_REMOVED)
            buf_printf(&buf, ", %s", task_sub_name((enum task_sub)i));
    return error_set(err, RC_INVALID_PARAMETER, "sub_status must be one of %s",
                     buf_rc(&buf) == RC_OK ? buf.data : "the known ones");
}

static enum rc see_sub(const char *name, struct list_filter *filter, struct error *err) {
    enum task_sub sub;
    if (strcmp(name, "paused") == 0) {
        filter->want_paused = true;
        return RC_OK;
    }
    if (!task_sub_from_name(name, &sub) || sub == SUB_REMOVED) /* lists hold no tombstones */
        return refuse_sub(err);
    filter->subs |= 1u << sub;
    return RC_OK;
}

static enum rc see_service(const char *name, struct list_filter *filter, struct error *err) {
    if (strlen(name) >= TASK_TEXT_CAP)
        return error_set(err, RC_INVALID_PARAMETER, "service must have at most %d bytes",
                         TASK_TEXT_CAP - 1);
    filter->services[filter->n_services] = strdup(name);
    if (!filter->services[filter->n_services])
        return error_set(err, RC_NO_MEMORY, "out of memory");
    filter->n_services++;
    return RC_OK;
}

static enum rc read_services(const json_t *data, struct list_filter *filter, struct error *err) {
    enum { MAX = 1000 };
    const json_t *value = json_object_get(data, "service");
    size_t n = json_is_array(value) ? json_array_size(value) : 1;
    filter->services = calloc(n <= MAX ? n + 1 : 1, sizeof *filter->services);
    if (!filter->services)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    return read_names(data, "service", MAX, see_service, filter, err);
}

static enum rc copy_string(const json_t *data, const char *name, size_t max, char **ret,
                           struct error *err) {
    const char *text = NULL;
    enum rc rc = param_string(data, name, PARAM_OPTIONAL, max, &text, err);
    if (rc == RC_OK && text && !(*ret = strdup(text)))
        return error_set(err, RC_NO_MEMORY, "out of memory");
    return rc;
}

static enum rc read_tag(const char *name, const json_t *value, struct list_filter *filter,
                        struct error *err) {
    const char *text = json_string_value(value);
    if (!text || strlen(text) != json_string_length(value))
        return error_set(err, RC_INVALID_PARAMETER, "tags must be an object of strings");
    struct list_tag *tag = &filter->tags[filter->n_tags++];
    *tag = (struct list_tag){strdup(name), strdup(text)};
    return tag->name && tag->value ? RC_OK : error_set(err, RC_NO_MEMORY, "out of memory");
}

static enum rc read_tags(const json_t *data, struct list_filter *filter, struct error *err) {
    enum { MAX = 64 };
    json_t *tags = json_object_get(data, "tags"), *value;
    const char *name;
    enum rc rc = RC_OK;
    if (!tags)
        return RC_OK;
    if (!json_is_object(tags) || json_object_size(tags) > MAX)
        return error_set(err, RC_INVALID_PARAMETER, "tags must be an object of at most %d strings",
                         MAX);
    filter->tags = calloc(json_object_size(tags) + 1, sizeof *filter->tags);
    if (!filter->tags)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    json_object_foreach(tags, name, value) if (rc == RC_OK) rc = read_tag(name, value, filter, err);
    return rc;
}

/* The filter's 0 is no bound; nothing was created before 1970 all the same. */
static enum rc read_times(const json_t *data, struct list_filter *filter, struct error *err) {
    enum rc rc = param_time(data, "from", &filter->from_ms, err);
    if (rc == RC_OK)
        rc = param_time(data, "to", &filter->to_ms, err);
    if (json_object_get(data, "to") && filter->to_ms <= 0)
        filter->to_ms = 1;
    return rc;
}

static enum rc read_filter(const json_t *data, struct list_filter *filter, struct error *err) {
    enum rc rc = read_services(data, filter, err);
    if (rc == RC_OK)
        rc = read_names(data, "status", TASK_STATUSES, see_status, filter, err);
    if (rc == RC_OK)
        rc = read_names(data, "sub_status", TASK_SUBS, see_sub, filter, err);
    if (rc == RC_OK)
        rc = read_times(data, filter, err);
    if (rc == RC_OK)
        rc = read_tags(data, filter, err);
    if (rc == RC_OK)
        rc = copy_string(data, "task_id", TASK_TEXT_CAP - 1, &filter->prefix, err);
    return rc;
}

/* A token sees tasks of its own services alone. */
static enum rc keep_to_token(const struct call *call, struct list_filter *filter,
                             struct error *err) {
    const struct task_access *access = token_access(call->token);
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < filter->n_services; i++)
        rc = call_check_service(call, filter->services[i], err);
    if (rc != RC_OK || filter->n_services > 0 || !access || access->n_services == 0)
        return rc;
    free(filter->services);
    filter->services = calloc(access->n_services, sizeof *filter->services);
    if (!filter->services)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    for (size_t i = 0; rc == RC_OK && i < access->n_services; i++)
        rc = see_service(access->services[i], filter, err);
    return rc;
}

/* The store keeps what waits as queued; whether its service is paused is known here. */
static enum rc name_paused(const struct api *api, struct list_filter *filter, struct error *err) {
    const struct service_rules *rules = services_rules(api->services);
    filter->paused = calloc(api->cfg->n_services + 1, sizeof *filter->paused);
    if (!filter->paused)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < api->cfg->n_services; i++) {
        const char *name = api->cfg->services[i].name;
        if (!service_paused(rules, name))
            continue;
        if (!(filter->paused[filter->n_paused] = strdup(name)))
            return error_set(err, RC_NO_MEMORY, "out of memory");
        filter->n_paused++;
    }
    return RC_OK;
}

/* ---- the page ---- */

static enum rc read_cursors(const json_t *data, struct query *query, struct error *err) {
    enum rc rc = copy_string(data, "after", CURSOR_MAX_BYTES, &query->after, err);
    if (rc == RC_OK)
        rc = copy_string(data, "before", CURSOR_MAX_BYTES, &query->before, err);
    if (rc == RC_OK && query->after && query->before)
        return error_set(err, RC_INVALID_PARAMETER, "before must be absent beside after");
    if (rc == RC_OK && (query->after || query->before) && json_object_get(data, "page"))
        return error_set(err, RC_INVALID_PARAMETER, "page must be absent beside a cursor");
    return rc;
}

static enum rc read_page(const json_t *data, struct query *query, struct error *err) {
    int64_t page = 1;
    query->limit = PAGE_DEFAULT_TASKS;
    enum rc rc = param_int(data, "p_size", 1, PAGE_MAX_TASKS, &query->limit, err);
    if (rc == RC_OK)
        rc = param_int(data, "page", 1, INT32_MAX, &page, err);
    if (rc == RC_OK && page * query->limit > PAGE_DEEPEST)
        return error_set(err, RC_USE_CURSOR,
                         "page × p_size must be at most %d: go on from an earlier page with after",
                         PAGE_DEEPEST);
    query->skip = (page - 1) * query->limit;
    return rc == RC_OK ? read_cursors(data, query, err) : rc;
}

/* So many bytes of values fit in a page that one of the default size always does. */
static size_t page_max_bytes(const struct config *cfg, const struct query *query) {
    int64_t largest = query->want_result ? cfg->limits.result_bytes : 0;
    if (query->want_condition)
        largest += cfg->limits.body_bytes;
    size_t page = PAGE_DEFAULT_TASKS * (size_t)largest;
    return page > PAGE_MIN_BYTES ? page : PAGE_MIN_BYTES;
}

static enum rc read_call(const struct call *call, struct query *query, task_fields *fields,
                         struct error *err) {
    enum rc rc = read_filter(call->data, &query->filter, err);
    if (rc == RC_OK)
        rc = keep_to_token(call, &query->filter, err);
    if (rc == RC_OK)
        rc = name_paused(call->api, &query->filter, err);
    if (rc == RC_OK)
        rc = read_page(call->data, query, err);
    if (rc == RC_OK)
        rc = task_fields_read(call->data, fields, err);
    query->want_condition = task_fields_want_condition(*fields);
    query->want_result = task_fields_want_result(*fields);
    query->max_bytes = page_max_bytes(call->api->cfg, query);
    return rc;
}

void handle_tasks(struct call *call) {
    struct query *query = query_create(QUERY_LIST);
    task_fields *fields = calloc(1, sizeof *fields);
    struct error err = {.text = ""};
    call_keep(call, fields, free);
    enum rc rc = query && fields ? read_call(call, query, fields, &err) : RC_NO_MEMORY;
    if (rc == RC_OK) {
        call_query(call, query, on_answer);
        return;
    }
    query_destroy(query);
    call_reply_rc(call, rc, err.text);
}
