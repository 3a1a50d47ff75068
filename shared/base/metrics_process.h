/* metrics_process.h: what every process tells of itself, read from /proc when somebody asks. */
#ifndef LH_BASE_METRICS_PROCESS_H
#define LH_BASE_METRICS_PROCESS_H

#include "base/buf.h"

/* Appends the families process_*: memory, CPU, descriptors, start; what cannot be read is left out.
 * One thread. */
void metrics_process_write(struct buf *to);

#endif
