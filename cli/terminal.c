/* terminal.c: isatty, its size and colours; stdout and its end. */
#include "cli/terminal.h"

#include "base/mem.h"
#include "cli/interrupt.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool terminal_out(void) {
    return isatty(STDOUT_FILENO);
}

bool terminal_err(void) {
    return isatty(STDERR_FILENO);
}

bool terminal_colour(void) {
    const char *no = getenv("NO_COLOR"), *kind = getenv("TERM");
    return terminal_out() && !(no && no[0]) && kind && strcmp(kind, "dumb") != 0;
}

void terminal_size(int *ret_columns, int *ret_rows) {
    struct winsize size = {0};
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0;
    *ret_columns = known && size.ws_col > 0 ? size.ws_col : 80;
    *ret_rows = known && size.ws_row > 0 ? size.ws_row : 24;
}

const char *terminal_colour_of(const char *word) {
    static const struct {
        const char *word, *colour;
    } colours[] = {
        {"finished", "\x1b[32m"}, {"ok", "\x1b[32m"},     {"failed", "\x1b[31m"},
        {"FAIL", "\x1b[1;31m"},   {"warn", "\x1b[33m"},   {"running", "\x1b[36m"},
        {"Invalid", "\x1b[31m"},  {"paused", "\x1b[33m"},
    };
    for (size_t i = 0; i < LH_COUNT(colours); i++)
        if (strcmp(colours[i].word, word) == 0)
            return colours[i].colour;
    return NULL;
}

/* Whether anything could not be written. */
static bool failed;

static enum rc write_failed(int error, struct error *err) {
    failed = true;
    if (interrupt_seen()) /* it waited for a reader */
        return error_set(err, RC_INTERRUPTED, "interrupted");
    return error_set(err, RC_IO, "stdout: %s", strerror(error));
}

enum rc terminal_flush(struct error *err) {
    if (fflush(stdout) == 0 && !ferror(stdout))
        return RC_OK;
    return write_failed(errno, err);
}

enum rc terminal_write(const char *bytes, size_t len, struct error *err) {
    enum rc rc = terminal_flush(err);
    while (rc == RC_OK && len > 0) {
        ssize_t n = write(STDOUT_FILENO, bytes, len);
        if (n < 0 && (errno != EINTR || interrupt_seen()))
            return write_failed(errno, err);
        bytes += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return rc;
}

bool terminal_broken_pipe(void) {
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return failed && poll(&out, 1, 0) == 1 && (out.revents & POLLERR);
}
