/* api.c: tasks by claim_task: long polls for each service that has room.
 *
 * Polls ask for no more tasks, together, than there was room when the last was sent; room only
 * grows while they are out, as nobody else gives this consumer tasks of that service. One is out at
 * a time, but while tasks come a second may go out beside it for the places that have become free
 * meanwhile: so some of the modules work while tasks for the others are fetched. A poll is never
 * cut short, except by source_destroy: its answer may hold tasks that are claimed already. So it
 * waits in the API only POLL_WAIT_MS, which is the longest that source_stop takes.
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
    POLLS = 2,           /* that may be out for one service */
    SECOND_PART = 4,     /* a second one asks for tasks for at least 1/4 of the places */
};

struct api_source;
struct polling;

struct poll {
    struct polling *polling;
    struct take take;
};

/* The polling of one service. */
struct polling {
    struct api_source *source;
    const struct config_service *service;
    struct poll polls[POLLS];
    int room;
    bool flows;          /* the last answer had tasks */
    struct event *again; /* pending while it backs off; else active until the turn is over */
    struct backoff backoff;
    enum rc last; /* outcome of the last poll, to log a refusal once */
};

struct api_source {
    struct source source;
    struct source_options options;
    struct polling *pollings; /* one per service, in options.services' order */
    bool stopping;
    void (*stopped)(void *arg);
    void *stopped_arg;
    struct event *finished;
};

static bool polling_waits(const struct polling *polling) {
    return event_pending(polling->again, EV_TIMEOUT, NULL);
}

static void polling_back_off(struct polling *polling) {
    struct timeval wait = backoff_next(&polling->backoff);
    event_del(polling->again);
    event_add(polling->again, &wait);
}

/* Polls when the loop has served what it woke for: the room of all that ended in this turn is asked
 * for together. */
static void polling_soon(struct polling *polling) {
    if (!polling->source->stopping && !polling_waits(polling))
        event_active(polling->again, EV_TIMEOUT, 0);
}

/* Tasks that the other polls may still bring. */
static int spoken_for(struct polling *polling, const struct poll *poll) {
    int n = 0;
    for (int i = 0; i < POLLS; i++)
        n += &polling->polls[i] == poll ? 0 : take_open(&polling->polls[i].take);
    return n;
}

static bool other_out(const struct polling *polling, const struct poll *poll) {
    bool out = false;
    for (int i = 0; i < POLLS; i++)
        out = out || (&polling->polls[i] != poll && take_out(&polling->polls[i].take));
    return out;
}

/* Tasks that the poll may ask for now. One that is made again asks for what it was. */
static int poll_room(struct poll *poll) {
    struct polling *polling = poll->polling;
    int left = polling->room - spoken_for(polling, poll);
    if (left <= 0 || take_open(&poll->take) > 0 || !other_out(polling, poll))
        return left;
    return polling->flows && left * SECOND_PART >= polling->service->module->slots ? left : 0;
}

/* Sends what polls there is room for. */
static void polling_poll(struct polling *polling) {
    int half = polling->source->options.cfg->lease_ms / 2;
    int wait_ms = half < POLL_WAIT_MS ? half : POLL_WAIT_MS;
    for (int i = 0; i < POLLS && !polling->source->stopping && !polling_waits(polling); i++) {
        struct poll *poll = &polling->polls[i];
        int room = take_out(&poll->take) ? 0 : poll_room(poll);
        if (room > 0 && !take_send(&poll->take, room, wait_ms))
            polling_back_off(polling);
    }
}

static bool any_out(const struct api_source *source) {
    for (size_t i = 0; i < source->options.n_services; i++)
        if (other_out(&source->pollings[i], NULL))
            return true;
    return false;
}

static void finish_if_stopped(struct api_source *source) {
    if (source->stopping && !any_out(source))
        event_active(source->finished, EV_TIMEOUT, 0);
}

static void poll_answered(const struct take_answer *answer, void *arg) {
    struct polling *polling = ((struct poll *)arg)->polling;
    polling->flows = answer->n > 0;
    if (answer->rc == RC_OK && (answer->n > 0 || answer->ms >= SOON_MS))
        backoff_reset(&polling->backoff);
    else if (!polling->source->stopping)
        polling_back_off(polling);
    if (answer->rc != RC_OK && answer->rc != polling->last && !answer->outage)
        log_warning(.msg = "claim refused", .service = polling->service->name,
                    .code = rc_info(answer->rc)->word, .error = answer->text);
    polling->last = answer->rc;
    polling_soon(polling);
    finish_if_stopped(polling->source);
}

static void on_again(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    polling_poll(arg);
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
    source->pollings[service].room = free_slots;
    if (free_slots > 0)
        polling_soon(&source->pollings[service]);
}

static void api_stop(struct source *base, void (*stopped)(void *arg), void *arg) {
    struct api_source *source = (struct api_source *)base;
    assert(!source->stopping);
    source->stopping = true;
    source->stopped = stopped;
    source->stopped_arg = arg;
    for (size_t i = 0; i < source->options.n_services; i++)
        event_del(source->pollings[i].again);
    finish_if_stopped(source);
}

static void polling_close(struct polling *polling) {
    for (int i = 0; i < POLLS; i++)
        take_cancel(&polling->polls[i].take);
    if (polling->again)
        event_free(polling->again);
}

static void api_destroy(struct source *base) {
    struct api_source *source = (struct api_source *)base;
    for (size_t i = 0; source->pollings && i < source->options.n_services; i++)
        polling_close(&source->pollings[i]);
    if (source->finished)
        event_free(source->finished);
    free(source->pollings);
    free(source);
}

static const struct source_impl impl = {"api", api_room, api_stop, api_destroy};

static bool polling_open(struct api_source *source, struct polling *polling,
                         const struct config_service *service) {
    *polling = (struct polling){.source = source, .service = service};
    for (int i = 0; i < POLLS; i++) {
        struct poll *poll = &polling->polls[i];
        poll->polling = polling;
        poll->take = (struct take){
            .options = &source->options, .service = service, .done = poll_answered, .arg = poll};
    }
    polling->again = event_new(source->options.base, -1, 0, on_again, polling);
    return polling->again;
}

static bool build(struct api_source *source) {
    const struct source_options *options = &source->options;
    source->finished = event_new(options->base, -1, 0, on_finished, source);
    source->pollings =
        calloc(options->n_services ? options->n_services : 1, sizeof *source->pollings);
    if (!source->finished || !source->pollings)
        return false;
    bool ok = true;
    for (size_t i = 0; ok && i < options->n_services; i++)
        ok = polling_open(source, &source->pollings[i], options->services[i]);
    return ok;
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
