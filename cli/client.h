/* client.h: one request to the API at a time, waiting for its answer. */
#ifndef LH_CLI_CLIENT_H
#define LH_CLI_CLIENT_H

#include "base/json.h"

struct client;

struct answer {
    char *text; /* as it came: values in it keep every digit */
    struct json_span body;
    json_t *root;
};

/* `url` and `token` are copied. Connects to nothing yet. RC_USAGE for a url of another form. */
enum rc client_create(const char *url, const char *token, struct client **ret,
                      struct error *err) LH_MUST_USE;

void client_destroy(struct client *client);

/* Posts a JSON body to "/api/…". RC_OK: the API said "ok" and *ret is the caller's (answer_finish).
 * Else the outcome that the API named with its message, or RC_IO with a text that names the url. */
enum rc client_post(struct client *client, const char *path, const struct buf *body,
                    struct answer *ret, struct error *err) LH_MUST_USE;

void answer_finish(struct answer *answer);

#define LH_ANSWER __attribute__((cleanup(answer_finish))) struct answer

#endif
