/* config_finish.c: what depends on more than one key, on the environment or on the file's folder.
 */
#include "config/config_parse.h"

#include "base/mem.h"

#include <string.h>
#include <unistd.h>

/* The line of a top-level key, or 1. */
static int line_of(const struct parse *p, const char *key) {
    const struct yaml_item *item = yaml_tree_find(p->root, key);
    return item ? item->line : 1;
}

static enum rc replace(struct parse *p, char **to, const char *text) {
    char *copy = mem_dup(text, strlen(text));
    if (!copy)
        return config_no_memory(&p->src);
    free(*to);
    *to = copy;
    return RC_OK;
}

static enum rc replace_from_environment(struct parse *p, char **to, const char *variable) {
    const char *value = getenv(variable);
    return value && value[0] ? replace(p, to, value) : RC_OK;
}

/* The database in "mongodb://…/NAME?options", or "longhaul". */
static char *uri_dbname(const char *uri) {
    const char *slash = uri ? strchr(strstr(uri, "://") + 3, '/') : NULL;
    size_t len = slash ? strcspn(slash + 1, "?") : 0;
    return len ? mem_dup(slash + 1, len) : mem_dup("longhaul", 8);
}

static enum rc finish_mongo(struct parse *p) {
    struct config_mongo *mongo = &p->cfg->mongo;
    *mongo = p->envs[p->cfg->env];
    p->envs[p->cfg->env] = (struct config_mongo){0};
    if (mongo->uri && !mongo->uri[0]) {
        free(mongo->uri);
        mongo->uri = NULL;
    }
    if (!mongo->dbname[0]) {
        free(mongo->dbname);
        mongo->dbname = uri_dbname(mongo->uri);
        if (!mongo->dbname)
            return config_no_memory(&p->src);
    }
    return replace_from_environment(p, &mongo->password, "MONGO_PASSWORD");
}

static enum rc finish_store(struct parse *p) {
    struct config *cfg = p->cfg;
    bool has_mongo = cfg->mongo.uri || cfg->mongo.host[0];
    if (yaml_tree_find(p->root, "store")) {
        size_t len;
        const char *env = config_word(config_env_words, cfg->env, &len);
        if (cfg->store == STORE_MONGODB && !has_mongo)
            return config_fail(&p->src, line_of(p, "store"), "store",
                               "mongodb needs MONGO_HOST or MONGO_URI in the section %.*s",
                               (int)len, env);
        return RC_OK;
    }
    cfg->store = has_mongo ? STORE_MONGODB : STORE_SQLITE;
    if (has_mongo)
        return RC_OK;
    cfg->sqlite_path = config_path(cfg->dir, "data/longhaul.db");
    return cfg->sqlite_path ? RC_OK : config_no_memory(&p->src);
}

/* Line of a service's entry in the list. */
static int service_line(const struct parse *p, size_t i) {
    return yaml_tree_find(p->root, "service")->value->items[i].value->line;
}

/* With Kafka every service needs its topic and group. */
static enum rc check_source(struct parse *p, size_t i) {
    const struct config_service *service = &p->cfg->services[i];
    if (service->topic && service->group)
        return RC_OK;
    const struct yaml_item *all = yaml_tree_find(p->root, "source_db");
    const struct yaml_item *own = yaml_tree_find(all ? all->value : NULL, service->name);
    if (!own)
        return config_fail(&p->src, service_line(p, i), "service",
                           "'%s' has no entry in source_db, which broker kafka needs",
                           service->name);
    char name[CONFIG_NAME_CAP];
    struct config_place place = {
        .seg = {"source_db", service->name, service->topic ? "consumer_id" : "topic_name"}, .n = 3};
    return config_fail(&p->src, own->line, config_place_name(&place, name),
                       "missing; broker kafka needs it");
}

static enum rc finish_kafka(struct parse *p) {
    struct config_mq *mq = &p->cfg->mq;
    const char *key = yaml_tree_find(p->root, "mq_conf") ? "mq_conf" : "broker";
    if (!mq->bootstrap_servers)
        return config_fail(&p->src, line_of(p, key), "mq_conf.bootstrap_servers",
                           "missing; broker kafka needs it");
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < p->cfg->n_services; i++)
        rc = check_source(p, i);
    return rc;
}

static enum rc finish_broker(struct parse *p) {
    struct config *cfg = p->cfg;
    if (!yaml_tree_find(p->root, "broker"))
        cfg->broker = yaml_tree_find(p->root, "mq_conf") ? BROKER_KAFKA : BROKER_NONE;
    enum rc rc = replace_from_environment(p, &cfg->mq.password, "SASL_PLAIN_PASSWORD");
    if (rc == RC_OK && !cfg->mq.security_protocol)
        rc = replace(p, &cfg->mq.security_protocol,
                     cfg->mq.username[0] ? "SASL_PLAINTEXT" : "PLAINTEXT");
    return rc == RC_OK && cfg->broker == BROKER_KAFKA ? finish_kafka(p) : rc;
}

