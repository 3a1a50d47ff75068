/* bench_object.c: a shared object that does nothing. */
#include <longhaul.h>

int longhaul_run(const struct longhaul_task *task, struct longhaul_run *run) {
    (void)task, (void)run;
    return 0;
}
