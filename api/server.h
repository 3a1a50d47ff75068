/* server.h: the API process from its parts: start in order, run, stop in order. */
#ifndef LH_API_SERVER_H
#define LH_API_SERVER_H

#include "config/config.h"

/* Opens everything, says "ready" on the log, serves until a signal stops it, and closes everything
 * in order. store_fault: a plan for store_fault_wrap(), or NULL. Returns RC_OK after a clean stop;
 * a failure to start fills *err. */
enum rc server_run(const struct config *cfg, const char *store_fault,
                   struct error *err) LH_MUST_USE;

#endif
