/* supervisor.c: spawns longhaul-runner and speaks with it. */
#include "consumer/slot/supervisor.h"

#include "base/mem.h"
#include "consumer/runner/tree.h"
#include "consumer/slot/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CLOSE_MS = 2000 }; /* how long supervisor_close() waits */

static struct supervisor *running;

static int set_actions(posix_spawn_file_actions_t *actions, int socket) {
    int failed = posix_spawn_file_actions_adddup2(actions, socket, RUNNER_SOCKET);
    if (!failed)
        failed = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDWR, 0);
    if (!failed)
        failed = posix_spawn_file_actions_adddup2(actions, 0, 1);
    return failed ? failed : posix_spawn_file_actions_addclosefrom_np(actions, RUNNER_SOCKET + 1);
}

/* A session of its own, so that a terminal's Ctrl-C reaches the consumer alone. */
static int set_attributes(posix_spawnattr_t *attributes) {
    sigset_t every, none;
    sigfillset(&every);
    sigemptyset(&none);
    int failed = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF |
                                                          POSIX_SPAWN_SETSIGMASK);
    if (!failed)
        failed = posix_spawnattr_setsigdefault(attributes, &every);
    return failed ? failed : posix_spawnattr_setsigmask(attributes, &none);
}

/* Starts the program at `path` with `socket`, and with nothing of our environment but one word: it
 * holds no secret. */
