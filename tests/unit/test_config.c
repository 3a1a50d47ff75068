/* Configuration: tables of files and what is wrong with them, or the values that they give. */
#include "base/mem.h"
#include "config/config.h"
#include "config/near.h"
#include "config/yaml_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define A "service: [aaa]\n"
#define KAFKA "mq_conf: {bootstrap_servers: ['k:1']}\n"
#define SOURCE "source_db: {aaa: {topic_name: t, consumer_id: c}}\n"

/* What is wrong, as "FILE:" stands before it. */
static const struct {
    const char *text;
    const char *error;
} faults[] = {
    /* the file */
    {"", "1: service: missing; list the names of the services"},
    {"~\n", "1: service: missing"},
    {"- a\n", "1: the file must be a map of keys"},
    {"text\n", "1: the file must be a map of keys"},
    {A "listen: [\n", "3: malformed YAML: "},
    {A "listen: 'x\n\n", "4: malformed YAML: "},
    {A "a: b: c\n", "2: malformed YAML: "},
    {A "\tlisten: x\n", "2: malformed YAML: "},
    {A "listen: \x01\n", "2: malformed YAML: control characters are not allowed"},
    {A "listen: \xff\xfe\n", "2: the file is not valid UTF-8"},
    {A "listen: \xed\xa0\x80\n", "2: the file is not valid UTF-8"},
    {A "listen: \"a\\0b\"\n", "2: text must not hold a NUL character"},
    {A "listen: &x 1\n", "2: anchors and aliases are not supported"},
    {A "\"listen\": *x\n", "2: anchors and aliases are not supported"},
    {A "&x listen: 1\n", "2: anchors and aliases are not supported"},
    {A "listen: !!str 1\n", "2: tags are not supported"},
    {A "limits: !x {}\n", "2: tags are not supported"},
    {A "---\n" A, "2: only one YAML document is allowed"},
    {A "...\n---\n", "3: only one YAML document is allowed"},
    {A "listen: [[[[[[[[[1]]]]]]]]]\n", "2: nested too deeply"},
    {A "? [listen]\n: 1\n", "2: a key must be plain text"},
    {A "? {a: b}\n: 1\n", "2: a key must be plain text"},
    {A A, "2: service: given twice, first on line 1"},
    {A "limits:\n  body_kb: 1\n  idle_s: 1\n  body_kb: 1\n",
     "5: body_kb: given twice, first on line 3"},
    {A "\"limits\": {}\nlisten: x\nlimits: {}\nlisten: x\n", "4: limits: given twice"},

    /* keys */
    {A "on_lost_lease: stop\n", "2: on_lost_lease: expected keep or kill, found 'stop'"},
    {A "retention: {finishd_s: 1}\n",
     "2: retention.finishd_s: unknown key, did you mean 'finished_s'?"},
    {A "retention: 5\n", "2: retention: expected a map of keys, found text"},
    {A "tls: {cert: x}\n", "2: tls.key: missing beside tls.cert"},
    {A "loops: 1\n", "2: loops: unknown key"},
    {A "limits: {log_mb: 1}\n", "2: limits.log_mb: unknown key"},
    {A "module:\n  aaa:\n    timeout_s: -1\n",
     "4: module.aaa.timeout_s: expected seconds from 0 to 864000, found '-1'"},
    {A "module: {aaa: {memory_mb: 5.5}}\n",
     "2: module.aaa.memory_mb: expected an integer from 0 to 16777216, found '5.5'"},
    {A "lisetn: x\n", "2: lisetn: unknown key, did you mean 'listen'?"},
    {A "Listen: x\n", "2: Listen: unknown key, did you mean 'listen'?"},
    {A "test: {}\n", "2: test: unknown key, did you mean 'TEST'?"},
    {A "TEST:\n  MONGO_HOSTS: x\n", "3: TEST.MONGO_HOSTS: unknown key, did you mean 'MONGO_HOST'?"},
    {A "mq_conf: {bootstrap_server: [x]}\n", "did you mean 'bootstrap_servers'?"},
    {A "source_db: {aaa: {topicname: x}}\n",
     "2: source_db.aaa.topicname: unknown key, did you mean 'topic_name'?"},
    {A "services: [b]\n", "2: services: unknown key, did you mean 'service'?"},
    {A "<env>: {}\n", "2: <env>: unknown key"},
    {A "'': 1\n", "2: : unknown key"},
    {A "mq_conf.ssl_ca: x\n", "2: mq_conf.ssl_ca: unknown key"},
    {A "limits: 5\n", "2: limits: expected a map of keys, found text"},
    {A "limits: [a]\n", "2: limits: expected a map of keys, found a list"},
    {A "module: {aaa: command}\n", "2: module.aaa: expected a map of keys, found text"},

    /* services */
    {"service: aaa\n", "1: service: expected a list of 1 to 1000 names, each 1 to 64 letters, "
                       "digits, '_', '.' or '-', found 'aaa'"},
    {"service: []\n", "1: service: expected a list of 1 to 1000 names"},
    {"service:\n", "1: service: expected a list of 1 to 1000 names"},
    {"service: {a: b}\n", "found a map"},
    {"service:\n- aaa\n- ''\n", "3: service: expected"},
    {"service: [a b]\n", "found 'a b'"},
    {"service: ['\xc3\xa4']\n", "1: service: expected"},
    {"service: [aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\n",
     "1: service: "},
    {"service: [[a]]\n", "found a list"},
    {"service:\n- aaa\n- aab\n- aaa\n", "4: service: 'aaa' is listed twice"},
    {"service: [word_count]\nsource_db: {word_cuont: {}}\n",
     "2: source_db.word_cuont: 'word_cuont' is not listed under `service`, did you mean "
     "'word_count'?"},
    {A "module:\n  bbb: {command: [x]}\n", "3: module.bbb: 'bbb' is not listed under `service`"},
    {A "module: {aaa: {slots: 1}}\n", "2: module.aaa.command: missing"},
    {A "module: {aaa: {}}\n", "2: module.aaa.command: missing"},
    {A "module: {aaa: {command: []}}\n", "2: module.aaa.command: expected a list"},
    {A "module: {aaa: {command: x}}\n", "2: module.aaa.command: expected a list, each text that is "
                                        "not empty, found 'x'"},
    {A "module: {aaa: {command: ['']}}\n", "2: module.aaa.command: expected a list"},
    {A "module: {aaa: {command: [x], kind: cold}}\n",
     "2: module.aaa.kind: expected command, warm or shared_object, found 'cold'"},
    {A "module: {aaa: {kind: warm}}\n", "2: module.aaa.command: missing"},
    {A "module: {aaa: {kind: shared_object}}\n", "2: module.aaa.object: missing"},
    {A "module: {aaa: {kind: shared_object, object: [x.so]}}\n",
     "2: module.aaa.object: expected a file, found a list"},
    {A "module:\n  aaa:\n    kind: shared_object\n    object: x.so\n    command: [x]\n",
     "6: module.aaa.command: means nothing to the kind shared_object"},
    {A "module:\n  aaa:\n    object: x.so\n    command: [x]\n    kind: warm\n",
     "4: module.aaa.object: means nothing to the kind warm"},
    {A "module: {aaa: {command: [x], max_tasks: 5}}\n",
     "2: module.aaa.max_tasks: means nothing to the kind command"},
    {A "module: {aaa: {command: [x], max_rss_mb: 0}}\n",
     "2: module.aaa.max_rss_mb: means nothing to the kind command"},
    {A "module: {aaa: {kind: command, command: [x], idle_s: 5}}\n",
     "2: module.aaa.idle_s: means nothing to the kind command"},
    {A "module: {aaa: {kind: warm, command: [x], max_tasks: -1}}\n",
     "2: module.aaa.max_tasks: expected an integer from 0 to 1000000000, found '-1'"},
    {A "module: {aaa: {kind: warm, command: [x], max_rss_mb: 1.5}}\n",
     "2: module.aaa.max_rss_mb: expected an integer from 0 to 1048576, found '1.5'"},
    {A "module: {aaa: {kind: warm, command: [x], idle_s: 86401}}\n",
     "2: module.aaa.idle_s: expected seconds from 0 to 86400, found '86401'"},
    {A "module: {aaa: {command: [x], slots: 0}}\n",
     "2: module.aaa.slots: expected an integer from 1 to 1000, found '0'"},
    {A "module: {aaa: {command: [x], env: [a]}}\n",
     "2: module.aaa.env: expected a map of names to texts, found a list"},
    {A "module: {aaa: {command: [x], env: {a: [b]}}}\n",
     "2: module.aaa.env: a: expected a name and a text, found a list"},
    {A "module: {aaa: {command: [x], env: {a=b: c}}}\n", "2: module.aaa.env: a=b: expected"},

    /* types and ranges */
    {A "max_status_task: many\n",
     "2: max_status_task: expected an integer from 1 to 1000, found 'many'"},
    {A "max_status_task: '10'\n", "found the text '10'"},
    {A "max_status_task: 0\n", "found '0'"},
    {A "max_status_task: 1001\n", "found '1001'"},
    {A "max_status_task: -1\n", "found '-1'"},
    {A "max_status_task: 1.5\n", "found '1.5'"},
    {A "max_status_task: 010\n", "found '010'"},
    {A "max_status_task: 0x10\n", "found '0x10'"},
    {A "max_status_task: 1e1\n", "found '1e1'"},
    {A "max_status_task: 99999999999999999999999\n", "found '99999999999999999999999'"},
    {A "max_status_task:\n",
     "2: max_status_task: expected an integer from 1 to 1000, found nothing"},
    {A "max_status_task: [1]\n", "found a list"},
    {A "sweep_s: 0.001\n", "2: sweep_s: expected seconds from 0.01 to 3600, found '0.001'"},
    {A "sweep_s: 1.2345\n", "found '1.2345'"},
    {A "sweep_s: 1.\n", "found '1.'"},
    {A "sweep_s: .5\n", "found '.5'"},
    {A "sweep_s: 3600.001\n", "found '3600.001'"},
    {A "lease_s: 0\n", "2: lease_s: expected seconds from 0.1 to 86400, found '0'"},
    {A "lease_s: 86401\n", "found '86401'"},
    {A "max_crashes: 0\n", "2: max_crashes: expected an integer from 1 to 1000, found '0'"},
    {A "max_crashes: 1.5\n", "found '1.5'"},
    {A "retention:\n  failed_s: -1\n",
     "3: retention.failed_s: expected 0, or seconds from 0.01 to 3153600000, found '-1'"},
    {A "retention: {finished_s: 3153600000.001}\n", "found '3153600000.001'"},
    {A "retention: {finished_s: 1.0005}\n", "found '1.0005'"},
    {A "retention: {finished_s: never}\n", "found 'never'"},
    {A "retention: {tombstone_s: 86399.999}\n",
     "2: retention.tombstone_s: expected 0, or seconds from 86400 to 3153600000, found "
     "'86399.999'"},
    {A "drain_s: -1\n", "2: drain_s: expected seconds from 0 to 86400, found '-1'"},
    {A "legacy_http_status: yes\n", "2: legacy_http_status: expected true or false, found 'yes'"},
    {A "legacy_http_status: 'true'\n", "found the text 'true'"},
    {A "limits: {body_kb: 65537}\n",
     "2: limits.body_kb: expected an integer from 1 to 65536, found '65537'"},
    {A "default_env: PROD\n", "2: default_env: expected TEST, STAGE or PRODUCTION, found 'PROD'"},
    {A "listen: 8080\n", "2: listen: expected ADDRESS:PORT, [ADDRESS]:PORT or unix:PATH with a "
                         "numeric address, found '8080'"},
    {A "listen: localhost:80\n", "2: listen: "},
    {A "listen: 127.0.0.1:65536\n", "2: listen: "},
    {A "listen: 127.0.0.1:\n", "2: "},
    {A "listen: '::1:80'\n", "2: listen: "},
    {A "listen: '[::1]80'\n", "2: listen: "},
    {A "listen: '[]:80'\n", "2: listen: "},
    {A "listen: 'unix:'\n", "2: listen: "},
    {A "api_url: ftp://x\n",
     "2: api_url: expected http://HOST[:PORT][/PREFIX], https://… or unix:PATH"},
    {A "api_url: http://\n", "2: api_url: "},
    {A "api_url: http://u@h\n", "2: api_url: "},
    {A "auth_token_file: ''\n", "2: auth_token_file: expected a file"},
    {A "store: paper\n", "2: store: expected mongodb or sqlite:FILE, found 'paper'"},
    {A "store: 'sqlite:'\n", "2: store: "},
    {A "store: {sqlite: x}\n", "2: store: expected mongodb or sqlite:FILE, found a map"},
    {A "broker: pigeon\n", "2: broker: expected none or kafka, found 'pigeon'"},
    {A "source_db: {aaa: {topic_name: a/b}}\n", "2: source_db.aaa.topic_name: expected"},
    {A "source_db: {aaa: {topic_name: ..}}\n", "2: source_db.aaa.topic_name: expected"},
    {A "mq_conf: {bootstrap_servers: 'k:1'}\n",
     "2: mq_conf.bootstrap_servers: expected a list, each HOST:PORT, found the text 'k:1'"},
    {A "mq_conf: {bootstrap_servers: ['k:1,l:2']}\n", "found the text 'k:1,l:2'"},
    {A "mq_conf: {security_protocol: TLS}\n", "2: mq_conf.security_protocol: expected PLAINTEXT, "
                                              "SASL_PLAINTEXT, SASL_SSL or SSL, found 'TLS'"},
    {A "TEST: {MONGO_PORT: '27017'}\n", "2: TEST.MONGO_PORT: expected an integer from 1 to 65535"},
    {A "STAGE: {MONGO_PORT: 0}\n", "2: STAGE.MONGO_PORT: "},
    {A "TEST: {MONGO_DBNAME: 'a b'}\n", "2: TEST.MONGO_DBNAME: "},
    {A "TEST: {MONGO_HOST: 'mongodb://x'}\n", "2: TEST.MONGO_HOST: "},

    /* a secret is not told */
    {A "TEST: {MONGO_PASSWORD: [hush]}\n", "2: TEST.MONGO_PASSWORD: expected text, found a list"},
    {A "TEST: {MONGO_URI: 'http://u:hush@h'}\n",
     "2: TEST.MONGO_URI: expected mongodb://… or mongodb+srv://…, found text"},
    {A "mq_conf: {librdkafka: {sasl.password: ''}}\n",
     "2: mq_conf.librdkafka: sasl.password: expected a name and text that is not empty, found "
     "text"},

    /* what several keys say together */
    {A "store: mongodb\n", "2: store: mongodb needs MONGO_HOST or MONGO_URI in the section TEST"},
    {"default_env: STAGE\n" A "store: mongodb\nTEST: {MONGO_HOST: h}\n",
     "3: store: mongodb needs MONGO_HOST or MONGO_URI in the section STAGE"},
    {A "broker: kafka\n", "2: mq_conf.bootstrap_servers: missing; broker kafka needs it"},
    {A "mq_conf:\n", "2: mq_conf.bootstrap_servers: missing; broker kafka needs it"},
    {"service:\n- aaa\n- bbb\n" KAFKA SOURCE,
     "3: service: 'bbb' has no entry in source_db, which broker kafka needs"},
    {A KAFKA, "1: service: 'aaa' has no entry in source_db, which broker kafka needs"},
    {A KAFKA "source_db: {aaa: {source_name: x}}\n",
     "3: source_db.aaa.topic_name: missing; broker kafka needs it"},
    {A KAFKA "source_db: {aaa: {topic_name: x}}\n",
     "3: source_db.aaa.consumer_id: missing; broker kafka needs it"},
};

