/* client.c: the asynchronous HTTP client, waited for. */
#include "cli/client.h"

#include "base/clock.h"
#include "base/http_client.h"
#include "base/loop.h"
#include "base/mem.h"
#include "cli/interrupt.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { ANSWER_MAX_BYTES = 256 << 20, CALL_TIMEOUT_MS = 90000, PAUSE_MAX_MS = 5000, IDLE = 4 };

struct client {
    char *url, *token;
    int64_t patience_ms;
    bool answered; /* an answer of the API has come */
    struct event_base *base;
    struct event *interrupt;
    struct http_client *http;
};

/* A call under way. */
struct client_call {
    struct client *client;
    struct http_call *http;
    client_done *done;
    void *arg;
};

void answer_finish(struct answer *answer) {
    free(answer->text);
    json_decref(answer->root);
    *answer = (struct answer){0};
}

void client_destroy(struct client *client) {
    if (!client)
        return;
    http_client_destroy(client->http);
    if (client->interrupt)
        event_free(client->interrupt);
    loop_free(client->base);
    free(client->url);
    free(client->token);
    free(client);
}

static void client_destroy_ptr(struct client **client) {
    client_destroy(*client);
}

static void on_interrupt(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct client *client = arg;
    event_base_loopbreak(client->base);
}

static bool make_loop(struct client *client) {
    client->base = event_base_new();
    if (!client->base || interrupt_fd() < 0)
        return client->base;
    client->interrupt =
        event_new(client->base, interrupt_fd(), EV_READ | EV_PERSIST, on_interrupt, client);
    return client->interrupt && event_add(client->interrupt, NULL) == 0;
}

enum rc client_create(const char *url, const struct tls_options *tls, const char *token,
                      int64_t patience_ms, struct client **ret, struct error *err) {
    LH_CLEANUP(client_destroy_ptr) struct client *client = calloc(1, sizeof(*client));
    if (!client)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    client->url = mem_dup(url, strlen(url));
    client->token = token ? mem_dup(token, strlen(token)) : NULL;
    client->patience_ms = patience_ms;
    if (!client->url || (token && !client->token) || !make_loop(client))
        return error_set(err, RC_NO_MEMORY, "out of memory");
    const struct http_client_options options = {
        .url = client->url, .tls = tls, .answer_max_bytes = ANSWER_MAX_BYTES, .idle_max = IDLE};
    struct error why;
    enum rc rc = http_client_create(client->base, &options, &client->http, &why);
    if (rc != RC_OK)
        return error_set(err, rc == RC_INVALID_PARAMETER ? RC_USAGE : rc, "%s", why.text);
    *ret = TAKE(client);
    return RC_OK;
}

const char *client_url(const struct client *client) {
    return client->url;
}

struct event_base *client_base(const struct client *client) {
    return client->base;
}

void client_be_impatient(struct client *client) {
    client->patience_ms = 0;
}

/* -- answers -- */

/* The API's own words, or what may be said of an answer that is none of its. */
static enum rc refused(const struct client *client, const struct answer *answer,
                       struct error *err) {
    const char *code = json_string_value(json_object_get(answer->root, "code"));
    const char *message = json_string_value(json_object_get(answer->root, "message"));
    const char *id = json_string_value(json_object_get(answer->root, "task_id"));
    if (code && message) /* an outcome that is unknown names the id that may exist */
        return error_set(err, rc_from_word(code), "%s%s%s", message, id ? "; " : "", id ? id : "");
    return error_set(err, RC_IO, "%s: not an answer of the task API (HTTP status %d)", client->url,
                     answer->status);
}

static void read_headers(const struct http_answer *http, struct answer *answer) {
    const char *after = http_answer_header(http, "Retry-After");
    const char *date = http_answer_header(http, "Date");
    struct tm tm = {0};
    long seconds = after ? strtol(after, NULL, 10) : 0;
    answer->retry_after_s = seconds > 0 && seconds < 3600 ? (int)seconds : 0;
    if (date && strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &tm))
        answer->date_at = (int64_t)timegm(&tm) * 1000;
}

static enum rc answer_read(struct client *client, const struct http_answer *http,
                           struct answer *answer, struct error *err) {
    if (http->rc != RC_OK)
        return error_set(err, http->rc, "%s: %s", client->url, http->text);
    answer->status = http->status;
    read_headers(http, answer);
    answer->text = mem_dup(http->body, http->len);
    if (!answer->text)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    answer->body = (struct json_span){answer->text, http->len};
    struct error why;
    if (json_read(answer->body, &answer->root, &why) == RC_NO_MEMORY)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    const char *result = json_string_value(json_object_get(answer->root, "result"));
    client->answered |= result != NULL;
    return result && strcmp(result, "ok") == 0 ? RC_OK : refused(client, answer, err);
}

static void on_answer(const struct http_answer *http, void *arg) {
    struct client_call *call = arg;
    LH_ANSWER answer = {0};
    struct error err = {.text = ""};
    enum rc rc = answer_read(call->client, http, &answer, &err);
    call->done(rc, &answer, &err, call->arg);
    free(call);
}

/* -- calls -- */

