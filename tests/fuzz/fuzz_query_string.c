/* fuzz_query_string.c: any bytes as the query of a target: what is accepted is an object of strings
 * and arrays of strings, and is then read as a selection of /api/watch. */
#include "api/http/query_string.h"
#include "api/watch/select.h"

#include "base/mem.h"

#include <assert.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_string_or_strings(const json_t *value) {
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!json_is_string(json_array_get(value, i)))
            return false;
    return json_is_string(value) || json_array_size(value) > 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    LH_FREE char *query = mem_dup(data, size);
    LH_JSON object = NULL;
    struct error err = {.text = ""};
    assert(query);
    if (query_string_read(query, &object, &err) != RC_OK) {
        assert(err.text[0] && !object);
        return 0;
    }
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value) assert(name[0] && is_string_or_strings(value));
    struct watch_select select;
    err.text[0] = '\0';
    assert((watch_select_read(object, &select, &err) == RC_OK) == (err.text[0] == '\0'));
    watch_select_finish(&select);
    return 0;
}
