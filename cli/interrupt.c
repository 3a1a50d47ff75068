/* interrupt.c: a flag and an eventfd that a signal handler sets. */
#include "cli/interrupt.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

static volatile sig_atomic_t seen;
static int event_fd = -1;

static void on_signal(int number) {
    (void)number;
    int saved = errno;
    static const uint64_t one = 1;
    seen = 1;
    ssize_t n = write(event_fd, &one, sizeof one);
    (void)n;
    errno = saved;
}

void interrupt_init(void) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    /* No SA_RESTART: a read from the terminal ends too. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction before;
        if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
    }
    signal(SIGPIPE, SIG_IGN);
}

bool interrupt_seen(void) {
    return seen;
}

int interrupt_fd(void) {
    return event_fd;
}
