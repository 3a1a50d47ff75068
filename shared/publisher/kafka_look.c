/* kafka_look.c: one look at the broker from outside: its topics and consumer groups, as `longhaul
 * doctor` wants them. Changes nothing there. */
#include "publisher/publisher.h"

#include "base/mem.h"
#include "publisher/kafka_conf.h"

#include <stdio.h>
#include <string.h>

static const struct kafka_property defaults[] = {
    {"socket.timeout.ms", "5000"}, {"log.connection.close", "false"}, {NULL, NULL}};
static const struct kafka_property fixed[] = {{"allow.auto.create.topics", "false"}, {NULL, NULL}};
static const struct kafka_role looker = {defaults, fixed};

/* A look under way. */
struct look {
    const struct config *cfg;
    rd_kafka_t *rk;
    int timeout_ms;
    struct broker_view *view;
    char connection[256]; /* why the last connection failed */
};

static void on_error(rd_kafka_t *rk, int failure, const char *reason, void *opaque) {
    (void)rk;
    struct look *look = opaque;
    if (failure != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
        snprintf(look->connection, sizeof look->connection, "%s", reason);
}

/* -- the topics and groups of the configuration, each once -- */

static bool known_topic(const struct broker_view *view, const char *name) {
    for (size_t i = 0; i < view->n_topics; i++)
        if (strcmp(view->topics[i].name, name) == 0)
            return true;
    return false;
}

static bool known_group(const struct broker_view *view, const char *name) {
    for (size_t i = 0; i < view->n_groups; i++)
        if (strcmp(view->groups[i].name, name) == 0)
            return true;
    return false;
}

static enum rc make_view(const struct config *cfg, struct broker_view **ret) {
    struct broker_view *view = calloc(1, sizeof *view);
    if (!view)
        return RC_NO_MEMORY;
    view->topics = calloc(cfg->n_services + 1, sizeof *view->topics);
    view->groups = calloc(cfg->n_services + 1, sizeof *view->groups);
    if (!view->topics || !view->groups) {
        broker_view_destroy(view);
        return RC_NO_MEMORY;
    }
    for (size_t i = 0; i < cfg->n_services; i++) {
        const struct config_service *service = &cfg->services[i];
        if (service->topic && !known_topic(view, service->topic))
            view->topics[view->n_topics++] = (struct broker_topic){
                .name = service->topic, .service = service->name, .missing = true};
        if (service->group && !known_group(view, service->group))
            view->groups[view->n_groups++] = (struct broker_group){.name = service->group};
    }
    *ret = view;
    return RC_OK;
}

/* -- looking -- */

static void note_topic(struct broker_topic *topic, const rd_kafka_metadata_topic_t *seen) {
    topic->missing = seen->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    if (seen->err && !topic->missing)
        snprintf(topic->problem, sizeof topic->problem, "%s", rd_kafka_err2str(seen->err));
    topic->partitions = seen->partition_cnt;
    for (int i = 0; i < seen->partition_cnt; i++)
        topic->leaderless += seen->partitions[i].leader < 0;
}

static enum rc look_at_topics(struct look *look, struct error *err) {
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t failure = rd_kafka_metadata(look->rk, 1, NULL, &metadata, look->timeout_ms);
    if (failure) {
        rd_kafka_poll(look->rk, 0); /* brings on_error() */
        return error_set(err, RC_BROKER_UNAVAILABLE, "kafka at %.200s does not answer: %.200s",
                         look->cfg->mq.bootstrap_servers,
                         look->connection[0] ? look->connection : rd_kafka_err2str(failure));
    }
    look->view->brokers = metadata->broker_cnt;
    for (int i = 0; i < metadata->topic_cnt; i++)
        for (size_t t = 0; t < look->view->n_topics; t++)
            if (strcmp(metadata->topics[i].topic, look->view->topics[t].name) == 0)
                note_topic(&look->view->topics[t], &metadata->topics[i]);
    rd_kafka_metadata_destroy(metadata);
    return RC_OK;
}

static void look_at_group(struct look *look, struct broker_group *group) {
    const struct rd_kafka_group_list *list = NULL;
    rd_kafka_resp_err_t failure =
        rd_kafka_list_groups(look->rk, group->name, &list, look->timeout_ms);
    if (failure)
        snprintf(group->problem, sizeof group->problem, "%s", rd_kafka_err2str(failure));
    for (int i = 0; list && i < list->group_cnt; i++) {
        const struct rd_kafka_group_info *info = &list->groups[i];
        if (strcmp(info->group, group->name) != 0)
            continue;
        if (info->err)
            snprintf(group->problem, sizeof group->problem, "%s", rd_kafka_err2str(info->err));
        snprintf(group->state, sizeof group->state, "%s", info->state ? info->state : "");
        group->members = info->member_cnt;
    }
    if (list)
        rd_kafka_group_list_destroy(list);
}

static enum rc open_look(struct look *look, struct error *err) {
    rd_kafka_conf_t *conf = NULL;
    enum rc rc = kafka_conf_create(look->cfg, &looker, &conf, err);
    if (rc != RC_OK)
        return rc;
    rd_kafka_conf_set_opaque(conf, look);
    rd_kafka_conf_set_error_cb(conf, on_error);
    return kafka_create(RD_KAFKA_PRODUCER, conf, &look->rk, err);
}

enum rc publisher_kafka_look(const struct config *cfg, int timeout_ms, struct broker_view **ret,
                             struct error *err) {
    struct look look = {.cfg = cfg, .timeout_ms = timeout_ms};
    enum rc rc = make_view(cfg, &look.view);
    if (rc != RC_OK)
        return error_set(err, rc, "out of memory");
    rc = open_look(&look, err);
    if (rc == RC_OK)
        rc = look_at_topics(&look, err);
    for (size_t i = 0; rc == RC_OK && i < look.view->n_groups; i++)
        look_at_group(&look, &look.view->groups[i]);
    if (look.rk)
        rd_kafka_destroy(look.rk);
    if (rc == RC_OK)
        *ret = look.view;
    else
        broker_view_destroy(look.view);
    return rc;
}
