/* api_client.h: the calls that a consumer makes to the API, on the loop, without blocking. */
#ifndef LH_CONSUMER_API_CLIENT_H
#define LH_CONSUMER_API_CLIENT_H

#include "config/config.h"
#include "consumer/slot.h"

struct api_client;

enum rc api_client_create(struct event_base *base, const char *api_url, const char *token,
                          struct api_client **ret, struct error *err) LH_MUST_USE;
void api_client_destroy(struct api_client *api);

/* What came back. rc: RC_OK, the rc of the answer's code word (rc_from_word), or RC_IO when there
 * was no usable answer (then *err text says why). `answer` is the parsed body or NULL; `raw` its
 * bytes, for spans. All borrowed. */
struct api_answer {
    enum rc rc;
    char text[256];
    json_t *answer;
    struct json_span raw;
};
typedef void api_done(const struct api_answer *answer, void *arg);

/* POSTs `body` (copied) to `route` ("/api/claim_task"). `done` is called exactly once, later, from
 * the loop. timeout_ms covers the whole call. A handle to cancel with is returned (done is not
 * called after cancel). */
struct api_call *api_post(struct api_client *api, const char *route, const char *body, size_t len,
                          int timeout_ms, api_done *done, void *arg);
void api_cancel(struct api_call *call);

/* Reads the assignment of a claim's answer (update_status_task's item, or an item of claim_task).
 */
enum rc assignment_from_claim(struct json_span item, struct assignment *ret,
                              struct error *err) LH_MUST_USE;
enum rc assignment_from_take(struct json_span item, struct assignment *ret,
                             struct error *err) LH_MUST_USE;

#endif
