/* log.c: one line on stderr per event. */
#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 16384 };

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
    FIELD(request_id, TEXT),   FIELD(task_id, TEXT),  FIELD(run_id, TEXT),
    FIELD(traceparent, TRACE), FIELD(service, TEXT),  FIELD(address, TEXT),
    FIELD(file, TEXT),         FIELD(topic, TEXT),    FIELD(partition, WITH_TOPIC),
    FIELD(offset, WITH_TOPIC), FIELD(method, TEXT),   FIELD(path, TEXT),
    FIELD(code, TEXT),         FIELD(error, TEXT),    FIELD(detail, TEXT),
    FIELD(text, TEXT),         FIELD(status, NUMBER), FIELD(count, NUMBER),
    FIELD(ms, NUMBER),         FIELD(pid, NUMBER),    FIELD(signal, NUMBER),
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
    if (setup.format == LOG_JSON)
        buf_printf(buf, ",\"%s\":", name);
    else
        buf_printf(buf, " %s=", name);
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
        buf_printf(buf, "{\"ts\":\"%s\",\"level\":\"%s\",\"component\":\"%s\",\"msg\":", ts, level,
                   setup.component);
        buf_json_str(buf, line->msg);
    } else {
        buf_printf(buf, "%s %-7s %s: %s", ts, level, setup.component, line->msg);
    }
}

static void write_all(const char *data, size_t len) {
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        data += n;
        len -= (size_t)n;
    }
}

void log_emit(const struct log_line *line) {
    if (!log_enabled(line->level))
        return;
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, LINE_MAX_BYTES);
    put_head(&buf, line);
    for (size_t i = 0; i < LH_COUNT(fields); i++) {
        struct buf before = buf;
        put_field(&buf, &fields[i], line);
        if (buf.rc == RC_TOO_LARGE || buf.max - buf.len < 64) {
            buf.len = before.len; /* an over-long field is left out, the line stays whole */
            buf.rc = RC_OK;
        }
    }
    buf_str(&buf, setup.format == LOG_JSON ? "}\n" : "\n");
    if (buf_rc(&buf) == RC_OK)
        write_all(buf.data, buf.len);
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
