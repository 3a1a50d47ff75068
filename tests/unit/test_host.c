/* test_host.c: the real longhaul-host runs real shared objects: these task lines in, those report
 * lines out. */
#include "base/mem.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { TEXT_CAP = 256 * 1024 };

/* What a host did. */
static char reports[TEXT_CAP], out[TEXT_CAP], err[TEXT_CAP];
static int status;

static int memory_file(const char *text) {
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void take_text(int fd, char text[TEXT_CAP]) {
    ssize_t n = pread(fd, text, TEXT_CAP - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    close(fd);
}

static void host(const char *object, const char *lines) {
    int files[] = {memory_file(lines), memory_file(""), memory_file(""), memory_file("")};
    char path[PATH_MAX];
    snprintf(path, sizeof path, OBJECTS "/object_%s.so", object);
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 4; i++)
            dup2(files[i], i);
        execl(HOST, "longhaul-host", path, NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(files[0]);
    take_text(files[1], out);
    take_text(files[2], err);
    take_text(files[3], reports);
}

#define TASK(id, condition)                                                                        \
    "{\"Task\":{\"task_id\":\"" id                                                                 \
    "\",\"service\":\"s\",\"source_name\":\"src\",\"condition\":" condition                        \
    "},\"run_id\":\"r\",\"attempt\":7,\"deadline\":null}\n"

/* A task's condition, and the report lines of its run without their beginning {"task_id":"t1",. */
static const struct {
    const char *condition, *report;
} runs[] = {
    {"\"task\"", "\"result\":[\"t1\",\"s\",\"src\",6,\"r\",7,\"none\",1,1]}"},
    {"{\"a\": 1.0, \"b\":1e5}", "\"result\":{\"a\":1.0,\"b\":1e5}}"},
    {"\"\\u0000 \\n\"", "\"result\":\"\\u0000 \\n\"}"},
    {"\"nothing\"", "\"result\":null}"},
    {"\"two\"", "\"result\":{\"b\":[1.0,1e5]}}"},
    {"\"no JSON\"", "\"error\":{\"class\":\"fatal\",\"text\":\"longhaul_result: not JSON: "},
    {"\"fatal\"",
     "\"error\":{\"class\":\"fatal\",\"text\":\"no \\\"such\\\" table\\n\xef\xbf\xbd\"}}"},
    {"\"for now\"", "\"error\":{\"class\":\"retryable\",\"text\":\"\"}}"},
    {"\"3\"", "\"error\":{\"class\":\"retryable\",\"text\":\"longhaul_run returned 3\"}}"},
    {"\"75\"",
     "\"error\":{\"class\":\"retryable\",\"text\":\"longhaul_run returned 75 (retryable)\"}}"},
    {"\"around\"", "\"result\":true}"},
    {"\"stop\"", "\"result\":\"stopped\"}"},
};

static void test_runs(void **state) {
    (void)state;
    static const char begin[] = "{\"task_id\":\"t1\",";
    for (size_t i = 0; i < LH_COUNT(runs); i++) {
        char line[1024];
        snprintf(line, sizeof line, TASK("t1", "%s"), runs[i].condition);
        host("many", line);
        if (status != 0 || strncmp(reports, begin, sizeof begin - 1) != 0 ||
            strncmp(reports + sizeof begin - 1, runs[i].report, strlen(runs[i].report)) != 0 ||
            strchr(reports, '\n') != reports + strlen(reports) - 1)
            fail_msg("%s\n: status %d, %s%s", runs[i].condition, status, reports, err);
    }
}

static void test_many_tasks(void **state) {
    (void)state;
    host("many",
         TASK("t1", "\"task\"") TASK(
             "t2", "\"3\"") "{\"Task\":{\"task_id\":\"t3\",\"service\":\"s\",\"source_name\":null,"
                            "\"condition\":\"task\",\"new\":1},\"run_id\":\"r3\",\"attempt\":1,"
                            "\"deadline\":\"2026-11-21T08:30:00.123Z\",\"more\":[]}");
    assert_int_equal(status, 0);
    assert_string_equal(
        reports, "{\"task_id\":\"t1\",\"result\":[\"t1\",\"s\",\"src\",6,\"r\",7,\"none\",1,1]}\n"
                 "{\"task_id\":\"t2\",\"error\":{\"class\":\"retryable\",\"text\":"
                 "\"longhaul_run returned 3\"}}\n"
                 "{\"task_id\":\"t3\",\"result\":[\"t3\",\"s\",\"\",6,\"r3\",1,"
                 "\"2026-11-21T08:30:00.123Z\",1,2]}\n");
    host("many",
         TASK("t1", "\"trace\"") "{\"Task\":{\"task_id\":\"t2\",\"service\":\"s\",\"condition\":"
                                 "\"trace\"},\"run_id\":\"r\",\"attempt\":1,\"deadline\":null,"
                                 "\"traceparent\":\"00-1-2-3\",\"tracestate\":\"a=b\"}");
    assert_int_equal(status, 0);
    assert_string_equal(reports, "{\"task_id\":\"t1\",\"result\":[\"none\",\"none\"]}\n"
                                 "{\"task_id\":\"t2\",\"result\":[\"00-1-2-3\",\"a=b\"]}\n");
    host("many", "");
    assert_int_equal(status, 0);
    assert_string_equal(reports, "");
}

static void test_progress(void **state) {
    (void)state;
    host("many", TASK("t1", "\"progress\""));
    assert_string_equal(reports,
                        "{\"task_id\":\"t1\",\"progress\":{\"done\":1,\"total\":4}}\n"
                        "{\"task_id\":\"t1\",\"progress\":{\"done\":2.5,\"total\":4,\"text\":\"so "
                        "\\\"far\\\"\"}}\n{\"task_id\":\"t1\",\"result\":null}\n");
    host("many", TASK("t1", "\"threads\""));
    int lines = 0;
    for (char *rest = reports, *line; (line = strsep(&rest, "\n")) && *line; lines++)
        assert_true(strncmp(line, "{\"task_id\":\"t1\",", 16) == 0 &&
                    line[strlen(line) - 1] == '}');
    assert_int_equal(lines, 401);
}

/* What it prints is out before the task's last line; nothing comes after the end that SIGTERM
 * asked for. */
static void test_ends(void **state) {
    (void)state;
    host("many", TASK("t1", "\"print\"") TASK("t2", "\"crash\"") TASK("t3", "1"));
    assert_string_equal(out, "printed, and not flushed\n");
    assert_string_equal(reports, "{\"task_id\":\"t1\",\"result\":null}\n");
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    host("many", TASK("t1", "\"leave\"") TASK("t2", "1"));
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    assert_string_equal(reports, "");
    host("many", TASK("t1", "\"stop\"") TASK("t2", "1"));
    assert_int_equal(status, 0);
    assert_string_equal(reports, "{\"task_id\":\"t1\",\"result\":\"stopped\"}\n");
}

static const struct {
    const char *object, *why;
} bad[] = {
    {"no_run", "undefined symbol: longhaul_run"},
    {"no_header", "it was not built with longhaul.h (no symbol longhaul_abi)"},
    {"newer", "it was built for version 99 of longhaul.h, this is 2"},
    {"unresolved", "undefined symbol: function_of_nobody"},
    {"of_nobody", "cannot open shared object file: No such file or directory"},
};

static void test_bad_objects(void **state) {
    (void)state;
    for (size_t i = 0; i < LH_COUNT(bad); i++) {
        char expected[PATH_MAX];
        snprintf(expected, sizeof expected, "cannot load " OBJECTS "/object_%s.so: %s\n",
                 bad[i].object, bad[i].why);
        host(bad[i].object, TASK("t1", "1"));
        assert_string_equal(err, expected);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 78);
    }
}

static void test_no_task(void **state) {
    (void)state;
    static const char *const lines[] = {
        "garbage\n",
        "[]\n",
        "{\"Task\":{\"task_id\":\"t\"},\"run_id\":\"r\",\"attempt\":1}\n",
        "{\"Task\":{\"task_id\":\"t\",\"service\":\"s\",\"condition\":1},\"attempt\":1}\n",
        "{\"Task\":{\"task_id\":\"t\",\"service\":\"s\",\"condition\":1},\"run_id\":\"r\"}\n",
        "{\"Task\":{\"task_id\":\"t\",\"service\":\"s\"},\"run_id\":\"r\",\"attempt\":1}\n",
        "{\"Task\":{\"task_id\":\"t\",\"service\":\"s\",\"condition\":1},\"run_id\":\"r\","
        "\"attempt\":1,\"deadline\":5}\n",
    };
    for (size_t i = 0; i < LH_COUNT(lines); i++) {
        host("many", lines[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 76);
        assert_non_null(strstr(err, "longhaul-host: not a task: "));
        assert_string_equal(reports, "");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs),        cmocka_unit_test(test_many_tasks),
        cmocka_unit_test(test_progress),    cmocka_unit_test(test_ends),
        cmocka_unit_test(test_bad_objects), cmocka_unit_test(test_no_task),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
