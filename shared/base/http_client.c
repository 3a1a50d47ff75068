/* http_client.c: connections, calls and their ends. */
#include "base/http_client.h"

#include "base/http_reader.h"
#include "base/mem.h"
#include "base/tls.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/dns.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { HOST_CAP = 256, PORT_CAP = 6, REQUEST_MAX_BYTES = 1 << 30 };

/* One connection: in use by `call`, or in the client's list of idle ones. */
struct conn {
    LIST_ENTRY(conn) entry; /* idle ones only */
    struct http_client *client;
    struct bufferevent *bev;
    struct http_call *call; /* NULL: idle */
    bool secured;           /* with TLS: the handshake goes on, or is done */
    bool connected;
    bool reused;
    unsigned tls_age; /* the client's at its beginning */
};

/* It outlives its client: callbacks that it has on the loop, those of what was cancelled too, still
 * look at it. */
struct resolver {
    struct evdns_base *dns;
    struct event *end;
};

struct http_client {
    struct event_base *base;
    struct tls *tls;           /* NULL: plain */
    unsigned tls_age;          /* how often its files were read again */
    struct resolver *resolver; /* NULL where the host is an address */
    char host[HOST_CAP], port[PORT_CAP];
    char authority[HOST_CAP + 8]; /* the Host header */
    bool secure;                  /* the url says https */
    char *prefix;
    struct sockaddr_storage address; /* without a resolver */
    socklen_t address_len;
    size_t answer_max_bytes;
    unsigned idle_max, n_idle;
    LIST_HEAD(, conn) idle;
    LIST_HEAD(, http_call) calls;
};

/* A name being resolved. It outlives a cancelled call: the resolver calls back even then. */
struct lookup {
    struct http_call *call; /* NULL: cancelled */
    struct evdns_getaddrinfo_request *request;
};

struct http_call {
    LIST_ENTRY(http_call) entry;
    struct http_client *client;
    struct conn *conn;
    struct lookup *lookup;
    struct evutil_addrinfo *found, *untried; /* with a resolver */
    struct event *begin, *deadline;
    int timeout_ms;
    bool once, repeated, sent;
    struct buf request;
    struct http_reader reader;
    http_done *done;
    void *arg;
};

/* --- connections --- */

static void conn_free(struct conn *conn) {
    if (!conn)
        return;
    bufferevent_free(conn->bev);
    free(conn);
}

static void conn_forget_idle(struct conn *conn) {
    LIST_REMOVE(conn, entry);
    conn->client->n_idle--;
}

/* Keeps the connection of a finished call for the next one, or closes it. */
static void conn_release(struct conn *conn, bool keep) {
    struct http_client *client = conn->client;
    conn->call = NULL;
    keep = keep && evbuffer_get_length(bufferevent_get_output(conn->bev)) == 0 &&
           evbuffer_get_length(bufferevent_get_input(conn->bev)) == 0 &&
           client->n_idle < client->idle_max && conn->tls_age == client->tls_age;
    if (!keep) {
        conn_free(conn);
        return;
    }
    LIST_INSERT_HEAD(&client->idle, conn, entry);
    client->n_idle++;
}

/* Nothing to read, not even the end: the server still keeps it. */
static bool conn_alive(const struct conn *conn) {
    char c;
    ssize_t n = recv(bufferevent_getfd(conn->bev), &c, 1, MSG_PEEK | MSG_DONTWAIT);
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) &&
           evbuffer_get_length(bufferevent_get_input(conn->bev)) == 0;
}

static struct conn *conn_take_idle(struct http_client *client) {
    struct conn *conn;
    while ((conn = LIST_FIRST(&client->idle))) {
        conn_forget_idle(conn);
        if (conn_alive(conn)) {
            conn->reused = true;
            return conn;
        }
        conn_free(conn);
    }
    return NULL;
}

/* --- the end of a call --- */

static void lookup_cancel(struct lookup *lookup) {
    if (!lookup)
        return;
    lookup->call = NULL;
    evdns_getaddrinfo_cancel(lookup->request);
}

static void call_free(struct http_call *call) {
    if (call->begin)
        event_free(call->begin);
    if (call->deadline)
        event_free(call->deadline);
    if (call->found)
        evutil_freeaddrinfo(call->found);
    http_reader_finish(&call->reader);
    buf_finish(&call->request);
    free(call);
}

