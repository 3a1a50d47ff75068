/* checkpoint.c: moves what is in the log into the file, beside the writer, so that no
 * commit waits for it.
 *
 * Passes of a thread follow the writer until little is left, and that the writer moves by itself
 * between two batches: only then can the log begin anew, as SQLite begins it when all of it has
 * been moved and a transaction starts.
 */
#include "store/sqlite/sqlite.h"

#include "base/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum {
    BEGIN_PAGES = 4000,  /* 16 MB: so long a log is worth moving */
    REST_PAGES = 300,    /* what the writer moves by itself */
    BRAKE_PAGES = 32000, /* 128 MB: the writer moves all, whatever that takes */
    STUCK_MS = 50,       /* a reader holds on to an old state: until the next pass */
};

struct sqlite_checkpoint {
    sqlite3 *db;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* wanted, stopping */
    pthread_cond_t wake;
    bool wanted, stopping;
    atomic_int moved; /* pages of the log that are in the file */
    int log_pages;    /* the writer's: after its last commit */
};

static int on_commit(void *arg, sqlite3 *db, const char *name, int pages) {
    struct sqlite_checkpoint *checkpoint = arg;
    (void)db;
    (void)name;
    if (pages < checkpoint->log_pages) /* the log has begun anew */
        checkpoint->moved = 0;
    checkpoint->log_pages = pages;
    return SQLITE_OK;
}

/* Waits for work, and at least so long; false: the store is closed. */
static bool wait_for_work(struct sqlite_checkpoint *checkpoint, int at_least_ms) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += at_least_ms * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&checkpoint->lock);
    while (at_least_ms > 0 && !checkpoint->stopping &&
           pthread_cond_timedwait(&checkpoint->wake, &checkpoint->lock, &until) == 0)
        ;
    while (!checkpoint->wanted && !checkpoint->stopping)
        pthread_cond_wait(&checkpoint->wake, &checkpoint->lock);
    checkpoint->wanted = false;
    bool goes_on = !checkpoint->stopping;
    pthread_mutex_unlock(&checkpoint->lock);
    return goes_on;
}

/* A pass that fails, on a full disk for example, is made again when the log has grown. */
static void *thread_main(void *arg) {
    struct sqlite_checkpoint *checkpoint = arg;
    int rest_ms = 0;
    while (wait_for_work(checkpoint, rest_ms)) {
        int log = 0, moved = 0, before = checkpoint->moved;
        int sq = sqlite3_wal_checkpoint_v2(checkpoint->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &log,
                                           &moved);
        bool further = sq == SQLITE_OK && moved != before;
        if (further)
            checkpoint->moved = moved;
        rest_ms = further ? 0 : STUCK_MS;
    }
    return NULL;
}

static void call_thread(struct sqlite_checkpoint *checkpoint) {
    pthread_mutex_lock(&checkpoint->lock);
    checkpoint->wanted = true;
    pthread_cond_signal(&checkpoint->wake);
    pthread_mutex_unlock(&checkpoint->lock);
}

void sqlite_checkpoint_follow(struct sqlite_checkpoint *checkpoint, struct sqlite_conn *writer) {
    int pages = checkpoint->log_pages, moved = checkpoint->moved;
    if (pages < BEGIN_PAGES)
        return;
    bool nearly = moved <= pages && pages - moved <= REST_PAGES;
    if (!nearly && pages < BRAKE_PAGES) {
        call_thread(checkpoint);
        return;
    }
    if (sqlite3_wal_checkpoint_v2(writer->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) ==
        SQLITE_OK)
        checkpoint->moved = pages;
}

int sqlite_checkpoint_open(const char *path, struct sqlite_conn *writer,
                           struct sqlite_checkpoint **ret) {
    struct sqlite_checkpoint *checkpoint = calloc(1, sizeof *checkpoint);
    if (!checkpoint)
        return SQLITE_NOMEM;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&checkpoint->lock, NULL);
    pthread_cond_init(&checkpoint->wake, &attr);
    pthread_condattr_destroy(&attr);
    int sq =
        sqlite3_open_v2(path, &checkpoint->db, SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_READWRITE, NULL);
    if (sq == SQLITE_OK) /* reading opens the log */
        sq = sqlite3_exec(checkpoint->db, "PRAGMA synchronous = FULL; SELECT n FROM settled", NULL,
                          NULL, NULL);
    if (sq == SQLITE_OK && pthread_create(&checkpoint->thread, NULL, thread_main, checkpoint) != 0)
        sq = SQLITE_NOMEM;
    checkpoint->started = sq == SQLITE_OK;
    if (sq != SQLITE_OK) {
        sqlite_checkpoint_close(checkpoint);
        return sq;
    }
    pthread_setname_np(checkpoint->thread, "store-log");
    sqlite3_wal_hook(writer->db, on_commit, checkpoint);
    *ret = checkpoint;
    return SQLITE_OK;
}

void sqlite_checkpoint_close(struct sqlite_checkpoint *checkpoint) {
    if (!checkpoint)
        return;
    pthread_mutex_lock(&checkpoint->lock);
    checkpoint->stopping = true;
    pthread_cond_signal(&checkpoint->wake);
    pthread_mutex_unlock(&checkpoint->lock);
    if (checkpoint->started)
        pthread_join(checkpoint->thread, NULL);
    sqlite3_close(checkpoint->db);
    pthread_mutex_destroy(&checkpoint->lock);
    pthread_cond_destroy(&checkpoint->wake);
    free(checkpoint);
}
