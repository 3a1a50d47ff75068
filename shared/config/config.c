/* config.c: reads the file, walks its tree along the table, applies what depends on more than one
 * key. */
#include "config/config.h"

#include "base/mem.h"
#include "config/config_tokens.h"
#include "config/near.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

enum { ENV_COUNT = 3, NAME_MAX_BYTES = 300, TOKEN_MAX_BYTES = 4096 };

/* A file being read. */
struct parse {
    struct config *cfg;
    struct config_mongo envs[ENV_COUNT]; /* cfg->mongo is the one in use, taken at the end */
    struct yaml_tree *root;
    struct config_source src;
};

static void module_destroy(struct config_module *module) {
    if (!module)
        return;
    config_values_free(HOME_MODULE, module);
    free(module);
}

void config_destroy(struct config *cfg) {
    if (!cfg)
        return;
    for (size_t i = 0; i < cfg->n_services; i++) {
        struct config_service *service = &cfg->services[i];
        module_destroy(service->module);
        config_values_free(HOME_SERVICE, service);
        free(service->name);
    }
    free(cfg->services);
    config_values_free(HOME_CONFIG, cfg);
    config_values_free(HOME_ENV, &cfg->mongo);
    free(cfg->sqlite_path);
    free(cfg->file);
    free(cfg->dir);
    free(cfg);
}

const struct config_service *config_service(const struct config *cfg, const char *name) {
    for (size_t i = 0; i < cfg->n_services; i++)
        if (strcmp(cfg->services[i].name, name) == 0)
            return &cfg->services[i];
    return NULL;
}

static struct config_service *service_at(struct parse *p, const char *name) {
    return (struct config_service *)config_service(p->cfg, name);
}

/* "module.word_count.slots", cut where it is very long. */
static const char *place_name(const struct config_place *place, char ret[NAME_MAX_BYTES]) {
    size_t used = 0;
    ret[0] = '\0';
    for (size_t i = 0; i < place->n && used < NAME_MAX_BYTES - 1; i++) {
        int len =
            snprintf(ret + used, NAME_MAX_BYTES - used, "%s%.80s", i ? "." : "", place->seg[i]);
        used += len > 0 ? (size_t)len : 0;
    }
    return ret;
}

/* Offers the segments that could stand in the last place. */
static void hint_offer(const struct config_place *place, struct near *near) {
    struct config_place parent = *place;
    parent.n--;
    for (size_t i = 0; i < n_config_keys; i++) {
        const char *pattern = config_keys[i].pattern;
        if (config_place_match(&parent, pattern) != PLACE_PREFIX)
            continue;
        size_t len, word_len;
        const char *segment = config_pattern_segment(pattern, parent.n, &len);
        if (segment[0] != '<')
            near_offer(near, segment, len);
        else if (segment[1] == 'e')
            for (size_t w = 0; (segment = config_word(config_env_words, w, &word_len)); w++)
                near_offer(near, segment, word_len);
    }
}

static enum rc unknown_key(struct parse *p, const struct config_place *place, int line) {
    char name[NAME_MAX_BYTES], hint[NEAR_HINT_CAP];
    struct near near;
    near_init(&near, place->seg[place->n - 1]);
    hint_offer(place, &near);
    return config_fail(&p->src, line, place_name(place, name), "unknown key%s",
                       near_hint(&near, hint));
}

static enum rc unknown_service(struct parse *p, const struct config_place *place, int line) {
    char name[NAME_MAX_BYTES], hint[NEAR_HINT_CAP];
    struct near near;
    near_init(&near, place->seg[1]);
    for (size_t i = 0; i < p->cfg->n_services; i++)
        near_offer(&near, p->cfg->services[i].name, strlen(p->cfg->services[i].name));
    return config_fail(&p->src, line, place_name(place, name),
                       "'%.64s' is not listed under `service`%s", place->seg[1],
                       near_hint(&near, hint));
}

/* The struct that a key of this place is stored in. */
static void *home_of(struct parse *p, const struct config_key *key,
                     const struct config_place *place) {
    size_t len;
    switch (key->home) {
    case HOME_SERVICE:
        return service_at(p, place->seg[1]);
    case HOME_MODULE:
        return service_at(p, place->seg[1])->module;
    case HOME_ENV:
        for (size_t i = 0; i < ENV_COUNT; i++) {
            const char *word = config_word(config_env_words, i, &len);
            if (strncmp(word, place->seg[0], len) == 0)
                return &p->envs[i];
        }
        return NULL;
    default:
        return p->cfg;
    }
}

