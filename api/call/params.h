/* params.h: reading the fields of a request; a value that does not fit is refused by name, never
 * changed.
 *
 * All return RC_OK or RC_INVALID_PARAMETER with "NAME must be …" in *err (the answer puts "Invalid
 * parameter: " before it). An absent field that is not required leaves the output as it was.
 */
#ifndef LH_API_PARAMS_H
#define LH_API_PARAMS_H

#include "base/json.h"
#include "task/op.h"

enum param_need { PARAM_OPTIONAL, PARAM_REQUIRED };

/* A string of 1 to max_bytes bytes without NUL; borrowed from the object. */
enum rc param_string(const json_t *object, const char *name, enum param_need need, size_t max_bytes,
                     const char **ret, struct error *err) LH_MUST_USE;

/* As param_string, and "" is allowed. */
enum rc param_text(const json_t *object, const char *name, size_t max_bytes, const char **ret,
                   struct error *err) LH_MUST_USE;

enum rc param_int(const json_t *object, const char *name, int64_t min, int64_t max, int64_t *ret,
                  struct error *err) LH_MUST_USE;

/* Seconds, whole or not, as milliseconds. */
enum rc param_seconds(const json_t *object, const char *name, int64_t max_s, int64_t *ret_ms,
                      struct error *err) LH_MUST_USE;

/* wait_s, how long an answer may be held: 0 to 60 seconds. */
enum rc param_wait(const json_t *object, int64_t *ret_ms, struct error *err) LH_MUST_USE;

/* The same, and more than 0. */
enum rc param_duration(const json_t *object, const char *name, int64_t max_s, int64_t *ret_ms,
                       struct error *err) LH_MUST_USE;

/* An ISO-8601 time in UTC, as unix ms. */
enum rc param_time(const json_t *object, const char *name, int64_t *ret_at,
                   struct error *err) LH_MUST_USE;

/* How far a run is: a number from 0 to 1, or {"done","total","text"}; *ret is its JSON text, the
 * caller's, as it stands in `text`, the bytes of the object. Absent: *ret stays. */
enum rc param_progress(const json_t *object, struct json_span text, char **ret,
                       struct error *err) LH_MUST_USE;

enum rc param_bool(const json_t *object, const char *name, bool *ret,
                   struct error *err) LH_MUST_USE;

/* A JSON value that is carried as bytes: found in `text`, the bytes of the object. Absent and
 * optional: *ret stays NULL. The caller owns *ret. Larger than max_bytes: RC_TOO_LARGE. */
enum rc param_value(struct json_span text, const char *name, enum param_need need, size_t max_bytes,
                    char **ret, size_t *ret_len, struct error *err) LH_MUST_USE;

/* task_id into the op. */
enum rc param_task_id(const json_t *object, char ret[TASK_TEXT_CAP], struct error *err) LH_MUST_USE;

/* A UUID; absent and optional: "" stays. */
enum rc param_uuid(const json_t *object, const char *name, enum param_need need, char ret[UUID_CAP],
                   struct error *err) LH_MUST_USE;

/* The same for run_id. */
enum rc param_run_id(const json_t *object, enum param_need need, char ret[UUID_CAP],
                     struct error *err) LH_MUST_USE;

#endif
