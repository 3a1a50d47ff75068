/* vet.c: the strict reading of a request's head. */
#include "api/http/vet.h"

#include "base/mem.h"

#include <string.h>
#include <strings.h>

/* One line or value under inspection. */
struct text {
    const char *at;
    size_t len;
};

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c) {
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/* tchar of RFC 9110 5.6.2 */
static bool is_tchar(char c) {
    return is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_space(char c) {
    return c == ' ' || c == '\t';
}

/* A byte that may stand in no line; the CR of a line's end is looked at apart. */
static bool is_control(char c) {
    return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

static bool text_is(struct text text, const char *word) {
    return text.len == strlen(word) && strncasecmp(text.at, word, text.len) == 0;
}

static struct text text_trim(struct text text) {
    while (text.len > 0 && is_space(text.at[0])) {
        text.at++;
        text.len--;
    }
    while (text.len > 0 && is_space(text.at[text.len - 1]))
        text.len--;
    return text;
}

/* Cuts off what stands before the first `separator` (all of it if there is none). */
static struct text text_cut(struct text *rest, char separator, bool *ret_found) {
    const char *end = rest->len ? memchr(rest->at, separator, rest->len) : NULL;
    struct text piece = {rest->at, end ? (size_t)(end - rest->at) : rest->len};
    size_t used = piece.len + (end ? 1 : 0);
    rest->at += used;
    rest->len -= used;
    *ret_found = end != NULL;
    return piece;
}

static bool text_all(struct text text, bool (*test)(char c)) {
    for (size_t i = 0; i < text.len; i++)
        if (!test(text.at[i]))
            return false;
    return true;
}

static enum http_vet_state refuse(struct http_vet *vet, enum rc rc, const char *text) {
    vet->rc = rc;
    vet->text = text;
    return HTTP_VET_REFUSED;
}

static enum http_vet_state bad(struct http_vet *vet, const char *text) {
    return refuse(vet, RC_BAD_REQUEST, text);
}

/* --- the request line ------------------------------------------------------------------------ */

static enum http_vet_state read_version(struct http_vet *vet, struct text version) {
    if (version.len != 8 || memcmp(version.at, "HTTP/", 5) != 0 || !is_digit(version.at[5]) ||
        version.at[6] != '.' || !is_digit(version.at[7]))
        return bad(vet, "the request line is not METHOD SP TARGET SP HTTP-VERSION");
    if (version.at[5] != '1')
        return refuse(vet, RC_VERSION_NOT_SUPPORTED, NULL);
    vet->minor = version.at[7] == '0' ? 0 : 1; /* a later 1.x is spoken to as 1.1: RFC 9110 2.5 */
    return HTTP_VET_OK;
}

static bool is_target_char(char c) {
    return c > 0x20 && c < 0x7f && c != '#';
}

static bool is_host_char(char c) {
    return is_alnum(c) || (c != '\0' && strchr("-._~!$&'()*+;=:[]%", c) != NULL);
}

/* host [ ":" port ]; no user, no path. */
static bool is_authority(struct text text) {
    if (!text_all(text, is_host_char))
        return false;
    if (text.len > 0 && text.at[0] == '[') {
        const char *end = memchr(text.at, ']', text.len);
        if (!end)
            return false;
        text.len -= (size_t)(end + 1 - text.at);
        text.at = end + 1;
        if (text.len > 0 && text.at[0] != ':')
            return false;
    }
    bool has_port;
    text_cut(&text, ':', &has_port);
    return !has_port || text_all(text, is_digit);
}

/* Takes "http://authority" off an absolute-form target; false where it is none. */
static bool cut_authority(struct text *target) {
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < LH_COUNT(schemes); i++) {
        size_t len = strlen(schemes[i]);
        if (target->len <= len || strncasecmp(target->at, schemes[i], len) != 0)
            continue;
        struct text authority = {target->at + len, 0};
        while (len + authority.len < target->len && !memchr("/?", authority.at[authority.len], 2))
            authority.len++;
        target->at = authority.at + authority.len;
        target->len -= len + authority.len;
        return authority.len > 0 && is_authority(authority);
    }
    return false;
}

/* Origin form and absolute form; "*" and an authority belong to methods that are not served here.
 */
static enum http_vet_state read_target(struct http_vet *vet, const char *bytes, struct text method,
                                       struct text target) {
    if (target.len == 0 || !text_all(target, is_target_char))
        return bad(vet, "the request target holds a byte that is not allowed there");
    if (text_is(method, "CONNECT") || (target.at[0] != '/' && !cut_authority(&target)))
        return bad(vet, "the request target must be a path");
    bool has_query;
    struct text path = text_cut(&target, '?', &has_query);
    vet->path = (struct http_span){(size_t)(path.at - bytes), path.len};
    vet->query = (struct http_span){(size_t)(target.at - bytes), has_query ? target.len : 0};
    return HTTP_VET_OK;
}

static enum http_vet_state read_request_line(struct http_vet *vet, const char *bytes,
                                             struct text line) {
    bool found;
    struct text rest = line;
    struct text method = text_cut(&rest, ' ', &found);
    if (!found || method.len == 0 || !text_all(method, is_tchar))
        return bad(vet, "the request line does not begin with a method");
    struct text target = text_cut(&rest, ' ', &found);
    if (!found)
        return bad(vet, "the request line names no HTTP version");
    vet->method = (struct http_span){(size_t)(method.at - bytes), method.len};
    vet->is_head = method.len == 4 && memcmp(method.at, "HEAD", 4) == 0;
    vet->is_post = method.len == 4 && memcmp(method.at, "POST", 4) == 0;
    enum http_vet_state state = read_version(vet, rest);
    return state == HTTP_VET_OK ? read_target(vet, bytes, method, target) : state;
}

/* --- header lines ---------------------------------------------------------------------------- */

static enum http_vet_state read_host(struct http_vet *vet, struct text value) {
    return is_authority(value) ? HTTP_VET_OK : bad(vet, "Host is not host or host:port");
}

static enum http_vet_state read_length(struct http_vet *vet, struct text value) {
    if (value.len == 0 || !text_all(value, is_digit))
        return bad(vet, "Content-Length is not a number");
    size_t length = 0;
    for (size_t i = 0; i < value.len; i++)
        if (__builtin_mul_overflow(length, (size_t)10, &length) ||
            __builtin_add_overflow(length, (size_t)(value.at[i] - '0'), &length))
            return refuse(vet, RC_TOO_LARGE, "the body is too large");
    vet->content_length = length;
    vet->has_length = true;
    return HTTP_VET_OK;
}

/* Remembered only: what it means depends on the other headers (see finish()). */
static enum http_vet_state read_coding(struct http_vet *vet, struct text value) {
    bool more = true;
    unsigned codings = 0;
    struct text coding = {0};
    while (more) {
        coding = text_trim(text_cut(&value, ',', &more));
        codings++;
        if (more && text_is(coding, "chunked"))
            codings = 1000; /* chunked may only be the last one */
    }
    if (!text_is(coding, "chunked") || codings >= 1000)
        vet->coding = HTTP_CODING_FAULTY;
    else
        vet->coding = codings == 1 ? HTTP_CODING_CHUNKED : HTTP_CODING_OTHER;
    return HTTP_VET_OK;
}

static enum http_vet_state read_connection(struct http_vet *vet, struct text value) {
    for (bool more = true; more;) {
        struct text option = text_trim(text_cut(&value, ',', &more));
        vet->wants_close |= text_is(option, "close");
        vet->wants_keep |= text_is(option, "keep-alive");
    }
    return HTTP_VET_OK;
}

static enum http_vet_state read_expect(struct http_vet *vet, struct text value) {
    if (!text_is(value, "100-continue"))
        return bad(vet, "only the expectation 100-continue can be met");
    vet->expect_continue = vet->minor > 0; /* RFC 9110 10.1.1: HTTP/1.0 knows none */
    return HTTP_VET_OK;
}

/* Headers that may stand in a request once at most, and those that say how to read it. */
static const struct known {
    const char *name;
    enum http_vet_state (*read)(struct http_vet *vet, struct text value);
    const char *repeated; /* the refusal of a second one; NULL: may be repeated */
} known[] = {
    {"Host", read_host, "Host stands twice"},
    {"Content-Length", read_length, "Content-Length stands twice"},
    {"Transfer-Encoding", read_coding, "Transfer-Encoding stands twice"},
    {"Connection", read_connection, NULL},
    {"Expect", read_expect, NULL},
    {"Authorization", NULL, "Authorization stands twice"},
    {"Content-Type", NULL, "Content-Type stands twice"},
    {"Idempotency-Key", NULL, "Idempotency-Key stands twice"},
};
enum { KNOWN_HOST = 0 };

static enum http_vet_state read_header(struct http_vet *vet, struct text line) {
    if (is_space(line.at[0]))
        return bad(vet, "a header continues on the next line");
    bool found;
    struct text value = line;
    struct text name = text_cut(&value, ':', &found);
    if (!found || name.len == 0 || !text_all(name, is_tchar))
        return bad(vet, "a header line is not NAME: VALUE");
    value = text_trim(value);
    for (unsigned i = 0; i < LH_COUNT(known); i++) {
        if (!text_is(name, known[i].name))
            continue;
        bool again = vet->seen >> i & 1;
        vet->seen |= 1U << i;
        if (again && known[i].repeated)
            return bad(vet, known[i].repeated);
        return known[i].read ? known[i].read(vet, value) : HTTP_VET_OK;
    }
    return HTTP_VET_OK;
}

/* --- the whole ------------------------------------------------------------------------------- */

/* How long the body is: RFC 9112 6.1 and 6.3. */
static enum http_vet_state read_framing(struct http_vet *vet, const struct http_limits *limits) {
    if (vet->coding != HTTP_CODING_NONE && vet->has_length)
        return bad(vet, "Content-Length and Transfer-Encoding exclude one another");
    if (vet->coding != HTTP_CODING_NONE && vet->minor == 0)
        return bad(vet, "HTTP/1.0 has no Transfer-Encoding");
    if (vet->coding == HTTP_CODING_FAULTY)
        return bad(vet, "the last transfer coding must be chunked, and only the last");
    if (vet->coding == HTTP_CODING_OTHER)
        return refuse(vet, RC_NOT_IMPLEMENTED, "this transfer coding is not implemented");
    if (vet->coding == HTTP_CODING_CHUNKED || (vet->is_post && !vet->has_length))
        return refuse(vet, RC_LENGTH_REQUIRED, NULL);
    if (vet->content_length > limits->body_max_bytes)
        return refuse(vet, RC_TOO_LARGE, "the body is too large");
    return HTTP_VET_OK;
}

static enum http_vet_state finish(struct http_vet *vet, const struct http_limits *limits) {
    if (vet->minor > 0 && !(vet->seen >> KNOWN_HOST & 1))
        return bad(vet, "Host is missing");
    vet->keep_alive = !vet->wants_close && (vet->minor > 0 || vet->wants_keep);
    return read_framing(vet, limits);
}

/* Takes the line that ends before `end` (the place of its CR). */
static enum http_vet_state take_line(struct http_vet *vet, const char *bytes, size_t end,
                                     const struct http_limits *limits) {
    struct text line = {bytes + vet->line_at, end - vet->line_at};
    size_t next = end + 2;
    vet->line_at = next;
    if (!vet->has_line) {
        if (line.len == 0)
            return HTTP_VET_MORE; /* empty lines before a request are skipped: RFC 9112 2.2 */
        vet->has_line = true;
        vet->headers.at = next;
        enum http_vet_state state = read_request_line(vet, bytes, line);
        return state == HTTP_VET_OK ? HTTP_VET_MORE : state;
    }
    if (line.len == 0) {
        vet->headers.len = end - vet->headers.at;
        vet->head_len = next;
        return finish(vet, limits);
    }
    if (++vet->lines > limits->headers_max)
        return refuse(vet, RC_HEADERS_TOO_LARGE, "there are too many headers");
    enum http_vet_state state = read_header(vet, line);
    return state == HTTP_VET_OK ? HTTP_VET_MORE : state;
}

enum http_vet_state http_vet_head(struct http_vet *vet, const char *bytes, size_t len,
                                  const struct http_limits *limits) {
    for (; vet->scanned < len; vet->scanned++) {
        size_t at = vet->scanned;
        if (at >= limits->header_max_bytes)
            return refuse(vet, vet->has_line ? RC_HEADERS_TOO_LARGE : RC_URI_TOO_LONG, NULL);
        char c = bytes[at];
        bool after_cr = at > vet->line_at && bytes[at - 1] == '\r';
        if (after_cr != (c == '\n'))
            return bad(vet, "a line does not end in CR LF");
        if (c == '\n') {
            enum http_vet_state state = take_line(vet, bytes, at - 1, limits);
            if (state != HTTP_VET_MORE)
                return state;
        } else if (c != '\r' && is_control(c)) {
            return bad(vet, "the head holds a control character");
        }
    }
    return HTTP_VET_MORE;
}

bool http_vet_next(const char *bytes, struct http_span *rest, struct http_span *ret_name,
                   struct http_span *ret_value) {
    if (rest->len == 0)
        return false;
    struct text left = {bytes + rest->at, rest->len};
    bool found;
    struct text line = text_cut(&left, '\n', &found);
    line.len--; /* the CR */
    struct text name = text_cut(&line, ':', &found);
    struct text value = text_trim(line);
    *ret_name = (struct http_span){(size_t)(name.at - bytes), name.len};
    *ret_value = (struct http_span){(size_t)(value.at - bytes), value.len};
    rest->at = (size_t)(left.at - bytes);
    rest->len = left.len;
    return true;
}
