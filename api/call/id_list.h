/* id_list.h: the tasks that a call asks for: {"task_id"}, or "data" with one such object or an
 * array of them.
 *
 * Two readers. The one of trees takes all that the contract allows and says what is wrong. The scan
 * takes the bytes of the forms that nearly all callers send, builds nothing, and knows no errors:
 * what it does not take is for the other. Any thread.
 */
#ifndef LH_API_ID_LIST_H
#define LH_API_ID_LIST_H

#include "base/json.h"
#include "config/config.h"

struct id_list {
    size_t n;
    struct json_span ids[STATUS_IDS_MAX]; /* borrowed from what was read; without NUL inside */
};

/* Of a call's `data`, an object or an array of up to `max`; RC_INVALID_PARAMETER or RC_TOO_MANY. */
enum rc id_list_read(const json_t *data, size_t max, struct id_list *ret,
                     struct error *err) LH_MUST_USE;

/* Of a body as it came. True: json_read() accepts it, it has no other field than these, and
 * id_list_read() would find the same. False: *ret is of no use. */
bool id_list_scan(struct json_span body, size_t max, struct id_list *ret) LH_MUST_USE;

#endif
