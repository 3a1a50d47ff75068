/* config_value.c: types of values. */
#include "config/config_tokens.h"

#include "base/mem.h"

#include <limits.h>
#include <stdarg.h>
#include <string.h>

_Static_assert(offsetof(struct config_mq, n_librdkafka) ==
                   offsetof(struct config_mq, librdkafka) + sizeof(struct config_pair *),
               "KEY_PAIRS: the count follows the pointer");
_Static_assert(offsetof(struct config_module, n_env) ==
                   offsetof(struct config_module, env) + sizeof(struct config_pair *),
               "KEY_PAIRS: the count follows the pointer");

struct pairs { /* what a KEY_PAIRS offset points at */
    struct config_pair *items;
    size_t n;
};

enum { EXPECT_MAX_BYTES = 300, TEXT_MAX_BYTES = YAML_BYTES_MAX };

/* One value on its way. */
struct setting {
    const struct config_source *src;
    const struct config_key *key;
    const char *name;
    const struct yaml_tree *tree;
    void *at; /* the value's place */
};

enum rc config_fail(const struct config_source *src, int line, const char *name, const char *format,
                    ...) {
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return error_set(src->err, RC_CONFIG, "%s:%d: %s: %s", src->path, line, name, text);
}

enum rc config_no_memory(const struct config_source *src) {
    return error_set(src->err, RC_NO_MEMORY, "%s: out of memory", src->path);
}

static enum rc not_as_expected(const struct setting *s, const struct yaml_tree *found) {
    struct buf expect LH_CLEANUP_BUF;
    buf_init(&expect, EXPECT_MAX_BYTES);
    config_key_expect(s->key, &expect);
    if (buf_rc(&expect) != RC_OK)
        return config_no_memory(s->src);
    if (found->kind != YAML_SCALAR || yaml_tree_empty(found) || s->key->mask)
        return config_fail(s->src, found->line, s->name, "expected %s, found %s", expect.data,
                           yaml_tree_kind(found));
    return config_fail(s->src, found->line, s->name, "expected %s, found %s'%.60s'", expect.data,
                       found->plain ? "" : "the text ", found->text);
}

/* Digits with an optional sign and up to `decimals` (≤ 3) decimals, times ten to that power.
 * Eighteen digits at most. */
static bool number_read(const char *text, int decimals, int64_t *ret) {
    bool negative = *text == '-';
    const char *at = text + negative;
    int64_t value = 0;
    int digits = 0;
    if (at[0] == '0' && at[1] >= '0' && at[1] <= '9')
        return false;
    for (; *at >= '0' && *at <= '9' && digits < 15; at++, digits++)
        value = value * 10 + (*at - '0');
    if (!digits)
        return false;
    if (decimals && *at == '.' && !at[1])
        return false;
    if (decimals && *at == '.')
        at++;
    for (; decimals; decimals--)
        value = value * 10 + (*at >= '0' && *at <= '9' ? *at++ - '0' : 0);
    *ret = negative ? -value : value;
    return *at == '\0';
}

static bool in_thousandths(enum key_type type) {
    return type == KEY_SECONDS || type == KEY_AGE || type == KEY_SHARE;
}

static bool in_range(const struct config_key *key, int64_t value) {
    return (value >= key->min && value <= key->max) || (key->type == KEY_AGE && value == 0);
}

static enum rc set_number(const struct setting *s) {
    const struct config_key *key = s->key;
    int64_t value;
    if (s->tree->kind != YAML_SCALAR || !s->tree->plain ||
        !number_read(s->tree->text, in_thousandths(key->type) ? 3 : 0, &value) ||
        !in_range(key, value))
        return not_as_expected(s, s->tree);
    if (key->type == KEY_INT || key->type == KEY_SECONDS || key->type == KEY_SHARE)
        *(int *)s->at = (int)value;
    else
        *(int64_t *)s->at = key->type == KEY_KB ? value * 1024 : value;
    return RC_OK;
}

static enum rc set_bool(const struct setting *s) {
    if (s->tree->kind != YAML_SCALAR || !s->tree->plain)
        return not_as_expected(s, s->tree);
    bool yes = strcmp(s->tree->text, "true") == 0;
    if (!yes && strcmp(s->tree->text, "false") != 0)
        return not_as_expected(s, s->tree);
    *(bool *)s->at = yes;
    return RC_OK;
}

/* The position of `text` among the words, or -1. */
static int word_index(const char *words, const char *text) {
    size_t len;
    const char *word;
    for (int i = 0; (word = config_word(words, (size_t)i, &len)); i++)
        if (strlen(text) == len && memcmp(word, text, len) == 0)
            return i;
    return -1;
}

static enum rc set_word(const struct setting *s) {
    int i = s->tree->kind == YAML_SCALAR ? word_index(s->key->words, s->tree->text) : -1;
    if (i < 0)
        return not_as_expected(s, s->tree);
    *(unsigned *)s->at = (unsigned)i;
    return RC_OK;
}

