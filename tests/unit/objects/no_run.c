/* no_run.c: a shared object without longhaul_run(). */
#include <longhaul.h>

int other(void);

int other(void) {
    return (int)longhaul_abi;
}
