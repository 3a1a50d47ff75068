/* auth.h: may this request pass? */
#ifndef LH_API_AUTH_H
#define LH_API_AUTH_H

#include <stdbool.h>

/* True when `header` (the Authorization value, or NULL) is the token, alone or after "Bearer ".
 * Takes the same time wherever the two differ. */
bool auth_token_ok(const char *header, const char *token);

#endif
