/* config_files.c: what is read from files: the configuration, tokens, lists of tokens. */
#include "config/config.h"

#include "base/mem.h"
#include "config/config_tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { TOKEN_MAX_BYTES = 4096 };

static void fd_close_ptr(int *fd) {
    if (*fd >= 0)
        close(*fd);
}

/* Reads a whole file; where it has more than max_bytes, the first max_bytes + 1. */
static enum rc file_read(const char *path, size_t max_bytes, struct buf *to, struct error *err) {
    LH_CLEANUP(fd_close_ptr) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return error_set(err, RC_IO, "%s: %s", path, strerror(errno));
    buf_init(to, max_bytes + 1);
    while (to->len <= max_bytes) {
        char chunk[16384];
        size_t want = max_bytes + 1 - to->len;
        ssize_t n = read(fd, chunk, want < sizeof(chunk) ? want : sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, RC_IO, "%s: %s", path, strerror(errno));
        if (n == 0)
            break;
        buf_append(to, chunk, (size_t)n);
        if (buf_rc(to) != RC_OK)
            return error_set(err, buf_rc(to), "%s: out of memory", path);
    }
    return RC_OK;
}

enum rc config_load(const char *path, struct config **ret, struct error *err) {
    struct buf text LH_CLEANUP_BUF = {0};
    enum rc rc = file_read(path, YAML_BYTES_MAX, &text, err);
    if (rc != RC_OK)
        return rc;
    return config_parse(path, text.data ? text.data : "", text.len, ret, err);
}

static bool token_good(const char *token) {
    size_t len = strlen(token);
    for (const char *c = token; *c; c++)
        if (*c < 0x21 || *c > 0x7e)
            return false;
    return len && len <= TOKEN_MAX_BYTES;
}

static enum rc token_take(const char *from, const char *text, char **ret, struct error *err) {
    if (!token_good(text))
        return error_set(err, RC_CONFIG, "%s: the token must be 1 to %d visible ASCII characters",
                         from, TOKEN_MAX_BYTES);
    char *token = mem_dup(text, strlen(text));
    if (!token)
        return error_set(err, RC_NO_MEMORY, "%s: out of memory", from);
    *ret = token;
    return RC_OK;
}

/* The token in a file, which the key of that name gives. */
static enum rc token_read(const char *key, const char *file, char **ret, struct error *err) {
    struct buf text LH_CLEANUP_BUF = {0};
    struct error cause;
    enum rc rc = file_read(file, TOKEN_MAX_BYTES + 2, &text, &cause);
    if (rc != RC_OK)
        return error_set(err, rc == RC_IO ? RC_CONFIG : rc, "%s: %s", key, cause.text);
    if (text.len && text.data[text.len - 1] == '\n')
        text.data[--text.len] = '\0';
    if (text.len && text.data[text.len - 1] == '\r')
        text.data[--text.len] = '\0';
    if (!text.data || strlen(text.data) != text.len)
        return token_take(file, "", ret, err);
    return token_take(file, text.data, ret, err);
}

bool config_has_auth_token(const struct config *cfg) {
    const char *env = getenv("AUTH_TOKEN");
    return (env && env[0]) || cfg->auth_token_file;
}

enum rc config_auth_token(const struct config *cfg, char **ret, struct error *err) {
    const char *env = getenv("AUTH_TOKEN");
    if (env && env[0])
        return token_take("AUTH_TOKEN", env, ret, err);
    if (!cfg->auth_token_file)
        return error_set(err, RC_CONFIG,
                         "no access token: set AUTH_TOKEN, or auth_token_file in %s", cfg->file);
    return token_read("auth_token_file", cfg->auth_token_file, ret, err);
}

bool config_shows_certificate(const struct config *cfg) {
    return cfg->api_tls.cert && strncmp(cfg->api_url, "https://", strlen("https://")) == 0;
}

enum rc config_consumer_token(const struct config *cfg, char **ret, struct error *err) {
    if (!config_has_auth_token(cfg) && !cfg->consumer_token_file && config_shows_certificate(cfg)) {
        *ret = NULL;
        return RC_OK;
    }
    const char *env = getenv("AUTH_TOKEN");
    if ((env && env[0]) || !cfg->consumer_token_file)
        return config_auth_token(cfg, ret, err);
    return token_read("consumer_token_file", cfg->consumer_token_file, ret, err);
}

/* The list in a file of its own, for the services of cfg. */
static enum rc tokens_file_read(const struct config *cfg, struct config_tokens *ret,
                                struct error *err) {
    struct buf text LH_CLEANUP_BUF = {0};
    struct yaml_tree *root = NULL;
    struct error cause = {.text = ""};
    const struct config_source src = {.path = cfg->tokens_file, .dir = cfg->dir, .err = err};
    enum rc rc = file_read(cfg->tokens_file, YAML_BYTES_MAX, &text, &cause);
    if (rc != RC_OK)
        return error_set(err, rc == RC_IO ? RC_CONFIG : rc, "tokens_file: %s", cause.text);
    rc = yaml_tree_read(cfg->tokens_file, text.data ? text.data : "", text.len, &root, err);
    if (rc != RC_OK)
        return rc;
    const struct yaml_item *list = yaml_tree_find(root, "tokens");
    if (root->kind != YAML_MAP || root->n_items != 1 || !list)
        rc = config_fail(&src, root->line, "tokens",
                         "the file must hold this key, a list of tokens, and no other");
    else
        rc = config_tokens_read(&src, cfg, list->value, ret);
    yaml_tree_destroy(root);
    return rc;
}

enum rc config_tokens_load(const char *path, struct config_tokens *ret, struct error *err) {
    struct config *cfg = NULL;
    enum rc rc = config_load(path, &cfg, err);
    if (rc != RC_OK)
        return rc;
    if (cfg->tokens_file) {
        rc = tokens_file_read(cfg, ret, err);
    } else {
        *ret = cfg->tokens;
        cfg->tokens = (struct config_tokens){0};
    }
    config_destroy(cfg);
    return rc;
}
