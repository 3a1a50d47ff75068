/* fuzz_cursor.c: any text as a cursor: what is read is what cursor_make() wrote, byte for byte. */
#include "store/store_list.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    uint8_t bytes[CURSOR_BYTES_MAX];
    size_t n = 0;
    if (cursor_read(text, 's', bytes, sizeof bytes, &n)) {
        assert(n <= sizeof bytes);
        char *again = cursor_make('s', bytes, n);
        assert(!again || strcmp(again, text) == 0);
        free(again);
    }
    free(text);
    return 0;
}
