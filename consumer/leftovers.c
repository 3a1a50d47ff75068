/* leftovers.c: the thread that removes them: a run may have left a million files. */
#include "consumer/leftovers.h"

#include "base/log.h"
#include "consumer/launch.h"
#include "consumer/runner/scratch.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

static void *sweep(void *arg) {
    const char *base = arg;
    size_t n = scratch_sweep(base);
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
    int failed = pthread_create(&thread, NULL, sweep, (char *)launch_base());
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        log_warning(.msg = "folders of runs are not looked for", .error = strerror(failed));
    else
        pthread_detach(thread);
}
