/* kafka_feed.c: the claims of one service: in turn, as far as there is room; and what a feed
 * without messages takes from elsewhere. */
#include "consumer/source/kafka.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mutant.h"

#include <stdlib.h>
#include <string.h>

enum {
    WAITING_MAX = 512, /* claims that wait for room; more pause the service's partitions … */
    WAITING_LOW = 256, /* … until so few are left, as the next fetch may take half a second */
    CLAIM_TIMEOUT_MS = 30000,
    CLAIM_BODY_CAP = 2048,
    IDLE_MIN_MS = 250,  /* without messages: then what waits elsewhere is asked for … */
    IDLE_MAX_MS = 2000, /* … and, while nothing does, ever more seldom */
};

/* What a refusal does with the message. Any other answer, or none, may pass: it is kept, and the
 * claim made again. */
enum refusal { KEEP, DROP, HOLD };

static const struct {
    const char *code;
    enum refusal refusal;
    enum log_level level;
} refusals[] = {
    {"ALREADY_CLAIMED", DROP, LOG_DEBUG},
    {"ALREADY_FINAL", DROP, LOG_DEBUG},
    {"STALE_RUN", DROP, LOG_INFO},
    {"NOT_DUE", DROP, LOG_DEBUG},
    {"UNKNOWN_TASK", DROP, LOG_WARNING},
    {"TASK_REMOVED", DROP, LOG_INFO},
    {"INVALID_PARAMETER", DROP, LOG_WARNING},
    {"SERVICE_NOT_SUPPORT", DROP, LOG_WARNING},
    {"SERVICE_PAUSED", HOLD, LOG_DEBUG},
    {"LIMIT_REACHED", HOLD, LOG_DEBUG},
};

static void feed_serve(struct kafka_feed *feed);

static const struct config *config_of(const struct kafka_feed *feed) {
    return kafka_source_config(feed->source);
}

static bool by_priority(const struct kafka_feed *feed) {
    const struct config_module *module = feed->service->module;
    return module->order == ORDER_PRIORITY && !module->legacy;
}

/* -- claims -- */

static void claim_destroy(struct kafka_claim *claim) {
    api_cancel(claim->call);
    event_free(claim->again);
    free(claim);
}

/* Frees the settled claims at the partition's head and commits past them. */
static void part_advance(struct kafka_part *part) {
    struct kafka_claim *claim;
    int64_t commit_at = -1;
    while ((claim = TAILQ_FIRST(&part->claims)) && claim->settled) {
        commit_at = claim->offset + 1;
        TAILQ_REMOVE(&part->claims, claim, in_part);
        part->n_claims--;
        claim_destroy(claim);
    }
    if (commit_at >= 0)
        kafka_part_commit(part, commit_at);
}

/* The claim is out of its feed's lists and has its outcome. It may be gone afterwards. */
static void claim_settle(struct kafka_claim *claim) {
    claim->settled = true;
    if (claim->part)
        part_advance(claim->part);
    else
        claim_destroy(claim);
}

void kafka_claim_skip(struct kafka_claim *claim) {
    claim_settle(claim);
}

static void claim_unsend(struct kafka_claim *claim) {
    TAILQ_REMOVE(&claim->feed->sent, claim, in_feed);
    claim->feed->n_sent--;
}

static void claim_again(struct kafka_claim *claim) {
    struct timeval wait = backoff_next(&claim->backoff);
    event_add(claim->again, &wait);
}

void kafka_claim_orphan(struct kafka_claim *claim) {
    TAILQ_REMOVE(&claim->part->claims, claim, in_part);
    claim->part->n_claims--;
    claim->part = NULL;
    if (claim->asked_ms && !claim->settled)
        return;
    if (!claim->settled) {
        struct kafka_feed *feed = claim->feed;
        TAILQ_REMOVE(&feed->waiting, claim, in_feed);
        feed->full = feed->full && feed->n_waiting - 1 > WAITING_LOW;
        feed->n_waiting--;
    }
    claim_destroy(claim);
}

