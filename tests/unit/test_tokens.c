/* Tokens: their list in a file, finding one, the bucket, what a list that is read again keeps. */
#include "api/call/tokens.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define HASH_OF_A "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
#define HASH_OF_B "sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"
#define HASH_OF_C "sha256:2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6"

static char folder[] = "/tmp/tokens-XXXXXX";
static char config_file[64], tokens_file[64];

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fputs(text, file) >= 0, true);
    assert_int_equal(fclose(file), 0);
}

static void write_tokens(const char *list) {
    char text[4096];
    snprintf(text, sizeof text, "tokens:\n%s", list);
    write_file(tokens_file, text);
}

static int make_folder(void **state) {
    (void)state;
    if (!mkdtemp(folder))
        return 1;
    snprintf(config_file, sizeof config_file, "%s/config.yaml", folder);
    snprintf(tokens_file, sizeof tokens_file, "%s/tokens.yaml", folder);
    write_file(config_file, "service: [echo, other]\ntokens_file: tokens.yaml\n");
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    unlink(config_file);
    unlink(tokens_file);
    return rmdir(folder);
}

static struct tokens *open_tokens(const char *list) {
    struct tokens *tokens = NULL;
    struct error err = {.text = ""};
    write_tokens(list);
    if (tokens_create(config_file, "of all", &tokens, &err) != RC_OK)
        fail_msg("%s", err.text);
    return tokens;
}

static struct token *find(struct tokens *tokens, const char *header) {
    struct token *token = NULL;
    struct error err;
    return tokens_find(tokens, header, &token, &err) == RC_OK ? token : NULL;
}

static void test_finding(void **state) {
    (void)state;
    struct tokens *tokens = open_tokens(
        "  - {name: a, hash: \"" HASH_OF_A "\", scopes: [create, read], services: [echo]}\n"
        "  - {name: b, hash: \"" HASH_OF_B "\", scopes: [admin], expires: 2000-01-01}\n"
        "  - {name: a, hash: \"" HASH_OF_C "\", scopes: [run]}\n");
    assert_int_equal(tokens_count(tokens), 3);
    assert_null(find(tokens, NULL));
    assert_null(find(tokens, ""));
    assert_null(find(tokens, "d"));
    assert_null(find(tokens, "b")); /* has expired */
    struct token *all = find(tokens, "Bearer of all"), *a = find(tokens, "Bearer a");
    assert_string_equal(all->name, "AUTH_TOKEN");
    assert_null(token_access(all));
    assert_true(all->scopes & SCOPE_ADMIN && all->scopes & SCOPE_CREATE);
    assert_string_equal(a->name, "a");
    assert_int_equal(a->scopes, SCOPE_CREATE | SCOPE_READ);
    assert_true(task_access_allows(token_access(a), "echo"));
    assert_false(task_access_allows(token_access(a), "other"));
    struct token *again = find(tokens, "c"); /* two of one name */
    assert_string_equal(again->name, "a");
    assert_int_equal(again->scopes, SCOPE_RUN);
    assert_true(task_access_allows(token_access(again), "other"));
    tokens_destroy(tokens);
}

static void test_expiry(void **state) {
    (void)state;
    struct tokens *tokens = open_tokens("  - {name: day, hash: \"" HASH_OF_A
                                        "\", scopes: [read], expires: 2099-12-31}\n"
                                        "  - {name: hour, hash: \"" HASH_OF_B
                                        "\", scopes: [read], expires: 2099-12-31T01:00:00Z}\n");
    int64_t day, hour;
    assert_true(clock_from_text("2100-01-01T00:00:00Z", &day));
    assert_true(clock_from_text("2099-12-31T01:00:00Z", &hour));
    assert_true(find(tokens, "a")->expires_at == day);
    assert_true(find(tokens, "b")->expires_at == hour);
    tokens_destroy(tokens);
}

/* What is wrong, and the words that must stand in the error. */
static const struct {
    const char *list, *words;
} faults[] = {
    {"  {}\n", ":2: tokens: expected a list"},
    {"  - a\n", ":2: tokens[1]: expected a map"},
    {"  - {hash: x}\n", "tokens[1]: name is missing"},
    {"  - {name: 'a b'}\n", "tokens[1]: name: expected 1 to 64"},
    {"  - {name: AUTH_TOKEN}\n", "not AUTH_TOKEN"},
    {"  - {name: a, scopes: [read]}\n", "tokens.a: hash is missing"},
    {"  - {name: a, hash: secret, scopes: [read]}\n", "tokens.a: hash: expected sha256:"},
    {"  - {name: a, hash: \"" HASH_OF_A "\"}\n", "tokens.a: scopes is missing"},
    {"  - {name: a, hash: \"" HASH_OF_A "\", scopes: [write]}\n", "found 'write'"},
    {"  - {name: a, hash: \"" HASH_OF_A "\", scopes: read}\n", "scopes: expected a list"},
    {"  - {name: a, hash: \"" HASH_OF_A "\", scopes: [read], services: [ecko]}\n",
     "'ecko' is not listed under `service`, did you mean 'echo'?"},
    {"  - {name: a, hash: \"" HASH_OF_A "\", scopes: [read], services: []}\n", "leave it out"},
    {"  - {name: a, hash: \"" HASH_OF_A "\", scopes: [read], expires: tomorrow}\n",
     "expires: expected a time"},
    {"  - {name: a, hash: \"" HASH_OF_A "\", scopes: [read], rate: 0}\n", "rate: expected"},
    {"  - {name: a, hash: \"" HASH_OF_A "\", scopes: [read], burst: 5}\n", "burst needs rate"},
    {"  - {name: a, hash: \"" HASH_OF_A "\", scope: [read]}\n", "did you mean 'scopes'?"},
    {"  - {name: a, hash: \"" HASH_OF_A "\", scopes: [read]}\n"
     "  - {name: b, hash: \"" HASH_OF_A "\", scopes: [read]}\n",
     ":3: tokens.b: a has the same hash"},
    {"  - {name: a, hash: \"" HASH_OF_A "\", scopes: [read]}\n"
     "  - {name: a, hash: \"" HASH_OF_B "\", scopes: [read]}\n"
     "  - {name: a, hash: \"" HASH_OF_C "\", scopes: [read]}\n",
     ":4: tokens.a: at most 2 tokens may have one name"},
    {"  - {name: a, hash: \"" HASH_OF_A "\", scopes: [read]}\nmore: 1\n", "and no other"},
};

