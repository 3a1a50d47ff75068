/* Power loss: the SQLite store on a disk that keeps what was synced, and of the rest any sectors.
 * Whatever was acknowledged is there, whole, and the counts are right.
 *
 * A VFS stands between SQLite and the real one. Of each file it keeps the image that the last sync
 * made durable and the writes since. At a chosen call it writes down what a disk could hold if the
 * power failed just then; the run goes on, and the store is opened on that.
 */
#include "store/store.h"

#include "base/mem.h"
#include "task/lifecycle.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

enum { SECTOR = 512, FILES_MAX = 4, TASKS_MAX = 4000, BATCH_MAX = 6 };

/* ---- the disk ---- */

struct image {
    char *bytes;
    size_t len, cap;
};

struct pending { /* a write, or (bytes NULL) a truncation to `at` */
    struct pending *next;
    size_t at, len;
    char *bytes;
};

struct disk_file {
    char name[256];
    bool gone;
    struct image durable;
    struct pending *first, **last;
};

static struct disk {
    pthread_mutex_t lock; /* the log is moved by a thread of its own */
    sqlite3_vfs *real;
    struct disk_file files[FILES_MAX];
    size_t n_files;
    bool lies;       /* syncs do nothing */
    long calls, cut; /* writes and syncs so far; at which of them the power fails; 0: never */
    char after[128]; /* the folder for what is left */
    atomic_bool is_cut;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Atomic uint32_t dice_state; /* a power failure may come of either thread */

static uint32_t dice(uint32_t n) {
    dice_state = dice_state * 1664525u + 1013904223u;
    return (dice_state >> 8) % n;
}

static void image_size(struct image *image, size_t len) {
    if (len > image->cap) {
        image->cap = 2 * len;
        image->bytes = realloc(image->bytes, image->cap);
    }
    if (len > image->len)
        memset(image->bytes + image->len, 0, len - image->len);
    image->len = len;
}

static void image_write(struct image *image, size_t at, const char *bytes, size_t len) {
    if (at + len > image->len)
        image_size(image, at + len);
    memcpy(image->bytes + at, bytes, len);
}

static void apply_whole(struct image *image, const struct pending *change) {
    if (change->bytes)
        image_write(image, change->at, change->bytes, change->len);
    else
        image_size(image, change->at);
}

static void make_durable(struct disk_file *file) {
    struct pending *next;
    for (struct pending *change = file->first; change; change = next) {
        next = change->next;
        apply_whole(&file->durable, change);
        free(change->bytes);
        free(change);
    }
    file->first = NULL;
    file->last = &file->first;
}

static void note_change(struct disk_file *file, size_t at, const void *bytes, size_t len) {
    struct pending *change = calloc(1, sizeof *change);
    *change = (struct pending){.at = at, .len = len};
    if (bytes) {
        change->bytes = malloc(len);
        memcpy(change->bytes, bytes, len);
    }
    *file->last = change;
    file->last = &change->next;
}

/* ---- the power fails ---- */

/* Some of the sectors of a write reach the disk; `share` of 100. */
static void apply_torn(struct image *image, const struct pending *change, uint32_t share) {
    for (size_t at = 0; at < change->len;) {
        size_t len = SECTOR - (change->at + at) % SECTOR;
        len = len < change->len - at ? len : change->len - at;
        if (dice(100) < share)
            image_write(image, change->at + at, change->bytes + at, len);
        at += len;
    }
}

/* Of what is not synced any part may have reached the disk: none, all, or some sectors of some
 * writes, the later ones without the earlier. */
static void lose(struct disk_file *file, struct image *left) {
    static const uint32_t shares[] = {0, 10, 50, 90, 100};
    uint32_t share = shares[dice(LH_COUNT(shares))];
    *left = (struct image){0};
    image_write(left, 0, file->durable.bytes ? file->durable.bytes : "", file->durable.len);
    for (const struct pending *change = file->first; change; change = change->next) {
        if (dice(100) >= share && share < 100)
            continue;
        if (change->bytes)
            apply_torn(left, change, share < 100 ? 60 : 100);
        else
            image_size(left, change->at);
    }
}

static void write_file(const char *name, const struct image *image) {
    char path[512];
    const char *base = strrchr(name, '/');
    snprintf(path, sizeof path, "%s/%s", disk.after, base ? base + 1 : name);
    FILE *to = fopen(path, "w");
    assert_non_null(to);
    if (image->len)
        assert_int_equal(fwrite(image->bytes, 1, image->len, to), image->len);
    assert_int_equal(fclose(to), 0);
}

static void cut_power(void) {
    for (size_t i = 0; i < disk.n_files; i++) {
        struct image left;
        if (disk.files[i].gone)
            continue;
        lose(&disk.files[i], &left);
        write_file(disk.files[i].name, &left);
        free(left.bytes);
    }
    disk.is_cut = true;
}

static void count_call(void) {
    if (++disk.calls == disk.cut)
        cut_power();
}

/* ---- the VFS ---- */

struct shim {
    sqlite3_file base;
    struct disk_file *file; /* NULL: none of ours */
    sqlite3_file *real;     /* behind it, in the same allocation */
};

static struct shim *shim_of(sqlite3_file *file) {
    return (struct shim *)file;
}

static int shim_write(sqlite3_file *file, const void *bytes, int len, sqlite3_int64 at) {
    struct shim *shim = shim_of(file);
    pthread_mutex_lock(&disk.lock);
    int sq = shim->real->pMethods->xWrite(shim->real, bytes, len, at);
    if (shim->file && sq == SQLITE_OK) {
        count_call();
        note_change(shim->file, (size_t)at, bytes, (size_t)len);
    }
    pthread_mutex_unlock(&disk.lock);
    return sq;
}

static int shim_truncate(sqlite3_file *file, sqlite3_int64 len) {
    struct shim *shim = shim_of(file);
    pthread_mutex_lock(&disk.lock);
    if (shim->file)
        note_change(shim->file, (size_t)len, NULL, 0);
    pthread_mutex_unlock(&disk.lock);
    return shim->real->pMethods->xTruncate(shim->real, len);
}

/* The real disk need not be synced: the image is. */
static int shim_sync(sqlite3_file *file, int flags) {
    struct shim *shim = shim_of(file);
    (void)flags;
    pthread_mutex_lock(&disk.lock);
    if (shim->file) {
        count_call();
        if (!disk.lies)
            make_durable(shim->file);
    }
    pthread_mutex_unlock(&disk.lock);
    return SQLITE_OK;
}

#define REAL(file) (shim_of(file)->real)
#define CALL(method, ...) REAL(file)->pMethods->method(REAL(file), ##__VA_ARGS__)

static int shim_close(sqlite3_file *file) {
    return CALL(xClose);
}
static int shim_read(sqlite3_file *file, void *to, int len, sqlite3_int64 at) {
    return CALL(xRead, to, len, at);
}
static int shim_size(sqlite3_file *file, sqlite3_int64 *ret) {
    return CALL(xFileSize, ret);
}
static int shim_lock(sqlite3_file *file, int kind) {
    return CALL(xLock, kind);
}
static int shim_unlock(sqlite3_file *file, int kind) {
    return CALL(xUnlock, kind);
}
static int shim_reserved(sqlite3_file *file, int *ret) {
    return CALL(xCheckReservedLock, ret);
}
static int shim_control(sqlite3_file *file, int op, void *arg) {
    return CALL(xFileControl, op, arg);
}
static int shim_sector(sqlite3_file *file) {
    return CALL(xSectorSize);
}
/* No promise about power loss that this disk does not keep. */
static int shim_traits(sqlite3_file *file) {
    (void)file;
    return 0;
}
static int shim_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **ret) {
    return CALL(xShmMap, page, size, extend, ret);
}
static int shim_shm_lock(sqlite3_file *file, int at, int n, int flags) {
    return CALL(xShmLock, at, n, flags);
}
static void shim_shm_barrier(sqlite3_file *file) {
    CALL(xShmBarrier);
}
static int shim_shm_unmap(sqlite3_file *file, int remove) {
    return CALL(xShmUnmap, remove);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = shim_close,
    .xRead = shim_read,
    .xWrite = shim_write,
    .xTruncate = shim_truncate,
    .xSync = shim_sync,
    .xFileSize = shim_size,
    .xLock = shim_lock,
    .xUnlock = shim_unlock,
    .xCheckReservedLock = shim_reserved,
    .xFileControl = shim_control,
    .xSectorSize = shim_sector,
    .xDeviceCharacteristics = shim_traits,
    .xShmMap = shim_shm_map,
    .xShmLock = shim_shm_lock,
    .xShmBarrier = shim_shm_barrier,
    .xShmUnmap = shim_shm_unmap,
};

