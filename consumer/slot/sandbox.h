/* sandbox.h: as whom a module runs, and with which rights. Loop thread only. */
#ifndef LH_CONSUMER_SANDBOX_H
#define LH_CONSUMER_SANDBOX_H

#include "config/config.h"
#include "consumer/runner/protocol.h"

/* Of one service's module. */
struct sandbox {
    struct runner_identity identity;
    char home[256]; /* the user's; "": it has none of its own */
};

/* Looks the module's user and group up, which may take long where they are not in files: at the
 * start, and when somebody says so. RC_CONFIG with the key, *ret as before: there is no such user
 * or group, or this process may not become anybody else. */
enum rc sandbox_find(const struct config_service *service, struct sandbox *ret,
                     struct error *err) LH_MUST_USE;

#endif
