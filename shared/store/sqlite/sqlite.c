/* sqlite.c: opens the file: its folder, the lock that makes it ours, its connections. */
#include "store/sqlite/sqlite.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static enum rc refuse_file(struct error *err, const char *path) {
    return error_set(err, RC_CONFIG, "%s cannot be used: %s", path, strerror(errno));
}

/* Makes the entries of a folder durable. */
static bool sync_folder(const char *folder) {
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

static void parent_of(const char *path, char *to, size_t cap) {
    const char *slash = strrchr(path, '/');
    int len = slash ? (int)(slash - path) : 0;
    snprintf(to, cap, "%.*s", len, path);
    if (!len)
        snprintf(to, cap, "%s", slash ? "/" : ".");
}

/* Creates the file's folder where it is missing. */
static enum rc make_folder(const char *folder, struct error *err) {
    char above[PATH_MAX];
    parent_of(folder, above, sizeof above);
    if (mkdir(folder, 0700) == 0)
        return sync_folder(above) ? RC_OK : refuse_file(err, above);
    return errno == EEXIST ? RC_OK : refuse_file(err, folder);
}

/* Creates the file for its owner alone. SQLite gives its side files the same mode. */
static enum rc make_file(const char *path, const char *folder, struct error *err) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return refuse_file(err, path);
    close(fd);
    return sync_folder(folder) ? RC_OK : refuse_file(err, folder);
}

static enum rc refuse_lock(int fd, const char *path, struct error *err) {
    char pid[24] = "";
    ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
    close(fd);
    pid[n > 0 ? strcspn(pid, "\n") : 0] = '\0';
    return error_set(err, RC_LOCKED, "%s belongs to another process (pid %s)", path,
                     pid[0] ? pid : "unknown");
}

/* The lock is on a file of its own: closing any descriptor of the database would drop the locks
 * that SQLite holds on it. It ends with the process. */
static enum rc lock_file(const char *path, int *ret_fd, struct error *err) {
    char name[PATH_MAX];
    if (snprintf(name, sizeof name, "%s.lock", path) >= (int)sizeof name)
        return error_set(err, RC_CONFIG, "%s: the path is too long", path);
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return refuse_file(err, name);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        return refuse_lock(fd, path, err);
    char pid[24];
    int len = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    /* Only for the text of a refusal: a disk without room for it may still hold tasks. */
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)len, 0) != len)
        errno = 0;
    *ret_fd = fd;
    return RC_OK;
}

static void destroy(struct store *base) {
    struct sqlite_store *store = (struct sqlite_store *)base;
    for (unsigned i = 0; store->readers && i < store->n_readers; i++)
        sqlite_conn_close(&store->readers[i]);
    sqlite_checkpoint_close(store->checkpoint);
    sqlite_conn_close(&store->writer);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    sqlite_counts_finish(&store->counts);
    free(store->readers);
    free(store->path);
    free(store);
}

static const struct store_impl impl = {"sqlite", sqlite_apply, sqlite_query, destroy};

static enum rc open_connections(struct sqlite_store *store, struct error *err) {
    int sq = sqlite_conn_open(&store->writer, store->path, true);
    if (sq == SQLITE_OK) {
        enum rc rc = sqlite_schema_upgrade(&store->writer, store->path, err);
        if (rc != RC_OK)
            return rc;
        sq = sqlite_counts_load(&store->writer, &store->counts);
    }
    if (sq == SQLITE_OK)
        sq = sqlite_checkpoint_open(store->path, &store->writer, &store->checkpoint);
    for (unsigned i = 0; sq == SQLITE_OK && i < store->n_readers; i++)
        sq = sqlite_conn_open(&store->readers[i], store->path, false);
    if (sq != SQLITE_OK)
        return error_set(err, RC_CONFIG, "%s cannot be used: %s", store->path, sqlite_why(sq));
    return RC_OK;
}

static enum rc open_file(struct sqlite_store *store, struct error *err) {
    char folder[PATH_MAX];
    parent_of(store->path, folder, sizeof folder);
    enum rc rc = make_folder(folder, err);
    if (rc == RC_OK)
        rc = lock_file(store->path, &store->lock_fd, err);
    if (rc == RC_OK)
        rc = make_file(store->path, folder, err);
    return rc == RC_OK ? open_connections(store, err) : rc;
}

/* Before SQLite's first use in the process: what its own counting of memory costs is a lock for
 * every allocation. */
static void configure_sqlite(void) {
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

enum rc store_sqlite_open(const char *path, unsigned n_readers, struct store **ret,
                          struct error *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, configure_sqlite);
    struct sqlite_store *store = calloc(1, sizeof *store);
    if (!store)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    *store = (struct sqlite_store){.base = {.impl = &impl}, .lock_fd = -1, .n_readers = n_readers};
    store->path = mem_dup(path, strlen(path));
    store->readers = calloc(n_readers + 1, sizeof *store->readers);
    enum rc rc = store->path && store->readers ? open_file(store, err)
                                               : error_set(err, RC_NO_MEMORY, "out of memory");
    if (rc != RC_OK) {
        destroy(&store->base);
        return rc;
    }
    *ret = &store->base;
    return RC_OK;
}
