/* form.h: a form body (application/x-www-form-urlencoded) as the JSON object that it means. */
#ifndef LH_API_FORM_H
#define LH_API_FORM_H

#include "base/buf.h"

/* Appends the JSON text of the form: `data` is a JSON text; fields that are always strings
 * (service, task_id, status, message, run_id, stream, text, encoding, base64) are strings; any
 * other field is a JSON text if it reads as one, else a string. RC_INVALID_PARAMETER with the
 * field's name: a bad escape, not UTF-8, `data` that is not JSON, a field twice. */
enum rc form_to_json(const char *body, size_t len, struct buf *to, struct error *err) LH_MUST_USE;

/* Appends what one NAME=VALUE means, or a name alone; false at a bad escape, without a name, or
 * where it is not UTF-8. */
bool form_read_pair(const char *p, size_t len, struct buf *name, struct buf *value) LH_MUST_USE;

#endif
