/* progress.h: how far a run says that it is. */
#ifndef LH_TASK_PROGRESS_H
#define LH_TASK_PROGRESS_H

#include <jansson.h>
#include <stdbool.h>

enum {
    PROGRESS_MAX_BYTES = 4096, /* of the JSON text */
    PROGRESS_TEXT_BYTES = 1024,
};

/* A number from 0 to 1, or an object with some of "done" and "total" (numbers from 0) and "text"
 * (at most PROGRESS_TEXT_BYTES). */
bool progress_valid(const json_t *value);

#endif
