/* publisher.c: the publisher that the configuration names, and its interface's calls. */
#include "publisher/publisher.h"

#include "base/plugin.h"

#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_DEFAULT_MS = 10000 };

typedef enum rc open_backend(const struct config *cfg, publisher_reports *reports, void *arg,
                             struct publisher **ret, struct error *err);

enum rc publisher_open(const struct config *cfg, publisher_reports *reports, void *arg,
                       struct publisher **ret, struct error *err) {
    if (cfg->broker == BROKER_NONE) {
        *ret = NULL;
        return RC_OK;
    }
    void *symbol;
    enum rc rc = plugin_symbol("publisher-kafka", "publisher_kafka_open", &symbol, err);
    if (rc != RC_OK)
        return rc;
    open_backend *open;
    memcpy(&open, &symbol, sizeof open); /* ISO C knows no cast from object to function */
    return open(cfg, reports, arg, ret, err);
}

typedef enum rc look_backend(const struct config *cfg, int timeout_ms, struct broker_view **ret,
                             struct error *err);

enum rc publisher_look(const struct config *cfg, int timeout_ms, struct broker_view **ret,
                       struct error *err) {
    void *symbol;
    enum rc rc = plugin_symbol("publisher-kafka", "publisher_kafka_look", &symbol, err);
    if (rc != RC_OK)
        return rc;
    look_backend *look;
    memcpy(&look, &symbol, sizeof look);
    return look(cfg, timeout_ms, ret, err);
}

void broker_view_destroy(struct broker_view *view) {
    if (!view)
        return;
    free(view->topics);
    free(view->groups);
    free(view);
}

enum rc publisher_send(struct publisher *publisher, const struct task *tasks, size_t n,
                       size_t *ret_sent) {
    return publisher->impl->send(publisher, tasks, n, ret_sent);
}

enum rc publisher_ping(struct publisher *publisher, struct error *err) {
    return publisher->impl->ping(publisher, err);
}

bool publisher_reachable(struct publisher *publisher) {
    return publisher->impl->reachable(publisher);
}

int64_t publisher_message_max_bytes(const struct publisher *publisher, const char *service) {
    return publisher->impl->message_max_bytes(publisher, service);
}

int64_t publisher_timeout_ms(const struct config *cfg) {
    int64_t timeout_ms = TIMEOUT_DEFAULT_MS;
    for (size_t i = 0; i < cfg->mq.n_librdkafka; i++) {
        const struct config_pair *pair = &cfg->mq.librdkafka[i];
        if (strcmp(pair->name, "message.timeout.ms") == 0 ||
            strcmp(pair->name, "delivery.timeout.ms") == 0)
            timeout_ms = strtoll(pair->value, NULL, 10);
    }
    return timeout_ms;
}

void publisher_flush(struct publisher *publisher, int timeout_ms) {
    publisher->impl->flush(publisher, timeout_ms);
}

void publisher_destroy(struct publisher *publisher) {
    if (publisher)
        publisher->impl->destroy(publisher);
}
