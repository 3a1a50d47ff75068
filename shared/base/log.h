/* log.h: one line on stderr per event, JSON or text, from a fixed vocabulary of fields.
 *
 *     log_info(.msg = "ready", .address = "http://127.0.0.1:8080");
 *     log_error(.msg = "task not published", .task_id = id, .error = err.text);
 *
 * Fields that are NULL or 0 are left out (partition and offset are written where topic is). Library
 * layers do not log; the edge that handles an error logs it once. Any thread; a line is one
 * write().
 */
#ifndef LH_BASE_LOG_H
#define LH_BASE_LOG_H

#include "base/buf.h"
#include "base/rc.h"

#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };
enum log_format { LOG_JSON, LOG_TEXT };

struct log_line {
    enum log_level level;
    const char *msg; /* what happened, constant text */
    const char *request_id;
    const char *task_id;
    const char *run_id;
    const char *traceparent; /* base/trace.h; written as the trace_id in it; "" is NULL */
    const char *service;
    const char *token;   /* name of an access token */
    const char *address; /* of a listener or a peer */
    const char *file;
    const char *topic;
    int64_t partition;
    int64_t offset;
    const char *method;
    const char *path;
    const char *code;  /* word of an rc */
    const char *error; /* text for people */
    const char *detail;
    const char *text; /* somebody else's log line */
    int64_t status;   /* HTTP status, exit status */
    int64_t count;
    int64_t refused; /* of several, beside count */
    int64_t ms;
    int64_t pid;
    int64_t signal;
};

/* component is "api", "consumer" or "cli"; it must stay valid. Call once, before threads. */
void log_setup(const char *component, enum log_format format, enum log_level least);

bool log_enabled(enum log_level level);

void log_emit(const struct log_line *line);

/* Appends the line as text with its newline, whatever its level; no more than LOG_LINE_MAX_BYTES.
 */
enum { LOG_LINE_MAX_BYTES = 16384 };
void log_put(const struct log_line *line, struct buf *to);

/* Writes to a log all of what is there. False: not all of it could be written, the rest is dropped;
 * errno says why. */
bool log_write(int fd, const char *data, size_t len);

bool log_level_from_name(const char *name, enum log_level *ret);
bool log_format_from_name(const char *name, enum log_format *ret);

#define log_at(level_, ...) log_emit(&(const struct log_line){.level = (level_), __VA_ARGS__})
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_enabled(LOG_DEBUG))                                                                \
            log_at(LOG_DEBUG, __VA_ARGS__);                                                        \
    } while (0)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_warning(...) log_at(LOG_WARNING, __VA_ARGS__)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)

#endif
