/* client.c: the asynchronous HTTP client, waited for. */
#include "cli/client.h"

#include "base/http_client.h"
#include "base/mem.h"

#include <string.h>

enum { ANSWER_MAX_BYTES = 256 << 20, CALL_TIMEOUT_MS = 60000 };

struct client {
    char *url, *token;
    struct event_base *base;
    struct http_client *http;
};

/* A call under way. */
struct call {
    const struct client *client;
    struct answer *answer;
    struct error *err;
    enum rc rc;
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
    if (client->base)
        event_base_free(client->base);
    free(client->url);
    free(client->token);
    free(client);
}

static void client_destroy_ptr(struct client **client) {
    client_destroy(*client);
}

enum rc client_create(const char *url, const char *token, struct client **ret, struct error *err) {
    LH_CLEANUP(client_destroy_ptr) struct client *client = calloc(1, sizeof(*client));
    if (!client)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    client->url = mem_dup(url, strlen(url));
    client->token = mem_dup(token, strlen(token));
    client->base = event_base_new();
    if (!client->url || !client->token || !client->base)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    const struct http_client_options options = {
        .url = client->url, .answer_max_bytes = ANSWER_MAX_BYTES, .idle_max = 1};
    struct error why;
    enum rc rc = http_client_create(client->base, &options, &client->http, &why);
    if (rc != RC_OK)
        return error_set(err, rc == RC_INVALID_PARAMETER ? RC_USAGE : rc, "%s", why.text);
    *ret = TAKE(client);
    return RC_OK;
}

/* The API's own words, or what may be said of an answer that is none of its. */
static enum rc refused(const struct call *call, const struct http_answer *http) {
    const char *code = json_string_value(json_object_get(call->answer->root, "code"));
    const char *message = json_string_value(json_object_get(call->answer->root, "message"));
    const char *id = json_string_value(json_object_get(call->answer->root, "task_id"));
    if (code && message) /* an outcome that is unknown names the id that may exist */
        return error_set(call->err, rc_from_word(code), "%s%s%s", message, id ? "; " : "",
                         id ? id : "");
    return error_set(call->err, RC_IO, "%s: not an answer of the task API (HTTP status %d)",
                     call->client->url, http->status);
}

static enum rc answer_read(const struct call *call, const struct http_answer *http) {
    struct answer *answer = call->answer;
    if (http->rc != RC_OK)
        return error_set(call->err, http->rc, "%s: %s", call->client->url, http->text);
    answer->text = mem_dup(http->body, http->len);
    if (!answer->text)
        return error_set(call->err, RC_NO_MEMORY, "out of memory");
    answer->body = (struct json_span){answer->text, http->len};
    struct error why;
    if (json_read(answer->body, &answer->root, &why) == RC_NO_MEMORY)
        return error_set(call->err, RC_NO_MEMORY, "out of memory");
    const char *result = json_string_value(json_object_get(answer->root, "result"));
    return result && strcmp(result, "ok") == 0 ? RC_OK : refused(call, http);
}

static void on_answer(const struct http_answer *http, void *arg) {
    struct call *call = arg;
    call->rc = answer_read(call, http);
    event_base_loopbreak(call->client->base);
}

enum rc client_post(struct client *client, const char *path, const struct buf *body,
                    struct answer *ret, struct error *err) {
    if (buf_rc(body) != RC_OK)
        return error_set(err, buf_rc(body), "the request is too large");
    const struct http_field fields[] = {{"Authorization", client->token},
                                        {"Content-Type", "application/json"}};
    const struct http_call_options options = {.method = "POST",
                                              .path = path,
                                              .fields = fields,
                                              .n_fields = LH_COUNT(fields),
                                              .body = body->data,
                                              .len = body->len,
                                              .timeout_ms = CALL_TIMEOUT_MS,
                                              .once = true};
    LH_ANSWER answer = {0};
    struct call call = {.client = client, .answer = &answer, .err = err, .rc = RC_INTERNAL};
    if (!http_call_start(client->http, &options, on_answer, &call))
        return error_set(err, RC_NO_MEMORY, "out of memory");
    event_base_dispatch(client->base);
    if (call.rc != RC_OK)
        return call.rc;
    *ret = answer;
    answer = (struct answer){0};
    return RC_OK;
}