char *config_path(const char *dir, const char *text) {
    struct buf path LH_CLEANUP_BUF;
    buf_init(&path, TEXT_MAX_BYTES + PATH_MAX);
    if (text[0] != '/') {
        buf_str(&path, dir);
        if (strcmp(dir, "/") != 0)
            buf_char(&path, '/');
    }
    buf_str(&path, text);
    return buf_take(&path, NULL);
}

static bool text_good(const struct config_key *key, const struct yaml_tree *tree) {
    return tree->kind == YAML_SCALAR && (!key->check || key->check(tree->text)) &&
           (!key->words || word_index(key->words, tree->text) >= 0);
}

/* A key left empty ("MONGO_USERNAME:") is an empty text where that is the default. */
static bool left_empty(const struct setting *s) {
    return yaml_tree_empty(s->tree) && !(s->key->fallback && !s->key->fallback[0]);
}

static enum rc set_text(const struct setting *s) {
    if (left_empty(s) || !text_good(s->key, s->tree))
        return not_as_expected(s, s->tree);
    const char *text = yaml_tree_empty(s->tree) ? "" : s->tree->text;
    if (s->key->type == KEY_PATH && !text[0])
        return not_as_expected(s, s->tree);
    char *copy =
        s->key->type == KEY_PATH ? config_path(s->src->dir, text) : mem_dup(text, strlen(text));
    if (!copy)
        return config_no_memory(s->src);
    free(*(char **)s->at);
    *(char **)s->at = copy;
    return RC_OK;
}

/* A list of at least one text, each passing the key's check. */
static enum rc list_check(const struct setting *s) {
    if (s->tree->kind != YAML_LIST || !s->tree->n_items)
        return not_as_expected(s, s->tree);
    for (size_t i = 0; i < s->tree->n_items; i++) {
        const struct yaml_tree *item = s->tree->items[i].value;
        if (yaml_tree_empty(item) || !text_good(s->key, item))
            return not_as_expected(s, item);
    }
    return RC_OK;
}

static void argv_destroy(char **argv) {
    for (char **arg = argv; arg && *arg; arg++)
        free(*arg);
    free(argv);
}

static enum rc set_argv(const struct setting *s) {
    enum rc rc = list_check(s);
    if (rc != RC_OK)
        return rc;
    char **argv = calloc(s->tree->n_items + 1, sizeof(*argv));
    if (!argv)
        return config_no_memory(s->src);
    for (size_t i = 0; i < s->tree->n_items; i++) {
        const char *text = s->tree->items[i].value->text;
        argv[i] = mem_dup(text, strlen(text));
        if (!argv[i]) {
            argv_destroy(argv);
            return config_no_memory(s->src);
        }
    }
    argv_destroy(*(char ***)s->at);
    *(char ***)s->at = argv;
    return RC_OK;
}

static enum rc set_joined(const struct setting *s) {
    enum rc rc = list_check(s);
    if (rc != RC_OK)
        return rc;
    struct buf joined LH_CLEANUP_BUF;
    buf_init(&joined, TEXT_MAX_BYTES);
    for (size_t i = 0; i < s->tree->n_items; i++) {
        if (i)
            buf_char(&joined, ',');
        buf_str(&joined, s->tree->items[i].value->text);
    }
    char *text = buf_take(&joined, NULL);
    if (!text)
        return config_no_memory(s->src);
    free(*(char **)s->at);
    *(char **)s->at = text;
    return RC_OK;
}

static void pairs_free(struct pairs *pairs) {
    for (size_t i = 0; i < pairs->n; i++) {
        free(pairs->items[i].name);
        free(pairs->items[i].value);
    }
    free(pairs->items);
    *pairs = (struct pairs){0};
}

static enum rc pair_set(const struct setting *s, const struct yaml_item *item,
                        struct config_pair *ret) {
    bool empty = yaml_tree_empty(item->value);
    if (item->value->kind != YAML_SCALAR || !item->key[0] || strchr(item->key, '=') ||
        (s->key->check && (empty || !s->key->check(item->value->text))))
        return config_fail(s->src, item->line, s->name, "%.80s: expected a name and %s, found %s",
                           item->key, s->key->expect ? s->key->expect : "a text",
                           yaml_tree_kind(item->value));
    const char *value = empty ? "" : item->value->text;
    ret->name = mem_dup(item->key, strlen(item->key));
    ret->value = mem_dup(value, strlen(value));
    return ret->name && ret->value ? RC_OK : config_no_memory(s->src);
}