static enum rc module_make(struct parse *p, struct config_service *service) {
    service->module = calloc(1, sizeof(*service->module));
    if (!service->module)
        return config_no_memory(&p->src);
    return config_value_defaults(&p->src, HOME_MODULE, service->module);
}

/* Prepares for the keys below a place: services must be known, a module gets its struct. */
static enum rc enter(struct parse *p, const struct config_place *place, int line) {
    if (place->n != 2)
        return RC_OK;
    if (strcmp(place->seg[0], "mq_conf") == 0) {
        p->cfg->mq.create_topics = true; /* the only group there */
        return RC_OK;
    }
    struct config_service *service = service_at(p, place->seg[1]);
    if (!service)
        return unknown_service(p, place, line);
    return strcmp(place->seg[0], "module") == 0 ? module_make(p, service) : RC_OK;
}

static enum rc walk(struct parse *p, const struct config_place *place,
                    const struct yaml_tree *tree);

/* A key, a group of keys, or neither. */
static enum rc walk_item(struct parse *p, const struct config_place *place,
                         const struct yaml_item *item) {
    char name[NAME_MAX_BYTES];
    bool group = false;
    for (size_t i = 0; i < n_config_keys; i++) {
        const struct config_key *key = &config_keys[i];
        enum place_match match = config_place_match(place, key->pattern);
        if (match == PLACE_EXACT && key->type == KEY_SERVICES)
            return RC_OK; /* was read before all others */
        if (match == PLACE_EXACT)
            return config_value_set(&p->src, key, place_name(place, name), item->value,
                                    home_of(p, key, place));
        group = group || match == PLACE_PREFIX;
    }
    if (!group)
        return unknown_key(p, place, item->line);
    enum rc rc = enter(p, place, item->line);
    return rc == RC_OK ? walk(p, place, item->value) : rc;
}

/* All keys of the group at `place`. */
static enum rc walk(struct parse *p, const struct config_place *place,
                    const struct yaml_tree *tree) {
    char name[NAME_MAX_BYTES];
    if (tree->kind != YAML_MAP && !yaml_tree_empty(tree))
        return config_fail(&p->src, tree->line, place_name(place, name),
                           "expected a map of keys, found %s", yaml_tree_kind(tree));
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && i < tree->n_items; i++) {
        struct config_place below = *place;
        below.seg[below.n++] = tree->items[i].key;
        rc = walk_item(p, &below, &tree->items[i]);
    }
    return rc;
}

