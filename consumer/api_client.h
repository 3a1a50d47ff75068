/* api_client.h: the calls that a consumer makes to the API, on the loop, without blocking.
 *
 * It also watches whether the API does its work: an outage is logged once when it begins and once
 * when it ends, however many callers meet it. Loop thread only.
 */
#ifndef LH_CONSUMER_API_CLIENT_H
#define LH_CONSUMER_API_CLIENT_H

#include "base/metrics.h"
#include "config/config.h"
#include "consumer/slot/slot.h"

struct api_client;
struct api_call;
struct tls_options;

/* `tls` is of an https url; NULL: the system's CA. RC_CONFIG for a url, file or token that cannot
 * be used. Connects to nothing yet. */
enum rc api_client_create(struct event_base *base, const char *api_url,
                          const struct tls_options *tls, const char *token, struct api_client **ret,
                          struct error *err) LH_MUST_USE;

/* Where to count its calls; NULL: nowhere. */
void api_client_set_metrics(struct api_client *api, struct metrics *metrics);

/* Calls that begin from now on carry this token; NULL: none. RC_CONFIG for one that cannot be used;
 * then the old one stays. */
enum rc api_client_set_token(struct api_client *api, const char *token,
                             struct error *err) LH_MUST_USE;

/* Reads the files of `tls` again, as http_client_reload_tls() does. */
enum rc api_client_reload_tls(struct api_client *api, const struct tls_options *tls,
                              struct error *err) LH_MUST_USE;

/* Calls that are still out end without `done`. NULL is fine. */
void api_client_destroy(struct api_client *api);

/* What came back. rc: RC_OK, the rc of the answer's code word (rc_from_word), or RC_IO when there
 * was no usable answer. text: why, for people; "" with RC_OK. `answer` is the parsed body or NULL;
 * `raw` its bytes, for spans. All borrowed for the call. */
struct api_answer {
    enum rc rc;
    bool outage; /* the API is not doing its work, which says nothing of the task; logged already */
    char text[512];
    json_t *answer;
    struct json_span raw;
};
typedef void api_done(const struct api_answer *answer, void *arg);

/* POSTs `body` (copied) to `route` ("/api/update_status_task"). `done` is called exactly once,
 * later, from the loop. timeout_ms covers the whole call. The handle is for api_cancel until `done`
 * is called. NULL: no memory, `done` is not called.
 *
 * If a kept connection breaks before anything was answered, the call is sent a second time: the
 * route must be repeatable (by its run_id or claim_id). */
struct api_call *api_post(struct api_client *api, const char *route, const char *body, size_t len,
                          int timeout_ms, api_done *done, void *arg) LH_MUST_USE;

/* `done` is not called any more. NULL is fine. */
void api_cancel(struct api_call *call);

/* When a claim was first asked for (clock_mono_ms()), and how long it holds its task. */
struct claim_times {
    int64_t asked_ms;
    int lease_ms;
};

/* Appends `,"timeout_s":1.5` to a claim: how long an attempt of the service may take where the task
 * does not say. Nothing where the module has no limit. */
void claim_put_timeout(const struct config_service *service, struct buf *to);

/* Reads the assignment of a claim's answer that has just come: update_status_task's item, and an
 * item of claim_task, each parsed and as the bytes that it was parsed from. RC_INVALID_PARAMETER
 * with what is wrong. The caller owns *ret (assignment_finish). */
enum rc assignment_from_claim(const json_t *item, struct json_span text,
                              const struct claim_times *times, struct assignment *ret,
                              struct error *err) LH_MUST_USE;
enum rc assignment_from_take(const json_t *item, struct json_span text,
                             const struct claim_times *times, struct assignment *ret,
                             struct error *err) LH_MUST_USE;

#endif
