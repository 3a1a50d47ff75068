/* run.c: the order RUN, and the process that it starts. */
#include "consumer/runner/run.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>

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
    struct runner_order head;
    memcpy(&head, packet, sizeof head);
    char *at = (char *)packet + sizeof head;
    const char *end = packet + len;
    ret->args = ret->env = NULL;
    ret->program = next_text(&at, end);
    ret->scratch_base = ret->program ? next_text(&at, end) : NULL;
    if (ret->scratch_base)
        ret->args = next_texts(&at, end, head.n_args);
    if (ret->args)
        ret->env = next_texts(&at, end, head.n_env);
    if (ret->env && head.n_args > 0)
        return 0;
    run_order_finish(ret);
    return EPROTO;
}

void run_order_finish(struct run_order *order) {
    free(order->args);
    free(order->env);
    order->args = order->env = NULL;
}

static int set_actions(posix_spawn_file_actions_t *actions, const struct run_order *order,
                       const char *folder) {
    int failed = 0;
    for (int i = 0; !failed && i < RUNNER_STREAMS; i++)
        failed = posix_spawn_file_actions_adddup2(actions, order->streams[i], i);
    if (!failed)
        failed = posix_spawn_file_actions_addclosefrom_np(actions, RUNNER_STREAMS);
    return failed ? failed : posix_spawn_file_actions_addchdir_np(actions, folder);
}

static int set_attributes(posix_spawnattr_t *attributes) {
    sigset_t every, none;
    sigfillset(&every);
    sigemptyset(&none);
    int failed = posix_spawnattr_setflags(
        attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    if (!failed)
        failed = posix_spawnattr_setsigdefault(attributes, &every);
    return failed ? failed : posix_spawnattr_setsigmask(attributes, &none);
}

int run_spawn(const struct run_order *order, const char *folder, pid_t *ret_pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int failed = posix_spawn_file_actions_init(&actions);
    if (failed)
        return failed;
    failed = posix_spawnattr_init(&attributes);
    if (!failed) {
        failed = set_actions(&actions, order, folder);
        if (!failed)
            failed = set_attributes(&attributes);
        if (!failed)
            failed = posix_spawn(ret_pid, order->program, &actions, &attributes, order->args,
                                 order->env);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return failed;
}
