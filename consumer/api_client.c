/* api_client.c: from an HTTP answer to an outcome. */
#include "consumer/api_client.h"

#include "base/clock.h"
#include "base/http_client.h"
#include "base/log.h"
#include "base/mem.h"
#include "consumer/metrics_table.h"

#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

/* Of an answer's body. The API is trusted; this only ends what is no answer of it. */
#define ANSWER_MAX_BYTES ((size_t)256 << 20)
enum { IDLE_CONNECTIONS = 4, TOKEN_MAX_BYTES = 4096 };

struct api_client {
    struct http_client *http;
    char *url;
    char *authorization;
    int64_t out_since_ms; /* clock_mono_ms() at the outage's first failed call; 0: none */
    int64_t out_calls;
    struct metrics *metrics;
    LIST_HEAD(, api_call) calls;
};

struct api_call {
    LIST_ENTRY(api_call) entry;
    struct api_client *api;
    struct http_call *http;
    api_done *done;
    void *arg;
};

/* Outcomes that come when the API, or what stands before it, is not doing its work. */
static bool is_outage(enum rc rc) {
    switch (rc) {
    case RC_IO:
    case RC_NO_MEMORY:
    case RC_INTERNAL:
    case RC_STORE_UNAVAILABLE:
    case RC_OVERLOADED:
    case RC_DRAINING:
    case RC_UNAUTHORIZED:
    case RC_FORBIDDEN:
    case RC_RATE_LIMITED:
    case RC_NOT_FOUND:
    case RC_METHOD_NOT_ALLOWED:
        return true;
    default:
        return false;
    }
}

static void count(struct api_client *api, const struct api_answer *answer) {
    enum call_outcome outcome = answer->outage        ? CALL_UNAVAILABLE
                                : answer->rc == RC_OK ? CALL_OK
                                                      : CALL_REFUSED;
    metrics_add(api->metrics, METRIC_API_CALLS, outcome, 1);
    if (outcome != CALL_UNAVAILABLE)
        metrics_set(api->metrics, METRIC_API_SUCCESS, 0, clock_now_ms() * 1000);
}

static void watch(struct api_client *api, const struct api_answer *answer) {
    count(api, answer);
    if (answer->outage) {
        api->out_calls++;
        if (api->out_since_ms)
            return;
        api->out_since_ms = clock_mono_ms();
        log_warning(.msg = "api unavailable", .address = api->url,
                    .code = rc_info(answer->rc)->word, .error = answer->text);
    } else if (api->out_since_ms) {
        log_info(.msg = "api available again", .address = api->url,
                 .ms = clock_mono_ms() - api->out_since_ms, .count = api->out_calls);
        api->out_since_ms = api->out_calls = 0;
    }
}

static bool is_word(const json_t *value, const char *word) {
    const char *text = json_string_value(value);
    return text && strcmp(text, word) == 0;
}

/* Reads {"result":"ok"} or {"result":"exception","message","code"}; the HTTP status is for people
 * only, as a server may be set to answer 200 always. */
static void read_answer(const struct http_answer *http, json_t *root, struct api_answer *ret) {
    if (is_word(json_object_get(root, "result"), "ok")) {
        ret->rc = RC_OK;
        return;
    }
    const char *code = json_string_value(json_object_get(root, "code"));
    const char *message = json_string_value(json_object_get(root, "message"));
    if (!code) {
        ret->rc = RC_IO;
        snprintf(ret->text, sizeof ret->text, "HTTP %d with an answer that is not the API's",
                 http->status);
        return;
    }
    ret->rc = rc_from_word(code);
    snprintf(ret->text, sizeof ret->text, "%s", message ? message : code);
}

/* The outcome of a call and why, in *ret; the parsed body in *ret_root, if there is one. */
static void judge_answer(const struct http_answer *http, json_t **ret_root,
                         struct api_answer *ret) {
    struct error err;
    enum rc rc = http->rc == RC_OK ? json_read(ret->raw, ret_root, &err) : RC_OK;
    if (http->rc != RC_OK)
        snprintf(ret->text, sizeof ret->text, "%s", http->text);
    else if (rc == RC_NO_MEMORY)
        snprintf(ret->text, sizeof ret->text, "%s", err.text);
    else if (rc != RC_OK)
        snprintf(ret->text, sizeof ret->text, "HTTP %d with an answer that is not JSON",
                 http->status);
    else
        read_answer(http, *ret_root, ret);
}