static enum rc read_services(struct parse *p) {
    const struct yaml_item *item = yaml_tree_find(p->root, "service");
    if (!item)
        return config_fail(&p->src, 1, "service", "missing; list the names of the services");
    for (size_t i = 0; i < n_config_keys; i++)
        if (config_keys[i].type == KEY_SERVICES)
            return config_value_set(&p->src, &config_keys[i], "service", item->value, p->cfg);
    return RC_OK;
}

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
    char name[NAME_MAX_BYTES];
    struct config_place place = {
        .seg = {"source_db", service->name, service->topic ? "consumer_id" : "topic_name"}, .n = 3};
    return config_fail(&p->src, own->line, place_name(&place, name),
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
        char name[NAME_MAX_BYTES];
        struct config_place place = {.seg = {"module", service->name, last}, .n = 3};
        return config_fail(&p->src, item->line, place_name(&place, name),
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
    char name[NAME_MAX_BYTES];
    struct config_place place = {.seg = {"module", service->name, object ? "object" : "command"},
                                 .n = 3};
    return config_fail(&p->src, line, place_name(&place, name),
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
                           "expected http://HOST[:PORT][/PATH] in the environment, found '%.200s'",
                           value);
    return replace(p, &p->cfg->tracing.endpoint, text);
}

static enum rc finish_tracing(struct parse *p) {
    enum rc rc = override_endpoint(p, "OTEL_EXPORTER_OTLP_ENDPOINT", "/v1/traces");
    if (rc == RC_OK)
        rc = override_endpoint(p, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "");
    if (rc == RC_OK)
        rc = replace_from_environment(p, &p->cfg->tracing.service_name, "OTEL_SERVICE_NAME");
    return rc;
}

static enum rc finish_tokens(struct parse *p) {
    if (!p->cfg->tokens_file || p->cfg->tokens.n == 0)
        return RC_OK;
    return config_fail(&p->src, line_of(p, "tokens_file"), "tokens_file",
                       "tokens stands in this file too; give one of both");
}

static enum rc parse_defaults(struct parse *p) {
    enum rc rc = config_value_defaults(&p->src, HOME_CONFIG, p->cfg);
    for (size_t i = 0; rc == RC_OK && i < ENV_COUNT; i++)
        rc = config_value_defaults(&p->src, HOME_ENV, &p->envs[i]);
    return rc;
}

static enum rc parse_tree(struct parse *p) {
    static enum rc (*const steps[])(struct parse *) = {
        finish_mongo, finish_store,     finish_retention, finish_broker, finish_modules,
        finish_tls,   finish_addresses, finish_tracing,   finish_tokens};
    const struct config_place top = {.n = 0};
    enum rc rc = parse_defaults(p);
    if (rc == RC_OK)
        rc = read_services(p);
    if (rc == RC_OK)
        rc = walk(p, &top, p->root);
    for (size_t i = 0; rc == RC_OK && i < LH_COUNT(steps); i++)
        rc = steps[i](p);
    return rc;
}

/* The folder of `path`, absolute as text (links are not followed). NULL: out of memory, or no cwd.
 */
static char *folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (slash == path)
        return mem_dup("/", 1);
    LH_FREE char *folder = slash ? mem_dup(path, (size_t)(slash - path)) : NULL;
    if (slash && !folder)
        return NULL;
    if (path[0] == '/')
        return TAKE(folder);
    char cwd[PATH_MAX];
    if (!getcwd(cwd, sizeof(cwd)))
        return NULL;
    return folder ? config_path(cwd, folder) : mem_dup(cwd, strlen(cwd));
}

static void parse_finish(struct parse *p) {
    for (size_t i = 0; i < ENV_COUNT; i++)
        config_values_free(HOME_ENV, &p->envs[i]);
    yaml_tree_destroy(p->root);
    config_destroy(p->cfg);
}

enum rc config_parse(const char *path, const char *text, size_t len, struct config **ret,
                     struct error *err) {
    LH_CLEANUP(parse_finish) struct parse p = {.src = {.path = path, .err = err}};
    p.cfg = calloc(1, sizeof(*p.cfg));
    if (!p.cfg)
        return config_no_memory(&p.src);
    p.cfg->file = mem_dup(path, strlen(path));
    p.cfg->dir = folder_of(path);
    if (!p.cfg->file || !p.cfg->dir)
        return config_no_memory(&p.src);
    p.src.dir = p.cfg->dir;
    enum rc rc = yaml_tree_read(path, text, len, &p.root, err);
    if (rc == RC_OK)
        rc = parse_tree(&p);
    if (rc == RC_OK)
        *ret = TAKE(p.cfg);
    return rc;
}

static void fd_close_ptr(int *fd) {
    if (*fd >= 0)
        close(*fd);
}

/* Reads a whole file; where it has more than max_bytes, the first max_bytes + 1. */
static enum rc file_read(const char *path, size_t max_bytes, struct buf *to, struct error *err) {
    LH_CLEANUP(fd_close_ptr) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return error_set(err, RC_IO, "%s: %s", path, strerror(errno));
    buf_init(to, max_bytes + 1);
    while (to->len <= max_bytes) {
        char chunk[16384];
        size_t want = max_bytes + 1 - to->len;
        ssize_t n = read(fd, chunk, want < sizeof(chunk) ? want : sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, RC_IO, "%s: %s", path, strerror(errno));
        if (n == 0)
            break;
        buf_append(to, chunk, (size_t)n);
        if (buf_rc(to) != RC_OK)
            return error_set(err, buf_rc(to), "%s: out of memory", path);
    }
    return RC_OK;
}

enum rc config_load(const char *path, struct config **ret, struct error *err) {
    struct buf text LH_CLEANUP_BUF = {0};
    enum rc rc = file_read(path, YAML_BYTES_MAX, &text, err);
    if (rc != RC_OK)
        return rc;
    return config_parse(path, text.data ? text.data : "", text.len, ret, err);
}