static void test_faults(void **state) {
    (void)state;
    struct tokens *tokens = NULL;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct error err = {.text = ""};
        write_tokens(faults[i].list);
        assert_int_equal(tokens_create(config_file, NULL, &tokens, &err), RC_CONFIG);
        if (!strstr(err.text, tokens_file) || !strstr(err.text, faults[i].words))
            fail_msg("'%s' lacks '%s'", err.text, faults[i].words);
        assert_null(tokens);
    }
}

static void test_reload(void **state) {
    (void)state;
    struct tokens *tokens = open_tokens("  - {name: a, hash: \"" HASH_OF_A
                                        "\", scopes: [read], rate: 0.001, burst: 3}\n");
    struct token *held = find(tokens, "a");
    struct error err = {.text = ""};
    int64_t wait_ms, now_ms = clock_mono_ms();
    token_hold(held);
    assert_true(token_bucket_take(&held->bucket, now_ms, &wait_ms));
    assert_true(token_bucket_take(&held->bucket, now_ms, &wait_ms));
    write_tokens("  - {name: a, hash: wrong}\n");
    assert_int_equal(tokens_reload(tokens, &err), RC_CONFIG);
    assert_ptr_equal(find(tokens, "a"), held);
    write_tokens("  - {name: b, hash: \"" HASH_OF_A "\", scopes: [run], rate: 0.001, burst: 3}\n");
    assert_int_equal(tokens_reload(tokens, &err), RC_OK);
    struct token *now = find(tokens, "a");
    assert_string_equal(now->name, "b");
    assert_string_equal(held->name, "a"); /* as long as it is held */
    assert_true(token_bucket_take(&now->bucket, now_ms, &wait_ms));
    assert_false(token_bucket_take(&now->bucket, now_ms, &wait_ms)); /* the third was the last */
    write_tokens("");
    assert_int_equal(tokens_reload(tokens, &err), RC_OK);
    assert_null(find(tokens, "a"));
    token_drop(held);
    tokens_destroy(tokens);
}

static void test_bucket(void **state) {
    (void)state;
    struct token_bucket bucket = {.rate = 2, .burst = 3, .left = 3, .filled_ms = 1000};
    int64_t wait_ms = 0;
    for (int i = 0; i < 3; i++)
        assert_true(token_bucket_take(&bucket, 1000, &wait_ms));
    assert_false(token_bucket_take(&bucket, 1000, &wait_ms));
    assert_int_equal(wait_ms, 500);
    assert_false(token_bucket_take(&bucket, 1400, &wait_ms));
    assert_int_equal(wait_ms, 100);
    assert_true(token_bucket_take(&bucket, 1500, &wait_ms));
    assert_false(token_bucket_take(&bucket, 1500, &wait_ms));
    for (int i = 0; i < 3; i++) /* never more than the burst */
        assert_true(token_bucket_take(&bucket, 1000000, &wait_ms));
    assert_false(token_bucket_take(&bucket, 1000000, &wait_ms));
    struct token_bucket none = {.rate = 0};
    assert_true(token_bucket_take(&none, 0, &wait_ms));
}

static void test_making(void **state) {
    (void)state;
    char *text = NULL, secret[80], entry[200], *rest;
    size_t len = 0;
    struct error err = {.text = ""};
    FILE *to = open_memstream(&text, &len);
    assert_int_equal(token_make("made", to, &err), RC_OK);
    assert_int_equal(fclose(to), 0);
    rest = strchr(text, '\n') + 1;
    snprintf(secret, sizeof secret, "%.*s", (int)(rest - text - 1), text);
    snprintf(entry, sizeof entry, "%s", rest);
    free(text);
    assert_int_equal(strlen(secret), 67);
    struct tokens *tokens = open_tokens(entry);
    assert_string_equal(find(tokens, secret)->name, "made");
    tokens_destroy(tokens);
    assert_int_equal(token_make("not a name", stderr, &err), RC_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finding), cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_faults),  cmocka_unit_test(test_reload),
        cmocka_unit_test(test_bucket),  cmocka_unit_test(test_making),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
