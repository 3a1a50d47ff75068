/* The pages of a process: requests whole and in pieces, what is refused, connections that are slow
 * or too many. */
#include "base/http_pages.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct {
    struct event_base *base;
    struct http_pages *pages;
    char path[64], authorization[64];
    unsigned n_requests;
    size_t body_len;
} at;

static void on_request(const char *path, const char *authorization, struct http_page *page,
                       void *arg) {
    (void)arg;
    at.n_requests++;
    mem_copy_str(at.path, sizeof at.path, path);
    mem_copy_str(at.authorization, sizeof at.authorization, authorization ? authorization : "-");
    for (size_t i = 0; i < at.body_len; i++)
        buf_char(&page->body, 'x');
    buf_str(&page->body, "hello");
}

static int setup(void **state) {
    (void)state;
    struct error err;
    memset(&at, 0, sizeof at);
    at.base = event_base_new();
    assert_int_equal(http_pages_create(at.base, "127.0.0.1:0", on_request, NULL, &at.pages, &err),
                     RC_OK);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    http_pages_destroy(at.pages);
    event_base_free(at.base);
    return 0;
}

static int dial(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const char *port = strrchr(http_pages_address(at.pages), ':');
    to.sin_port = htons((uint16_t)strtol(port + 1, NULL, 10));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void say(int fd, const char *text, size_t len) {
    assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), len);
}

/* Turns the loop until the other side closes; the answer. */
static const char *hear(int fd) {
    static char answer[1 << 20];
    size_t len = 0;
    for (int turn = 0; turn < 100000; turn++) {
        event_base_loop(at.base, EVLOOP_NONBLOCK);
        ssize_t n = recv(fd, answer + len, sizeof answer - 1 - len, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            break;
        if (n > 0)
            len += (size_t)n;
        else
            usleep(100);
    }
    answer[len] = '\0';
    close(fd);
    return answer;
}

static const char *ask(const char *text) {
    int fd = dial();
    say(fd, text, strlen(text));
    return hear(fd);
}

static void a_request_is_answered_and_the_connection_closed(void **state) {
    (void)state;
    const char *answer =
        ask("GET /metrics?a=b HTTP/1.1\r\nHost: x\r\nauthorization:  Bearer t\r\n\r\n");
    assert_string_equal(answer, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                                "Content-Length: 5\r\nConnection: close\r\n"
                                "Cache-Control: no-store\r\n\r\nhello");
    assert_string_equal(at.path, "/metrics");
    assert_string_equal(at.authorization, "Bearer t");
    (void)ask("GET / HTTP/1.0\r\n\r\n");
    assert_string_equal(at.path, "/");
    assert_string_equal(at.authorization, "-");
}

static void pieces_make_a_request(void **state) {
    (void)state;
    static const char text[] = "GET /a HTTP/1.1\r\nAuthorization: t\r\n\r\n";
    int fd = dial();
    for (size_t i = 0; i < sizeof text - 1; i++) {
        say(fd, &text[i], 1);
        event_base_loop(at.base, EVLOOP_NONBLOCK);
    }
    assert_non_null(strstr(hear(fd), "200 OK"));
    assert_string_equal(at.authorization, "t");
    assert_int_equal(at.n_requests, 1);
}

static void head_has_no_body(void **state) {
    (void)state;
    const char *answer = ask("HEAD /a HTTP/1.1\r\n\r\n");
    assert_non_null(strstr(answer, "Content-Length: 5\r\n"));
    assert_null(strstr(answer, "hello"));
}

static void what_is_no_request_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *status;
    } rows[] = {
        {"\r\n\r\n", "400"},
        {"GET\r\n\r\n", "400"},
        {"GET /\r\n\r\n", "400"},
        {"GET a HTTP/1.1\r\n\r\n", "400"},
        {"GET / HTTP/2.0\r\n\r\n", "400"},
        {"GET / HTTP/1.11\r\n\r\n", "400"},
        {"GET / HTTP/1.\r\n\r\n", "400"},
        {"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "405"},
        {"get / HTTP/1.1\r\n\r\n", "405"},
    };
    for (size_t i = 0; i < LH_COUNT(rows); i++) {
        const char *answer = ask(rows[i].text);
        if (strncmp(answer, "HTTP/1.1 ", 9) != 0 || strncmp(answer + 9, rows[i].status, 3) != 0)
            fail_msg("%s: %s", rows[i].text, answer);
    }
    assert_int_equal(at.n_requests, 0);
}

static void a_head_that_is_too_long_is_refused(void **state) {
    (void)state;
    static char text[20000];
    memset(text, 'a', sizeof text);
    memcpy(text, "GET / HTTP/1.1\r\nX: ", 19);
    int fd = dial();
    say(fd, text, sizeof text);
    assert_non_null(strstr(hear(fd), "HTTP/1.1 431"));
    assert_int_equal(at.n_requests, 0);
}

static void a_nul_hides_nothing(void **state) {
    (void)state;
    static const char text[] = "GET /a HTTP/1.1\r\nX: \0\r\nAuthorization: t\r\n\r\n";
    int fd = dial();
    say(fd, text, sizeof text - 1);
    (void)hear(fd);
    assert_true(at.n_requests == 0 || strcmp(at.authorization, "-") == 0);
}

static void a_large_page_arrives_whole(void **state) {
    (void)state;
    at.body_len = 700000;
    const char *answer = ask("GET / HTTP/1.1\r\n\r\n");
    assert_int_equal(strlen(strstr(answer, "\r\n\r\n") + 4), 700005);
}

static void more_connections_than_fit_wait(void **state) {
    (void)state;
    int fds[PAGES_CONNECTIONS + 4];
    for (size_t i = 0; i < LH_COUNT(fds); i++) {
        fds[i] = dial();
        event_base_loop(at.base, EVLOOP_NONBLOCK);
    }
    for (size_t i = LH_COUNT(fds); i-- > 0;)
        say(fds[i], "GET / HTTP/1.1\r\n\r\n", 18);
    for (size_t i = 0; i < LH_COUNT(fds); i++)
        assert_non_null(strstr(hear(fds[i]), "200 OK"));
    assert_int_equal(at.n_requests, LH_COUNT(fds));
}

static void a_client_that_goes_is_forgotten(void **state) {
    (void)state;
    for (int i = 0; i < PAGES_CONNECTIONS * 2; i++) {
        int fd = dial();
        say(fd, "GET / HT", 8);
        event_base_loop(at.base, EVLOOP_NONBLOCK);
        close(fd);
    }
    assert_non_null(strstr(ask("GET / HTTP/1.1\r\n\r\n"), "200 OK"));
    (void)dial(); /* one is open when all is destroyed */
    event_base_loop(at.base, EVLOOP_NONBLOCK);
}

static void an_address_that_cannot_be_had_is_named(void **state) {
    (void)state;
    struct http_pages *pages;
    struct error err;
    const char *taken = http_pages_address(at.pages) + strlen("http://");
    assert_int_equal(http_pages_create(at.base, taken, on_request, NULL, &pages, &err), RC_IO);
    assert_non_null(strstr(err.text, taken));
    assert_int_equal(http_pages_create(at.base, "nonsense", on_request, NULL, &pages, &err), RC_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_request_is_answered_and_the_connection_closed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(pieces_make_a_request, setup, teardown),
        cmocka_unit_test_setup_teardown(head_has_no_body, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_request_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_head_that_is_too_long_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_nul_hides_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_large_page_arrives_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(more_connections_than_fit_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(a_client_that_goes_is_forgotten, setup, teardown),
        cmocka_unit_test_setup_teardown(an_address_that_cannot_be_had_is_named, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
