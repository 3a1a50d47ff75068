/* test_notify.c: what the service manager reads from its socket, a real one. */
#include "base/mem.h"
#include "base/notify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/notifyXXXXXX", path[64], abstract[64];
static int at_path, at_abstract;

static int listen_at(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(name);
    memcpy(address.sun_path, name, len);
    if (name[0] == '@')
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
                     0);
    return fd;
}

static int open_sockets(void **state) {
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/s", folder);
    snprintf(abstract, sizeof abstract, "@%s", folder);
    at_path = listen_at(path);
    at_abstract = listen_at(abstract);
    return 0;
}

static int close_sockets(void **state) {
    (void)state;
    close(at_path);
    close(at_abstract);
    unlink(path);
    return rmdir(folder);
}

static int forget(void **state) {
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return 0;
}

/* The next datagram; "" where there is none. */
static const char *heard(int fd) {
    static char text[1024];
    ssize_t n = recv(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void each_word_is_a_datagram(void **state) {
    (void)state;
    setenv("NOTIFY_SOCKET", path, 1);
    notify_ready("serving at http://127.0.0.1:1");
    assert_string_equal(heard(at_path), "READY=1\nSTATUS=serving at http://127.0.0.1:1\n");
    notify_stopping(45000);
    assert_string_equal(heard(at_path),
                        "STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=45000000\n");
    notify_reloading();
    long long usec = 0;
    assert_int_equal(sscanf(heard(at_path), "RELOADING=1\nMONOTONIC_USEC=%lld\n", &usec), 1);
    assert_true(usec > 0);
    assert_string_equal(heard(at_path), "");
}

static void an_abstract_socket_is_found(void **state) {
    (void)state;
    setenv("NOTIFY_SOCKET", abstract, 1);
    notify_ready("x");
    assert_string_equal(heard(at_abstract), "READY=1\nSTATUS=x\n");
}

static void nobody_is_told_where_nobody_asks(void **state) {
    (void)state;
    char longer[sizeof(struct sockaddr_un) + 10];
    memset(longer, 'x', sizeof longer);
    longer[0] = '/';
    longer[sizeof longer - 1] = '\0';
    const char *names[] = {NULL, "", "relative", "/", "/no/such/socket", longer};
    for (size_t i = 0; i < LH_COUNT(names); i++) {
        if (names[i])
            setenv("NOTIFY_SOCKET", names[i], 1);
        notify_ready("x");
        notify_stopping(1);
    }
    assert_string_equal(heard(at_path), "");
}

static void a_full_socket_blocks_nobody(void **state) {
    (void)state;
    setenv("NOTIFY_SOCKET", path, 1);
    for (int i = 0; i < 10000; i++) /* far more than a socket holds */
        notify_ready("x");
    while (*heard(at_path))
        ;
}

static void the_watchdog_is_asked_for_by_pid(void **state) {
    (void)state;
    char own[32];
    snprintf(own, sizeof own, "%d", (int)getpid());
    static const struct {
        const char *usec, *pid;
        int64_t ms;
    } cases[] = {{NULL, NULL, 0},      {"30000000", NULL, 30000}, {"30000000", "own", 30000},
                 {"30000000", "1", 0}, {"-5", NULL, 0},           {"5x", NULL, 0},
                 {"", NULL, 0}};
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        forget(NULL);
        if (cases[i].usec)
            setenv("WATCHDOG_USEC", cases[i].usec, 1);
        if (cases[i].pid)
            setenv("WATCHDOG_PID", strcmp(cases[i].pid, "own") == 0 ? own : cases[i].pid, 1);
        assert_int_equal(notify_watchdog_ms(), cases[i].ms);
    }
}

static void end_loop(evutil_socket_t fd, short what, void *arg) {
    (void)what;
    char text[64];
    if (recv(fd, text, sizeof text, MSG_PEEK) > 0)
        event_base_loopbreak(arg);
}

static void the_loop_gives_signs_of_life(void **state) {
    (void)state;
    struct event_base *base = event_base_new();
    struct event *watchdog = NULL;
    struct error err;
    assert_int_equal(notify_watchdog(base, &watchdog, &err), RC_OK);
    assert_null(watchdog); /* nobody asks */
    setenv("NOTIFY_SOCKET", path, 1);
    setenv("WATCHDOG_USEC", "40000", 1);
    assert_int_equal(notify_watchdog(base, &watchdog, &err), RC_OK);
    assert_non_null(watchdog);
    struct event *reader = event_new(base, at_path, EV_READ | EV_PERSIST, end_loop, base);
    event_add(reader, NULL);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(event_base_dispatch(base), 0);
        assert_string_equal(heard(at_path), "WATCHDOG=1\n");
    }
    event_free(reader);
    event_free(watchdog);
    event_base_free(base);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(each_word_is_a_datagram, forget),
        cmocka_unit_test_teardown(an_abstract_socket_is_found, forget),
        cmocka_unit_test_teardown(nobody_is_told_where_nobody_asks, forget),
        cmocka_unit_test_teardown(a_full_socket_blocks_nobody, forget),
        cmocka_unit_test_teardown(the_watchdog_is_asked_for_by_pid, forget),
        cmocka_unit_test_teardown(the_loop_gives_signs_of_life, forget),
    };
    return cmocka_run_group_tests(tests, open_sockets, close_sockets);
}
