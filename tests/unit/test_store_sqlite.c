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
        task_init(task);
        lifecycle_new(task, &(struct lifecycle_start){.now_ms = 1000});
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
    assert_int_equal(outside("PRAGMA user_version"), 13);
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

/* The tables as the first version made them. They stand in files for ever. */
static const char version_1[] =
    "CREATE TABLE task ("
    " seq INTEGER PRIMARY KEY, oid BLOB NOT NULL, task_id TEXT NOT NULL UNIQUE,"
    " service TEXT NOT NULL, source_name TEXT, state INTEGER NOT NULL,"
    " create_at INTEGER NOT NULL, start_at INTEGER NOT NULL, end_at INTEGER NOT NULL,"
    " message_failed TEXT, message_running TEXT, message_finished TEXT,"
    " error_class INTEGER NOT NULL, error_text TEXT, run_id TEXT, attempt INTEGER NOT NULL,"
    " outbox_seq INTEGER NOT NULL, outbox_pending INTEGER NOT NULL,"
    " outbox_pick_at INTEGER NOT NULL, rev INTEGER NOT NULL);"
    "CREATE INDEX task_state ON task (service, state);"
    "CREATE INDEX task_outbox ON task (outbox_pick_at) WHERE outbox_pending = 1;"
    "CREATE TABLE condition (seq INTEGER PRIMARY KEY, value TEXT NOT NULL);"
    "CREATE TABLE result (seq INTEGER PRIMARY KEY, value TEXT NOT NULL);"
    "CREATE TABLE count (service TEXT NOT NULL, state INTEGER NOT NULL, n INTEGER NOT NULL,"
    " PRIMARY KEY (service, state)) WITHOUT ROWID;"
    "CREATE TABLE settled (n INTEGER NOT NULL);"
    "INSERT INTO settled VALUES (0);"
    "PRAGMA application_id = 0x4c685471; PRAGMA user_version = 1;"
    "INSERT INTO task VALUES"
    " (1, x'0102030405060708090a0b0c', 't_waiting', 'even', 'src', 203, 1000, 0, 0,"
    "  NULL, NULL, NULL, 0, NULL, NULL, 0, 0, 0, 0, 1),"
    " (2, x'0102030405060708090a0b0d', 't_running', 'even', '', 304, 1000, 1500, 0,"
    "  NULL, 'at work', NULL, 0, NULL, '01890000-0000-7000-8000-00000000000a', 1, 0, 0, 0, 2),"
    " (3, x'0102030405060708090a0b0e', 't_finished', 'odd', '', 400, 1000, 1500, 2000,"
    "  NULL, NULL, 'done', 0, NULL, '01890000-0000-7000-8000-00000000000b', 1, 0, 0, 0, 3);"
    "INSERT INTO condition VALUES (1, '[1]'), (2, '[2]'), (3, '[3]');"
    "INSERT INTO result VALUES (3, '{\"n\":3}');"
    "INSERT INTO count VALUES ('even', 203, 1), ('even', 304, 1), ('odd', 400, 1);";

static struct op *run_op(enum op_kind kind, const char *task_id, int64_t now_ms) {
    struct op *op = op_create(kind);
    (void)mem_copy_str(op->task_id, sizeof op->task_id, task_id);
    (void)mem_copy_str(op->run_id, sizeof op->run_id, "01890000-0000-7000-8000-00000000000a");
    op->now_ms = now_ms;
    op->lease_ms = 1000;
    op->max_crashes = 3;
    return op;
}

static enum rc run_rc(struct store *store, enum op_kind kind, const char *task_id, int64_t now_ms) {
    struct op *op = run_op(kind, task_id, now_ms);
    struct error err = {0};
    assert_int_equal(store_apply(store, &op, 1, &err), RC_OK);
    enum rc rc = op->rc;
    op_destroy(op);
    return rc;
}

/* The tasks of version_1, newest first. */
static void check_old_tasks(struct store *store) {
    struct query *query = query_create(QUERY_LIST);
    struct error err = {0};
    query->limit = 10;
    query->want_condition = true;
    assert_int_equal(store_query(store, 0, &query, 1, &err), RC_OK);
    assert_int_equal(query->n_tasks, 3);
    const struct task *tasks = query->tasks;
    assert_string_equal(tasks[0].task_id, "t_finished");
    assert_string_equal(tasks[0].message[MESSAGE_FINISHED], "done");
    assert_int_equal(tasks[0].end_at, 2000);
    assert_string_equal(tasks[1].task_id, "t_running");
    assert_int_equal(tasks[1].status, TASK_RUNNING);
    assert_string_equal(tasks[1].run_id, "01890000-0000-7000-8000-00000000000a");
    assert_string_equal(tasks[2].task_id, "t_waiting");
    assert_string_equal(tasks[2].condition, "[1]");
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(tasks[i].lease_until, 0);
        assert_int_equal(tasks[i].crashes + tasks[i].undelivered, 0);
        assert_int_equal(tasks[i].lapse, LAPSE_NONE);
        assert_false(tasks[i].beaten);
        assert_null(tasks[i].traceparent);
    }
    query_destroy(query);
}

