/* progress.c: what counts as progress. */
#include "task/progress.h"

static bool is_count(const json_t *value) {
    return !value || (json_is_number(value) && json_number_value(value) >= 0);
}

bool progress_valid(const json_t *value) {
    if (json_is_number(value))
        return json_number_value(value) >= 0 && json_number_value(value) <= 1;
    const json_t *done = json_object_get(value, "done"), *total = json_object_get(value, "total"),
                 *text = json_object_get(value, "text");
    return (done || total || text) && is_count(done) && is_count(total) &&
           (!text || (json_is_string(text) && json_string_length(text) <= PROGRESS_TEXT_BYTES));
}
