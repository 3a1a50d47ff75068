/* http_pages.c: one request, one answer, and the end. */
#include "base/http_pages.h"

#include "base/http_listen.h"
#include "base/mem.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <unistd.h>

enum { HEAD_MAX_BYTES = 8192, PAGE_MAX_BYTES = 16 << 20, BACKLOG = 64 };

struct conn {
    LIST_ENTRY(conn) entry;
    struct http_pages *pages;
    struct bufferevent *bev;
    struct event *deadline; /* for the request, then for the answer */
    bool answered;
};

struct http_pages {
    struct http_listen listen;
    struct evconnlistener *listener;
    struct event *rested; /* after an accept that failed */
    http_pages_handler *handler;
    void *arg;
    LIST_HEAD(, conn) conns;
    unsigned n_conns;
};

/* What is read of a request; the texts lie in its head. */
struct request {
    const char *method, *path, *authorization;
};

static const struct timeval patience = {PAGES_MS / 1000, 0}, rest = {1, 0};

static void conn_free(struct conn *conn) {
    struct http_pages *pages = conn->pages;
    LIST_REMOVE(conn, entry);
    event_free(conn->deadline);
    bufferevent_free(conn->bev);
    free(conn);
    if (pages->n_conns-- == PAGES_CONNECTIONS && pages->listener)
        evconnlistener_enable(pages->listener);
}

/* ---- reading ---- */

/* Cuts the text at the first such character; what is behind it, or NULL. */
static char *cut(char *text, const char *at) {
    char *end = strstr(text, at);
    if (!end)
        return NULL;
    *end = '\0';
    return end + strlen(at);
}

/* "GET /path?query HTTP/1.1"; false where it is anything else. */
static bool read_request_line(char *line, struct request *ret) {
    char *target = cut(line, " "), *version = target ? cut(target, " ") : NULL;
    if (!version || target[0] != '/' || strncmp(version, "HTTP/1.", 7) != 0 ||
        !strchr("01", version[7]) || version[8])
        return false;
    (void)cut(target, "?");
    ret->method = line;
    ret->path = target;
    return true;
}

static void read_header(char *line, struct request *ret) {
    char *value = cut(line, ":");
    if (value && strcasecmp(line, "Authorization") == 0)
        ret->authorization = value + strspn(value, " \t");
}

/* `head` ends with its empty line. */
static bool read_request(char *head, struct request *ret) {
    char *next = cut(head, "\r\n");
    if (!next || !read_request_line(head, ret))
        return false;
    for (char *line = next; (next = cut(line, "\r\n")) && *line; line = next)
        read_header(line, ret);
    return true;
}

/* ---- answering ---- */

static const char *reason(int status) {
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 431:
        return "Request Header Fields Too Large";
    default:
        return "Service Unavailable";
    }
}

static void put_error(struct http_page *page, int status, const char *header) {
    page->status = status;
    page->header = header;
    buf_printf(&page->body, "{\"result\":\"exception\",\"message\":\"%s\"}", reason(status));
}

static void send_page(struct conn *conn, const struct http_page *page, bool with_body) {
    struct evbuffer *out = bufferevent_get_output(conn->bev);
    conn->answered = true;
    event_add(conn->deadline, &patience);
    bufferevent_disable(conn->bev, EV_READ);
    if (evbuffer_add_printf(
            out,
            "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n"
            "Cache-Control: no-store\r\n%s%s\r\n",
            page->status, reason(page->status), page->content_type, page->body.len,
            page->header ? page->header : "", page->header ? "\r\n" : "") < 0 ||
        (with_body && evbuffer_add(out, page->body.data, page->body.len) < 0))
        conn_free(conn);
}

static void answer(struct conn *conn, char *head) {
    struct request request = {NULL};
    struct http_page page = {.status = 200, .content_type = "application/json"};
    buf_init(&page.body, PAGE_MAX_BYTES);
    bool is_request = head && read_request(head, &request);
    bool is_head = is_request && strcmp(request.method, "HEAD") == 0;
    if (!is_request)
        put_error(&page, head ? 400 : 431, NULL);
    else if (!is_head && strcmp(request.method, "GET") != 0)
        put_error(&page, 405, "Allow: GET, HEAD");
    else
        conn->pages->handler(request.path, request.authorization, &page, conn->pages->arg);
    if (buf_rc(&page.body) != RC_OK) {
        buf_clear(&page.body);
        put_error(&page, 503, NULL);
    }
    send_page(conn, &page, !is_head);
    buf_finish(&page.body);
}

