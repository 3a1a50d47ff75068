/* notify.c: datagrams to the service manager. */
#include "base/notify.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Where to; the length of the address, 0 where there is nobody. "@name" is an abstract socket. */
static socklen_t manager(struct sockaddr_un *ret) {
    const char *path = getenv("NOTIFY_SOCKET");
    size_t len = path ? strlen(path) : 0;
    if (len < 2 || len >= sizeof ret->sun_path || (path[0] != '/' && path[0] != '@'))
        return 0;
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret->sun_path, path, len);
    if (path[0] == '@')
        ret->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

static void tell(const char *text) {
    struct sockaddr_un address;
    socklen_t len = manager(&address);
    int fd = len ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
    if (fd < 0)
        return;
    (void)!sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address, len);
    close(fd);
}

void notify_ready(const char *status) {
    char text[512];
    snprintf(text, sizeof text, "READY=1\nSTATUS=%.400s\n", status);
    tell(text);
}

void notify_reloading(void) {
    struct timespec now;
    char text[96];
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRId64 "\n",
             (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    tell(text);
}

void notify_stopping(int64_t within_ms) {
    char text[96];
    snprintf(text, sizeof text, "STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=%" PRId64 "\n",
             within_ms * 1000);
    tell(text);
}

static int64_t number_of(const char *variable) {
    const char *text = getenv(variable);
    char *end = NULL;
    long long value = text ? strtoll(text, &end, 10) : 0;
    return text && *text && !*end && value > 0 ? value : 0;
}

int64_t notify_watchdog_ms(void) {
    int64_t pid = number_of("WATCHDOG_PID");
    return pid && pid != getpid() ? 0 : number_of("WATCHDOG_USEC") / 1000;
}

static void on_turn(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what, (void)arg;
    tell("WATCHDOG=1\n");
}

enum rc notify_watchdog(struct event_base *base, struct event **ret, struct error *err) {
    int64_t ms = notify_watchdog_ms() / 2;
    if (ms == 0)
        return RC_OK;
    struct event *event = event_new(base, -1, EV_PERSIST, on_turn, NULL);
    struct timeval every = {ms / 1000, ms % 1000 * 1000};
    if (!event || event_add(event, &every) != 0) {
        if (event)
            event_free(event);
        return error_set(err, RC_NO_MEMORY, "the watchdog's timer cannot be made");
    }
    *ret = event;
    return RC_OK;
}
