/* test_base.c: the lowest layer: outcomes, buffers, UTF-8, clock, ids, JSON, log lines. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* -- rc -- */

static void every_outcome_has_a_whole_row(void **state) {
    (void)state;
    for (int i = 0; i < RC_COUNT_; i++) {
        const struct rc_info *row = rc_info((enum rc)i);
        assert_non_null(row->word);
        assert_non_null(row->text);
        assert_in_range(row->http, 200, 599);
        bool own = i == RC_WARNING || i == RC_INTERRUPTED; /* no word of sysexits.h */
        assert_true(own || row->exit == 0 || (row->exit >= 64 && row->exit <= 78));
        assert_true((row->exit == 0) == (i == RC_OK));
        assert_int_equal(rc_from_word(row->word), i); /* so no word stands twice */
        bool busy = row->http == 429 || row->http == 503;
        assert_true(busy == (row->retry_after_s > 0));
    }
    assert_ptr_equal(rc_info((enum rc)9999), rc_info(RC_INTERNAL));
    assert_ptr_equal(rc_info((enum rc) - 1), rc_info(RC_INTERNAL));
    assert_int_equal(rc_from_word("NO_SUCH_WORD"), RC_INTERNAL);
}

static void error_set_fills_and_returns(void **state) {
    (void)state;
    struct error err;
    assert_int_equal(error_set(&err, RC_OVERLOADED, "%d of %s", 3, "them"), RC_OVERLOADED);
    assert_int_equal(err.rc, RC_OVERLOADED);
    assert_true(err.retryable);
    assert_string_equal(err.text, "3 of them");
    assert_int_equal(error_set(NULL, RC_IO, "nobody asks"), RC_IO);
    char text[2000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    (void)error_set(&err, RC_IO, "%s", text);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_false(err.retryable);
}

/* -- buf -- */

static void a_buffer_stops_at_its_maximum(void **state) {
    (void)state;
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, 10);
    buf_str(&buf, "0123456789");
    assert_int_equal(buf_rc(&buf), RC_OK);
    buf_char(&buf, 'x');
    assert_int_equal(buf_rc(&buf), RC_TOO_LARGE);
    assert_string_equal(buf.data, "0123456789");
    assert_null(buf_take(&buf, NULL));
    assert_int_equal(buf_rc(&buf), RC_OK); /* finished: empty again */
    buf_int(&buf, -42);
    buf_printf(&buf, "%s%d", "a", 7);
    size_t len;
    LH_FREE char *text = buf_take(&buf, &len);
    assert_int_equal(len, 5);
    assert_string_equal(text, "-42a7");
    LH_FREE char *nothing = buf_take(&buf, &len);
    assert_int_equal(len, 0);
    assert_string_equal(nothing, "");
}

/* Against the C library, in buffers that have room and in such as have not. */
static void numbers_are_printed(void **state) {
    (void)state;
    static const int64_t numbers[] = {0, 7, -1, 10, 1234567890123, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < LH_COUNT(numbers); i++)
        for (size_t before = 0; before < 300; before++) {
            char expect[360];
            LH_CLEANUP_BUF struct buf buf;
            buf_init(&buf, 1000);
            for (size_t n = 0; n < before; n++)
                buf_char(&buf, 'x');
            buf_int(&buf, numbers[i]);
            buf_printf(&buf, "|%lld|%s", (long long)numbers[i], "");
            snprintf(expect, sizeof expect, "%lld|%lld|", (long long)numbers[i],
                     (long long)numbers[i]);
            assert_int_equal(buf_rc(&buf), RC_OK);
            assert_string_equal(buf.data + before, expect);
            assert_int_equal(buf.len, before + strlen(expect));
        }
}

static void what_does_not_fit_is_not_printed(void **state) {
    (void)state;
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, 8);
    buf_printf(&buf, "%s", "1234");
    buf_printf(&buf, "%s", "56789");
    assert_int_equal(buf_rc(&buf), RC_TOO_LARGE);
    assert_string_equal(buf.data, "1234");
    assert_int_equal(buf.len, 4);
}

static void a_buffer_grows(void **state) {
    (void)state;
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, 1 << 20);
    for (int i = 0; i < 100000; i++)
        buf_char(&buf, (char)('a' + i % 26));
    assert_int_equal(buf.len, 100000);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(buf.data[i], 'a' + i % 26);
    buf_clear(&buf);
    assert_string_equal(buf.data, "");
}

