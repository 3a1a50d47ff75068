/* fake_api.h: an API for tests of the consumer, on the test's own loop. It answers what the test
 * says and keeps what it was asked. */
#ifndef LH_TESTS_FAKE_API_H
#define LH_TESTS_FAKE_API_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>

enum { FAKE_CALLS_MAX = 64, FAKE_HELD_MAX = 2 };

struct fake_call {
    char route[64];
    json_t *body;
    json_t *data; /* its member */
};

struct fake_api;

/* Returns the answer's body: JSON text, always with HTTP status 200; "" ends the connection without
 * an answer; NULL holds the request until fake_api_release. */
typedef const char *fake_answer(struct fake_api *api, const char *route, const json_t *data);

struct fake_api {
    struct event_base *base;
    struct evhttp *http;
    char url[64];
    fake_answer *answer;
    void *arg; /* the test's own */
    struct fake_call calls[FAKE_CALLS_MAX];
    unsigned n_calls;
    struct evhttp_request *held[FAKE_HELD_MAX]; /* longest first */
    unsigned n_held;
};

void fake_api_open(struct fake_api *api, struct event_base *base, fake_answer *answer, void *arg);
void fake_api_close(struct fake_api *api);

/* Answers the request that is held longest. */
void fake_api_release(struct fake_api *api, const char *body);

/* Runs the loop until *count has come so far; fails the test after 10 s. */
void run_until(struct event_base *base, const unsigned *count, unsigned at_least);

/* Runs the loop for so long. */
void run_for(struct event_base *base, int ms);

#endif