static int spawn(const char *path, int socket, pid_t *ret_pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    const char *word = getenv("LONGHAUL_CGROUP");
    char no_cgroup[] = "LONGHAUL_CGROUP=off", protocol[16];
    char *args[] = {"longhaul-runner", protocol, NULL};
    snprintf(protocol, sizeof protocol, "%d", RUNNER_PROTOCOL);
    char *env[] = {word && strcmp(word, "off") == 0 ? no_cgroup : NULL, NULL};
    int failed = posix_spawn_file_actions_init(&actions);
    if (failed)
        return failed;
    failed = posix_spawnattr_init(&attributes);
    if (!failed) {
        failed = set_actions(&actions, socket);
        if (!failed)
            failed = set_attributes(&attributes);
        if (!failed)
            failed = posix_spawn(ret_pid, path, &actions, &attributes, args, env);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return failed;
}

enum rc supervisor_start(struct supervisor *supervisor, struct error *err) {
    char path[PATH_MAX];
    int pair[2];
    pid_t pid;
    if (!helper_find("runner", path))
        return error_set(err, RC_IO, "longhaul-runner is not installed");
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return error_set(err, RC_IO, "cannot start a supervisor: %s", strerror(errno));
    int failed = spawn(path, pair[1], &pid);
    close(pair[1]);
    if (failed) {
        close(pair[0]);
        return error_set(err, RC_IO, "cannot start %s: %s", path, strerror(failed));
    }
    *supervisor = (struct supervisor){.pid = pid, .socket = pair[0], .next = running};
    running = supervisor;
    return RC_OK;
}

static void forget(struct supervisor *supervisor) {
    struct supervisor **at = &running;
    while (*at && *at != supervisor)
        at = &(*at)->next;
    if (*at)
        *at = supervisor->next;
    close(supervisor->socket);
    *supervisor = (struct supervisor){.socket = -1};
}

static uint32_t pack_texts(char *const *texts, struct buf *to) {
    uint32_t n = 0;
    for (; texts[n]; n++)
        buf_append(to, texts[n], strlen(texts[n]) + 1);
    return n;
}

enum rc supervisor_pack(const struct launch *launch, struct buf *to, struct error *err) {
    const char *base = launch_base(), *shown = launch->shown ? launch->shown : "";
    struct runner_order head = {.kind = ORDER_RUN,
                                .grace_ms = launch->grace_ms,
                                .times = launch->times,
                                .limits = launch->limits,
                                .identity = launch->identity};
    buf_append(to, &head, sizeof head);
    buf_append(to, launch->program, strlen(launch->program) + 1);
    buf_append(to, base, strlen(base) + 1);
    buf_append(to, shown, strlen(shown) + 1);
    head.n_args = pack_texts(launch->args, to);
    head.n_env = pack_texts(launch->env, to);
    if (buf_rc(to) == RC_TOO_LARGE)
        return error_set(err, RC_TOO_LARGE, "command and environment are larger than %d bytes",
                         RUNNER_ORDER_MAX);
    if (buf_rc(to) != RC_OK)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    memcpy(to->data, &head, sizeof head);
    return RC_OK;
}

enum rc supervisor_run(struct supervisor *supervisor, const struct buf *order,
                       const int streams[RUNNER_STREAMS], struct error *err) {
    union {
        char bytes[CMSG_SPACE(sizeof(int) * RUNNER_STREAMS)];
        struct cmsghdr align;
    } control = {0};
    struct iovec part = {order->data, order->len};
    struct msghdr head = {.msg_iov = &part,
                          .msg_iovlen = 1,
                          .msg_control = &control,
                          .msg_controllen = sizeof control};
    struct cmsghdr *item = CMSG_FIRSTHDR(&head);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(sizeof(int) * RUNNER_STREAMS);
    memcpy(CMSG_DATA(item), streams, sizeof(int) * RUNNER_STREAMS);
    if (sendmsg(supervisor->socket, &head, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return error_set(err, RC_IO, "the supervisor does not take orders: %s", strerror(errno));
    return RC_OK;
}

/* A failure means that the runner is gone, which supervisor_note() tells. */
static void tell(struct supervisor *supervisor, const struct runner_order *order) {
    (void)!send(supervisor->socket, order, sizeof *order, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void supervisor_stop(struct supervisor *supervisor, uint32_t grace_ms) {
    tell(supervisor, &(struct runner_order){.kind = ORDER_STOP, .grace_ms = grace_ms});
}

void supervisor_times(struct supervisor *supervisor, const struct runner_times *times) {
    tell(supervisor, &(struct runner_order){.kind = ORDER_TIMES, .times = *times});
}

int supervisor_note(struct supervisor *supervisor, struct runner_note *ret) {
    ssize_t n = recv(supervisor->socket, ret, sizeof *ret, MSG_DONTWAIT);
    if (n == (ssize_t)sizeof *ret)
        return 1;
    if (n == (ssize_t)sizeof supervisor->speaks)
        memcpy(&supervisor->speaks, ret, sizeof supervisor->speaks);
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

void supervisor_close(struct supervisor *supervisor) {
    if (!supervisor->pid)
        return;
    pid_t pid = supervisor->pid;
    forget(supervisor);
    int watch = pidfd_open(pid, 0);
    if (watch >= 0) {
        struct pollfd wait = {.fd = watch, .events = POLLIN};
        poll(&wait, 1, CLOSE_MS);
        close(watch);
    }
    waitpid(pid, NULL, WNOHANG);
}

bool supervisor_bury(struct supervisor *supervisor, char *text, size_t cap) {
    struct runner_note note;
    int status = 0;
    kill(supervisor->pid, SIGKILL); /* it has closed its socket and may still be on its way out */
    while (waitpid(supervisor->pid, &status, 0) < 0 && errno == EINTR)
        ;
    while (supervisor_note(supervisor, &note) > 0)
        ;
    int32_t speaks = supervisor->speaks;
    forget(supervisor);
    if (speaks)
        snprintf(text, cap,
                 "it speaks protocol %d and this consumer %d: another version has been installed, "
                 "restart the consumer",
                 (int)speaks, RUNNER_PROTOCOL);
    else if (WIFSIGNALED(status))
        snprintf(text, cap, "killed by signal %d", WTERMSIG(status));
    else
        snprintf(text, cap, "exit status %d", WEXITSTATUS(status));
    return speaks;
}

static bool is_runner(pid_t pid, void *arg) {
    (void)arg;
    const struct supervisor *at = running;
    while (at && at->pid != pid)
        at = at->next;
    return at;
}

size_t supervisor_sweep(void) {
    size_t alive = tree_signal(getpid(), SIGKILL, is_runner, NULL);
    siginfo_t info = {0};
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0 &&
           !is_runner(info.si_pid, NULL)) {
        waitpid(info.si_pid, NULL, WNOHANG);
        info.si_pid = 0;
    }
    return alive;
}