static enum rc set_pairs(const struct setting *s) {
    if (s->tree->kind != YAML_MAP && !yaml_tree_empty(s->tree))
        return not_as_expected(s, s->tree);
    struct pairs pairs = {.n = s->tree->n_items};
    pairs.items = calloc(pairs.n + 1, sizeof(*pairs.items));
    enum rc rc = pairs.items ? RC_OK : config_no_memory(s->src);
    if (rc != RC_OK)
        pairs.n = 0;
    for (size_t i = 0; rc == RC_OK && i < pairs.n; i++)
        rc = pair_set(s, &s->tree->items[i], &pairs.items[i]);
    if (rc != RC_OK) {
        pairs_free(&pairs);
        return rc;
    }
    pairs_free(s->at);
    *(struct pairs *)s->at = pairs;
    return RC_OK;
}

static enum rc set_store(const struct setting *s) {
    struct config *cfg = (struct config *)((char *)s->at - offsetof(struct config, store));
    const char *text = s->tree->kind == YAML_SCALAR ? s->tree->text : "";
    if (strcmp(text, "mongodb") == 0) {
        cfg->store = STORE_MONGODB;
        return RC_OK;
    }
    if (strncmp(text, "sqlite:", 7) != 0 || !text[7])
        return not_as_expected(s, s->tree);
    char *path = config_path(s->src->dir, text + 7);
    if (!path)
        return config_no_memory(s->src);
    free(cfg->sqlite_path);
    cfg->sqlite_path = path;
    cfg->store = STORE_SQLITE;
    return RC_OK;
}

static enum rc service_set(const struct setting *s, const struct yaml_tree *item,
                           struct config *cfg) {
    if (config_service(cfg, item->text))
        return config_fail(s->src, item->line, s->name, "'%s' is listed twice", item->text);
    struct config_service *service = &cfg->services[cfg->n_services];
    service->name = mem_dup(item->text, strlen(item->text));
    if (!service->name)
        return config_no_memory(s->src);
    cfg->n_services++;
    return config_value_defaults(s->src, HOME_SERVICE, service);
}

static enum rc set_services(const struct setting *s) {
    struct config *cfg = (struct config *)((char *)s->at - offsetof(struct config, services));
    enum rc rc = list_check(s);
    if (rc != RC_OK)
        return rc;
    if (s->tree->n_items > (size_t)s->key->max)
        return config_fail(s->src, s->tree->line, s->name, "at most %d services", (int)s->key->max);
    cfg->services = calloc(s->tree->n_items, sizeof(*cfg->services));
    if (!cfg->services)
        return config_no_memory(s->src);
    for (size_t i = 0; rc == RC_OK && i < s->tree->n_items; i++)
        rc = service_set(s, s->tree->items[i].value, cfg);
    return rc;
}

static enum rc set_tokens(const struct setting *s) {
    struct config *cfg = (struct config *)((char *)s->at - offsetof(struct config, tokens));
    return config_tokens_read(s->src, cfg, s->tree, s->at);
}

static enum rc (*const setters[])(const struct setting *) = {
    [KEY_TEXT] = set_text,     [KEY_PATH] = set_text,      [KEY_WORD] = set_word,
    [KEY_BOOL] = set_bool,     [KEY_INT] = set_number,     [KEY_COUNT] = set_number,
    [KEY_KB] = set_number,     [KEY_SECONDS] = set_number, [KEY_AGE] = set_number,
    [KEY_SHARE] = set_number,  [KEY_ARGV] = set_argv,      [KEY_JOINED] = set_joined,
    [KEY_PAIRS] = set_pairs,   [KEY_STORE] = set_store,    [KEY_SERVICES] = set_services,
    [KEY_TOKENS] = set_tokens,
};

enum rc config_value_set(const struct config_source *src, const struct config_key *key,
                         const char *name, const struct yaml_tree *tree, void *home) {
    struct setting setting = {src, key, name, tree, (char *)home + key->offset};
    return setters[key->type](&setting);
}

enum rc config_value_defaults(const struct config_source *src, enum key_home home_kind,
                              void *home) {
    for (size_t i = 0; i < n_config_keys; i++) {
        const struct config_key *key = &config_keys[i];
        if (key->home != home_kind || !key->fallback)
            continue;
        struct yaml_tree written = {
            .kind = YAML_SCALAR, .plain = true, .text = (char *)key->fallback};
        enum rc rc = config_value_set(src, key, key->pattern, &written, home);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

static void value_free(const struct config_key *key, void *at) {
    switch (key->type) {
    case KEY_TEXT:
    case KEY_PATH:
    case KEY_JOINED:
        free(*(char **)at);
        break;
    case KEY_ARGV:
        argv_destroy(*(char ***)at);
        break;
    case KEY_PAIRS:
        pairs_free(at);
        break;
    case KEY_TOKENS:
        config_tokens_finish(at);
        break;
    default:
        break; /* holds no memory of its own, or belongs to the whole (config_destroy) */
    }
}

void config_values_free(enum key_home home_kind, void *home) {
    for (size_t i = 0; i < n_config_keys; i++)
        if (config_keys[i].home == home_kind)
            value_free(&config_keys[i], (char *)home + config_keys[i].offset);
}
