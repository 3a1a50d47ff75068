/* tokens.c: who may ask, and for what. */
#include "api/call/tokens.h"

#include "base/auth.h"
#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <math.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/random.h>

_Static_assert(TOKEN_NAME_CAP == TOKEN_NAME_MAX + 1, "a run keeps the whole name");

enum { SECRET_BYTES = 32 };

/* An entry of the list: those with a hash first, in the order of the hashes. */
struct known {
    const struct config_token *config;
    struct token token;
};

struct token_list {
    unsigned holders; /* the tokens' owner and requests */
    struct config_tokens config;
    struct known *known;
    size_t n_hashed; /* of the config.n */
};

struct tokens {
    const char *config_file, *token_of_all;
    struct token all; /* AUTH_TOKEN */
    struct token_list *list;
    EVP_MD *sha256;
    EVP_MD_CTX *context;
};

/* ---- the list ---- */

static void list_drop(struct token_list *list) {
    if (!list || --list->holders > 0)
        return;
    config_tokens_finish(&list->config);
    free(list->known);
    free(list);
}

static int by_hash(const void *a, const void *b) {
    const struct known *left = a, *right = b;
    if (left->config->has_hash != right->config->has_hash)
        return left->config->has_hash ? -1 : 1;
    return memcmp(left->config->hash, right->config->hash, TOKEN_HASH_LEN);
}

static struct known *find_hash(const struct token_list *list, const uint8_t hash[TOKEN_HASH_LEN]) {
    struct config_token wanted = {.has_hash = true};
    const struct known key = {.config = &wanted};
    memcpy(wanted.hash, hash, TOKEN_HASH_LEN);
    return list->n_hashed ? bsearch(&key, list->known, list->n_hashed, sizeof key, by_hash) : NULL;
}

static struct token token_of(const struct config_token *config, struct token_list *list) {
    return (struct token){
        .name = config->name,
        .access = {.token = config->name,
                   .own_runs = !(config->scopes & SCOPE_ADMIN),
                   .services = config->services,
                   .n_services = config->n_services},
        .scopes = config->scopes,
        .expires_at = config->expires_at,
        .bucket = {.rate = config->rate,
                   .burst = config->burst,
                   .left = config->burst,
                   .filled_ms = clock_mono_ms()},
        .list = list,
    };
}

/* Whoever has emptied a bucket does not get a full one by a reload. */
static void keep_buckets(struct token_list *list, const struct token_list *old) {
    for (size_t i = 0; old && i < list->n_hashed; i++) {
        const struct known *before = find_hash(old, list->known[i].config->hash);
        struct token_bucket *bucket = &list->known[i].token.bucket;
        if (!before || before->token.bucket.rate <= 0)
            continue;
        bucket->left = fmin(before->token.bucket.left, bucket->burst);
        bucket->filled_ms = before->token.bucket.filled_ms;
    }
}

/* Takes the configuration's tokens. */
static struct token_list *list_create(struct config_tokens *config) {
    struct token_list *list = calloc(1, sizeof *list);
    if (list)
        *list = (struct token_list){
            .holders = 1, .config = *config, .known = calloc(config->n + 1, sizeof *list->known)};
    if (!list || !list->known) {
        config_tokens_finish(config);
        free(list);
        return NULL;
    }
    for (size_t i = 0; i < config->n; i++) {
        const struct config_token *item = &list->config.items[i];
        list->known[i] = (struct known){item, token_of(item, list)};
        list->n_hashed += item->has_hash;
    }
    qsort(list->known, config->n, sizeof *list->known, by_hash);
    return list;
}

enum rc tokens_reload(struct tokens *tokens, struct error *err) {
    struct config_tokens config = {0};
    enum rc rc = config_tokens_load(tokens->config_file, &config, err);
    if (rc != RC_OK)
        return rc;
    struct token_list *list = list_create(&config);
    if (!list)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    keep_buckets(list, tokens->list);
    list_drop(tokens->list);
    tokens->list = list;
    return RC_OK;
}

size_t tokens_count(const struct tokens *tokens) {
    return tokens->list->config.n;
}

enum rc tokens_create(const char *config_file, const char *token_of_all, struct tokens **ret,
                      struct error *err) {
    struct tokens *tokens = calloc(1, sizeof *tokens);
    if (!tokens)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    *tokens = (struct tokens){.config_file = config_file,
                              .token_of_all = token_of_all,
                              .all = {.name = TOKEN_OF_ALL, .scopes = UINT32_MAX}};
    enum rc rc = tokens_reload(tokens, err);
    if (rc == RC_OK)
        *ret = tokens;
    else
        tokens_destroy(tokens);
    return rc;
}

void tokens_destroy(struct tokens *tokens) {
    if (!tokens)
        return;
    list_drop(tokens->list);
    EVP_MD_CTX_free(tokens->context);
    EVP_MD_free(tokens->sha256);
    free(tokens);
}

/* ---- finding ---- */

