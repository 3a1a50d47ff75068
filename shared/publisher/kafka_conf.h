/* kafka_conf.h: librdkafka configured from cfg->mq, its log lines and errors brought to ours.
 *
 * Compiled into every loadable module that speaks Kafka (publisher-kafka, source-kafka); nothing in
 * here keeps state but the table that counts repeated log lines.
 */
#ifndef LH_PUBLISHER_KAFKA_CONF_H
#define LH_PUBLISHER_KAFKA_CONF_H

#include "config/config.h"

#include <librdkafka/rdkafka.h>

struct kafka_property {
    const char *name, *value;
};

/* What a role (producer, consumer) wants. Arrays end with a NULL name; either may be NULL. */
struct kafka_role {
    const struct kafka_property *defaults; /* mq_conf.librdkafka may say otherwise */
    const struct kafka_property *fixed; /* mq_conf.librdkafka may not: another value is refused */
};

/* Makes the configuration: servers, login, TLS, the role's properties, then mq_conf.librdkafka. The
 * log callback is kafka_log(). The caller owns *ret (rd_kafka_new() takes it). RC_CONFIG names the
 * property and says what is wrong with it, never with the value of a secret. */
enum rc kafka_conf_create(const struct config *cfg, const struct kafka_role *role,
                          rd_kafka_conf_t **ret, struct error *err) LH_MUST_USE;

/* Sets one property; failures as above. */
enum rc kafka_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value,
                       struct error *err) LH_MUST_USE;

/* rd_kafka_new() with every signal blocked in the threads that it starts. Takes ownership of conf,
 * also when it fails: RC_CONFIG with librdkafka's words. */
enum rc kafka_create(rd_kafka_type_t type, rd_kafka_conf_t *conf, rd_kafka_t **ret,
                     struct error *err) LH_MUST_USE;

/* librdkafka's log callback: its lines go into ours with their facility in `code`. Lines about
 * single connections are debug lines, since the module itself says once that Kafka is away; a
 * facility that repeats itself is written at most every ten seconds, with the number of lines left
 * out. Any thread. */
void kafka_log(const rd_kafka_t *rk, int level, const char *facility, const char *text);

#endif