/* By its own message a task is claimed for a run of ours; otherwise the run's id names the call,
 * until the leases of what it may have brought are over. */
static const char *put_body(struct kafka_claim *claim, struct buf *body) {
    const struct kafka_feed *feed = claim->feed;
    if (!by_priority(feed)) {
        buf_str(body, "{\"data\":{\"task_id\":");
        buf_json_str(body, claim->task_id);
        buf_printf(body, ",\"status\":\"running\",\"run_id\":\"%s\"", claim->run_id);
        claim_put_timeout(feed->service, body);
        buf_str(body, "}}");
        return "/api/update_status_task";
    }
    if (clock_mono_ms() - claim->asked_ms >= config_of(feed)->lease_ms) {
        uuid_make(claim->run_id);
        claim->asked_ms = clock_mono_ms();
    }
    take_put_body(body, feed->service, 1, 0, claim->run_id);
    return "/api/claim_task";
}

static void claim_answered(const struct api_answer *answer, void *arg);

static void claim_send(struct kafka_claim *claim) {
    LH_CLEANUP_BUF struct buf body;
    buf_init(&body, CLAIM_BODY_CAP);
    const char *route = put_body(claim, &body);
    if (buf_rc(&body) == RC_OK)
        claim->call = api_post(claim->feed->take.options->api, route, body.data, body.len,
                               CLAIM_TIMEOUT_MS, claim_answered, claim);
    if (!claim->call)
        claim_again(claim);
}

static void on_again(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    claim_send(arg);
}

struct kafka_claim *kafka_claim_create(struct kafka_part *part, int64_t offset) {
    struct kafka_claim *claim = calloc(1, sizeof *claim);
    if (!claim)
        return NULL;
    claim->again = event_new(kafka_source_base(part->member->source), -1, 0, on_again, claim);
    if (!claim->again) {
        free(claim);
        return NULL;
    }
    claim->part = part;
    claim->offset = offset;
    uuid_make(claim->run_id);
    TAILQ_INSERT_TAIL(&part->claims, claim, in_part);
    part->n_claims++;
    return claim;
}

/* -- answers -- */

/* What the refusal means; a dropped message is logged. */
static enum refusal judge(const struct kafka_claim *claim, const struct api_answer *answer) {
    const char *code = json_string_value(json_object_get(answer->answer, "code"));
    for (size_t i = 0; code && i < sizeof refusals / sizeof *refusals; i++) {
        if (strcmp(code, refusals[i].code) != 0)
            continue;
        if (refusals[i].refusal == DROP && log_enabled(refusals[i].level))
            log_at(refusals[i].level, .msg = "message dropped", .task_id = claim->task_id,
                   .run_id = claim->run_id, .traceparent = claim->traceparent,
                   .service = claim->feed->service->name, .code = code, .error = answer->text);
        return refusals[i].refusal;
    }
    return KEEP;
}

static bool read_claimed(const struct kafka_claim *claim, const struct api_answer *answer,
                         struct assignment *ret) {
    struct json_span item;
    struct error err = {.text = "status: is missing"};
    struct claim_times times = {claim->asked_ms, config_of(claim->feed)->lease_ms};
    if (json_span_member(answer->raw, "status", &item) &&
        assignment_from_claim(json_object_get(answer->answer, "status"), item, &times, ret, &err) ==
            RC_OK)
        return true;
    log_error(.msg = "claimed task cannot be read", .task_id = claim->task_id,
              .run_id = claim->run_id, .traceparent = claim->traceparent, .error = err.text);
    return false;
}

/* Nothing was claimed, and nothing will be for now: the claim goes back to the head of the line,
 * and one asks again later. */
static void claim_hold(struct kafka_claim *claim, const struct api_answer *answer) {
    struct kafka_feed *feed = claim->feed;
    struct timeval wait;
    claim_unsend(claim);
    if (!feed->held)
        log_info(.msg = "service held", .service = feed->service->name,
                 .code = rc_info(answer->rc)->word, .error = answer->text);
    feed->held = true;
    if (!feed->stopping && !event_pending(feed->ask, EV_TIMEOUT, NULL)) {
        wait = backoff_next(&feed->hold);
        event_add(feed->ask, &wait);
    }
    if (!claim->part) {
        claim_destroy(claim);
        return;
    }
    claim->asked_ms = 0;
    TAILQ_INSERT_HEAD(&feed->waiting, claim, in_feed);
    feed->n_waiting++;
}

