/* kafka_topics.c: presence, creation and limits of the configured topics. */
#include "publisher/kafka_topics.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { DESCRIBE_EVERY_MS = 60000, REASON_CAP = 256 };

static int find_name(const struct kafka_topics *topics, const char *name) {
    for (size_t i = 0; i < topics->n; i++)
        if (strcmp(topics->items[i].name, name) == 0)
            return (int)i;
    return -1;
}

enum rc kafka_topics_init(struct kafka_topics *topics, const struct config *cfg) {
    *topics = (struct kafka_topics){.cfg = cfg};
    topics->items = calloc(cfg->n_services + 1, sizeof *topics->items);
    if (!topics->items)
        return RC_NO_MEMORY;
    for (size_t i = 0; i < cfg->n_services; i++) {
        const char *name = cfg->services[i].topic;
        if (name && find_name(topics, name) < 0)
            topics->items[topics->n++].name = name;
    }
    return RC_OK;
}

void kafka_topics_finish(struct kafka_topics *topics) {
    free(topics->items);
    *topics = (struct kafka_topics){0};
}

int kafka_topics_find(const struct kafka_topics *topics, const char *service) {
    const struct config_service *configured = config_service(topics->cfg, service);
    return configured && configured->topic ? find_name(topics, configured->topic) : -1;
}

int64_t kafka_topics_smallest(const struct kafka_topics *topics, int64_t otherwise) {
    int64_t smallest = otherwise;
    for (size_t i = 0; i < topics->n; i++) {
        int64_t max_bytes = topics->items[i].max_bytes;
        if (max_bytes > 0 && max_bytes < smallest)
            smallest = max_bytes;
    }
    return smallest;
}

/* Notes what one line of the metadata says of a topic; false where the program may not see it. */
static bool note_topic(struct kafka_topics *topics, const rd_kafka_metadata_topic_t *seen) {
    int i = find_name(topics, seen->topic);
    if (i < 0)
        return true;
    topics->items[i].present = seen->err != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART &&
                               seen->err != RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION &&
                               seen->err != RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    return seen->err != RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
}

static enum rc ask_presence(struct kafka_topics *topics, rd_kafka_t *rk, int timeout_ms,
                            struct error *err) {
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t failure = rd_kafka_metadata(rk, 0, NULL, &metadata, timeout_ms);
    if (failure)
        return error_set(err, RC_BROKER_UNAVAILABLE, "kafka at %s does not answer: %s",
                         topics->cfg->mq.bootstrap_servers, rd_kafka_err2str(failure));
    enum rc rc = RC_OK;
    for (int i = 0; i < metadata->topic_cnt; i++)
        if (!note_topic(topics, &metadata->topics[i]))
            rc = error_set(err, RC_CONFIG, "topic %s: not allowed for this login",
                           metadata->topics[i].topic);
    rd_kafka_metadata_destroy(metadata);
    return rc;
}

static rd_kafka_AdminOptions_t *admin_options(rd_kafka_t *rk, rd_kafka_admin_op_t op,
                                              int timeout_ms) {
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(rk, op);
    char reason[REASON_CAP];
    if (options)
        (void)rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, reason, sizeof reason);
    return options;
}

static enum rc created(struct kafka_topics *topics, rd_kafka_event_t *event, struct error *err) {
    if (rd_kafka_event_error(event))
        return error_set(err, RC_BROKER_UNAVAILABLE, "topics cannot be made: %s",
                         rd_kafka_event_error_string(event));
    const rd_kafka_CreateTopics_result_t *result = rd_kafka_event_CreateTopics_result(event);
    size_t n;
    const rd_kafka_topic_result_t **made = rd_kafka_CreateTopics_result_topics(result, &n);
    for (size_t i = 0; i < n; i++) {
        rd_kafka_resp_err_t failure = rd_kafka_topic_result_error(made[i]);
        const char *name = rd_kafka_topic_result_name(made[i]);
        if (failure && failure != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
            return error_set(err, RC_CONFIG, "topic %s cannot be made: %s", name,
                             rd_kafka_topic_result_error_string(made[i]));
        int at = find_name(topics, name);
        if (at >= 0)
            topics->items[at].present = true;
    }
    return RC_OK;
}

/* Waits for the answer of an admin request on `queue`. The caller destroys *ret. */
static enum rc admin_answer(rd_kafka_queue_t *queue, int timeout_ms, rd_kafka_event_t **ret,
                            struct error *err) {
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, timeout_ms + 1000);
    if (!event)
        return error_set(err, RC_BROKER_UNAVAILABLE, "kafka did not answer about its topics");
    *ret = event;
    return RC_OK;
}