static void json_strings_are_escaped(void **state) {
    (void)state;
    static const struct {
        const char *in;
        size_t len;
        const char *out;
    } rows[] = {
        {"plain", 5, "\"plain\""},
        {"", 0, "\"\""},
        {"a\"b\\c/", 6, "\"a\\\"b\\\\c/\""},
        {"\n\r\t\b\f\x01\x1f\x7f", 8, "\"\\n\\r\\t\\b\\f\\u0001\\u001f\x7f\""},
        {"a\0b", 3, "\"a\\u0000b\""},
        {"\xf0\x9f\x90\x8b", 4, "\"\xf0\x9f\x90\x8b\""},
        {"x\xffy\xc3", 4, "\"x\xef\xbf\xbdy\xef\xbf\xbd\""},
        {"\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""}, /* a lone surrogate */
    };
    for (size_t i = 0; i < LH_COUNT(rows); i++) {
        LH_CLEANUP_BUF struct buf buf;
        buf_init(&buf, 1000);
        buf_json(&buf, rows[i].in, rows[i].len);
        assert_string_equal(buf.data, rows[i].out);
    }
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, 1000);
    buf_json_str(&buf, NULL);
    assert_string_equal(buf.data, "null");
}

/* -- mem, utf8 -- */

static void copies_know_their_size(void **state) {
    (void)state;
    char to[4];
    assert_true(mem_copy_str(to, sizeof to, "abc"));
    assert_string_equal(to, "abc");
    assert_false(mem_copy_str(to, sizeof to, "abcd"));
    assert_string_equal(to, "");
    LH_FREE char *copy = mem_dup("a\0b", 3);
    assert_memory_equal(copy, "a\0b", 4);
}

static void utf8_is_strict(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t want; /* of the first character; 0: not one */
    } rows[] = {
        {"a", 1},
        {"\xc2\x80", 2},
        {"\xdf\xbf", 2},
        {"\xe0\xa0\x80", 3},
        {"\xef\xbf\xbf", 3},
        {"\xf0\x90\x80\x80", 4},
        {"\xf4\x8f\xbf\xbf", 4},
        {"\x80", 0},
        {"\xc0\x80", 0},         /* overlong */
        {"\xc1\xbf", 0},         /* overlong */
        {"\xe0\x9f\xbf", 0},     /* overlong */
        {"\xf0\x8f\xbf\xbf", 0}, /* overlong */
        {"\xed\xa0\x80", 0},     /* surrogate */
        {"\xed\xbf\xbf", 0},     /* surrogate */
        {"\xf4\x90\x80\x80", 0}, /* beyond U+10FFFF */
        {"\xf5\x80\x80\x80", 0},
        {"\xc2", 0},
        {"\xe1\x80", 0},
        {"\xf1\x80\x80", 0},
        {"\xe1\x80\x41", 0},
    };
    for (size_t i = 0; i < LH_COUNT(rows); i++) {
        size_t len = strlen(rows[i].text);
        assert_int_equal(utf8_char(rows[i].text, len), rows[i].want);
        assert_int_equal(utf8_valid(rows[i].text, len), rows[i].want == len);
    }
    assert_true(utf8_valid("", 0));
}

/* -- clock, ids -- */

static void times_read_and_written(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t at_ms; /* -1: not a time */
    } rows[] = {
        {"1970-01-01T00:00:00.000Z", 0},
        {"2026-11-21T08:30:00.123Z", 1795249800123},
        {"2024-02-29T23:59:59.999Z", 1709251199999},
        {"9999-12-31T23:59:59.999Z", 253402300799999},
        {"2026-11-21T08:30:00Z", 1795249800000},
        {"2026-02-29T00:00:00.000Z", -1},
        {"2026-13-01T00:00:00.000Z", -1},
        {"2026-11-21T24:00:00.000Z", -1},
        {"2026-11-21T08:60:00.000Z", -1},
        {"2026-11-21T08:30:60.000Z", -1},
        {"2026-11-21 08:30:00.000Z", -1},
        {"2026-11-21T08:30:00.12Z", -1},
        {"2026-11-21T08:30:00.1234Z", -1},
        {"2026-11-21T08:30:00.123", -1},
        {"2026-11-21T08:30:00.123+00:00", -1},
        {"2026- 1-21T08:30:00.123Z", -1},
        {"2026-+1-21T08:30:00.123Z", -1},
        {"+026-11-21T08:30:00.123Z", -1},
        {"2026-11-21T08:30:00.+12Z", -1},
        {" 2026-11-21T08:30:00.123Z", -1},
        {"", -1},
    };
    for (size_t i = 0; i < LH_COUNT(rows); i++) {
        int64_t at_ms = -7;
        bool is_time = clock_from_text(rows[i].text, &at_ms);
        if (is_time != (rows[i].at_ms >= 0))
            fail_msg("%s is%s taken", rows[i].text, is_time ? "" : " not");
        assert_int_equal(at_ms, is_time ? rows[i].at_ms : -7);
        char text[CLOCK_TEXT_CAP];
        if (!is_time || !strchr(rows[i].text, '.'))
            continue;
        clock_to_text(at_ms, text);
        assert_string_equal(text, rows[i].text);
    }
}

