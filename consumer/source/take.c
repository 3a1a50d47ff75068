/* take.c: one claim_task call after the other. */
#include "consumer/source/take.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mutant.h"

enum { BODY_CAP = 512, ANSWER_MS = 30000 };

/* -- the call's text -- */

void take_put_body(struct buf *body, const struct config_service *service, int max, int wait_ms,
                   const char *claim_id) {
    buf_str(body, "{\"data\":{\"services\":[");
    buf_json_str(body, service->name);
    buf_printf(body, "],\"max\":%d,\"wait_s\":%d.%03d,\"claim_id\":\"%s\"", max, wait_ms / 1000,
               wait_ms % 1000, claim_id);
    claim_put_timeout(service, body);
    buf_str(body, "}}");
}

static void deliver_item(const struct source_options *options, const struct config_service *service,
                         const json_t *item, struct json_span text, int64_t asked_ms) {
    struct assignment assignment;
    struct error err;
    struct claim_times times = {asked_ms, options->cfg->lease_ms};
    if (assignment_from_take(item, text, &times, &assignment, &err) != RC_OK) {
        log_error(.msg = "claimed task cannot be read", .service = service->name,
                  .error = err.text);
        return;
    }
    LH_FAULT_POINT("claim-offset", assignment.task_id);
    options->deliver(&assignment, options->arg);
}

size_t take_deliver(const struct source_options *options, const struct config_service *service,
                    const struct api_answer *answer, int64_t asked_ms) {
    const json_t *items = json_object_get(answer->answer, "data");
    struct json_span rest, text;
    size_t n = 0;
    if (!json_is_array(items) || !json_span_member(answer->raw, "data", &rest))
        return 0;
    for (; json_span_next(&rest, &text); n++)
        deliver_item(options, service, json_array_get(items, n), text, asked_ms);
    return n;
}

/* -- calls -- */

/* Whether nobody can tell what the call did: its claim_id is asked again. */
static bool is_unknown(const struct api_answer *answer) {
    return answer->rc != RC_OK && (answer->outage || answer->rc == RC_OUTCOME_UNKNOWN);
}

/* The delivered tasks take room before the call's own is given up. */
static void on_answer(const struct api_answer *answer, void *arg) {
    struct take *take = arg;
    struct take_answer ret = {.rc = answer->rc, .outage = answer->outage, .text = answer->text};
    ret.ms = (int)(clock_mono_ms() - take->sent_ms);
    if (answer->rc == RC_OK)
        ret.n = take_deliver(take->options, take->service, answer, take->asked_ms);
    take->call = NULL;
    if (!is_unknown(answer))
        take->claim_id[0] = '\0';
    take->done(&ret, take->arg);
}

/* Tasks of a call that was never answered go back to the queue when their leases run out. */
static void forget_if_lapsed(struct take *take) {
    if (!take->call && clock_mono_ms() - take->asked_ms >= take->options->cfg->lease_ms)
        take->claim_id[0] = '\0';
}

bool take_send(struct take *take, int max, int wait_ms) {
    LH_CLEANUP_BUF struct buf body;
    forget_if_lapsed(take);
    take->sent_ms = clock_mono_ms();
    if (!take->claim_id[0]) {
        uuid_make(take->claim_id);
        take->asked_ms = take->sent_ms;
        take->max = max < TAKE_MAX_TASKS ? max : TAKE_MAX_TASKS;
    }
    buf_init(&body, BODY_CAP);
    take_put_body(&body, take->service, take->max, wait_ms, take->claim_id);
    if (buf_rc(&body) == RC_OK)
        take->call = api_post(take->options->api, "/api/claim_task", body.data, body.len,
                              wait_ms + ANSWER_MS, on_answer, take);
    return take->call;
}

int take_open(struct take *take) {
    forget_if_lapsed(take);
    return take->claim_id[0] ? take->max : 0;
}

bool take_out(const struct take *take) {
    return take->call;
}

void take_cancel(struct take *take) {
    api_cancel(take->call);
    take->call = NULL;
}
