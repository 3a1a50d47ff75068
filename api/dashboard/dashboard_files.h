/* dashboard_files.h: the table that scripts/embed.py writes; a NULL path ends it. */
#ifndef LH_API_DASHBOARD_DASHBOARD_FILES_H
#define LH_API_DASHBOARD_DASHBOARD_FILES_H

#include "api/dashboard/dashboard.h"

extern const struct dashboard_file dashboard_files[];

#endif