/* The library is not woken before there is something to hash. */
static bool hash_ready(struct tokens *tokens) {
    if (!tokens->sha256)
        tokens->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (!tokens->context)
        tokens->context = EVP_MD_CTX_new();
    return tokens->sha256 && tokens->context;
}

static bool hash_text(struct tokens *tokens, const char *text, uint8_t ret[TOKEN_HASH_LEN]) {
    return hash_ready(tokens) && EVP_DigestInit_ex2(tokens->context, tokens->sha256, NULL) == 1 &&
           EVP_DigestUpdate(tokens->context, text, strlen(text)) == 1 &&
           EVP_DigestFinal_ex(tokens->context, ret, NULL) == 1;
}

bool token_expired(const struct token *token) {
    return token->expires_at && token->expires_at <= clock_now_ms();
}

static enum rc check_time(struct known *known, struct token **ret, struct error *err) {
    struct token *token = &known->token;
    if (token_expired(token))
        return error_set(err, RC_UNAUTHORIZED, "the token %s has expired", token->name);
    *ret = token;
    return RC_OK;
}

enum rc tokens_find(struct tokens *tokens, const char *header, struct token **ret,
                    struct error *err) {
    uint8_t hash[TOKEN_HASH_LEN];
    const char *text = auth_token_text(header);
    if (text && tokens->token_of_all && auth_token_ok(text, tokens->token_of_all)) {
        *ret = &tokens->all;
        return RC_OK;
    }
    if (!text || tokens->list->n_hashed == 0)
        return error_set(err, RC_UNAUTHORIZED, "%s", rc_info(RC_UNAUTHORIZED)->text);
    if (!hash_text(tokens, text, hash))
        return error_set(err, RC_NO_MEMORY, "out of memory");
    struct known *known = find_hash(tokens->list, hash);
    return known ? check_time(known, ret, err)
                 : error_set(err, RC_UNAUTHORIZED, "%s", rc_info(RC_UNAUTHORIZED)->text);
}

static bool has_name(const char *names, const char *name) {
    for (; *names; names += strlen(names) + 1)
        if (strcmp(names, name) == 0)
            return true;
    return false;
}

enum rc tokens_of_certificate(struct tokens *tokens, const char *names, struct token **ret,
                              struct error *err) {
    struct token_list *list = tokens->list;
    struct known *first = NULL;
    for (size_t i = 0; names && i < list->config.n; i++) {
        struct known *known = &list->known[i];
        const char *name = known->config->client_cert;
        if (name && has_name(names, name) && (!first || known->config < first->config))
            first = known;
    }
    if (first)
        return check_time(first, ret, err);
    return error_set(err, RC_UNAUTHORIZED, "%s", rc_info(RC_UNAUTHORIZED)->text);
}

void token_hold(struct token *token) {
    if (token->list)
        token->list->holders++;
}

void token_drop(struct token *token) {
    list_drop(token->list);
}

const struct task_access *token_access(const struct token *token) {
    return token->list ? &token->access : NULL;
}

const char *token_scope_name(enum token_scope scope, size_t *ret_len) {
    size_t i = 0;
    while (1u << i < (unsigned)scope)
        i++;
    const char *from = config_scope_words;
    for (; i > 0; i--)
        from = strchr(from, '|') + 1;
    *ret_len = strcspn(from, "|");
    return from;
}

bool token_bucket_take(struct token_bucket *bucket, int64_t now_ms, int64_t *ret_wait_ms) {
    if (bucket->rate <= 0)
        return true;
    double gained = (double)(now_ms - bucket->filled_ms) * bucket->rate / 1000;
    bucket->left = fmin(bucket->left + gained, bucket->burst);
    bucket->filled_ms = now_ms;
    if (bucket->left >= 1) {
        bucket->left -= 1;
        return true;
    }
    *ret_wait_ms = (int64_t)ceil((1 - bucket->left) / bucket->rate * 1000);
    return false;
}

/* ---- making ---- */

enum rc token_make(const char *name, FILE *to, struct error *err) {
    uint8_t secret[SECRET_BYTES], hash[TOKEN_HASH_LEN];
    char text[sizeof "lh_" + 2 * SECRET_BYTES] = "lh_";
    struct tokens tokens = {0};
    if (!config_token_name_ok(name))
        return error_set(err, RC_USAGE,
                         "a token's name has 1 to 64 letters, digits, '_', '.' or '-'");
    ssize_t n = getrandom(secret, sizeof secret, 0);
    if (n != sizeof secret)
        return error_set(err, RC_IO, "no random bytes: %s", strerror(errno));
    for (size_t i = 0; i < sizeof secret; i++)
        snprintf(text + 3 + 2 * i, 3, "%02x", secret[i]);
    bool made = hash_text(&tokens, text, hash);
    EVP_MD_CTX_free(tokens.context);
    EVP_MD_free(tokens.sha256);
    if (!made)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    fprintf(to, "%s\n  - {name: \"%s\", hash: \"", text, name);
    config_token_hash_put(hash, to);
    fputs("\", scopes: [read]}\n", to);
    return fflush(to) == 0 ? RC_OK : error_set(err, RC_IO, "%s", strerror(errno));
}