static int64_t injected_ms(void) {
    return 1795249800123;
}

static void ids_rise_also_when_the_clock_stands(void **state) {
    (void)state;
    char before[UUID_CAP] = "", now[UUID_CAP];
    clock_inject(injected_ms);
    for (int i = 0; i < 10000; i++) {
        uuid_make(now);
        assert_true(uuid_valid(now));
        assert_int_equal(now[14], '7');
        assert_non_null(strchr("89ab", now[19]));
        assert_true(strcmp(before, now) < 0);
        memcpy(before, now, sizeof now);
    }
    clock_inject(NULL);
    char id[TASK_ID_CAP], name[65];
    memset(name, 's', 64);
    name[64] = '\0';
    task_id_make(name, id);
    assert_int_equal(strlen(id), TASK_ID_CAP - 1);
    assert_true(uuid_valid(id + 3 + 64 + 1));
    uint8_t one[OBJECT_ID_LEN], other[OBJECT_ID_LEN];
    object_id_make(one);
    object_id_make(other);
    assert_memory_not_equal(one, other, sizeof one);
}

static void uuids_have_one_form(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool valid;
    } rows[] = {
        {"01890000-0000-7000-8000-00000000000a", true},
        {"01890000-0000-7000-8000-00000000000A", true},
        {"01890000-0000-7000-8000-00000000000", false},
        {"01890000-0000-7000-8000-00000000000ab", false},
        {"0189000000000-7000-8000-00000000000a", false},
        {"01890000-0000-7000-8000-00000000000g", false},
        {"", false},
    };
    for (size_t i = 0; i < LH_COUNT(rows); i++)
        assert_int_equal(uuid_valid(rows[i].text), rows[i].valid);
}

/* -- json -- */

static struct json_span span_of(const char *text) {
    return (struct json_span){text, strlen(text)};
}

static void json_is_read_strictly(void **state) {
    (void)state;
    static const struct {
        const char *text;
        const char *fault; /* how the text begins; NULL: none */
    } rows[] = {
        {"{}", NULL},
        {"null", NULL},
        {"{\"a\":\"\\u0000\"}", NULL},
        {"9223372036854775807", NULL},
        {"", "body: "},
        {"{\"a\":1}x", "body: "},
        {"{\"a\":1,\"a\":2}", "a: an object has the same key twice"},
        {"{\"data\":{\"condition\":9223372036854775808}}",
         "condition: an integer is outside 64-bit signed"},
        {"{\"condition\":[1,1e400]}", "condition: a real number overflows"},
        {"{\"condition\":{\"a\\u0000b\":1}}", "condition: a key holds a NUL"},
        {"{\"condition\":\"\xff\"}", "condition: not valid UTF-8"},
        {"{\"condition\":NaN}", "condition: not JSON"},
        {"[1,]", "body: "},
        {"\xef\xbb\xbf{}", "body: "},
    };
    for (size_t i = 0; i < LH_COUNT(rows); i++) {
        json_t *root = NULL;
        struct error err = {0};
        enum rc rc = json_read(span_of(rows[i].text), &root, &err);
        assert_int_equal(rc, rows[i].fault ? RC_INVALID_PARAMETER : RC_OK);
        assert_true((root != NULL) == (rc == RC_OK));
        if (rows[i].fault && strncmp(err.text, rows[i].fault, strlen(rows[i].fault)) != 0)
            fail_msg("%s: \"%s\" does not begin with \"%s\"", rows[i].text, err.text,
                     rows[i].fault);
        json_decref(root);
    }
}

