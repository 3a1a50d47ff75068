/* form.c: form bodies. */
#include "api/http/form.h"

#include "base/hex.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <string.h>

/* Appends the decoded text; false at a bad escape, or what is no UTF-8. */
static bool decode(const char *p, size_t len, struct buf *to) {
    for (size_t i = 0; i < len; i++) {
        if (p[i] != '%') {
            buf_char(to, p[i] == '+' ? ' ' : p[i]);
            continue;
        }
        int high = i + 2 < len ? hex_digit(p[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(p[i + 2]) : -1;
        if (low < 0)
            return false;
        buf_char(to, (char)(high << 4 | low));
        i += 2;
    }
    return to->len == 0 || utf8_valid(to->data, to->len);
}

bool form_read_pair(const char *p, size_t len, struct buf *name, struct buf *value) {
    const char *equals = memchr(p, '=', len);
    size_t name_len = equals ? (size_t)(equals - p) : len;
    return decode(p, name_len, name) && name->len > 0 &&
           (!equals || decode(equals + 1, len - name_len - 1, value));
}

static bool always_string(const char *name) {
    static const char *const names[] = {"service", "task_id", "status",   "message", "run_id",
                                        "stream",  "text",    "encoding", "base64"};
    for (size_t i = 0; i < LH_COUNT(names); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* Whether the text is meant as JSON: it is, or it would be but for a value that is refused. */
static enum rc looks_like_json(struct json_span text, bool *ret, struct error *why) {
    LH_JSON root = NULL;
    enum rc rc = json_read(text, &root, why);
    *ret = rc == RC_OK || !strstr(why->text, ": " JSON_NOT_JSON);
    return *ret ? rc : RC_OK;
}

static enum rc put_value(const char *name, const struct buf *value, struct buf *to,
                         struct error *err) {
    struct json_span text = {value->data ? value->data : "", value->len};
    bool json = false;
    struct error why = {.text = ""};
    enum rc rc = always_string(name) ? RC_OK : looks_like_json(text, &json, &why);
    if (rc == RC_OK && !json && strcmp(name, "data") == 0)
        rc = RC_INVALID_PARAMETER;
    if (rc != RC_OK)
        return error_set(err, rc, "%s: %s", name,
                         why.text + (strncmp(why.text, "body: ", 6) == 0 ? 6 : 0));
    if (json)
        buf_append(to, text.at, text.len);
    else
        buf_json(to, text.at, text.len);
    return RC_OK;
}

static enum rc put_pair(const char *p, size_t len, bool first, struct buf *to, struct error *err) {
    LH_CLEANUP_BUF struct buf name;
    LH_CLEANUP_BUF struct buf value;
    buf_init(&name, len);
    buf_init(&value, len);
    bool ok = form_read_pair(p, len, &name, &value);
    if (buf_rc(&name) != RC_OK || buf_rc(&value) != RC_OK)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    if (!ok)
        return error_set(err, RC_INVALID_PARAMETER, "body: not a form");
    buf_str(to, first ? "" : ",");
    buf_json(to, name.data, name.len);
    buf_char(to, ':');
    return put_value(name.data, &value, to, err);
}

enum rc form_to_json(const char *body, size_t len, struct buf *to, struct error *err) {
    buf_char(to, '{');
    bool first = true;
    for (const char *p = body, *end = body + len; p < end;) {
        const char *amp = memchr(p, '&', (size_t)(end - p));
        size_t n = (size_t)((amp ? amp : end) - p);
        if (n > 0) {
            enum rc rc = put_pair(p, n, first, to, err);
            if (rc != RC_OK)
                return rc;
            first = false;
        }
        p += n + 1;
    }
    buf_char(to, '}');
    return buf_rc(to) == RC_OK ? RC_OK : error_set(err, buf_rc(to), "body: too large");
}
