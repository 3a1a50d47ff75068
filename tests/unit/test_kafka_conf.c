/* test_kafka_conf.c: mq_conf as librdkafka's configuration, and its log lines as ours. */
#include "publisher/kafka_conf.h"

#include "base/log.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char *text(const char *value) {
    return (char *)value;
}

static struct config mq_config(struct config_pair *pairs, size_t n) {
    return (struct config){.mq = {.bootstrap_servers = text("a:9092,b:9093"),
                                  .security_protocol = text("PLAINTEXT"),
                                  .librdkafka = pairs,
                                  .n_librdkafka = n}};
}

static void assert_property(const rd_kafka_conf_t *conf, const char *name, const char *want) {
    char value[256];
    size_t cap = sizeof value;
    assert_int_equal(rd_kafka_conf_get(conf, name, value, &cap), RD_KAFKA_CONF_OK);
    assert_string_equal(value, want);
}

static const struct kafka_property role_defaults[] = {{"linger.ms", "3"}, {NULL, NULL}};
static const struct kafka_property role_fixed[] = {{"acks", "all"}, {NULL, NULL}};
static const struct kafka_role role = {role_defaults, role_fixed};

static void the_mq_section_becomes_properties(void **state) {
    (void)state;
    struct config cfg = mq_config(NULL, 0);
    cfg.mq.security_protocol = text("SASL_SSL");
    cfg.mq.ssl_ca = text("/etc/ca.pem");
    cfg.mq.username = text("user");
    cfg.mq.password = text("word");
    rd_kafka_conf_t *conf;
    struct error err;
    assert_int_equal(kafka_conf_create(&cfg, &role, &conf, &err), RC_OK);
    static const struct kafka_property want[] = {
        {"bootstrap.servers", "a:9092,b:9093"},
        {"security.protocol", "sasl_ssl"},
        {"ssl.ca.location", "/etc/ca.pem"},
        {"sasl.mechanisms", "PLAIN"},
        {"sasl.username", "user"},
        {"linger.ms", "3"},
        {"client.id", "longhaul"},
    };
    for (size_t i = 0; i < LH_COUNT(want); i++)
        assert_property(conf, want[i].name, want[i].value);
    rd_kafka_conf_destroy(conf);
}

static void without_a_username_there_is_no_login(void **state) {
    (void)state;
    struct config cfg = mq_config(NULL, 0);
    cfg.mq.username = text("");
    rd_kafka_conf_t *conf;
    struct error err;
    assert_int_equal(kafka_conf_create(&cfg, &role, &conf, &err), RC_OK);
    assert_property(conf, "security.protocol", "plaintext");
    char value[64];
    size_t cap = sizeof value;
    assert_int_equal(rd_kafka_conf_get(conf, "sasl.username", value, &cap), RD_KAFKA_CONF_UNKNOWN);
    rd_kafka_conf_destroy(conf);
}

static void passed_through_properties_win_over_defaults_alone(void **state) {
    (void)state;
    static const struct {
        const char *name, *value, *fault; /* fault NULL: taken */
        const char *reads;                /* as librdkafka tells the value; NULL: as it was given */
    } rows[] = {
        {"linger.ms", "7", NULL},
        {"sasl.mechanisms", "SCRAM-SHA-256", NULL},
        {"acks", "all", NULL, "-1"},
        {"acks", "1", "mq_conf.librdkafka.acks: must be all here"},
        {"linger.ms", "x", "mq_conf.librdkafka.linger.ms: "},
        {"lingerms", "1", "mq_conf.librdkafka.lingerms: librdkafka has no such property"},
    };
    for (size_t i = 0; i < LH_COUNT(rows); i++) {
        struct config_pair pair = {text(rows[i].name), text(rows[i].value)};
        struct config cfg = mq_config(&pair, 1);
        rd_kafka_conf_t *conf = NULL;
        struct error err = {0};
        enum rc rc = kafka_conf_create(&cfg, &role, &conf, &err);
        assert_int_equal(rc, rows[i].fault ? RC_CONFIG : RC_OK);
        if (rows[i].fault) {
            assert_null(conf);
            assert_memory_equal(err.text, rows[i].fault, strlen(rows[i].fault));
        } else {
            assert_property(conf, rows[i].name, rows[i].reads ? rows[i].reads : rows[i].value);
            rd_kafka_conf_destroy(conf);
        }
    }
}

/* What `lines` calls of kafka_log() put on stderr. */
static void catch_log(int level, const char *facility, int lines, char *to, size_t cap) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    int saved = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    for (int i = 0; i < lines; i++)
        kafka_log(NULL, level, facility, "what it says");
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    ssize_t n = read(ends[0], to, cap - 1);
    close(ends[0]);
    to[n > 0 ? n : 0] = '\0';
}

static void repeated_lines_are_written_once(void **state) {
    (void)state;
    char out[4096];
    log_setup("test", LOG_JSON, LOG_INFO);
    catch_log(3, "REPEATED", 100, out, sizeof out);
    assert_non_null(strstr(out, "\"level\":\"error\""));
    assert_non_null(strstr(out, "\"code\":\"REPEATED\",\"text\":\"what it says\"}\n"));
    assert_ptr_equal(strchr(out, '\n'), out + strlen(out) - 1);
    catch_log(5, "OTHER", 1, out, sizeof out);
    assert_non_null(strstr(out, "\"level\":\"warning\""));
    catch_log(3, "FAIL", 1, out, sizeof out); /* a single connection */
    assert_string_equal(out, "");
    catch_log(6, "THIRD", 1, out, sizeof out);
    assert_string_equal(out, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_mq_section_becomes_properties),
        cmocka_unit_test(without_a_username_there_is_no_login),
        cmocka_unit_test(passed_through_properties_win_over_defaults_alone),
        cmocka_unit_test(repeated_lines_are_written_once),
    };
    return cmocka_run_group_tests_name("kafka_conf", tests, NULL, NULL);
}
