/* client.h: calls of the API, waited for or on the program's own loop.
 *
 * A call that waits is made again while the API says that it is busy (429, 503: surely nothing was
 * done), after the time that the API asks for. A call that may be repeated without harm is made
 * again also where nobody knows how it ended, once the API has answered anything before: an address
 * that never answered is wrong. It gives up after the client's patience. One thread.
 */
#ifndef LH_CLI_CLIENT_H
#define LH_CLI_CLIENT_H

#include "base/json.h"

#include <event2/event.h>

struct client;
struct http_call;
struct tls_options;

struct answer {
    char *text; /* as it came: values in it keep every digit */
    struct json_span body;
    json_t *root;
    int status;        /* of HTTP; 0: no answer came */
    int retry_after_s; /* 0: the API did not say */
    int64_t date_at;   /* the server's clock in unix ms, to the second; 0: it did not say */
};

/* `url` and `token` are copied; token NULL: calls without. Connects to nothing yet. RC_USAGE for a
 * url of another form; RC_CONFIG and RC_IO as tls_open() says them (`tls` is read here). */
enum rc client_create(const char *url, const struct tls_options *tls, const char *token,
                      int64_t patience_ms, struct client **ret, struct error *err) LH_MUST_USE;

void client_destroy(struct client *client);

const char *client_url(const struct client *client);
struct event_base *client_base(const struct client *client);

/* No repeats from now on: the caller goes on by itself. */
void client_be_impatient(struct client *client);

/* Posts a JSON body to "/api/…". RC_OK: the API said "ok" and *ret is the caller's (answer_finish).
 * Else the outcome that the API named with its message, RC_IO with a text that names the url, or
 * RC_INTERRUPTED. */
enum rc client_post(struct client *client, const char *path, const struct buf *body,
                    struct answer *ret, struct error *err) LH_MUST_USE;

/* The same for a call that does no harm when it is made twice. */
enum rc client_ask(struct client *client, const char *path, const struct buf *body,
                   struct answer *ret, struct error *err) LH_MUST_USE;

/* One GET. *ret is filled whenever an answer came, also where it is a refusal. */
enum rc client_get(struct client *client, const char *path, struct answer *ret,
                   struct error *err) LH_MUST_USE;

/* Waits. RC_INTERRUPTED where a signal came. */
enum rc client_sleep(struct client *client, int64_t ms, struct error *err) LH_MUST_USE;

/* Worth asking again: the API that was there is away or busy for a moment. */
bool client_may_recover(const struct client *client, enum rc rc);

/* Called once from the loop; `answer` may be taken over with answer_take(). */
typedef void client_done(enum rc rc, struct answer *answer, const struct error *err, void *arg);

struct client_call;

/* Starts a post on client_base(). NULL: out of memory, `done` is not called. */
struct client_call *client_start(struct client *client, const char *path, const struct buf *body,
                                 client_done *done, void *arg) LH_MUST_USE;

/* Ends it; `done` is not called. NULL is fine. */
void client_cancel(struct client_call *call);

void answer_finish(struct answer *answer);

#define LH_ANSWER __attribute__((cleanup(answer_finish))) struct answer

#endif