/* An update of ours must not make documents vanish from a collection that somebody has. */
static enum rc finish_retention(struct parse *p) {
    const struct yaml_item *group = yaml_tree_find(p->root, "retention");
    const struct yaml_tree *given = group ? group->value : NULL;
    struct config_retention *retention = &p->cfg->retention;
    if (p->cfg->store != STORE_MONGODB)
        return RC_OK;
    if (!yaml_tree_find(given, "finished_s"))
        retention->finished_ms = 0;
    if (!yaml_tree_find(given, "failed_s"))
        retention->failed_ms = 0;
    return RC_OK;
}

static enum rc make_absolute(struct parse *p, char **path) {
    char *absolute = config_path(p->cfg->dir, *path);
    if (!absolute)
        return config_no_memory(&p->src);
    free(*path);
    *path = absolute;
    return RC_OK;
}

/* An argument that names a file beside the configuration ("examples/word_count.py") becomes
 * absolute. */
static enum rc finish_argument(struct parse *p, char **arg) {
    if ((*arg)[0] == '/' || (*arg)[0] == '-' || !strchr(*arg, '/'))
        return RC_OK;
    LH_FREE char *path = config_path(p->cfg->dir, *arg);
    if (!path)
        return config_no_memory(&p->src);
    if (access(path, F_OK) == 0) {
        free(*arg);
        *arg = TAKE(path);
    }
    return RC_OK;
}

static enum rc finish_command(struct parse *p, char **command) {
    enum rc rc = RC_OK;
    if (command[0][0] != '/' && strchr(command[0], '/'))
        rc = make_absolute(p, &command[0]);
    for (char **arg = command + 1; rc == RC_OK && *arg; arg++)
        rc = finish_argument(p, arg);
    return rc;
}

/* Every key that is given must mean something to the module's kind. */
static enum rc check_keys(struct parse *p, const struct config_service *service,
                          const struct yaml_tree *tree) {
    for (size_t i = 0; i < n_config_keys; i++) {
        const struct config_key *key = &config_keys[i];
        if (key->home != HOME_MODULE || config_key_applies(key, service->module))
            continue;
        const char *last = strrchr(key->pattern, '.') + 1;
        const struct yaml_item *item = yaml_tree_find(tree, last);
        if (!item)
            continue;
        size_t len;
        const char *kind = config_word(config_kind_words, service->module->kind, &len);
        char name[CONFIG_NAME_CAP];
        struct config_place place = {.seg = {"module", service->name, last}, .n = 3};
        return config_fail(&p->src, item->line, config_place_name(&place, name),
                           "means nothing to the kind %.*s", (int)len, kind);
    }
    return RC_OK;
}

/* What shall run the service must be named. */
static enum rc check_named(struct parse *p, const struct config_service *service, int line) {
    const struct config_module *module = service->module;
    bool object = module->kind == MODULE_SHARED_OBJECT;
    if (object ? (bool)module->object : (bool)module->command)
        return RC_OK;
    char name[CONFIG_NAME_CAP];
    struct config_place place = {.seg = {"module", service->name, object ? "object" : "command"},
                                 .n = 3};
    return config_fail(&p->src, line, config_place_name(&place, name),
                       "missing; what shall run the service?");
}

static enum rc finish_modules(struct parse *p) {
    const struct yaml_item *all = yaml_tree_find(p->root, "module");
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < p->cfg->n_services; i++) {
        const struct config_service *service = &p->cfg->services[i];
        if (!service->module)
            continue;
        const struct yaml_item *own = yaml_tree_find(all->value, service->name);
        rc = check_keys(p, service, own->value);
        if (rc == RC_OK)
            rc = check_named(p, service, own->line);
        if (rc == RC_OK && service->module->command)
            rc = finish_command(p, service->module->command);
    }
    return rc;
}

/* The path of "unix:PATH" is relative to the file's folder too. */
static enum rc finish_unix(struct parse *p, char **address) {
    if (strncmp(*address, "unix:", 5) != 0 || (*address)[5] == '/')
        return RC_OK;
    LH_FREE char *path = config_path(p->cfg->dir, *address + 5);
    char *text = NULL;
    if (!path || asprintf(&text, "unix:%s", path) < 0)
        return config_no_memory(&p->src);
    free(*address);
    *address = text;
    return RC_OK;
}

