/* source_api.c: tasks by claim_task: one long poll per service that has room.
 *
 * A poll asks for no more tasks than there was room when it was sent; room only grows while it is
 * out, as nobody else gives this consumer tasks of that service. A poll is never cut short, except
 * by source_destroy: its answer may hold tasks that are claimed already. So it waits in the API
 * only POLL_WAIT_MS, which is the longest that source_stop takes.
 */
#include "consumer/source.h"

#include "base/clock.h"
#include "base/log.h"
#include "consumer/backoff.h"

#include <assert.h>
#include <stdlib.h>

enum {
    POLL_WAIT_MS = 2000, /* at most half a lease: what an answer brings is still held then */
    POLL_MAX_TASKS = 32,
    POLL_TIMEOUT_MS = POLL_WAIT_MS + 30000,
    POLL_BODY_CAP = 512,
    SOON_MS = 100, /* an empty answer that comes sooner was not waited for */
};

struct api_source;

/* The polling of one service. */
struct poll {
    struct api_source *source;
    const struct config_service *service;
    int room;
    struct api_call *call; /* the poll that is out */
    bool delivering;
    int64_t sent_ms;
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

static void poll_answered(const struct api_answer *answer, void *arg);

static void poll_back_off(struct poll *poll) {
    struct timeval wait = backoff_next(&poll->backoff);
    event_add(poll->again, &wait);
}

static void build_body(struct buf *body, const struct poll *poll, int max) {
    int half = poll->source->options.cfg->lease_ms / 2;
    int wait_ms = half < POLL_WAIT_MS ? half : POLL_WAIT_MS;
    buf_init(body, POLL_BODY_CAP);
    buf_str(body, "{\"data\":{\"services\":[");
    buf_json_str(body, poll->service->name);
    buf_printf(body, "],\"max\":%d,\"wait_s\":%d.%03d}}", max, wait_ms / 1000, wait_ms % 1000);
}

/* Sends the next poll if there is room and none is out. */
static void poll_next(struct poll *poll) {
    if (poll->call || poll->delivering || poll->room <= 0 || poll->source->stopping ||
        event_pending(poll->again, EV_TIMEOUT, NULL))
        return;
    LH_CLEANUP_BUF struct buf body;
    build_body(&body, poll, poll->room < POLL_MAX_TASKS ? poll->room : POLL_MAX_TASKS);
    poll->sent_ms = clock_mono_ms();
    if (buf_rc(&body) == RC_OK)
        poll->call = api_post_once(poll->source->options.api, "/api/claim_task", body.data,
                                   body.len, POLL_TIMEOUT_MS, poll_answered, poll);
    if (!poll->call)
        poll_back_off(poll);
}

static void deliver_item(struct poll *poll, struct json_span item) {
    struct assignment assignment;
    struct error err;
    if (assignment_from_take(item, &assignment, &err) != RC_OK) {
        log_error(.msg = "claimed task cannot be read", .service = poll->service->name,
                  .error = err.text);
        return;
    }
    assignment.held_until_ms = poll->sent_ms + poll->source->options.cfg->lease_ms;
    poll->source->options.deliver(&assignment, poll->source->options.arg);
}

/* Hands the claimed tasks on and counts them. */
static size_t deliver_all(struct poll *poll, const struct api_answer *answer) {
    struct json_span rest, item;
    size_t n = 0;
    if (!json_is_array(json_object_get(answer->answer, "data")) ||
        !json_span_member(answer->raw, "data", &rest))
        return 0;
    poll->delivering = true;
    for (; json_span_next(&rest, &item); n++)
        deliver_item(poll, item);
    poll->delivering = false;
    return n;
}

static void finish_if_stopped(struct api_source *source) {
    if (!source->stopping)
        return;
    for (size_t i = 0; i < source->options.n_services; i++)
        if (source->polls[i].call)
            return;
    event_active(source->finished, EV_TIMEOUT, 0);
}

static void poll_answered(const struct api_answer *answer, void *arg) {
    struct poll *poll = arg;
    poll->call = NULL;
    if (answer->rc == RC_OK) {
        size_t n = deliver_all(poll, answer);
        if (n > 0 || clock_mono_ms() - poll->sent_ms >= SOON_MS)
            backoff_reset(&poll->backoff);
        else
            poll_back_off(poll);
    } else {
        if (answer->rc != poll->last && !answer->outage)
            log_warning(.msg = "claim refused", .service = poll->service->name,
                        .code = rc_info(answer->rc)->word, .error = answer->text);
        poll_back_off(poll);
    }
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
        api_cancel(source->polls[i].call);
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
        *poll = (struct poll){.source = source, .service = options->services[i]};
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