/* The API has taken or dropped a claim: whatever held the service is over. */
static void feed_release(struct kafka_feed *feed) {
    if (feed->held)
        log_info(.msg = "service held no more", .service = feed->service->name);
    feed->held = false;
    backoff_reset(&feed->hold);
    event_del(feed->ask);
}

/* False: the answer cannot be read, so the claim is to be made again. */
static bool claim_taken(struct kafka_claim *claim, const struct api_answer *answer) {
    const struct source_options *options = claim->feed->take.options;
    const struct config_service *service = claim->feed->service;
    int64_t asked_ms = claim->asked_ms;
    struct assignment assignment;
    bool best = by_priority(claim->feed);
    if (!best && !read_claimed(claim, answer, &assignment))
        return false;
    if (!best)
        LH_FAULT_POINT("claim-offset", claim->task_id);
    claim_unsend(claim);
    claim_settle(claim);
    if (best)
        take_deliver(options, service, answer, asked_ms); /* none: the message was one too many */
    else
        options->deliver(&assignment, options->arg);
    return true;
}

/* False: the claim is still under way. */
static bool claim_ended(struct kafka_claim *claim, const struct api_answer *answer) {
    struct kafka_feed *feed = claim->feed;
    if (answer->rc == RC_OK) {
        feed_release(feed);
        return claim_taken(claim, answer);
    }
    switch (judge(claim, answer)) {
    case DROP:
        feed_release(feed);
        claim_unsend(claim);
        claim_settle(claim);
        return true;
    case HOLD:
        claim_hold(claim, answer);
        return true;
    default:
        return false;
    }
}

static void claim_answered(const struct api_answer *answer, void *arg) {
    struct kafka_claim *claim = arg;
    struct kafka_feed *feed = claim->feed;
    claim->call = NULL;
    if (!claim_ended(claim, answer)) {
        claim_again(claim);
        return;
    }
    feed_serve(feed);
    kafka_source_settled(feed->source);
}

/* -- what waits elsewhere -- */

static int take_room(const struct kafka_feed *feed) {
    return feed->room - feed->n_sent;
}

/* A call without an answer holds room for what it may have claimed: it is made again in any case.
 */
static bool may_take(struct kafka_feed *feed) {
    if (feed->stopping || feed->service->module->legacy || take_out(&feed->take))
        return false;
    return take_open(&feed->take) > 0 ||
           (!feed->held && feed->n_waiting == 0 && take_room(feed) > 0);
}

static void feed_plan_take(struct kafka_feed *feed) {
    uint16_t chance;
    if (!may_take(feed) || event_pending(feed->idle, EV_TIMEOUT, NULL))
        return;
    random_bytes(&chance, sizeof chance);
    int ms = feed->idle_ms - chance % (feed->idle_ms / 4 + 1);
    struct timeval wait = {ms / 1000, ms % 1000 * 1000};
    event_add(feed->idle, &wait);
}

static void feed_take_seldom(struct kafka_feed *feed) {
    int ms = feed->idle_ms * 2;
    feed->idle_ms = ms < IDLE_MIN_MS ? IDLE_MIN_MS : ms > IDLE_MAX_MS ? IDLE_MAX_MS : ms;
}

static void on_idle(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct kafka_feed *feed = arg;
    if (may_take(feed) && !take_send(&feed->take, take_room(feed), 0)) {
        feed_take_seldom(feed);
        feed_plan_take(feed);
    }
}

/* As long as others have work that waits, the next take follows at once. */
static void took(const struct take_answer *answer, void *arg) {
    struct kafka_feed *feed = arg;
    if (answer->n > 0)
        feed->idle_ms = 0;
    else
        feed_take_seldom(feed);
    feed_serve(feed);
    kafka_source_settled(feed->source);
}

