/* status_cache.c: texts of tasks by id, bounded, never older than what the store says. */
#include "api/exec/status_cache.h"

#include "base/hash.h"
#include "base/mem.h"

#include <pthread.h>
#include <string.h>
#include <sys/queue.h>

enum {
    MARKS = 4096,          /* tasks that share one make a read's text be refused needlessly */
    TEXT_MAX_BYTES = 4096, /* a larger one is not kept */
    ENTRY_BYTES = 512,     /* about as much as one takes: a list for each */
    MALLOC_BYTES = 16,
    PASSED_MAX = 16,
};

/* The id, the service and the text stand in `bytes`, each with a NUL behind it. */
struct entry {
    LIST_ENTRY(entry) link;
    TAILQ_ENTRY(entry) order;
    uint64_t hash;
    size_t size; /* of all of it */
    const char *service, *text;
    size_t len;
    bool asked; /* for, since it came or was passed over */
    char bytes[];
};

LIST_HEAD(entry_list, entry);

struct status_cache {
    pthread_mutex_t lock; /* all of it */
    size_t max_bytes, bytes;
    TAILQ_HEAD(, entry) order; /* the first goes next, if nobody has asked for it */
    uint64_t marks[MARKS];     /* by hashed id: the last batch that changed such a task */
    size_t n_lists;            /* a power of two */
    struct entry_list lists[];
};

struct status_cache *status_cache_create(size_t max_bytes) {
    size_t n = 64;
    while (n < max_bytes / ENTRY_BYTES)
        n *= 2;
    struct status_cache *cache = calloc(1, sizeof *cache + n * sizeof cache->lists[0]);
    if (!cache)
        return NULL;
    pthread_mutex_init(&cache->lock, NULL);
    cache->max_bytes = max_bytes;
    cache->n_lists = n;
    TAILQ_INIT(&cache->order);
    return cache;
}

/* FNV-1a of eight bytes at a time, mixed at the end: ids begin alike. */
static uint64_t hash_id(struct json_span id) {
    uint64_t hash = HASH_NONE ^ id.len, word;
    for (; id.len >= sizeof word; id.len -= sizeof word, id.at += sizeof word) {
        memcpy(&word, id.at, sizeof word);
        hash = (hash ^ word) * UINT64_C(1099511628211);
        hash ^= hash >> 32;
    }
    return hash_add(hash, id.at, id.len);
}

static struct json_span span_of(const char *task_id) {
    return (struct json_span){task_id, strlen(task_id)};
}

static struct entry_list *list_of(struct status_cache *cache, uint64_t hash) {
    return &cache->lists[hash & (cache->n_lists - 1)];
}

static uint64_t *mark_of(struct status_cache *cache, uint64_t hash) {
    return &cache->marks[(hash >> 32) % MARKS];
}

static struct entry *find(struct status_cache *cache, uint64_t hash, struct json_span id) {
    struct entry *entry;
    LIST_FOREACH(entry, list_of(cache, hash), link)
    if (entry->hash == hash && strncmp(entry->bytes, id.at, id.len) == 0 && !entry->bytes[id.len])
        return entry;
    return NULL;
}

static void drop(struct status_cache *cache, struct entry *entry) {
    cache->bytes -= entry->size;
    LIST_REMOVE(entry, link);
    TAILQ_REMOVE(&cache->order, entry, order);
    free(entry);
}

static bool put(struct status_cache *cache, struct json_span id, const struct task_access *access,
                struct buf *to) {
    struct entry *entry = find(cache, hash_id(id), id);
    if (!entry || !task_access_allows(access, entry->service))
        return false;
    entry->asked = true;
    buf_append(to, entry->text, entry->len);
    return true;
}

bool status_cache_put(struct status_cache *cache, const struct json_span *ids, size_t n,
                      const struct task_access *access, struct buf *to) {
    bool found = cache != NULL;
    if (!found)
        return false;
    pthread_mutex_lock(&cache->lock);
    for (size_t i = 0; found && i < n; i++) {
        if (i > 0)
            buf_char(to, ',');
        found = put(cache, ids[i], access, to);
    }
    pthread_mutex_unlock(&cache->lock);
    return found;
}

