/* log.c: one line on stderr per event. */
#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static struct {
    const char *component;
    enum log_format format;
    enum log_level least;
} setup = {"longhaul", LOG_JSON, LOG_INFO};

static const char *const level_names[] = {"debug", "info", "warning", "error"};
static const char *const format_names[] = {"json", "text"};

struct field {
    const char *name;
    size_t at;
    enum { TEXT, TRACE, NUMBER, WITH_TOPIC } kind;
};

/* Where a traceparent has its trace_id. */
enum { TRACE_ID_AT = 3, TRACE_ID_LEN = 32 };

#define FIELD(name, kind)                                                                          \
    { #name, offsetof(struct log_line, name), kind }
static const struct field fields[] = {
    FIELD(request_id, TEXT),   FIELD(task_id, TEXT),
    FIELD(token, TEXT),        FIELD(run_id, TEXT),
    FIELD(traceparent, TRACE), FIELD(service, TEXT),
    FIELD(address, TEXT),      FIELD(file, TEXT),
    FIELD(topic, TEXT),        FIELD(partition, WITH_TOPIC),
    FIELD(offset, WITH_TOPIC), FIELD(method, TEXT),
    FIELD(path, TEXT),         FIELD(code, TEXT),
    FIELD(error, TEXT),        FIELD(detail, TEXT),
    FIELD(text, TEXT),         FIELD(status, NUMBER),
    FIELD(count, NUMBER),      FIELD(refused, NUMBER),
    FIELD(ms, NUMBER),         FIELD(pid, NUMBER),
    FIELD(signal, NUMBER),
};

void log_setup(const char *component, enum log_format format, enum log_level least) {
    setup.component = component;
    setup.format = format;
    setup.least = least;
}

bool log_enabled(enum log_level level) {
    return level >= setup.least;
}

static void put_name(struct buf *buf, const char *name) {
    buf_str(buf, setup.format == LOG_JSON ? ",\"" : " ");
    buf_str(buf, name);
    buf_str(buf, setup.format == LOG_JSON ? "\":" : "=");
}

static void put_trace(struct buf *buf, const char *traceparent) {
    if (!traceparent || !*traceparent)
        return;
    put_name(buf, "trace_id");
    buf_json(buf, traceparent + TRACE_ID_AT, TRACE_ID_LEN);
}

static void put_field(struct buf *buf, const struct field *field, const struct log_line *line) {
    const void *at = (const char *)line + field->at;
    if (field->kind == TEXT) {
        const char *text = *(const char *const *)at;
        if (!text)
            return;
        put_name(buf, field->name);
        buf_json_str(buf, text);
        return;
    }
    if (field->kind == TRACE) {
        put_trace(buf, *(const char *const *)at);
        return;
    }
    int64_t number = *(const int64_t *)at;
    if (field->kind == NUMBER ? number == 0 : line->topic == NULL)
        return;
    put_name(buf, field->name);
    buf_int(buf, number);
}

static void put_head(struct buf *buf, const struct log_line *line) {
    char ts[CLOCK_TEXT_CAP];
    clock_to_text(clock_now_ms(), ts);
    const char *level = level_names[line->level];
    if (setup.format == LOG_JSON) {
        const char *const parts[] = {
            "{\"ts\":\"",    ts,           "\",\"level\":\"", level, "\",\"component\":\"",
            setup.component, "\",\"msg\":"};
        for (size_t i = 0; i < LH_COUNT(parts); i++)
            buf_str(buf, parts[i]);
        buf_json_str(buf, line->msg);
    } else {
        buf_printf(buf, "%s %-7s %s: %s", ts, level, setup.component, line->msg);
    }
}

bool log_write(int fd, const char *data, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        len -= (size_t)n;
    }
    return true;
}

void log_put(const struct log_line *line, struct buf *to) {
    size_t end = to->len + LOG_LINE_MAX_BYTES - 64;
    put_head(to, line);
    for (size_t i = 0; i < LH_COUNT(fields); i++) {
        struct buf before = *to;
        put_field(to, &fields[i], line);
        if (to->rc == RC_TOO_LARGE || to->len > end) {
            to->len = before.len; /* an over-long field is left out, the line stays whole */
            to->rc = RC_OK;
        }
    }
    buf_str(to, setup.format == LOG_JSON ? "}\n" : "\n");
}

void log_emit(const struct log_line *line) {
    if (!log_enabled(line->level))
        return;
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, LOG_LINE_MAX_BYTES);
    log_put(line, &buf);
    if (buf_rc(&buf) == RC_OK)
        (void)log_write(STDERR_FILENO, buf.data, buf.len);
}

static bool from_name(const char *const *names, size_t n, const char *name, unsigned *ret) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0) {
            *ret = (unsigned)i;
            return true;
        }
    return false;
}

bool log_level_from_name(const char *name, enum log_level *ret) {
    return from_name(level_names, LH_COUNT(level_names), name, ret);
}

bool log_format_from_name(const char *name, enum log_format *ret) {
    return from_name(format_names, LH_COUNT(format_names), name, ret);
}
