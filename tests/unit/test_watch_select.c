/* test_watch_select.c: what a watcher wants to hear of: queries, what they select, what is refused.
 */
#include "api/http/query_string.h"
#include "api/watch/select.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* A query and the JSON that it means; NULL: it is refused. */
static const struct {
    const char *query, *json;
} queries[] = {
    {"", "{}"},
    {"&&", "{}"},
    {"a=1", "{\"a\":\"1\"}"},
    {"a", "{\"a\":\"\"}"},
    {"a=", "{\"a\":\"\"}"},
    {"a=1&b=2&", "{\"a\":\"1\",\"b\":\"2\"}"},
    {"a=1&a=2&a=3", "{\"a\":[\"1\",\"2\",\"3\"]}"},
    {"a=x%20y+z", "{\"a\":\"x y z\"}"},
    {"a=b=c", "{\"a\":\"b=c\"}"},
    {"%61=%C3%BC", "{\"a\":\"\xc3\xbc\"}"},
    {"=1", NULL},
    {"a=%", NULL},
    {"a=%1", NULL},
    {"a=%1x", NULL},
    {"a=%ff", NULL},
    {"%00=1", NULL},
};

static void test_queries(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(queries); i++) {
        LH_JSON got = NULL;
        struct error err = {.text = ""};
        enum rc rc = query_string_read(queries[i].query, &got, &err);
        assert_int_equal(rc, queries[i].json ? RC_OK : RC_INVALID_PARAMETER);
        if (!queries[i].json) {
            assert_null(got);
            continue;
        }
        LH_FREE char *text = json_dumps(got, JSON_COMPACT);
        assert_string_equal(text, queries[i].json);
    }
}

/* A selection, an event, and whether it takes it. */
static const struct {
    const char *query;
    enum watch_type type;
    const char *service, *tags;
    bool takes;
} matches[] = {
    {"", WATCH_STATUS, "a", "", true},
    {"", WATCH_PROGRESS, "a", "", true},
    {"types=status", WATCH_PROGRESS, "a", "", false},
    {"types=progress", WATCH_STATUS, "a", "", false},
    {"types=progress,status", WATCH_STATUS, "a", "", true},
    {"types=progress&types=status", WATCH_STATUS, "a", "", true},
    {"service=a", WATCH_STATUS, "a", "", true},
    {"service=b", WATCH_STATUS, "a", "", false},
    {"service=b&service=a", WATCH_STATUS, "a", "", true},
    {"tag=k=v", WATCH_STATUS, "a", "", false},
    {"tag=k=v", WATCH_STATUS, "a", "x=y\0k=v\0", true},
    {"tag=k=v", WATCH_STATUS, "a", "x=y\0k=vv\0", false},
    {"tag=k=v&tag=x=y", WATCH_STATUS, "a", "x=y\0k=v\0", true},
    {"tag=k=v&tag=x=z", WATCH_STATUS, "a", "x=y\0k=v\0", false},
    {"tag=k=v&service=b", WATCH_STATUS, "a", "x=y\0k=v\0", false},
    {"tag=k%3dv=", WATCH_STATUS, "a", "k=v=\0", true},
};

static void read_query(const char *query, enum rc expected, struct watch_select *ret,
                       struct error *err) {
    LH_JSON object = NULL;
    assert_int_equal(query_string_read(query, &object, err), RC_OK);
    assert_int_equal(watch_select_read(object, ret, err), expected);
}

static void test_matches(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(matches); i++) {
        struct watch_select select;
        struct error err = {.text = ""};
        read_query(matches[i].query, RC_OK, &select, &err);
        const struct watch_event event = {
            .type = matches[i].type, .service = matches[i].service, .tags = matches[i].tags};
        assert_int_equal(watch_select_takes(&select, &event), matches[i].takes);
        watch_select_finish(&select);
    }
}

static const struct {
    const char *query, *text; /* the beginning of what is said */
} refused[] = {
    {"types=news", "types must be"},
    {"types=,status", "types must be"},
    {"tag=key", "tag must be key=value, not key"},
    {"task_id=a&task_id=b&task_id=a", "task_id must name a task once, not a"},
    {"task_id=", "task_id must be a string"},
    {"types=log", "types: log needs 1 to 16 task_ids"},
    {"tail_bytes=1x", "tail_bytes must be"},
    {"tail_bytes=99999999", "tail_bytes must be"},
};

static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(refused); i++) {
        struct watch_select select;
        struct error err = {.text = ""};
        read_query(refused[i].query, RC_INVALID_PARAMETER, &select, &err);
        assert_memory_equal(err.text, refused[i].text, strlen(refused[i].text));
        watch_select_finish(&select);
    }
}

static void test_ids_keep_their_order(void **state) {
    (void)state;
    struct watch_select select;
    struct error err = {.text = ""};
    read_query("task_id=z&task_id=a&types=log&tail_bytes=7", RC_OK, &select, &err);
    assert_int_equal(select.n_ids, 2);
    assert_string_equal(select.ids[0], "z");
    assert_string_equal(select.ids[1], "a");
    assert_int_equal(select.tail_bytes, 7);
    assert_int_equal(select.types, 1u << WATCH_LOG);
    watch_select_finish(&select);
}

static void test_tags(void **state) {
    (void)state;
    static const struct {
        const char *json, *tags;
        size_t len;
    } cases[] = {
        {NULL, "", 0},
        {"{}", "", 0},
        {"{\"a\":\"b\",\"c\":\"d=e\"}", "a=b\0c=d=e\0", 10},
        {"{\"a\":\"b\\u0000c\",\"d\":\"e\"}", "d=e\0", 4},
        {"no JSON", "", 0},
    };
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        LH_CLEANUP_BUF struct buf buf;
        buf_init(&buf, 1000);
        watch_tags_put(cases[i].json, &buf);
        assert_int_equal(buf.len, cases[i].len);
        assert_memory_equal(buf.data ? buf.data : "", cases[i].tags, cases[i].len);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queries),  cmocka_unit_test(test_matches),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_ids_keep_their_order),
        cmocka_unit_test(test_tags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
