/* config_keys.h: the table of keys, used by the parser, the printer and the documentation.
 *
 * A pattern is the key's path with its segments separated by dots. "<service>" stands for the name
 * of a service, "<env>" for TEST, STAGE or PRODUCTION. Keys of one group (the same path before the
 * last dot) stand together.
 */
#ifndef LH_CONFIG_CONFIG_KEYS_H
#define LH_CONFIG_CONFIG_KEYS_H

#include "config/config.h"

enum key_type {
    KEY_TEXT,    /* char * */
    KEY_PATH,    /* char *, made absolute against the folder of the file */
    KEY_WORD,    /* an enum: the position in `words` */
    KEY_BOOL,    /* bool */
    KEY_INT,     /* int */
    KEY_COUNT,   /* int64_t */
    KEY_KB,      /* int64_t bytes, written in KiB */
    KEY_SECONDS, /* int milliseconds, written in seconds with up to three decimals */
    KEY_AGE,     /* int64_t milliseconds, written likewise; 0 is allowed whatever the range */
    KEY_SHARE,   /* int thousandths, written as a number with up to three decimals */
    KEY_ARGV,    /* char **, NULL-terminated */
    KEY_JOINED,  /* char *, a list joined by commas */
    KEY_PAIRS,   /* struct config_pair * followed by size_t: a map of texts */
    KEY_TOKENS,  /* struct config_tokens */
    KEY_STORE,   /* struct config: `store` and `sqlite_path` */
    KEY_SERVICES /* struct config: `services`, made of their names */
};

/* Which struct the offset counts in. */
enum key_home { HOME_CONFIG, HOME_ENV, HOME_SERVICE, HOME_MODULE };

struct config_key {
    const char *pattern;
    enum key_type type;
    enum key_home home;
    size_t offset;
    int64_t min, max;                /* of a number as written; KEY_SECONDS, KEY_AGE: in ms,
                                        KEY_SHARE: in thousandths */
    const char *fallback;            /* the default as written; NULL: none */
    const char *words;               /* KEY_WORD, KEY_TEXT: the words allowed, separated by '|' */
    bool (*check)(const char *text); /* of a text, or of each text of a list; may be NULL */
    const char *expect;              /* what `check` lets pass, in words */
    const char *mask;                /* of a secret: printed instead of it; NULL: no secret */
    unsigned kinds; /* HOME_MODULE: the kinds of modules that it belongs to, KEY_OF(kind); 0: all */
    const char *help; /* sentences for docs/config.md; a default that depends is explained here */
};

#define KEY_OF(kind) (1u << (kind))

extern const struct config_key config_keys[];
extern const size_t n_config_keys;

/* A key's place while it is read or printed. */
enum { PLACE_MAX = 4 };
struct config_place {
    const char *seg[PLACE_MAX];
    size_t n;
};

enum place_match { PLACE_NONE, PLACE_PREFIX, PLACE_EXACT };

/* How `place` stands to the pattern; PREFIX: keys of this pattern lie below. */
enum place_match config_place_match(const struct config_place *place, const char *pattern);

/* Segment i of a pattern and its length; NULL beyond the last. */
const char *config_pattern_segment(const char *pattern, size_t i, size_t *ret_len);

/* Whether the key of a module has a meaning for its kind. */
bool config_key_applies(const struct config_key *key, const struct config_module *module);

/* "an integer from 1 to 1000": for errors and the documentation. */
void config_key_expect(const struct config_key *key, struct buf *to);

/* The words of "A|B|C", one a call: the i-th and its length; NULL beyond the last. */
const char *config_word(const char *words, size_t i, size_t *ret_len);

/* Whether spans may go there: a URL of http, or "". */
bool config_collector_ok(const char *text);

extern const char config_env_words[], config_kind_words[];

#endif
