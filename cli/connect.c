/* connect.c: the command line, then the environment, then the configuration. */
#include "cli/connect.h"

#include "base/mem.h"
#include "cli/arguments.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TOKEN_MAX_BYTES = 4096, PATIENCE_MS = 30000 };

static void config_destroy_ptr(struct config **cfg) {
    config_destroy(*cfg);
}

enum rc connection_config(const struct cli *cli, struct config **ret, struct error *err) {
    const char *path = cli->value[OPTION_CONFIG];
    if (!path && access("config.yaml", F_OK) != 0)
        return RC_OK;
    return config_load(path ? path : "config.yaml", ret, err);
}

/* A variable, NULL where it is not set or empty. */
static const char *environment(const char *name) {
    const char *value = getenv(name);
    return value && value[0] ? value : NULL;
}

/* The first line of a file. */
static enum rc token_read(const char *path, char **ret, struct error *err) {
    char text[TOKEN_MAX_BYTES] = "";
    FILE *file = fopen(path, "re");
    if (!file)
        return error_set(err, RC_IO, "LONGHAUL_TOKEN_FILE: %s: %s", path, strerror(errno));
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    if (!text[0])
        return error_set(err, RC_CONFIG, "LONGHAUL_TOKEN_FILE: %s: it holds no token", path);
    *ret = mem_dup(text, strlen(text));
    return *ret ? RC_OK : error_set(err, RC_NO_MEMORY, "out of memory");
}

const char *connection_token_from(const struct cli *cli) {
    if (cli->value[OPTION_TOKEN])
        return "--token";
    if (environment("AUTH_TOKEN"))
        return "AUTH_TOKEN";
    return environment("LONGHAUL_TOKEN_FILE") ? "LONGHAUL_TOKEN_FILE"
                                              : "auth_token_file, or the certificate";
}

enum rc connection_token(const struct cli *cli, const struct config *cfg, char **ret,
                         struct error *err) {
    const char *given =
        cli->value[OPTION_TOKEN] ? cli->value[OPTION_TOKEN] : environment("AUTH_TOKEN");
    if (given) {
        *ret = mem_dup(given, strlen(given));
        return *ret ? RC_OK : error_set(err, RC_NO_MEMORY, "out of memory");
    }
    if (environment("LONGHAUL_TOKEN_FILE"))
        return token_read(environment("LONGHAUL_TOKEN_FILE"), ret, err);
    if (cfg && cfg->auth_token_file)
        return config_auth_token(cfg, ret, err);
    if (strncmp(connection_url(cli, cfg), "https://", strlen("https://")) == 0 &&
        connection_tls(cfg).cert) {
        *ret = NULL;
        return RC_OK;
    }
    return error_set(err, RC_USAGE,
                     "no access token: give --token, set AUTH_TOKEN or LONGHAUL_TOKEN_FILE, or "
                     "name a configuration with auth_token_file by --config");
}

const char *connection_url(const struct cli *cli, const struct config *cfg) {
    const char *url = cli->value[OPTION_URL] ? cli->value[OPTION_URL] : environment("LONGHAUL_URL");
    if (url)
        return url;
    return cfg ? cfg->api_url : "http://127.0.0.1:8080";
}

struct tls_options connection_tls(const struct config *cfg) {
    const char *ca = environment("LONGHAUL_CA"), *cert = environment("LONGHAUL_CERT"),
               *key = environment("LONGHAUL_KEY");
    struct tls_options tls = {.ca = ca, .cert = cert, .key = key ? key : cert};
    if (cfg && !ca)
        tls.ca = cfg->api_tls.ca;
    if (cfg && !cert) {
        tls.cert = cfg->api_tls.cert;
        tls.key = cfg->api_tls.key;
    }
    return tls;
}

static bool is_complete(const struct cli *cli) {
    bool url = cli->value[OPTION_URL] || environment("LONGHAUL_URL");
    bool token =
        cli->value[OPTION_TOKEN] || environment("AUTH_TOKEN") || environment("LONGHAUL_TOKEN_FILE");
    return url && token && !cli->value[OPTION_CONFIG];
}

enum rc connection_open(struct cli *cli, struct error *err) {
    LH_CLEANUP(config_destroy_ptr) struct config *cfg = NULL;
    LH_FREE char *token = NULL;
    int64_t patience_ms = PATIENCE_MS;
    enum rc rc = cli_duration(cli, OPTION_PATIENCE, &patience_ms, err);
    if (rc == RC_OK && !is_complete(cli))
        rc = connection_config(cli, &cfg, err);
    if (rc == RC_OK)
        rc = connection_token(cli, cfg, &token, err);
    if (rc != RC_OK)
        return rc;
    const struct tls_options tls = connection_tls(cfg);
    return client_create(connection_url(cli, cfg), &tls, token, patience_ms, &cli->client, err);
}
