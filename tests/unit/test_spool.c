/* test_spool.c: what is kept survives its process, belongs to one process at a time, and what is no
 * report is set aside. */
#include "consumer/report/spool.h"

#include "base/log.h"
#include "base/mem.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define RUN(n) "01900000-0000-7000-8000-00000000000" n
#define BODY(n, status)                                                                            \
    "{\"data\":{\"task_id\":\"ts_a_" n "\",\"run_id\":\"" RUN(n) "\",\"status\":\"" status "\"}}"

static char folder[64], path[80];

static int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/spool-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/data/spool", folder);
    return 0;
}

static int remove_one(const char *name, const struct stat *st, int kind, struct FTW *ftw) {
    (void)st, (void)kind, (void)ftw;
    return remove(name);
}

static int remove_folder(void **state) {
    (void)state;
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static struct { int files, folders, bad; } seen;

static int count_one(const char *name, const struct stat *st, int kind, struct FTW *ftw) {
    (void)st, (void)ftw;
    seen.folders += kind == FTW_D;
    seen.files += strstr(name, ".json") != NULL;
    seen.bad += strstr(name, ".bad") != NULL;
    return 0;
}

static void look_at_disk(void) {
    memset(&seen, 0, sizeof seen);
    nftw(path, count_one, 8, FTW_PHYS);
}

/* Reports in all folders; folders of processes; files set aside. */
static void check_disk(int files, int folders, int bad) {
    look_at_disk();
    assert_int_equal(seen.files, files);
    assert_int_equal(seen.folders ? seen.folders - 1 : 0, folders);
    assert_int_equal(seen.bad, bad);
}

static struct spool *open_spool(void) {
    struct spool *spool;
    assert_int_equal(spool_create(path, &spool, NULL), RC_OK);
    return spool;
}

static void put(struct spool *spool, const char *run_id, const char *body) {
    struct error err;
    if (spool_put(spool, run_id, (struct json_span){body, strlen(body)}, &err) != RC_OK)
        fail_msg("%s", err.text);
}

static struct {
    int n, taken;
    char last[512];
    bool refuse;
} adopted;

static bool on_adopted(const struct spool_report *report, void *arg) {
    assert_ptr_equal(arg, &adopted);
    adopted.n++;
    snprintf(adopted.last, sizeof adopted.last, "%.*s", (int)report->body.len, report->body.at);
    return !adopted.refuse;
}

static size_t adopt(struct spool *spool) {
    memset(&adopted, 0, sizeof adopted);
    return spool_adopt(spool, on_adopted, &adopted);
}

/* A process that keeps reports and is killed. */
static void leave(const char *run_id, const char *body) {
    pid_t pid = fork();
    if (pid == 0) {
        struct spool *spool = open_spool();
        put(spool, run_id, body);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void test_no_disk_before_the_first(void **state) {
    (void)state;
    struct spool *spool = open_spool();
    assert_int_equal(adopt(spool), 0);
    spool_remove(spool, RUN("1"));
    spool_destroy(spool);
    spool_destroy(NULL);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void test_put_and_remove(void **state) {
    (void)state;
    struct spool *spool = open_spool();
    put(spool, RUN("1"), BODY("1", "finished"));
    put(spool, RUN("2"), BODY("2", "failed"));
    put(spool, RUN("2"), BODY("2", "waiting"));
    check_disk(2, 1, 0);
    spool_remove(spool, RUN("1"));
    check_disk(1, 1, 0);
    spool_remove(spool, RUN("2"));
    spool_destroy(spool);
    check_disk(0, 0, 0);
}

static void test_next_process_takes_over(void **state) {
    (void)state;
    leave(RUN("1"), BODY("1", "finished"));
    leave(RUN("2"), BODY("2", "failed"));
    check_disk(2, 2, 0);
    struct spool *spool = open_spool();
    assert_int_equal(adopt(spool), 2);
    check_disk(2, 1, 0); /* now in its own */
    assert_int_equal(adopt(spool), 0);
    spool_remove(spool, RUN("2"));
    spool_destroy(spool); /* what is left is left for the next */
    check_disk(1, 1, 0);
    spool = open_spool();
    assert_int_equal(adopt(spool), 1);
    assert_string_equal(adopted.last, BODY("1", "finished"));
    spool_remove(spool, RUN("1"));
    spool_destroy(spool);
    check_disk(0, 0, 0);
}

static void test_the_living_are_left_alone(void **state) {
    (void)state;
    struct spool *one = open_spool(), *two = open_spool();
    put(one, RUN("1"), BODY("1", "finished"));
    put(two, RUN("2"), BODY("2", "finished"));
    assert_int_equal(adopt(one), 0);
    assert_int_equal(adopt(two), 0);
    check_disk(2, 2, 0);
    spool_destroy(one);
    assert_int_equal(adopt(two), 1);
    assert_string_equal(adopted.last, BODY("1", "finished"));
    spool_destroy(two);
}

/* What its taker has no memory for stays for a later process. */
static void test_not_taken_stays(void **state) {
    (void)state;
    leave(RUN("1"), BODY("1", "finished"));
    struct spool *spool = open_spool();
    memset(&adopted, 0, sizeof adopted);
    adopted.refuse = true;
    assert_int_equal(spool_adopt(spool, on_adopted, &adopted), 0);
    spool_destroy(spool);
    check_disk(1, 1, 0);
    spool = open_spool();
    assert_int_equal(adopt(spool), 1);
    spool_destroy(spool);
}

static void write_left(const char *process, const char *name, const char *text) {
    char file[256];
    snprintf(file, sizeof file, "%s/%s", path, process);
    mkdir(file, 0700);
    snprintf(file, sizeof file, "%s/%s/%s", path, process, name);
    FILE *to = fopen(file, "w");
    assert_non_null(to);
    fputs(text, to);
    fclose(to);
}

static void test_what_is_no_report_is_set_aside(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "x",
        "[]",
        "{\"data\":{\"task_id\":\"ts_a_2\",\"run_id\":\"" RUN("2") "\",\"sta",
        BODY("2", "running"),
        BODY("1", "finished"), /* of another run */
        "{\"data\":{\"task_id\":\"\",\"run_id\":\"" RUN("2") "\",\"status\":\"failed\"}}"};
    for (size_t i = 0; i < LH_COUNT(bad); i++) {
        leave(RUN("1"), BODY("1", "finished"));
        write_left("consumer-dead", "lock", "");
        write_left("consumer-dead", RUN("2") ".json", bad[i]);
        write_left("consumer-dead", RUN("3") ".half", "{");
        struct spool *spool = open_spool();
        assert_int_equal(adopt(spool), 1);
        check_disk(1, 1, 1);
        spool_remove(spool, RUN("1"));
        spool_destroy(spool);
    }
}

/* Whoever died between making the folder and locking it left an empty one. */
static void test_empty_folders_go(void **state) {
    (void)state;
    leave(RUN("1"), BODY("1", "finished"));
    char name[160];
    snprintf(name, sizeof name, "%s/consumer-half-made", path);
    assert_int_equal(mkdir(name, 0700), 0);
    check_disk(1, 2, 0);
    struct spool *spool = open_spool();
    assert_int_equal(adopt(spool), 1);
    check_disk(1, 1, 0);
    spool_destroy(spool);
}

static void test_disk_that_takes_nothing(void **state) {
    (void)state;
    struct spool *spool = open_spool();
    struct error err;
    struct json_span body = {BODY("1", "finished"), strlen(BODY("1", "finished"))};
    struct rlimit before, none = {10, RLIM_INFINITY};
    getrlimit(RLIMIT_FSIZE, &before);
    none.rlim_max = before.rlim_max;
    setrlimit(RLIMIT_FSIZE, &none); /* writes fail in the middle, as on a full disk */
    assert_int_equal(spool_put(spool, RUN("1"), body, &err), RC_IO);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_non_null(strstr(err.text, path));
    check_disk(0, 1, 0);
    put(spool, RUN("1"), BODY("1", "finished"));
    check_disk(1, 1, 0);
    spool_destroy(spool);
}

static void test_folder_that_was_removed_is_made_again(void **state) {
    struct spool *spool = open_spool();
    put(spool, RUN("1"), BODY("1", "finished"));
    remove_folder(state);
    put(spool, RUN("2"), BODY("2", "finished"));
    check_disk(1, 1, 0);
    spool_destroy(spool);
}

/* Many processes that take over from many: each report has one taker. */
static void test_one_taker_each(void **state) {
    (void)state;
    enum { TAKERS = 8 };
    static const char *const runs[] = {RUN("1"), RUN("2"), RUN("3"), RUN("4"), RUN("5"), RUN("6")};
    static const char *const bodies[] = {BODY("1", "failed"), BODY("2", "failed"),
                                         BODY("3", "failed"), BODY("4", "failed"),
                                         BODY("5", "failed"), BODY("6", "failed")};
    for (size_t i = 0; i < LH_COUNT(runs); i++)
        leave(runs[i], bodies[i]);
    int done[2], gate[2];
    assert_int_equal(pipe(done), 0);
    assert_int_equal(pipe(gate), 0);
    for (int i = 0; i < TAKERS; i++) {
        if (fork() > 0)
            continue;
        close(gate[1]);
        char byte;
        (void)!read(gate[0], &byte, 1); /* all at once */
        char n = (char)adopt(open_spool());
        (void)!write(done[1], &n, 1);
        pause();
    }
    close(gate[0]);
    close(gate[1]);
    int sum = 0;
    for (int i = 0; i < TAKERS; i++) {
        char n = 0;
        assert_int_equal(read(done[0], &n, 1), 1);
        sum += n;
    }
    assert_int_equal(sum, LH_COUNT(runs));
    look_at_disk();
    assert_int_equal(seen.files, LH_COUNT(runs));
}

static void end_children(void) {
    signal(SIGTERM, SIG_IGN);
    kill(0, SIGTERM);
    while (wait(NULL) > 0)
        continue;
}

int main(void) {
    setpgid(0, 0);
    signal(SIGXFSZ, SIG_IGN);
    log_setup("test", LOG_TEXT, LOG_ERROR + 1);
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_no_disk_before_the_first),
        IN_FOLDER(test_put_and_remove),
        IN_FOLDER(test_next_process_takes_over),
        IN_FOLDER(test_the_living_are_left_alone),
        IN_FOLDER(test_not_taken_stays),
        IN_FOLDER(test_what_is_no_report_is_set_aside),
        IN_FOLDER(test_empty_folders_go),
        IN_FOLDER(test_disk_that_takes_nothing),
        IN_FOLDER(test_folder_that_was_removed_is_made_again),
        IN_FOLDER(test_one_taker_each),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    end_children();
    return failed;
}
