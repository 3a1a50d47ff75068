/* terminal_text.c: characters, their widths, and those that are not shown. */
#include "cli/terminal_text.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <string.h>

struct range {
    unsigned from, to;
};

/* East Asian Width W and F, in blocks; what is new there since is wide as well. */
static const struct range wide[] = {
    {0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0xa4cf},   {0xac00, 0xd7a3},
    {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},   {0xffe0, 0xffe6},
    {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd},
};

/* Put onto the character before. */
static const struct range none[] = {
    {0x0300, 0x036f}, {0x200b, 0x200f}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfeff, 0xfeff}};

static bool is_in(const struct range *ranges, size_t n, unsigned code) {
    for (size_t i = 0; i < n; i++)
        if (code >= ranges[i].from && code <= ranges[i].to)
            return true;
    return false;
}

static size_t width_of(const char *text, size_t n) {
    unsigned code = n > 1 ? utf8_code(text, n) : ' ';
    return is_in(wide, LH_COUNT(wide), code) ? 2 : is_in(none, LH_COUNT(none), code) ? 0 : 1;
}

size_t terminal_text_char(const char *text, size_t len, bool *ret_control) {
    size_t n = utf8_char(text, len);
    unsigned char first = (unsigned char)text[0];
    bool c1 = n == 2 && first == 0xc2 && (unsigned char)text[1] < 0xa0;
    *ret_control = first < 0x20 || first == 0x7f || c1 || (n == 0 && first >= 0x80 && first < 0xa0);
    return n ? n : 1;
}

size_t terminal_text_width(const char *text, size_t len) {
    size_t width = 0;
    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_char(text + i, len - i);
        n = n ? n : 1;
        width += width_of(text + i, n);
    }
    return width;
}

size_t terminal_text_fit(const char *text, size_t len, size_t columns) {
    size_t at = 0;
    for (size_t n; at < len; at += n) {
        n = utf8_char(text + at, len - at);
        n = n ? n : 1;
        size_t width = width_of(text + at, n);
        if (width > columns)
            break;
        columns -= width;
    }
    return at;
}

void terminal_text_write(FILE *to, const char *text, size_t len, bool lines) {
    bool control;
    for (size_t i = 0, n; i < len; i += n) {
        n = terminal_text_char(text + i, len - i, &control);
        unsigned char first = (unsigned char)text[i];
        bool stays = lines && (first == '\n' || first == '\t' || first == '\r');
        if (!control || stays)
            fwrite(text + i, 1, n, to);
        else if (lines && first < 0x80)
            fprintf(to, "^%c", first ^ 0x40);
        else
            fputc('?', to);
    }
}
