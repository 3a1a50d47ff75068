/* steps.h: what the modules of the chaos tests have in common: the record that they leave, and the
 * steps that their tasks name.
 *
 * Every process of a run appends a line to FOLDER/runs.jsonl when it starts and, if it gets so far,
 * when it ends. FOLDER/live/<last two letters of the task id>/<task id> lists the processes of the
 * task; one that stays for other tasks says there when it is done with this one. A process adds
 * itself under a lock and tells in its start line which of those before it are still alive: that
 * every overlap of two processes is seen by the later of them needs no clock.
 *
 * The condition is an object with "do": steps separated by ';'.
 *
 *     sleep MS   error CLASS   exit N   signal N   ignore (SIGTERM)   progress   silent (no result)
 *     fork       leaves a process behind in a session of its own that never ends by itself
 *     upto N     the steps after it are done by the first N runs only
 *
 * One thread.
 */
#ifndef LH_TESTS_CHAOS_STEPS_H
#define LH_TESTS_CHAOS_STEPS_H

#include <stdbool.h>
#include <stddef.h>

struct chaos_run {
    const char *folder, *task_id, *run_id;
    long attempt;
    bool stays; /* the process goes on after the run */
};

enum chaos_how { CHAOS_RESULT, CHAOS_SILENT, CHAOS_ERROR, CHAOS_EXIT };

/* How the steps ended. */
struct chaos_end {
    enum chaos_how how;
    char error_class[16]; /* ERROR */
    int status;           /* EXIT */
};

enum { CHAOS_RESULT_CAP = 256 };

/* Records the start of a process; `role` is "main". */
void chaos_start(const struct chaos_run *run, const char *role);

/* Does the steps of the task or condition, a JSON text; `progress` is called where one of them says
 * so. Records the end. A signal to itself is the end of the process. */
struct chaos_end chaos_do(const struct chaos_run *run, const char *json, void (*progress)(void *),
                          void *arg);

/* The result of the run, a JSON text. */
void chaos_result(const struct chaos_run *run, char text[CHAOS_RESULT_CAP]);

#endif
