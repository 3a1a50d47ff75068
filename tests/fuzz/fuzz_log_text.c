/* fuzz_log_text.c: bytes cut as a reader gets them, and base64 both ways. */
#include "api/call/log_text.h"

#include "base/base64.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is held back is the beginning of a character and nothing else. */
static void check_whole(const char *bytes, size_t len) {
    size_t whole = log_text_whole(bytes, len);
    if (whole > len || len - whole > 3)
        abort();
    if (whole < len && utf8_char(bytes + whole, len - whole) != 0)
        abort();
    if (utf8_valid(bytes, len) && whole != len)
        abort();
}

static void check_lines(const char *bytes, size_t len, int64_t n) {
    bool all;
    size_t tail = log_text_tail(bytes, len, n, &all), head = log_text_head(bytes, len, n);
    if (tail > len || head > len || (all && tail != 0))
        abort();
    if (tail > 0 && bytes[tail - 1] != '\n')
        abort();
    if (head < len && bytes[head - 1] != '\n')
        abort();
}

/* What can be read is written as it was. */
static void check_base64(const char *text, size_t len) {
    char *bytes = NULL;
    size_t n = 0;
    if (base64_read(text, len, &bytes, &n) != RC_OK)
        return;
    struct buf again;
    buf_init(&again, len + 1);
    base64_put(&again, bytes, n);
    if (buf_rc(&again) != RC_OK || again.len != len || (len && memcmp(again.data, text, len) != 0))
        abort();
    buf_finish(&again);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    const char *bytes = (const char *)data + 1;
    check_whole(bytes, size - 1);
    check_lines(bytes, size - 1, data[0] % 8 + 1);
    check_base64(bytes, size - 1);
    return 0;
}
