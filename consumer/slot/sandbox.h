/* sandbox.h: as whom a module runs, and with which rights. Loop thread only. */
#ifndef LH_CONSUMER_SANDBOX_H
#define LH_CONSUMER_SANDBOX_H

#include "config/config.h"
#include "consumer/runner/protocol.h"

enum { SANDBOX_HOME_CAP = 256 };

/* Looks the module's user and group up. ret_home ("" without a user) is the user's folder.
 * RC_CONFIG with the key: there is no such user or group, or this process may not become anybody
 * else. */
enum rc sandbox_identity(const struct config_service *service, struct runner_identity *ret,
                         char ret_home[SANDBOX_HOME_CAP], struct error *err) LH_MUST_USE;

#endif