/* A NUL in the head ends what is read of it: what comes after it is no part of any text. */
static void on_read(struct bufferevent *bev, void *arg) {
    struct conn *conn = arg;
    struct evbuffer *in = bufferevent_get_input(bev);
    struct evbuffer_ptr end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
    char head[HEAD_MAX_BYTES + 1];
    if (end.pos < 0 && evbuffer_get_length(in) < HEAD_MAX_BYTES)
        return;
    if (end.pos < 0 || end.pos > HEAD_MAX_BYTES - 4) {
        answer(conn, NULL);
        return;
    }
    ev_ssize_t len = evbuffer_remove(in, head, (size_t)end.pos + 4);
    head[len > 0 ? len : 0] = '\0';
    answer(conn, head);
}

static void on_written(struct bufferevent *bev, void *arg) {
    (void)bev;
    struct conn *conn = arg;
    if (conn->answered)
        conn_free(conn);
}

/* The other side has closed. */
static void on_event(struct bufferevent *bev, short what, void *arg) {
    (void)bev;
    (void)what;
    conn_free(arg);
}

/* ---- connections ---- */

static void on_deadline(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    conn_free(arg);
}

/* Takes the socket in every case. */
static struct conn *conn_create(struct event_base *base, evutil_socket_t fd) {
    struct conn *conn = calloc(1, sizeof *conn);
    if (conn) {
        conn->bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
        conn->deadline = event_new(base, -1, 0, on_deadline, conn);
    }
    if (conn && conn->bev && conn->deadline)
        return conn;
    if (conn && conn->bev)
        bufferevent_free(conn->bev);
    else
        close(fd);
    if (conn && conn->deadline)
        event_free(conn->deadline);
    free(conn);
    return NULL;
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
                      int len, void *arg) {
    (void)address;
    (void)len;
    struct http_pages *pages = arg;
    struct conn *conn = conn_create(evconnlistener_get_base(listener), fd);
    if (!conn)
        return;
    conn->pages = pages;
    LIST_INSERT_HEAD(&pages->conns, conn, entry);
    if (++pages->n_conns == PAGES_CONNECTIONS)
        evconnlistener_disable(listener);
    bufferevent_setcb(conn->bev, on_read, on_written, on_event, conn);
    bufferevent_setwatermark(conn->bev, EV_READ, 0, HEAD_MAX_BYTES);
    bufferevent_enable(conn->bev, EV_READ | EV_WRITE);
    event_add(conn->deadline, &patience);
}

/* Out of descriptors: libevent would try again at once, and for ever. */
static void on_accept_failed(struct evconnlistener *listener, void *arg) {
    evconnlistener_disable(listener);
    event_add(((struct http_pages *)arg)->rested, &rest);
}

static void on_rested(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct http_pages *pages = arg;
    if (pages->n_conns < PAGES_CONNECTIONS)
        evconnlistener_enable(pages->listener);
}

enum rc http_pages_create(struct event_base *base, const char *listen, http_pages_handler *handler,
                          void *arg, struct http_pages **ret, struct error *err) {
    struct http_pages *pages = calloc(1, sizeof *pages);
    if (!pages)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    pages->handler = handler;
    pages->arg = arg;
    LIST_INIT(&pages->conns);
    enum rc rc = http_listen_open(listen, &pages->listen, err);
    if (rc != RC_OK) {
        free(pages);
        return rc;
    }
    pages->rested = event_new(base, -1, 0, on_rested, pages);
    pages->listener =
        evconnlistener_new(base, on_accept, pages, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC,
                           BACKLOG, pages->listen.fd);
    if (!pages->listener || !pages->rested) {
        rc = error_set(err, RC_IO, "cannot listen on %s: %s", listen, strerror(errno));
        if (!pages->listener)
            close(pages->listen.fd);
        http_pages_destroy(pages);
        return rc;
    }
    evconnlistener_set_error_cb(pages->listener, on_accept_failed);
    *ret = pages;
    return RC_OK;
}

const char *http_pages_address(const struct http_pages *pages) {
    return pages->listen.address;
}

void http_pages_destroy(struct http_pages *pages) {
    if (!pages)
        return;
    if (pages->listener)
        evconnlistener_free(TAKE(pages->listener));
    if (pages->rested)
        event_free(pages->rested);
    http_listen_forget(&pages->listen);
    while (!LIST_EMPTY(&pages->conns))
        conn_free(LIST_FIRST(&pages->conns));
    free(pages);
}
