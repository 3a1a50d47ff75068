/* tls.h: TLS of the listener; private to api/http/.
 *
 * evhtp makes an SSL of `htp->ssl_ctx` for every connection that it accepts. What is made here is
 * put there, also later: connections keep the context that they began with.
 */
#ifndef LH_API_HTTP_TLS_H
#define LH_API_HTTP_TLS_H

#include "api/http/http.h"

#include <event2/bufferevent.h>
#include <evhtp/evhtp.h>

/* Reads certificate, key and the CA of clients; TLS 1.2 at least. RC_CONFIG names key and file. The
 * caller owns *ret. */
enum rc http_tls_context(const struct http_tls_options *options, evhtp_ssl_ctx_t **ret,
                         struct error *err) LH_MUST_USE;

void http_tls_context_free(evhtp_ssl_ctx_t *context);

/* The names in the client's certificate, which has been verified: common name, DNS names, e-mail
 * addresses and URIs, each with its NUL, and an empty one. NULL: no certificate, or out of memory.
 * The caller owns it. */
char *http_tls_client_names(evhtp_ssl_t *ssl);

/* Why the handshake of the connection failed. */
void http_tls_why(struct bufferevent *bev, char *to, size_t cap);

/* Tells the client that no more comes. */
void http_tls_end(evhtp_ssl_t *ssl);

#endif
