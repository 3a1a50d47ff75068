/* yaml_tree.h: one YAML document as a tree that knows the line of everything.
 *
 * The subset that a configuration file needs: maps with text keys, lists and scalars. Anchors,
 * aliases, tags, a second document, duplicate keys and nesting deeper than YAML_DEPTH_MAX are
 * refused.
 */
#ifndef LH_CONFIG_YAML_TREE_H
#define LH_CONFIG_YAML_TREE_H

#include "base/rc.h"

enum { YAML_DEPTH_MAX = 8, YAML_BYTES_MAX = 1 << 20 };

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_item {
    char *key; /* NULL in a list */
    int line;  /* of the key */
    struct yaml_tree *value;
};

struct yaml_tree {
    enum yaml_kind kind;
    int line;
    bool plain; /* of a scalar: written without quotes */
    char *text; /* of a scalar; holds no NUL inside */
    struct yaml_item *items;
    size_t n_items;
};

/* Reads `text`; `name` stands for the file in errors: "NAME:LINE: what is wrong" with RC_CONFIG, or
 * RC_NO_MEMORY. An empty file gives an empty map. The caller owns *ret. */
enum rc yaml_tree_read(const char *name, const char *text, size_t len, struct yaml_tree **ret,
                       struct error *err) LH_MUST_USE;

void yaml_tree_destroy(struct yaml_tree *tree);

/* The item of that name in a map; NULL where it is missing or `tree` is NULL or no map. */
const struct yaml_item *yaml_tree_find(const struct yaml_tree *tree, const char *key);

/* True for a value that was left out: "key:", "key: ~" or "key: null". */
bool yaml_tree_empty(const struct yaml_tree *tree);

/* "a list", "a map", "text": for errors. */
const char *yaml_tree_kind(const struct yaml_tree *tree);

#endif
