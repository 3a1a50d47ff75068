/* hex.h: hexadecimal digits. Any thread. */
#ifndef LH_BASE_HEX_H
#define LH_BASE_HEX_H

/* 0 to 15, of a digit in upper or lower case; -1: it is none. */
static inline int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    char low = (char)(c | 0x20);
    return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

#endif
