/* fuzz_http_reader.c: any bytes as a server's answer: however they are cut into pieces, the same is
 * read. The first byte says how long the pieces are. */
#include "base/http_reader.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BODY_MAX_BYTES = 4096 };

static enum rc read_in_pieces(struct http_reader *reader, const uint8_t *data, size_t size,
                              size_t piece) {
    struct evbuffer *in = evbuffer_new();
    struct error err;
    enum rc rc = RC_OK;
    assert(in);
    http_reader_init(reader, BODY_MAX_BYTES);
    for (size_t at = 0; rc == RC_OK && at < size && reader->state != READ_DONE; at += piece) {
        evbuffer_add(in, data + at, size - at < piece ? size - at : piece);
        rc = http_reader_feed(reader, in, &err);
    }
    if (rc == RC_OK)
        rc = http_reader_end(reader, &err);
    evbuffer_free(in);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    struct http_reader whole, pieces;
    enum rc rc = read_in_pieces(&whole, data + 1, size - 1, size);
    enum rc again = read_in_pieces(&pieces, data + 1, size - 1, 1 + data[0] % 16);
    assert(rc == again);
    if (rc == RC_OK) {
        assert(whole.state == READ_DONE && pieces.state == READ_DONE);
        assert(whole.status == pieces.status && whole.body.len == pieces.body.len);
        assert(whole.body.len == 0 ||
               memcmp(whole.body.data, pieces.body.data, whole.body.len) == 0);
    }
    http_reader_finish(&whole);
    http_reader_finish(&pieces);
    return 0;
}