static struct client_call *start(struct client *client, const char *method, const char *path,
                                 const struct buf *body, client_done *done, void *arg) {
    struct client_call *call = calloc(1, sizeof *call);
    struct http_field fields[2];
    size_t n = 0;
    if (!call)
        return NULL;
    *call = (struct client_call){.client = client, .done = done, .arg = arg};
    if (client->token)
        fields[n++] = (struct http_field){"Authorization", client->token};
    if (body)
        fields[n++] = (struct http_field){"Content-Type", "application/json"};
    const struct http_call_options options = {.method = method,
                                              .path = path,
                                              .fields = fields,
                                              .n_fields = n,
                                              .body = body ? body->data : NULL,
                                              .len = body ? body->len : 0,
                                              .timeout_ms = CALL_TIMEOUT_MS,
                                              .once = true};
    call->http = http_call_start(client->http, &options, on_answer, call);
    if (!call->http)
        free(TAKE(call));
    return call;
}

struct client_call *client_start(struct client *client, const char *path, const struct buf *body,
                                 client_done *done, void *arg) {
    return start(client, "POST", path, body, done, arg);
}

void client_cancel(struct client_call *call) {
    if (!call)
        return;
    http_call_cancel(call->http);
    free(call);
}

/* A call that is waited for. */
struct wait {
    struct client *client;
    struct answer *answer;
    struct error *err;
    enum rc rc;
    bool done;
};

static void on_waited(enum rc rc, struct answer *answer, const struct error *err, void *arg) {
    struct wait *wait = arg;
    wait->rc = rc;
    wait->done = true;
    if (rc != RC_OK && wait->err)
        *wait->err = *err;
    *wait->answer = *answer;
    *answer = (struct answer){0};
    event_base_loopbreak(wait->client->base);
}

static enum rc interrupted(struct error *err) {
    return error_set(err, RC_INTERRUPTED, "interrupted");
}

static enum rc call_once(struct client *client, const char *method, const char *path,
                         const struct buf *body, struct answer *answer, struct error *err) {
    struct wait wait = {.client = client, .answer = answer, .err = err};
    if (interrupt_seen())
        return interrupted(err);
    struct client_call *call = start(client, method, path, body, on_waited, &wait);
    if (!call)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    while (!wait.done && !interrupt_seen())
        event_base_dispatch(client->base);
    if (wait.done)
        return wait.rc;
    client_cancel(call);
    return interrupted(err);
}

bool client_may_recover(const struct client *client, enum rc rc) {
    bool unknown = rc == RC_IO || rc == RC_OUTCOME_UNKNOWN || rc == RC_REQUEST_TIMEOUT;
    int http = rc_info(rc)->http;
    return http == 503 || http == 429 || (unknown && client->answered);
}

static void on_pause_over(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct client *client = arg;
    event_base_loopbreak(client->base);
}

enum rc client_sleep(struct client *client, int64_t ms, struct error *err) {
    int64_t end_ms = clock_mono_ms() + ms;
    for (int64_t left; !interrupt_seen() && (left = end_ms - clock_mono_ms()) > 0;) {
        struct timeval pause = {left / 1000, left % 1000 * 1000};
        if (event_base_once(client->base, -1, EV_TIMEOUT, on_pause_over, client, &pause) != 0)
            return error_set(err, RC_NO_MEMORY, "out of memory");
        event_base_dispatch(client->base);
    }
    return interrupt_seen() ? interrupted(err) : RC_OK;
}

static enum rc call_patiently(struct client *client, const char *path, const struct buf *body,
                              bool harmless, struct answer *ret, struct error *err) {
    if (buf_rc(body) != RC_OK)
        return error_set(err, buf_rc(body), "the request is too large");
    int64_t end_ms = clock_mono_ms() + client->patience_ms, pause_ms = 100;
    for (;;) {
        LH_ANSWER answer = {0};
        enum rc rc = call_once(client, "POST", path, body, &answer, err);
        if (rc == RC_OK) {
            *ret = answer;
            answer = (struct answer){0};
            return RC_OK;
        }
        bool busy = rc_info(rc)->http == 503 || rc_info(rc)->http == 429;
        bool again = busy || (harmless && client_may_recover(client, rc));
        if (answer.retry_after_s)
            pause_ms = answer.retry_after_s * INT64_C(1000);
        if (!again || rc == RC_NO_MEMORY || clock_mono_ms() + pause_ms > end_ms)
            return rc;
        enum rc slept = client_sleep(client, pause_ms, err);
        if (slept != RC_OK)
            return slept;
        pause_ms = pause_ms * 2 < PAUSE_MAX_MS ? pause_ms * 2 : PAUSE_MAX_MS;
    }
}

enum rc client_post(struct client *client, const char *path, const struct buf *body,
                    struct answer *ret, struct error *err) {
    return call_patiently(client, path, body, false, ret, err);
}

enum rc client_ask(struct client *client, const char *path, const struct buf *body,
                   struct answer *ret, struct error *err) {
    return call_patiently(client, path, body, true, ret, err);
}

enum rc client_get(struct client *client, const char *path, struct answer *ret, struct error *err) {
    LH_ANSWER answer = {0};
    enum rc rc = call_once(client, "GET", path, NULL, &answer, err);
    *ret = answer;
    answer = (struct answer){0};
    return rc;
}