static enum rc create_missing(struct kafka_topics *topics, rd_kafka_t *rk,
                              rd_kafka_NewTopic_t **wanted, size_t n, int timeout_ms,
                              struct error *err) {
    rd_kafka_AdminOptions_t *options =
        admin_options(rk, RD_KAFKA_ADMIN_OP_CREATETOPICS, timeout_ms);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_CreateTopics(rk, wanted, n, options, queue);
    rd_kafka_event_t *event = NULL;
    enum rc rc = admin_answer(queue, timeout_ms, &event, err);
    if (rc == RC_OK) {
        rc = created(topics, event, err);
        rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    return rc;
}

static enum rc make_missing(struct kafka_topics *topics, rd_kafka_t *rk, int timeout_ms,
                            struct error *err) {
    const struct config_mq *mq = &topics->cfg->mq;
    LH_FREE rd_kafka_NewTopic_t **wanted = calloc(topics->n + 1, sizeof(*wanted));
    if (!wanted)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    char reason[REASON_CAP] = "";
    enum rc rc = RC_OK;
    size_t n = 0;
    for (size_t i = 0; rc == RC_OK && i < topics->n; i++) {
        if (topics->items[i].present)
            continue;
        wanted[n] = rd_kafka_NewTopic_new(topics->items[i].name, mq->partitions,
                                          mq->replication_factor, reason, sizeof reason);
        if (wanted[n])
            n++;
        else
            rc = error_set(err, RC_CONFIG, "topic %s cannot be made: %s", topics->items[i].name,
                           reason);
    }
    if (rc == RC_OK && n > 0)
        rc = create_missing(topics, rk, wanted, n, timeout_ms, err);
    rd_kafka_NewTopic_destroy_array(wanted, n);
    return rc;
}

static const char *service_of(const struct kafka_topics *topics, const char *name) {
    const struct config *cfg = topics->cfg;
    for (size_t i = 0; i < cfg->n_services; i++)
        if (cfg->services[i].topic && strcmp(cfg->services[i].topic, name) == 0)
            return cfg->services[i].name;
    return "";
}

static enum rc name_missing(const struct kafka_topics *topics, struct error *err) {
    for (size_t i = 0; i < topics->n; i++) {
        const char *name = topics->items[i].name;
        if (!topics->items[i].present)
            return error_set(err, RC_CONFIG,
                             "source_db.%s.topic_name: topic %s does not exist on %s and "
                             "mq_conf.create_topics is not set",
                             service_of(topics, name), name, topics->cfg->mq.bootstrap_servers);
    }
    return RC_OK;
}

static void note_limit(struct kafka_topics *topics, const rd_kafka_ConfigResource_t *resource) {
    size_t n;
    int at = find_name(topics, rd_kafka_ConfigResource_name(resource));
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &n);
    for (size_t i = 0; at >= 0 && i < n; i++) {
        const char *value = rd_kafka_ConfigEntry_value(entries[i]);
        if (value && strcmp(rd_kafka_ConfigEntry_name(entries[i]), "max.message.bytes") == 0)
            topics->items[at].max_bytes = strtoll(value, NULL, 10);
    }
}

/* Reads max.message.bytes of every topic. A login that may not ask leaves the limits unknown. */
static void describe(struct kafka_topics *topics, rd_kafka_t *rk, int timeout_ms) {
    LH_FREE rd_kafka_ConfigResource_t **asked = calloc(topics->n + 1, sizeof(*asked));
    if (!asked || topics->n == 0)
        return;
    for (size_t i = 0; i < topics->n; i++)
        asked[i] = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topics->items[i].name);
    rd_kafka_AdminOptions_t *options =
        admin_options(rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, timeout_ms);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_DescribeConfigs(rk, asked, topics->n, options, queue);
    rd_kafka_event_t *event = NULL;
    if (admin_answer(queue, timeout_ms, &event, NULL) == RC_OK && !rd_kafka_event_error(event)) {
        size_t n;
        const rd_kafka_ConfigResource_t **found = rd_kafka_DescribeConfigs_result_resources(
            rd_kafka_event_DescribeConfigs_result(event), &n);
        for (size_t i = 0; i < n; i++)
            note_limit(topics, found[i]);
        topics->described_at = clock_mono_ms();
    }
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ConfigResource_destroy_array(asked, topics->n);
}

static bool all_present(const struct kafka_topics *topics) {
    for (size_t i = 0; i < topics->n; i++)
        if (!topics->items[i].present)
            return false;
    return true;
}

enum rc kafka_topics_check(struct kafka_topics *topics, rd_kafka_t *rk, int timeout_ms,
                           struct error *err) {
    enum rc rc = ask_presence(topics, rk, timeout_ms, err);
    if (rc == RC_OK && topics->cfg->mq.create_topics && !all_present(topics))
        rc = make_missing(topics, rk, timeout_ms, err);
    if (rc == RC_OK)
        rc = name_missing(topics, err);
    int64_t since_ms = clock_mono_ms() - topics->described_at;
    if (rc == RC_OK && (topics->described_at == 0 || since_ms > DESCRIBE_EVERY_MS))
        describe(topics, rk, timeout_ms);
    return rc;
}
