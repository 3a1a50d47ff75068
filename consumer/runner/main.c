/* main.c: longhaul-runner, the supervisor of one slot: a single loop over its socket, SIGCHLD and a
 * timer.
 *
 * It is the subreaper of everything that runs in the slot, so whatever a module leaves behind
 * becomes its child: the slot is empty exactly when waitpid() knows no child any more. Signals that
 * would end it are ignored; only the closing of its socket does.
 */
#include "consumer/runner/group.h"
#include "consumer/runner/run.h"
#include "consumer/runner/scratch.h"
#include "consumer/runner/tree.h"
#include "consumer/runner/watch.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

enum {
    CLEAR_MS = 20,   /* between two looks at a tree that does not want to die */
    CLEAR_PASSES = 8 /* over the tree at one look: it may grow as fast as it is killed */
};
#define NEVER INT64_MAX

struct runner {
    int signals;  /* signalfd of SIGCHLD */
    int timer;    /* timerfd of CLOCK_BOOTTIME */
    bool closing; /* the socket is closed: clean up and exit */
    bool running; /* from STARTED to ENDED; the rest is of the run */
    pid_t main;   /* 0: reaped */
    int status;   /* of the main process, once it is reaped */
    struct runner_times times;
    struct runner_limits limits;
    int64_t watch_at_ms; /* the next look at the limits; 0: none to look after */
    uint32_t grace_ms;   /* of the deadline */
    bool stopping;       /* SIGTERM was sent */
    int64_t kill_at_ms;  /* from then on all that is left is killed */
    enum runner_why why; /* the first reason of ours */
    struct held scratch;
    struct held own_tmp; /* what holds its private /tmp; none: it has the host's */
    struct tmp tmp;
    struct held group;   /* its cgroup; none: it is found through /proc */
    char home[PATH_MAX]; /* of all its runs' cgroups; "": none */
};

static char packet[RUNNER_ORDER_MAX];

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- orders --- */

static void send_note(struct runner *runner, enum runner_note_kind kind, int value) {
    struct runner_note note = {.kind = kind, .value = value, .why = runner->why};
    memcpy(note.scratch, runner->scratch.path, sizeof note.scratch);
    memcpy(note.tmp, runner->own_tmp.path, sizeof note.tmp);
    memcpy(note.group, runner->group.path, sizeof note.group);
    if (send(RUNNER_SOCKET, &note, sizeof note, MSG_NOSIGNAL) < 0)
        runner->closing = true;
}

static int spawn(struct runner *runner, const struct run_order *order) {
    bool grouped;
    group_make(runner->home, &order->head.limits, &runner->group);
    const struct tmp *tmp = *runner->own_tmp.path ? &runner->tmp : NULL;
    int failed =
        run_spawn(order, runner->scratch.path, tmp, runner->group.lock, &runner->main, &grouped);
    if (failed || !grouped)
        held_end(&runner->group, group_remove);
    return failed;
}

static void begin_run(struct runner *runner, const struct runner_order *order) {
    runner->running = true;
    runner->stopping = false;
    runner->status = 0;
    runner->times = order->times;
    runner->limits = order->limits;
    runner->watch_at_ms = watch_needed(&order->limits) ? now_ms() + WATCH_MS : 0;
    runner->grace_ms = order->grace_ms;
    runner->kill_at_ms = NEVER;
    runner->why = WHY_NONE;
    send_note(runner, NOTE_STARTED, runner->main);
}

static void remove_folders(struct runner *runner) {
    held_end(&runner->scratch, scratch_remove);
    held_end(&runner->own_tmp, scratch_remove);
}

/* What a failure leaves, remove_folders() removes. */
static int make_folders(struct runner *runner, const struct run_order *order) {
    const struct runner_identity *identity = &order->head.identity;
    int failed = held_make(order->scratch_base, &runner->scratch);
    const char *path = runner->scratch.path;
    if (!failed && identity->changes && chown(path, identity->uid, identity->gid) != 0)
        failed = errno;
    if (failed || !identity->private_tmp)
        return failed;
    failed = held_make(order->scratch_base, &runner->own_tmp);
    return failed ? failed : tmp_prepare(&runner->tmp, runner->own_tmp.path, path, order->shown);
}

static void start_run(struct runner *runner, const struct run_order *order) {
    int failed = make_folders(runner, order);
    if (!failed)
        failed = spawn(runner, order);
    if (failed) {
        remove_folders(runner);
        send_note(runner, NOTE_NOT_STARTED, failed);
    } else {
        begin_run(runner, &order->head);
    }
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

static void stop(struct runner *runner, uint32_t grace_ms) {
    int64_t kill_at_ms = now_ms() + grace_ms;
    if (kill_at_ms < runner->kill_at_ms)
        runner->kill_at_ms = kill_at_ms;
    if (!runner->stopping && grace_ms > 0)
        tree_signal(getpid(), SIGTERM, NULL, NULL);
    runner->stopping = true;
}

static void obey(struct runner *runner, const struct runner_order *order) {
    if (!runner->running)
        return;
    if (order->kind == ORDER_STOP)
        stop(runner, order->grace_ms);
    else if (order->kind == ORDER_TIMES)
        runner->times = order->times;
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
        obey(runner, &order);
}

/* --- the run --- */

/* Reaps whatever has ended; false when there is no child left. */
static bool reap(struct runner *runner) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == runner->main) {
            runner->status = status;
            runner->main = 0;
            runner->kill_at_ms = 0;
        }
    return pid == 0;
}

