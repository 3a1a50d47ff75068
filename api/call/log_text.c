/* log_text.c: raw bytes of a log as text. */
#include "api/call/log_text.h"

#include "base/utf8.h"

#include <string.h>

enum { CHAR_MAX_BYTES = 4 };

static bool goes_on(char c) {
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* How many bytes a character has that begins so; 0: none does. */
static size_t announced(char c) {
    unsigned char lead = (unsigned char)c;
    return lead >= 0xc2 && lead <= 0xdf   ? 2
           : lead >= 0xe0 && lead <= 0xef ? 3
           : lead >= 0xf0 && lead <= 0xf4 ? 4
                                          : 0;
}

/* True where some rest would make a character of the bytes: tried with the least and the greatest
 * byte that may follow, as what may follow the first byte depends on it. */
static bool can_become_char(const char *bytes, size_t len) {
    static const char rests[] = {'\x80', '\x90', '\xbf'};
    char whole[CHAR_MAX_BYTES];
    size_t want = announced(bytes[0]);
    for (size_t i = 0; len < want && i < sizeof rests; i++) {
        memset(whole, rests[i], sizeof whole);
        memcpy(whole, bytes, len);
        if (utf8_char(whole, want) == want)
            return true;
    }
    return false;
}

size_t log_text_whole(const char *bytes, size_t len) {
    for (size_t back = 1; back < CHAR_MAX_BYTES && back <= len; back++) {
        const char *at = bytes + len - back;
        if (!goes_on(*at))
            return can_become_char(at, back) ? len - back : len;
    }
    return len;
}

size_t log_text_rest(const char *bytes, size_t len) {
    size_t n = 0;
    while (n < len && n < CHAR_MAX_BYTES - 1 && goes_on(bytes[n]))
        n++;
    return n;
}

size_t log_text_head(const char *bytes, size_t len, int64_t n) {
    const char *at = bytes, *end = bytes + len;
    while (n-- > 0 && at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        if (!newline)
            return len;
        at = newline + 1;
    }
    return (size_t)(at - bytes);
}

size_t log_text_tail(const char *bytes, size_t len, int64_t n, bool *ret_all) {
    size_t at = len;
    *ret_all = false;
    while (at > 0) {
        const char *newline = memrchr(bytes, '\n', at - 1);
        if (!newline) {
            *ret_all = true;
            return 0;
        }
        at = (size_t)(newline - bytes) + 1;
        if (--n == 0)
            return at;
        /* the newline ends the line before */
    }
    *ret_all = true;
    return 0;
}
