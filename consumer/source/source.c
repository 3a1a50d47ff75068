/* source.c: the source that the configuration's broker asks for. */
#include "consumer/source/source.h"

#include "base/plugin.h"

typedef enum rc open_source(const struct source_options *options, struct source **ret,
                            struct error *err);

static enum rc open_kafka(const struct source_options *options, struct source **ret,
                          struct error *err) {
    void *symbol;
    enum rc rc = plugin_symbol("source-kafka", "source_kafka_open", &symbol, err);
    if (rc != RC_OK)
        return rc;
    return (*(open_source **)&symbol)(options, ret, err);
}

static open_source *const by_broker[] = {
    [BROKER_NONE] = source_api_open,
    [BROKER_KAFKA] = open_kafka,
};

enum rc source_open(const struct source_options *options, struct source **ret, struct error *err) {
    return by_broker[options->cfg->broker](options, ret, err);
}

void source_room(struct source *source, size_t service, int free_slots) {
    source->impl->room(source, service, free_slots);
}

void source_stop(struct source *source, void (*stopped)(void *arg), void *arg) {
    source->impl->stop(source, stopped, arg);
}

void source_each_lag(const struct source *source, source_lag_each *each, void *arg) {
    if (source && source->impl->each_lag)
        source->impl->each_lag(source, each, arg);
}

void source_destroy(struct source *source) {
    if (source)
        source->impl->destroy(source);
}
