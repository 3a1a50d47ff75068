/* api.h: what one API process is made of; the handlers' context. Loop thread only. */
#ifndef LH_API_API_H
#define LH_API_API_H

#include "api/exec/executor.h"
#include "api/http/http.h"

struct meter;
struct polls;
struct waits;
struct services;
struct doorbells;
struct tokens;
struct audit;
struct watches;
struct tracing;
struct status_cache;

struct api {
    const struct config *cfg;
    char *token; /* AUTH_TOKEN; NULL: there is none */
    struct tokens *tokens;
    struct audit *audit; /* NULL: nothing is written */
    struct event_base *base;
    struct store *store;
    struct publisher *publisher; /* NULL: no broker */
    struct executor *executor;
    struct status_cache *status_cache; /* NULL: every status is read from the store */
    struct services *services;
    struct polls *polls;
    struct doorbells *doorbells;
    struct waits *waits;
    struct watches *watches;
    struct meter *meter;
    struct tracing *tracing; /* NULL: no spans are kept */
    struct http_server *http;
    bool draining;
};

/* True where tasks become known through a broker's messages. */
static inline bool api_has_broker(const struct api *api) {
    return api->publisher != NULL;
}

/* True where other processes may write to the store: what is changed here is not all. */
static inline bool api_shares_store(const struct api *api) {
    return api->cfg->store == STORE_MONGODB;
}

#endif
