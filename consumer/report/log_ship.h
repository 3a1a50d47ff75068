/* log_ship.h: brings what runs print to the API while they run, however slow or far away it is.
 *
 *   module ──pipe──> log_run_write ──> a file per stream (log_file.h) ──> log_task, in batches
 *
 * Every byte goes into a file first, so the module never waits and memory stays bounded; a stream
 * that stays silent has no file. One call at a time takes pieces of all streams that have
 * something, every SHIP_MS or as soon as a stream has SHIP_BYTES. The API says where each stream
 * goes on: after an answer that was lost, or a store that has forgotten something, the stream goes
 * on from there. A stream is done when all of it and its end are taken; then its file is removed.
 *
 * What other processes left on disk when they ended is taken over and shipped too. Loop thread
 * only.
 */
#ifndef LH_CONSUMER_LOG_SHIP_H
#define LH_CONSUMER_LOG_SHIP_H

#include "consumer/api_client.h"
#include "task/run_log.h"

enum { SHIP_MS = 200, SHIP_BYTES = 65536 };

struct log_ship;
struct log_run;

struct log_ship_options {
    struct event_base *base;
    struct api_client *api;
    const char *spool;          /* folder of the files; NULL: output is not kept */
    int64_t cap;                /* most bytes of a stream that are kept */
    int64_t body_max;           /* bytes that the API takes in one call */
    struct metrics *metrics;    /* where to count; NULL: nowhere */
    void (*settled)(void *arg); /* from the loop, after each call; NULL: nobody */
    void *arg;
};

enum rc log_ship_create(const struct log_ship_options *options, struct log_ship **ret,
                        struct error *err) LH_MUST_USE;

/* The streams of a run that begins (copied). NULL when out of memory: its output is not kept. */
struct log_run *log_ship_begin(struct log_ship *ship, const char *task_id, const char *run_id);

/* What the run's log lines say of its trace. NULL is fine. */
void log_run_trace(struct log_run *run, const char *traceparent);

/* The run has printed these bytes. Where the disk takes no more, the log of that stream ends. NULL
 * is fine. */
void log_run_write(struct log_run *run, enum run_stream stream, const char *bytes, size_t len);

/* The run has ended: takes it. NULL is fine. */
void log_run_end(struct log_run *run);

/* Whether the run has printed nothing. False for NULL. */
bool log_run_silent(const struct log_run *run);

/* The same as log_run_end() for a silent run whose last word tells that: no call is made for it. */
void log_run_drop(struct log_run *run);

/* Streams of ended runs that are not shipped yet. */
size_t log_ship_pending(const struct log_ship *ship);

/* True after a call that failed, until the next one. */
bool log_ship_rests(const struct log_ship *ship);

/* Makes what is not shipped fit to outlive the host, and takes nothing over any more: the consumer
 * stops. */
void log_ship_keep(struct log_ship *ship);

/* What is not shipped stays on disk for the next process; runs that have not ended are given up.
 * NULL is fine. */
void log_ship_destroy(struct log_ship *ship);

#endif
