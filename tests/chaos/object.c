/* object.c: the shared object of the chaos tests: does what its task says (steps.h). CHAOS_FOLDER
 * names the folder of the record. */
#include "longhaul.h"
#include "steps.h"

#include <stdlib.h>
#include <string.h>

static void say_progress(void *arg) {
    longhaul_progress(arg, 1, 2, NULL);
}

int longhaul_run(const struct longhaul_task *task, struct longhaul_run *out) {
    struct chaos_run run = {getenv("CHAOS_FOLDER"), task->task_id, task->run_id,
                            (long)task->attempt, true};
    if (!run.folder)
        return longhaul_error(out, LONGHAUL_FATAL, "CHAOS_FOLDER is not set");
    chaos_start(&run, "main");
    struct chaos_end end = chaos_do(&run, task->condition, say_progress, out);
    char result[CHAOS_RESULT_CAP];
    chaos_result(&run, result);
    if (end.how == CHAOS_RESULT)
        return longhaul_result(out, result);
    if (end.how == CHAOS_ERROR)
        return longhaul_error(
            out, strcmp(end.error_class, "fatal") == 0 ? LONGHAUL_FATAL : LONGHAUL_RETRYABLE,
            "as told");
    return end.status;
}
