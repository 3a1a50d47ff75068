/* test_http_vet.c: what is accepted and refused of a request's head; every case also byte by byte.
 */
#include "api/http/vet.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct http_limits limits = {
    .header_max_bytes = 512, .body_max_bytes = 1000, .headers_max = 8};

/* Reads `bytes` in steps, from fresh memory of the exact size each time, as a moving buffer would
 * give it. */
static enum http_vet_state read_in_steps(struct http_vet *vet, const char *bytes, size_t len,
                                         size_t step) {
    enum http_vet_state state = HTTP_VET_MORE;
    *vet = (struct http_vet){0};
    for (size_t have = 0; state == HTTP_VET_MORE && have < len;) {
        have = have + step < len ? have + step : len;
        LH_FREE char *copy = mem_dup(bytes, have);
        assert_non_null(copy);
        state = http_vet_head(vet, copy, have, &limits);
    }
    return state;
}

/* --- refused --------------------------------------------------------------------------------- */

#define GET "GET / HTTP/1.1\r\n"
#define POST "POST / HTTP/1.1\r\nHost: a\r\n"
#define HOST "Host: a\r\n"
#define TEXT(s) s, sizeof s - 1

static const struct refused {
    const char *bytes;
    size_t len;
    enum rc rc;
} refused[] = {
    /* the request line */
    {TEXT("GET /\r\n"), RC_BAD_REQUEST},
    {TEXT("GET  / HTTP/1.1\r\n"), RC_BAD_REQUEST},
    {TEXT("GET /  HTTP/1.1\r\n"), RC_BAD_REQUEST},
    {TEXT("GET / HTTP/1.1 \r\n"), RC_BAD_REQUEST},
    {TEXT(" GET / HTTP/1.1\r\n"), RC_BAD_REQUEST},
    {TEXT("GET\t/ HTTP/1.1\r\n"), RC_BAD_REQUEST},
    {TEXT("G(T / HTTP/1.1\r\n"), RC_BAD_REQUEST},
    {TEXT("GET / http/1.1\r\n"), RC_BAD_REQUEST},
    {TEXT("GET / HTTP/1.10\r\n"), RC_BAD_REQUEST},
    {TEXT("GET / HTTP/11\r\n"), RC_BAD_REQUEST},
    {TEXT("GET / HTTP/a.b\r\n"), RC_BAD_REQUEST},
    {TEXT("GET / HTTP/0.9\r\n"), RC_VERSION_NOT_SUPPORTED},
    {TEXT("GET / HTTP/2.0\r\n"), RC_VERSION_NOT_SUPPORTED},
    {TEXT("GET / HTTP/9.9\r\n"), RC_VERSION_NOT_SUPPORTED},
    {TEXT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), RC_VERSION_NOT_SUPPORTED},
    {TEXT("GET /a#b HTTP/1.1\r\n"), RC_BAD_REQUEST},
    {TEXT("GET /\xc3\xa4 HTTP/1.1\r\n"), RC_BAD_REQUEST},
    {TEXT("GET /a\0b HTTP/1.1\r\n"), RC_BAD_REQUEST},
    {TEXT("GET a HTTP/1.1\r\n"), RC_BAD_REQUEST},
    {TEXT("OPTIONS * HTTP/1.1\r\n"), RC_BAD_REQUEST},
    {TEXT("CONNECT a:80 HTTP/1.1\r\n"), RC_BAD_REQUEST},
    {TEXT("CONNECT /a HTTP/1.1\r\n"), RC_BAD_REQUEST},
    {TEXT("GET http:///a HTTP/1.1\r\n"), RC_BAD_REQUEST},
    {TEXT("GET http://u@a/ HTTP/1.1\r\n"), RC_BAD_REQUEST},
    {TEXT("GET http://a:x/ HTTP/1.1\r\n"), RC_BAD_REQUEST},
    {TEXT("GET ftp://a/ HTTP/1.1\r\n"), RC_BAD_REQUEST},
    /* ends of lines, bytes */
    {TEXT("GET / HTTP/1.1\nHost: a\n\n"), RC_BAD_REQUEST},
    {TEXT("GET / HTTP/1.1\r\nHost: a\n\r\n"), RC_BAD_REQUEST},
    {TEXT("GET / HTTP/1.1\rHost: a\r\n"), RC_BAD_REQUEST},
    {TEXT("\n"), RC_BAD_REQUEST},
    {TEXT("\r\r\n"), RC_BAD_REQUEST},
    {TEXT("\x16\x03\x01\x02"), RC_BAD_REQUEST},
    {TEXT(GET HOST "Authorization: Bear\0er x\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(GET HOST "A: \x7f\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(GET HOST "A: b\r\r\n\r\n"), RC_BAD_REQUEST},
    /* header lines */
    {TEXT(GET "Host\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(GET ": a\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(GET "Host : a\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(GET " Host: a\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(GET HOST "A: b\r\n c\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(GET HOST "A: b\r\n\tc\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(GET HOST "A(: b\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(GET HOST "\xc3\xa4: b\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(GET "\r\n"), RC_BAD_REQUEST},
    {TEXT(GET HOST HOST "\r\n"), RC_BAD_REQUEST},
    {TEXT("GET / HTTP/1.0\r\n" HOST HOST "\r\n"), RC_BAD_REQUEST},
    {TEXT(GET "Host: a b\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(GET "Host: a/b\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(GET "Host: u@a\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(GET "Host: a:b\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(GET "Host: a, b\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(GET "Host: [::1\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(GET "Host: [::1]x\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(GET HOST "Authorization: a\r\nauthorization: b\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(GET HOST "Content-Type: a\r\nContent-Type: a\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(GET HOST "Idempotency-Key: a\r\nIdempotency-Key: a\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(GET HOST "Expect: 200-ok\r\n\r\n"), RC_BAD_REQUEST},
    /* framing */
    {TEXT(POST "\r\n"), RC_LENGTH_REQUIRED},
    {TEXT(POST "Content-Length:\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(POST "Content-Length: -1\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(POST "Content-Length: +1\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(POST "Content-Length: 0x1\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(POST "Content-Length: 3, 3\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(POST "Content-Length: 3 3\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(POST "Content-Length: 3\r\nContent-Length: 3\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(POST "Content-Length: 3\r\nContent-Length: 4\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(POST "Content-Length : 3\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(POST "Content-Length: 1001\r\n\r\n"), RC_TOO_LARGE},
    {TEXT(POST "Content-Length: 18446744073709551616\r\n\r\n"), RC_TOO_LARGE},
    {TEXT(POST "Content-Length: 99999999999999999999999999\r\n\r\n"), RC_TOO_LARGE},
    {TEXT(POST "Transfer-Encoding: chunked\r\n\r\n"), RC_LENGTH_REQUIRED},
    {TEXT(POST "Transfer-Encoding: CHUNKED \r\n\r\n"), RC_LENGTH_REQUIRED},
    {TEXT(POST "Transfer-Encoding: gzip, chunked\r\n\r\n"), RC_NOT_IMPLEMENTED},
    {TEXT(POST "Transfer-Encoding: chunked, chunked\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(POST "Transfer-Encoding: chunked, gzip\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(POST "Transfer-Encoding: gzip\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(POST "Transfer-Encoding:\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(POST "Transfer-Encoding: xchunked\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(POST "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(POST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), RC_BAD_REQUEST},
    {TEXT(GET HOST "Transfer-Encoding: chunked\r\n\r\n"), RC_LENGTH_REQUIRED},
    /* amounts: 8 lines, 512 bytes */
    {TEXT(GET HOST "a:1\r\na:2\r\na:3\r\na:4\r\na:5\r\na:6\r\na:7\r\na:8\r\n"),
     RC_HEADERS_TOO_LARGE},
};

static void test_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(refused); i++)
        for (size_t step = 1; step <= refused[i].len; step = step < 3 ? step + 1 : step * 8) {
            struct http_vet vet;
            enum http_vet_state got = read_in_steps(&vet, refused[i].bytes, refused[i].len, step);
            if (got != HTTP_VET_REFUSED || vet.rc != refused[i].rc)
                fail_msg("case %zu, step %zu: state %d, %s: %s", i, step, got,
                         rc_info(vet.rc)->word, refused[i].bytes);
        }
}

/* --- accepted -------------------------------------------------------------------------------- */

static const struct accepted {
    const char *bytes;
    const char *method, *path;
    size_t content_length;
    bool keep_alive, expect_continue;
} accepted[] = {
    {GET HOST "\r\n", "GET", "/", 0, true, false},
    {"\r\n\r\n" GET HOST "\r\n", "GET", "/", 0, true, false},
    {"GET /a/b?c=d?e HTTP/1.1\r\nHost: a:80\r\n\r\n", "GET", "/a/b", 0, true, false},
    {"HEAD //..%2f%00 HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "HEAD", "//..%2f%00", 0, true, false},
    {"FOO /x HTTP/1.1\r\nhOST:a\r\n\r\n", "FOO", "/x", 0, true, false},
    {"get /x HTTP/1.1\r\nHost:\r\n\r\n", "get", "/x", 0, true, false},
    {"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS", "/", 0, true, false},
    {"GET http://a:80/x?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/x", 0, true, false},
    {"GET HTTPS://a HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "", 0, true, false},
    {"GET http://[::1]?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "", 0, true, false},
    {"GET / HTTP/1.9\r\nHost: a\r\n\r\n", "GET", "/", 0, true, false},
    {"GET / HTTP/1.0\r\n\r\n", "GET", "/", 0, false, false},
    {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET", "/", 0, true, false},
    {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "GET", "/", 0, false, false},
    {GET HOST "Connection: CLOSE\r\n\r\n", "GET", "/", 0, false, false},
    {GET HOST "Connection: TE , close\r\n\r\n", "GET", "/", 0, false, false},
    {GET HOST "Connection: TE\r\nConnection: close\r\n\r\n", "GET", "/", 0, false, false},
    {GET HOST "Connection: closed\r\n\r\n", "GET", "/", 0, true, false},
    {POST "Content-Length: 0\r\n\r\n", "POST", "/", 0, true, false},
    {POST "Content-Length:\t 1000 \r\n\r\n", "POST", "/", 1000, true, false},
    {POST "content-length: 0000000000000000000000003\r\n\r\n", "POST", "/", 3, true, false},
    {POST "Content-Length: 3\r\nExpect: 100-Continue\r\n\r\n", "POST", "/", 3, true, true},
    {"POST / HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n", "POST", "/", 3, false,
     false},
    {GET HOST "Content-Length: 3\r\n\r\n", "GET", "/", 3, true, false},
    {"PUT / HTTP/1.1\r\n" HOST "\r\n", "PUT", "/", 0, true, false},
    {GET HOST "X: caf\xe9 \xc3\xa9\t!\r\nEmpty:\r\n\r\n", "GET", "/", 0, true, false},
};

static bool span_is(const char *bytes, struct http_span span, const char *text) {
    return span.len == strlen(text) && memcmp(bytes + span.at, text, span.len) == 0;
}

static void test_accepted(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(accepted); i++) {
        const struct accepted *a = &accepted[i];
        size_t len = strlen(a->bytes);
        for (size_t step = 1; step <= len; step = step < 3 ? step + 1 : step * 8) {
            struct http_vet vet;
            if (read_in_steps(&vet, a->bytes, len, step) != HTTP_VET_OK)
                fail_msg("case %zu, step %zu: %s: %s", i, step, rc_info(vet.rc)->word, vet.text);
            assert_int_equal(vet.head_len, len);
            assert_true(span_is(a->bytes, vet.method, a->method));
            assert_true(span_is(a->bytes, vet.path, a->path));
            assert_int_equal(vet.content_length, a->content_length);
            assert_int_equal(vet.keep_alive, a->keep_alive);
            assert_int_equal(vet.expect_continue, a->expect_continue);
        }
    }
}

/* The body and the next message are not looked at. */
static void test_head_ends(void **state) {
    (void)state;
    static const char bytes[] = POST "Content-Length: 2\r\n\r\n\0\nGET";
    struct http_vet vet = {0};
    assert_int_equal(http_vet_head(&vet, bytes, sizeof bytes - 1, &limits), HTTP_VET_OK);
    assert_int_equal(vet.head_len, sizeof bytes - 1 - 5);
}

static void test_unfinished(void **state) {
    (void)state;
    static const char bytes[] = POST "Content-Length: 2\r\n\r\n";
    for (size_t len = 0; len < sizeof bytes - 1; len++) {
        struct http_vet vet = {0};
        assert_int_equal(http_vet_head(&vet, bytes, len, &limits), HTTP_VET_MORE);
    }
}

static void test_headers(void **state) {
    (void)state;
    static const char bytes[] = GET HOST "A:  b c \t\r\nB:\r\n\r\n";
    static const char *const expected[] = {"Host", "a", "A", "b c", "B", ""};
    struct http_vet vet = {0};
    assert_int_equal(http_vet_head(&vet, bytes, sizeof bytes - 1, &limits), HTTP_VET_OK);
    struct http_span rest = vet.headers, name, value;
    size_t n = 0;
    for (; http_vet_next(bytes, &rest, &name, &value); n += 2) {
        assert_true(n < LH_COUNT(expected));
        assert_true(span_is(bytes, name, expected[n]));
        assert_true(span_is(bytes, value, expected[n + 1]));
    }
    assert_int_equal(n, LH_COUNT(expected));
}

/* --- amounts --------------------------------------------------------------------------------- */

/* A request of exactly `len` bytes whose target or whose header is filled up. */
static void fill(char *to, size_t len, bool in_target) {
    static const char head[] = "GET /", version[] = " HTTP/1.1\r\n", rest[] = "Host: a\r\n\r\n",
                      line[] = "A: ";
    size_t fixed =
        sizeof head + sizeof version + sizeof rest - 3 + (in_target ? 0 : sizeof line + 1);
    char filling[1024] = {0};
    memset(filling, 'x', len - fixed);
    snprintf(to, len + 1, "%s%s%s%s%s%s%s", head, in_target ? filling : "", version,
             in_target ? "" : line, in_target ? "" : filling, in_target ? "" : "\r\n", rest);
}

static void test_amounts(void **state) {
    (void)state;
    char bytes[2048];
    struct http_vet vet;
    for (int in_target = 0; in_target < 2; in_target++) {
        fill(bytes, 512, in_target);
        assert_int_equal(strlen(bytes), 512);
        assert_int_equal(read_in_steps(&vet, bytes, 512, 7), HTTP_VET_OK);
        fill(bytes, 513, in_target);
        assert_int_equal(read_in_steps(&vet, bytes, 513, 7), HTTP_VET_REFUSED);
        assert_int_equal(vet.rc, RC_HEADERS_TOO_LARGE);
    }
    fill(bytes, 900, true);
    assert_int_equal(read_in_steps(&vet, bytes, 900, 900), HTTP_VET_REFUSED);
    assert_int_equal(vet.rc, RC_URI_TOO_LONG);
}

static void test_knows_head_early(void **state) {
    (void)state;
    static const char bytes[] = "HEAD / HTTP/1.1\r\nHost\r\n";
    struct http_vet vet = {0};
    assert_int_equal(http_vet_head(&vet, bytes, sizeof bytes - 1, &limits), HTTP_VET_REFUSED);
    assert_true(vet.is_head);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),          cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_head_ends),        cmocka_unit_test(test_unfinished),
        cmocka_unit_test(test_headers),          cmocka_unit_test(test_amounts),
        cmocka_unit_test(test_knows_head_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
