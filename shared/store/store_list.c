/* store_list.c: filters and cursors of lists. */
#include "store/store_list.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static const char digits[] = "0123456789abcdef";

char *cursor_make(char kind, const void *bytes, size_t n) {
    const unsigned char *from = bytes;
    char *text = malloc(2 + 2 * n);
    if (!text)
        return NULL;
    text[0] = kind;
    for (size_t i = 0; i < n; i++) {
        text[1 + 2 * i] = digits[from[i] >> 4];
        text[2 + 2 * i] = digits[from[i] & 15];
    }
    text[1 + 2 * n] = '\0';
    return text;
}

static int digit_of(char c) {
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

bool cursor_read(const char *text, char kind, void *ret, size_t cap, size_t *ret_n) {
    size_t len = strlen(text), n = len / 2;
    unsigned char *to = ret;
    if (len % 2 == 0 || text[0] != kind || n > cap)
        return false;
    for (size_t i = 0; i < n; i++) {
        int high = digit_of(text[1 + 2 * i]), low = digit_of(text[2 + 2 * i]);
        if (high < 0 || low < 0)
            return false;
        to[i] = (unsigned char)(high << 4 | low);
    }
    *ret_n = n;
    return true;
}

void list_refuse_cursor(struct query *query) {
    query->rc = RC_INVALID_PARAMETER;
    snprintf(query->text, sizeof query->text, "%s must be a cursor that an answer of tasks gave",
             query->after ? "after" : "before");
}

void list_refuse_page(struct query *query) {
    query->rc = RC_USE_CURSOR;
    snprintf(query->text, sizeof query->text,
             "page is beyond what one call looks at: go on from an earlier page with after");
}

bool list_is_by_state(const struct list_filter *filter) {
    return !filter->from_ms && !filter->to_ms && !filter->prefix && !filter->n_tags;
}

bool list_takes_service(const struct list_filter *filter, const char *service) {
    for (size_t i = 0; i < filter->n_services; i++)
        if (strcmp(filter->services[i], service) == 0)
            return true;
    return filter->n_services == 0;
}

bool list_has_subs(const struct list_filter *filter) {
    return filter->subs || filter->want_paused;
}

static bool is_paused(const struct list_filter *filter, const char *service) {
    for (size_t i = 0; i < filter->n_paused; i++)
        if (strcmp(filter->paused[i], service) == 0)
            return true;
    return false;
}

bool list_takes_state(const struct list_filter *filter, const char *service,
                      enum task_status status, enum task_sub sub) {
    if (filter->statuses && !(filter->statuses & 1u << status))
        return false;
    if (!list_has_subs(filter))
        return true;
    if (sub == SUB_QUEUED && is_paused(filter, service))
        return filter->want_paused;
    return filter->subs & 1u << sub;
}

static bool takes_tags(const struct list_filter *filter, const char *text) {
    LH_JSON tags = NULL;
    struct error why;
    if (!filter->n_tags)
        return true;
    if (!text || json_read((struct json_span){text, strlen(text)}, &tags, &why) != RC_OK)
        return false;
    for (size_t i = 0; i < filter->n_tags; i++) {
        const char *value = json_string_value(json_object_get(tags, filter->tags[i].name));
        if (!value || strcmp(value, filter->tags[i].value) != 0)
            return false;
    }
    return true;
}

bool list_takes_rest(const struct list_filter *filter, const char *task_id, int64_t create_at,
                     const char *tags) {
    if (filter->from_ms && create_at < filter->from_ms)
        return false;
    if (filter->to_ms && create_at >= filter->to_ms)
        return false;
    if (filter->prefix && strncmp(task_id, filter->prefix, strlen(filter->prefix)) != 0)
        return false;
    return takes_tags(filter, tags);
}

void list_filter_finish(struct list_filter *filter) {
    for (size_t i = 0; i < filter->n_services; i++)
        free(filter->services[i]);
    free(filter->services);
    for (size_t i = 0; i < filter->n_paused; i++)
        free(filter->paused[i]);
    free(filter->paused);
    free(filter->prefix);
    for (size_t i = 0; i < filter->n_tags; i++) {
        free(filter->tags[i].name);
        free(filter->tags[i].value);
    }
    free(filter->tags);
    *filter = (struct list_filter){0};
}
