/* value.h: carried values (condition, result) between JSON text and BSON, value by
 * value.
 *
 * A value becomes the BSON that a reader expects to see: objects, arrays, strings, int32 where an
 * integer fits and int64 where not (what other drivers write for the same number), double for every
 * real. Where BSON or a server could not give it back unchanged, the field holds a readable
 * likeness and the caller keeps the exact text beside it. Pure functions, any thread.
 */
#ifndef LH_STORE_MONGO_VALUE_H
#define LH_STORE_MONGO_VALUE_H

#include "base/json.h"

#include <bson/bson.h>

enum {
    MONGO_VALUE_DEPTH_MAX = 50, /* arrays and objects inside one another; servers stop at 100 */
    MONGO_VALUE_BYTES_MAX =
        7 * (1 << 20), /* of one value as BSON; a document holds two, at most 16 MiB */
};

/* Appends the JSON text under `key`. *ret_exact is false where reading the field does not give an
 * equal value back: a key that is empty, begins with $ or holds a dot, deeper nesting than
 * MONGO_VALUE_DEPTH_MAX, more than MONGO_VALUE_BYTES_MAX bytes. Then the field is a likeness: such
 * keys are written with full-width characters, what lies too deep as a string of JSON.
 * RC_INVALID_PARAMETER where the text is not JSON, or RC_NO_MEMORY. */
enum rc mongo_value_append(bson_t *to, const char *key, struct json_span text,
                           bool *ret_exact) LH_MUST_USE;

/* Appends the field at `iter` as JSON text. Types that JSON lacks, as other programs write them,
 * become strings (dates in ISO-8601, ObjectIds in hex, binary in base64, decimals in digits) or
 * null. */
void mongo_value_text(const bson_iter_t *iter, struct buf *to);

/* True where the field at `iter` is what mongo_value_append() made of `text`, so nobody has written
 * the field since. */
bool mongo_value_is_of(const bson_iter_t *iter, struct json_span text);

#endif
