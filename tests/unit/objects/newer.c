/* newer.c: a shared object of a longhaul.h to come. */
int longhaul_run(const void *task, void *run);
extern const unsigned longhaul_abi;
const unsigned longhaul_abi = 99;

int longhaul_run(const void *task, void *run) {
    return task == run;
}
