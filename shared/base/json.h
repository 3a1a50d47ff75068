/* json.h: strict reading of JSON that keeps values as the bytes that came.
 *
 * jansson checks the text and gives the tree for the fields that we understand; a value that is
 * only carried (condition, result) is cut out of the checked text as a span and stored with its
 * white space removed, so that 1.0, 1e5 and 0.1 stay what the caller wrote. Any thread.
 */
#ifndef LH_BASE_JSON_H
#define LH_BASE_JSON_H

#include "base/buf.h"

#include <jansson.h>

/* json_read() says this of a text whose form is wrong, in contrast to a value that is refused. */
#define JSON_NOT_JSON "not JSON"

enum { JSON_DEPTH_MAX = 64 }; /* arrays and objects inside one another in a carried value */

/* A piece of JSON text that has been checked; borrowed. */
struct json_span {
    const char *at;
    size_t len;
};

static inline void json_unref_ptr(json_t **value) {
    json_decref(*value);
}
#define LH_JSON __attribute__((cleanup(json_unref_ptr))) json_t *

/* Reads one JSON document: RFC 8259, UTF-8, no duplicate keys, no NUL in a key, integers of 64
 * bits, reals that do not overflow. The caller owns *ret_root. Failure: RC_INVALID_PARAMETER with
 * the text "FIELD: what is wrong" (FIELD is the outermost member that holds the fault, looking
 * through "data"; "body" if none), or RC_NO_MEMORY. */
enum rc json_read(struct json_span text, json_t **ret_root, struct error *err) LH_MUST_USE;

/* The value of member `name` of the object in `text` (which json_read has accepted). */
bool json_span_member(struct json_span text, const char *name, struct json_span *ret);

static inline bool json_is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The first byte from p on that is no white space; end where there is none. */
static inline const char *json_skip_space(const char *p, const char *end) {
    while (p < end && json_is_space(*p))
        p++;
    return p;
}

/* Takes the next item of an array: start with *rest = the array's span; false at its end. */
bool json_span_next(struct json_span *rest, struct json_span *ret_item);

/* Appends a carried value without its white space. Refuses (RC_INVALID_PARAMETER, text without a
 * field name) nesting deeper than JSON_DEPTH_MAX and reals that underflow to 0. */
enum rc json_carry(struct json_span value, struct buf *to, struct error *err) LH_MUST_USE;

/* Whether both texts hold equal JSON values: numbers of the same kind and value, the same strings,
 * the same members in any order. RC_INVALID_PARAMETER where one is not JSON, or RC_NO_MEMORY. */
enum rc json_compare(struct json_span a, struct json_span b, bool *ret_equal) LH_MUST_USE;

/* The same as a word; false also where they cannot be compared. */
bool json_equal_text(struct json_span a, struct json_span b);

#endif
