/* config_tokens.h: access tokens, as a list in the configuration or in a file of their own.
 *
 *   tokens:
 *     - name: ingest
 *       hash: sha256:…        64 hexadecimal digits, of the token's text
 *       scopes: [create, read]
 *       services: [word_count]
 *       expires: 2027-01-01T00:00:00Z
 *       rate: 100
 *       burst: 200
 */
#ifndef LH_CONFIG_CONFIG_TOKENS_H
#define LH_CONFIG_CONFIG_TOKENS_H

#include "config/config_value.h"

enum { CONFIG_TOKENS_MAX = 10000 };

/* Reads the list; services must be configured. "PATH:LINE: tokens.NAME: what is wrong". The caller
 * owns what *ret then holds; *ret is empty before. */
enum rc config_tokens_read(const struct config_source *src, const struct config *cfg,
                           const struct yaml_tree *tree, struct config_tokens *ret) LH_MUST_USE;

/* Prints the items of the list as YAML that is read again. */
void config_tokens_print(const struct config_tokens *tokens, FILE *to);

#endif
