/* access.c: what a token may touch. */
#include "task/access.h"

#include <string.h>

bool task_access_allows(const struct task_access *access, const char *service) {
    if (!access || access->n_services == 0)
        return true;
    for (size_t i = 0; i < access->n_services; i++)
        if (strcmp(access->services[i], service) == 0)
            return true;
    return false;
}
