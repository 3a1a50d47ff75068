/* utf8.h: strict UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF). */
#ifndef LH_BASE_UTF8_H
#define LH_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Length in bytes of the character at `text`, 0 where the bytes are not one. */
size_t utf8_char(const char *text, size_t len);

/* The code point of a character of `n` bytes, as utf8_char() has found it. */
unsigned utf8_code(const char *text, size_t n);

bool utf8_valid(const char *text, size_t len);

#endif
