/* dashboard.h: the files of the page at GET /, embedded at build. */
#ifndef LH_API_DASHBOARD_DASHBOARD_H
#define LH_API_DASHBOARD_DASHBOARD_H

#include <stdbool.h>
#include <stddef.h>

struct dashboard_file {
    const char *path; /* as in the URL: "/app.js"; "/" is the page */
    const char *content_type;
    const char *etag; /* W/"…": the same for both forms */
    const unsigned char *bytes;
    size_t len;
    const unsigned char *gzip;
    size_t gzip_len;
};

/* The file of that path, or NULL. Any thread. */
const struct dashboard_file *dashboard_find(const char *path);

/* What a header If-None-Match says of the file: that the client has it. NULL: there is none. */
bool dashboard_known(const struct dashboard_file *file, const char *if_none_match);

/* What a header Accept-Encoding says: that gzip may be sent. NULL: there is none. */
bool dashboard_gzip_ok(const char *accept_encoding);

#endif
