/* protocol.h: what a consumer and its longhaul-runner say to one another.
 *
 * They share one SOCK_SEQPACKET pair; the runner finds its end at descriptor RUNNER_SOCKET. The
 * consumer sends orders, the runner sends notes, one per packet:
 *
 *     RUN ──> STARTED ──(STOP_SOFT, STOP_HARD)──> ENDED      one run at a time
 *     RUN ──> NOT_STARTED
 *
 * ENDED means: the main process was reaped, no process of its tree is left and the scratch
 * directory is gone. A stop that finds nothing running is ignored. When the socket closes the
 * runner kills its run, cleans up and exits. Both ends are built together and run on one machine,
 * so structs travel as they lie in memory.
 */
#ifndef LH_RUNNER_PROTOCOL_H
#define LH_RUNNER_PROTOCOL_H

#include <limits.h>
#include <stdint.h>

enum {
    RUNNER_SOCKET = 3,             /* the runner's end */
    RUNNER_ORDER_MAX = 128 * 1024, /* bytes of a whole order */
    RUNNER_STREAMS = 4, /* descriptors that come with RUN: they become 0, 1, 2, 3 of the module */
};

enum runner_order_kind { ORDER_RUN = 1, ORDER_STOP_SOFT, ORDER_STOP_HARD };

/* RUN is followed by NUL-terminated texts: the program's path, the folder in which to make the
 * scratch directory, then n_args arguments and n_env entries "NAME=value". */
struct runner_order {
    uint32_t kind;
    uint32_t n_args;
    uint32_t n_env;
};

enum runner_note_kind { NOTE_STARTED = 1, NOTE_NOT_STARTED, NOTE_ENDED };

struct runner_note {
    uint32_t kind;
    int32_t
        value; /* STARTED: process id; NOT_STARTED: errno; ENDED: status as waitpid() gives it */
    char scratch[PATH_MAX]; /* STARTED: the scratch directory */
};

#endif
