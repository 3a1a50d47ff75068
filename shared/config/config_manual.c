/* config_manual.c: longhaul-config(5), from the table of keys. */
#include "config/config_keys.h"
#include "config/manual.h"

#include "base/mem.h"

#include <string.h>

enum { TEXT_CAP = 4096 };

static const struct manual_page see_also[] = {
    {"longhaul-api", 8}, {"longhaul-consumer", 8}, {"longhaul", 1}, {NULL, 0}};

static const char intro[] =
    "The file is YAML (UTF-8, one document, at most 1 MiB, no anchors and no tags), by default "
    "`config.yaml` in the\n"
    "working directory. Relative paths are relative to its folder. `<service>` is a name listed "
    "under `service`;\n"
    "`<env>` is `TEST`, `STAGE` or `PRODUCTION`, and the section that `default_env` names is used. "
    "Numbers and\n"
    "`true` or `false` are written without quotes; a text may have quotes or not. Seconds may have "
    "up to three\n"
    "decimals. Dots below stand for nested maps: `limits.body_kb` is `body_kb` under `limits`.\n"
    "\n"
    "Anything wrong stops the start with exit status 78 and a line that names the place. "
    "`--check-config` only\n"
    "checks, `--print-config` prints what is in effect with secrets as `***`. The environment "
    "variables\n"
    "`AUTH_TOKEN`, `MONGO_PASSWORD` and `SASL_PLAIN_PASSWORD` override the file.\n";

/* Bytes of the path before the last segment. */
static size_t group_of(const char *pattern) {
    const char *dot = strrchr(pattern, '.');
    return dot ? (size_t)(dot - pattern) : 0;
}

static void print_key(FILE *to, const struct config_key *key) {
    LH_CLEANUP_BUF struct buf text;
    buf_init(&text, TEXT_CAP);
    config_key_expect(key, &text);
    if (key->fallback)
        buf_printf(&text, "; default `%s`", key->fallback[0] ? key->fallback : "\"\"");
    buf_printf(&text, ". %s%s", key->help, key->mask ? " Secret." : "");
    manual_item(to, key->pattern, buf_rc(&text) == RC_OK ? text.data : key->help);
}

void config_print_manual(FILE *to) {
    manual_begin(to, "longhaul-config", 5, "configuration of longhaul");
    manual_section(to, "DESCRIPTION");
    manual_text(to, intro);
    manual_section(to, "KEYS");
    for (size_t i = 0; i < n_config_keys; i++) {
        const char *pattern = config_keys[i].pattern;
        size_t len = group_of(pattern);
        bool same = i > 0 && group_of(config_keys[i - 1].pattern) == len &&
                    strncmp(config_keys[i - 1].pattern, pattern, len) == 0;
        char title[128];
        snprintf(title, sizeof title, "%.*s", len ? (int)len : 40, len ? pattern : "top level");
        if (!same)
            manual_subsection(to, title);
        print_key(to, &config_keys[i]);
    }
    manual_section(to, "FILES");
    manual_item(to, "config.yaml", "the configuration, unless `--config` names another file");
    manual_see_also(to, see_also);
}