/* Takes the call off everything that could still reach it. */
static void call_detach(struct http_call *call, bool keep) {
    LIST_REMOVE(call, entry);
    event_del(call->begin);
    event_del(call->deadline);
    lookup_cancel(TAKE(call->lookup));
    if (call->conn)
        conn_release(TAKE(call->conn), keep);
}

/* The last thing that is done with a call: `done` may destroy the client. */
static void call_end(struct http_call *call, enum rc rc, const char *text) {
    call_detach(call, rc == RC_OK && call->reader.keep);
    struct http_answer answer = {.rc = rc, .text = text, .sent = call->sent, .body = ""};
    if (rc == RC_OK) {
        answer.status = call->reader.status;
        answer.reader = &call->reader;
        if (call->reader.body.data)
            answer.body = call->reader.body.data;
        answer.len = call->reader.body.len;
    }
    call->done(&answer, call->arg);
    call_free(call);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct http_call *call = arg;
    char text[80];
    snprintf(text, sizeof text,
             call->sent ? "no answer within %d ms" : "no connection within %d ms",
             call->timeout_ms);
    call_end(call, RC_IO, text);
}

/* --- connecting --- */

static void call_connect(struct http_call *call, int last_errno);
static void on_event(struct bufferevent *bev, short what, void *arg);

static void on_read(struct bufferevent *bev, void *arg) {
    struct conn *conn = arg;
    struct http_call *call = conn->call;
    if (!call) { /* bytes that nobody asked for */
        conn_forget_idle(conn);
        conn_free(conn);
        return;
    }
    struct error err;
    enum rc rc = http_reader_feed(&call->reader, bufferevent_get_input(bev), &err);
    if (rc != RC_OK)
        call_end(call, rc, err.text);
    else if (call->reader.state == READ_DONE)
        call_end(call, RC_OK, NULL);
}

static void conn_write(struct conn *conn) {
    struct http_call *call = conn->call;
    if (bufferevent_write(conn->bev, call->request.data, call->request.len) != 0)
        call_end(call, RC_NO_MEMORY, rc_info(RC_NO_MEMORY)->text);
}

/* With TLS nothing is written before the server is known. */
static void call_send_on(struct http_call *call, struct conn *conn) {
    conn->call = call;
    call->conn = conn;
    if (!call->client->tls || conn->connected)
        conn_write(conn);
}

static const char *conn_why(const struct conn *conn, int error, char *room, size_t cap) {
    room[0] = '\0';
    if (conn->secured)
        tls_why(conn->client->tls, conn->bev, room, cap);
    if (!room[0])
        snprintf(room, cap, "%s", strerror(error));
    return room;
}

/* The connection broke or was closed before the answer was whole. */
static void call_broken(struct http_call *call, int error) {
    struct conn *conn = call->conn;
    struct error err;
    if (conn->reused && !call->reader.started && !call->once && !call->repeated) {
        call->repeated = true;
        call->conn = NULL;
        conn_free(conn);
        call_connect(call, 0);
    } else if (error) {
        char text[160];
        call_end(call, RC_IO, conn_why(conn, error, text, sizeof text));
    } else if (http_reader_end(&call->reader, &err) == RC_OK) {
        call_end(call, RC_OK, NULL);
    } else {
        call_end(call, RC_IO, err.text);
    }
}

