/* buf.h: text built in a growing buffer with a mandatory maximum.
 *
 * Appending never fails at the call: the first failure (over the maximum, or out of memory) is kept
 * in `rc`, later appends do nothing, and the builder asks once at the end with buf_rc(). The bytes
 * are always followed by a NUL that `len` does not count.
 */
#ifndef LH_BASE_BUF_H
#define LH_BASE_BUF_H

#include "base/rc.h"

#include <stdint.h>

struct buf {
    char *data; /* NULL until the first append */
    size_t len;
    size_t cap;
    size_t max; /* most bytes that it may hold */
    enum rc rc; /* RC_OK, RC_TOO_LARGE or RC_NO_MEMORY */
};

/* An empty buffer that may grow to max_bytes. Allocates nothing. */
void buf_init(struct buf *buf, size_t max_bytes);

/* Frees what the buffer holds and makes it empty again (same maximum). */
void buf_finish(struct buf *buf);

/* Empties it, keeping the memory and clearing a failure. */
void buf_clear(struct buf *buf);

/* Makes room for `more` further bytes; false (and rc set) where that is not possible. */
bool buf_reserve(struct buf *buf, size_t more);

void buf_append(struct buf *buf, const void *bytes, size_t len);
void buf_str(struct buf *buf, const char *text);
void buf_char(struct buf *buf, char c);
void buf_int(struct buf *buf, int64_t value);
void buf_printf(struct buf *buf, const char *format, ...) LH_PRINTF(2, 3);

/* Appends `text` (UTF-8, `len` bytes) as a JSON string with its quotes. Control characters and the
 * NUL are escaped, everything else stays as it is; bytes that are not UTF-8 become U+FFFD. */
void buf_json(struct buf *buf, const char *text, size_t len);

/* The same for a C string; NULL becomes null. */
void buf_json_str(struct buf *buf, const char *text);

/* What went wrong so far, RC_OK if nothing. */
enum rc buf_rc(const struct buf *buf) LH_MUST_USE;

/* Hands the bytes over (the caller frees them with free()); the buffer is empty afterwards. An
 * empty buffer gives an allocated "". NULL where buf_rc() is not RC_OK; the buffer is finished
 * then. */
char *buf_take(struct buf *buf, size_t *ret_len) LH_MUST_USE;

#define LH_CLEANUP_BUF __attribute__((cleanup(buf_finish)))

#endif