static char *append(char *at, const char *bytes, size_t len) {
    memcpy(at, bytes, len);
    at[len] = '\0';
    return at + len + 1;
}

static struct entry *entry_create(const struct task *task, const char *text, size_t len) {
    struct json_span id = span_of(task->task_id);
    size_t service_len = strlen(task->service);
    size_t size = sizeof(struct entry) + id.len + service_len + len + 3;
    struct entry *entry = malloc(size);
    if (!entry)
        return NULL;
    *entry = (struct entry){.hash = hash_id(id), .size = size + MALLOC_BYTES};
    entry->service = append(entry->bytes, id.at, id.len);
    entry->text = append((char *)entry->service, task->service, service_len);
    entry->len = len;
    append((char *)entry->text, text, len);
    return entry;
}

/* Those that were asked for since get a further round, if that does not take long. */
static void make_room(struct status_cache *cache, size_t size) {
    for (int passed = 0; cache->bytes + size > cache->max_bytes; passed++) {
        struct entry *entry = TAILQ_FIRST(&cache->order);
        if (!entry->asked || passed >= PASSED_MAX) {
            drop(cache, entry);
            continue;
        }
        entry->asked = false;
        TAILQ_REMOVE(&cache->order, entry, order);
        TAILQ_INSERT_TAIL(&cache->order, entry, order);
    }
}

/* Takes the entry where it is of use; one that is there says the same. */
static bool keep(struct status_cache *cache, uint64_t batch, struct entry *entry) {
    if (*mark_of(cache, entry->hash) > batch || entry->size > cache->max_bytes ||
        find(cache, entry->hash, span_of(entry->bytes)))
        return false;
    make_room(cache, entry->size);
    cache->bytes += entry->size;
    LIST_INSERT_HEAD(list_of(cache, entry->hash), entry, link);
    TAILQ_INSERT_TAIL(&cache->order, entry, order);
    return true;
}

void status_cache_keep(struct status_cache *cache, uint64_t batch, const struct task *task,
                       const char *text, size_t len) {
    if (!cache || !task->task_id[0] || task->sub == SUB_REMOVED || len > TEXT_MAX_BYTES)
        return;
    struct entry *entry = entry_create(task, text, len);
    if (!entry)
        return;
    pthread_mutex_lock(&cache->lock);
    bool kept = keep(cache, batch, entry);
    pthread_mutex_unlock(&cache->lock);
    if (!kept)
        free(entry);
}

static void forget(struct status_cache *cache, uint64_t batch, const char *task_id) {
    struct json_span id = span_of(task_id);
    uint64_t hash = hash_id(id);
    struct entry *entry = find(cache, hash, id);
    *mark_of(cache, hash) = batch;
    if (entry)
        drop(cache, entry);
}

/* New tasks have no text here. */
static bool changes(const struct op *op) {
    return op->kind != OP_CREATE && op->n_tasks > 0 && (op->parts || !op_is_of_task(op->kind));
}

void status_cache_forget(uint64_t batch, struct op *const *ops, size_t n, void *arg) {
    struct status_cache *cache = arg;
    for (size_t i = 0; i < n; i++) {
        if (!changes(ops[i]))
            continue;
        pthread_mutex_lock(&cache->lock);
        for (size_t j = 0; j < ops[i]->n_tasks; j++)
            forget(cache, batch, ops[i]->tasks[j].task_id);
        pthread_mutex_unlock(&cache->lock);
    }
}

static void drop_all(struct status_cache *cache) {
    while (!TAILQ_EMPTY(&cache->order))
        drop(cache, TAILQ_FIRST(&cache->order));
}

void status_cache_clear(struct status_cache *cache) {
    if (!cache)
        return;
    pthread_mutex_lock(&cache->lock);
    drop_all(cache);
    pthread_mutex_unlock(&cache->lock);
}

size_t status_cache_bytes(struct status_cache *cache) {
    pthread_mutex_lock(&cache->lock);
    size_t bytes = cache->bytes;
    pthread_mutex_unlock(&cache->lock);
    return bytes;
}

void status_cache_destroy(struct status_cache *cache) {
    if (!cache)
        return;
    drop_all(cache);
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}
