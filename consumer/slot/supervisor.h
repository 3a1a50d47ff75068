/* supervisor.h: the consumer's end of one longhaul-runner (runner/protocol.h): starting it, orders,
 * its death.
 *
 * The consumer makes itself a subreaper, so that what a dead runner leaves behind becomes its own
 * child and can be killed. It has no other children than runners. Loop thread only.
 */
#ifndef LH_CONSUMER_SUPERVISOR_H
#define LH_CONSUMER_SUPERVISOR_H

#include "consumer/runner/protocol.h"
#include "consumer/slot/launch.h"

struct supervisor {
    pid_t pid; /* 0: none runs */
    int socket;
    int32_t speaks;          /* the protocol of a runner that has refused ours; 0: it has not */
    struct supervisor *next; /* all that run, for supervisor_sweep() */
};

/* Starts longhaul-runner: found in $LONGHAUL_MODULE_DIR, beside the program (build tree) or where
 * it is installed. */
enum rc supervisor_start(struct supervisor *supervisor, struct error *err) LH_MUST_USE;

/* Builds the order RUN. RC_TOO_LARGE: command and environment have more than RUNNER_ORDER_MAX
 * bytes. */
enum rc supervisor_pack(const struct launch *launch, struct buf *to, struct error *err) LH_MUST_USE;

/* Sends a packed RUN with the descriptors that become 0–3 of the module. */
enum rc supervisor_run(struct supervisor *supervisor, const struct buf *order,
                       const int streams[RUNNER_STREAMS], struct error *err) LH_MUST_USE;

/* SIGTERM to every process of the run, SIGKILL grace_ms later; 0: SIGKILL now. */
void supervisor_stop(struct supervisor *supervisor, uint32_t grace_ms);

/* Replaces the times at which the run is ended. */
void supervisor_times(struct supervisor *supervisor, const struct runner_times *times);

/* Takes one note; 1: done, 0: none there, -1: the runner is gone. */
int supervisor_note(struct supervisor *supervisor, struct runner_note *ret);

/* Closes the socket, whereupon the runner kills its run and exits; waits for that a moment. */
void supervisor_close(struct supervisor *supervisor);

/* Reaps a runner that is gone and says in `text` how it ended. True: it speaks another protocol,
 * and so will the next one. */
bool supervisor_bury(struct supervisor *supervisor, char *text, size_t cap);

/* Kills what dead runners left behind; returns how many processes were still alive. Repeat until 0.
 */
size_t supervisor_sweep(void);

#endif
