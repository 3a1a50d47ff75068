/* main.c: longhaul-runner, the supervisor of one slot: a single loop over its socket and SIGCHLD.
 *
 * It is the subreaper of everything that runs in the slot, so whatever a module leaves behind
 * becomes its child: the slot is empty exactly when waitpid() knows no child any more. Signals that
 * would end it are ignored; only the closing of its socket does.
 */
#include "consumer/runner/run.h"
#include "consumer/runner/scratch.h"
#include "consumer/runner/tree.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

enum { CLEAR_MS = 20 }; /* between two passes over a tree that does not want to die */

struct runner {
    int signals;   /* signalfd of SIGCHLD */
    bool closing;  /* the socket is closed: clean up and exit */
    bool running;  /* from STARTED to ENDED */
    bool clearing; /* kill all that is left */
    pid_t main;
    int status; /* of the main process, once it is reaped */
    char scratch[PATH_MAX];
};

static char packet[RUNNER_ORDER_MAX];

static void send_note(struct runner *runner, enum runner_note_kind kind, int value) {
    struct runner_note note = {.kind = kind, .value = value};
    memcpy(note.scratch, runner->scratch, sizeof note.scratch);
    if (send(RUNNER_SOCKET, &note, sizeof note, MSG_NOSIGNAL) < 0)
        runner->closing = true;
}

static void start_run(struct runner *runner, struct run_order *order) {
    int failed = scratch_make(order->scratch_base, runner->scratch, sizeof runner->scratch);
    if (!failed) {
        failed = run_spawn(order, runner->scratch, &runner->main);
        if (failed)
            scratch_remove(runner->scratch);
    }
    if (failed) {
        send_note(runner, NOTE_NOT_STARTED, failed);
        return;
    }
    runner->running = true;
    runner->clearing = false;
    runner->status = 0;
    send_note(runner, NOTE_STARTED, runner->main);
}

/* Takes RUN from the packet; the streams are closed here, the module has its own. */
static void obey_run(struct runner *runner, size_t len, const int *streams, size_t n_streams) {
    struct run_order order;
    int failed = runner->running || n_streams != RUNNER_STREAMS
                     ? EPROTO
                     : run_order_read(packet, len, &order);
    if (failed) {
        send_note(runner, NOTE_NOT_STARTED, failed);
    } else {
        memcpy(order.streams, streams, sizeof order.streams);
        start_run(runner, &order);
        run_order_finish(&order);
    }
    for (size_t i = 0; i < n_streams; i++)
        close(streams[i]);
}

static void obey_stop(struct runner *runner, bool hard) {
    if (!runner->running)
        return;
    runner->clearing |= hard;
    tree_signal(getpid(), hard ? SIGKILL : SIGTERM, NULL, NULL);
}

/* Descriptors that came with a packet. */
static size_t take_streams(struct msghdr *head, int streams[RUNNER_STREAMS]) {
    struct cmsghdr *item = CMSG_FIRSTHDR(head);
    if (!item || item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS)
        return 0;
    size_t n = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(streams, CMSG_DATA(item), n * sizeof(int));
    return n;
}

static void receive_order(struct runner *runner) {
    union {
        char bytes[CMSG_SPACE(sizeof(int) * RUNNER_STREAMS)];
        struct cmsghdr align;
    } control;
    struct iovec part = {packet, sizeof packet};
    struct msghdr head = {.msg_iov = &part,
                          .msg_iovlen = 1,
                          .msg_control = &control,
                          .msg_controllen = sizeof control};
    ssize_t n = recvmsg(RUNNER_SOCKET, &head, MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EINTR)
        return;
    if (n < (ssize_t)sizeof(struct runner_order)) {
        runner->closing = true;
        return;
    }
    int streams[RUNNER_STREAMS];
    size_t n_streams = take_streams(&head, streams);
    struct runner_order order;
    memcpy(&order, packet, sizeof order);
    if (order.kind == ORDER_RUN)
        obey_run(runner, (size_t)n, streams, n_streams);
    else
        obey_stop(runner, order.kind == ORDER_STOP_HARD);
}

/* Reaps whatever has ended; false when there is no child left. */
static bool reap(struct runner *runner) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == runner->main) {
            runner->status = status;
            runner->main = 0;
            runner->clearing = true;
        }
    return pid == 0;
}

static void clear_run(struct runner *runner) {
    if (reap(runner)) {
        if (runner->clearing)
            tree_signal(getpid(), SIGKILL, NULL, NULL);
        return;
    }
    scratch_remove(runner->scratch);
    runner->running = runner->clearing = false;
    if (!runner->closing)
        send_note(runner, NOTE_ENDED, runner->status);
}

static void serve(struct runner *runner) {
    while (!runner->closing || runner->running) {
        struct pollfd wait[] = {{.fd = runner->signals, .events = POLLIN},
                                {.fd = runner->closing ? -1 : RUNNER_SOCKET, .events = POLLIN}};
        if (poll(wait, 2, runner->clearing ? CLEAR_MS : -1) < 0 && errno != EINTR)
            return;
        struct signalfd_siginfo info;
        if (wait[0].revents)
            while (read(runner->signals, &info, sizeof info) > 0)
                ;
        if (wait[1].revents)
            receive_order(runner);
        runner->clearing |= runner->closing;
        if (runner->running)
            clear_run(runner);
    }
}

/* SIGCHLD through a descriptor; what people and terminals send to stop programs is for the consumer
 * alone. */
static int set_signals(void) {
    static const int ignored[] = {SIGTERM, SIGINT,  SIGHUP,  SIGQUIT,
                                  SIGPIPE, SIGUSR1, SIGUSR2, SIGTSTP};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    if (sigprocmask(SIG_SETMASK, &child, NULL) != 0)
        return -1;
    return signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
}

int main(void) {
    struct runner runner = {.signals = set_signals()};
    int type;
    socklen_t len = sizeof type;
    if (getsockopt(RUNNER_SOCKET, SOL_SOCKET, SO_TYPE, &type, &len) != 0 ||
        type != SOCK_SEQPACKET) {
        fputs("longhaul-runner is started by longhaul-consumer, not by hand\n", stderr);
        return EX_USAGE;
    }
    if (runner.signals < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
        perror("longhaul-runner");
        return EX_OSERR;
    }
    serve(&runner);
    return 0;
}
