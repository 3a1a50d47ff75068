/* reporter.h: brings the ends of runs to the API, however long the API is away: finished, failed,
 * or handed back.
 *
 * A report is repeated with the same run_id until the API says something definite of it; what
 * ends while a call is out goes out together in the next. A result that the API refuses (too large,
 * not valid) is reported as a failure with the API's words instead. One that the token may not make
 * (FORBIDDEN) is repeated too, rarely: whoever gives tokens may mend it until the task goes on
 * without the run, and then the API says so.
 *
 * A report that is not settled by its first try, or within KEEP_MS, is kept on disk (spool.h) until
 * it is; so is everything when the consumer stops. What other processes left there when they ended
 * is taken over and reported like this one's own. Loop thread only.
 */
#ifndef LH_CONSUMER_REPORTER_H
#define LH_CONSUMER_REPORTER_H

#include "consumer/api_client.h"

struct reporter;

struct reporter_options {
    struct event_base *base;
    struct api_client *api;
    int64_t body_max;  /* bytes that the API takes in one call */
    const char *spool; /* folder of kept reports; NULL: memory only */
    /* Called from the loop after each report that has come to its end, or is on disk now. */
    void (*settled)(void *arg);
    void *arg;
};

enum rc reporter_create(const struct reporter_options *options, struct reporter **ret,
                        struct error *err) LH_MUST_USE;

/* Reports the end of a run (all copied). RC_NO_MEMORY: it is not reported. */
enum rc reporter_send(struct reporter *reporter, const char *task_id, const char *run_id,
                      const struct run_end *end) LH_MUST_USE;

/* Gives the task back to the queue: no process of the run is left, or none was started. Copied;
 * RC_NO_MEMORY: it is not reported. */
enum rc reporter_hand_back(struct reporter *reporter, const char *task_id, const char *run_id,
                           const char *traceparent) LH_MUST_USE;

/* Calls `each` for every report that is not settled: its run still holds the task. Not for those
 * that the token may not make: it may not renew their runs' leases either. */
void reporter_each(const struct reporter *reporter,
                   void (*each)(const char *task_id, const char *run_id, void *arg), void *arg);

/* Tries at once what rests until its next try: something has changed. */
void reporter_again(struct reporter *reporter);

/* Reports that the API has not yet taken or refused. */
size_t reporter_pending(const struct reporter *reporter);

/* Of those, the ones that are not on disk: lost if the process ends now. */
size_t reporter_loose(const struct reporter *reporter);

/* Writes to disk what is pending, and takes nothing over any more: the consumer stops. */
void reporter_keep(struct reporter *reporter);

/* Drops what is pending; what is on disk stays there for the next process. NULL is fine. */
void reporter_destroy(struct reporter *reporter);

#endif