static int64_t count_lapsed(struct store *store) {
    struct query *query = query_create(QUERY_LAPSED);
    struct error err = {0};
    query->lapsed_before_ms = INT64_MAX;
    query->limit = 10;
    assert_int_equal(store_query(store, 0, &query, 1, &err), RC_OK);
    int64_t n = (int64_t)query->n_tasks;
    query_destroy(query);
    return n;
}

/* The workers of a file of before they had tokens are those of the token that may do all. */
static void test_version_12(void **state) {
    (void)state;
    store_destroy(open_store());
    outside("DROP TABLE worker");
    outside("CREATE TABLE worker (id TEXT PRIMARY KEY, seen_at INTEGER NOT NULL,"
            " value TEXT NOT NULL) WITHOUT ROWID");
    outside("INSERT INTO worker VALUES ('w', 7, '{\"id\":\"w\"}')");
    outside("PRAGMA user_version = 12");
    struct store *store = open_store();
    struct query *query = query_create(QUERY_WORKERS);
    struct error err = {0};
    assert_int_equal(store_query(store, 0, &query, 1, &err), RC_OK);
    assert_int_equal(query->n_workers, 1);
    assert_string_equal(query->workers[0].id, "w");
    assert_string_equal(query->workers[0].token, "");
    assert_int_equal(query->workers[0].seen_at, 7);
    query_destroy(query);
    store_destroy(store);
    assert_int_equal(outside("PRAGMA user_version"), 13);
}

/* Its tasks are there, and their runs take part in leases from their next heartbeat on. */
static void test_version_1(void **state) {
    (void)state;
    make_parent();
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, version_1, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    for (int i = 0; i < 2; i++) { /* when it is brought up, and from then on */
        struct store *store = open_store();
        check_old_tasks(store);
        assert_int_equal(count_lapsed(store), 0);
        store_destroy(store);
        assert_int_equal(outside("PRAGMA user_version"), 13);
    }
    struct store *store = open_store();
    assert_int_equal(run_rc(store, OP_LAPSE, "t_running", 90000), RC_NOT_DUE);
    assert_int_equal(run_rc(store, OP_HEARTBEAT, "t_running", 90000), RC_OK);
    assert_int_equal(count_lapsed(store), 1);
    assert_int_equal(run_rc(store, OP_LAPSE, "t_running", 91000), RC_OK);
    assert_int_equal(count_lapsed(store), 0);
    assert_int_equal(run_rc(store, OP_CLAIM, "t_waiting", 91000), RC_OK);
    store_destroy(store);
    assert_int_equal(outside("SELECT state * 100 + crashes * 10 + lapse FROM task WHERE seq = 2"),
                     20311);
    assert_int_equal(outside("SELECT count(*) FROM (SELECT service, state, count(*) FROM task "
                             "GROUP BY 1, 2 EXCEPT SELECT service, state, n FROM count)"),
                     0);
}

/* The numbers that stand in files. */
static void test_numbers_of_leases(void **state) {
    (void)state;
    struct store *store = open_store();
    struct error err = {0};
    struct op *op = create_op(3, 10);
    char ids[3][TASK_TEXT_CAP];
    for (size_t i = 0; i < 3; i++)
        memcpy(ids[i], op->tasks[i].task_id, TASK_TEXT_CAP);
    assert_int_equal(store_apply(store, &op, 1, &err), RC_OK);
    op_destroy(op);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(run_rc(store, OP_CLAIM, ids[i], 1000), RC_OK);
    assert_int_equal(run_rc(store, OP_LAPSE, ids[0], 2000), RC_OK);
    assert_int_equal(run_rc(store, OP_HEARTBEAT, ids[1], 2000), RC_OK);
    assert_int_equal(run_rc(store, OP_HEARTBEAT, ids[2], 2000), RC_OK);
    op = run_op(OP_HAND_BACK, ids[2], 2000);
    op->crash = true;
    op->max_crashes = 1;
    assert_int_equal(store_apply(store, &op, 1, &err), RC_OK);
    op_destroy(op);
    store_destroy(store);
    assert_int_equal(outside("SELECT state * 1000 + undelivered * 10 + lapse FROM task "
                             "WHERE seq = 1"),
                     203012);
    assert_int_equal(outside("SELECT state * 10000 + lease_until + beaten FROM task WHERE seq = 2"),
                     3063001);
    assert_int_equal(outside("SELECT state * 10 + crashes FROM task WHERE seq = 3"), 5071);
}