/* -- feeds -- */

/* Pauses and resumes where the room or the waiting claims have changed. */
static void flow(struct kafka_feed *feed) {
    feed->full = feed->n_waiting > (feed->full ? WAITING_LOW : WAITING_MAX - 1);
    kafka_source_flow(feed->source, feed);
}

bool kafka_feed_must_wait(const struct kafka_feed *feed) {
    return feed->full || feed->held;
}

/* How many claims may be out. */
static int claim_room(struct kafka_feed *feed) {
    int room = feed->room - take_open(&feed->take);
    if (feed->stopping || event_pending(feed->ask, EV_TIMEOUT, NULL))
        return 0;
    return feed->held && room > 1 ? 1 : room;
}

/* It is held as long as a claim asks, or waits to. One that has lost those with its partitions
 * finds out by the next message. */
static void feed_end_hold(struct kafka_feed *feed) {
    bool asks = feed->n_sent > 0 || feed->n_waiting > 0;
    if (!asks && !event_pending(feed->ask, EV_TIMEOUT, NULL))
        feed->held = false;
}

/* Sends waiting claims as far as there is room. */
static void feed_serve(struct kafka_feed *feed) {
    struct kafka_claim *claim;
    while (feed->n_sent < claim_room(feed) && (claim = TAILQ_FIRST(&feed->waiting))) {
        TAILQ_REMOVE(&feed->waiting, claim, in_feed);
        feed->n_waiting--;
        TAILQ_INSERT_TAIL(&feed->sent, claim, in_feed);
        feed->n_sent++;
        claim->asked_ms = clock_mono_ms();
        claim_send(claim);
    }
    feed_end_hold(feed);
    flow(feed);
    feed_plan_take(feed);
}

static void on_ask(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    feed_serve(arg);
}

void kafka_feed_add(struct kafka_feed *feed, struct kafka_claim *claim) {
    claim->feed = feed;
    TAILQ_INSERT_TAIL(&feed->waiting, claim, in_feed);
    feed->n_waiting++;
    feed->idle_ms = IDLE_MIN_MS;
    if (take_open(&feed->take) == 0) /* else the room for the message may be what it holds */
        event_del(feed->idle);
    feed_serve(feed);
}

void kafka_feed_room(struct kafka_feed *feed, int free_slots) {
    feed->room = free_slots;
    feed_serve(feed);
}

static void free_event(struct event *event) {
    if (event)
        event_free(event);
}

void kafka_feed_stop(struct kafka_feed *feed) {
    feed->stopping = true;
    event_del(feed->idle);
    event_del(feed->ask);
}

bool kafka_feed_busy(const struct kafka_feed *feed) {
    return feed->n_sent > 0 || take_out(&feed->take);
}

enum rc kafka_feed_init(struct kafka_feed *feed, struct kafka_source *source,
                        const struct source_options *options, const struct config_service *service,
                        struct error *err) {
    *feed = (struct kafka_feed){
        .source = source, .service = service, .group = service->group, .idle_ms = IDLE_MIN_MS};
    feed->take = (struct take){.options = options, .service = service, .done = took, .arg = feed};
    TAILQ_INIT(&feed->waiting);
    TAILQ_INIT(&feed->sent);
    feed->ask = event_new(options->base, -1, 0, on_ask, feed);
    feed->idle = event_new(options->base, -1, 0, on_idle, feed);
    return feed->ask && feed->idle ? RC_OK : error_set(err, RC_NO_MEMORY, "out of memory");
}

/* The partitions are gone: what is left was sent. */
void kafka_feed_finish(struct kafka_feed *feed) {
    struct kafka_claim *claim;
    while (feed->source && (claim = TAILQ_FIRST(&feed->sent))) {
        TAILQ_REMOVE(&feed->sent, claim, in_feed);
        claim_destroy(claim);
    }
    take_cancel(&feed->take);
    free_event(feed->idle);
    free_event(feed->ask);
}