static bool token_good(const char *token) {
    size_t len = strlen(token);
    for (const char *c = token; *c; c++)
        if (*c < 0x21 || *c > 0x7e)
            return false;
    return len && len <= TOKEN_MAX_BYTES;
}

static enum rc token_take(const char *from, const char *text, char **ret, struct error *err) {
    if (!token_good(text))
        return error_set(err, RC_CONFIG, "%s: the token must be 1 to %d visible ASCII characters",
                         from, TOKEN_MAX_BYTES);
    char *token = mem_dup(text, strlen(text));
    if (!token)
        return error_set(err, RC_NO_MEMORY, "%s: out of memory", from);
    *ret = token;
    return RC_OK;
}

/* The token in a file, which the key of that name gives. */
static enum rc token_read(const char *key, const char *file, char **ret, struct error *err) {
    struct buf text LH_CLEANUP_BUF = {0};
    struct error cause;
    enum rc rc = file_read(file, TOKEN_MAX_BYTES + 2, &text, &cause);
    if (rc != RC_OK)
        return error_set(err, rc == RC_IO ? RC_CONFIG : rc, "%s: %s", key, cause.text);
    if (text.len && text.data[text.len - 1] == '\n')
        text.data[--text.len] = '\0';
    if (text.len && text.data[text.len - 1] == '\r')
        text.data[--text.len] = '\0';
    if (!text.data || strlen(text.data) != text.len)
        return token_take(file, "", ret, err);
    return token_take(file, text.data, ret, err);
}

bool config_has_auth_token(const struct config *cfg) {
    const char *env = getenv("AUTH_TOKEN");
    return (env && env[0]) || cfg->auth_token_file;
}

enum rc config_auth_token(const struct config *cfg, char **ret, struct error *err) {
    const char *env = getenv("AUTH_TOKEN");
    if (env && env[0])
        return token_take("AUTH_TOKEN", env, ret, err);
    if (!cfg->auth_token_file)
        return error_set(err, RC_CONFIG,
                         "no access token: set AUTH_TOKEN, or auth_token_file in %s", cfg->file);
    return token_read("auth_token_file", cfg->auth_token_file, ret, err);
}

enum rc config_consumer_token(const struct config *cfg, char **ret, struct error *err) {
    const char *env = getenv("AUTH_TOKEN");
    if ((env && env[0]) || !cfg->consumer_token_file)
        return config_auth_token(cfg, ret, err);
    return token_read("consumer_token_file", cfg->consumer_token_file, ret, err);
}

/* The list in a file of its own, for the services of cfg. */
static enum rc tokens_file_read(const struct config *cfg, struct config_tokens *ret,
                                struct error *err) {
    struct buf text LH_CLEANUP_BUF = {0};
    struct yaml_tree *root = NULL;
    struct error cause = {.text = ""};
    const struct config_source src = {.path = cfg->tokens_file, .dir = cfg->dir, .err = err};
    enum rc rc = file_read(cfg->tokens_file, YAML_BYTES_MAX, &text, &cause);
    if (rc != RC_OK)
        return error_set(err, rc == RC_IO ? RC_CONFIG : rc, "tokens_file: %s", cause.text);
    rc = yaml_tree_read(cfg->tokens_file, text.data ? text.data : "", text.len, &root, err);
    if (rc != RC_OK)
        return rc;
    const struct yaml_item *list = yaml_tree_find(root, "tokens");
    if (root->kind != YAML_MAP || root->n_items != 1 || !list)
        rc = config_fail(&src, root->line, "tokens",
                         "the file must hold this key, a list of tokens, and no other");
    else
        rc = config_tokens_read(&src, cfg, list->value, ret);
    yaml_tree_destroy(root);
    return rc;
}

enum rc config_tokens_load(const char *path, struct config_tokens *ret, struct error *err) {
    struct config *cfg = NULL;
    enum rc rc = config_load(path, &cfg, err);
    if (rc != RC_OK)
        return rc;
    if (cfg->tokens_file) {
        rc = tokens_file_read(cfg, ret, err);
    } else {
        *ret = cfg->tokens;
        cfg->tokens = (struct config_tokens){0};
    }
    config_destroy(cfg);
    return rc;
}