static struct disk_file *find_file(const char *name) {
    for (size_t i = 0; i < disk.n_files; i++)
        if (strcmp(disk.files[i].name, name) == 0) {
            disk.files[i].gone = false;
            return &disk.files[i];
        }
    assert_true(disk.n_files < FILES_MAX);
    struct disk_file *file = &disk.files[disk.n_files++];
    *file = (struct disk_file){.last = &file->first};
    (void)mem_copy_str(file->name, sizeof file->name, name);
    file->last = &file->first;
    return file;
}

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret) {
    struct shim *shim = shim_of(file);
    (void)vfs;
    bool ours = flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL);
    shim->file = ours && disk.cut >= 0 ? find_file(name) : NULL;
    shim->real = (sqlite3_file *)(shim + 1);
    int sq = disk.real->xOpen(disk.real, name, shim->real, flags, ret);
    shim->base.pMethods = sq == SQLITE_OK ? &methods : NULL;
    return sq;
}

/* Gone for good: the first sync of a new log also syncs the folder, before anything is
 * acknowledged. */
static int shim_delete(sqlite3_vfs *vfs, const char *name, int sync_folder) {
    (void)vfs;
    for (size_t i = 0; i < disk.n_files; i++)
        if (strcmp(disk.files[i].name, name) == 0) {
            make_durable(&disk.files[i]);
            image_size(&disk.files[i].durable, 0);
            disk.files[i].gone = true;
        }
    return disk.real->xDelete(disk.real, name, sync_folder);
}

