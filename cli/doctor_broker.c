/* doctor_broker.c: what Kafka says of the topics and the consumer groups. */
#include "cli/doctor.h"

#include "publisher/publisher.h"

#include <string.h>

enum { ASK_MS = 5000 };

static void on_topic(const struct broker_topic *topic, struct doctor *doctor) {
    const struct config_mq *mq = &doctor->cfg->mq;
    if (topic->missing && mq->create_topics)
        doctor_say(doctor, FINDING_WARN, RC_WARNING, "topics",
                   "the API makes it when it starts, as mq_conf.create_topics says",
                   "%s does not exist yet", topic->name);
    else if (topic->missing)
        doctor_say(doctor, FINDING_FAIL, RC_CONFIG, "topics",
                   "make it, or let the API make it: mq_conf.create_topics",
                   "%s does not exist (source_db.%s.topic_name)", topic->name, topic->service);
    else if (topic->problem[0])
        doctor_say(doctor, FINDING_FAIL, RC_BROKER_UNAVAILABLE, "topics",
                   "look at the topic and the rights of the login in Kafka", "%s: %s", topic->name,
                   topic->problem);
    else if (topic->leaderless)
        doctor_say(doctor, FINDING_FAIL, RC_BROKER_UNAVAILABLE, "topics",
                   "look after the brokers that hold them",
                   "%s: %d of %d partitions have no leader", topic->name, topic->leaderless,
                   topic->partitions);
    else
        doctor_say(doctor, FINDING_OK, RC_OK, "topics", NULL, "%s: %d partition%s", topic->name,
                   topic->partitions, topic->partitions == 1 ? "" : "s");
}

static void on_group(const struct broker_group *group, struct doctor *doctor) {
    if (group->problem[0])
        doctor_say(doctor, FINDING_WARN, RC_WARNING, "groups",
                   "look at the rights of the login in Kafka", "%s: %s", group->name,
                   group->problem);
    else if (group->members == 0)
        doctor_say(doctor, FINDING_WARN, RC_WARNING, "groups",
                   "start longhaul-consumer, or the modules that read the topic",
                   "nobody is in the group %s", group->name);
    else
        doctor_say(doctor, FINDING_OK, RC_OK, "groups", NULL, "%s: %d member%s, %s", group->name,
                   group->members, group->members == 1 ? "" : "s", group->state);
}

void doctor_broker(struct doctor *doctor) {
    struct broker_view *view;
    struct error err = {.text = ""};
    const struct config *cfg = doctor->cfg;
    if (!cfg || cfg->broker == BROKER_NONE)
        return;
    enum rc rc = publisher_look(cfg, ASK_MS, &view, &err);
    if (rc != RC_OK) {
        doctor_say(doctor, FINDING_FAIL, rc, "broker",
                   rc == RC_CONFIG ? "correct mq_conf"
                                   : "look after Kafka, or correct mq_conf.bootstrap_servers",
                   "%s", err.text);
        return;
    }
    doctor_say(doctor, FINDING_OK, RC_OK, "broker", NULL, "%s: %d broker%s",
               cfg->mq.bootstrap_servers, view->brokers, view->brokers == 1 ? "" : "s");
    for (size_t i = 0; i < view->n_topics; i++)
        on_topic(&view->topics[i], doctor);
    for (size_t i = 0; i < view->n_groups; i++)
        on_group(&view->groups[i], doctor);
    broker_view_destroy(view);
}
