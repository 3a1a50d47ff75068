/* fuzz_http.c: the vetting of heads: any split of the bytes gives the same answer, and what is
 * accepted is in order.
 *
 * The first byte of the input says where the bytes are split.
 */
#include "api/http/vet.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const struct http_limits limits = {
    .header_max_bytes = 1024, .body_max_bytes = 4096, .headers_max = 16};

/* Reads the bytes from memory of the exact size, `step` more each time; the memory moves. */
static enum http_vet_state read_in_steps(struct http_vet *vet, const char *bytes, size_t len,
                                         size_t step) {
    enum http_vet_state state = HTTP_VET_MORE;
    *vet = (struct http_vet){0};
    for (size_t have = 0; state == HTTP_VET_MORE && have < len;) {
        have = have + step < len ? have + step : len;
        char *copy = malloc(have);
        if (!copy)
            abort();
        memcpy(copy, bytes, have);
        state = http_vet_head(vet, copy, have, &limits);
        free(copy);
    }
    return state;
}

static void must(bool holds) {
    if (!holds)
        abort();
}

static void check_accepted(const struct http_vet *vet, const char *bytes, size_t len) {
    must(vet->head_len <= len && vet->head_len <= limits.header_max_bytes);
    must(memcmp(bytes + vet->head_len - 4, "\r\n\r\n", 4) == 0);
    must(vet->content_length <= limits.body_max_bytes);
    must(vet->method.len > 0 && vet->method.at + vet->method.len < vet->head_len);
    must(vet->path.len == 0 || bytes[vet->path.at] == '/');
    must(vet->path.at + vet->path.len < vet->head_len);
    struct http_span rest = vet->headers, name, value;
    unsigned n = 0;
    size_t copied = 0;
    while (http_vet_next(bytes, &rest, &name, &value)) {
        must(name.len > 0 && !memchr(bytes + name.at, ' ', name.len));
        must(value.at + value.len < vet->head_len);
        must(!memchr(bytes + value.at, '\0', value.len) &&
             !memchr(bytes + value.at, '\n', value.len));
        copied += name.len + value.len + 2;
        n++;
    }
    must(n == vet->lines && n <= limits.headers_max && copied <= vet->headers.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    if (len < 2 || len > 4096)
        return 0;
    const char *bytes = (const char *)data + 1;
    struct http_vet whole, split;
    enum http_vet_state state = read_in_steps(&whole, bytes, len - 1, len);
    must(read_in_steps(&split, bytes, len - 1, 1U + data[0]) == state);
    must(whole.rc == split.rc && whole.text == split.text && whole.head_len == split.head_len);
    if (state == HTTP_VET_OK)
        check_accepted(&whole, bytes, len - 1);
    else if (state == HTTP_VET_REFUSED)
        must(rc_info(whole.rc)->http >= 400);
    return 0;
}
