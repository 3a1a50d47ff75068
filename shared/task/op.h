/* op.h: an operation is one change to one or more tasks: inputs, an outcome, outputs.
 *
 * A handler builds an op, the executor gathers those that wait and hands them to store_apply(),
 * which decides each by lifecycle_apply() on the task as it stands and makes all of them durable
 * together. Operations on one task take effect in the order in which they were queued.
 */
#ifndef LH_TASK_OP_H
#define LH_TASK_OP_H

#include "task/access.h"
#include "task/run_log.h"
#include "task/service.h"

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
    OP_CANCEL,        /* stop it, wherever it is */
    OP_ALARM,         /* alarm_at has come */
    OP_WORKER,        /* a consumer has been seen; no task is concerned */
    OP_SERVICE,       /* a service is paused, resumed or limited; no task is concerned */
    OP_REMOVE,        /* a final task goes; a tombstone tells of it */
    OP_FORGET,        /* old tombstones go, up to max; no task is concerned */
    OP_PICK,          /* this process sends the pending message */
    OP_DELIVERED,     /* the broker has it */
    OP_UNDELIVERABLE, /* the broker can never take it */
    OP_LOG,           /* what a run printed */
    OP_OUTPUT,        /* the first of it has reached the log */
    OP_KINDS
};

struct op {
    enum op_kind kind;
    bool broker;    /* messages go through a broker: what becomes due is written to the outbox */
    int64_t now_ms; /* the API's clock, set by the executor when the batch begins */
    const struct service_rules *rules; /* what is paused and limited, set by the executor when the
                                          batch begins; NULL: nothing; borrowed */
    const struct task_access *access;  /* whose word it is; NULL: one that may do all; borrowed */
    const char *request_id;            /* for log lines: whose op it is; NULL: nobody's; borrowed */

    char task_id[TASK_TEXT_CAP]; /* all but CREATE, TAKE, WORKER and SERVICE */
    bool has_oid;                /* oid is known: the store may look the task up by it */
    uint8_t oid[OBJECT_ID_LEN];

    char claim_id[UUID_CAP]; /* TAKE: "" or the caller's name of this call: made again it gets the
                                tasks that it claimed and whose runs still hold them, if any */
    char run_id[UUID_CAP];   /* of the run that speaks; "" for a module of the base contract; LAPSE:
                                of the run whose lease ran out */
    int64_t attempt;         /* that the run says it is; 0: it does not say */
    int64_t lease_ms;        /* CLAIM, TAKE, HEARTBEAT, LAPSE: how long the lease is of a run whose
                                claim asked for none */
    int64_t asked_lease_ms;  /* TAKE: how long the leases of its runs are; 0: lease_ms */
    int64_t guard_ms;   /* CLAIM without a run_id: how long it holds the task where neither the task
                           nor   the claim has a timeout; 0: for ever */
    int64_t timeout_ms; /* CLAIM, TAKE: of the attempt, where the task has none; 0: none */
    int64_t kill_max_ms; /* CANCEL, LAPSE: how long a kill may stay unconfirmed */
    int64_t grace_ms;    /* CANCEL */
    int64_t requeue_ms;  /* DELIVERED: how long the task may stay queued before it is told again; 0:
                            for ever */
    bool again;          /* ALARM: the queued task is told again, though its alarm has not come */
    bool force;          /* START: also where a kill was never confirmed */
    enum task_end end;   /* FAIL: why; END_NONE: an error */
    int64_t before_ms; /* REMOVE: only if it ended by then; 0: whenever. FORGET: those of tasks that
                          were removed by then */
    int64_t max_crashes; /* HAND_BACK, LAPSE: as many lost runs fail the task */
    bool crash;          /* HAND_BACK: counts as a crash */
    bool silent;         /* FINISH, FAIL, HAND_BACK: the run has printed nothing */
    char *message;       /* CLAIM, FINISH, FAIL: status_message, or NULL; CANCEL: reason; owned */
    char worker_id[WORKER_ID_CAP]; /* WORKER; CLAIM, TAKE: who claims; HEARTBEAT: who speaks; or ""
                                    */
    char worker_token[TOKEN_NAME_CAP]; /* WORKER: of the token that says so; "": of the one that may
                                          do all */
    char *value; /* FINISH: result or NULL; EDIT: condition; WORKER: its description; JSON text.
                    LOG: raw bytes, NULL: none. Owned */
    size_t value_len;
    char *progress; /* CLAIM, HEARTBEAT, FINISH, FAIL, HAND_BACK: JSON text, or NULL; owned */
    enum task_error_class error_class; /* FAIL */
    char *error_text;                  /* FAIL, UNDELIVERABLE; owned */
    char *place;                       /* DELIVERED: where the message lies; owned, or NULL */

