/* auth.c: the token check. */
#include "api/auth.h"

#include <string.h>
#include <strings.h>

static bool equal_in_constant_time(const char *given, const char *token) {
    size_t n = strlen(given), len = strlen(token);
    volatile unsigned char differ = n != len;
    for (size_t i = 0; i < n; i++)
        differ |= (unsigned char)(given[i] ^ token[len ? i % len : 0]);
    return differ == 0;
}

bool auth_token_ok(const char *header, const char *token) {
    static const char scheme[] = "Bearer ";
    if (!header)
        return false;
    if (strncasecmp(header, scheme, sizeof scheme - 1) == 0)
        header += sizeof scheme - 1;
    return equal_in_constant_time(header, token);
}
