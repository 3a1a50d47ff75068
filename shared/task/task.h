/* task.h: the task as the stores keep it and the operations change it.
 *
 *   create ──> ready ──delivered──> waiting ──claim──> running ──finish──> finished
 *                │ held, producing     ▲ │                ├─────fail────> failed
 *                │                     │ └─expire, cancel─│────────────────>│
 *                │                     └─retry, lost, back┘                 │
 *                └────start────────────┴──────────────start─────────────────┘
 *
 * A task that no run holds may have an alarm: the next time at which something happens to it by
 * itself (a delay or backoff is over, it expires, its message is told again). One that a run holds
 * has a lease instead.
 *
 * Its last run stands in the task, with its times; when the next one begins, the record of the one
 * before is put aside (`aside`, PART_RUN).
 *
 * A task carries an outbox: whatever makes it due while a broker is used writes `outbox_pending`
 * and raises `outbox_seq` in the same change. The message goes out with that number, its delivery
 * report names it, and a report with another number than the task's changes nothing.
 */
#ifndef LH_TASK_TASK_H
#define LH_TASK_TASK_H

#include "base/ids.h"
#include "base/json.h"
#include "task/access.h"

#include <stdint.h>

/* Ids and names of documents that older programs wrote may be longer than those we make. */
enum { TASK_TEXT_CAP = 256, WORKER_ID_CAP = 129 };
enum { TASK_TIMEOUT_MAX_S = 366 * 86400 };

enum { PRIORITY_MAX = 9, PRIORITY_DEFAULT = 4 };

enum task_status {
    TASK_READY,
    TASK_WAITING,
    TASK_RUNNING,
    TASK_FINISHED,
    TASK_FAILED,
    TASK_STATUSES
};

enum task_sub {
    SUB_NONE,
    SUB_HELD,
    SUB_PRODUCING,
    SUB_QUEUED,
    SUB_CLAIMED,
    SUB_ERROR,
    SUB_STARTED,    /* running, and its run has sent a heartbeat */
    SUB_CRASH,      /* failed: its runs were lost too often */
    SUB_DELAYED,    /* waiting until due_at */
    SUB_RETRY,      /* waiting until due_at, after a failed attempt */
    SUB_CANCELLING, /* running, and its run has been told to stop */
    SUB_TIMEOUT,    /* failed, as those below */
    SUB_LIMIT,
    SUB_CANCELLED,
    SUB_EXPIRED,
    SUB_DEAD, /* its attempts are used up */
    SUB_KILL_UNCONFIRMED,
    SUB_REMOVED, /* never stored: the task is gone, and this is what its tombstone tells */
    TASK_SUBS
};

/* What the lost lease of the task's last run was counted as, while that run may still take the task
 * back. LAPSE_KILL: the run was told to stop and nobody renews its lease; lease_until is when that
 * counts as a kill that was never confirmed. */
enum task_lapse { LAPSE_NONE, LAPSE_CRASH, LAPSE_UNDELIVERED, LAPSE_KILL, TASK_LAPSES };

/* How a run ended. */
enum task_end {
    END_NONE, /* it has not */
    END_FINISHED,
    END_ERROR,
    END_TIMEOUT,
    END_LIMIT,
    END_CANCELLED,
    END_KILL_UNCONFIRMED,
    END_CRASH, /* its consumer said so */
    END_LEASE_LOST,
    END_HANDED_BACK,
    TASK_ENDS
};

enum task_retry_kind { RETRY_EXPONENTIAL, RETRY_FIXED, TASK_RETRY_KINDS };

/* How long a task waits after a failed attempt. */
struct task_retry {
    enum task_retry_kind kind;
    int64_t base_ms, max_ms;
    int64_t jitter_permille; /* the wait is longer or shorter by up to this share of itself */
};

/* When the task was made due, and what became of its message. */
struct task_queued {
    int64_t at;          /* unix ms; 0: never */
    int64_t produced_at; /* unix ms of the delivery report; 0: none */
    char *place;         /* owned, "TOPIC/PARTITION/OFFSET"; NULL: none */
};

/* The task's last run; claimed_at is 0 before the first. Times are unix ms, 0: not (yet). */
struct task_run {
    struct task_queued queued;
    int64_t claimed_at;
    int64_t started_at; /* its first heartbeat */
    int64_t output_at;  /* when the log had its first byte, or its end if that was later */
    int64_t ended_at;
    int64_t lease_ms; /* how long its lease is each time; 0: as the operation says */
    bool silent;      /* it has ended, and said that it has printed nothing */
    enum task_end end;
    char worker[WORKER_ID_CAP];
    char token[TOKEN_NAME_CAP]; /* which claimed it; "": the one that may do all */
};

enum task_error_class { ERROR_NONE, ERROR_FATAL, ERROR_RETRYABLE };

/* The slots of status_message, in the order of the base contract's document. */
enum task_message { MESSAGE_FAILED, MESSAGE_RUNNING, MESSAGE_FINISHED, TASK_MESSAGES };

/* outbox_pick_at of a message that waits for its service: it goes out when the service is resumed
 * or has room. A date far away (the end of the year 9999), so that no search for old picks finds
 * it. */
#define OUTBOX_PARKED INT64_C(253402300799999)

