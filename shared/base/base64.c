/* base64.c: bytes as text. */
#include "base/base64.h"

#include <stdlib.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void put_group(const unsigned char *bytes, size_t len, char to[4]) {
    unsigned group = (unsigned)bytes[0] << 16;
    if (len > 1)
        group |= (unsigned)bytes[1] << 8;
    if (len > 2)
        group |= bytes[2];
    to[0] = alphabet[group >> 18];
    to[1] = alphabet[group >> 12 & 63];
    to[2] = len > 1 ? alphabet[group >> 6 & 63] : '=';
    to[3] = len > 2 ? alphabet[group & 63] : '=';
}

void base64_put(struct buf *to, const void *bytes, size_t len) {
    const unsigned char *from = bytes;
    if (!buf_reserve(to, (len + 2) / 3 * 4))
        return;
    while (len > 0) {
        char group[4];
        size_t part = len < 3 ? len : 3;
        put_group(from, part, group);
        buf_append(to, group, sizeof group);
        from += part;
        len -= part;
    }
}

/* The six bits that a character stands for, -1: none. */
static int bits_of(char c) {
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Reads n characters (2 to 4) of a group into n - 1 bytes; bits that no byte takes must be 0. */
static bool read_group(const char *text, size_t n, unsigned char *to) {
    unsigned group = 0;
    for (size_t i = 0; i < 4; i++) {
        int bits = i < n ? bits_of(text[i]) : 0;
        if (bits < 0)
            return false;
        group = group << 6 | (unsigned)bits;
    }
    for (size_t i = 0; i < n - 1; i++)
        to[i] = (unsigned char)(group >> (16 - 8 * i) & 0xff);
    return (group & (0xffffffU >> 8 * (n - 1))) == 0;
}

enum rc base64_read(const char *text, size_t len, char **ret, size_t *ret_len) {
    if (len % 4 != 0)
        return RC_INVALID_PARAMETER;
    unsigned char *bytes = malloc(len / 4 * 3 + 1);
    size_t n = 0;
    bool ok = true;
    if (!bytes)
        return RC_NO_MEMORY;
    for (size_t i = 0; ok && i < len; i += 4) {
        bool last = i + 4 == len;
        size_t pads = !last || text[i + 3] != '=' ? 0 : text[i + 2] != '=' ? 1 : 2;
        ok = read_group(text + i, 4 - pads, bytes + n);
        n += 3 - pads;
    }
    if (!ok) {
        free(bytes);
        return RC_INVALID_PARAMETER;
    }
    *ret = (char *)bytes;
    *ret_len = n;
    return RC_OK;
}
