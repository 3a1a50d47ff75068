/* base64.h: bytes as text (RFC 4648, the standard alphabet, padded). Any thread. */
#ifndef LH_BASE_BASE64_H
#define LH_BASE_BASE64_H

#include "base/buf.h"

/* Appends the text of the bytes. */
void base64_put(struct buf *to, const void *bytes, size_t len);

/* The bytes of a text without white space, exactly as base64_put() would write it. The caller owns
 * *ret; it is never NULL on success. RC_INVALID_PARAMETER: it is no such text; RC_NO_MEMORY. */
enum rc base64_read(const char *text, size_t len, char **ret, size_t *ret_len) LH_MUST_USE;

#endif
