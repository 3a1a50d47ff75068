/* http_echo_streams.c: the streamed replies of http_echo. */
#include "tests/contract/http_echo_streams.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum { QUEUE_BYTES = 64 * 1024, FLOOD_BYTES = 4096 };

struct stream {
    LIST_ENTRY(stream) link;
    struct http_req *req;
    size_t left, size, written;
    bool open;
};

static LIST_HEAD(, stream) streams = LIST_HEAD_INITIALIZER(streams);
static unsigned n_gone;

static void stream_destroy(struct stream *stream) {
    LIST_REMOVE(stream, link);
    free(stream);
}

static void write_piece(struct stream *stream) {
    LH_FREE char *bytes = malloc(stream->size + 1);
    if (!bytes)
        abort();
    memset(bytes, (int)('a' + stream->written++ % 26), stream->size);
    http_stream_write(stream->req, bytes, stream->size);
    stream->left--;
}

static void go_on(struct stream *stream) {
    while (stream->left > 0 && http_stream_queued(stream->req) < QUEUE_BYTES)
        write_piece(stream);
    if (stream->left > 0 || stream->open)
        return;
    http_stream_end(stream->req);
    stream_destroy(stream);
}

static void on_drained(void *arg) {
    go_on(arg);
}

static void on_gone(void *arg) {
    n_gone++;
    stream_destroy(arg);
}

static void read_wish(struct stream *stream, const char *what) {
    char *end;
    stream->left = strtoul(what, &end, 10);
    stream->size = *end ? strtoul(end + 1, NULL, 10) : 0;
    stream->open = strcmp(what, "open") == 0;
    if (strcmp(what, "flood") == 0) {
        stream->left = SIZE_MAX;
        stream->size = FLOOD_BYTES;
    }
}

void streams_begin(struct http_req *req, const char *what) {
    static const struct http_stream hooks = {on_drained, on_gone};
    const struct http_reply head = {.status = 200, .content_type = "text/plain"};
    struct stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        abort();
    stream->req = req;
    LIST_INSERT_HEAD(&streams, stream, link);
    read_wish(stream, what);
    http_stream_begin(req, &head, &hooks, stream);
    if (stream->open)
        http_stream_write(req, "open", 4);
    if (strncmp(what, "now/", 4) != 0) {
        go_on(stream);
        return;
    }
    http_stream_write(req, what + 4, strlen(what + 4));
    http_stream_end(req);
    stream_destroy(stream);
}

unsigned streams_gone(void) {
    return n_gone;
}

void streams_end_all(void) {
    while (!LIST_EMPTY(&streams)) {
        struct stream *stream = LIST_FIRST(&streams);
        http_stream_end(stream->req);
        stream_destroy(stream);
    }
}
