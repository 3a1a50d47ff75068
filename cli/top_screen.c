/* top_screen.c: raw mode, the alternate screen, frames. */
#include "cli/top_screen.h"

#include "base/write_all.h"
#include "cli/terminal.h"
#include "cli/terminal_text.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { FRAME_MAX_BYTES = 4 << 20, LINE_MAX_BYTES = 16384 };

#define ENTER "\x1b[?1049h\x1b[?25l\x1b[2J"
#define LEAVE "\x1b[?25h\x1b[?1049l"

static struct termios before;
static volatile sig_atomic_t entered;

static void put(const char *text, size_t len) {
    (void)write_all(STDOUT_FILENO, text, len);
}

/* Safe in a signal handler. */
static void restore(void) {
    if (!entered)
        return;
    entered = 0;
    put(LEAVE, sizeof LEAVE - 1);
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

static void on_crash(int number) {
    restore();
    signal(number, SIG_DFL);
    raise(number);
}

static void watch_crashes(void) {
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGQUIT};
    static bool watched;
    for (size_t i = 0; !watched && i < sizeof signals / sizeof *signals; i++)
        signal(signals[i], on_crash);
    watched = true;
}

enum rc top_screen_enter(struct top_screen *screen, struct error *err) {
    if (!terminal_out() || tcgetattr(STDIN_FILENO, &before) != 0)
        return error_set(err, RC_USAGE, "top needs a terminal; in a pipe, give --once");
    struct termios raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    watch_crashes();
    entered = 1;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    put(ENTER, sizeof ENTER - 1);
    if (!screen->frame.max) {
        buf_init(&screen->frame, FRAME_MAX_BYTES);
        buf_init(&screen->line, LINE_MAX_BYTES);
    }
    return RC_OK;
}

void top_screen_leave(struct top_screen *screen) {
    restore();
    if (!screen->frame.max)
        return;
    buf_finish(&screen->frame);
    buf_finish(&screen->line);
}

void top_screen_begin(struct top_screen *screen) {
    terminal_size(&screen->columns, &screen->rows);
    screen->row = 0;
    buf_clear(&screen->frame);
    buf_str(&screen->frame, "\x1b[H");
}

int top_screen_left(const struct top_screen *screen) {
    return screen->rows - screen->row;
}

/* What a task says moves no cursor. */
static void put_safe(struct buf *to, const char *text) {
    bool control;
    for (size_t n, len = strlen(text); len > 0; text += n, len -= n) {
        n = terminal_text_char(text, len, &control);
        if (control)
            buf_char(to, ' ');
        else
            buf_append(to, text, n);
    }
}

void top_screen_line(struct top_screen *screen, const char *colour, const char *format, ...) {
    if (screen->row >= screen->rows)
        return;
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    buf_clear(&screen->line);
    put_safe(&screen->line, text);
    bool coloured = colour && terminal_colour();
    buf_str(&screen->frame, screen->row++ ? "\r\n" : "");
    buf_str(&screen->frame, coloured ? colour : "");
    if (screen->line.data)
        buf_append(&screen->frame, screen->line.data,
                   terminal_text_fit(screen->line.data, screen->line.len, (size_t)screen->columns));
    buf_str(&screen->frame, coloured ? TERMINAL_PLAIN : "");
    buf_str(&screen->frame, "\x1b[K");
}

void top_screen_end(struct top_screen *screen) {
    buf_str(&screen->frame, "\x1b[J");
    if (buf_rc(&screen->frame) == RC_OK)
        put(screen->frame.data, screen->frame.len);
}
