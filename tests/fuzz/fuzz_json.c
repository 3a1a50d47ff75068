/* fuzz_json.c: any bytes as JSON: what is read, cut out and carried stays the same value. */
#include "base/json.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static json_t *read_or_null(struct json_span text) {
    json_t *root = NULL;
    struct error err;
    enum rc rc = json_read(text, &root, &err);
    assert(rc == RC_OK || (rc == RC_INVALID_PARAMETER && err.text[0] && !root));
    return root;
}

static void same_value(struct json_span text, const json_t *value) {
    LH_JSON found = read_or_null(text);
    assert(found && json_equal(found, value));
}

static bool is_ascii(const char *text) {
    for (; *text; text++)
        if ((unsigned char)*text >= 0x80)
            return false;
    return true;
}

static void check_members(struct json_span text, json_t *root) {
    const char *name;
    json_t *value;
    json_object_foreach(root, name, value) {
        struct json_span span;
        if (!is_ascii(name)) /* the names that are looked for are ours */
            continue;
        bool found = json_span_member(text, name, &span);
        assert(found && span.at >= text.at && span.at + span.len <= text.at + text.len);
        same_value(span, value);
    }
}

static void check_items(struct json_span text, json_t *root) {
    struct json_span rest = text, item;
    size_t n = 0;
    for (; json_span_next(&rest, &item); n++)
        same_value(item, json_array_get(root, n));
    assert(n == json_array_size(root));
}

static void check_carried(struct json_span text, const json_t *root) {
    LH_CLEANUP_BUF struct buf once;
    LH_CLEANUP_BUF struct buf twice;
    struct error err;
    buf_init(&once, 1 << 20);
    buf_init(&twice, 1 << 20);
    if (json_carry(text, &once, &err) != RC_OK)
        return;
    struct json_span carried = {once.data, once.len};
    assert(once.len <= text.len);
    same_value(carried, root);
    assert(json_carry(carried, &twice, &err) == RC_OK);
    assert(twice.len == once.len && memcmp(twice.data, once.data, once.len) == 0);
    bool equal = false;
    assert(json_compare(text, carried, &equal) == RC_OK && equal);
}

/* The scanners stay inside any text, JSON or not. */
static void scan_anything(struct json_span text) {
    struct json_span span, rest = text;
    LH_CLEANUP_BUF struct buf buf;
    struct error err;
    buf_init(&buf, 1 << 20);
    (void)json_span_member(text, "data", &span);
    while (json_span_next(&rest, &span))
        assert(span.at + span.len <= text.at + text.len);
    if (json_carry(text, &buf, &err) != RC_OK)
        return;
    assert(buf.len <= text.len);
}

static void check_escaped(struct json_span text) {
    LH_CLEANUP_BUF struct buf buf;
    buf_init(&buf, 1 << 24);
    buf_json(&buf, text.at, text.len);
    assert(buf_rc(&buf) == RC_OK);
    LH_JSON string = read_or_null((struct json_span){buf.data, buf.len});
    assert(json_is_string(string));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct json_span text = {(const char *)data, size};
    scan_anything(text);
    check_escaped(text);
    LH_JSON root = read_or_null(text);
    if (!root)
        return 0;
    check_carried(text, root);
    if (json_is_object(root))
        check_members(text, root);
    else if (json_is_array(root))
        check_items(text, root);
    return 0;
}
