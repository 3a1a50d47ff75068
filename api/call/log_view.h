/* log_view.h: a piece of a log as a reader may see it. Pure but for the clock. */
#ifndef LH_API_LOG_VIEW_H
#define LH_API_LOG_VIEW_H

#include "store/store.h"

enum { LOG_VIEW_MAX_BYTES = 1 << 20 }; /* of one piece */

struct log_wish {
    int64_t offset; /* negative: the end of what there is */
    int64_t lines;  /* the first so many from `offset` on, or the last ones; 0: all */
    bool raw;       /* bytes are shown as they are: a character need not be whole */
};

struct log_view {
    const char *bytes; /* of the query */
    size_t len;
    int64_t next;    /* offset to go on at */
    int64_t skipped; /* bytes before the piece that are not kept */
    bool is_end;     /* nothing more comes behind it */
};

/* What there is to say of a QUERY_LOG that has been answered and whose task exists. */
struct log_view log_view_of(const struct config *cfg, const struct log_wish *wish,
                            const struct query *query);

/* When nothing more is waited for, unix ms; 0: nobody knows yet. */
int64_t log_complete_at(const struct config *cfg, const struct query *query);

#endif