static enum rc parse(const char *text, struct config **ret, struct error *err) {
    return config_parse("/etc/lh/config.yaml", text, strlen(text), ret, err);
}

static struct config *parsed(const char *text) {
    struct config *cfg = NULL;
    struct error err;
    if (parse(text, &cfg, &err) != RC_OK)
        fail_msg("%s: %s", text, err.text);
    return cfg;
}

static void expect_error(const char *text, size_t len, const char *expected) {
    struct config *cfg = (struct config *)&faults;
    struct error err = {.text = ""};
    enum rc rc = config_parse("x/c.yaml", text, len, &cfg, &err);
    if (rc != RC_CONFIG || strncmp(err.text, "x/c.yaml:", 9) != 0 || !strstr(err.text, expected))
        fail_msg("%s\n%s: %s\nexpected %s", text, rc_info(rc)->word, err.text, expected);
    assert_null(strstr(err.text, "hush"));
    assert_ptr_equal(cfg, &faults);
}

static void test_faults(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(faults); i++)
        expect_error(faults[i].text, strlen(faults[i].text), faults[i].error);
}

static void test_bytes(void **state) {
    (void)state;
    static const char nul[] = A "listen: 127\0.0.0.1:80\n";
    expect_error(nul, sizeof nul - 1, "2: the file holds a NUL byte");
    LH_FREE char *large = malloc(YAML_BYTES_MAX + 1);
    memset(large, '#', YAML_BYTES_MAX + 1);
    memcpy(large, A, strlen(A));
    expect_error(large, YAML_BYTES_MAX + 1, "1: the file is larger than 1 MiB");
    struct config *cfg = NULL;
    assert_int_equal(config_parse("c", large, YAML_BYTES_MAX, &cfg, NULL), RC_OK);
    config_destroy(cfg);
}

