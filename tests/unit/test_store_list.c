/* test_store_list.c: cursors and filters of lists. */
#include "base/mem.h"
#include "store/store_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void cursors_come_back(void **state) {
    (void)state;
    uint8_t bytes[CURSOR_BYTES_MAX], back[CURSOR_BYTES_MAX];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37);
    for (size_t len = 0; len <= sizeof bytes; len += 50) {
        size_t n = 1;
        char *text = cursor_make('x', bytes, len);
        assert_non_null(text);
        assert_int_equal(strlen(text), 1 + 2 * len);
        assert_true(cursor_read(text, 'x', back, sizeof back, &n));
        assert_int_equal(n, len);
        assert_memory_equal(back, bytes, len);
        assert_false(cursor_read(text, 'y', back, sizeof back, &n));
        if (len)
            assert_false(cursor_read(text, 'x', back, len - 1, &n));
        free(text);
    }
}

static void what_is_no_cursor(void **state) {
    (void)state;
    static const char *const texts[] = {"", "s0", "s0g", "sAB", "s 0", "0s1", "s00\x80\x80", "S00"};
    uint8_t bytes[16];
    size_t n;
    for (size_t i = 0; i < LH_COUNT(texts); i++)
        if (cursor_read(texts[i], 's', bytes, sizeof bytes, &n))
            fail_msg("%s was read", texts[i]);
}

static void rest_of_a_filter(void **state) {
    (void)state;
    struct list_tag tags[] = {{"a", "1"}, {"b", ""}};
    const struct {
        struct list_filter filter;
        const char *tags;
        bool in;
    } cases[] = {
        {{.n_tags = 0}, NULL, true},
        {{.from_ms = 100}, NULL, true},
        {{.from_ms = 101}, NULL, false},
        {{.to_ms = 101}, NULL, true},
        {{.to_ms = 100}, NULL, false},
        {{.prefix = "ts_"}, NULL, true},
        {{.prefix = "ts_ab"}, NULL, false},
        {{.tags = tags, .n_tags = 1}, NULL, false},
        {{.tags = tags, .n_tags = 1}, "{\"a\":\"1\"}", true},
        {{.tags = tags, .n_tags = 1}, "{\"a\":\"2\"}", false},
        {{.tags = tags, .n_tags = 2}, "{\"a\":\"1\"}", false},
        {{.tags = tags, .n_tags = 2}, "{\"b\":\"\",\"a\":\"1\"}", true},
        {{.tags = tags, .n_tags = 1}, "broken", false},
    };
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        assert_int_equal(list_takes_rest(&cases[i].filter, "ts_x", 100, cases[i].tags),
                         cases[i].in);
        assert_int_equal(list_is_by_state(&cases[i].filter), i == 0);
    }
}

static void states_and_services(void **state) {
    (void)state;
    char *names[] = {"a", "b"};
    struct list_filter filter = {.services = names, .n_services = 2, .statuses = 1u << TASK_FAILED};
    assert_true(list_takes_service(&filter, "b"));
    assert_false(list_takes_service(&filter, "c"));
    assert_true(list_takes_state(&filter, "a", TASK_FAILED, SUB_DEAD));
    assert_false(list_takes_state(&filter, "a", TASK_READY, SUB_HELD));
    filter.subs = 1u << SUB_ERROR;
    assert_false(list_takes_state(&filter, "a", TASK_FAILED, SUB_DEAD));
    filter = (struct list_filter){0};
    assert_true(list_takes_service(&filter, "c") &&
                list_takes_state(&filter, "a", TASK_READY, SUB_HELD));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cursors_come_back),
        cmocka_unit_test(what_is_no_cursor),
        cmocka_unit_test(rest_of_a_filter),
        cmocka_unit_test(states_and_services),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
