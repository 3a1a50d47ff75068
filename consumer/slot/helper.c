/* helper.c: longhaul-runner and longhaul-host. */
#include "consumer/slot/helper.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Folders to look in, relative to the program's own: where it is installed, then the build tree's,
 * where each helper has a folder of its name. */
static const struct {
    const char *folder;
    bool own;
} beside[] = {{LH_MODULE_BESIDE, false},
              {".", true},
              {"../consumer", true},
              {"../../consumer", true},
              {".", false}};

static bool is_in(const char *folder, const char *below, const char *name, char path[PATH_MAX]) {
    int n = snprintf(path, PATH_MAX, "%s/%s/longhaul-%s", folder, below, name);
    return n > 0 && n < PATH_MAX && access(path, X_OK) == 0;
}

bool helper_find(const char *name, char ret_path[PATH_MAX]) {
    const char *named = getenv("LONGHAUL_MODULE_DIR");
    if (named && is_in(named, ".", name, ret_path))
        return true;
    char own[PATH_MAX / 2], folder[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
    own[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(own, '/');
    if (slash)
        *slash = '\0';
    for (size_t i = 0; i < LH_COUNT(beside); i++) {
        snprintf(folder, sizeof folder, "%s/%s", own, beside[i].folder);
        if (is_in(folder, beside[i].own ? name : ".", name, ret_path))
            return true;
    }
    return is_in(LH_MODULE_DIR, ".", name, ret_path);
}