/* Where the listener is reached from this machine. */
static enum rc url_from_listen(struct parse *p) {
    const char *listen = p->cfg->listen, *colon = strrchr(listen, ':');
    const char *scheme = p->cfg->tls.cert ? "https" : "http";
    char *url = NULL;
    int len;
    if (strncmp(listen, "unix:", 5) == 0)
        len = asprintf(&url, "%s", listen);
    else if (strncmp(listen, "0.0.0.0:", 8) == 0)
        len = asprintf(&url, "%s://127.0.0.1%s", scheme, colon);
    else if (strncmp(listen, "[::]:", 5) == 0)
        len = asprintf(&url, "%s://[::1]%s", scheme, colon);
    else
        len = asprintf(&url, "%s://%s", scheme, listen);
    if (len < 0)
        return config_no_memory(&p->src);
    p->cfg->api_url = url;
    return RC_OK;
}

/* Of a pair, each needs the other. */
static enum rc check_pair(struct parse *p, const char *group, const char *cert, const char *key) {
    char name[64];
    if (!cert == !key)
        return RC_OK;
    snprintf(name, sizeof name, "%s.%s", group, cert ? "key" : "cert");
    return config_fail(&p->src, line_of(p, group), name, "missing beside %s.%s", group,
                       cert ? "cert" : "key");
}

static enum rc finish_tls(struct parse *p) {
    const struct config_tls *tls = &p->cfg->tls;
    enum rc rc = check_pair(p, "tls", tls->cert, tls->key);
    if (rc == RC_OK)
        rc = check_pair(p, "api_tls", p->cfg->api_tls.cert, p->cfg->api_tls.key);
    if (rc != RC_OK)
        return rc;
    int line = line_of(p, "tls");
    if (tls->client_cert != CLIENT_CERT_OFF && !tls->client_ca)
        return config_fail(&p->src, line, "tls.client_ca", "missing; tls.client_cert needs it");
    if (tls->client_ca && !tls->cert)
        return config_fail(&p->src, line, "tls.cert", "missing beside tls.client_ca");
    if (tls->cert && strncmp(p->cfg->listen, "unix:", 5) == 0)
        return config_fail(&p->src, line, "tls", "has no meaning for a listener at unix:PATH");
    return RC_OK;
}

static enum rc finish_addresses(struct parse *p) {
    struct config *cfg = p->cfg;
    enum rc rc = finish_unix(p, &cfg->listen);
    if (rc != RC_OK)
        return rc;
    if (!cfg->api_url)
        return url_from_listen(p);
    size_t len = strlen(cfg->api_url);
    while (cfg->api_url[0] == 'h' && cfg->api_url[len - 1] == '/')
        cfg->api_url[--len] = '\0';
    return finish_unix(p, &cfg->api_url);
}

/* A text of the environment in place of a key's; it has to be as the key asks. `path` is put
 * behind it. */
static enum rc override_endpoint(struct parse *p, const char *variable, const char *path) {
    const char *value = getenv(variable);
    if (!value || !value[0])
        return RC_OK;
    size_t len = strlen(value);
    while (*path && len > 0 && value[len - 1] == '/')
        len--;
    LH_FREE char *text = NULL;
    if (asprintf(&text, "%.*s%s", (int)len, value, path) < 0)
        return config_no_memory(&p->src);
    if (!config_collector_ok(text))
        return config_fail(&p->src, line_of(p, "tracing"), variable,
                           "expected http://HOST[:PORT][/PATH] or https://… in the environment, "
                           "found '%.200s'",
                           value);
    return replace(p, &p->cfg->tracing.endpoint, text);
}

static enum rc finish_tracing(struct parse *p) {
    struct config_tracing *tracing = &p->cfg->tracing;
    enum rc rc = override_endpoint(p, "OTEL_EXPORTER_OTLP_ENDPOINT", "/v1/traces");
    if (rc == RC_OK)
        rc = override_endpoint(p, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "");
    if (rc == RC_OK)
        rc = replace_from_environment(p, &tracing->ca, "OTEL_EXPORTER_OTLP_CERTIFICATE");
    if (rc == RC_OK)
        rc = replace_from_environment(p, &tracing->ca, "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE");
    if (rc == RC_OK)
        rc = replace_from_environment(p, &tracing->service_name, "OTEL_SERVICE_NAME");
    return rc;
}

static enum rc finish_tokens(struct parse *p) {
    if (!p->cfg->tokens_file || p->cfg->tokens.n == 0)
        return RC_OK;
    return config_fail(&p->src, line_of(p, "tokens_file"), "tokens_file",
                       "tokens stands in this file too; give one of both");
}

enum rc config_finish(struct parse *p) {
    static enum rc (*const steps[])(struct parse *) = {
        finish_mongo, finish_store,     finish_retention, finish_broker, finish_modules,
        finish_tls,   finish_addresses, finish_tracing,   finish_tokens};
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < LH_COUNT(steps); i++)
        rc = steps[i](p);
    return rc;
}
