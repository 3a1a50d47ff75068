/* dashboard.c: finds an embedded file by its path, and what a client has and takes of it. */
#include "api/dashboard/dashboard.h"

#include "api/dashboard/dashboard_files.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

const struct dashboard_file *dashboard_find(const char *path) {
    for (const struct dashboard_file *file = dashboard_files; file->path; file++)
        if (strcmp(file->path, path) == 0)
            return file;
    return NULL;
}

/* Tags are compared weakly (RFC 9110, 13.1.2), so without their W/. */
bool dashboard_known(const struct dashboard_file *file, const char *if_none_match) {
    if (!if_none_match)
        return false;
    return strcmp(if_none_match, "*") == 0 || strstr(if_none_match, strchr(file->etag, '"'));
}

/* The weight of an item of Accept-Encoding that begins at `at`: 1 unless it says otherwise. */
static double weight(const char *at) {
    at += strspn(at, " \t");
    if (*at++ != ';')
        return 1;
    at += strspn(at, " \t");
    return strncasecmp(at, "q=", 2) == 0 ? strtod(at + 2, NULL) : 1;
}

bool dashboard_gzip_ok(const char *accept_encoding) {
    static const char name[] = "gzip";
    const char *item = accept_encoding;
    while (item && *item) {
        item += strspn(item, " \t,");
        size_t len = strcspn(item, " \t,;");
        if (len == sizeof name - 1 && strncasecmp(item, name, len) == 0)
            return weight(item + len) > 0;
        item += strcspn(item, ",");
    }
    return false;
}
