/* tls_openssl.c: the module longhaul-tls: TLS of clients by OpenSSL. */
#include "base/tls.h"

#include <arpa/inet.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

struct tls_openssl {
    struct tls tls;
    SSL_CTX *context;
};

static enum rc fail(struct error *err, const char *what, const char *file) {
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    enum rc rc =
        error_set(err, RC_CONFIG, "%s %s: %s", what, file, reason ? reason : "cannot be used");
    ERR_clear_error();
    return rc;
}

static enum rc load_files(SSL_CTX *context, const struct tls_options *options, struct error *err) {
    int trusted = options->ca ? SSL_CTX_load_verify_locations(context, options->ca, NULL)
                              : SSL_CTX_set_default_verify_paths(context);
    if (trusted != 1)
        return fail(err, "CA", options->ca ? options->ca : "of the system");
    if (!options->cert)
        return RC_OK;
    if (SSL_CTX_use_certificate_chain_file(context, options->cert) != 1)
        return fail(err, "certificate", options->cert);
    if (SSL_CTX_use_PrivateKey_file(context, options->key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(context) != 1)
        return fail(err, "key", options->key);
    return RC_OK;
}

/* The server has to be the host that was asked for: its name, or its address. */
static bool expect_host(SSL *ssl, const char *host) {
    unsigned char address[sizeof(struct in6_addr)];
    if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

static struct bufferevent *wrap(struct tls *tls, struct event_base *base, int fd,
                                const char *host) {
    const struct tls_openssl *self = (const struct tls_openssl *)tls;
    SSL *ssl = SSL_new(self->context);
    struct bufferevent *bev = NULL;
    if (ssl && expect_host(ssl, host)) /* takes `ssl`, also where it fails */
        bev = bufferevent_openssl_socket_new(base, fd, ssl, BUFFEREVENT_SSL_CONNECTING,
                                             BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    else
        SSL_free(ssl);
    if (bev)
        bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
    ERR_clear_error();
    return bev;
}

static void why(struct bufferevent *bev, char *to, size_t cap) {
    unsigned long code, first = 0;
    while ((code = bufferevent_get_openssl_error(bev)))
        first = first ? first : code;
    long verified = SSL_get_verify_result(bufferevent_openssl_get_ssl(bev));
    const char *reason = first ? ERR_reason_error_string(first) : NULL;
    if (verified != X509_V_OK)
        snprintf(to, cap, "TLS: the server's certificate: %s",
                 X509_verify_cert_error_string(verified));
    else if (first && ERR_GET_REASON(first) == SSL_R_WRONG_VERSION_NUMBER)
        snprintf(to, cap, "TLS: the server does not speak it");
    else
        snprintf(to, cap, "%s%s", reason ? "TLS: " : "", reason ? reason : "");
}

static void destroy(struct tls *tls) {
    struct tls_openssl *self = (struct tls_openssl *)tls;
    SSL_CTX_free(self->context);
    free(self);
}

enum rc tls_openssl_open(const struct tls_options *options, struct tls **ret, struct error *err) {
    static const struct tls_impl impl = {wrap, why, destroy};
    struct tls_openssl *self = calloc(1, sizeof *self);
    if (!self)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    ERR_clear_error();
    self->tls.impl = &impl;
    self->context = SSL_CTX_new(TLS_client_method());
    enum rc rc = self->context ? RC_OK : error_set(err, RC_NO_MEMORY, "out of memory");
    if (rc == RC_OK)
        rc = load_files(self->context, options, err);
    if (rc != RC_OK) {
        destroy(&self->tls);
        return rc;
    }
    SSL_CTX_set_min_proto_version(self->context, TLS1_2_VERSION);
    SSL_CTX_set_options(self->context, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(self->context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(self->context, SSL_VERIFY_PEER, NULL);
    *ret = &self->tls;
    return RC_OK;
}
