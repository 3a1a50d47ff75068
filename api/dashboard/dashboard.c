/* dashboard.c: finds an embedded file by its path. */
#include "api/dashboard/dashboard.h"

#include "api/dashboard/dashboard_files.h"

#include <string.h>

const struct dashboard_file *dashboard_find(const char *path) {
    for (const struct dashboard_file *file = dashboard_files; file->path; file++)
        if (strcmp(file->path, path) == 0)
            return file;
    return NULL;
}
