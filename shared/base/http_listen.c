/* http_listen.c: binds the address that the server listens on. */
#include "base/http_listen.h"

#include "base/mem.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static enum rc fail(struct error *err, const char *listen, const char *cause) {
    return error_set(err, RC_IO, "cannot listen on %s: %s", listen, cause);
}

static int open_socket(int family) {
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || family == AF_UNIX)
        return fd;
    /* Accepted sockets inherit the last two. */
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

/* --- unix sockets ---------------------------------------------------------------------------- */

/* True when the path is a socket that refuses connections: its owner is gone. */
static bool is_stale(const struct sockaddr_un *to) {
    int fd = open_socket(AF_UNIX);
    if (fd < 0)
        return false;
    bool stale = connect(fd, (const struct sockaddr *)to, sizeof *to) < 0 && errno == ECONNREFUSED;
    close(fd);
    return stale;
}

static bool bind_path(int fd, const struct sockaddr_un *to) {
    if (bind(fd, (const struct sockaddr *)to, sizeof *to) == 0)
        return true;
    if (errno != EADDRINUSE)
        return false;
    if (!is_stale(to) || unlink(to->sun_path) < 0) {
        errno = EADDRINUSE;
        return false;
    }
    return bind(fd, (const struct sockaddr *)to, sizeof *to) == 0;
}

static enum rc open_unix(const char *listen, struct http_listen *ret, struct error *err) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const char *path = listen + strlen("unix:");
    if (*path == '\0' || !mem_copy_str(to.sun_path, sizeof to.sun_path, path))
        return fail(err, listen, "the path is empty or too long");
    int fd = open_socket(AF_UNIX);
    if (fd < 0 || !bind_path(fd, &to)) {
        enum rc rc = fail(err, listen, strerror(errno));
        if (fd >= 0)
            close(fd);
        return rc;
    }
    ret->fd = fd;
    mem_copy_str(ret->path, sizeof ret->path, path);
    snprintf(ret->address, sizeof ret->address, "unix:%s", path);
    return RC_OK;
}

/* --- TCP ------------------------------------------------------------------------------------- */

/* Splits "host:port" and "[host]:port"; the host must not be empty. */
static bool split(const char *listen, char host[256], char port[6]) {
    const char *colon = strrchr(listen, ':');
    if (!colon || colon == listen || !colon[1] || !mem_copy_str(port, 6, colon + 1))
        return false;
    size_t len = (size_t)(colon - listen);
    if (listen[0] == '[' && colon[-1] == ']') {
        listen++;
        len -= 2;
    } else if (memchr(listen, ':', len)) {
        return false; /* an IPv6 address without its brackets */
    }
    if (len == 0 || len >= 256)
        return false;
    memcpy(host, listen, len);
    host[len] = '\0';
    return strspn(port, "0123456789") == strlen(port) && strtol(port, NULL, 10) <= UINT16_MAX;
}

static void write_address(int fd, struct http_listen *ret) {
    struct sockaddr_storage at;
    socklen_t len = sizeof at;
    char host[64] = "?", port[8] = "?";
    if (getsockname(fd, (struct sockaddr *)&at, &len) == 0)
        getnameinfo((struct sockaddr *)&at, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV);
    bool v6 = strchr(host, ':') != NULL;
    snprintf(ret->address, sizeof ret->address, v6 ? "http://[%s]:%s" : "http://%s:%s", host, port);
}

static enum rc open_tcp(const char *listen, struct http_listen *ret, struct error *err) {
    char host[256], port[6];
    if (!split(listen, host, port))
        return fail(err, listen, "expected HOST:PORT, [HOST]:PORT or unix:PATH");
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found;
    int failure = getaddrinfo(host, port, &hints, &found);
    if (failure)
        return fail(err, listen, gai_strerror(failure));
    int fd = open_socket(found->ai_family);
    bool bound = fd >= 0 && bind(fd, found->ai_addr, found->ai_addrlen) == 0;
    int cause = errno;
    freeaddrinfo(found);
    if (!bound) {
        if (fd >= 0)
            close(fd);
        return fail(err, listen, strerror(cause));
    }
    ret->fd = fd;
    ret->path[0] = '\0';
    write_address(fd, ret);
    return RC_OK;
}

enum rc http_listen_open(const char *listen, struct http_listen *ret, struct error *err) {
    return strncmp(listen, "unix:", 5) == 0 ? open_unix(listen, ret, err)
                                            : open_tcp(listen, ret, err);
}

void http_listen_forget(const struct http_listen *listen) {
    if (listen->path[0])
        unlink(listen->path);
}