static void install(void) {
    static sqlite3_vfs vfs;
    if (disk.real)
        return;
    disk.real = sqlite3_vfs_find(NULL);
    vfs = *disk.real;
    vfs.zName = "power";
    vfs.szOsFile = (int)sizeof(struct shim) + disk.real->szOsFile;
    vfs.xOpen = shim_open;
    vfs.xDelete = shim_delete;
    assert_int_equal(sqlite3_vfs_register(&vfs, 1), SQLITE_OK);
}

static void clear_disk(void) {
    for (size_t i = 0; i < disk.n_files; i++) {
        make_durable(&disk.files[i]);
        free(disk.files[i].durable.bytes);
    }
    disk.n_files = 0;
    disk.calls = 0;
    disk.is_cut = false;
}

/* ---- a run ---- */

/* What has been acknowledged when the power failed. */
struct known {
    char id[TASK_TEXT_CAP];
    enum task_status status;
};

static struct known known[TASKS_MAX];
static size_t n_known;
static char folder[96], path[128];

static struct store *open_at(const char *file) {
    struct store *store;
    struct error err = {0};
    enum rc rc = store_sqlite_open(file, 1, &store, &err);
    if (rc != RC_OK)
        print_error("%s\n", err.text);
    assert_int_equal(rc, RC_OK);
    return store;
}

static struct op *make_create(size_t bytes) {
    struct op *op = op_create(OP_CREATE);
    op->n_tasks = 1 + dice(3);
    op->tasks = calloc(op->n_tasks, sizeof *op->tasks);
    for (size_t i = 0; i < op->n_tasks; i++) {
        struct task *task = &op->tasks[i];
        (void)mem_copy_str(task->service, sizeof task->service, "s");
        task->condition = malloc(bytes + 3);
        memset(task->condition, 'x', bytes + 2);
        task->condition[0] = task->condition[bytes + 1] = '"';
        task->condition_len = bytes + 2;
        task->source_name = mem_dup("", 0);
        task_init(task);
        lifecycle_new(task, &(struct lifecycle_start){.now_ms = 1000});
    }
    return op;
}

static struct op *make_end(const struct known *task) {
    struct op *op = op_create(dice(2) ? OP_FINISH : OP_FAIL);
    (void)mem_copy_str(op->task_id, sizeof op->task_id, task->id);
    op->now_ms = 2000;
    op->value = op->kind == OP_FINISH ? mem_dup("7", 1) : NULL;
    op->value_len = op->kind == OP_FINISH;
    return op;
}

static void acknowledge(const struct op *op, struct known *ended) {
    if (op->kind != OP_CREATE) {
        ended->status = op->tasks[0].status;
        return;
    }
    for (size_t i = 0; i < op->n_tasks && n_known < TASKS_MAX; i++) {
        memcpy(known[n_known].id, op->tasks[i].task_id, TASK_TEXT_CAP);
        known[n_known++].status = TASK_WAITING;
    }
}

/* A batch of creates and ends of tasks that wait; acknowledged only if the power is still on. */
static void work(struct store *store, size_t bytes) {
    struct op *ops[BATCH_MAX];
    struct known *ended[BATCH_MAX] = {0};
    size_t n = 1 + dice(BATCH_MAX);
    struct error err = {0};
    for (size_t i = 0; i < n; i++) {
        struct known *task = n_known ? &known[dice((uint32_t)n_known)] : NULL;
        if (task && task->status == TASK_WAITING && dice(3) == 0)
            ended[i] = task;
        ops[i] = ended[i] ? make_end(task) : make_create(bytes);
    }
    assert_int_equal(store_apply(store, ops, n, &err), RC_OK);
    for (size_t i = 0; i < n; i++) {
        if (!disk.is_cut && ops[i]->rc == RC_OK)
            acknowledge(ops[i], ended[i]);
        op_destroy(ops[i]);
    }
}