/* Many keys cost no square, and the thousandth service is the last. */
static void test_many(void **state) {
    (void)state;
    struct buf text LH_CLEANUP_BUF;
    buf_init(&text, YAML_BYTES_MAX);
    buf_str(&text, "service:\n");
    for (int i = 0; i <= 1000; i++)
        buf_printf(&text, "- s%d\n", i);
    expect_error(text.data, text.len, "2: service: at most 1000 services");
    buf_clear(&text);
    buf_str(&text, A "module: {aaa: {command: [x], env: {\n");
    for (int i = 0; i < 60000; i++)
        buf_printf(&text, "k%d: v,\n", i);
    buf_str(&text, "k0: v}}}\n");
    expect_error(text.data, text.len, "60003: k0: given twice, first on line 3");
}

static void test_defaults(void **state) {
    (void)state;
    struct config *cfg = parsed(A);
    assert_string_equal(cfg->file, "/etc/lh/config.yaml");
    assert_string_equal(cfg->dir, "/etc/lh");
    assert_int_equal(cfg->env, ENV_TEST);
    assert_int_equal(cfg->n_services, 1);
    assert_string_equal(cfg->services[0].name, "aaa");
    assert_string_equal(cfg->services[0].source_name, "");
    assert_null(cfg->services[0].topic);
    assert_null(cfg->services[0].group);
    assert_null(cfg->services[0].module);
    assert_int_equal(cfg->max_status_task, 10);
    assert_int_equal(cfg->store, STORE_SQLITE);
    assert_string_equal(cfg->sqlite_path, "/etc/lh/data/longhaul.db");
    assert_int_equal(cfg->broker, BROKER_NONE);
    assert_string_equal(cfg->listen, "127.0.0.1:8080");
    assert_string_equal(cfg->api_url, "http://127.0.0.1:8080");
    assert_null(cfg->auth_token_file);
    assert_int_equal(cfg->sweep_ms, 1000);
    assert_int_equal(cfg->lease_ms, 30000);
    assert_int_equal(cfg->max_crashes, 3);
    assert_int_equal(cfg->drain_ms, 30000);
    assert_false(cfg->legacy_http_status);
    assert_int_equal(cfg->limits.body_bytes, 1 << 20);
    assert_int_equal(cfg->limits.result_bytes, 1 << 20);
    assert_int_equal(cfg->limits.connections, 10000);
    assert_int_equal(cfg->limits.waiting_per_service, 0);
    assert_int_equal(cfg->limits.status_cache_bytes, 16 << 20);
    assert_int_equal(cfg->limits.idle_ms, 75000);
    assert_false(cfg->mq.create_topics);
    assert_null(cfg->mq.bootstrap_servers);
    assert_string_equal(cfg->mongo.dbname, "longhaul");
    assert_null(cfg->mongo.uri);
    config_destroy(cfg);
}

