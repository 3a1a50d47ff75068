/* mem.h: ownership helpers: cleanup attributes, TAKE, checked duplication. */
#ifndef LH_BASE_MEM_H
#define LH_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#define LH_CLEANUP(fn) __attribute__((cleanup(fn)))

static inline void mem_free_ptr(void *p) {
    free(*(void **)p);
}

/* A local that is freed when it leaves its scope. */
#define LH_FREE LH_CLEANUP(mem_free_ptr)

/* Hands a pointer over: the value, and NULL in its old place. */
#define TAKE(p)                                                                                    \
    __extension__({                                                                                \
        __typeof__(p) take_ = (p);                                                                 \
        (p) = NULL;                                                                                \
        take_;                                                                                     \
    })

#define LH_COUNT(a) (sizeof(a) / sizeof(*(a)))

/* Text of at most `len` bytes, NUL-terminated; NULL when out of memory. `bytes` may hold NULs. */
char *mem_dup(const void *bytes, size_t len);

/* Copies a C string into a fixed array; false (and "" stored) where it does not fit. */
bool mem_copy_str(char *to, size_t cap, const char *from);

#endif
