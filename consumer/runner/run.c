/* run.c: the order RUN, and the process that it starts. */
#include "consumer/runner/run.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Takes the next NUL-terminated text; NULL where the packet has no further one. */
static char *next_text(char **at, const char *end) {
    char *text = *at, *nul = memchr(text, '\0', (size_t)(end - text));
    if (!nul)
        return NULL;
    *at = nul + 1;
    return text;
}

static char **next_texts(char **at, const char *end, size_t n) {
    if (n > (size_t)(end - *at))
        return NULL;
    char **list = calloc(n + 1, sizeof *list);
    for (size_t i = 0; list && i < n; i++)
        if (!(list[i] = next_text(at, end))) {
            free(list);
            return NULL;
        }
    return list;
}

int run_order_read(const char *packet, size_t len, struct run_order *ret) {
    memcpy(&ret->head, packet, sizeof ret->head);
    char *at = (char *)packet + sizeof ret->head;
    const char *end = packet + len;
    ret->args = ret->env = NULL;
    ret->program = next_text(&at, end);
    ret->scratch_base = ret->program ? next_text(&at, end) : NULL;
    ret->shown = ret->scratch_base ? next_text(&at, end) : NULL;
    if (ret->shown)
        ret->args = next_texts(&at, end, ret->head.n_args);
    if (ret->args)
        ret->env = next_texts(&at, end, ret->head.n_env);
    if (ret->env && ret->head.n_args > 0)
        return 0;
    run_order_finish(ret);
    return EPROTO;
}

void run_order_finish(struct run_order *order) {
    free(order->args);
    free(order->env);
    order->args = order->env = NULL;
}

/* --- the new process, until it is the program: nothing in here allocates or locks --- */

/* So that the program can open its /dev/stderr as well. */
static bool give_pipe(int fd, const struct runner_identity *to) {
    struct stat found;
    return !to->changes || fstat(fd, &found) != 0 || !S_ISFIFO(found.st_mode) ||
           fchown(fd, to->uid, to->gid) == 0;
}

/* Makes the streams 0 to 3. All that the runner has open beside them is close-on-exec. */
static bool place_streams(const struct run_order *order) {
    for (int i = 0; i < RUNNER_STREAMS; i++)
        if (dup2(order->streams[i], i) < 0 || !give_pipe(i, &order->head.identity))
            return false;
    return true;
}

static bool set_signals(void) {
    sigset_t none;
    sigemptyset(&none);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    return sigprocmask(SIG_SETMASK, &none, NULL) == 0;
}

static int niceness;

void run_hurry(void) {
    niceness = getpriority(PRIO_PROCESS, 0);
    setpriority(PRIO_PROCESS, 0, -20);
}

/* Where the host allows less already, less it is. */
static bool limit_files(int32_t nofile) {
    struct rlimit limit;
    if (nofile <= 0)
        return true;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return false;
    if (limit.rlim_max > (rlim_t)nofile)
        limit.rlim_max = (rlim_t)nofile;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

/* The last thing before the program: what needs rights has been done. A consumer that is not root
 * may have been given the right to make mounts, which is no module's. */
static bool take_identity(const struct runner_identity *identity) {
    gid_t gid = identity->gid;
    if (identity->changes && (setgroups(1, &gid) != 0 || setresgid(gid, gid, gid) != 0 ||
                              setresuid(identity->uid, identity->uid, identity->uid) != 0))
        return false;
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, CAP_SYS_ADMIN, 0, 0);
    return !identity->no_new_privileges || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

/* Becomes the program, or says in `failures` why it cannot. */
static _Noreturn void become(const struct run_order *order, const char *folder,
                             const struct tmp *tmp, int failures) {
    if (place_streams(order) && (!tmp || tmp_enter(tmp)) && chdir(folder) == 0 &&
        setpgid(0, 0) == 0 && setpriority(PRIO_PROCESS, 0, niceness) == 0 &&
        limit_files(order->head.limits.nofile) && set_signals() &&
        take_identity(&order->head.identity))
        execve(order->program, order->args, order->env);
    int failed = errno;
    (void)!write(failures, &failed, sizeof failed);
    _exit(127);
}

/* --- the runner --- */

/* As fork(), but born in the cgroup: a process that moves itself makes the whole host wait. -1: not
 * here (before Linux 5.7, or forbidden). */
static pid_t fork_into(int group) {
    struct clone_args args = {
        .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)group};
    return group < 0 ? -1 : (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

/* Waits until the process is the program; 0, or the errno that it says. */
static int await_program(pid_t pid, int failures) {
    int failed;
    ssize_t n;
    while ((n = read(failures, &failed, sizeof failed)) < 0 && errno == EINTR)
        ;
    if (n != (ssize_t)sizeof failed)
        return 0;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return failed;
}

int run_spawn(const struct run_order *order, const char *folder, const struct tmp *tmp, int group,
              pid_t *ret_pid, bool *ret_grouped) {
    int failures[2];
    if (pipe2(failures, O_CLOEXEC) != 0)
        return errno;
    pid_t pid = fork_into(group);
    *ret_grouped = pid >= 0;
    if (pid < 0)
        pid = fork();
    if (pid == 0)
        become(order, folder, tmp, failures[1]);
    int failed = pid < 0 ? errno : 0;
    close(failures[1]);
    if (!failed)
        failed = await_program(pid, failures[0]);
    close(failures[0]);
    *ret_pid = pid;
    return failed;
}
