/* plugin.h: back ends with heavy libraries are loadable modules, so that a program loads only what
 * its configuration uses. Modules lie beside the program (build tree) or in the installed module
 * folder. */
#ifndef LH_BASE_PLUGIN_H
#define LH_BASE_PLUGIN_H

#include "base/rc.h"

/* Loads module `name` ("store-mongo" is longhaul-store-mongo.so) and finds `symbol` in it. The
 * folders are $LONGHAUL_MODULE_DIR (if set), those relative to the program's own file, and the
 * installed one. The module stays loaded. RC_IO with the loader's words otherwise. Any thread. */
enum rc plugin_symbol(const char *name, const char *symbol, void **ret,
                      struct error *err) LH_MUST_USE;

#endif