static void on_connected(struct conn *conn) {
    int on = 1;
    setsockopt(bufferevent_getfd(conn->bev), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    conn->connected = true;
    conn->call->sent = true;
    bufferevent_enable(conn->bev, EV_READ);
    if (conn->secured)
        conn_write(conn);
}

/* The socket is connected: the handshake begins on it. */
static void conn_secure(struct conn *conn) {
    struct http_client *client = conn->client;
    struct bufferevent *plain = conn->bev;
    struct bufferevent *bev =
        tls_wrap(client->tls, client->base, bufferevent_getfd(plain), client->host);
    if (!bev) {
        call_end(conn->call, RC_NO_MEMORY, rc_info(RC_NO_MEMORY)->text);
        return;
    }
    bufferevent_setcb(plain, NULL, NULL, NULL, NULL);
    bufferevent_setfd(plain, -1);
    bufferevent_free(plain);
    conn->bev = bev;
    conn->secured = true;
    bufferevent_setcb(bev, on_read, NULL, on_event, conn);
}

/* Another address would not know better. */
static void handshake_failed(struct conn *conn, int error) {
    char why[160], text[200];
    conn_why(conn, error ? error : ECONNRESET, why, sizeof why);
    snprintf(text, sizeof text, "%s", why);
    call_end(conn->call, RC_IO, text);
}

static void on_event(struct bufferevent *bev, short what, void *arg) {
    int error = what & BEV_EVENT_ERROR ? EVUTIL_SOCKET_ERROR() : 0;
    struct conn *conn = arg;
    struct http_call *call = conn->call;
    (void)bev;
    if (!call) {
        conn_forget_idle(conn);
        conn_free(conn);
    } else if (what & BEV_EVENT_CONNECTED && conn->client->tls && !conn->secured) {
        conn_secure(conn);
    } else if (what & BEV_EVENT_CONNECTED) {
        on_connected(conn);
    } else if (!conn->connected && conn->secured) {
        handshake_failed(conn, error);
    } else if (!conn->connected) {
        call->conn = NULL;
        conn_free(conn);
        call_connect(call, error ? error : ECONNREFUSED);
    } else if (!(what &
                 BEV_EVENT_WRITING)) { /* after a failed write there may still be an answer */
        call_broken(call, error);
    }
}

static struct conn *conn_open(struct http_client *client, const struct sockaddr *address, int len) {
    struct conn *conn = calloc(1, sizeof *conn);
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn && fd >= 0)
        conn->bev = bufferevent_socket_new(client->base, fd,
                                           BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    if (!conn || !conn->bev) {
        if (fd >= 0)
            close(fd);
        free(conn);
        return NULL;
    }
    conn->client = client;
    conn->tls_age = client->tls_age;
    bufferevent_setcb(conn->bev, on_read, NULL, on_event, conn);
    if (bufferevent_socket_connect(conn->bev, address, len) != 0) {
        int error = errno;
        conn_free(conn);
        errno = error;
        return NULL;
    }
    return conn;
}

/* Tries the next address; when there is none left, the call ends with the last one's error. */
static void call_connect(struct http_call *call, int last_errno) {
    struct http_client *client = call->client;
    struct conn *conn = NULL;
    if (!client->resolver) {
        if (last_errno == 0)
            conn = conn_open(client, (struct sockaddr *)&client->address, (int)client->address_len);
    } else {
        if (last_errno == 0)
            call->untried = call->found;
        for (; !conn && call->untried; call->untried = call->untried->ai_next)
            conn = conn_open(client, call->untried->ai_addr, (int)call->untried->ai_addrlen);
    }
    if (conn)
        call_send_on(call, conn);
    else
        call_end(call, RC_IO, strerror(last_errno ? last_errno : errno));
}

static void on_found(int result, struct evutil_addrinfo *found, void *arg) {
    struct lookup *lookup = arg;
    struct http_call *call = lookup->call;
    free(lookup);
    if (!call) {
        if (found)
            evutil_freeaddrinfo(found);
        return;
    }
    call->lookup = NULL;
    call->found = found;
    if (result != 0 || !found)
        call_end(call, RC_IO, evutil_gai_strerror(result));
    else
        call_connect(call, 0);
}

static void call_resolve(struct http_call *call) {
    struct http_client *client = call->client;
    struct lookup *lookup = calloc(1, sizeof *lookup);
    if (!lookup) {
        call_end(call, RC_NO_MEMORY, rc_info(RC_NO_MEMORY)->text);
        return;
    }
    lookup->call = call;
    call->lookup = lookup;
    struct evutil_addrinfo hints = {.ai_family = AF_UNSPEC,
                                    .ai_socktype = SOCK_STREAM,
                                    .ai_protocol = IPPROTO_TCP,
                                    .ai_flags = EVUTIL_AI_ADDRCONFIG};
    struct evdns_getaddrinfo_request *request = evdns_getaddrinfo(
        client->resolver->dns, client->host, client->port, &hints, on_found, lookup);
    if (request) /* else on_found has been called already, and the lookup is gone */
        lookup->request = request;
}

static void on_begin(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    struct http_call *call = arg;
    struct conn *conn = conn_take_idle(call->client);
    if (conn) {
        call->sent = true;
        call_send_on(call, conn);
    } else if (call->client->resolver && !call->found) {
        call_resolve(call);
    } else {
        call_connect(call, 0);
    }
}

/* --- starting a call --- */

static enum rc build_request(struct http_call *call, const struct http_call_options *options) {
    struct buf *buf = &call->request;
    buf_init(buf, REQUEST_MAX_BYTES);
    buf_printf(buf, "%s %s%s HTTP/1.1\r\nHost: %s\r\n", options->method, call->client->prefix,
               options->path, call->client->authority);
    for (size_t i = 0; i < options->n_fields; i++)
        buf_printf(buf, "%s: %s\r\n", options->fields[i].name, options->fields[i].value);
    if (options->len > 0 || strcmp(options->method, "POST") == 0)
        buf_printf(buf, "Content-Length: %zu\r\n", options->len);
    buf_str(buf, "\r\n");
    buf_append(buf, options->body, options->len);
    return buf_rc(buf);
}

static bool arm(struct http_call *call) {
    struct event_base *base = call->client->base;
    call->begin = event_new(base, -1, 0, on_begin, call);
    call->deadline = event_new(base, -1, 0, on_deadline, call);
    if (!call->begin || !call->deadline)
        return false;
    struct timeval after = {call->timeout_ms / 1000, call->timeout_ms % 1000 * 1000};
    if (call->timeout_ms > 0 && event_add(call->deadline, &after) != 0)
        return false;
    event_active(call->begin, EV_TIMEOUT, 0);
    return true;
}

struct http_call *http_call_start(struct http_client *client,
                                  const struct http_call_options *options, http_done *done,
                                  void *arg) {
    struct http_call *call = calloc(1, sizeof *call);
    if (!call)
        return NULL;
    call->client = client;
    call->timeout_ms = options->timeout_ms;
    call->once = options->once;
    call->done = done;
    call->arg = arg;
    http_reader_init(&call->reader, client->answer_max_bytes);
    if (build_request(call, options) != RC_OK || !arm(call)) {
        call_free(call);
        return NULL;
    }
    LIST_INSERT_HEAD(&client->calls, call, entry);
    return call;
}

void http_call_cancel(struct http_call *call) {
    if (!call)
        return;
    call_detach(call, false);
    call_free(call);
}

const char *http_answer_header(const struct http_answer *answer, const char *name) {
    return answer->reader ? http_reader_header(answer->reader, name) : NULL;
}

/* --- the client --- */

static enum rc parse_unix(struct http_client *client, const char *path) {
    struct sockaddr_un *address = (struct sockaddr_un *)&client->address;
    address->sun_family = AF_UNIX;
    if (!*path || !mem_copy_str(address->sun_path, sizeof address->sun_path, path))
        return RC_INVALID_PARAMETER;
    client->address_len = sizeof *address;
    mem_copy_str(client->authority, sizeof client->authority, "localhost");
    client->prefix = mem_dup("", 0);
    return client->prefix ? RC_OK : RC_NO_MEMORY;
}

/* Cuts host and port out of "host", "host:port", "[::1]", "[::1]:port". */
static bool split_authority(struct http_client *client) {
    const char *text = client->authority;
    bool bracket = text[0] == '[';
    size_t n = bracket ? strcspn(text, "]") : strcspn(text, ":");
    const char *rest = text + n + (bracket && text[n] ? 1 : 0);
    text += bracket;
    n -= bracket;
    if (n == 0 || n >= HOST_CAP || (bracket && rest[-1] != ']'))
        return false;
    memcpy(client->host, text, n);
    if (!*rest)
        return mem_copy_str(client->port, PORT_CAP, client->secure ? "443" : "80");
    size_t digits = strspn(rest + 1, "0123456789");
    return *rest == ':' && digits > 0 && digits < PORT_CAP && rest[1 + digits] == '\0' &&
           strtol(rest + 1, NULL, 10) <= 65535 && mem_copy_str(client->port, PORT_CAP, rest + 1);
}

static void resolver_destroy(struct resolver *resolver) {
    if (resolver->dns)
        evdns_base_free(resolver->dns, 0);
    if (resolver->end)
        event_free(resolver->end);
    free(resolver);
}

static void on_resolver_end(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    resolver_destroy(arg);
}

/* A timer that is due runs after every callback that is on the loop already. */
static void resolver_leave(struct resolver *resolver) {
    static const struct timeval now = {0, 0};
    if (resolver && event_add(resolver->end, &now) != 0)
        resolver_destroy(resolver);
}

static struct resolver *resolver_create(struct event_base *base) {
    struct resolver *resolver = calloc(1, sizeof *resolver);
    if (!resolver)
        return NULL;
    resolver->end = event_new(base, -1, 0, on_resolver_end, resolver);
    resolver->dns =
        evdns_base_new(base, EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (!resolver->dns) { /* no usable resolv.conf: the hosts file is still there */
        resolver->dns = evdns_base_new(base, 0);
        if (resolver->dns)
            evdns_base_load_hosts(resolver->dns, "/etc/hosts");
    }
    if (resolver->dns && resolver->end)
        return resolver;
    resolver_destroy(resolver);
    return NULL;
}

static enum rc find_address(struct http_client *client) {
    struct evutil_addrinfo hints = {.ai_family = AF_UNSPEC,
                                    .ai_socktype = SOCK_STREAM,
                                    .ai_flags = EVUTIL_AI_NUMERICHOST | EVUTIL_AI_NUMERICSERV};
    struct evutil_addrinfo *found = NULL;
    if (evutil_getaddrinfo(client->host, client->port, &hints, &found) == 0) {
        memcpy(&client->address, found->ai_addr, found->ai_addrlen);
        client->address_len = (socklen_t)found->ai_addrlen;
        evutil_freeaddrinfo(found);
        return RC_OK;
    }
    client->resolver = resolver_create(client->base);
    return client->resolver ? RC_OK : RC_NO_MEMORY;
}

static enum rc parse_url(struct http_client *client, const char *url) {
    if (strncmp(url, "unix:", 5) == 0)
        return parse_unix(client, url + 5);
    client->secure = strncasecmp(url, "https://", 8) == 0;
    if ((!client->secure && strncasecmp(url, "http://", 7) != 0) ||
        url[strcspn(url, " \t\r\n?#@")] != '\0')
        return RC_INVALID_PARAMETER;
    url += client->secure ? 8 : 7;
    size_t n = strcspn(url, "/");
    if (n >= sizeof client->authority)
        return RC_INVALID_PARAMETER;
    memcpy(client->authority, url, n);
    if (!split_authority(client))
        return RC_INVALID_PARAMETER;
    size_t prefix = strlen(url + n);
    while (prefix > 0 && url[n + prefix - 1] == '/')
        prefix--;
    client->prefix = mem_dup(url + n, prefix);
    return client->prefix ? find_address(client) : RC_NO_MEMORY;
}

enum rc http_client_create(struct event_base *base, const struct http_client_options *options,
                           struct http_client **ret, struct error *err) {
    struct http_client *client = calloc(1, sizeof *client);
    if (!client)
        return error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
    client->base = base;
    client->answer_max_bytes = options->answer_max_bytes;
    client->idle_max = options->idle_max;
    enum rc rc = parse_url(client, options->url);
    if (rc != RC_OK)
        error_set(err, rc,
                  rc == RC_NO_MEMORY ? "%s: out of memory"
                                     : "%s is not http://host[:port], https://… or unix:/path",
                  options->url);
    else if (client->secure)
        rc = tls_open(options->tls, &client->tls, err);
    if (rc == RC_OK)
        *ret = client;
    else
        http_client_destroy(client);
    return rc;
}

static void close_idle(struct http_client *client) {
    struct conn *conn;
    while ((conn = LIST_FIRST(&client->idle))) {
        conn_forget_idle(conn);
        conn_free(conn);
    }
}

enum rc http_client_reload_tls(struct http_client *client, const struct tls_options *tls,
                               struct error *err) {
    struct tls *fresh = NULL;
    enum rc rc = client->secure ? tls_open(tls, &fresh, err) : RC_OK;
    if (!fresh)
        return rc;
    tls_destroy(client->tls); /* connections hold what they need of it */
    client->tls = fresh;
    client->tls_age++;
    close_idle(client);
    return RC_OK;
}

void http_client_destroy(struct http_client *client) {
    if (!client)
        return;
    struct http_call *call;
    while ((call = LIST_FIRST(&client->calls)))
        http_call_cancel(call);
    close_idle(client);
    resolver_leave(client->resolver);
    tls_destroy(client->tls);
    free(client->prefix);
    free(client);
}
