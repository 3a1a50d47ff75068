/* object.c: dlopen() and the two symbols that a module has. */
#include "consumer/host/object.h"

#include <dlfcn.h>
#include <string.h>

/* The loader's words, without the file's name where they begin with it. */
static const char *loader_words(const char *path) {
    const char *text = dlerror();
    size_t len = strlen(path);
    if (!text)
        return "unknown reason";
    return strncmp(text, path, len) == 0 && strncmp(text + len, ": ", 2) == 0 ? text + len + 2
                                                                              : text;
}

static enum rc cannot_load(const char *path, const char *why, struct error *err) {
    return error_set(err, RC_IO, "cannot load %s: %s", path, why);
}

enum rc object_load(const char *path, run_function **ret, struct error *err) {
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!object)
        return cannot_load(path, loader_words(path), err);
    void *run = dlsym(object, "longhaul_run");
    if (!run)
        return cannot_load(path, loader_words(path), err);
    const unsigned *abi = dlsym(object, "longhaul_abi");
    if (!abi)
        return cannot_load(path, "it was not built with longhaul.h (no symbol longhaul_abi)", err);
    if (*abi < 1 || *abi > LONGHAUL_ABI)
        return error_set(err, RC_IO,
                         "cannot load %s: it was built for version %u of longhaul.h, this is %d",
                         path, *abi, LONGHAUL_ABI);
    *ret = *(run_function **)&run;
    return RC_OK;
}