    char **services; /* TAKE: owned array of owned names */
    size_t n_services;
    int64_t *timeouts_ms; /* TAKE: of an attempt of each of the services, 0: none; owned, or NULL */
    size_t max;           /* TAKE: most tasks; FORGET: most tombstones */
    int64_t running;      /* CLAIM, TAKE: how many tasks of the task's service run, counted by the
                              store where a rule limits them */
    struct service_rule service; /* SERVICE: its name and what becomes of it */
    unsigned service_parts;      /* SERVICE: which of it (a set of enum service_part) */
    int64_t outbox_seq;   /* PICK, DELIVERED, UNDELIVERABLE: the number that the message carries */
    int64_t pick_void_ms; /* PICK: an earlier pick is void after so long */

    enum run_stream stream; /* LOG, as are those below (struct run_log_piece) */
    int64_t log_offset, log_skipped, log_cap;
    bool log_close;

    /* outcome */
    int64_t commit_began_us, commit_ended_us; /* clock_mono_us() of its batch, set by the executor
                                               */
    enum rc rc;
    unsigned parts; /* of the one task that the op names: what it changed (a set of enum task_part);
                       0: nothing, it was said before */
    char text[192]; /* what stands, for people; "" where rc_info()->text says enough */

    /* CREATE: in and out, the new tasks. TAKE: out, those claimed. LOG, WORKER: none. The others:
     * out, one task as it stands afterwards (also when refused, if it exists). Owned. */
    struct task *tasks;
    size_t n_tasks;
    enum rc *task_rc; /* CREATE: outcome of each; owned */
    size_t forgotten; /* FORGET: how many tombstones went */
    int64_t log_end;  /* LOG: RC_OK, RC_OFFSET_GAP: where the stream goes on */
};

/* A zeroed op on the heap, or NULL when out of memory. */
struct op *op_create(enum op_kind kind);

/* The same, of the task with this id and _id. */
struct op *op_create_for(enum op_kind kind, const char *task_id, const uint8_t oid[OBJECT_ID_LEN]);

/* Frees the op and all that it owns; NULL is fine. */
void op_destroy(struct op *op);

/* Moves what the op holds into a new one, leaving it empty; NULL (and nothing moved) when out of
 * memory. */
struct op *op_move(struct op *op);

/* The timeout of an attempt of the service's tasks that the claim names; 0: none. */
int64_t op_timeout_ms(const struct op *op, const char *service);

/* True where the op is decided by lifecycle_apply() on the one task that it names. */
bool op_is_of_task(enum op_kind kind);

const char *op_kind_name(enum op_kind kind);

/* True where the op's output needs the condition: CLAIM, TAKE, and, where messages go through a
 * broker, what may queue a task or tell it again. */
bool op_needs_condition(const struct op *op);

/* True for CLAIM, FINISH, FAIL: no run gets a task that it has had before, and each may say its
 * last word again. */
bool op_needs_past(enum op_kind kind);

/* True for FINISH: a final report that comes again is compared with the result on record. */
bool op_needs_result(enum op_kind kind);

#endif
