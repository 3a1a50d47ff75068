/* fuzz_form.c: any bytes as a form body: what is accepted reads as a JSON object, or is refused as
 * one for a key that stands twice or holds a NUL. */
#include "api/http/form.h"

#include "base/json.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_of_keys(const char *text) {
    return strstr(text, "the same key twice") || strstr(text, "a key holds a NUL");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, size * 6 + 16);
    struct error err = {.text = ""};
    enum rc rc = form_to_json((const char *)data, size, &buf, &err);
    if (rc != RC_OK) {
        assert(rc == RC_INVALID_PARAMETER && err.text[0]);
        return 0;
    }
    LH_JSON root = NULL;
    rc = json_read((struct json_span){buf.data, buf.len}, &root, &err);
    assert(rc == RC_OK ? json_is_object(root) : is_of_keys(err.text));
    return 0;
}
