/* terminal_text.h: text on a terminal: how wide it is, where to cut it, and that it draws nothing
 * but characters. Pure functions but for the writing. */
#ifndef LH_CLI_TERMINAL_TEXT_H
#define LH_CLI_TERMINAL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Columns that a text fills: two for the wide characters of East Asia and pictures, none for those
 * that are put onto others, one for all else, a broken byte too. */
size_t terminal_text_width(const char *text, size_t len);

/* Bytes of as many of its first characters as fit into so many columns. */
size_t terminal_text_fit(const char *text, size_t len, size_t columns);

/* Length in bytes of the first character (a broken byte is one), and whether a terminal would obey
 * it instead of showing it: C0 and C1 control characters, DEL. */
size_t terminal_text_char(const char *text, size_t len, bool *ret_control);

/* Writes the text; control characters are shown as "^[" or "?". With `lines` newlines, tabs and
 * carriage returns stay what they are. */
void terminal_text_write(FILE *to, const char *text, size_t len, bool lines);

#endif
