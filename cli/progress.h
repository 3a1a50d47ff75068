/* progress.h: how far a long verb is, on stderr's terminal; silent elsewhere. */
#ifndef LH_CLI_PROGRESS_H
#define LH_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool on;
    int64_t total; /* 0: nobody knows */
    int64_t begin_ms, shown_ms;
};

void progress_begin(struct progress *progress, int64_t total);

/* `done` of the total, and so many tasks. Drawn at most ten times a second. */
void progress_show(struct progress *progress, int64_t done, int64_t tasks);

/* Takes the line away. */
void progress_end(struct progress *progress);

#endif
