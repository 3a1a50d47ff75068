/* config.h: the configuration file as a const struct, read from one table of keys.
 *
 * Every key stands once in the table of config_keys.c with its type, default, range, whether it is
 * a secret, and its help text. The table parses, checks, answers --print-config and prints
 * docs/config.md.
 */
#ifndef LH_CONFIG_CONFIG_H
#define LH_CONFIG_CONFIG_H

#include "base/buf.h"

#include <stdint.h>
#include <stdio.h>

enum config_env { ENV_TEST, ENV_STAGE, ENV_PRODUCTION };
enum config_store { STORE_SQLITE, STORE_MONGODB };
enum config_broker { BROKER_NONE, BROKER_KAFKA };
enum config_order { ORDER_QUEUE, ORDER_PRIORITY };
enum config_client_cert { CLIENT_CERT_OFF, CLIENT_CERT_OPTIONAL, CLIENT_CERT_REQUIRED };
enum config_lost_lease { LOST_LEASE_KEEP, LOST_LEASE_KILL };
enum config_module_kind { MODULE_COMMAND, MODULE_WARM, MODULE_SHARED_OBJECT };

struct config_pair { /* one entry of a map of strings */
    char *name;
    char *value;
};

struct config_module {
    enum config_module_kind kind;
    char **command; /* NULL-terminated argv; a relative program path with a slash is resolved
                       against the folder of the configuration file, as is an argument with a slash
                       that names an existing file there; all else stays as written. NULL for a
                       shared object */
    char *object;   /* of a shared object, absolute; else NULL */
    int slots;      /* runs at a time, 1 … 1000 */
    int max_tasks;  /* of a process that stays, until a new one takes its place; 0: no limit */
    int max_rss_mb; /* that it may have between two tasks; 0: no limit */
    int idle_ms;    /* that it may wait for a task until it is ended; 0: for ever */
    enum config_order order;
    bool legacy; /* modules of the base contract share the group: each message is its own task's */
    struct config_pair *env;
    size_t n_env;
    int max_attempts;    /* of a task whose creator names none */
    unsigned retry_kind; /* enum task_retry_kind, likewise; the two below in ms, then permille */
    int retry_base_ms, retry_max_ms, retry_jitter;
    int timeout_ms;     /* of an attempt whose task names none; 0: none */
    int memory_mb;      /* of all processes of a run; 0: no limit, as below */
    int nproc;          /* processes and threads of a run */
    int nofile;         /* open files of each process */
    char *user, *group; /* to run as; NULL: the consumer's */
    bool no_new_privileges, private_tmp;
    int64_t output_bytes; /* that a run may write to stdout and stderr */
};

struct config_service {
    char *name;
    char *source_name;            /* "" without source_db */
    char *topic;                  /* NULL without source_db */
    char *group;                  /* consumer_id; NULL without source_db */
    struct config_module *module; /* NULL: no module configured */
};

struct config_mq {
    char *bootstrap_servers; /* joined by commas; NULL: none */
    char *username, *password;
    char *security_protocol; /* PLAINTEXT, SASL_PLAINTEXT, SASL_SSL, SSL; the default is applied */
    char *ssl_ca;
    char *group_instance_id; /* of the consumer in its groups, or NULL: none */
    bool create_topics;
    int partitions, replication_factor; /* of created topics */
    struct config_pair *librdkafka;     /* passed through */
    size_t n_librdkafka;
};

struct config_mongo { /* the section that default_env names */
    char *uri;        /* MONGO_URI, or NULL: made of the others */
    char *host;
    int port;
    char *username, *password; /* "" : no login */
    char *dbname;
};

struct config_limits {
    int64_t body_bytes, result_bytes;
    int64_t log_bytes; /* kept of each stream of an attempt */
    int connections;
    int watchers;                    /* of /api/watch */
    int64_t watch_bytes;             /* queued for each of them */
    int64_t status_cache_bytes;      /* 0: none */
    int64_t waiting_per_service;     /* 0: no limit */
    int header_ms, body_ms, idle_ms; /* HTTP deadlines */
};

enum { STATUS_IDS_MAX = 1000 }; /* what max_status_task may say */

enum { LEASE_MIN_MS = 100, LEASE_MAX_MS = 86400000 };

enum { TOKEN_HASH_LEN = 32, TOKEN_NAME_MAX = 64 };

/* What audit lines call the access token that may do all; no other has this name. */
#define TOKEN_OF_ALL "AUTH_TOKEN"

/* What a token may ask for; the order is that of config_scope_words. */
enum token_scope { SCOPE_CREATE = 1, SCOPE_READ = 2, SCOPE_RUN = 4, SCOPE_ADMIN = 8 };

struct config_token {
    char *name;
    uint8_t hash[TOKEN_HASH_LEN]; /* SHA-256 of its text */
    bool has_hash;
    char *client_cert; /* a name in a client's certificate that stands for it, or NULL */
    unsigned scopes;   /* a set of enum token_scope, not empty */
    char **services;   /* n_services of them; none: all */
    size_t n_services;
    int64_t expires_at; /* unix ms; 0: never */
    double rate, burst; /* requests per second, and at once; 0: no limit */
};

struct config_tokens {
    struct config_token *items;
    size_t n;
};

