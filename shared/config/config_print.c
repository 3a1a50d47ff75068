/* config_print.c: the effective configuration as YAML, and the documentation of the keys. */
#include "base/mem.h"
#include "base/utf8.h"
#include "config/config_tokens.h"

#include <inttypes.h>
#include <string.h>

enum { NAME_CAP = 80 }; /* of one segment of a path */

struct printer {
    FILE *to;
    char open[PLACE_MAX]
             [NAME_CAP]; /* the groups whose headings were printed last, outermost first */
    size_t n_open;
};

/* The code point of the character at `text`, of `len` bytes. */
static uint32_t code_point(const char *text, size_t len) {
    static const unsigned char first_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t c = (unsigned char)text[0] & first_bits[len];
    for (size_t i = 1; i < len; i++)
        c = c << 6 | ((unsigned char)text[i] & 0x3f);
    return c;
}

/* What may stand unescaped between double quotes. */
static bool printable(uint32_t c) {
    return c >= 0x20 && c != '"' && c != '\\' && (c < 0x7f || c > 0x9f) && c != 0x2028 &&
           c != 0x2029 && c != 0xfeff && c != 0xfffe && c != 0xffff;
}

static void print_quoted_bytes(FILE *to, const char *text, size_t left) {
    fputc('"', to);
    while (left) {
        size_t len = utf8_char(text, left);
        uint32_t c = len ? code_point(text, len) : 0xfffd;
        if (len && printable(c))
            fwrite(text, 1, len, to);
        else
            fprintf(to, "\\U%08" PRIx32, c);
        text += len ? len : 1;
        left -= len ? len : 1;
    }
    fputc('"', to);
}

static void print_quoted(FILE *to, const char *text) {
    print_quoted_bytes(to, text, strlen(text));
}

