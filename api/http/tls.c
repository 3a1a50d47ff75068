/* tls.c: TLS of the listener. */
#include "api/http/tls.h"

#include "base/buf.h"

#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

enum { NAMES_MAX_BYTES = 8192 };

/* The first thing that the library complains about. */
static enum rc fail(struct error *err, const char *key, const char *file) {
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    enum rc rc =
        error_set(err, RC_CONFIG, "%s: %s: %s", key, file, reason ? reason : "cannot be used");
    ERR_clear_error();
    return rc;
}

static enum rc load_pair(SSL_CTX *context, const struct http_tls_options *options,
                         struct error *err) {
    if (SSL_CTX_use_certificate_chain_file(context, options->cert) != 1)
        return fail(err, "tls.cert", options->cert);
    if (SSL_CTX_use_PrivateKey_file(context, options->key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(context) != 1)
        return fail(err, "tls.key", options->key);
    return RC_OK;
}

static enum rc load_client_ca(SSL_CTX *context, const struct http_tls_options *options,
                              struct error *err) {
    if (!options->client_ca)
        return RC_OK;
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(options->client_ca);
    if (!names || SSL_CTX_load_verify_locations(context, options->client_ca, NULL) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return fail(err, "tls.client_ca", options->client_ca);
    }
    SSL_CTX_set_client_CA_list(context, names); /* takes them */
    SSL_CTX_set_verify(
        context, SSL_VERIFY_PEER | (options->client_required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
        NULL);
    return RC_OK;
}

/* Nothing is resumed: a certificate that was exchanged, or a CA, holds for every connection from
 * then on. */
static void set_rules(SSL_CTX *context) {
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF |
                                     SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
}

enum rc http_tls_context(const struct http_tls_options *options, evhtp_ssl_ctx_t **ret,
                         struct error *err) {
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    set_rules(context);
    enum rc rc = load_pair(context, options, err);
    if (rc == RC_OK)
        rc = load_client_ca(context, options, err);
    if (rc == RC_OK)
        *ret = context;
    else
        SSL_CTX_free(context);
    return rc;
}

void http_tls_context_free(evhtp_ssl_ctx_t *context) {
    SSL_CTX_free(context);
}

/* ---- who the client is ---- */

/* One with a NUL inside is none. */
static void put_name(struct buf *to, const ASN1_STRING *text) {
    unsigned char *utf8 = NULL;
    int len = text ? ASN1_STRING_to_UTF8(&utf8, text) : -1;
    if (len > 0 && strlen((const char *)utf8) == (size_t)len)
        buf_append(to, utf8, (size_t)len + 1);
    OPENSSL_free(utf8);
}

static void put_common_names(struct buf *to, const X509 *certificate) {
    const X509_NAME *subject = X509_get_subject_name(certificate);
    for (int at = -1; (at = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) >= 0;)
        put_name(to, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
}

static void put_alternatives(struct buf *to, const X509 *certificate) {
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        int type;
        const void *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);
        if (type == GEN_DNS || type == GEN_EMAIL || type == GEN_URI)
            put_name(to, value);
    }
    GENERAL_NAMES_free(names);
}

char *http_tls_client_names(evhtp_ssl_t *ssl) {
    X509 *certificate = SSL_get1_peer_certificate(ssl);
    if (!certificate)
        return NULL;
    struct buf names;
    buf_init(&names, NAMES_MAX_BYTES);
    if (SSL_get_verify_result(ssl) == X509_V_OK) {
        put_common_names(&names, certificate);
        put_alternatives(&names, certificate);
    }
    X509_free(certificate);
    buf_append(&names, "", 1);
    return buf_take(&names, NULL);
}

/* ---- the ends of connections ---- */

void http_tls_why(struct bufferevent *bev, char *to, size_t cap) {
    unsigned long code, last = 0;
    while ((code = bufferevent_get_openssl_error(bev)))
        last = last ? last : code;
    long verified = SSL_get_verify_result(bufferevent_openssl_get_ssl(bev));
    const char *reason = last ? ERR_reason_error_string(last) : NULL;
    if (verified != X509_V_OK)
        snprintf(to, cap, "the client's certificate: %s", X509_verify_cert_error_string(verified));
    else if (last && ERR_GET_REASON(last) == SSL_R_HTTP_REQUEST)
        snprintf(to, cap, "plain HTTP on the port of TLS");
    else
        snprintf(to, cap, "%s", reason ? reason : "the client has gone");
}

void http_tls_end(evhtp_ssl_t *ssl) {
    ERR_clear_error();
    SSL_shutdown(ssl);
    ERR_clear_error();
}