/* The one step of a statement's plan: no table is scanned beside it, nothing sorted. */
static void check_plan(const char *sql, const char *step) {
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    char text[300];
    snprintf(text, sizeof text, "EXPLAIN QUERY PLAN %s", sql);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    assert_non_null(strstr((const char *)sqlite3_column_text(stmt, 3), step));
    assert_int_equal(sqlite3_step(stmt), SQLITE_DONE);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
}

/* Finding the leases that have run out reads these alone, and in their order. */
static void test_lapsed_by_index(void **state) {
    (void)state;
    store_destroy(open_store());
    check_plan("SELECT seq, run_id FROM task WHERE lease_until > 0 AND lease_until <= ?1 "
               "ORDER BY lease_until, seq LIMIT ?2",
               "INDEX task_lease");
}

/* What retention looks for is walked in the index of states, from the oldest on. */
static void test_expired_by_index(void **state) {
    (void)state;
    store_destroy(open_store());
    check_plan("SELECT seq, seq FROM task WHERE service = ?1 AND state = ?2 AND seq > ?3 "
               "ORDER BY seq",
               "COVERING INDEX task_state (service=? AND state=? AND rowid>?)");
    check_plan("SELECT seq, removed_at, service, idem_key, task_id FROM gone ORDER BY seq LIMIT 1",
               "SCAN gone");
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

/* By one of three runs, or by a module of the base contract; leases are short. */
static void random_run(struct op *op, unsigned *seed) {
    static int64_t now_ms = 1000;
    int run = rand_r(seed) % 4;
    if (run > 0)
        snprintf(op->run_id, sizeof op->run_id, "01890000-0000-7000-8000-00000000000%d", run);
    op->now_ms = now_ms += 10;
    op->lease_ms = rand_r(seed) % 500;
    op->max_crashes = 3;
    op->crash = rand_r(seed) % 2;
    op->broker = rand_r(seed) % 2;
}

static void random_step(struct store *store, unsigned *seed) {
    static const enum op_kind kinds[] = {OP_CLAIM, OP_CLAIM,     OP_CLAIM,     OP_FINISH, OP_FAIL,
                                         OP_START, OP_HEARTBEAT, OP_HAND_BACK, OP_LAPSE};
    static char known[64][TASK_TEXT_CAP];
    struct error err = {0};
    struct op *ops[8];
    for (size_t i = 0; i < LH_COUNT(ops); i++) {
        size_t at = (size_t)rand_r(seed) % LH_COUNT(known);
        size_t kind = (size_t)rand_r(seed) % LH_COUNT(kinds);
        ops[i] = known[at][0] ? op_create(kinds[kind]) : create_op(1, 10);
        if (ops[i]->kind == OP_CREATE)
            memcpy(known[at], ops[i]->tasks[0].task_id, TASK_TEXT_CAP);
        memcpy(ops[i]->task_id, known[at], TASK_TEXT_CAP);
        random_run(ops[i], seed);
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
    assert_true(outside("SELECT count(DISTINCT state) FROM task") > 5);
    assert_true(outside("SELECT sum(crashes) FROM task") > 0);
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

/* However long it writes without a pause: the log begins anew, again and again. */
static void test_the_log_stays_short(void **state) {
    (void)state;
    enum { LOG_MAX_BYTES = 160 << 20 };
    struct store *store = open_store();
    struct error err = {0};
    char name[96];
    struct stat st;
    off_t longest = 0;
    snprintf(name, sizeof name, "%s-wal", path);
    for (int i = 0; i < 300; i++) { /* some 4 KB in the log for each task */
        assert_int_equal(create(store, 200, 3000, &err), RC_OK);
        assert_int_equal(stat(name, &st), 0);
        longest = st.st_size > longest ? st.st_size : longest;
    }
    store_destroy(store);
    print_message("the log had at most %lld KiB\n", (long long)longest / 1024);
    assert_true(longest < LOG_MAX_BYTES);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_file_is_private, begin),
        cmocka_unit_test_setup(test_second_owner, begin),
        cmocka_unit_test_setup(test_newer_file, begin),
        cmocka_unit_test_setup(test_version_1, begin),
        cmocka_unit_test_setup(test_version_12, begin),
        cmocka_unit_test_setup(test_numbers_of_leases, begin),
        cmocka_unit_test_setup(test_lapsed_by_index, begin),
        cmocka_unit_test_setup(test_expired_by_index, begin),
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
        cmocka_unit_test_setup(test_the_log_stays_short, begin),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
