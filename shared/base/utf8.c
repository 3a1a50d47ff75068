/* utf8.c: strict UTF-8. */
#include "base/utf8.h"

struct form {
    unsigned char mask, lead;
    size_t len;
    unsigned min;
};

static const struct form forms[] = {
    {0x80, 0x00, 1, 0}, {0xe0, 0xc0, 2, 0x80}, {0xf0, 0xe0, 3, 0x800}, {0xf8, 0xf0, 4, 0x10000}};

static size_t decode(const unsigned char *p, size_t len, const struct form *form) {
    if (len < form->len)
        return 0;
    unsigned code = p[0] & (unsigned char)~form->mask;
    for (size_t i = 1; i < form->len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3fU);
    }
    bool surrogate = code >= 0xd800 && code <= 0xdfff;
    return code >= form->min && code <= 0x10ffff && !surrogate ? form->len : 0;
}

size_t utf8_char(const char *text, size_t len) {
    const unsigned char *p = (const unsigned char *)text;
    if (len == 0)
        return 0;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if ((p[0] & forms[i].mask) == forms[i].lead)
            return decode(p, len, &forms[i]);
    return 0;
}

unsigned utf8_code(const char *text, size_t n) {
    static const unsigned char masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    unsigned code = (unsigned char)text[0] & masks[n];
    for (size_t i = 1; i < n; i++)
        code = code << 6 | ((unsigned char)text[i] & 0x3f);
    return code;
}

bool utf8_valid(const char *text, size_t len) {
    while (len > 0) {
        size_t step = utf8_char(text, len);
        if (step == 0)
            return false;
        text += step;
        len -= step;
    }
    return true;
}
