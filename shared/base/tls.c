/* tls.c: TLS for the connections of a client, by a loadable module. */
#include "base/tls.h"

#include "base/plugin.h"

#include <string.h>

enum rc tls_open(const struct tls_options *options, struct tls **ret, struct error *err) {
    static const struct tls_options none;
    void *symbol = NULL;
    enum rc rc = plugin_symbol("tls", "tls_openssl_open", &symbol, err);
    if (rc != RC_OK)
        return rc;
    tls_opener *open;
    memcpy(&open, &symbol, sizeof open); /* ISO C knows no cast from object to function */
    return open(options ? options : &none, ret, err);
}

struct bufferevent *tls_wrap(struct tls *tls, struct event_base *base, int fd, const char *host) {
    return tls->impl->wrap(tls, base, fd, host);
}

void tls_why(const struct tls *tls, struct bufferevent *bev, char *to, size_t cap) {
    tls->impl->why(bev, to, cap);
}

void tls_destroy(struct tls *tls) {
    if (tls)
        tls->impl->destroy(tls);
}
