/* leftovers.c: the thread that removes them: a run may have left a million files. */
#include "consumer/leftovers.h"

#include "base/log.h"
#include "consumer/runner/group.h"
#include "consumer/runner/scratch.h"
#include "consumer/slot/launch.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

static void *sweep(void *arg) {
    (void)arg;
    static char home[PATH_MAX];
    const char *base = launch_base();
    size_t n = group_find_home(home) ? held_sweep(home, group_clear) : 0;
    if (n > 0)
        log_info(.msg = "cgroups of runs cleared that were killed with their consumer",
                 .file = home, .count = (int64_t)n);
    n = held_sweep(base, scratch_remove);
    if (n > 0)
        log_info(.msg = "folders of runs removed that were killed with their consumer",
                 .file = base, .count = (int64_t)n);
    return NULL;
}

void leftovers_remove(void) {
    sigset_t every, before;
    pthread_t thread;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before); /* the loop's thread takes them all */
    int failed = pthread_create(&thread, NULL, sweep, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        log_warning(.msg = "what killed runs have left is not looked for",
                    .error = strerror(failed));
    else
        pthread_detach(thread);
}