struct task {
    uint8_t oid[OBJECT_ID_LEN]; /* MongoDB's _id; made at create in both stores */
    char task_id[TASK_TEXT_CAP];
    char service[TASK_TEXT_CAP];
    char *source_name; /* owned, NULL reads as "" */
    enum task_status status;
    enum task_sub sub;
    char *condition; /* owned JSON text; NULL where it was not loaded */
    size_t condition_len;
    char *result; /* owned JSON text, NULL: none */
    size_t result_len;
    int64_t create_at, start_at, end_at; /* unix ms, 0: not yet */
    char *message[TASK_MESSAGES];        /* owned, NULL: not set */
    enum task_error_class error_class;
    char *error_text;      /* owned, NULL: none */
    char run_id[UUID_CAP]; /* the current or last run; "" for a module of the base contract */
    int64_t attempt;       /* numbers runs; 0 before the first claim, never reused */
    int64_t lease_until;   /* unix ms; the run must renew it before; 0: no lease */
    bool beaten;           /* the run has sent a heartbeat */
    int64_t crashes;       /* runs that were lost after their first heartbeat, or said so */
    int64_t undelivered;   /* runs that were lost before it */
    enum task_lapse lapse; /* run_id's lease ran out and nothing has happened since */
    int64_t stored_at;     /* unix ms when the store took it */

    /* what its creator asked for */
    int64_t priority;   /* 0 … PRIORITY_MAX, the latter runs first */
    int64_t rank;       /* claimed in this order, lower first: a time, earlier for a priority */
    int64_t expire_ms;  /* its first attempt must begin within; 0: no bound */
    int64_t timeout_ms; /* of an attempt; 0: the module's own */
    int64_t max_attempts;
    struct task_retry retry;
    char *tags;         /* owned JSON object of strings; NULL: none */
    char *idem_key;     /* owned idempotency key; NULL: none */
    char *traceparent;  /* owned: the span that created it (base/trace.h); NULL: none */
    char *tracestate;   /* owned: what travels with it; NULL: nothing */
    uint64_t idem_hash; /* of the request that came with it */
    bool duplicate;     /* CREATE, not stored: the task of that key stood already, task_id is its */

    /* what happens to it by itself */
    int64_t due_at; /* unix ms; delayed, retry: it is queued; queued: it is told again; 0: never */
    int64_t expire_at; /* unix ms; 0: never, or its first attempt has begun */
    int64_t alarm_at;  /* the earliest of both while no run holds it; 0: none */
    int64_t deadline;  /* running: the attempt must have ended; 0: none */
    int64_t tried;     /* attempts used */

    /* a cancel */
    int64_t cancel_at;   /* unix ms; 0: nobody has cancelled it */
    int64_t grace_ms;    /* from SIGTERM to SIGKILL */
    char *cancel_reason; /* owned; NULL: none given */

    char *progress;            /* owned JSON text: the last word of its run; NULL: none */
    char claim_id[UUID_CAP];   /* of the claim_task call that gave it to its last run */
    struct task_queued queued; /* for the next run */
    struct task_run run;       /* the last one */
    char *past;                /* owned: the records of earlier runs, JSON objects between commas;
                                  NULL: none, or not loaded */
    char *aside;               /* owned: records that a change adds to them, likewise */

    int64_t outbox_seq;     /* rises with every writing of the outbox */
    bool outbox_pending;    /* a message with outbox_seq has to go out, or is out and unconfirmed */
    int64_t outbox_pick_at; /* unix ms when a process last took it to send; 0: nobody has;
                               OUTBOX_PARKED: it waits for its service */
    int64_t rev;            /* rises with every change; the guard of the MongoDB store */
    bool foreign;           /* a base-contract document that we have not changed yet */
};

/* The defaults of what a creator may ask for. */
void task_init(struct task *task);

/* Of a task that was copied as a struct: gives it texts of its own in place of the borrowed ones,
 * but for condition and result. False when out of memory: those that failed are NULL. */
bool task_own_texts(struct task *task) LH_MUST_USE;

/* Frees what the task owns and zeroes it. */
void task_finish(struct task *task);

/* Frees an array of tasks and what they own; NULL is fine. */
void tasks_free(struct task *tasks, size_t n);

const char *task_status_name(enum task_status status);
bool task_status_from_name(const char *name, enum task_status *ret);

/* NULL for SUB_NONE. */
const char *task_sub_name(enum task_sub sub);
bool task_sub_from_name(const char *name, enum task_sub *ret);

/* "crash", "undelivered"; NULL for LAPSE_NONE. */
const char *task_lapse_name(enum task_lapse lapse);
bool task_lapse_from_name(const char *name, enum task_lapse *ret);

/* "finished", "error", "lease_lost" …; NULL for END_NONE. */
const char *task_end_name(enum task_end end);
bool task_end_from_name(const char *name, enum task_end *ret);

/* "exponential", "fixed". */
const char *task_retry_name(enum task_retry_kind kind);
bool task_retry_from_name(const char *name, enum task_retry_kind *ret);

/* "fatal", "retryable"; NULL for ERROR_NONE. */
const char *task_error_class_name(enum task_error_class error_class);
bool task_error_class_from_name(const char *name, enum task_error_class *ret);

/* "failed", "running", "finished": the keys of status_message. */
const char *task_message_name(enum task_message slot);

/* The message that belongs to the task's status (status_message[status]), or NULL. Borrowed. */
const char *task_status_message(const struct task *task);

#endif
