/* test_store_sqlite.c: what is particular to the SQLite store: its file, its lock, a full disk, a
 * disk that fails while a batch is committed, counters that agree with the rows. */
#include "base/mem.h"
#include "store/store.h"
#include "task/lifecycle.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* SQLite finds these before libc's: so many further calls fail. */
static int failing_syncs;

int fdatasync(int fd) {
    if (failing_syncs > 0) {
        failing_syncs--;
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd) {
    return fdatasync(fd);
}

static char folder[] = "/tmp/longhaul-sqlite-XXXXXX";
static char path[80]; /* of the test's own database */

static int begin(void **state) {
    (void)state;
    static int number;
    snprintf(path, sizeof path, "%s/%d/t.db", folder, number++);
    return 0;
}

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

static struct store *open_store(void) {
    struct store *store = NULL;
    struct error err = {0};
    if (store_sqlite_open(path, 1, &store, &err) != RC_OK)
        fail_msg("%s", err.text);
    return store;
}

static enum rc open_rc(struct error *err) {
    struct store *store = NULL;
    enum rc rc = store_sqlite_open(path, 1, &store, err);
    store_destroy(store);
    return rc;
}

/* Runs SQL on the file from outside and gives the first number of its answer. */
static int64_t outside(const char *sql) {
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    int64_t value = 0;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
    if (sqlite3_step(stmt) == SQLITE_ROW)
        value = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return value;
}

static struct op *create_op(size_t n, size_t condition_len) {
    struct op *op = op_create(OP_CREATE);
    op->tasks = calloc(n, sizeof *op->tasks);
    op->n_tasks = n;
    for (size_t i = 0; i < n; i++) {
        struct task *task = &op->tasks[i];
        (void)mem_copy_str(task->service, sizeof task->service, i % 2 ? "odd" : "even");
        task->condition = malloc(condition_len + 1);
        memset(task->condition, '7', condition_len);
        task->condition[condition_len] = '\0';
        task->condition_len = condition_len;
        lifecycle_new(task, true, false, 1000);
    }
    return op;
}

/* Creates tasks and gives the outcome, which every item shares. */
static enum rc create(struct store *store, size_t n, size_t condition_len, struct error *err) {
    struct op *op = create_op(n, condition_len);
    enum rc rc = store_apply(store, &op, 1, err);
    assert_int_equal(op->rc, rc);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(op->task_rc[i], rc);
    if (rc != RC_OK)
        assert_string_not_equal(op->text, "");
    op_destroy(op);
    return rc;
}

static int64_t count_tasks(struct store *store) {
    struct query *query = query_create(QUERY_LIST);
    struct error err = {0};
    query->limit = 100000;
    assert_int_equal(store_query(store, 0, &query, 1, &err), RC_OK);
    int64_t total = query->total;
    assert_int_equal(query->n_tasks, total);
    query_destroy(query);
    return total;
}

static unsigned mode_of(const char *name) {
    struct stat st;
    assert_int_equal(stat(name, &st), 0);
    return st.st_mode & 0777;
}

static void test_file_is_private(void **state) {
    (void)state;
    mode_t mask = umask(0);
    struct store *store = open_store();
    umask(mask);
    char name[96];
    assert_int_equal(mode_of(path), 0600);
    snprintf(name, sizeof name, "%s-wal", path);
    assert_int_equal(mode_of(name), 0600);
    snprintf(name, sizeof name, "%.*s", (int)(strrchr(path, '/') - path), path);
    assert_int_equal(mode_of(name), 0700);
    store_destroy(store);
}

static void test_second_owner(void **state) {
    (void)state;
    struct store *store = open_store();
    struct error err = {0};
    char pid[32];
    assert_int_equal(open_rc(&err), RC_LOCKED);
    snprintf(pid, sizeof pid, "pid %ld", (long)getpid());
    assert_non_null(strstr(err.text, pid));
    assert_non_null(strstr(err.text, path));
    store_destroy(store);
    assert_int_equal(open_rc(&err), RC_OK);
}

static void test_newer_file(void **state) {
    (void)state;
    struct error err = {0};
    assert_int_equal(open_rc(&err), RC_OK);
    assert_int_equal(outside("PRAGMA user_version"), 2);
    outside("PRAGMA user_version = 99");
    assert_int_equal(open_rc(&err), RC_CONFIG);
    assert_non_null(strstr(err.text, "version 99"));
    assert_int_equal(outside("PRAGMA user_version"), 99);
}

static void make_parent(void) {
    char name[96];
    snprintf(name, sizeof name, "%.*s", (int)(strrchr(path, '/') - path), path);
    assert_int_equal(mkdir(name, 0700), 0);
}

static void test_foreign_file(void **state) {
    (void)state;
    struct error err = {0};
    make_parent();
    outside("CREATE TABLE other (a)");
    assert_int_equal(open_rc(&err), RC_CONFIG);
    assert_non_null(strstr(err.text, "not a longhaul store"));
    assert_int_equal(outside("SELECT count(*) FROM sqlite_schema"), 1);
}

static void test_no_database(void **state) {
    (void)state;
    struct error err = {0};
    make_parent();
    FILE *file = fopen(path, "w");
    for (int i = 0; i < 100; i++)
        fputs("this is a letter, not a database\n", file);
    fclose(file);
    assert_int_equal(open_rc(&err), RC_CONFIG);
    assert_non_null(strstr(err.text, path));
}

static void test_no_folder(void **state) {
    (void)state;
    struct error err = {0};
    snprintf(path, sizeof path, "%s/none/none/t.db", folder);
    assert_int_equal(open_rc(&err), RC_CONFIG);
    assert_non_null(strstr(err.text, "No such file"));
}

/* Fills the store until it refuses, makes room again, goes on; what was accepted is there. */
static void fill_and_go_on(struct store *store, const char *words, void (*make_room)(void)) {
    struct error err = {0};
    int64_t stored = 0;
    while (stored < 1000 && create(store, 2, 20000, &err) == RC_OK)
        stored += 2;
    assert_in_range(stored, 2, 998);
    assert_int_equal(err.rc, RC_STORE_UNAVAILABLE);
    if (!strstr(err.text, words))
        fail_msg("%s", err.text);
    assert_int_equal(create(store, 2, 20000, &err), RC_STORE_UNAVAILABLE);
    assert_int_equal(count_tasks(store), stored);
    make_room();
    assert_int_equal(create(store, 4, 20000, &err), RC_OK);
    assert_int_equal(count_tasks(store), stored + 4);
}

static struct rlimit old_limit;

static void lift_limit(void) {
    setrlimit(RLIMIT_FSIZE, &old_limit);
}

static void test_file_size_limit(void **state) {
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    struct store *store = open_store();
    getrlimit(RLIMIT_FSIZE, &old_limit);
    struct rlimit limit = {.rlim_cur = 2 << 20, .rlim_max = old_limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    fill_and_go_on(store, "a size limit", lift_limit);
    store_destroy(store);
    store = open_store();
    assert_true(count_tasks(store) > 0);
    store_destroy(store);
}

static char ballast[80];

static void drop_ballast(void) {
    unlink(ballast);
}

/* A mount namespace of our own, with or without being root. */
static bool own_mounts(void) {
    char map[32];
    int len = snprintf(map, sizeof map, "0 %u 1", (unsigned)getuid());
    if (unshare(CLONE_NEWNS) != 0) {
        int fd =
            unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 ? open("/proc/self/uid_map", O_WRONLY) : -1;
        bool mapped = fd >= 0 && write(fd, map, (size_t)len) == len;
        if (fd >= 0)
            close(fd);
        if (!mapped)
            return false;
    }
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

/* In a child that has a small file system of its own. Exit 77: not possible here. */
static int full_disk_child(void) {
    char mount_point[48];
    snprintf(mount_point, sizeof mount_point, "%s/disk", folder);
    if (mkdir(mount_point, 0700) != 0 || !own_mounts() ||
        mount("tmpfs", mount_point, "tmpfs", 0, "size=4m") != 0)
        return 77;
    snprintf(path, sizeof path, "%s/t.db", mount_point);
    snprintf(ballast, sizeof ballast, "%s/ballast", mount_point);
    int fd = open(ballast, O_WRONLY | O_CREAT, 0600);
    if (fd < 0 || posix_fallocate(fd, 0, 2 << 20) != 0)
        return 77;
    close(fd);
    struct store *store = open_store();
    fill_and_go_on(store, "the disk is full", drop_ballast);
    store_destroy(store);
    return 0;
}

static void test_full_disk(void **state) {
    (void)state;
    pid_t pid = fork();
    if (pid == 0)
        _exit(full_disk_child());
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("no file system of our own can be mounted here\n");
        skip();
    }
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Copies the files as a crash would leave them and counts the tasks that come back. */
static int64_t count_after_crash(void) {
    char command[512], original[sizeof path];
    memcpy(original, path, sizeof original);
    snprintf(command, sizeof command,
             "mkdir -p '%s/crash' && cp '%s' '%s/crash/t.db' && cp '%s-wal' '%s/crash/t.db-wal'",
             folder, path, folder, path, folder);
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof path, "%s/crash/t.db", folder);
    struct store *store = open_store();
    int64_t n = count_tasks(store);
    store_destroy(store);
    snprintf(command, sizeof command, "rm -r '%s/crash'", folder);
    assert_int_equal(system(command), 0);
    memcpy(path, original, sizeof original);
    return n;
}

/* The log was written whole, but not to the disk: the batch must not come back after a crash that
 * follows the answer "surely not stored". */
static void test_commit_that_fails_is_undone(void **state) {
    (void)state;
    struct store *store = open_store();
    struct error err = {0};
    assert_int_equal(create(store, 1, 10, &err), RC_OK);
    failing_syncs = 1;
    assert_int_equal(create(store, 3, 10, &err), RC_STORE_UNAVAILABLE);
    assert_int_equal(failing_syncs, 0);
    assert_int_equal(count_tasks(store), 1);
    assert_int_equal(count_after_crash(), 1);
    assert_int_equal(create(store, 2, 10, &err), RC_OK);
    assert_int_equal(count_tasks(store), 3);
    assert_int_equal(count_after_crash(), 3);
    store_destroy(store);
}

/* A disk that goes on failing: nobody can say what a crash would leave. */
static void test_commit_of_unknown_outcome(void **state) {
    (void)state;
    struct store *store = open_store();
    struct error err = {0};
    assert_int_equal(create(store, 1, 10, &err), RC_OK);
    failing_syncs = 1000;
    assert_int_equal(create(store, 1, 10, &err), RC_OUTCOME_UNKNOWN);
    failing_syncs = 0;
    assert_int_equal(create(store, 1, 10, &err), RC_OK);
    assert_int_equal(count_tasks(store), 2);
    assert_int_equal(count_after_crash(), 2);
    store_destroy(store);
}

/* A failed batch hands out no task as claimed, and the next one finds it due. */
static void test_failed_take(void **state) {
    (void)state;
    struct store *store = open_store();
    struct error err = {0};
    assert_int_equal(create(store, 1, 10, &err), RC_OK);
    for (int round = 0; round < 2; round++) {
        struct op *op = op_create(OP_TAKE);
        op->services = calloc(1, sizeof *op->services);
        op->services[0] = strdup("even");
        op->n_services = op->max = 1;
        failing_syncs = round == 0;
        enum rc rc = store_apply(store, &op, 1, &err);
        assert_int_equal(rc, round == 0 ? RC_STORE_UNAVAILABLE : RC_OK);
        assert_int_equal(op->n_tasks, round);
        op_destroy(op);
    }
    store_destroy(store);
}

static void random_step(struct store *store, unsigned *seed) {
    static const enum op_kind kinds[] = {OP_TAKE, OP_FINISH, OP_FAIL, OP_START};
    static char known[64][TASK_TEXT_CAP];
    struct error err = {0};
    struct op *ops[8];
    for (size_t i = 0; i < LH_COUNT(ops); i++) {
        size_t at = (size_t)rand_r(seed) % LH_COUNT(known);
        ops[i] = known[at][0] ? op_create(kinds[rand_r(seed) % 4]) : create_op(1, 10);
        if (ops[i]->kind == OP_CREATE)
            memcpy(known[at], ops[i]->tasks[0].task_id, TASK_TEXT_CAP);
        memcpy(ops[i]->task_id, known[at], TASK_TEXT_CAP);
        ops[i]->broker = rand_r(seed) % 2;
    }
    failing_syncs = rand_r(seed) % 8 == 0;
    (void)!store_apply(store, ops, LH_COUNT(ops), &err);
    failing_syncs = 0;
    for (size_t i = 0; i < LH_COUNT(ops); i++)
        op_destroy(ops[i]);
}

static void test_counters_agree_with_rows(void **state) {
    (void)state;
    struct store *store = open_store();
    unsigned seed = 20;
    for (int i = 0; i < 200; i++)
        random_step(store, &seed);
    store_destroy(store);
    assert_true(outside("SELECT count(*) FROM task") > 20);
    assert_int_equal(outside("SELECT count(*) FROM (SELECT service, state, count(*) FROM task "
                             "GROUP BY 1, 2 EXCEPT SELECT service, state, n FROM count)"),
                     0);
    assert_int_equal(outside("SELECT (SELECT sum(n) FROM count) - (SELECT count(*) FROM task)"), 0);
}

/* The promise "on disk" rests on these. */
static void test_journal(void **state) {
    (void)state;
    struct store *store = open_store();
    struct error err = {0};
    char name[96];
    struct stat st;
    assert_int_equal(create(store, 1, 10, &err), RC_OK);
    snprintf(name, sizeof name, "%s-wal", path);
    assert_int_equal(stat(name, &st), 0);
    assert_true(st.st_size > 0);
    store_destroy(store);
    assert_int_equal(stat(name, &st), -1); /* a clean end leaves one file */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_file_is_private, begin),
        cmocka_unit_test_setup(test_second_owner, begin),
        cmocka_unit_test_setup(test_newer_file, begin),
        cmocka_unit_test_setup(test_foreign_file, begin),
        cmocka_unit_test_setup(test_no_database, begin),
        cmocka_unit_test_setup(test_no_folder, begin),
        cmocka_unit_test_setup(test_full_disk, begin),
        cmocka_unit_test_setup(test_file_size_limit, begin),
        cmocka_unit_test_setup(test_commit_that_fails_is_undone, begin),
        cmocka_unit_test_setup(test_commit_of_unknown_outcome, begin),
        cmocka_unit_test_setup(test_failed_take, begin),
        cmocka_unit_test_setup(test_counters_agree_with_rows, begin),
        cmocka_unit_test_setup(test_journal, begin),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
