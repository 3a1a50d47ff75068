/* hash.h: FNV-1a, for tables and to see whether something has changed. Not against people who
 * choose what is hashed. Any thread. */
#ifndef LH_BASE_HASH_H
#define LH_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Of nothing yet: where hash_add() begins. */
#define HASH_NONE UINT64_C(14695981039346656037)

static inline uint64_t hash_add(uint64_t hash, const void *bytes, size_t len) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ p[i]) * UINT64_C(1099511628211);
    return hash;
}

static inline uint64_t hash_text(const char *text) {
    return hash_add(HASH_NONE, text, strlen(text));
}

#endif
