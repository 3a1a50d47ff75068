/* store_crash.c: what was acknowledged is there after a close, and after a kill -9. */
#include "base/mem.h"
#include "store_kit.h"
#include "store_rules.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

void test_reopen_keeps_everything(void **state) {
    (void)state;
    enum { N = 4 };
    char service[SERVICE_CAP], ids[N][TASK_TEXT_CAP];
    struct task before[N];
    kit_service(service);
    for (size_t i = 0; i < N; i++)
        kit_new_task(service, i != 0, i == 1, ids[i]);
    struct op *op = kit_run_op(OP_FINISH, ids[2], "");
    op->message = kit_dup("well");
    op->value = kit_dup("{\"r\":[]}");
    op->value_len = strlen(op->value);
    assert_int_equal(kit_do(op), RC_OK);
    op = kit_run_op(OP_FAIL, ids[3], "");
    op->error_text = kit_dup("bad");
    op->error_class = ERROR_FATAL;
    assert_int_equal(kit_do(op), RC_OK);
    for (size_t i = 0; i < N; i++)
        before[i] = kit_get(ids[i]);
    kit_reopen();
    for (size_t i = 0; i < N; i++) {
        struct task after = kit_get(ids[i]);
        kit_assert_same_task(&before[i], &after);
        task_finish(&before[i]);
        task_finish(&after);
    }
    struct query *query = kit_list(service, 0, 10);
    kit_query(query);
    assert_int_equal(query->total, N);
    query_destroy(query);
}

int crash_child(void) {
    if (kit_setup(NULL) != 0)
        return 1;
    for (;;) {
        struct op *op = kit_create("crash", 3, true, false);
        if (kit_apply(op) != RC_OK)
            return 1;
        for (size_t i = 0; i < op->n_tasks; i++)
            if (op->task_rc[i] == RC_OK)
                printf("%s\n", op->tasks[i].task_id);
        fflush(stdout);
        op_destroy(op);
    }
}

/* Reads ids until the child is killed (after `enough`) and has said its last. */
static size_t read_ids(FILE *from, pid_t child, char (*ret)[TASK_TEXT_CAP], size_t max) {
    enum { ENOUGH = 60 };
    size_t n = 0;
    char line[TASK_TEXT_CAP + 2];
    while (n < max && fgets(line, sizeof line, from)) {
        size_t len = strcspn(line, "\n");
        if (line[len] != '\n')
            break;
        line[len] = '\0';
        assert_true(mem_copy_str(ret[n++], TASK_TEXT_CAP, line));
        if (n == ENOUGH)
            assert_int_equal(kill(child, SIGKILL), 0);
    }
    assert_true(n >= ENOUGH);
    return n;
}

void test_acknowledged_survives_kill(void **state) {
    (void)state;
    enum { MAX = 20000 };
    static char ids[MAX][TASK_TEXT_CAP];
    static const char *const args[] = {"--crash-child", NULL};
    store_destroy(TAKE(kit_store));
    int fd;
    pid_t child = kit_spawn_self(args, &fd);
    FILE *from = fdopen(fd, "r");
    assert_non_null(from);
    size_t n = read_ids(from, child, ids, MAX);
    fclose(from);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    kit_store = kit_open();
    for (size_t i = 0; i < n; i++) {
        struct task task = kit_get(ids[i]);
        assert_string_equal(task.task_id, ids[i]);
        assert_int_equal(task.status, TASK_WAITING);
        task_finish(&task);
    }
}
