/* config_parse.h: a configuration while it is being read: what config.c and config_finish.c share.
 */
#ifndef LH_CONFIG_CONFIG_PARSE_H
#define LH_CONFIG_CONFIG_PARSE_H

#include "config/config.h"
#include "config/config_value.h"
#include "config/yaml_tree.h"

enum { ENV_COUNT = 3, CONFIG_NAME_CAP = 300 };

/* A file being read. */
struct parse {
    struct config *cfg;
    struct config_mongo envs[ENV_COUNT]; /* cfg->mongo is the one in use, taken at the end */
    struct yaml_tree *root;
    struct config_source src;
};

/* "module.word_count.slots", cut where it is very long. */
const char *config_place_name(const struct config_place *place, char ret[CONFIG_NAME_CAP]);

/* Applies what depends on more than one key, on the environment or on the file's folder, and checks
 * it: the store and broker in use, paths, addresses. RC_CONFIG with file, line and key. */
enum rc config_finish(struct parse *p) LH_MUST_USE;

#endif