/* A value as text: the member that a case looks at. */
typedef const char *look_fn(const struct config *cfg);

static const char *store(const struct config *cfg) {
    return cfg->store == STORE_MONGODB ? "mongodb" : cfg->sqlite_path;
}
static const char *broker(const struct config *cfg) {
    return cfg->broker == BROKER_KAFKA ? "kafka" : "none";
}
static const char *listener(const struct config *cfg) {
    return cfg->listen;
}
static const char *api_url(const struct config *cfg) {
    return cfg->api_url;
}
static const char *token_file(const struct config *cfg) {
    return cfg->auth_token_file;
}
static const char *protocol(const struct config *cfg) {
    return cfg->mq.security_protocol;
}
static const char *servers(const struct config *cfg) {
    return cfg->mq.bootstrap_servers;
}
static const char *ssl_ca(const struct config *cfg) {
    return cfg->mq.ssl_ca;
}
static const char *dbname(const struct config *cfg) {
    return cfg->mongo.dbname;
}
static const char *host(const struct config *cfg) {
    return cfg->mongo.host;
}
static const char *username(const struct config *cfg) {
    return cfg->mongo.username;
}
static const char *password(const struct config *cfg) {
    return cfg->mongo.password;
}
static const char *program(const struct config *cfg) {
    return cfg->services[0].module->command[0];
}
static const char *argument(const struct config *cfg) {
    return cfg->services[0].module->command[1];
}
static const char *variable(const struct config *cfg) {
    return cfg->services[0].module->env[0].value;
}
static const char *property(const struct config *cfg) {
    return cfg->mq.librdkafka[0].value;
}
static const char *numbers(const struct config *cfg) {
    static char text[80];
    snprintf(text, sizeof text, "%d %d %d %d %d", cfg->sweep_ms, cfg->limits.header_ms,
             cfg->mq.create_topics, cfg->mq.partitions, cfg->mq.replication_factor);
    return text;
}
static const char *leases(const struct config *cfg) {
    static char text[48];
    snprintf(text, sizeof text, "%d %d %d", cfg->lease_ms, cfg->max_crashes, cfg->drain_ms);
    return text;
}

