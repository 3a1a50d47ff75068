/* test_store_mongo_uri.c: from the configuration to the driver's URI. */
#include "base/mem.h"
#include "store/mongo/mongo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    struct config_mongo mongo;
    const char *user, *password, *database;
} cases[] = {
    {{.uri = (char *)"mongodb://u:p@h/db"}, "u", "p", "db"},
    {{.uri = (char *)"mongodb://u:p@h/db", .password = (char *)"q"}, "u", "p", "db"},
    {{.uri = (char *)"mongodb://u@h/?tls=true", .password = (char *)"a/b@:%"},
     "u",
     "a/b@:%",
     "longhaul"},
    {{.uri = (char *)"mongodb://u@h", .password = (char *)""}, "u", NULL, "longhaul"},
    {{.uri = (char *)"mongodb://h", .password = (char *)"q"}, NULL, NULL, "longhaul"},
    {{.host = (char *)"h", .port = 1, .username = (char *)"u", .password = (char *)"q"},
     "u",
     "q",
     "longhaul"},
    {{.host = (char *)"h", .port = 1, .password = (char *)"q"}, NULL, NULL, "longhaul"},
};

static void same(const char *got, const char *wanted) {
    if (!wanted)
        assert_null(got);
    else
        assert_string_equal(got, wanted);
}

static void the_password_comes_from_where_it_stands(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        struct config cfg = {.mongo = cases[i].mongo};
        struct mongo_store store = {.uri = NULL};
        struct error err = {.text = ""};
        assert_int_equal(mongo_uri_make(&cfg, 3, &store, &err), RC_OK);
        same(mongoc_uri_get_username(store.uri), cases[i].user);
        same(mongoc_uri_get_password(store.uri), cases[i].password);
        same(store.database, cases[i].database);
        mongoc_uri_destroy(store.uri);
        free(store.database);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_password_comes_from_where_it_stands)};
    mongoc_init();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mongoc_cleanup();
    return failed;
}
