/* config_print.c: the effective configuration as YAML, and the documentation of the keys. */
#include "base/mem.h"
#include "base/utf8.h"
#include "config/config_keys.h"

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

static void print_list(FILE *to, char *const *items) {
    for (size_t i = 0; items[i]; i++) {
        fputs(i ? ", " : "[", to);
        print_quoted(to, items[i]);
    }
    fputc(']', to);
}

/* "a,b" as a list. */
static void print_joined(FILE *to, const char *joined) {
    fputc('[', to);
    for (const char *end; *joined; joined = end) {
        end = strchrnul(joined, ',');
        print_quoted_bytes(to, joined, (size_t)(end - joined));
        if (*end++ != ',')
            break;
        fputs(", ", to);
    }
    fputc(']', to);
}

static void print_pairs(FILE *to, const struct config_key *key, const struct config_pair *pairs,
                        size_t n, size_t depth) {
    for (size_t i = 0; i < n; i++) {
        fputc('\n', to);
        print_indent(to, depth);
        print_name(to, pairs[i].name);
        fputc(' ', to);
        print_quoted(to, key->mask ? key->mask : pairs[i].value);
    }
}

static void print_text(FILE *to, const struct config_key *key, const char *text) {
    print_quoted(to, key->mask && text[0] ? key->mask : text);
}

static void print_word(FILE *to, const struct config_key *key, size_t i) {
    size_t len;
    const char *word = config_word(key->words, i, &len);
    fprintf(to, "%.*s", (int)len, word);
}

static void print_services(FILE *to, const struct config *cfg) {
    for (size_t i = 0; i < cfg->n_services; i++) {
        fputs(i ? ", " : "[", to);
        print_quoted(to, cfg->services[i].name);
    }
    fputc(']', to);
}

static void print_store(FILE *to, const struct config *cfg) {
    if (cfg->store == STORE_MONGODB) {
        fputs("mongodb", to);
        return;
    }
    LH_FREE char *text = NULL;
    if (asprintf(&text, "sqlite:%s", cfg->sqlite_path) > 0)
        print_quoted(to, text);
}

/* The value at `at`; `depth` is the indentation of what stands below its key. */
static void print_value(FILE *to, const struct config_key *key, const void *home, size_t depth) {
    const char *at = (const char *)home + key->offset;
    switch (key->type) {
    case KEY_TEXT:
    case KEY_PATH:
        print_text(to, key, *(char *const *)at);
        break;
    case KEY_WORD:
        print_word(to, key, *(const unsigned *)at);
        break;
    case KEY_BOOL:
        fputs(*(const bool *)at ? "true" : "false", to);
        break;
    case KEY_INT:
        fprintf(to, "%d", *(const int *)at);
        break;
    case KEY_COUNT:
        fprintf(to, "%" PRId64, *(const int64_t *)at);
        break;
    case KEY_KB:
        fprintf(to, "%" PRId64, *(const int64_t *)at / 1024);
        break;
    case KEY_SECONDS:
        fprintf(to, "%.10g", *(const int *)at / 1000.0);
        break;
    case KEY_ARGV:
        print_list(to, *(char **const *)at);
        break;
    case KEY_JOINED:
        print_joined(to, *(char *const *)at);
        break;
    case KEY_PAIRS:
        print_pairs(to, key, *(struct config_pair *const *)at,
                    *(const size_t *)(at + sizeof(void *)), depth);
        break;
    case KEY_STORE:
        print_store(to, home);
        break;
    case KEY_SERVICES:
        print_services(to, home);
        break;
    }
}

static bool has_value(const struct config_key *key, const void *home) {
    const char *at = (const char *)home + key->offset;
    switch (key->type) {
    case KEY_TEXT:
    case KEY_PATH:
    case KEY_ARGV:
    case KEY_JOINED:
        return *(void *const *)at;
    case KEY_PAIRS:
        return *(const size_t *)(at + sizeof(void *)) > 0;
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
    if (key->type != KEY_PAIRS)
        fputc(' ', p->to);
    print_value(p->to, key, home, place.n);
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
        end = group_end(from);
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
