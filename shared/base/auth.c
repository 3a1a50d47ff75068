/* auth.c: the token in a request's header. */
#include "base/auth.h"

#include <string.h>
#include <strings.h>

const char *auth_token_text(const char *header) {
    static const char scheme[] = "Bearer ";
    if (header && strncasecmp(header, scheme, sizeof scheme - 1) == 0)
        return header + sizeof scheme - 1;
    return header;
}

bool auth_token_ok(const char *given, const char *token) {
    size_t n = strlen(given), len = strlen(token);
    volatile unsigned char differ = n != len;
    for (size_t i = 0; i < n; i++)
        differ |= (unsigned char)(given[i] ^ token[len ? i % len : 0]);
    return differ == 0;
}
