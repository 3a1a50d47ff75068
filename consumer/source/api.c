/* api.c: tasks by claim_task: one long poll per service that has room.
 *
 * A poll asks for no more tasks than there was room when it was sent; room only grows while it is
 * out, as nobody else gives this consumer tasks of that service. A poll is never cut short, except
 * by source_destroy: its answer may hold tasks that are claimed already. So it waits in the API
 * only POLL_WAIT_MS, which is the longest that source_stop takes.
 */
#include "consumer/source/source.h"

#include "base/log.h"
#include "consumer/backoff.h"
#include "consumer/source/take.h"

#include <assert.h>
#include <stdlib.h>

enum {
    POLL_WAIT_MS = 2000, /* at most half a lease: what an answer brings is still held then */
    SOON_MS = 100,       /* an empty answer that comes sooner was not waited for */
};

struct api_source;

/* The polling of one service. */
struct poll {
    struct api_source *source;
    struct take take;
    int room;
    struct event *again; /* pending while it backs off */
    struct backoff backoff;
    enum rc last; /* outcome of the last poll, to log a refusal once */
};

struct api_source {
    struct source source;
    struct source_options options;
    struct poll *polls; /* one per service, in options.services' order */
    bool stopping;
    void (*stopped)(void *arg);
    void *stopped_arg;
    struct event *finished;
};

static void poll_back_off(struct poll *poll) {
    struct timeval wait = backoff_next(&poll->backoff);
    event_add(poll->again, &wait);
}

/* Sends the next poll if there is room and none is out. */
static void poll_next(struct poll *poll) {
    int half = poll->source->options.cfg->lease_ms / 2;
    if (take_out(&poll->take) || poll->room <= 0 || poll->source->stopping ||
        event_pending(poll->again, EV_TIMEOUT, NULL))
        return;
    if (!take_send(&poll->take, poll->room, half < POLL_WAIT_MS ? half : POLL_WAIT_MS))
        poll_back_off(poll);
}

static void finish_if_stopped(struct api_source *source) {
    if (!source->stopping)
        return;
    for (size_t i = 0; i < source->options.n_services; i++)
        if (take_out(&source->polls[i].take))
            return;
    event_active(source->finished, EV_TIMEOUT, 0);
}

static void poll_answered(const struct take_answer *answer, void *arg) {
    struct poll *poll = arg;
    if (answer->rc == RC_OK && (answer->n > 0 || answer->ms >= SOON_MS))
        backoff_reset(&poll->backoff);
    else
        poll_back_off(poll);
    if (answer->rc != RC_OK && answer->rc != poll->last && !answer->outage)
        log_warning(.msg = "claim refused", .service = poll->take.service->name,
                    .code = rc_info(answer->rc)->word, .error = answer->text);
    poll->last = answer->rc;
    poll_next(poll);
    finish_if_stopped(poll->source);
}

static void on_again(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    poll_next(arg);
}

static void on_finished(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct api_source *source = arg;
    source->stopped(source->stopped_arg);
}

static void api_room(struct source *base, size_t service, int free_slots) {
    struct api_source *source = (struct api_source *)base;
    assert(service < source->options.n_services);
    source->polls[service].room = free_slots;
    poll_next(&source->polls[service]);
}

static void api_stop(struct source *base, void (*stopped)(void *arg), void *arg) {
    struct api_source *source = (struct api_source *)base;
    assert(!source->stopping);
    source->stopping = true;
    source->stopped = stopped;
    source->stopped_arg = arg;
    for (size_t i = 0; i < source->options.n_services; i++)
        event_del(source->polls[i].again);
    finish_if_stopped(source);
}

static void api_destroy(struct source *base) {
    struct api_source *source = (struct api_source *)base;
    for (size_t i = 0; source->polls && i < source->options.n_services; i++) {
        take_cancel(&source->polls[i].take);
        if (source->polls[i].again)
            event_free(source->polls[i].again);
    }
    if (source->finished)
        event_free(source->finished);
    free(source->polls);
    free(source);
}

static const struct source_impl impl = {"api", api_room, api_stop, api_destroy};

static bool build(struct api_source *source) {
    const struct source_options *options = &source->options;
    source->finished = event_new(options->base, -1, 0, on_finished, source);
    source->polls = calloc(options->n_services ? options->n_services : 1, sizeof *source->polls);
    if (!source->finished || !source->polls)
        return false;
    for (size_t i = 0; i < options->n_services; i++) {
        struct poll *poll = &source->polls[i];
        *poll = (struct poll){.source = source,
                              .take = {.options = options,
                                       .service = options->services[i],
                                       .done = poll_answered,
                                       .arg = poll}};
        poll->again = event_new(options->base, -1, 0, on_again, poll);
        if (!poll->again)
            return false;
    }
    return true;
}

enum rc source_api_open(const struct source_options *options, struct source **ret,
                        struct error *err) {
    struct api_source *source = calloc(1, sizeof *source);
    if (!source)
        return error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
    source->source.impl = &impl;
    source->options = *options;
    if (!build(source)) {
        api_destroy(&source->source);
        return error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
    }
    *ret = &source->source;
    return RC_OK;
}
