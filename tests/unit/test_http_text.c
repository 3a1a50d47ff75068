/* test_http_text.c: heads of replies, the Date, error bodies. */
#include "api/http/text.h"
#include "base/clock.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static int64_t now_ms;

static int64_t told_ms(void) {
    return now_ms;
}

#define START "HTTP/1.1 %s\r\nDate: Sat, 21 Nov 2026 08:30:00 GMT\r\nX-Request-Id: id\r\n"

static const struct http_header two[] = {{"Allow", "GET, HEAD"}, {"X", "a\r\nInjected: b\x7f"}};

static const struct {
    struct http_reply reply;
    bool keep_alive, old_client;
    const char *status, *rest;
    bool stream;
} heads[] = {
    {{.status = 200, .len = 7},
     true,
     false,
     "200 OK",
     "Content-Type: application/json\r\nContent-Length: 7\r\n\r\n"},
    {{.status = 503, .content_type = "text/plain"},
     false,
     false,
     "503 Service Unavailable",
     "Content-Type: text/plain\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"},
    {{.status = 299},
     true,
     true,
     "299 ",
     "Content-Type: application/json\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"},
    {{.status = 204, .len = 7}, true, false, "204 No Content", "\r\n"},
    {{.status = 304, .len = 7}, false, true, "304 Not Modified", "Connection: close\r\n\r\n"},
    {{.status = 405, .headers = two, .n_headers = 2},
     true,
     false,
     "405 Method Not Allowed",
     "Content-Type: application/json\r\nContent-Length: 0\r\nAllow: GET, HEAD\r\n"
     "X: a  Injected: b \r\n\r\n"},
    {{.status = 200, .len = 7},
     true,
     false,
     "200 OK",
     "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
     true},
    {{.status = 200, .len = 7},
     false,
     true,
     "200 OK",
     "Content-Type: application/json\r\nConnection: close\r\n\r\n",
     true},
};

static void test_heads(void **state) {
    (void)state;
    now_ms = 1795249800999;
    struct http_date date = {0};
    for (size_t i = 0; i < LH_COUNT(heads); i++) {
        LH_CLEANUP_BUF struct buf got, expected;
        buf_init(&got, 4096);
        buf_init(&expected, 4096);
        const struct http_head head = {&heads[i].reply, "id", heads[i].keep_alive,
                                       heads[i].old_client, heads[i].stream};
        http_text_head(&got, &head, &date);
        buf_printf(&expected, START, heads[i].status);
        buf_str(&expected, heads[i].rest);
        assert_string_equal(got.data, expected.data);
    }
}

static void test_date(void **state) {
    (void)state;
    static const struct {
        int64_t at_ms;
        const char *text;
    } dates[] = {
        {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {951782399000, "Mon, 28 Feb 2000 23:59:59 GMT"},
        {951782400000, "Tue, 29 Feb 2000 00:00:00 GMT"},
    };
    struct http_date date = {0};
    for (size_t i = 0; i < LH_COUNT(dates); i++) {
        LH_CLEANUP_BUF struct buf got;
        buf_init(&got, 4096);
        now_ms = dates[i].at_ms;
        const struct http_reply reply = {.status = 200};
        http_text_head(&got, &(struct http_head){.reply = &reply, .request_id = "id"}, &date);
        assert_non_null(strstr(got.data, dates[i].text));
    }
}

static void test_error(void **state) {
    (void)state;
    LH_CLEANUP_BUF struct buf got;
    buf_init(&got, 4096);
    http_text_error(&got, RC_TOO_LARGE, "a \"b\"");
    assert_string_equal(got.data, "{\"result\":\"exception\",\"message\":\"a \\\"b\\\"\","
                                  "\"code\":\"TOO_LARGE\"}");
    buf_clear(&got);
    http_text_error(&got, RC_UNAUTHORIZED, NULL);
    assert_string_equal(got.data, "{\"result\":\"exception\",\"message\":\"Unauthorized\","
                                  "\"code\":\"UNAUTHORIZED\"}");
}

int main(void) {
    clock_inject(told_ms);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_date),
        cmocka_unit_test(test_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
