/* kafka_conf.c: librdkafka's configuration and log. */
#include "publisher/kafka_conf.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

enum { REASON_CAP = 400, REPEAT_MS = 10000, FACILITIES = 32 };

/* librdkafka speaks in syslog levels; the header with their names would hide ours. */
enum { SYSLOG_ERROR = 3, SYSLOG_NOTICE = 5 };

/* The repeated lines of one facility; slots are shared by hash, which at worst counts two as one.
 */
static struct {
    pthread_mutex_t lock;
    struct {
        int64_t until_ms; /* quiet until then */
        int64_t left_out;
    } slots[FACILITIES];
} repeats = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Facilities that tell of single connections and of attempts that are made again. */
static const char *const connection_facilities[] = {
    "FAIL", "ERROR", "GETPID", "REQTMOUT", "REQERR", "PIDFAIL", "PROTOERR", "CONFWARN", "PARTCNT"};

static bool is_secret(const char *name) {
    return strstr(name, "password") || strstr(name, "secret") || strstr(name, ".pem") ||
           strstr(name, "oauthbearer.config") || strstr(name, "jaas");
}

enum rc kafka_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value,
                       struct error *err) {
    char reason[REASON_CAP];
    rd_kafka_conf_res_t res = rd_kafka_conf_set(conf, name, value, reason, sizeof reason);
    if (res == RD_KAFKA_CONF_OK)
        return RC_OK;
    if (res == RD_KAFKA_CONF_UNKNOWN)
        return error_set(err, RC_CONFIG, "mq_conf.librdkafka.%s: librdkafka has no such property",
                         name);
    return error_set(err, RC_CONFIG, "mq_conf.librdkafka.%s: %s", name,
                     is_secret(name) ? "not a value that it can take" : reason);
}

static enum rc set_all(rd_kafka_conf_t *conf, const struct kafka_property *property,
                       struct error *err) {
    enum rc rc = RC_OK;
    for (; rc == RC_OK && property && property->name; property++)
        rc = kafka_conf_set(conf, property->name, property->value, err);
    return rc;
}

static enum rc set_connection(rd_kafka_conf_t *conf, const struct config_mq *mq,
                              struct error *err) {
    struct kafka_property wanted[8] = {{0}};
    size_t n = 0;
    wanted[n++] = (struct kafka_property){"client.id", "longhaul"};
    if (mq->bootstrap_servers)
        wanted[n++] = (struct kafka_property){"bootstrap.servers", mq->bootstrap_servers};
    if (mq->security_protocol)
        wanted[n++] = (struct kafka_property){"security.protocol", mq->security_protocol};
    if (mq->ssl_ca)
        wanted[n++] = (struct kafka_property){"ssl.ca.location", mq->ssl_ca};
    if (mq->username && mq->username[0]) {
        wanted[n++] = (struct kafka_property){"sasl.mechanisms", "PLAIN"};
        wanted[n++] = (struct kafka_property){"sasl.username", mq->username};
        wanted[n++] = (struct kafka_property){"sasl.password", mq->password ? mq->password : ""};
    }
    return set_all(conf, wanted, err);
}

static const struct kafka_property *find_property(const struct kafka_property *property,
                                                  const char *name) {
    for (; property && property->name; property++)
        if (strcmp(property->name, name) == 0)
            return property;
    return NULL;
}

static enum rc set_passed_through(rd_kafka_conf_t *conf, const struct config_mq *mq,
                                  const struct kafka_role *role, struct error *err) {
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < mq->n_librdkafka; i++) {
        const struct config_pair *pair = &mq->librdkafka[i];
        const struct kafka_property *fixed = find_property(role->fixed, pair->name);
        if (fixed && strcmp(fixed->value, pair->value) != 0)
            return error_set(err, RC_CONFIG, "mq_conf.librdkafka.%s: must be %s here", pair->name,
                             fixed->value);
        rc = kafka_conf_set(conf, pair->name, pair->value, err);
    }
    return rc;
}

enum rc kafka_conf_create(const struct config *cfg, const struct kafka_role *role,
                          rd_kafka_conf_t **ret, struct error *err) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, kafka_log);
    enum rc rc = set_connection(conf, &cfg->mq, err);
    if (rc == RC_OK)
        rc = set_all(conf, role->defaults, err);
    if (rc == RC_OK)
        rc = set_passed_through(conf, &cfg->mq, role, err);
    if (rc == RC_OK)
        rc = set_all(conf, role->fixed, err);
    if (rc != RC_OK) {
        rd_kafka_conf_destroy(conf);
        return rc;
    }
    *ret = conf;
    return RC_OK;
}

enum rc kafka_create(rd_kafka_type_t type, rd_kafka_conf_t *conf, rd_kafka_t **ret,
                     struct error *err) {
    char reason[REASON_CAP];
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rd_kafka_t *rk = rd_kafka_new(type, conf, reason, sizeof reason);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!rk) {
        rd_kafka_conf_destroy(conf);
        return error_set(err, RC_CONFIG, "mq_conf: %s", reason);
    }
    *ret = rk;
    return RC_OK;
}

static enum log_level level_of(int level, const char *facility) {
    for (size_t i = 0; i < LH_COUNT(connection_facilities); i++)
        if (strcmp(facility, connection_facilities[i]) == 0)
            return LOG_DEBUG;
    return level <= SYSLOG_ERROR ? LOG_ERROR : level <= SYSLOG_NOTICE ? LOG_WARNING : LOG_DEBUG;
}

/* True where the line may be written now; *ret_left_out lines were not since the last. */
static bool may_repeat(const char *facility, int64_t *ret_left_out) {
    unsigned hash = 0;
    for (const char *p = facility; *p; p++)
        hash = hash * 31 + (unsigned char)*p;
    int64_t now_ms = clock_mono_ms();
    pthread_mutex_lock(&repeats.lock);
    int64_t *until_ms = &repeats.slots[hash % FACILITIES].until_ms;
    int64_t *left_out = &repeats.slots[hash % FACILITIES].left_out;
    bool may = now_ms >= *until_ms;
    if (may) {
        *ret_left_out = *left_out;
        *left_out = 0;
        *until_ms = now_ms + REPEAT_MS;
    } else {
        ++*left_out;
    }
    pthread_mutex_unlock(&repeats.lock);
    return may;
}

void kafka_log(const rd_kafka_t *rk, int level, const char *facility, const char *text) {
    (void)rk;
    enum log_level ours = level_of(level, facility);
    int64_t left_out = 0;
    if (log_enabled(ours) && (ours == LOG_DEBUG || may_repeat(facility, &left_out)))
        log_at(ours, .msg = "librdkafka", .code = facility, .text = text, .count = left_out);
}