static int64_t ask(const char *file, const char *sql) {
    sqlite3 *db;
    sqlite3_stmt *stmt;
    assert_int_equal(sqlite3_open_v2(file, &db, SQLITE_OPEN_READWRITE, "power"), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}

/* How many acknowledged tasks are not there as they were acknowledged. A task that was waiting may
 * have ended since: the batch that was under way may count as a whole. */
static size_t count_lost(struct store *store) {
    size_t lost = 0;
    struct query *query = query_create(QUERY_BY_ID);
    struct error err = {0};
    query->ids = calloc(n_known + 1, sizeof *query->ids);
    for (; query->n_ids < n_known; query->n_ids++)
        query->ids[query->n_ids] = mem_dup(known[query->n_ids].id, strlen(known[query->n_ids].id));
    query->want_condition = true;
    assert_int_equal(store_query(store, 0, &query, 1, &err), RC_OK);
    for (size_t i = 0; i < n_known; i++) {
        const struct task *task = &query->tasks[i];
        bool there = task->task_id[0] && task->condition;
        lost += !there || (known[i].status != TASK_WAITING && task->status != known[i].status);
    }
    query_destroy(query);
    return lost;
}

/* Runs until the power fails at call `cut`, opens what is left and counts what is lost. */
static size_t run(long cut, size_t bytes, uint32_t seed) {
    clear_disk();
    char file[256];
    dice_state = seed;
    n_known = 0;
    snprintf(path, sizeof path, "%s/before%u.db", folder, seed);
    snprintf(disk.after, sizeof disk.after, "%s/after%u", folder, seed);
    assert_int_equal(mkdir(disk.after, 0700), 0);
    snprintf(file, sizeof file, "%s/before%u.db", disk.after, seed);
    disk.cut = cut;
    struct store *store = open_at(path);
    while (!disk.is_cut)
        work(store, bytes);
    store_destroy(store);
    disk.cut = -1;
    store = open_at(file);
    size_t lost = count_lost(store);
    store_destroy(store);
    assert_int_equal(ask(file, "SELECT count(*) FROM pragma_integrity_check "
                               "WHERE integrity_check <> 'ok'"),
                     0);
    assert_int_equal(ask(file, "SELECT count(*) FROM (SELECT service, state, count(*) FROM task "
                               "GROUP BY 1, 2 EXCEPT SELECT service, state, n FROM count)"),
                     0);
    return lost;
}

static int make_folder(void **state) {
    (void)state;
    install();
    snprintf(folder, sizeof folder, "/tmp/longhaul-power-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    clear_disk();
    char command[160];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

/* The first writes make the file itself: it is not yet a store that has acknowledged anything. */
enum { FIRST_CALL = 200 };

static void test_nothing_acknowledged_is_lost(void **state) {
    (void)state;
    disk.lies = false;
    for (uint32_t seed = 1; seed <= 120; seed++)
        assert_int_equal(run(FIRST_CALL + (long)seed * 13, 200, seed), 0);
}

/* Large values, so that the log is written back into the file (a checkpoint) again and again. */
static void test_through_checkpoints(void **state) {
    (void)state;
    disk.lies = false;
    for (uint32_t seed = 1001; seed <= 1016; seed++)
        assert_int_equal(run(3000 + (long)(seed - 1000) * 1511, 30000, seed), 0);
}

/* The test can fail: on a disk whose syncs do nothing, acknowledged tasks are lost. */
static void test_a_disk_that_lies_loses_tasks(void **state) {
    (void)state;
    size_t lost = 0;
    disk.lies = true;
    clear_disk();
    dice_state = 5;
    n_known = 0;
    snprintf(path, sizeof path, "%s/lies.db", folder);
    snprintf(disk.after, sizeof disk.after, "%s/lost", folder);
    assert_int_equal(mkdir(disk.after, 0700), 0);
    disk.lies = false;
    disk.cut = 0;
    struct store *store = open_at(path);
    for (size_t i = 0; i < disk.n_files; i++)
        make_durable(&disk.files[i]);
    disk.lies = true;
    disk.cut = disk.calls + 400;
    while (!disk.is_cut)
        work(store, 200);
    store_destroy(store);
    disk.cut = -1;
    disk.lies = false;
    char file[256];
    snprintf(file, sizeof file, "%s/lies.db", disk.after);
    store = open_at(file);
    lost = count_lost(store);
    store_destroy(store);
    print_message("%zu of %zu acknowledged tasks are lost on a disk that lies\n", lost, n_known);
    assert_true(lost > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_acknowledged_is_lost, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(test_through_checkpoints, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_a_disk_that_lies_loses_tasks, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