static const char *retention(const struct config *cfg) {
    static char text[80];
    snprintf(text, sizeof text, "%lld %lld %lld", (long long)cfg->retention.finished_ms,
             (long long)cfg->retention.failed_ms, (long long)cfg->retention.tombstone_ms);
    return text;
}

static const char *object(const struct config *cfg) {
    return cfg->services[0].module->object;
}
static const char *warm(const struct config *cfg) {
    static char text[48];
    const struct config_module *module = cfg->services[0].module;
    snprintf(text, sizeof text, "%d %d %d %d", module->kind, module->max_tasks, module->max_rss_mb,
             module->idle_ms);
    return text;
}

static const struct {
    const char *text;
    look_fn *look;
    const char *value;
} values[] = {
    {A "TEST: {MONGO_HOST: h}\n", store, "mongodb"},
    {A "TEST: {MONGO_URI: 'mongodb://h'}\n", store, "mongodb"},
    {A "STAGE: {MONGO_HOST: h}\n", store, "/etc/lh/data/longhaul.db"},
    {A "TEST: {MONGO_HOST: h}\nstore: sqlite:x.db\n", store, "/etc/lh/x.db"},
    {A "store: sqlite:/x.db\n", store, "/x.db"},
    {A, retention, "604800000 2592000000 0"},
    {A "retention: {finished_s: 0, failed_s: 31536000.5, tombstone_s: 86400}\n", retention,
     "0 31536000500 86400000"},
    {A "TEST: {MONGO_HOST: h}\n", retention, "0 0 0"},
    {A "store: mongodb\nretention: {failed_s: 60, tombstone_s: 3153600000}\n"
       "TEST: {MONGO_HOST: h}\n",
     retention, "0 60000 3153600000000"},
    {A KAFKA SOURCE, broker, "kafka"},
    {A "mq_conf:\nbroker: none\n", broker, "none"},
    {A KAFKA "broker: none\n", broker, "none"},
    {A "listen: '[::]:0'\n", listener, "[::]:0"},
    {A "listen: unix:run/x\n", listener, "unix:/etc/lh/run/x"},
    {A "listen: unix:/run/x\n", listener, "unix:/run/x"},
    {A "listen: '[::]:80'\n", api_url, "http://[::1]:80"},
    {A "listen: 0.0.0.0:80\n", api_url, "http://127.0.0.1:80"},
    {A "listen: unix:x\n", api_url, "unix:/etc/lh/x"},
    {A "listen: 0.0.0.0:80\ntls: {cert: a, key: b}\n", api_url, "https://127.0.0.1:80"},
    {A "api_url: https://h:1/p//\n", api_url, "https://h:1/p"},
    {A "api_url: http://h:1/p//\n", api_url, "http://h:1/p"},
    {A "api_url: unix:x\n", api_url, "unix:/etc/lh/x"},
    {A "auth_token_file: data/token\n", token_file, "/etc/lh/data/token"},
    {A "auth_token_file: /t\n", token_file, "/t"},
    {A KAFKA SOURCE, protocol, "PLAINTEXT"},
    {A SOURCE "mq_conf: {bootstrap_servers: [k], sasl_plain_username: u}\n", protocol,
     "SASL_PLAINTEXT"},
    {A "broker: none\nmq_conf: {security_protocol: SSL}\n", protocol, "SSL"},
    {A SOURCE "mq_conf: {bootstrap_servers: [k, 'l:2']}\n", servers, "k,l:2"},
    {A "broker: none\nmq_conf: {bootstrap_servers: ['\"k\"', l]}\n", servers, "\"k\",l"},
    {A "broker: none\nmq_conf: {ssl_ca: ca.pem}\n", ssl_ca, "/etc/lh/ca.pem"},
    {A "broker: none\nmq_conf: {librdkafka: {linger.ms: 5}}\n", property, "5"},
    {A "TEST: {MONGO_URI: 'mongodb://u:p@h:1,h2/db?w=1'}\n", dbname, "db"},
    {A "TEST: {MONGO_URI: 'mongodb://h/?w=1'}\n", dbname, "longhaul"},
    {A "TEST: {MONGO_URI: 'mongodb://h/db', MONGO_DBNAME: other}\n", dbname, "other"},
    {A "default_env: STAGE\nTEST: {MONGO_HOST: a}\nSTAGE: {MONGO_HOST: b}\n", host, "b"},
    {A "TEST: {MONGO_USERNAME: }\n", username, ""},
    {A "TEST: {MONGO_PASSWORD: 123456}\n", password, "123456"},
    {A "TEST: {MONGO_PASSWORD: \"\xf0\x9f\x90\x8b: #'\"}\n", password, "\xf0\x9f\x90\x8b: #'"},
    {A "module: {aaa: {command: [python3, a/none.py]}}\n", program, "python3"},
    {A "module: {aaa: {command: [./x.sh]}}\n", program, "/etc/lh/./x.sh"},
    {A "module: {aaa: {command: [/x/y]}}\n", program, "/x/y"},
    {A "module: {aaa: {command: [python3, a/none.py]}}\n", argument, "a/none.py"},
    {A "module: {aaa: {command: [python3, 5]}}\n", argument, "5"},
    {A "module: {aaa: {command: [x], env: {THREADS: 4}}}\n", variable, "4"},
    {A "module: {aaa: {command: [x], env: {EMPTY: }}}\n", variable, ""},
    {A "module: {aaa: {kind: warm, command: [./x.sh]}}\n", program, "/etc/lh/./x.sh"},
    {A "module: {aaa: {kind: warm, command: [x]}}\n", warm, "1 0 0 0"},
    {A "module: {aaa: {kind: warm, command: [x], max_tasks: 5, max_rss_mb: 6, idle_s: 0.7}}\n",
     warm, "1 5 6 700"},
    {A "module: {aaa: {kind: shared_object, object: a/x.so, idle_s: 1}}\n", object,
     "/etc/lh/a/x.so"},
    {A "module: {aaa: {kind: shared_object, object: /x.so, max_tasks: 1}}\n", warm, "2 1 0 0"},
    {A "sweep_s: 0.2\nlimits: {header_s: 1.5}\n", numbers, "200 1500 0 1 1"},
    {A "lease_s: 0.5\nmax_crashes: 1000\ndrain_s: 0\n", leases, "500 1000 0"},
    {A "lease_s: 86400\nmax_crashes: 1\ndrain_s: 86400\n", leases, "86400000 1 86400000"},
    {A "broker: none\nmq_conf: {create_topics: {partitions: 8}}\n", numbers, "1000 10000 1 8 1"},
    {A "broker: none\nmq_conf: {create_topics: }\n", numbers, "1000 10000 1 1 1"},
    {"\xef\xbb\xbf" A "listen: 1.2.3.4:5\n", listener, "1.2.3.4:5"},
    {"%YAML 1.1\n---\r\n" A "listen: 1.2.3.4:5\n...\n", listener, "1.2.3.4:5"},
    {A "limits:\nmodule:\nsource_db:\n", listener, "127.0.0.1:8080"},
};

