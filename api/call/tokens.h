/* tokens.h: who may ask, and for what.
 *
 * A request names a token: AUTH_TOKEN, which may do all, or one of the configuration's list, each
 * with scopes, services, an end and a rate. Of those only hashes are kept. They are made by us with
 * 256 random bits, so nobody finds one from its hash by trying: a fast hash is enough, and a slow
 * one would only let strangers keep the loop busy. What is looked up is the hash of what a client
 * sends, so how long the search takes tells nothing about the tokens.
 *
 * The list may be read again while requests are under way: each holds the token that it came with.
 * Loop thread only.
 */
#ifndef LH_API_TOKENS_H
#define LH_API_TOKENS_H

#include "config/config.h"
#include "task/access.h"

struct token_list;

/* Requests that may come at once, and how many more each second. */
struct token_bucket {
    double rate, burst; /* rate 0: as many as come */
    double left;
    int64_t filled_ms; /* clock_mono_ms() */
};

struct token {
    const char *name;
    struct task_access access;
    unsigned scopes;
    int64_t expires_at; /* unix ms; 0: never */
    struct token_bucket bucket;
    struct token_list *list; /* that it is in; NULL: AUTH_TOKEN */
};

struct tokens;

/* Reads the list that the configuration file gives. `token_of_all` (borrowed) is AUTH_TOKEN, or
 * NULL. */
enum rc tokens_create(const char *config_file, const char *token_of_all, struct tokens **ret,
                      struct error *err) LH_MUST_USE;

/* Reads the list again; a failure keeps the one that is in use. */
enum rc tokens_reload(struct tokens *tokens, struct error *err) LH_MUST_USE;

/* How many there are beside AUTH_TOKEN. */
size_t tokens_count(const struct tokens *tokens);

/* The token that an Authorization value (or NULL) names, alone or after "Bearer ".
 * RC_UNAUTHORIZED: none, or one that has expired. Allocates nothing. */
enum rc tokens_find(struct tokens *tokens, const char *header, struct token **ret,
                    struct error *err) LH_MUST_USE;

/* The first token of the list that stands for one of the names in a client's certificate, each with
 * its NUL, and an empty one; NULL: no certificate. RC_UNAUTHORIZED. */
enum rc tokens_of_certificate(struct tokens *tokens, const char *names, struct token **ret,
                              struct error *err) LH_MUST_USE;

/* NULL is fine. No token may be held. */
void tokens_destroy(struct tokens *tokens);

/* Keeps the token valid until it is dropped as often. */
void token_hold(struct token *token);
void token_drop(struct token *token);

/* True once its time is over. */
bool token_expired(const struct token *token);

/* For ops and queries; NULL: all is allowed. */
const struct task_access *token_access(const struct token *token);

/* "create": of a single scope. */
const char *token_scope_name(enum token_scope scope, size_t *ret_len);

/* Takes one request out of the bucket. Else it is empty, and *ret_wait_ms is how long until there
 * is one. */
bool token_bucket_take(struct token_bucket *bucket, int64_t now_ms, int64_t *ret_wait_ms);

/* Makes a token and prints two lines: itself, and its entry for the list. RC_IO. */
enum rc token_make(const char *name, FILE *to, struct error *err) LH_MUST_USE;

#endif
