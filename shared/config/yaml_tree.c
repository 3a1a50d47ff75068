/* yaml_tree.c: libyaml's events made into a tree. */
#include "config/yaml_tree.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <string.h>
#include <yaml.h>

struct reader {
    yaml_parser_t parser;
    const char *name;
    const char *text;
    size_t len;
    struct error *err;
};

void yaml_tree_destroy(struct yaml_tree *tree) {
    if (!tree)
        return;
    for (size_t i = 0; i < tree->n_items; i++) {
        free(tree->items[i].key);
        yaml_tree_destroy(tree->items[i].value);
    }
    free(tree->items);
    free(tree->text);
    free(tree);
}

static void tree_destroy_ptr(struct yaml_tree **tree) {
    yaml_tree_destroy(*tree);
}

const struct yaml_item *yaml_tree_find(const struct yaml_tree *tree, const char *key) {
    if (!tree || tree->kind != YAML_MAP)
        return NULL;
    for (size_t i = 0; i < tree->n_items; i++)
        if (strcmp(tree->items[i].key, key) == 0)
            return &tree->items[i];
    return NULL;
}

bool yaml_tree_empty(const struct yaml_tree *tree) {
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    if (tree->kind != YAML_SCALAR || !tree->plain)
        return false;
    for (size_t i = 0; i < LH_COUNT(words); i++)
        if (strcmp(tree->text, words[i]) == 0)
            return true;
    return false;
}

const char *yaml_tree_kind(const struct yaml_tree *tree) {
    static const char *const names[] = {"text", "a list", "a map"};
    return yaml_tree_empty(tree) ? "nothing" : names[tree->kind];
}

static int line_at(const struct reader *r, size_t offset) {
    int line = 1;
    for (size_t i = 0; i < offset && i < r->len; i++)
        line += r->text[i] == '\n';
    return line;
}

static enum rc wrong(struct reader *r, int line, const char *what) {
    return error_set(r->err, RC_CONFIG, "%s:%d: %s", r->name, line, what);
}

static enum rc no_memory(struct reader *r) {
    return error_set(r->err, RC_NO_MEMORY, "%s: out of memory", r->name);
}

static enum rc parser_failed(struct reader *r) {
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return no_memory(r);
    int line = p->error == YAML_READER_ERROR ? line_at(r, p->problem_offset)
                                             : (int)p->problem_mark.line + 1;
    return error_set(r->err, RC_CONFIG, "%s:%d: malformed YAML: %s", r->name, line,
                     p->problem ? p->problem : "cannot be read");
}

static enum rc next(struct reader *r, yaml_event_t *ret) {
    return yaml_parser_parse(&r->parser, ret) ? RC_OK : parser_failed(r);
}

static int event_line(const yaml_event_t *event) {
    return (int)event->start_mark.line + 1;
}

/* What of YAML is refused, besides nesting. */
static enum rc event_check(struct reader *r, const yaml_event_t *event) {
    const yaml_char_t *anchor = NULL, *tag = NULL;
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return wrong(r, event_line(event), "anchors and aliases are not supported");
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        if (memchr(event->data.scalar.value, 0, event->data.scalar.length))
            return wrong(r, event_line(event), "text must not hold a NUL character");
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        break;
    default:
        break;
    }
    if (anchor)
        return wrong(r, event_line(event), "anchors and aliases are not supported");
    if (tag)
        return wrong(r, event_line(event), "tags are not supported");
    return RC_OK;
}

static enum rc read_value(struct reader *r, const yaml_event_t *event, int depth,
                          struct yaml_tree **ret);

/* One further item, or NULL when out of memory; items grow by doubling at powers of two. */
static struct yaml_item *item_add(struct yaml_tree *tree) {
    size_t n = tree->n_items;
    if ((n & (n - 1)) == 0) {
        struct yaml_item *items = reallocarray(tree->items, n ? n * 2 : 1, sizeof(*items));
        if (!items)
            return NULL;
        tree->items = items;
    }
    tree->items[n] = (struct yaml_item){0};
    tree->n_items++;
    return &tree->items[n];
}

static enum rc read_key(struct reader *r, const yaml_event_t *event, struct yaml_item *item) {
    if (event->type != YAML_SCALAR_EVENT)
        return wrong(r, event_line(event), "a key must be plain text");
    enum rc rc = event_check(r, event);
    if (rc != RC_OK)
        return rc;
    item->line = event_line(event);
    item->key = mem_dup(event->data.scalar.value, event->data.scalar.length);
    return item->key ? RC_OK : no_memory(r);
}

/* One item, whose first event has come: a key and its value, or the value of a list. */
static enum rc read_item(struct reader *r, const yaml_event_t *first, struct yaml_tree *tree,
                         int depth) {
    struct yaml_item *item = item_add(tree);
    if (!item)
        return no_memory(r);
    if (tree->kind == YAML_LIST) {
        item->line = event_line(first);
        return read_value(r, first, depth, &item->value);
    }
    enum rc rc = read_key(r, first, item);
    if (rc != RC_OK)
        return rc;
    yaml_event_t event;
    rc = next(r, &event);
    if (rc != RC_OK)
        return rc;
    rc = read_value(r, &event, depth, &item->value);
    yaml_event_delete(&event);
    return rc;
}

static enum rc read_items(struct reader *r, struct yaml_tree *tree, int depth) {
    for (;;) {
        yaml_event_t event;
        enum rc rc = next(r, &event);
        if (rc != RC_OK)
            return rc;
        bool end = event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT;
        if (!end)
            rc = read_item(r, &event, tree, depth);
        yaml_event_delete(&event);
        if (rc != RC_OK || end)
            return rc;
    }
}

