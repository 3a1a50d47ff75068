/* http_reader.c: the answer's grammar as a table of states. */
#include "base/http_reader.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

void http_reader_init(struct http_reader *reader, size_t body_max_bytes) {
    *reader = (struct http_reader){.state = READ_STATUS};
    buf_init(&reader->headers, HTTP_HEAD_MAX_BYTES);
    buf_init(&reader->body, body_max_bytes);
}

void http_reader_finish(struct http_reader *reader) {
    buf_finish(&reader->headers);
    buf_finish(&reader->body);
}

const char *http_reader_header(const struct http_reader *reader, const char *name) {
    const char *at = reader->headers.data, *end = at + reader->headers.len;
    while (at && at < end) {
        const char *value = at + strlen(at) + 1;
        if (strcasecmp(at, name) == 0)
            return value;
        at = value + strlen(value) + 1;
    }
    return NULL;
}

/* True if the comma list `value` holds `token`. */
static bool has_token(const char *value, const char *token) {
    size_t len = strlen(token);
    while (value && *value) {
        value += strspn(value, ", \t");
        size_t n = strcspn(value, ", \t;");
        if (n == len && strncasecmp(value, token, n) == 0)
            return true;
        value += strcspn(value, ",");
    }
    return false;
}

static bool all_digits(const char *text) {
    return *text && text[strspn(text, "0123456789")] == '\0';
}

static enum rc read_status(struct http_reader *reader, char *line, struct error *err) {
    bool fits = strncmp(line, "HTTP/1.", 7) == 0 && (line[7] == '0' || line[7] == '1') &&
                line[8] == ' ' && strspn(line + 9, "0123456789") == 3 && line[9] >= '1' &&
                line[9] <= '5' && (line[12] == ' ' || line[12] == '\0');
    if (!fits)
        return error_set(err, RC_IO, "the answer is not HTTP/1.1");
    reader->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
    reader->keep = line[7] == '1';
    reader->state = READ_HEADERS;
    return RC_OK;
}

static enum rc read_length(struct http_reader *reader, const char *value, struct error *err) {
    if (!all_digits(value) || strlen(value) > 18)
        return error_set(err, RC_IO, "the answer's Content-Length is not a number");
    int64_t length = strtoll(value, NULL, 10);
    if (reader->counted && reader->remaining != length)
        return error_set(err, RC_IO, "the answer has two different Content-Length headers");
    reader->counted = true;
    reader->remaining = length;
    return RC_OK;
}

static enum rc note_header(struct http_reader *reader, const char *name, const char *value,
                           struct error *err) {
    if (strcasecmp(name, "Content-Length") == 0)
        return read_length(reader, value, err);
    if (strcasecmp(name, "Connection") == 0 && has_token(value, "close"))
        reader->keep = false;
    if (strcasecmp(name, "Transfer-Encoding") == 0) {
        if (strcasecmp(value, "chunked") != 0)
            return error_set(err, RC_IO, "the answer has an unknown transfer coding");
        reader->chunked = true;
    }
    return RC_OK;
}

static void forget_head(struct http_reader *reader) {
    buf_clear(&reader->headers);
    reader->chunked = reader->counted = false;
    reader->state = READ_STATUS;
}

static enum rc too_large(const struct http_reader *reader, struct error *err) {
    return error_set(err, RC_TOO_LARGE, "the answer has more than %zu bytes", reader->body.max);
}

/* The empty line after the headers: how is the body counted? */
static enum rc end_headers(struct http_reader *reader, struct error *err) {
    if (reader->status == 101)
        return error_set(err, RC_IO, "the server switched protocols");
    if (reader->status < 200) {
        forget_head(reader);
    } else if (reader->status == 204 || reader->status == 304) {
        reader->state = READ_DONE;
    } else if (reader->chunked) {
        reader->keep = reader->keep && !reader->counted;
        reader->state = READ_CHUNK_SIZE;
    } else if (reader->counted) {
        if (reader->remaining > (int64_t)reader->body.max)
            return too_large(reader, err);
        reader->state = reader->remaining ? READ_COUNTED : READ_DONE;
    } else {
        reader->keep = false;
        reader->state = READ_TO_END;
    }
    return RC_OK;
}

static enum rc no_memory(struct error *err) {
    return error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
}

static enum rc read_header(struct http_reader *reader, char *line, struct error *err) {
    if (!*line)
        return end_headers(reader, err);
    char *colon = strchr(line, ':');
    if (!colon || colon == line || strcspn(line, " \t") < (size_t)(colon - line))
        return error_set(err, RC_IO, "the answer has a malformed header");
    *colon = '\0';
    char *value = colon + 1 + strspn(colon + 1, " \t");
    for (size_t n = strlen(value); n > 0 && strchr(" \t", value[n - 1]); n--)
        value[n - 1] = '\0';
    enum rc rc = note_header(reader, line, value, err);
    if (rc != RC_OK)
        return rc;
    buf_append(&reader->headers, line, strlen(line) + 1);
    buf_append(&reader->headers, value, strlen(value) + 1);
    return buf_rc(&reader->headers) == RC_OK ? RC_OK : no_memory(err);
}

