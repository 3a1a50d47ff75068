/* config_value.h: one value of the table, from YAML into its struct. */
#ifndef LH_CONFIG_CONFIG_VALUE_H
#define LH_CONFIG_CONFIG_VALUE_H

#include "config/config_keys.h"
#include "config/yaml_tree.h"

/* Where the values come from. */
struct config_source {
    const char *path; /* for errors */
    const char *dir;  /* for relative paths */
    struct error *err;
};

/* "PATH:LINE: NAME: what is wrong", RC_CONFIG. */
enum rc config_fail(const struct config_source *src, int line, const char *name, const char *format,
                    ...) LH_PRINTF(4, 5);

enum rc config_no_memory(const struct config_source *src);

/* Checks `tree` against the key and stores it into `home`, the struct that the key's offset counts
 * in, in place of what was there. `name` is the key's full name for errors. */
enum rc config_value_set(const struct config_source *src, const struct config_key *key,
                         const char *name, const struct yaml_tree *tree, void *home) LH_MUST_USE;

/* Stores the defaults of all keys of one home. */
enum rc config_value_defaults(const struct config_source *src, enum key_home home_kind,
                              void *home) LH_MUST_USE;

/* Frees the values of all keys of one home, not the home itself. */
void config_values_free(enum key_home home_kind, void *home);

/* `text` itself where it is absolute, else below `dir`; NULL when out of memory. */
char *config_path(const char *dir, const char *text);

#endif
