/* access.h: on whose word an op is made, and what it may touch. Pure functions. */
#ifndef LH_TASK_ACCESS_H
#define LH_TASK_ACCESS_H

#include <stdbool.h>
#include <stddef.h>

enum { TOKEN_NAME_CAP = 65 };

/* What a token may touch. NULL in place of it: everything. */
struct task_access {
    const char *token;     /* its name, which the runs that it claims keep */
    bool own_runs;         /* it speaks for runs that it has claimed, and for no others */
    char *const *services; /* whose tasks there are for it */
    size_t n_services;     /* 0: of all services */
};

bool task_access_allows(const struct task_access *access, const char *service);

#endif
