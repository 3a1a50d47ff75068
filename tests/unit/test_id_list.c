/* test_id_list.c: the ids of a body, by the scan and by the tree: what the scan takes the tree
 * takes too, and finds the same. */
#include "api/call/id_list.h"

#include "base/mem.h"
#include "task/task.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX = 5 };

/* Of a heap block of just that size, so that sanitizers see a read beyond. */
static bool scan(const char *text, size_t len, char **ret_copy, struct id_list *ret) {
    *ret_copy = malloc(len + 1);
    assert_non_null(*ret_copy);
    char *copy = realloc(*ret_copy, len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, text, len);
    *ret_copy = copy;
    return id_list_scan((struct json_span){copy, len}, MAX, ret);
}

/* As a call finds `data`. */
static json_t *data_of(json_t *root) {
    json_t *data = json_object_get(root, "data");
    return data ? data : root;
}

static void same_as_tree(struct json_span body, const struct id_list *list) {
    static struct id_list other;
    LH_JSON root = NULL;
    struct error err = {.text = ""};
    if (json_read(body, &root, &err) != RC_OK || !json_is_object(root) ||
        id_list_read(data_of(root), MAX, &other, &err) != RC_OK)
        fail_msg("%.*s: %s", (int)body.len, body.at, err.text);
    assert_int_equal(json_object_size(root), 1);
    assert_int_equal(list->n, other.n);
    for (size_t i = 0; i < list->n; i++) {
        assert_int_equal(list->ids[i].len, other.ids[i].len);
        assert_memory_equal(list->ids[i].at, other.ids[i].at, other.ids[i].len);
    }
}

/* True where the scan takes the text; the tree agrees then. */
static bool check(const char *text, size_t len) {
    static struct id_list list;
    char *copy = NULL;
    bool taken = scan(text, len, &copy, &list);
    if (taken)
        same_as_tree((struct json_span){copy, len}, &list);
    free(copy);
    return taken;
}

static void test_usual_forms_are_taken(void **state) {
    (void)state;
    static const char *const texts[] = {
        "{\"task_id\":\"a\"}",
        "{\"data\":{\"task_id\":\"a\"}}",
        "{\"data\":[{\"task_id\":\"a\"}]}",
        "{\"data\": [{\"task_id\": \"ts_echo_1\"}, {\"task_id\": \"ts_echo_2\"}]}",
        " \t\r\n{ \"data\" : [ { \"task_id\" : \"a\" } , { \"task_id\" : \"a\" } ] } \n",
        "{\"data\":[{\"task_id\":\" {}[]:,'~/\"}]}",
        "{\"data\":[{\"task_id\":\"1\"},{\"task_id\":\"2\"},{\"task_id\":\"3\"},{\"task_id\":\"4\"}"
        ","
        "{\"task_id\":\"5\"}]}",
    };
    for (size_t i = 0; i < LH_COUNT(texts); i++)
        if (!check(texts[i], strlen(texts[i])))
            fail_msg("not taken: %s", texts[i]);
}

static void test_all_else_is_left_to_the_tree(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        " ",
        "{",
        "{}",
        "[]",
        "null",
        "\"task_id\"",
        "{\"data\"\"task_id\":\"a\"}",
        "{\"data\":[]}",
        "{\"data\":{}}",
        "{\"data\":null}",
        "{\"data\":\"a\"}",
        "{\"data\":[[]]}",
        "{\"task_id\":\"\"}",
        "{\"task_id\":1}",
        "{\"task_id\":null}",
        "{\"task_id\":[\"a\"]}",
        "{\"task_id\":\"a\\n\"}",
        "{\"task_id\":\"\\u0061\"}",
        "{\"task_id\":\"a\\\"}\"}",
        "{\"task_id\":\"\xc3\xa4\"}",
        "{\"task_id\":\"\xff\"}",
        "{\"task_id\":\"a\tb\"}",
        "{\"task_id\":\"\x7f\"}",
        "{\"task_i\\u0064\":\"a\"}",
        "{\"Task_id\":\"a\"}",
        "{\"task_id\":\"a\",\"wait_s\":1}",
        "{\"wait_s\":1,\"task_id\":\"a\"}",
        "{\"task_id\":\"a\",\"task_id\":\"a\"}",
        "{\"task_id\":\"a\",}",
        "{\"task_id\":\"a\"}}",
        "{\"task_id\":\"a\"} x",
        "{\"task_id\":\"a\"}{\"task_id\":\"a\"}",
        "{\"task_id\" \"a\"}",
        "{\"data\":[{\"task_id\":\"a\"}],\"wait_s\":1}",
        "{\"wait_s\":1,\"data\":[{\"task_id\":\"a\"}]}",
        "{\"data\":[{\"task_id\":\"a\"}],\"until\":\"final\"}",
        "{\"data\":[{\"task_id\":\"a\",\"until\":1}]}",
        "{\"data\":[{\"task_id\":\"a\"}],\"data\":[{\"task_id\":\"b\"}]}",
        "{\"data\":[{\"task_id\":\"a\"},]}",
        "{\"data\":[{\"task_id\":\"a\"} {\"task_id\":\"a\"}]}",
        "{\"data\":[{\"task_id\":\"a\"}",
        "{\"data\":[{\"task_id\":\"a\"}]",
        "{\"data\":[{\"task_id\":\"1\"},{\"task_id\":\"2\"},{\"task_id\":\"3\"},{\"task_id\":\"4\"}"
        ",{\"task_id\":\"5\"},{\"task_id\":\"6\"}]}",
        "\xef\xbb\xbf{\"task_id\":\"a\"}",
        "{\"task_id\":'a'}",
        "{\"data\":{\"data\":{\"task_id\":\"a\"}}}",
    };
    for (size_t i = 0; i < LH_COUNT(texts); i++)
        if (check(texts[i], strlen(texts[i])))
            fail_msg("taken: %s", texts[i]);
    static const char nul[] = "{\"task_id\":\"a\0b\"}", behind[] = "{\"task_id\":\"a\"}";
    assert_false(check(nul, sizeof nul - 1));
    assert_false(check(behind, sizeof behind));
}

