/* tmp_check.h: whether modules can have a /tmp of their own here. Loop thread only. */
#ifndef LH_CONSUMER_TMP_CHECK_H
#define LH_CONSUMER_TMP_CHECK_H

#include "config/config.h"

/* Tries it: a process makes the mounts that a run of the service would get, and looks for what the
 * module's configuration names. RC_CONFIG with the key where that fails. */
enum rc tmp_check(const struct config *cfg, const struct config_service *service,
                  struct error *err) LH_MUST_USE;

#endif
