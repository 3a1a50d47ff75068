/* helper.h: finds the programs that a consumer starts beside modules. */
#ifndef LH_CONSUMER_HELPER_H
#define LH_CONSUMER_HELPER_H

#include <limits.h>
#include <stdbool.h>

/* The path of longhaul-NAME: in $LONGHAUL_MODULE_DIR, in the build tree (consumer/NAME/), or where
 * it is installed. False where it is in none. */
bool helper_find(const char *name, char ret_path[PATH_MAX]);

#endif