struct config_tls { /* of the listener; paths are absolute, cert NULL: no TLS */
    char *cert, *key, *client_ca;
    enum config_client_cert client_cert;
};

struct config_api_tls { /* how clients of the API know it, and it them; absolute, or NULL */
    char *ca, *cert, *key;
};

struct config_retention {           /* how long what is over is kept; 0: for ever */
    int64_t finished_ms, failed_ms; /* since the task's end */
    int64_t tombstone_ms;           /* since its removal */
};

struct config_tracing {
    char *endpoint;     /* of a collector, "http://…", "https://…"; "": spans go nowhere */
    char *ca;           /* PEM file of whom to trust for https; NULL: the system's */
    char *service_name; /* "": that of the program */
    int sample;         /* thousandths of the creates without a trace that begin one */
};

struct config {
    char *file; /* path as given */
    char *dir;  /* its folder, absolute */
    enum config_env env;
    struct config_service *services; /* in configuration order */
    size_t n_services;
    int max_status_task;
    struct config_mq mq;
    struct config_mongo mongo;
    enum config_store store;
    char *sqlite_path; /* absolute */
    enum config_broker broker;
    char *listen;  /* "127.0.0.1:8080", "[::]:8080", "unix:/path" */
    char *api_url; /* without a trailing slash; default made of `listen` */
    struct config_tls tls;
    struct config_api_tls api_tls;
    char *auth_token_file; /* absolute, or NULL */
    char *consumer_token_file;
    bool audit;
    char *audit_file;  /* absolute, or NULL */
    char *tokens_file; /* absolute, or NULL */
    struct config_tokens tokens;
    char *consumer_spool; /* absolute: where a consumer keeps reports while the API is away */
    int sweep_ms;
    int lease_ms;                         /* of a claim; consumers renew it every third of it */
    int max_crashes;                      /* lost leases until a task has failed */
    enum config_lost_lease on_lost_lease; /* what a consumer does with a run whose lease passes */
    int log_wait_ms; /* after a run's end, until what is missing of its log is not waited for */
    int age_ms;      /* that a task waits until it counts as one priority more */
    int requeue_ms;  /* that a task stays queued until its message is produced again */
    int kill_max_ms; /* that a cancelled run may stay without a sign of life */
    int legacy_timeout_ms; /* that a claim without run_id holds its task; 0: for ever */
    int drain_ms;          /* that a stopping consumer waits for its runs */
    bool legacy_http_status;
    char *metrics_listen; /* of a consumer, or NULL */
    bool metrics_public;
    struct config_retention retention;
    struct config_limits limits;
    struct config_tracing tracing;
};

/* Reads and checks `path`; relative paths in it are relative to its folder; AUTH_TOKEN,
 * MONGO_PASSWORD and SASL_PLAIN_PASSWORD of the environment override. Failure: RC_CONFIG, every
 * text of the form "FILE:LINE: KEY: what is wrong" (the first fault found), or RC_IO. The caller
 * owns *ret. */
enum rc config_load(const char *path, struct config **ret, struct error *err) LH_MUST_USE;

/* The same from memory; `path` names it in errors and gives the folder. For tests and fuzzing. */
enum rc config_parse(const char *path, const char *text, size_t len, struct config **ret,
                     struct error *err) LH_MUST_USE;

void config_destroy(struct config *cfg);

/* The access token: $AUTH_TOKEN, or the content of auth_token_file without its trailing newline.
 * RC_CONFIG with neither or an empty one. *ret is the caller's. */
enum rc config_auth_token(const struct config *cfg, char **ret, struct error *err) LH_MUST_USE;

/* Whether clients show a certificate to api_url, which may stand for a token there. */
bool config_shows_certificate(const struct config *cfg);

/* The same for a consumer, which has its own file where consumer_token_file names one. NULL: no
 * token is configured, and its certificate is to stand for one. */
enum rc config_consumer_token(const struct config *cfg, char **ret, struct error *err) LH_MUST_USE;
/* Whether one is configured. */
bool config_has_auth_token(const struct config *cfg);

/* The further tokens as the configuration file `path` gives them now, itself or by its tokens_file.
 * Errors are those of config_load, also of that file. *ret is the caller's. */
enum rc config_tokens_load(const char *path, struct config_tokens *ret,
                           struct error *err) LH_MUST_USE;

void config_tokens_finish(struct config_tokens *tokens);

/* What a token may be called: 1 to TOKEN_NAME_MAX letters, digits, '_', '.', '-'. */
bool config_token_name_ok(const char *name);

/* "sha256:…", as it stands in the configuration. */
void config_token_hash_put(const uint8_t hash[TOKEN_HASH_LEN], FILE *to);

/* "create|read|run|admin" (base of config_word()). */
extern const char config_scope_words[];

/* The service of that name, or NULL. */
const struct config_service *config_service(const struct config *cfg, const char *name);

/* Writes the effective configuration as YAML that config_load accepts; secrets are "***". */
void config_print(const struct config *cfg, FILE *to);

/* Writes docs/config.md: every key with type, default, range and help. */
void config_print_docs(FILE *to);

/* Writes longhaul-config(5), a manual page of the same. */
void config_print_manual(FILE *to);

#endif
