/* rc.h: every outcome of the project, one table from code to HTTP status, stable word and exit
 * code.
 *
 * A function that can fail returns `enum rc` (RC_OK is 0) and leaves its outputs untouched when it
 * fails. A call that reaches outside the process also fills a `struct error` with a text for
 * people. The words and HTTP statuses are those of the task API (docs/api.md, "Codes").
 */
#ifndef LH_BASE_RC_H
#define LH_BASE_RC_H

#include <stdbool.h>
#include <stddef.h>

#define LH_MUST_USE __attribute__((warn_unused_result))
#define LH_PRINTF(f, a) __attribute__((format(printf, f, a)))

enum rc {
    RC_OK = 0,
    /* what a client did */
    RC_INVALID_PARAMETER,
    RC_SERVICE_NOT_SUPPORT,
    RC_UNKNOWN_TASK,
    RC_UNAUTHORIZED,
    RC_FORBIDDEN,
    RC_NOT_FOUND,
    RC_METHOD_NOT_ALLOWED,
    RC_ALREADY_QUEUED,
    RC_ALREADY_CLAIMED,
    RC_ALREADY_FINAL,
    RC_STALE_RUN,
    RC_NOT_DUE,
    RC_TASK_RUNNING,
    RC_NOT_FINAL,
    RC_RESULT_EXPIRED,
    RC_TASK_REMOVED,
    RC_KILL_UNCONFIRMED,
    RC_IDEMPOTENCY_CONFLICT,
    RC_NOT_FINISHED,
    RC_TASK_FAILED,
    RC_TOO_MANY,
    RC_USE_CURSOR,
    RC_OFFSET_GAP, /* bytes of a log before the offset are missing */
    RC_BAD_REQUEST,
    RC_REQUEST_TIMEOUT,
    RC_LENGTH_REQUIRED,
    RC_TOO_LARGE,
    RC_URI_TOO_LONG,
    RC_UNSUPPORTED_MEDIA_TYPE,
    RC_HEADERS_TOO_LARGE,
    RC_RATE_LIMITED,
    RC_QUEUE_FULL,
    RC_LIMIT_REACHED,
    RC_SERVICE_PAUSED,
    /* what happened here */
    RC_STORE_UNAVAILABLE, /* surely not stored */
    RC_OVERLOADED,
    RC_DRAINING,
    RC_OUTCOME_UNKNOWN, /* may be stored */
    RC_NOT_IMPLEMENTED,
    RC_VERSION_NOT_SUPPORTED,
    RC_INTERNAL,
    RC_NO_MEMORY,
    RC_CONFIG,             /* the configuration is wrong: exit 78 */
    RC_LOCKED,             /* another process owns the file: exit 75 */
    RC_IO,                 /* a file, socket or child process failed */
    RC_BROKER_UNAVAILABLE, /* Kafka does not answer, or refused for now */
    RC_UNDELIVERABLE,      /* Kafka can never take this message */
    RC_USAGE,              /* the command line is wrong: exit 64 */
    RC_WARNING,            /* a check found something that needs attention: exit 1 */
    RC_INTERRUPTED,        /* a signal ended what was under way: exit 130 */
    RC_COUNT_
};

struct rc_info {
    const char *word;  /* stable, e.g. "UNKNOWN_TASK" */
    int http;          /* status of the answer */
    int exit;          /* sysexits code of a program that ends with it */
    int retry_after_s; /* > 0: sent as Retry-After */
    const char *text;  /* default message for people */
};

/* The row of `rc`; an unknown value gives the row of RC_INTERNAL. Never NULL. Any thread. */
const struct rc_info *rc_info(enum rc rc);

/* The rc whose word is `word` (as an API answer carries it), or RC_INTERNAL. */
enum rc rc_from_word(const char *word);

struct error {
    enum rc rc;
    bool retryable;
    char text[512]; /* one line, for people; never holds a secret */
};

/* Fills *err (may be NULL) and returns rc, so that `return error_set(err, RC_IO, "…")` reads well.
 */
enum rc error_set(struct error *err, enum rc rc, const char *format, ...) LH_PRINTF(3, 4);

#endif