static void test_values(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(values); i++) {
        struct config *cfg = parsed(values[i].text);
        const char *value = values[i].look(cfg);
        if (!value || strcmp(value, values[i].value) != 0)
            fail_msg("%s\ngives %s instead of %s", values[i].text, value, values[i].value);
        config_destroy(cfg);
    }
}

static struct config *base_file(void) {
    struct config *cfg = NULL;
    struct error err;
    if (config_load(SOURCE_ROOT "/tests/unit/data/base_config.yaml", &cfg, &err) != RC_OK)
        fail_msg("%s", err.text);
    return cfg;
}

/* The base contract's own file chooses its Kafka and its MongoDB by itself. */
static void test_base_file(void **state) {
    (void)state;
    struct config *cfg = base_file();
    assert_int_equal(cfg->store, STORE_MONGODB);
    assert_int_equal(cfg->broker, BROKER_KAFKA);
    assert_int_equal(cfg->n_services, 2);
    assert_string_equal(cfg->services[0].name, "aaa");
    assert_string_equal(cfg->services[0].source_name, "mongo");
    assert_string_equal(cfg->services[0].topic, "mq_aaa");
    assert_string_equal(cfg->services[0].group, "c_aaa");
    assert_string_equal(cfg->services[1].source_name, "mysql");
    assert_string_equal(cfg->services[1].topic, "mq_bbb");
    assert_string_equal(cfg->services[1].group, "c_aaa");
    assert_string_equal(cfg->mq.bootstrap_servers, "kafka-ons-internet.aliyun.com:8080");
    assert_string_equal(cfg->mq.username, "...");
    assert_string_equal(cfg->mq.security_protocol, "SASL_PLAINTEXT");
    assert_string_equal(cfg->mongo.username, "test");
    assert_string_equal(cfg->mongo.dbname, "dev_task");
    assert_int_equal(cfg->mongo.port, 27017);
    config_destroy(cfg);
}

