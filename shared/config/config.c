/* config.c: walks the tree of the file along the table of keys. */
#include "config/config_parse.h"

#include "base/mem.h"
#include "config/near.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

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

const char *config_place_name(const struct config_place *place, char ret[CONFIG_NAME_CAP]) {
    size_t used = 0;
    ret[0] = '\0';
    for (size_t i = 0; i < place->n && used < CONFIG_NAME_CAP - 1; i++) {
        int len =
            snprintf(ret + used, CONFIG_NAME_CAP - used, "%s%.80s", i ? "." : "", place->seg[i]);
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
    char name[CONFIG_NAME_CAP], hint[NEAR_HINT_CAP];
    struct near near;
    near_init(&near, place->seg[place->n - 1]);
    hint_offer(place, &near);
    return config_fail(&p->src, line, config_place_name(place, name), "unknown key%s",
                       near_hint(&near, hint));
}

static enum rc unknown_service(struct parse *p, const struct config_place *place, int line) {
    char name[CONFIG_NAME_CAP], hint[NEAR_HINT_CAP];
    struct near near;
    near_init(&near, place->seg[1]);
    for (size_t i = 0; i < p->cfg->n_services; i++)
        near_offer(&near, p->cfg->services[i].name, strlen(p->cfg->services[i].name));
    return config_fail(&p->src, line, config_place_name(place, name),
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
    char name[CONFIG_NAME_CAP];
    bool group = false;
    for (size_t i = 0; i < n_config_keys; i++) {
        const struct config_key *key = &config_keys[i];
        enum place_match match = config_place_match(place, key->pattern);
        if (match == PLACE_EXACT && key->type == KEY_SERVICES)
            return RC_OK; /* was read before all others */
        if (match == PLACE_EXACT)
            return config_value_set(&p->src, key, config_place_name(place, name), item->value,
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
    char name[CONFIG_NAME_CAP];
    if (tree->kind != YAML_MAP && !yaml_tree_empty(tree))
        return config_fail(&p->src, tree->line, config_place_name(place, name),
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

static enum rc parse_defaults(struct parse *p) {
    enum rc rc = config_value_defaults(&p->src, HOME_CONFIG, p->cfg);
    for (size_t i = 0; rc == RC_OK && i < ENV_COUNT; i++)
        rc = config_value_defaults(&p->src, HOME_ENV, &p->envs[i]);
    return rc;
}

static enum rc parse_tree(struct parse *p) {
    const struct config_place top = {.n = 0};
    enum rc rc = parse_defaults(p);
    if (rc == RC_OK)
        rc = read_services(p);
    if (rc == RC_OK)
        rc = walk(p, &top, p->root);
    return rc == RC_OK ? config_finish(p) : rc;
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