static bool is_due(int64_t at_ms, int64_t now) {
    return at_ms > 0 && at_ms <= now;
}

/* Ends the run for a reason of our own. What was begun before keeps its reason. */
static void stop_because(struct runner *runner, enum runner_why why, uint32_t grace_ms) {
    if (!runner->stopping && runner->main)
        runner->why = why;
    stop(runner, grace_ms);
}

static void check_times(struct runner *runner) {
    int64_t now = now_ms();
    if (is_due(runner->times.lease_end_ms, now)) {
        runner->times.lease_end_ms = 0;
        stop_because(runner, WHY_LEASE, 0);
    }
    if (is_due(runner->times.deadline_ms, now)) {
        runner->times.deadline_ms = 0;
        stop_because(runner, WHY_DEADLINE, runner->grace_ms);
    }
}

static void look(struct runner *runner) {
    enum runner_why why = watch_check(&runner->limits, runner->group.path);
    runner->watch_at_ms = now_ms() + WATCH_MS;
    if (why != WHY_NONE)
        stop_because(runner, why, 0);
}

/* What has left the cgroup all the same is still our descendant. */
static void clear(struct runner *runner) {
    if (!group_is_empty(runner->group.path)) {
        group_kill(runner->group.path);
        return;
    }
    for (int pass = 0; pass < CLEAR_PASSES && reap(runner); pass++)
        tree_kill(getpid());
}

static void end_run(struct runner *runner) {
    if (!runner->stopping) /* a controller may have ended it before we looked */
        runner->why = group_check(runner->group.path, &runner->limits);
    remove_folders(runner);
    held_end(&runner->group, group_remove);
    runner->running = false;
    if (!runner->closing)
        send_note(runner, NOTE_ENDED, runner->status);
}

static bool is_over(struct runner *runner) {
    return !reap(runner) && group_is_empty(runner->group.path);
}

static void hold_to_limits(struct runner *runner) {
    check_times(runner);
    if (is_due(runner->watch_at_ms, now_ms()) && runner->main)
        look(runner);
    if (runner->closing)
        runner->kill_at_ms = 0;
    if (runner->kill_at_ms <= now_ms())
        clear(runner);
}

static void attend(struct runner *runner) {
    bool over = is_over(runner);
    if (!over) {
        hold_to_limits(runner);
        over = is_over(runner);
    }
    if (over)
        end_run(runner);
}

/* --- the loop --- */

static int64_t sooner(int64_t a, int64_t b) {
    return b > 0 && b < a ? b : a;
}

/* When attend() is next due without being called by a signal or an order. */
static int64_t next_due(const struct runner *runner) {
    int64_t now = now_ms();
    if (!runner->running)
        return NEVER;
    if (runner->kill_at_ms <= now)
        return now + CLEAR_MS;
    int64_t due = sooner(runner->kill_at_ms, runner->watch_at_ms);
    return sooner(sooner(due, runner->times.deadline_ms), runner->times.lease_end_ms);
}

static void set_timer(const struct runner *runner) {
    int64_t due = next_due(runner);
    struct itimerspec when = {.it_value = {0}};
    if (due != NEVER)
        when.it_value = (struct timespec){due / 1000, due % 1000 * 1000000};
    timerfd_settime(runner->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void drain(int fd) {
    char bytes[sizeof(struct signalfd_siginfo)];
    while (read(fd, bytes, sizeof bytes) > 0)
        ;
}

static void serve(struct runner *runner) {
    while (!runner->closing || runner->running) {
        struct pollfd wait[] = {{.fd = runner->signals, .events = POLLIN},
                                {.fd = runner->timer, .events = POLLIN},
                                {.fd = runner->closing ? -1 : RUNNER_SOCKET, .events = POLLIN}};
        set_timer(runner);
        if (poll(wait, 3, -1) < 0 && errno != EINTR)
            return;
        drain(runner->signals);
        drain(runner->timer);
        if (wait[2].revents)
            receive_order(runner);
        if (runner->running)
            attend(runner);
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

/* Whether the consumer speaks our protocol; else it is told which that is. */
static bool agree(const char *theirs) {
    char ours[16];
    snprintf(ours, sizeof ours, "%d", RUNNER_PROTOCOL);
    if (strcmp(theirs, ours) == 0)
        return true;
    send(RUNNER_SOCKET, &(int32_t){RUNNER_PROTOCOL}, sizeof(int32_t), MSG_NOSIGNAL);
    return false;
}

int main(int argc, char **argv) {
    static struct runner runner;
    runner.signals = set_signals();
    int type;
    socklen_t len = sizeof type;
    if (getsockopt(RUNNER_SOCKET, SOL_SOCKET, SO_TYPE, &type, &len) != 0 ||
        type != SOCK_SEQPACKET) {
        fputs("longhaul-runner is started by longhaul-consumer, not by hand\n", stderr);
        return EX_USAGE;
    }
    if (!agree(argc == 2 ? argv[1] : ""))
        return RUNNER_REFUSES;
    runner.timer = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (runner.signals < 0 || runner.timer < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
        perror("longhaul-runner");
        return EX_OSERR;
    }
    group_find_home(runner.home);
    run_hurry();
    serve(&runner);
    return 0;
}
