/* report.h: what a shared object says of its run, as report lines.
 *
 * Progress goes out at once. Result and error are kept until the run's end, when one line says how
 * it went: that line ends the task for the consumer, and whatever came of the task before it, its
 * log too, is out by then.
 */
#ifndef LH_HOST_REPORT_H
#define LH_HOST_REPORT_H

#include "base/buf.h"
#include "consumer/host/longhaul.h"

#include <pthread.h>

struct report {
    struct longhaul_run run; /* first: what the module is given */
    int fd;                  /* where the lines go */
    const char *task_id;
    pthread_mutex_t lock; /* of what follows and of writing: modules have threads */
    bool has_result, has_error;
    struct buf result; /* JSON text without white space */
    int error_class;
    struct buf error;
};

/* `task_id` must stay valid until report_finish(). */
void report_init(struct report *report, int fd, const char *task_id);
void report_finish(struct report *report);

/* Writes the line that ends the task; `status`: what longhaul_run() returned. False where nobody
 * reads any more. */
bool report_end(struct report *report, int status) LH_MUST_USE;

/* From now on SIGTERM is kept for longhaul_cancelled(); it interrupts what waits. */
void report_catch_term(void);

/* SIGTERM ends the process again; true if one came meanwhile. */
bool report_release_term(void);

#endif
