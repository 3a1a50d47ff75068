/* progress.c: one line that is drawn over. */
#include "cli/progress.h"

#include "base/clock.h"
#include "cli/terminal.h"

#include <inttypes.h>
#include <stdio.h>

enum { BAR_WIDTH = 30, EVERY_MS = 100 };

void progress_begin(struct progress *progress, int64_t total) {
    *progress =
        (struct progress){.on = terminal_err(), .total = total, .begin_ms = clock_mono_ms()};
}

static void draw_bar(int64_t done, int64_t total) {
    if (done > total)
        done = total;
    int full = (int)(done * BAR_WIDTH / total);
    fputc('[', stderr);
    for (int i = 0; i < BAR_WIDTH; i++)
        fputc(i < full ? '#' : '-', stderr);
    fprintf(stderr, "] %3d %%  ", (int)(done * 100 / total));
}

void progress_show(struct progress *progress, int64_t done, int64_t tasks) {
    int64_t now_ms = clock_mono_ms();
    if (!progress->on || now_ms - progress->shown_ms < EVERY_MS)
        return;
    progress->shown_ms = now_ms;
    int64_t since_ms = now_ms - progress->begin_ms;
    fputs("\r\x1b[K", stderr);
    if (progress->total > 0)
        draw_bar(done, progress->total);
    fprintf(stderr, "%" PRId64 " tasks  %" PRId64 "/s", tasks,
            since_ms > 0 ? tasks * 1000 / since_ms : 0);
}

void progress_end(struct progress *progress) {
    if (progress->on && progress->shown_ms)
        fputs("\r\x1b[K", stderr);
    progress->on = false;
}