/* A key of a map: quoted where it is no simple word. */
static void print_name(FILE *to, const char *name) {
    static const char simple[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789.";
    if (name[0] && strspn(name, simple) == strlen(name))
        fputs(name, to);
    else
        print_quoted(to, name);
    fputc(':', to);
}

static void print_indent(FILE *to, size_t depth) {
    fprintf(to, "%*s", (int)depth * 2, "");
}

/* One value on its way out. */
struct showing {
    FILE *to;
    const struct config_key *key;
    const void *home;
    const void *at; /* the value's place */
    size_t depth;   /* indentation of what stands below its key */
};

static void show_text(const struct showing *s) {
    const char *text = *(char *const *)s->at;
    print_quoted(s->to, s->key->mask && text[0] ? s->key->mask : text);
}

static void show_word(const struct showing *s) {
    size_t len;
    const char *word = config_word(s->key->words, *(const unsigned *)s->at, &len);
    fprintf(s->to, "%.*s", (int)len, word);
}

static void show_bool(const struct showing *s) {
    fputs(*(const bool *)s->at ? "true" : "false", s->to);
}

static void show_int(const struct showing *s) {
    fprintf(s->to, "%d", *(const int *)s->at);
}

static void show_count(const struct showing *s) {
    fprintf(s->to, "%" PRId64, *(const int64_t *)s->at);
}

static void show_kb(const struct showing *s) {
    fprintf(s->to, "%" PRId64, *(const int64_t *)s->at / 1024);
}

static void show_seconds(const struct showing *s) {
    fprintf(s->to, "%.10g", *(const int *)s->at / 1000.0);
}

static void show_age(const struct showing *s) {
    fprintf(s->to, "%.15g", (double)*(const int64_t *)s->at / 1000.0);
}

static void show_argv(const struct showing *s) {
    char *const *items = *(char **const *)s->at;
    for (size_t i = 0; items[i]; i++) {
        fputs(i ? ", " : "[", s->to);
        print_quoted(s->to, items[i]);
    }
    fputc(']', s->to);
}

/* "a,b" as a list. */
static void show_joined(const struct showing *s) {
    const char *at = *(char *const *)s->at;
    fputc('[', s->to);
    for (const char *end; *at; at = end) {
        end = strchrnul(at, ',');
        print_quoted_bytes(s->to, at, (size_t)(end - at));
        if (*end++ != ',')
            break;
        fputs(", ", s->to);
    }
    fputc(']', s->to);
}

/* How many pairs there are stands behind the pointer to them. */
static size_t n_pairs(const void *at) {
    return *(const size_t *)((const char *)at + sizeof(struct config_pair *));
}

static void show_pairs(const struct showing *s) {
    const struct config_pair *pairs = *(struct config_pair *const *)s->at;
    for (size_t i = 0; i < n_pairs(s->at); i++) {
        fputc('\n', s->to);
        print_indent(s->to, s->depth);
        print_name(s->to, pairs[i].name);
        fputc(' ', s->to);
        print_quoted(s->to, s->key->mask ? s->key->mask : pairs[i].value);
    }
}

static void show_store(const struct showing *s) {
    const struct config *cfg = s->home;
    LH_FREE char *text = NULL;
    if (cfg->store == STORE_MONGODB)
        fputs("mongodb", s->to);
    else if (asprintf(&text, "sqlite:%s", cfg->sqlite_path) > 0)
        print_quoted(s->to, text);
}

static void show_services(const struct showing *s) {
    const struct config *cfg = s->home;
    for (size_t i = 0; i < cfg->n_services; i++) {
        fputs(i ? ", " : "[", s->to);
        print_quoted(s->to, cfg->services[i].name);
    }
    fputc(']', s->to);
}

static void show_tokens(const struct showing *s) {
    config_tokens_print(s->at, s->to);
}

static void (*const shows[])(const struct showing *) = {
    [KEY_TEXT] = show_text,     [KEY_PATH] = show_text,       [KEY_WORD] = show_word,
    [KEY_BOOL] = show_bool,     [KEY_INT] = show_int,         [KEY_COUNT] = show_count,
    [KEY_KB] = show_kb,         [KEY_SECONDS] = show_seconds, [KEY_AGE] = show_age,
    [KEY_SHARE] = show_seconds, [KEY_ARGV] = show_argv,       [KEY_JOINED] = show_joined,
    [KEY_PAIRS] = show_pairs,   [KEY_STORE] = show_store,     [KEY_SERVICES] = show_services,
    [KEY_TOKENS] = show_tokens,
};

static bool has_value(const struct config_key *key, const void *home) {
    const char *at = (const char *)home + key->offset;
    if (key->home == HOME_MODULE && !config_key_applies(key, home))
        return false;
    switch (key->type) {
    case KEY_TEXT:
    case KEY_PATH:
    case KEY_ARGV:
    case KEY_JOINED:
        return *(void *const *)at;
    case KEY_PAIRS:
        return n_pairs(at) > 0;
    case KEY_TOKENS:
        return ((const struct config_tokens *)at)->n > 0;
    default:
        return true;
    }
}

/* Headings of the groups around `place`, unless they are open already. */
static void print_headings(struct printer *p, const struct config_place *place) {
    size_t groups = place->n - 1, shared = 0;
    while (shared < groups && shared < p->n_open &&
           strcmp(place->seg[shared], p->open[shared]) == 0)
        shared++;
    for (size_t i = shared; i < groups; i++) {
        print_indent(p->to, i);
        print_name(p->to, place->seg[i]);
        fputc('\n', p->to);
        mem_copy_str(p->open[i], NAME_CAP, place->seg[i]);
    }
    p->n_open = groups;
}

/* A pattern cut into segments, `wild` in the place of its "<…>". `storage` holds the texts. */
static struct config_place place_of(const char *pattern, const char *wild, char storage[NAME_CAP]) {
    struct config_place place = {.n = 0};
    mem_copy_str(storage, NAME_CAP, pattern);
    for (char *at = storage; at;) {
        char *segment = strsep(&at, ".");
        place.seg[place.n++] = segment[0] == '<' ? wild : segment;
    }
    return place;
}

static void print_key(struct printer *p, const struct config_key *key, const char *wild,
                      const void *home) {
    if (!has_value(key, home))
        return;
    char storage[NAME_CAP];
    struct config_place place = place_of(key->pattern, wild, storage);
    print_headings(p, &place);
    print_indent(p->to, place.n - 1);
    print_name(p->to, place.seg[place.n - 1]);
    if (key->type != KEY_PAIRS && key->type != KEY_TOKENS)
        fputc(' ', p->to);
    const struct showing showing = {p->to, key, home, (const char *)home + key->offset, place.n};
    shows[key->type](&showing);
    fputc('\n', p->to);
}

/* Length of the part before the last dot; 0 for a top-level key. */
static size_t group_len(const char *pattern) {
    const char *dot = strrchr(pattern, '.');
    return dot ? (size_t)(dot - pattern) : 0;
}

/* The first key after `from` that is of another group. */
static size_t group_end(size_t from) {
    const char *pattern = config_keys[from].pattern;
    size_t len = group_len(pattern), end = from + 1;
    while (end < n_config_keys && group_len(config_keys[end].pattern) == len &&
           memcmp(config_keys[end].pattern, pattern, len) == 0)
        end++;
    return end;
}

/* The first key after `from` that is not printed together with it: all that one service or
 * environment has goes together, so that no heading comes twice. */
static size_t print_end(size_t from) {
    enum key_home home = config_keys[from].home;
    size_t end = group_end(from);
    while (home != HOME_CONFIG && end < n_config_keys && config_keys[end].home == home)
        end = group_end(end);
    return end;
}

/* A group for one service, for one environment, or for the whole. */
static void print_group(struct printer *p, size_t from, size_t to, const char *wild,
                        const void *home) {
    for (size_t i = from; home && i < to; i++)
        print_key(p, &config_keys[i], wild, home);
}

static void print_groups(struct printer *p, size_t from, size_t to, const struct config *cfg) {
    static const char *const envs[] = {"TEST", "STAGE", "PRODUCTION"};
    switch (config_keys[from].home) {
    case HOME_CONFIG:
        print_group(p, from, to, NULL, cfg);
        break;
    case HOME_ENV:
        print_group(p, from, to, envs[cfg->env], &cfg->mongo);
        break;
    case HOME_SERVICE:
        for (size_t i = 0; i < cfg->n_services; i++)
            print_group(p, from, to, cfg->services[i].name, &cfg->services[i]);
        break;
    case HOME_MODULE:
        for (size_t i = 0; i < cfg->n_services; i++)
            print_group(p, from, to, cfg->services[i].name, cfg->services[i].module);
        break;
    }
}

/* create_topics is switched on by standing in the file, so it is left out where it is off. */
static bool group_off(const struct config_key *key, const struct config *cfg) {
    return strncmp(key->pattern, "mq_conf.create_topics.", 22) == 0 && !cfg->mq.create_topics;
}

void config_print(const struct config *cfg, FILE *to) {
    struct printer printer = {.to = to};
    for (size_t from = 0, end; from < n_config_keys; from = end) {
        end = print_end(from);
        if (!group_off(&config_keys[from], cfg))
            print_groups(&printer, from, end, cfg);
    }
}

static void docs_row(FILE *to, const struct config_key *key) {
    struct buf expect LH_CLEANUP_BUF;
    buf_init(&expect, 300);
    config_key_expect(key, &expect);
    fprintf(to, "| `%s%s` | %s | ", key->pattern, key->type == KEY_PAIRS ? ".<name>" : "",
            buf_rc(&expect) == RC_OK ? expect.data : "");
    if (key->fallback)
        fprintf(to, "`%s`", key->fallback[0] ? key->fallback : "\"\"");
    fprintf(to, " | %s%s |\n", key->help, key->mask ? " Secret." : "");
}

static void docs_group(FILE *to, size_t from, size_t end) {
    size_t len = group_len(config_keys[from].pattern);
    if (len)
        fprintf(to, "\n## `%.*s`\n\n", (int)len, config_keys[from].pattern);
    else
        fprintf(to, "\n## Top level: `%s`%s\n\n", config_keys[from].pattern,
                end - from > 1 ? " and what follows it" : "");
    fputs("| key | value | default | meaning |\n|---|---|---|---|\n", to);
    for (size_t i = from; i < end; i++)
        docs_row(to, &config_keys[i]);
}

static const char docs_intro[] =
    "# Configuration\n"
    "\n"
    "This page is printed from the table in `shared/config/config_keys.c` by\n"
    "`longhaul-api --print-config-docs`.\n"
    "\n"
    "The file is YAML (UTF-8, one document, at most 1 MiB, no anchors and no tags), by default\n"
    "`config.yaml` in the working directory. Relative paths are relative to its folder. "
    "`<service>` is a\n"
    "name listed under `service`; `<env>` is `TEST`, `STAGE` or `PRODUCTION`, and the section "
    "that\n"
    "`default_env` names is used. Numbers and `true`/`false` are written without quotes; a text "
    "may have\n"
    "quotes or not. Seconds may have up to three decimals.\n"
    "\n"
    "Anything wrong stops the start with exit code 78 and a line that names the place:\n"
    "\n"
    "```\n"
    "longhaul-api: config.yaml:12: limits.body_kb: expected an integer from 1 to 65536, found "
    "'big'\n"
    "```\n"
    "\n"
    "`--check-config` only checks, `--print-config` prints what is in effect with secrets as "
    "`***`. The\n"
    "environment variables `AUTH_TOKEN`, `MONGO_PASSWORD` and `SASL_PLAIN_PASSWORD` override the "
    "file.\n";

void config_print_docs(FILE *to) {
    fputs(docs_intro, to);
    for (size_t from = 0, end; from < n_config_keys; from = end) {
        end = group_end(from);
        docs_group(to, from, end);
    }
}
