/* write_all.h: writing all of something to a descriptor that blocks. */
#ifndef LH_BASE_WRITE_ALL_H
#define LH_BASE_WRITE_ALL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

/* Writes all the bytes, over signals and short writes; false, with errno, where that fails: some
 * may be written. Any thread. */
static inline bool write_all(int fd, const char *bytes, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno != EINTR)
            return false;
        bytes += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

#endif
