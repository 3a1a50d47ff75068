/* tls.h: TLS for the connections of a client, by a loadable module (base/plugin.h): a program that
 * speaks plain HTTP does not load OpenSSL. Loop thread only. */
#ifndef LH_BASE_TLS_H
#define LH_BASE_TLS_H

#include "base/rc.h"

#include <event2/bufferevent.h>

struct tls_options {
    const char *ca;         /* PEM file of whom to trust; NULL: the system's */
    const char *cert, *key; /* PEM files of what to show to the server; NULL: nothing */
};

struct tls;

struct tls_impl {
    struct bufferevent *(*wrap)(struct tls *tls, struct event_base *base, int fd, const char *host);
    void (*why)(struct bufferevent *bev, char *to, size_t cap);
    void (*destroy)(struct tls *tls);
};

/* What the module makes begins with this. */
struct tls {
    const struct tls_impl *impl;
};

typedef enum rc tls_opener(const struct tls_options *options, struct tls **ret, struct error *err);

/* Loads the module and reads the files; options NULL: the system's CA alone. RC_CONFIG names the
 * file, RC_IO: the module is not there. */
enum rc tls_open(const struct tls_options *options, struct tls **ret,
                 struct error *err) LH_MUST_USE;

/* A bufferevent on the connected socket, which it takes, that begins a handshake with `host` and
 * tells by BEV_EVENT_CONNECTED that the server has proven to be it. NULL: out of memory, and the
 * socket is as before. */
struct bufferevent *tls_wrap(struct tls *tls, struct event_base *base, int fd, const char *host);

/* Why the handshake or the connection failed; "": TLS had nothing to do with it. */
void tls_why(const struct tls *tls, struct bufferevent *bev, char *to, size_t cap);

/* NULL is fine. */
void tls_destroy(struct tls *tls);

/* The module's own. */
tls_opener tls_openssl_open;

#endif
