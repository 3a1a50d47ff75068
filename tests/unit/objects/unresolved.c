/* unresolved.c: a shared object that needs a function which nobody has. */
#include <longhaul.h>

int function_of_nobody(void);

int longhaul_run(const struct longhaul_task *task, struct longhaul_run *run) {
    (void)task, (void)run;
    return function_of_nobody();
}