static void members_and_items_are_found(void **state) {
    (void)state;
    const char *text = " { \"a\" : 1.0 , \"b\\u0063\" : { \"x\" : [ ] } , \"\" : \"q\\\"}\" } ";
    static const struct {
        const char *name, *value;
    } rows[] = {{"a", "1.0"}, {"bc", "{ \"x\" : [ ] }"}, {"", "\"q\\\"}\""}, {"x", NULL}};
    for (size_t i = 0; i < LH_COUNT(rows); i++) {
        struct json_span span = {NULL, 0};
        assert_int_equal(json_span_member(span_of(text), rows[i].name, &span),
                         rows[i].value != NULL);
        if (rows[i].value) {
            assert_int_equal(span.len, strlen(rows[i].value));
            assert_memory_equal(span.at, rows[i].value, span.len);
        }
    }
    struct json_span rest = span_of(" [ 1 , \"a,]\" , [2,3] , {} ] "), item;
    static const char *const items[] = {"1", "\"a,]\"", "[2,3]", "{}"};
    for (size_t i = 0; i < LH_COUNT(items); i++) {
        assert_true(json_span_next(&rest, &item));
        assert_int_equal(item.len, strlen(items[i]));
        assert_memory_equal(item.at, items[i], item.len);
    }
    assert_false(json_span_next(&rest, &item));
    rest = span_of("[]");
    assert_false(json_span_next(&rest, &item));
    assert_false(json_span_member(span_of("[1]"), "a", &item));
}

static void carried_values_keep_their_bytes(void **state) {
    (void)state;
    static const struct {
        const char *in, *out; /* out NULL: refused */
    } rows[] = {
        {" { \"a\" : [ 1 , 1.0 , 1e5 , -0.0 , 0.1 ] } ", "{\"a\":[1,1.0,1e5,-0.0,0.1]}"},
        {"\" keep  \\\" this \"", "\" keep  \\\" this \""},
        {" null ", "null"},
        {"1e-400", NULL},
        {"[0.0,0e5,-0.00e-999]", "[0.0,0e5,-0.00e-999]"},
        {"5e-324", "5e-324"},
        {"{\"a b\":true,\"\":false}", "{\"a b\":true,\"\":false}"},
    };
    for (size_t i = 0; i < LH_COUNT(rows); i++) {
        LH_CLEANUP_BUF struct buf buf;
        struct error err;
        buf_init(&buf, 1000);
        enum rc rc = json_carry(span_of(rows[i].in), &buf, &err);
        assert_int_equal(rc, rows[i].out ? RC_OK : RC_INVALID_PARAMETER);
        if (rows[i].out)
            assert_string_equal(buf.data, rows[i].out);
    }
}

static void nesting_ends_at_64(void **state) {
    (void)state;
    for (int depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
        char text[2 * (JSON_DEPTH_MAX + 1)];
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        LH_CLEANUP_BUF struct buf buf;
        struct error err;
        buf_init(&buf, 1000);
        enum rc rc = json_carry((struct json_span){text, 2 * (size_t)depth}, &buf, &err);
        assert_int_equal(rc, depth == JSON_DEPTH_MAX ? RC_OK : RC_INVALID_PARAMETER);
    }
}

static void equal_values_are_equal(void **state) {
    (void)state;
    static const struct {
        const char *a, *b;
        bool equal;
    } rows[] = {
        {"{\"a\":1,\"b\":2}", "{ \"b\":2, \"a\":1 }", true},
        {"1", "1.0", false},
        {"1.0", "1.00", true},
        {"\"\\u0041\"", "\"A\"", true},
        {"[1,2]", "[2,1]", false},
        {"\"a\\u0000b\"", "\"a\\u0000c\"", false},
    };
    for (size_t i = 0; i < LH_COUNT(rows); i++)
        assert_int_equal(json_equal_text(span_of(rows[i].a), span_of(rows[i].b)), rows[i].equal);
}

/* -- log -- */

/* Emits `line` and reads what came out on stderr. */
static size_t caught(const struct log_line *line, char *to, size_t cap) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    int saved = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    log_emit(line);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    size_t len = 0;
    ssize_t n;
    while ((n = read(ends[0], to + len, cap - 1 - len)) > 0)
        len += (size_t)n;
    close(ends[0]);
    to[len] = '\0';
    return len;
}

