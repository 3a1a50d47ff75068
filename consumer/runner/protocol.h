/* protocol.h: what a consumer and its longhaul-runner say to one another.
 *
 * They share one SOCK_SEQPACKET pair; the runner finds its end at descriptor RUNNER_SOCKET. The
 * consumer sends orders, the runner sends notes, one per packet:
 *
 *     RUN ──> STARTED ──(TIMES, STOP)──> ENDED      one run at a time
 *     RUN ──> NOT_STARTED
 *
 * ENDED means: the main process was reaped, no process of its tree is left and the directories are
 * gone. It says why the runner itself has ended the run, if it has. An order that
 * finds nothing running is ignored. When the socket closes the runner kills its run, cleans up and
 * exits. Both ends are built together and run on one machine, so structs travel as they lie in
 * memory, and times are those of CLOCK_BOOTTIME, in ms.
 *
 * After an upgrade in place a consumer may still start the runner of another version. So it gives
 * RUNNER_PROTOCOL as the runner's one argument; a runner of another one says its own in a packet of
 * an int32_t, which no note is, and exits with RUNNER_REFUSES.
 */
#ifndef LH_RUNNER_PROTOCOL_H
#define LH_RUNNER_PROTOCOL_H

#include <limits.h>
#include <stdint.h>

enum {
    RUNNER_PROTOCOL = 1,           /* counted up with every change of what is in this file */
    RUNNER_REFUSES = 76,           /* exit status, EX_PROTOCOL */
    RUNNER_SOCKET = 3,             /* the runner's end */
    RUNNER_ORDER_MAX = 128 * 1024, /* bytes of a whole order */
    RUNNER_STREAMS = 4, /* descriptors that come with RUN: they become 0, 1, 2, 3 of the module */
};

enum runner_order_kind { ORDER_RUN = 1, ORDER_TIMES, ORDER_STOP };

/* When the runner ends the run without being told, also while the consumer stands still; 0: never.
 */
struct runner_times {
    int64_t deadline_ms;  /* SIGTERM, and SIGKILL grace_ms later */
    int64_t lease_end_ms; /* SIGKILL */
};

/* What a run may use; 0: as much as there is. */
struct runner_limits {
    int64_t memory_bytes; /* resident in all its processes; what they share counts once */
    int32_t nproc;        /* processes and their threads */
    int32_t nofile;       /* open files, in each process */
};

/* As whom the program runs. */
struct runner_identity {
    uint32_t uid, gid;         /* where `changes`; its only group */
    uint8_t changes;           /* another than the runner, which must be root */
    uint8_t no_new_privileges; /* no program that it starts gets more rights than it has */
    uint8_t private_tmp;       /* it has /tmp and /var/tmp of its own */
};

/* STOP: SIGTERM to every process, and SIGKILL grace_ms later; 0: SIGKILL now. A later STOP may
 * shorten the grace. TIMES replaces the times of the run.
 *
 * RUN is followed by NUL-terminated texts: the program's path, the folder in which to make the
 * scratch directory, the folder that is to be seen in a private /tmp, then n_args arguments and
 * n_env entries "NAME=value". */
struct runner_order {
    uint32_t kind;
    uint32_t grace_ms;               /* RUN: of the deadline; STOP */
    struct runner_times times;       /* RUN, TIMES */
    struct runner_limits limits;     /* RUN */
    struct runner_identity identity; /* RUN */
    uint32_t n_args;
    uint32_t n_env;
};

enum runner_note_kind { NOTE_STARTED = 1, NOTE_NOT_STARTED, NOTE_ENDED };

/* Why the runner began to end a run before anybody told it to. */
enum runner_why { WHY_NONE, WHY_DEADLINE, WHY_LEASE, WHY_MEMORY, WHY_NPROC };

struct runner_note {
    uint32_t kind;
    uint32_t why; /* ENDED: enum runner_why */
    int32_t
        value; /* STARTED: process id; NOT_STARTED: errno; ENDED: status as waitpid() gives it */
    char scratch[PATH_MAX]; /* STARTED: the scratch directory */
    char tmp[PATH_MAX];     /* STARTED: the directory of its private /tmp; "": none */
    char group[PATH_MAX];   /* STARTED: the run's cgroup; "": none */
};

#endif
