/* fuzz_bson_value.c: JSON through BSON and back is equal where it says so, and any BSON becomes
 * JSON.
 *
 * A first byte of 'b' makes the rest a BSON document as another program may have written it;
 * anything else is JSON text. */
#include "base/mem.h"
#include "store/mongo/value.h"

#include <assert.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void text_is_json(const bson_iter_t *iter, struct buf *text) {
    buf_init(text, 1 << 26);
    mongo_value_text(iter, text);
    if (buf_rc(text) != RC_OK)
        return;
    LH_JSON value = json_loadb(text->data, text->len, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
    assert(value);
}

static int bytes_as_bson(const uint8_t *data, size_t size) {
    bson_t doc;
    bson_iter_t iter;
    if (!bson_init_static(&doc, data, size) ||
        !bson_validate(&doc, BSON_VALIDATE_UTF8 | BSON_VALIDATE_UTF8_ALLOW_NULL, NULL) ||
        !bson_iter_init(&iter, &doc))
        return 0;
    while (bson_iter_next(&iter)) {
        LH_CLEANUP_BUF struct buf text;
        text_is_json(&iter, &text);
    }
    return 0;
}

static int text_as_value(struct json_span text) {
    bson_t doc = BSON_INITIALIZER;
    bson_iter_t iter;
    bool exact;
    if (mongo_value_append(&doc, "v", text, &exact) == RC_OK) {
        LH_CLEANUP_BUF struct buf back;
        assert(bson_iter_init_find(&iter, &doc, "v"));
        assert(mongo_value_is_of(&iter, text));
        text_is_json(&iter, &back);
        if (exact)
            assert(json_equal_text(text, (struct json_span){back.data, back.len}));
    }
    bson_destroy(&doc);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 0 && data[0] == 'b')
        return bytes_as_bson(data + 1, size - 1);
    return text_as_value((struct json_span){(const char *)data, size});
}
