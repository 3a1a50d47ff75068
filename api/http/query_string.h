/* query_string.h: the query of a request's target (a=1&b=x%20y) as a JSON object of strings. */
#ifndef LH_API_QUERY_STRING_H
#define LH_API_QUERY_STRING_H

#include "base/json.h"

/* A name that stands once has a string, one that stands several times an array of them; empty pairs
 * are left out. RC_INVALID_PARAMETER names what is wrong: a bad escape, not UTF-8, no name. The
 * caller owns *ret. */
enum rc query_string_read(const char *query, json_t **ret, struct error *err) LH_MUST_USE;

#endif