static enum rc read_chunk_size(struct http_reader *reader, char *line, struct error *err) {
    size_t digits = strspn(line, "0123456789abcdefABCDEF");
    if (digits == 0 || digits > 15 || !strchr("; \t", line[digits]))
        return error_set(err, RC_IO, "the answer has a malformed chunk");
    reader->remaining = strtoll(line, NULL, 16);
    reader->state = reader->remaining ? READ_CHUNK : READ_TRAILERS;
    return RC_OK;
}

static enum rc read_chunk_end(struct http_reader *reader, char *line, struct error *err) {
    if (*line)
        return error_set(err, RC_IO, "the answer has a malformed chunk");
    reader->state = READ_CHUNK_SIZE;
    return RC_OK;
}

static enum rc read_trailer(struct http_reader *reader, char *line, struct error *err) {
    (void)err;
    if (!*line)
        reader->state = READ_DONE;
    return RC_OK;
}

/* The states that read a line; the others read bytes. */
typedef enum rc read_line(struct http_reader *reader, char *line, struct error *err);
static read_line *const by_line[READ_DONE + 1] = {
    [READ_STATUS] = read_status,         [READ_HEADERS] = read_header,
    [READ_CHUNK_SIZE] = read_chunk_size, [READ_CHUNK_END] = read_chunk_end,
    [READ_TRAILERS] = read_trailer,
};

static enum rc take_line(struct http_reader *reader, struct evbuffer *in, bool *ret_more,
                         struct error *err) {
    size_t len = 0;
    LH_FREE char *line = evbuffer_readln(in, &len, EVBUFFER_EOL_CRLF);
    if (!line && evbuffer_search_eol(in, NULL, NULL, EVBUFFER_EOL_CRLF).pos >= 0)
        return no_memory(err);
    size_t seen = line ? len + 2 : evbuffer_get_length(in);
    if (reader->head_bytes + seen > HTTP_HEAD_MAX_BYTES && reader->state != READ_CHUNK_SIZE &&
        reader->state != READ_CHUNK_END)
        return error_set(err, RC_IO, "the answer's head is too large");
    if (!line && seen > HTTP_HEAD_MAX_BYTES)
        return error_set(err, RC_IO, "the answer has a malformed chunk");
    *ret_more = line != NULL;
    if (!line)
        return RC_OK;
    if (strlen(line) != len)
        return error_set(err, RC_IO, "the answer's head holds a NUL");
    if (reader->state != READ_CHUNK_SIZE && reader->state != READ_CHUNK_END)
        reader->head_bytes += seen;
    return by_line[reader->state](reader, line, err);
}

static enum rc take_bytes(struct http_reader *reader, struct evbuffer *in, struct error *err) {
    size_t n = evbuffer_get_length(in);
    if (reader->state != READ_TO_END && n > (uint64_t)reader->remaining)
        n = (size_t)reader->remaining;
    if (!buf_reserve(&reader->body, n))
        return reader->body.rc == RC_TOO_LARGE ? too_large(reader, err) : no_memory(err);
    int got = evbuffer_remove(in, reader->body.data + reader->body.len, n);
    if (got < 0 || (size_t)got != n)
        return no_memory(err);
    reader->body.len += n;
    reader->body.data[reader->body.len] = '\0';
    reader->remaining -= (int64_t)n;
    if (reader->state != READ_TO_END && reader->remaining == 0)
        reader->state = reader->state == READ_CHUNK ? READ_CHUNK_END : READ_DONE;
    return RC_OK;
}

enum rc http_reader_feed(struct http_reader *reader, struct evbuffer *in, struct error *err) {
    if (evbuffer_get_length(in) > 0)
        reader->started = true;
    bool more = evbuffer_get_length(in) > 0;
    while (more && reader->state != READ_DONE) {
        enum rc rc;
        if (by_line[reader->state]) {
            rc = take_line(reader, in, &more, err);
        } else {
            rc = take_bytes(reader, in, err);
            more = evbuffer_get_length(in) > 0;
        }
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

enum rc http_reader_end(struct http_reader *reader, struct error *err) {
    reader->keep = false;
    if (reader->state == READ_TO_END)
        reader->state = READ_DONE;
    if (reader->state == READ_DONE)
        return RC_OK;
    return error_set(err, RC_IO, "the server closed the connection %s",
                     reader->started ? "in the middle of its answer" : "without an answer");
}
