/* mem.c: checked duplication. */
#include "base/mem.h"

#include <string.h>

char *mem_dup(const void *bytes, size_t len) {
    char *copy = malloc(len + 1);
    if (!copy)
        return NULL;
    if (len)
        memcpy(copy, bytes, len);
    copy[len] = '\0';
    return copy;
}

bool mem_copy_str(char *to, size_t cap, const char *from) {
    size_t len = strlen(from);
    if (len >= cap) {
        to[0] = '\0';
        return false;
    }
    memcpy(to, from, len + 1);
    return true;
}
