/* dashboard.h: the files of the page at GET /, embedded at build. */
#ifndef LH_API_DASHBOARD_DASHBOARD_H
#define LH_API_DASHBOARD_DASHBOARD_H

#include <stddef.h>

struct dashboard_file {
    const char *path; /* as in the URL: "/app.js"; "/" is the page */
    const char *content_type;
    const unsigned char *bytes;
    size_t len;
};

/* The file of that path, or NULL. Any thread. */
const struct dashboard_file *dashboard_find(const char *path);

#endif
