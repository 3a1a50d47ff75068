/* store_list.h: what both back ends do with lists: filters, cursors.
 *
 * A cursor is a place between two tasks of a list, in words that nobody but the store that gave it
 * understands: its kind and some bytes, in hexadecimal digits. Pure functions.
 */
#ifndef LH_STORE_STORE_LIST_H
#define LH_STORE_STORE_LIST_H

#include "store/store.h"

enum { CURSOR_BYTES_MAX = 400, CURSOR_TEXT_MAX = 1 + 2 * CURSOR_BYTES_MAX };

/* The text of a cursor, the caller's; NULL when out of memory. n is at most CURSOR_BYTES_MAX. */
char *cursor_make(char kind, const void *bytes, size_t n) LH_MUST_USE;

/* Reads one that cursor_make() made for the same kind; false where it did not. */
bool cursor_read(const char *text, char kind, void *ret, size_t cap, size_t *ret_n) LH_MUST_USE;

/* Says in the query that its cursor is none of this store's. */
void list_refuse_cursor(struct query *query);

/* Says in the query that its page lies beyond what one list looks at. */
void list_refuse_page(struct query *query);

/* True where service, status and sub_status are all that the filter asks for. */
bool list_is_by_state(const struct list_filter *filter);

bool list_takes_service(const struct list_filter *filter, const char *service);
/* True where the filter asks for sub statuses. */
bool list_has_subs(const struct list_filter *filter);
bool list_takes_state(const struct list_filter *filter, const char *service,
                      enum task_status status, enum task_sub sub);

/* The filter but for service, status and sub_status; `tags` is the task's JSON object or NULL. */
bool list_takes_rest(const struct list_filter *filter, const char *task_id, int64_t create_at,
                     const char *tags);

void list_filter_finish(struct list_filter *filter);

#endif