static int by_key_and_line(const void *a, const void *b) {
    const struct yaml_item *x = *(const struct yaml_item *const *)a;
    const struct yaml_item *y = *(const struct yaml_item *const *)b;
    int order = strcmp(x->key, y->key);
    return order ? order : (x > y) - (x < y);
}

/* Sorts pointers to the items, so that a map of many keys costs no square. */
static enum rc refuse_duplicates(struct reader *r, const struct yaml_tree *map) {
    if (map->n_items < 2)
        return RC_OK;
    LH_FREE const struct yaml_item **sorted = calloc(map->n_items, sizeof(*sorted));
    if (!sorted)
        return no_memory(r);
    for (size_t i = 0; i < map->n_items; i++)
        sorted[i] = &map->items[i];
    qsort(sorted, map->n_items, sizeof(*sorted), by_key_and_line);
    const struct yaml_item *first = NULL, *again = NULL;
    for (size_t i = 1; i < map->n_items; i++) {
        if (strcmp(sorted[i - 1]->key, sorted[i]->key) == 0 && (!again || sorted[i] < again)) {
            first = sorted[i - 1];
            again = sorted[i];
        }
    }
    if (!again)
        return RC_OK;
    return error_set(r->err, RC_CONFIG, "%s:%d: %.80s: given twice, first on line %d", r->name,
                     again->line, again->key, first->line);
}

static enum rc read_scalar(struct reader *r, const yaml_event_t *event, struct yaml_tree *tree) {
    tree->kind = YAML_SCALAR;
    tree->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    tree->text = mem_dup(event->data.scalar.value, event->data.scalar.length);
    return tree->text ? RC_OK : no_memory(r);
}

static enum rc read_collection(struct reader *r, enum yaml_kind kind, struct yaml_tree *tree,
                               int depth) {
    if (depth == YAML_DEPTH_MAX)
        return wrong(r, tree->line, "nested too deeply");
    tree->kind = kind;
    enum rc rc = read_items(r, tree, depth + 1);
    return rc == RC_OK && kind == YAML_MAP ? refuse_duplicates(r, tree) : rc;
}

/* The value that `event` begins. */
static enum rc read_value(struct reader *r, const yaml_event_t *event, int depth,
                          struct yaml_tree **ret) {
    enum rc rc = event_check(r, event);
    if (rc != RC_OK)
        return rc;
    LH_CLEANUP(tree_destroy_ptr) struct yaml_tree *tree = calloc(1, sizeof(*tree));
    if (!tree)
        return no_memory(r);
    tree->line = event_line(event);
    if (event->type == YAML_SCALAR_EVENT)
        rc = read_scalar(r, event, tree);
    else
        rc = read_collection(r, event->type == YAML_MAPPING_START_EVENT ? YAML_MAP : YAML_LIST,
                             tree, depth);
    if (rc == RC_OK)
        *ret = TAKE(tree);
    return rc;
}

/* The stream: at most one document, whose value goes to *tree. */
static enum rc read_stream(struct reader *r, struct yaml_tree **tree) {
    for (;;) {
        yaml_event_t event;
        enum rc rc = next(r, &event);
        if (rc != RC_OK)
            return rc;
        yaml_event_type_t type = event.type;
        if (type == YAML_DOCUMENT_START_EVENT && *tree)
            rc = wrong(r, event_line(&event), "only one YAML document is allowed");
        else if (type == YAML_SCALAR_EVENT || type == YAML_MAPPING_START_EVENT ||
                 type == YAML_SEQUENCE_START_EVENT || type == YAML_ALIAS_EVENT)
            rc = read_value(r, &event, 0, tree);
        yaml_event_delete(&event);
        if (rc != RC_OK || type == YAML_STREAM_END_EVENT)
            return rc;
    }
}

static enum rc bytes_check(struct reader *r) {
    if (r->len > YAML_BYTES_MAX)
        return wrong(r, 1, "the file is larger than 1 MiB");
    const char *nul = memchr(r->text, 0, r->len);
    if (nul)
        return wrong(r, line_at(r, (size_t)(nul - r->text)), "the file holds a NUL byte");
    for (size_t i = 0, step; i < r->len; i += step) {
        step = utf8_char(r->text + i, r->len - i);
        if (!step)
            return wrong(r, line_at(r, i), "the file is not valid UTF-8");
    }
    return RC_OK;
}

/* What stands for an empty file. */
static enum rc empty_map(struct reader *r, struct yaml_tree **ret) {
    *ret = calloc(1, sizeof(**ret));
    if (!*ret)
        return no_memory(r);
    (*ret)->kind = YAML_MAP;
    (*ret)->line = 1;
    return RC_OK;
}

enum rc yaml_tree_read(const char *name, const char *text, size_t len, struct yaml_tree **ret,
                       struct error *err) {
    size_t mark = len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* byte order mark */
    struct reader r = {.name = name, .text = text + mark, .len = len - mark, .err = err};
    enum rc rc = bytes_check(&r);
    if (rc != RC_OK)
        return rc;
    if (!yaml_parser_initialize(&r.parser))
        return no_memory(&r);
    LH_CLEANUP(tree_destroy_ptr) struct yaml_tree *tree = NULL;
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)r.text, r.len);
    rc = read_stream(&r, &tree);
    if (rc == RC_OK && (!tree || yaml_tree_empty(tree))) {
        yaml_tree_destroy(TAKE(tree));
        rc = empty_map(&r, &tree);
    }
    if (rc == RC_OK && tree->kind != YAML_MAP)
        rc = wrong(&r, tree->line, "the file must be a map of keys");
    yaml_parser_delete(&r.parser);
    if (rc == RC_OK)
        *ret = TAKE(tree);
    return rc;
}
