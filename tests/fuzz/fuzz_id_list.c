/* fuzz_id_list.c: any bytes as a body that names tasks: what the scan takes, the tree takes too,
 * and finds the same ids. */
#include "api/call/id_list.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

enum { MAX = 10 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same_as_tree(struct json_span body, const struct id_list *list) {
    static struct id_list other;
    LH_JSON root = NULL;
    struct error err;
    assert(json_read(body, &root, &err) == RC_OK);
    assert(json_is_object(root) && json_object_size(root) == 1);
    const json_t *inner = json_object_get(root, "data");
    assert(id_list_read(inner ? inner : root, MAX, &other, &err) == RC_OK);
    assert(list->n == other.n && list->n <= MAX);
    for (size_t i = 0; i < list->n; i++) {
        assert(list->ids[i].len == other.ids[i].len);
        assert(memcmp(list->ids[i].at, other.ids[i].at, other.ids[i].len) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct id_list list;
    struct json_span body = {(const char *)data, size};
    if (id_list_scan(body, MAX, &list))
        same_as_tree(body, &list);
    return 0;
}
