/* no_header.c: a shared object that was built without longhaul.h. */
int longhaul_run(const void *task, void *run);

int longhaul_run(const void *task, void *run) {
    return task == run;
}
