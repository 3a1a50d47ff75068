/* config_tokens.c: access tokens, as a list in the configuration or in a file of their own. */
#include "config/config_tokens.h"

#include "base/clock.h"
#include "base/hex.h"
#include "base/mem.h"
#include "config/near.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { OF_ONE_NAME_MAX = 2, RATE_MAX = 1000000, LABEL_CAP = 128, DAY_MS = 86400000 };

static const char hash_prefix[] = "sha256:";
const char config_scope_words[] = "create|read|run|admin";

/* A token that is being read. */
struct entry {
    const struct config_source *src;
    const struct config *cfg;
    struct config_token *token;
    char label[LABEL_CAP]; /* "tokens.ingest", or "tokens[3]" before its name is known */
};

static enum rc expected(const struct entry *entry, const struct yaml_item *item, const char *what) {
    const struct yaml_tree *found = item->value;
    if (found->kind != YAML_SCALAR || yaml_tree_empty(found))
        return config_fail(entry->src, item->line, entry->label, "%s: expected %s, found %s",
                           item->key, what, yaml_tree_kind(found));
    return config_fail(entry->src, item->line, entry->label, "%s: expected %s, found '%.60s'",
                       item->key, what, found->text);
}

static const char *text_of(const struct yaml_item *item) {
    return item->value->kind == YAML_SCALAR && !yaml_tree_empty(item->value) ? item->value->text
                                                                             : NULL;
}

static enum rc copy(const struct entry *entry, const char *text, char **ret) {
    *ret = mem_dup(text, strlen(text));
    return *ret ? RC_OK : config_no_memory(entry->src);
}

/* ---- fields ---- */

bool config_token_name_ok(const char *name) {
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    size_t len = strlen(name);
    return len > 0 && len <= TOKEN_NAME_MAX && strspn(name, allowed) == len &&
           strcmp(name, TOKEN_OF_ALL) != 0;
}

static enum rc read_name(struct entry *entry, const struct yaml_item *item) {
    const char *name = text_of(item);
    if (!name || !config_token_name_ok(name))
        return expected(entry, item,
                        "1 to 64 letters, digits, '_', '.' or '-', and not " TOKEN_OF_ALL);
    return copy(entry, name, &entry->token->name);
}

