/* rc.c: the table of outcomes. */
#include "base/rc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { EXIT_SIGNAL = 130 }; /* as a shell says it of Ctrl-C */

static const struct rc_info table[RC_COUNT_] = {
    [RC_OK] = {"OK", 200, EX_OK, 0, "ok"},
    [RC_INVALID_PARAMETER] = {"INVALID_PARAMETER", 400, EX_DATAERR, 0, "Invalid parameter"},
    [RC_SERVICE_NOT_SUPPORT] = {"SERVICE_NOT_SUPPORT", 400, EX_DATAERR, 0, "service not support"},
    [RC_UNKNOWN_TASK] = {"UNKNOWN_TASK", 404, EX_NOINPUT, 0, "Invalid parameter: no such task"},
    [RC_UNAUTHORIZED] = {"UNAUTHORIZED", 401, EX_NOPERM, 0, "Unauthorized"},
    [RC_FORBIDDEN] = {"FORBIDDEN", 403, EX_NOPERM, 0, "Forbidden"},
    [RC_NOT_FOUND] = {"NOT_FOUND", 404, EX_USAGE, 0, "no such route"},
    [RC_METHOD_NOT_ALLOWED] = {"METHOD_NOT_ALLOWED", 405, EX_USAGE, 0, "method not allowed"},
    [RC_ALREADY_QUEUED] = {"ALREADY_QUEUED", 409, EX_DATAERR, 0, "the task is already queued"},
    [RC_ALREADY_CLAIMED] = {"ALREADY_CLAIMED", 409, EX_DATAERR, 0, "the task is already claimed"},
    [RC_ALREADY_FINAL] = {"ALREADY_FINAL", 409, EX_DATAERR, 0, "the task has already ended"},
    [RC_STALE_RUN] = {"STALE_RUN", 409, EX_DATAERR, 0, "another run holds the task"},
    [RC_NOT_DUE] = {"NOT_DUE", 409, EX_DATAERR, 0, "the task is not due"},
    [RC_KILL_UNCONFIRMED] = {"KILL_UNCONFIRMED", 409, EX_DATAERR, 0,
                             "processes of the task may still live: force is needed"},
    [RC_IDEMPOTENCY_CONFLICT] = {"IDEMPOTENCY_CONFLICT", 409, EX_DATAERR, 0,
                                 "the key has been used with other data"},
    [RC_TASK_RUNNING] = {"TASK_RUNNING", 409, EX_DATAERR, 0, "the task is running"},
    [RC_NOT_FINAL] = {"NOT_FINAL", 409, EX_DATAERR, 0, "the task has not ended"},
    [RC_RESULT_EXPIRED] = {"RESULT_EXPIRED", 410, EX_NOINPUT, 0,
                           "the task has been removed, and its result with it"},
    [RC_TASK_REMOVED] = {"TASK_REMOVED", 410, EX_NOINPUT, 0, "the task has been removed"},
    [RC_NOT_FINISHED] = {"NOT_FINISHED", 409, EX_TEMPFAIL, 0, "the task has not finished"},
    [RC_TASK_FAILED] = {"TASK_FAILED", 409, EX_DATAERR, 0, "the task failed"},
    [RC_TOO_MANY] = {"TOO_MANY", 400, EX_DATAERR, 0, "Invalid parameter: too many items"},
    [RC_USE_CURSOR] = {"USE_CURSOR", 400, EX_DATAERR, 0, "Invalid parameter: use a cursor"},
    [RC_OFFSET_GAP] = {"OFFSET_GAP", 400, EX_DATAERR, 0,
                       "Invalid parameter: offset is beyond the end of the stream"},
    [RC_BAD_REQUEST] = {"BAD_REQUEST", 400, EX_PROTOCOL, 0, "bad request"},
    [RC_REQUEST_TIMEOUT] = {"REQUEST_TIMEOUT", 408, EX_TEMPFAIL, 0, "the request took too long"},
    [RC_LENGTH_REQUIRED] = {"LENGTH_REQUIRED", 411, EX_PROTOCOL, 0, "Content-Length is required"},
    [RC_TOO_LARGE] = {"TOO_LARGE", 413, EX_DATAERR, 0, "the request is too large"},
    [RC_URI_TOO_LONG] = {"URI_TOO_LONG", 414, EX_PROTOCOL, 0, "the request line is too long"},
    [RC_UNSUPPORTED_MEDIA_TYPE] = {"UNSUPPORTED_MEDIA_TYPE", 415, EX_PROTOCOL, 0,
                                   "Content-Type must be application/json"},
    [RC_HEADERS_TOO_LARGE] = {"HEADERS_TOO_LARGE", 431, EX_PROTOCOL, 0,
                              "the headers are too large"},
    [RC_RATE_LIMITED] = {"RATE_LIMITED", 429, EX_TEMPFAIL, 1,
                         "the token has asked more often than it may"},
    [RC_QUEUE_FULL] = {"QUEUE_FULL", 429, EX_TEMPFAIL, 5, "the queue is full"},
    [RC_LIMIT_REACHED] = {"LIMIT_REACHED", 429, EX_TEMPFAIL, 1,
                          "as many tasks of the service run as may"},
    [RC_SERVICE_PAUSED] = {"SERVICE_PAUSED", 409, EX_TEMPFAIL, 0, "the service is paused"},
    [RC_STORE_UNAVAILABLE] = {"STORE_UNAVAILABLE", 503, EX_UNAVAILABLE, 2,
                              "the store is unavailable; nothing was stored"},
    [RC_OVERLOADED] = {"OVERLOADED", 503, EX_UNAVAILABLE, 1, "too much work at once; try again"},
    [RC_DRAINING] = {"DRAINING", 503, EX_UNAVAILABLE, 2, "the service is stopping; try again"},
    [RC_OUTCOME_UNKNOWN] = {"OUTCOME_UNKNOWN", 504, EX_TEMPFAIL, 0,
                            "the store did not answer; the change may have been made"},
    [RC_NOT_IMPLEMENTED] = {"NOT_IMPLEMENTED", 501, EX_USAGE, 0, "not implemented"},
    [RC_VERSION_NOT_SUPPORTED] = {"VERSION_NOT_SUPPORTED", 505, EX_PROTOCOL, 0,
                                  "only HTTP/1.0 and HTTP/1.1 are spoken here"},
    [RC_INTERNAL] = {"INTERNAL", 500, EX_SOFTWARE, 0, "internal error"},
    [RC_NO_MEMORY] = {"NO_MEMORY", 503, EX_OSERR, 1, "out of memory"},
    [RC_CONFIG] = {"CONFIG", 500, EX_CONFIG, 0, "the configuration is wrong"},
    [RC_LOCKED] = {"LOCKED", 500, EX_TEMPFAIL, 0, "another process owns the file"},
    [RC_IO] = {"IO", 500, EX_IOERR, 0, "input/output error"},
    [RC_BROKER_UNAVAILABLE] = {"BROKER_UNAVAILABLE", 503, EX_UNAVAILABLE, 2,
                               "the message broker is unavailable"},
    [RC_UNDELIVERABLE] = {"UNDELIVERABLE", 500, EX_SOFTWARE, 0,
                          "the message broker can never take this message"},
    [RC_USAGE] = {"USAGE", 400, EX_USAGE, 0, "wrong usage"},
    [RC_WARNING] = {"WARNING", 500, EXIT_FAILURE, 0, "something needs attention"},
    [RC_INTERRUPTED] = {"INTERRUPTED", 500, EXIT_SIGNAL, 0, "interrupted"},
};

const struct rc_info *rc_info(enum rc rc) {
    unsigned i = (unsigned)rc;
    return &table[i < RC_COUNT_ ? i : RC_INTERNAL];
}

enum rc rc_from_word(const char *word) {
    for (unsigned i = 0; i < RC_COUNT_; i++)
        if (strcmp(table[i].word, word) == 0)
            return (enum rc)i;
    return RC_INTERNAL;
}

enum rc error_set(struct error *err, enum rc rc, const char *format, ...) {
    if (!err)
        return rc;
    err->rc = rc;
    err->retryable = rc_info(rc)->http == 503 || rc_info(rc)->http == 429;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return rc;
}
