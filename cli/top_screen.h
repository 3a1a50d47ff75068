/* top_screen.h: the terminal while a program draws on the whole of it.
 *
 * Everything that is drawn goes out in one write at the end of a frame, over what stood there:
 * nothing flickers. The terminal is put back as it was at every end: top_screen_leave() at a good
 * one, and by a handler where a signal ends the program at once.
 */
#ifndef LH_CLI_TOP_SCREEN_H
#define LH_CLI_TOP_SCREEN_H

#include "base/buf.h"

struct top_screen {
    int columns, rows;
    int row;         /* of the frame, from 0 */
    struct buf line; /* under way */
    struct buf frame;
};

/* Takes the terminal over. RC_USAGE where stdin or stdout is none. */
enum rc top_screen_enter(struct top_screen *screen, struct error *err) LH_MUST_USE;
void top_screen_leave(struct top_screen *screen);

/* A frame: begin (which looks how large the window is), lines, end. Lines are cut to the window,
 * and those that have no room are dropped. */
void top_screen_begin(struct top_screen *screen);
void top_screen_line(struct top_screen *screen, const char *colour, const char *format, ...)
    LH_PRINTF(3, 4);
void top_screen_end(struct top_screen *screen);

/* Rows that are left in the frame. */
int top_screen_left(const struct top_screen *screen);

#endif
