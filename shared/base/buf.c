/* buf.c: the growing buffer. */
#include "base/buf.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { CAP_FIRST = 128 };

void buf_init(struct buf *buf, size_t max_bytes) {
    *buf = (struct buf){.max = max_bytes};
}

void buf_finish(struct buf *buf) {
    free(buf->data);
    buf_init(buf, buf->max);
}

void buf_clear(struct buf *buf) {
    buf->len = 0;
    buf->rc = RC_OK;
    if (buf->data)
        buf->data[0] = '\0';
}

bool buf_reserve(struct buf *buf, size_t more) {
    if (buf->rc != RC_OK)
        return false;
    if (more > buf->max - buf->len) {
        buf->rc = RC_TOO_LARGE;
        return false;
    }
    size_t need = buf->len + more + 1;
    if (need <= buf->cap)
        return true;
    size_t cap = buf->cap ? buf->cap : CAP_FIRST;
    while (cap < need)
        cap *= 2;
    char *data = realloc(buf->data, cap);
    if (!data) {
        buf->rc = RC_NO_MEMORY;
        return false;
    }
    buf->data = data;
    buf->cap = cap;
    return true;
}

void buf_append(struct buf *buf, const void *bytes, size_t len) {
    if (!buf_reserve(buf, len))
        return;
    if (len)
        memcpy(buf->data + buf->len, bytes, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
}

void buf_str(struct buf *buf, const char *text) {
    buf_append(buf, text, strlen(text));
}

void buf_char(struct buf *buf, char c) {
    buf_append(buf, &c, 1);
}

void buf_int(struct buf *buf, int64_t value) {
    char digits[24];
    size_t at = sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do
        digits[--at] = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        digits[--at] = '-';
    buf_append(buf, digits + at, sizeof digits - at);
}

/* Mostly there is room already: it is formatted a second time only where there was not. */
void buf_printf(struct buf *buf, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    size_t room = buf->rc == RC_OK && buf->cap > buf->len ? buf->cap - buf->len : 0;
    int len = vsnprintf(room ? buf->data + buf->len : NULL, room, format, args);
    va_end(args);
    if (len > 0 && buf_reserve(buf, (size_t)len)) {
        if ((size_t)len >= room)
            vsnprintf(buf->data + buf->len, (size_t)len + 1, format, again);
        buf->len += (size_t)len;
    } else if (room) {
        buf->data[buf->len] = '\0';
    }
    va_end(again);
}

/* The two-character escape of c, or 0. */
static char short_escape(unsigned char c) {
    switch (c) {
    case '"':
    case '\\':
        return (char)c;
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    default:
        return 0;
    }
}

static void json_escape(struct buf *buf, unsigned char c) {
    char s = short_escape(c);
    if (s)
        buf_append(buf, (char[]){'\\', s}, 2);
    else
        buf_printf(buf, "\\u%04x", c);
}

static bool plain(unsigned char c) {
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

void buf_json(struct buf *buf, const char *text, size_t len) {
    buf_char(buf, '"');
    size_t from = 0, i = 0;
    while (i < len) {
        unsigned char c = (unsigned char)text[i];
        size_t step = plain(c) ? 1 : c < 0x80 ? 0 : utf8_char(text + i, len - i);
        if (step) {
            i += step;
            continue;
        }
        buf_append(buf, text + from, i - from);
        if (c < 0x80)
            json_escape(buf, c);
        else
            buf_str(buf, "\xef\xbf\xbd");
        from = ++i;
    }
    buf_append(buf, text + from, len - from);
    buf_char(buf, '"');
}

void buf_json_str(struct buf *buf, const char *text) {
    if (text)
        buf_json(buf, text, strlen(text));
    else
        buf_str(buf, "null");
}

enum rc buf_rc(const struct buf *buf) {
    return buf->rc;
}

char *buf_take(struct buf *buf, size_t *ret_len) {
    buf_append(buf, "", 0);
    if (buf->rc != RC_OK) {
        buf_finish(buf);
        return NULL;
    }
    if (ret_len)
        *ret_len = buf->len;
    char *data = TAKE(buf->data);
    buf_init(buf, buf->max);
    return data;
}
