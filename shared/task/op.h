/* op.h: an operation is one change to one or more tasks: inputs, an outcome, outputs.
 *
 * A handler builds an op, the executor gathers those that wait and hands them to store_apply(),
 * which decides each by lifecycle_apply() on the task as it stands and makes all of them durable
 * together. Operations on one task take effect in the order in which they were queued.
 */
#ifndef LH_TASK_OP_H
#define LH_TASK_OP_H

#include "task/task.h"

enum { WORKER_ID_CAP = 129 };

enum op_kind {
    OP_CREATE,        /* n new tasks, each with its own outcome */
    OP_CLAIM,         /* running: exactly one run gets the task */
    OP_TAKE,          /* claim up to n due tasks of some services, oldest first */
    OP_FINISH,        /* final report: finished */
    OP_FAIL,          /* final report: failed */
    OP_START,         /* ready, finished or failed: queue it (again) */
    OP_EDIT,          /* a new condition */
    OP_HEARTBEAT,     /* the run lives: its lease is renewed */
    OP_HAND_BACK,     /* the run gives the task back: queue it */
    OP_LAPSE,         /* the run's lease has run out: queue the task, or fail it at the limit */
    OP_WORKER,        /* a consumer has been seen; no task is concerned */
    OP_PICK,          /* this process sends the pending message */
    OP_DELIVERED,     /* the broker has it */
    OP_UNDELIVERABLE, /* the broker can never take it */
    OP_KINDS
};

struct op {
    enum op_kind kind;
    bool broker;    /* messages go through a broker: what becomes due is written to the outbox */
    int64_t now_ms; /* the API's clock, set by the executor when the batch begins */
    const char *request_id; /* for log lines: whose op it is; NULL: nobody's; borrowed */

    char task_id[TASK_TEXT_CAP]; /* all but CREATE, TAKE and WORKER */
    bool has_oid;                /* oid is known: the store may look the task up by it */
    uint8_t oid[OBJECT_ID_LEN];

    char run_id[UUID_CAP]; /* of the run that speaks; "" for a module of the base contract; LAPSE:
                              of the run whose lease ran out */
    int64_t lease_ms;      /* CLAIM, TAKE, HEARTBEAT: how long the lease is */
    int64_t max_crashes;   /* HAND_BACK, LAPSE: as many lost runs fail the task */
    bool crash;            /* HAND_BACK: counts as a crash */
    char *message;         /* CLAIM, FINISH, FAIL: status_message, or NULL; owned */
    char worker_id[WORKER_ID_CAP]; /* WORKER */
    char *value; /* FINISH: result or NULL; EDIT: condition; WORKER: its description; JSON text,
                    owned */
    size_t value_len;
    enum task_error_class error_class; /* FAIL */
    char *error_text;                  /* FAIL, UNDELIVERABLE; owned */

    char **services; /* TAKE: owned array of owned names */
    size_t n_services;
    size_t max;           /* TAKE: most tasks */
    int64_t max_waiting;  /* CREATE: refuse (RC_QUEUE_FULL) while the service has as many
                             ready+waiting; 0: no limit */
    int64_t outbox_seq;   /* PICK, DELIVERED, UNDELIVERABLE: the number that the message carries */
    int64_t pick_void_ms; /* PICK: an earlier pick is void after so long */

    /* outcome */
    enum rc rc;
    char text[192]; /* what stands, for people; "" where rc_info()->text says enough */

    /* CREATE: in and out, the new tasks. TAKE: out, those claimed. The others: out, one task as it
     * stands afterwards (also when refused, if it exists). Owned. */
    struct task *tasks;
    size_t n_tasks;
    enum rc *task_rc; /* CREATE: outcome of each; owned */
};

/* A zeroed op on the heap, or NULL when out of memory. */
struct op *op_create(enum op_kind kind);

/* Frees the op and all that it owns; NULL is fine. */
void op_destroy(struct op *op);

/* Moves what the op holds into a new one, leaving it empty; NULL (and nothing moved) when out of
 * memory. */
struct op *op_move(struct op *op);

const char *op_kind_name(enum op_kind kind);

/* True for the ops whose output needs the condition: CLAIM, TAKE, START, EDIT, PICK, and
 * what may queue a task again. */
bool op_needs_condition(enum op_kind kind);

/* True for FINISH: a final report that comes again is compared with the result on record. */
bool op_needs_result(enum op_kind kind);

#endif