static bool read_hex(const char *text, uint8_t ret[TOKEN_HASH_LEN]) {
    if (strlen(text) != 2 * TOKEN_HASH_LEN)
        return false;
    for (size_t i = 0; i < TOKEN_HASH_LEN; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        ret[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* What is no hash may be the token itself: it is not repeated. */
static enum rc read_hash(struct entry *entry, const struct yaml_item *item) {
    const char *text = text_of(item);
    size_t prefix = sizeof hash_prefix - 1;
    if (!text || strncmp(text, hash_prefix, prefix) != 0 ||
        !read_hex(text + prefix, entry->token->hash))
        return config_fail(entry->src, item->line, entry->label,
                           "hash: expected sha256: and 64 hexadecimal digits, as longhaul-api "
                           "--make-token prints them");
    entry->token->has_hash = true;
    return RC_OK;
}

static enum rc read_client_cert(struct entry *entry, const struct yaml_item *item) {
    const char *text = text_of(item);
    if (!text || !text[0] || strlen(text) > 255 || strpbrk(text, "\"\\"))
        return expected(entry, item, "the name in a client's certificate");
    return copy(entry, text, &entry->token->client_cert);
}

static enum rc add_scope(struct entry *entry, const struct yaml_item *item,
                         const struct yaml_item *in_list) {
    const char *text = text_of(in_list);
    size_t len;
    const char *word;
    for (size_t i = 0; text && (word = config_word(config_scope_words, i, &len)); i++)
        if (strlen(text) == len && memcmp(word, text, len) == 0) {
            entry->token->scopes |= 1u << i;
            return RC_OK;
        }
    return config_fail(entry->src, in_list->value->line, entry->label,
                       "%s: expected create, read, run or admin, found '%.60s'", item->key,
                       text ? text : "");
}

static enum rc read_scopes(struct entry *entry, const struct yaml_item *item) {
    const struct yaml_tree *list = item->value;
    if (list->kind != YAML_LIST || list->n_items == 0)
        return expected(entry, item, "a list of create, read, run, admin");
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < list->n_items; i++)
        rc = add_scope(entry, item, &list->items[i]);
    return rc;
}

static enum rc add_service(struct entry *entry, const struct yaml_item *in_list) {
    const char *text = text_of(in_list);
    if (!text || !config_service(entry->cfg, text)) {
        struct near near;
        char hint[NEAR_HINT_CAP];
        near_init(&near, text ? text : "");
        for (size_t i = 0; i < entry->cfg->n_services; i++)
            near_offer(&near, entry->cfg->services[i].name, strlen(entry->cfg->services[i].name));
        return config_fail(entry->src, in_list->value->line, entry->label,
                           "services: '%.64s' is not listed under `service`%s", text ? text : "",
                           near_hint(&near, hint));
    }
    struct config_token *token = entry->token;
    enum rc rc = copy(entry, text, &token->services[token->n_services]);
    if (rc == RC_OK)
        token->n_services++;
    return rc;
}

static enum rc read_services(struct entry *entry, const struct yaml_item *item) {
    const struct yaml_tree *list = item->value;
    if (list->kind != YAML_LIST || list->n_items == 0)
        return expected(entry, item, "a list of services (leave it out for all)");
    entry->token->services = calloc(list->n_items, sizeof(char *));
    if (!entry->token->services)
        return config_no_memory(entry->src);
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < list->n_items; i++)
        rc = add_service(entry, &list->items[i]);
    return rc;
}

/* A date alone is its end. */
static enum rc read_expires(struct entry *entry, const struct yaml_item *item) {
    const char *text = text_of(item);
    char whole[40];
    int64_t at;
    if (text && clock_from_text(text, &entry->token->expires_at))
        return RC_OK;
    snprintf(whole, sizeof whole, "%.10sT00:00:00Z", text ? text : "");
    if (!text || strlen(text) != 10 || !clock_from_text(whole, &at))
        return expected(entry, item, "a time such as 2027-01-31T00:00:00Z, or 2027-01-31");
    entry->token->expires_at = at + DAY_MS;
    return RC_OK;
}

static bool read_number(const struct yaml_item *item, double least, double *ret) {
    const char *text = text_of(item);
    char *end = NULL;
    double value = text ? strtod(text, &end) : 0;
    if (!text || *end || strspn(text, "0123456789.") != strlen(text) || value < least ||
        value > RATE_MAX)
        return false;
    *ret = value;
    return true;
}

static enum rc read_rate(struct entry *entry, const struct yaml_item *item) {
    return read_number(item, 0.001, &entry->token->rate)
               ? RC_OK
               : expected(entry, item, "requests per second, from 0.001 to 1000000");
}

static enum rc read_burst(struct entry *entry, const struct yaml_item *item) {
    return read_number(item, 1, &entry->token->burst)
               ? RC_OK
               : expected(entry, item, "a number of requests, from 1 to 1000000");
}

static const struct field {
    const char *name;
    enum rc (*read)(struct entry *entry, const struct yaml_item *item);
} fields[] = {
    {"name", read_name},     {"hash", read_hash},         {"client_cert", read_client_cert},
    {"scopes", read_scopes}, {"services", read_services}, {"expires", read_expires},
    {"rate", read_rate},     {"burst", read_burst},
};

static enum rc read_field(struct entry *entry, const struct yaml_item *item) {
    struct near near;
    char hint[NEAR_HINT_CAP];
    near_init(&near, item->key);
    for (size_t i = 0; i < LH_COUNT(fields); i++) {
        if (strcmp(fields[i].name, item->key) == 0)
            return fields[i].read(entry, item);
        near_offer(&near, fields[i].name, strlen(fields[i].name));
    }
    return config_fail(entry->src, item->line, entry->label, "%.60s: unknown key%s", item->key,
                       near_hint(&near, hint));
}

/* ---- tokens ---- */

static enum rc check_whole(const struct entry *entry, int line) {
    const struct config_token *token = entry->token;
    if (!token->has_hash && !token->client_cert)
        return config_fail(entry->src, line, entry->label, "hash is missing (or client_cert)");
    if (!token->scopes)
        return config_fail(entry->src, line, entry->label,
                           "scopes is missing: a list of create, read, run, admin");
    if (token->burst > 0 && token->rate <= 0)
        return config_fail(entry->src, line, entry->label, "burst needs rate beside it");
    return RC_OK;
}

static enum rc read_token(struct entry *entry, const struct yaml_tree *tree) {
    if (tree->kind != YAML_MAP)
        return config_fail(entry->src, tree->line, entry->label, "expected a map, found %s",
                           yaml_tree_kind(tree));
    const struct yaml_item *name = yaml_tree_find(tree, "name");
    if (!name)
        return config_fail(entry->src, tree->line, entry->label, "name is missing");
    enum rc rc = read_name(entry, name);
    if (rc != RC_OK)
        return rc;
    snprintf(entry->label, sizeof entry->label, "tokens.%s", entry->token->name);
    for (size_t i = 0; rc == RC_OK && i < tree->n_items; i++)
        if (&tree->items[i] != name)
            rc = read_field(entry, &tree->items[i]);
    if (rc == RC_OK && entry->token->rate > 0 && entry->token->burst <= 0)
        entry->token->burst = entry->token->rate > 1 ? entry->token->rate : 1;
    return rc == RC_OK ? check_whole(entry, tree->line) : rc;
}

/* The token must be told from those before it. */
static enum rc check_distinct(const struct entry *entry, const struct config_tokens *before,
                              int line) {
    const struct config_token *token = entry->token;
    size_t of_name = 1;
    for (size_t i = 0; i < before->n; i++) {
        const struct config_token *other = &before->items[i];
        of_name += strcmp(other->name, token->name) == 0;
        if (token->has_hash && other->has_hash &&
            memcmp(other->hash, token->hash, TOKEN_HASH_LEN) == 0)
            return config_fail(entry->src, line, entry->label, "%s has the same hash", other->name);
        if (token->client_cert && other->client_cert &&
            strcmp(other->client_cert, token->client_cert) == 0)
            return config_fail(entry->src, line, entry->label, "%s has the same client_cert",
                               other->name);
    }
    if (of_name > OF_ONE_NAME_MAX)
        return config_fail(entry->src, line, entry->label,
                           "at most %d tokens may have one name: the old one and the new",
                           OF_ONE_NAME_MAX);
    return RC_OK;
}

static enum rc read_all(const struct config_source *src, const struct config *cfg,
                        const struct yaml_tree *tree, struct config_tokens *to) {
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < tree->n_items; i++) {
        struct entry entry = {.src = src, .cfg = cfg, .token = &to->items[to->n]};
        const struct yaml_tree *item = tree->items[i].value;
        snprintf(entry.label, sizeof entry.label, "tokens[%zu]", i + 1);
        rc = read_token(&entry, item);
        if (rc == RC_OK)
            rc = check_distinct(&entry, to, item->line);
        to->n++;
    }
    return rc;
}