static void on_answer(const struct http_answer *http, void *arg) {
    struct api_call *call = arg;
    struct api_answer answer = {.rc = RC_IO, .raw = {http->body, http->len}};
    LH_JSON root = NULL;
    judge_answer(http, &root, &answer);
    answer.answer = root;
    answer.outage = is_outage(answer.rc);
    LIST_REMOVE(call, entry);
    watch(call->api, &answer);
    call->done(&answer, call->arg);
    free(call);
}

static struct api_call *post(struct api_client *api, const struct http_call_options *options,
                             api_done *done, void *arg) {
    struct api_call *call = calloc(1, sizeof *call);
    if (!call)
        return NULL;
    *call = (struct api_call){.api = api, .done = done, .arg = arg};
    call->http = http_call_start(api->http, options, on_answer, call);
    if (!call->http) {
        free(call);
        return NULL;
    }
    LIST_INSERT_HEAD(&api->calls, call, entry);
    return call;
}

static struct api_call *post_json(struct api_client *api, const char *route, struct json_span body,
                                  int timeout_ms, api_done *done, void *arg) {
    const struct http_field fields[] = {{"Content-Type", "application/json"},
                                        {"Authorization", api->authorization}};
    struct http_call_options options = {.method = "POST",
                                        .path = route,
                                        .fields = fields,
                                        .n_fields = api->authorization ? 2 : 1,
                                        .body = body.at,
                                        .len = body.len,
                                        .timeout_ms = timeout_ms};
    return post(api, &options, done, arg);
}

struct api_call *api_post(struct api_client *api, const char *route, const char *body, size_t len,
                          int timeout_ms, api_done *done, void *arg) {
    return post_json(api, route, (struct json_span){body, len}, timeout_ms, done, arg);
}

void api_cancel(struct api_call *call) {
    if (!call)
        return;
    LIST_REMOVE(call, entry);
    http_call_cancel(call->http);
    free(call);
}

/* A token stands in a header: visible ASCII and inner blanks only. */
static bool token_fits(const char *token) {
    size_t len = strlen(token);
    for (size_t i = 0; i < len; i++)
        if (token[i] < ' ' || token[i] > '~')
            return false;
    return len > 0 && len <= TOKEN_MAX_BYTES;
}

enum rc api_client_set_token(struct api_client *api, const char *token, struct error *err) {
    if (!token) {
        free(TAKE(api->authorization));
        return RC_OK;
    }
    if (!token_fits(token))
        return error_set(err, RC_CONFIG, "the access token must be 1 to %d ASCII characters",
                         TOKEN_MAX_BYTES);
    struct buf bearer;
    buf_init(&bearer, TOKEN_MAX_BYTES + sizeof "Bearer ");
    buf_printf(&bearer, "Bearer %s", token);
    char *authorization = buf_take(&bearer, NULL);
    if (!authorization)
        return error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
    free(api->authorization);
    api->authorization = authorization;
    return RC_OK;
}

enum rc api_client_create(struct event_base *base, const char *api_url,
                          const struct tls_options *tls, const char *token, struct api_client **ret,
                          struct error *err) {
    struct api_client *api = calloc(1, sizeof *api);
    if (!api)
        return error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
    struct http_client_options options = {.url = api_url,
                                          .tls = tls,
                                          .answer_max_bytes = ANSWER_MAX_BYTES,
                                          .idle_max = IDLE_CONNECTIONS};
    enum rc rc = api_client_set_token(api, token, err);
    if (rc == RC_OK && !(api->url = strdup(api_url)))
        rc = error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
    if (rc == RC_OK)
        rc = http_client_create(base, &options, &api->http, err);
    if (rc == RC_OK) {
        *ret = api;
        return RC_OK;
    }
    api_client_destroy(api);
    if (rc == RC_INVALID_PARAMETER && err)
        err->rc = RC_CONFIG;
    return rc == RC_INVALID_PARAMETER ? RC_CONFIG : rc;
}

enum rc api_client_reload_tls(struct api_client *api, const struct tls_options *tls,
                              struct error *err) {
    return http_client_reload_tls(api->http, tls, err);
}

void api_client_set_metrics(struct api_client *api, struct metrics *metrics) {
    api->metrics = metrics;
}

void api_client_destroy(struct api_client *api) {
    if (!api)
        return;
    struct api_call *call;
    while ((call = LIST_FIRST(&api->calls)))
        api_cancel(call);
    http_client_destroy(api->http);
    free(api->authorization);
    free(api->url);
    free(api);
}