static void test_length_of_ids(void **state) {
    (void)state;
    char text[TASK_TEXT_CAP + 64], id[TASK_TEXT_CAP + 1];
    for (size_t len = TASK_TEXT_CAP - 2; len <= TASK_TEXT_CAP; len++) {
        memset(id, 'x', len);
        id[len] = '\0';
        int n = snprintf(text, sizeof text, "{\"data\":[{\"task_id\":\"%s\"}]}", id);
        assert_int_equal(check(text, (size_t)n), len < TASK_TEXT_CAP);
    }
}

static void test_cut_anywhere(void **state) {
    (void)state;
    static const char text[] = "{\"data\": [{\"task_id\": \"ab\"}, {\"task_id\": \"c\"}]}";
    for (size_t len = 0; len < sizeof text - 1; len++)
        assert_false(check(text, len));
    assert_true(check(text, sizeof text - 1));
}

/* ---- texts by chance: pieces of the grammar, then some bytes changed, lost or doubled ---- */

enum { ROUNDS = 200000, TEXT_MAX = 400 };

static size_t put(char *to, size_t len, const char *piece) {
    size_t more = strlen(piece);
    if (len + more > TEXT_MAX)
        return len;
    memcpy(to + len, piece, more);
    return len + more;
}

static const char *pick(const char *const *pieces, size_t n) {
    return pieces[(size_t)rand() % n];
}

static size_t put_item(char *to, size_t len) {
    static const char *const spaces[] = {"", "", "", " ", "\n\t", "\r"};
    static const char *const ids[] = {"\"a\"", "\"ts_echo_0193\"", "\"a b\"",      "\"~\"",
                                      "\"\"",  "\"\\\\\"",         "\"\xc3\xa4\"", "7"};
    static const char *const names[] = {"\"task_id\"", "\"task_id\"", "\"task_id\"",
                                        "\"task_id\"", "\"task_id\"", "\"until\""};
    size_t n_ids = rand() % 2 ? 4 : LH_COUNT(ids);
    len = put(to, len, "{");
    len = put(to, len, pick(spaces, LH_COUNT(spaces)));
    len = put(to, len, pick(names, LH_COUNT(names)));
    len = put(to, len, pick(spaces, LH_COUNT(spaces)));
    len = put(to, len, ":");
    len = put(to, len, pick(spaces, LH_COUNT(spaces)));
    len = put(to, len, pick(ids, n_ids));
    len = put(to, len, rand() % 30 ? "" : ",\"wait_s\":1");
    len = put(to, len, "}");
    return put(to, len, pick(spaces, LH_COUNT(spaces)));
}

static size_t put_body(char *to) {
    size_t len = 0;
    if (rand() % 6 == 0)
        return put_item(to, len);
    len = put(to, len, "{\"data\":");
    if (rand() % 6 == 0) {
        len = put_item(to, len);
    } else {
        len = put(to, len, "[");
        for (int n = rand() % (MAX + 2); n >= 0; n--) {
            len = put_item(to, len);
            len = put(to, len, n > 0 ? "," : "");
        }
        len = put(to, len, "]");
    }
    len = put(to, len, rand() % 20 ? "" : ",\"until\":\"final\"");
    return put(to, len, "}");
}

static size_t spoil(char *text, size_t len) {
    static const char bytes[] = "{}[]\",:\\ \t\n\0a7~\x7f\x80\xff";
    size_t at = (size_t)rand() % len;
    switch (rand() % 4) {
    case 0:
        text[at] = bytes[(size_t)rand() % (sizeof bytes - 1)];
        return len;
    case 1:
        text[at] ^= (char)(1 << rand() % 8);
        return len;
    case 2:
        memmove(text + at, text + at + 1, len - at - 1);
        return len - 1;
    default:
        memmove(text + at + 1, text + at, len - at);
        return len + 1;
    }
}

static void test_by_chance(void **state) {
    (void)state;
    char text[TEXT_MAX + 8];
    long whole = 0, spoilt = 0;
    srand(20261130);
    for (int i = 0; i < ROUNDS; i++) {
        size_t len = put_body(text);
        whole += check(text, len);
        for (int n = rand() % 4; n > 0 && len > 1; n--)
            spoilt += check(text, len = spoil(text, len));
    }
    print_message("%ld taken, %ld spoilt ones\n", whole, spoilt);
    assert_true(whole > ROUNDS / 10 && whole < ROUNDS && spoilt > ROUNDS / 50);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usual_forms_are_taken),
        cmocka_unit_test(test_all_else_is_left_to_the_tree),
        cmocka_unit_test(test_length_of_ids),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_by_chance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
