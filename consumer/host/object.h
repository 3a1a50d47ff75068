/* object.h: a shared object as a module. */
#ifndef LH_HOST_OBJECT_H
#define LH_HOST_OBJECT_H

#include "base/rc.h"
#include "consumer/host/longhaul.h"

typedef int run_function(const struct longhaul_task *task, struct longhaul_run *run);

/* Loads the object at `path` for good and finds its longhaul_run(). RC_IO with a text that names
 * the file and what is wrong with it: the loader's words, a missing symbol, a newer longhaul.h. */
enum rc object_load(const char *path, run_function **ret, struct error *err) LH_MUST_USE;

#endif
