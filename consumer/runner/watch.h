/* watch.h: looks whether a run is over its limits. */
#ifndef LH_RUNNER_WATCH_H
#define LH_RUNNER_WATCH_H

#include "consumer/runner/protocol.h"

#include <stdbool.h>

enum { WATCH_MS = 50 }; /* between two looks */

/* The run has a limit that must be looked after. */
bool watch_needed(const struct runner_limits *limits);

/* Measures all that descends from this process, and asks the run's group (group.h, "": none):
 * WHY_MEMORY, WHY_NPROC or WHY_NONE. */
enum runner_why watch_check(const struct runner_limits *limits, const char *group);

#endif
