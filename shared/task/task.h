/* task.h: the task as the stores keep it and the operations change it.
 *
 *   create ──> ready ──delivered──> waiting ──claim──> running ──finish──> finished
 *                │ held, producing     ▲                  └─────fail────> failed
 *                └────start────────────┴──────────────start──────────────────┘
 *
 * A task carries an outbox: whatever makes it due while a broker is used writes `outbox_pending`
 * and raises `outbox_seq` in the same change. The message goes out with that number, its delivery
 * report names it, and a report with another number than the task's changes nothing.
 */
#ifndef LH_TASK_TASK_H
#define LH_TASK_TASK_H

#include "base/ids.h"
#include "base/json.h"

#include <stdint.h>

/* Ids and names of documents that older programs wrote may be longer than those we make. */
enum { TASK_TEXT_CAP = 256 };

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
    SUB_STARTED, /* running, and its run has sent a heartbeat */
    SUB_CRASH,   /* failed: its runs were lost too often */
    TASK_SUBS
};

/* What the lost lease of the task's last run was counted as, while that run may still take the task
 * back. */
enum task_lapse { LAPSE_NONE, LAPSE_CRASH, LAPSE_UNDELIVERED, TASK_LAPSES };

enum task_error_class { ERROR_NONE, ERROR_FATAL, ERROR_RETRYABLE };

/* The slots of status_message, in the order of the base contract's document. */
enum task_message { MESSAGE_FAILED, MESSAGE_RUNNING, MESSAGE_FINISHED, TASK_MESSAGES };

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
    char *error_text;       /* owned, NULL: none */
    char run_id[UUID_CAP];  /* the current or last run; "" for a module of the base contract */
    int64_t attempt;        /* numbers runs; 0 before the first claim, never reused */
    int64_t lease_until;    /* unix ms; the run must renew it before; 0: no lease */
    bool beaten;            /* the run has sent a heartbeat */
    int64_t crashes;        /* runs that were lost after their first heartbeat, or said so */
    int64_t undelivered;    /* runs that were lost before it */
    enum task_lapse lapse;  /* run_id's lease ran out and nothing has happened since */
    int64_t outbox_seq;     /* rises with every writing of the outbox */
    bool outbox_pending;    /* a message with outbox_seq has to go out, or is out and unconfirmed */
    int64_t outbox_pick_at; /* unix ms when a process last took it to send; 0: nobody has */
    int64_t rev;            /* rises with every change; the guard of the MongoDB store */
    bool foreign;           /* a base-contract document that we have not changed yet */
};

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

/* "fatal", "retryable"; NULL for ERROR_NONE. */
const char *task_error_class_name(enum task_error_class error_class);
bool task_error_class_from_name(const char *name, enum task_error_class *ret);

/* "failed", "running", "finished": the keys of status_message. */
const char *task_message_name(enum task_message slot);

/* The message that belongs to the task's status (status_message[status]), or NULL. Borrowed. */
const char *task_status_message(const struct task *task);

#endif