static void test_environment(void **state) {
    (void)state;
    setenv("MONGO_PASSWORD", "from-mongo", 1);
    setenv("SASL_PLAIN_PASSWORD", "from-sasl", 1);
    struct config *cfg = base_file();
    assert_string_equal(cfg->mongo.password, "from-mongo");
    assert_string_equal(cfg->mq.password, "from-sasl");
    config_destroy(cfg);
    setenv("MONGO_PASSWORD", "", 1);
    unsetenv("SASL_PLAIN_PASSWORD");
    cfg = base_file();
    assert_string_not_equal(cfg->mongo.password, "");
    assert_string_equal(cfg->mq.password, "...");
    config_destroy(cfg);
    unsetenv("MONGO_PASSWORD");
}

static char *printed(const struct config *cfg) {
    char *text = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&text, &len);
    config_print(cfg, to);
    fclose(to);
    return text;
}

/* What is printed loads again and prints the same; no secret is in it. */
static void expect_print(struct config *cfg) {
    LH_FREE char *text = printed(cfg);
    struct config *again = parsed(text);
    LH_FREE char *text_again = printed(again);
    assert_string_equal(text, text_again);
    assert_null(strstr(text, "hush"));
    assert_int_equal(cfg->store, again->store);
    assert_int_equal(cfg->broker, again->broker);
    assert_string_equal(cfg->listen, again->listen);
    config_destroy(again);
    config_destroy(cfg);
}

static void test_print(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(values); i++)
        expect_print(parsed(values[i].text));
    expect_print(base_file());
    expect_print(parsed("service: [a, b]\n"
                        "module: {a: {command: [x]}, b: {command: [y]}}\nbroker: none\n"));
    expect_print(parsed("service: [a.b, '-', '1', 'true']\n"
                        "source_db: {'-': {source_name: \"\\x7f\\n\\u2028 \\\" \\\\ \xc2\xa0\"}}\n"
                        "module: {a.b: {command: ['\xf0\x9f\x90\x8b', ''' \"'], env: {A: hush}}}\n"
                        "broker: none\n"
                        "mq_conf:\n  sasl_plain_password: hush\n"
                        "  librdkafka: {sasl.password: hush, a b: hush}\n"
                        "TEST: {MONGO_PASSWORD: hush, MONGO_URI: 'mongodb://u:hush@h'}\n"));
}

static char *file_text(const char *path) {
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    struct buf text;
    buf_init(&text, 1 << 20);
    char chunk[4096];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, file)) > 0;)
        buf_append(&text, chunk, n);
    fclose(file);
    return buf_take(&text, NULL);
}

static void test_docs(void **state) {
    (void)state;
    char *text = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&text, &len);
    config_print_docs(to);
    fclose(to);
    LH_FREE char *page = file_text(SOURCE_ROOT "/docs/config.md");
    if (strcmp(text, page) != 0)
        fail_msg("docs/config.md is not what longhaul-api --print-config-docs prints");
    free(text);
}

static void test_example(void **state) {
    (void)state;
    struct config *cfg = NULL;
    struct error err;
    if (config_load(SOURCE_ROOT "/config.yaml", &cfg, &err) != RC_OK)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < cfg->n_services; i++)
        assert_non_null(cfg->services[i].module);
    assert_string_equal(config_service(cfg, "word_count")->module->command[1],
                        SOURCE_ROOT "/examples/word_count.py");
    assert_null(config_service(cfg, "word_coun"));
    config_destroy(cfg);
}

static void test_unreadable(void **state) {
    (void)state;
    struct config *cfg = NULL;
    struct error err;
    assert_int_equal(config_load("/nonexistent/config.yaml", &cfg, &err), RC_IO);
    assert_string_equal(err.text, "/nonexistent/config.yaml: No such file or directory");
    assert_int_equal(config_load("/", &cfg, &err), RC_IO);
    assert_null(cfg);
}

