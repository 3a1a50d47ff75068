/* plugin.c: loadable back ends. */
#include "base/plugin.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Folders to look in, relative to the program's own: where it is installed, then the build tree's.
 */
static const char *const beside[] = {LH_MODULE_BESIDE, "../shared", "../../shared", "."};

/* The program's folder; "" where /proc does not say. */
static void own_folder(char *to, size_t cap) {
    ssize_t n = readlink("/proc/self/exe", to, cap - 1);
    to[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(to, '/');
    if (slash)
        *slash = '\0';
}

static void *try_open(const char *folder, const char *below, const char *name) {
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s/longhaul-%s.so", folder, below, name);
    if (n < 0 || (size_t)n >= sizeof path || access(path, R_OK) != 0)
        return NULL;
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

static void *open_module(const char *name) {
    const char *named = getenv("LONGHAUL_MODULE_DIR");
    void *module = named ? try_open(named, ".", name) : NULL;
    char folder[PATH_MAX / 2];
    own_folder(folder, sizeof folder);
    for (size_t i = 0; !module && i < sizeof beside / sizeof *beside; i++)
        module = try_open(folder, beside[i], name);
    return module ? module : try_open(LH_MODULE_DIR, ".", name);
}

enum rc plugin_symbol(const char *name, const char *symbol, void **ret, struct error *err) {
    dlerror();
    void *module = open_module(name);
    void *found = module ? dlsym(module, symbol) : NULL;
    if (!found) {
        const char *why = dlerror();
        return error_set(err, RC_IO, "module longhaul-%s.so cannot be loaded: %s", name,
                         why ? why : "not found");
    }
    *ret = found;
    return RC_OK;
}