enum rc config_tokens_read(const struct config_source *src, const struct config *cfg,
                           const struct yaml_tree *tree, struct config_tokens *ret) {
    if (tree->kind != YAML_LIST && !yaml_tree_empty(tree))
        return config_fail(src, tree->line, "tokens", "expected a list of tokens, found %s",
                           yaml_tree_kind(tree));
    if (tree->n_items > CONFIG_TOKENS_MAX)
        return config_fail(src, tree->line, "tokens", "at most %d tokens", CONFIG_TOKENS_MAX);
    struct config_tokens tokens = {.items = calloc(tree->n_items + 1, sizeof *tokens.items)};
    if (!tokens.items)
        return config_no_memory(src);
    enum rc rc = read_all(src, cfg, tree, &tokens);
    if (rc == RC_OK)
        *ret = tokens;
    else
        config_tokens_finish(&tokens);
    return rc;
}

void config_tokens_finish(struct config_tokens *tokens) {
    for (size_t i = 0; i < tokens->n; i++) {
        struct config_token *token = &tokens->items[i];
        for (size_t k = 0; k < token->n_services; k++)
            free(token->services[k]);
        free(token->services);
        free(token->client_cert);
        free(token->name);
    }
    free(tokens->items);
    *tokens = (struct config_tokens){0};
}

/* ---- printing ---- */

void config_token_hash_put(const uint8_t hash[TOKEN_HASH_LEN], FILE *to) {
    fputs(hash_prefix, to);
    for (size_t i = 0; i < TOKEN_HASH_LEN; i++)
        fprintf(to, "%02x", hash[i]);
}

static void print_scopes(unsigned scopes, FILE *to) {
    size_t len;
    const char *word, *comma = "";
    for (size_t i = 0; (word = config_word(config_scope_words, i, &len)); i++)
        if (scopes & 1u << i) {
            fprintf(to, "%s%.*s", comma, (int)len, word);
            comma = ", ";
        }
}

static void print_token(const struct config_token *token, FILE *to) {
    char text[CLOCK_TEXT_CAP];
    fprintf(to, "\n  - {name: \"%s\"", token->name);
    if (token->has_hash) {
        fputs(", hash: \"", to);
        config_token_hash_put(token->hash, to);
        fputc('"', to);
    }
    if (token->client_cert)
        fprintf(to, ", client_cert: \"%s\"", token->client_cert);
    fputs(", scopes: [", to);
    print_scopes(token->scopes, to);
    fputc(']', to);
    for (size_t i = 0; i < token->n_services; i++)
        fprintf(to, "%s\"%s\"", i ? ", " : ", services: [", token->services[i]);
    fputs(token->n_services ? "]" : "", to);
    if (token->expires_at) {
        clock_to_text(token->expires_at, text);
        fprintf(to, ", expires: \"%s\"", text);
    }
    if (token->rate > 0)
        fprintf(to, ", rate: %.10g, burst: %.10g", token->rate, token->burst);
    fputc('}', to);
}

void config_tokens_print(const struct config_tokens *tokens, FILE *to) {
    for (size_t i = 0; i < tokens->n; i++)
        print_token(&tokens->items[i], to);
}