/* The content of the token file; the token, or what is said. */
static const struct {
    const char *content;
    const char *token;
    const char *error;
} tokens[] = {
    {"abc", "abc", NULL},           {"abc\n", "abc", NULL},
    {"abc\r\n", "abc", NULL},       {"abc\n\n", NULL, "visible ASCII"},
    {"", NULL, "visible ASCII"},    {"\n", NULL, "visible ASCII"},
    {"a b", NULL, "visible ASCII"}, {"\xc3\xa4", NULL, "visible ASCII"},
};

static void test_token_file(void **state) {
    (void)state;
    unsetenv("AUTH_TOKEN");
    char path[] = "/tmp/longhaul-test-token-XXXXXX";
    int fd = mkstemp(path);
    struct config cfg = {.file = (char *)"c.yaml", .auth_token_file = path};
    for (size_t i = 0; i < LH_COUNT(tokens); i++) {
        assert_int_equal(ftruncate(fd, 0), 0);
        size_t len = strlen(tokens[i].content);
        assert_int_equal(pwrite(fd, tokens[i].content, len, 0), len);
        LH_FREE char *token = NULL;
        struct error err = {.text = ""};
        enum rc rc = config_auth_token(&cfg, &token, &err);
        assert_int_equal(rc, tokens[i].token ? RC_OK : RC_CONFIG);
        if (tokens[i].token)
            assert_string_equal(token, tokens[i].token);
        else
            assert_non_null(strstr(err.text, tokens[i].error));
    }
    close(fd);
    unlink(path);
}

static void test_token(void **state) {
    (void)state;
    struct config cfg = {.file = (char *)"c.yaml", .auth_token_file = (char *)"/nonexistent/t"};
    LH_FREE char *token = NULL;
    struct error err;
    unsetenv("AUTH_TOKEN");
    assert_int_equal(config_auth_token(&cfg, &token, &err), RC_CONFIG);
    assert_string_equal(err.text, "auth_token_file: /nonexistent/t: No such file or directory");
    cfg.auth_token_file = NULL;
    setenv("AUTH_TOKEN", "", 1);
    assert_int_equal(config_auth_token(&cfg, &token, &err), RC_CONFIG);
    assert_string_equal(err.text, "no access token: set AUTH_TOKEN, or auth_token_file in c.yaml");
    setenv("AUTH_TOKEN", "a b", 1);
    assert_int_equal(config_auth_token(&cfg, &token, &err), RC_CONFIG);
    assert_null(strstr(err.text, "a b"));
    setenv("AUTH_TOKEN", "from-env", 1);
    assert_int_equal(config_auth_token(&cfg, &token, &err), RC_OK);
    assert_string_equal(token, "from-env");
    unsetenv("AUTH_TOKEN");
}

/* A consumer's own file; without one, and with AUTH_TOKEN, as everybody. */
static void test_consumer_token(void **state) {
    (void)state;
    unsetenv("AUTH_TOKEN");
    char path[] = "/tmp/longhaul-test-token-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "own\n", 4), 4);
    close(fd);
    struct config cfg = {.file = (char *)"c.yaml",
                         .auth_token_file = (char *)"/nonexistent/t",
                         .consumer_token_file = path};
    LH_FREE char *own = NULL, *from_env = NULL;
    struct error err;
    assert_int_equal(config_consumer_token(&cfg, &own, &err), RC_OK);
    assert_string_equal(own, "own");
    setenv("AUTH_TOKEN", "from-env", 1);
    assert_int_equal(config_consumer_token(&cfg, &from_env, &err), RC_OK);
    assert_string_equal(from_env, "from-env");
    unsetenv("AUTH_TOKEN");
    unlink(path);
    assert_int_equal(config_consumer_token(&cfg, &own, &err), RC_CONFIG);
    assert_non_null(strstr(err.text, "consumer_token_file: "));
    cfg.consumer_token_file = NULL;
    assert_int_equal(config_consumer_token(&cfg, &own, &err), RC_CONFIG);
    assert_string_equal(err.text, "auth_token_file: /nonexistent/t: No such file or directory");
}

static void test_near(void **state) {
    (void)state;
    static const struct {
        const char *word, *candidate;
        bool near;
    } cases[] = {
        {"listn", "listen", true},  {"LISTEN", "listen", true}, {"lsiten", "listen", true},
        {"store", "broker", false}, {"lst", "list", true},      {"lt", "list", false},
        {"", "list", false},        {"listen", "", false},
    };
    for (size_t i = 0; i < LH_COUNT(cases); i++) {
        struct near near;
        near_init(&near, cases[i].word);
        near_offer(&near, cases[i].candidate, strlen(cases[i].candidate));
        assert_string_equal(near.best, cases[i].near ? cases[i].candidate : "");
    }
}

int main(void) {
    unsetenv("MONGO_PASSWORD");
    unsetenv("SASL_PLAIN_PASSWORD");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),      cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_many),        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_values),      cmocka_unit_test(test_base_file),
        cmocka_unit_test(test_environment), cmocka_unit_test(test_print),
        cmocka_unit_test(test_docs),        cmocka_unit_test(test_example),
        cmocka_unit_test(test_unreadable),  cmocka_unit_test(test_token_file),
        cmocka_unit_test(test_token),       cmocka_unit_test(test_consumer_token),
        cmocka_unit_test(test_near),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