/* The bytes behind a carried number are not the number's: a digit there would make it another one.
 */
static void a_carried_number_ends_with_its_text(void **state) {
    (void)state;
    static const char digits[] = "1e-3201e-32";
    for (size_t len = 5; len <= 6; len++) { /* 1e-32 and 1e-320 */
        struct error err;
        LH_CLEANUP_BUF struct buf buf;
        buf_init(&buf, 100);
        assert_int_equal(json_carry((struct json_span){digits, len}, &buf, &err), RC_OK);
        assert_int_equal(buf.len, len);
        LH_FREE char *alone = malloc(len); /* no NUL behind it */
        memcpy(alone, digits, len);
        assert_int_equal(json_carry((struct json_span){alone, len}, &buf, &err), RC_OK);
    }
}

static void a_log_line_is_one_json_object(void **state) {
    (void)state;
    static char out[40000], big[30000];
    memset(big, '"', sizeof big - 1);
    log_setup("test", LOG_JSON, LOG_INFO);
    size_t len = caught(&(struct log_line){.level = LOG_ERROR,
                                           .msg = "it \"failed\"\n",
                                           .task_id = "ts_\xff",
                                           .topic = "t",
                                           .count = 3,
                                           .error = big},
                        out, sizeof out);
    assert_true(len > 0 && out[len - 1] == '\n' && strchr(out, '\n') == out + len - 1);
    LH_JSON line = json_loads(out, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(line);
    assert_string_equal(json_string_value(json_object_get(line, "level")), "error");
    assert_string_equal(json_string_value(json_object_get(line, "component")), "test");
    assert_string_equal(json_string_value(json_object_get(line, "msg")), "it \"failed\"\n");
    assert_string_equal(json_string_value(json_object_get(line, "task_id")), "ts_\xef\xbf\xbd");
    assert_int_equal(json_integer_value(json_object_get(line, "count")), 3);
    assert_non_null(json_object_get(line, "offset")); /* 0, since a topic is named */
    assert_null(json_object_get(line, "error"));      /* too long for a line */
    assert_null(json_object_get(line, "service"));
    int64_t at_ms;
    assert_true(clock_from_text(json_string_value(json_object_get(line, "ts")), &at_ms));
}

static void a_log_has_levels_and_a_form_for_people(void **state) {
    (void)state;
    char out[1000];
    log_setup("test", LOG_TEXT, LOG_WARNING);
    assert_int_equal(caught(&(struct log_line){.level = LOG_INFO, .msg = "quiet"}, out, sizeof out),
                     0);
    caught(&(struct log_line){.level = LOG_WARNING, .msg = "loud", .status = 7}, out, sizeof out);
    assert_non_null(strstr(out, "warning test: loud status=7\n"));
    enum log_level level;
    enum log_format format;
    assert_true(log_level_from_name("debug", &level) && level == LOG_DEBUG);
    assert_false(log_level_from_name("loud", &level));
    assert_true(log_format_from_name("json", &format) && format == LOG_JSON);
    assert_false(log_format_from_name("", &format));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_outcome_has_a_whole_row),
        cmocka_unit_test(error_set_fills_and_returns),
        cmocka_unit_test(a_buffer_stops_at_its_maximum),
        cmocka_unit_test(a_buffer_grows),
        cmocka_unit_test(numbers_are_printed),
        cmocka_unit_test(what_does_not_fit_is_not_printed),
        cmocka_unit_test(json_strings_are_escaped),
        cmocka_unit_test(copies_know_their_size),
        cmocka_unit_test(utf8_is_strict),
        cmocka_unit_test(times_read_and_written),
        cmocka_unit_test(ids_rise_also_when_the_clock_stands),
        cmocka_unit_test(uuids_have_one_form),
        cmocka_unit_test(json_is_read_strictly),
        cmocka_unit_test(members_and_items_are_found),
        cmocka_unit_test(carried_values_keep_their_bytes),
        cmocka_unit_test(nesting_ends_at_64),
        cmocka_unit_test(equal_values_are_equal),
        cmocka_unit_test(a_carried_number_ends_with_its_text),
        cmocka_unit_test(a_log_line_is_one_json_object),
        cmocka_unit_test(a_log_has_levels_and_a_form_for_people),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
