/* http_listen.h: a listening socket from an address as the configuration writes it. */
#ifndef LH_BASE_HTTP_LISTEN_H
#define LH_BASE_HTTP_LISTEN_H

#include "base/rc.h"

#include <sys/un.h>

struct http_listen {
    int fd; /* bound, not yet listening; non-blocking, close-on-exec */
    char address[sizeof(((struct sockaddr_un *)0)->sun_path) +
                 16];                                       /* "http://host:port" or "unix:/path" */
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* of a unix socket, else "" */
};

/* Binds "127.0.0.1:8080", "[::1]:0" or "unix:/run/x.sock". A unix socket that nobody listens on any
 * more is replaced. RC_IO with the address and the cause. */
enum rc http_listen_open(const char *listen, struct http_listen *ret,
                         struct error *err) LH_MUST_USE;

/* Removes the path of a unix socket. The descriptor belongs to whom it was given to. */
void http_listen_forget(const struct http_listen *listen);

#endif
