/* auth.h: the token in a request's header. */
#ifndef LH_BASE_AUTH_H
#define LH_BASE_AUTH_H

#include <stdbool.h>

/* The token in `header` (the Authorization value, or NULL), which stands alone or after "Bearer ".
 * NULL: none. Borrowed. */
const char *auth_token_text(const char *header);

/* True when what was given is the token. Takes the same time wherever the two differ. */
bool auth_token_ok(const char *given, const char *token);

#endif
