/* config_keys.c: every key of the configuration, once. */
#include "config/config_keys.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

const char config_env_words[] = "TEST|STAGE|PRODUCTION";
const char config_kind_words[] = "command|warm|shared_object";

static bool only(const char *text, const char *allowed, size_t min, size_t max) {
    size_t len = strlen(text);
    return len >= min && len <= max && strspn(text, allowed) == len;
}

#define DIGITS "0123456789"
#define NAME_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" DIGITS "_.-"

static bool service_name(const char *text) {
    return only(text, NAME_CHARS, 1, 64);
}

/* Kafka's rule for topics. */
static bool topic_name(const char *text) {
    return only(text, NAME_CHARS, 1, 249) && strcmp(text, ".") != 0 && strcmp(text, "..") != 0;
}

static bool not_empty(const char *text) {
    return text[0] != '\0';
}

static bool no_space(const char *text) {
    return text[0] && !strpbrk(text, " \t\r\n");
}

static bool server(const char *text) {
    return no_space(text) && !strchr(text, ',');
}

static bool host(const char *text) {
    return !strpbrk(text, " \t\r\n/@?");
}

static bool mongo_uri(const char *text) {
    return !text[0] ||
           ((strncmp(text, "mongodb://", 10) == 0 || strncmp(text, "mongodb+srv://", 14) == 0) &&
            no_space(text));
}

static bool dbname(const char *text) {
    return strlen(text) < 64 && !strpbrk(text, "/\\. \"$*<>:|?");
}

static bool port(const char *text) {
    int value = 0;
    for (const char *at = text; *at; at++) {
        if (*at < '0' || *at > '9' || at - text == 5)
            return false;
        value = value * 10 + (*at - '0');
    }
    return text[0] && value <= 65535;
}

static bool numeric_address(const char *text, size_t len, bool v6) {
    char address[INET6_ADDRSTRLEN];
    unsigned char bytes[sizeof(struct in6_addr)];
    if (len >= sizeof(address))
        return false;
    memcpy(address, text, len);
    address[len] = '\0';
    return inet_pton(v6 ? AF_INET6 : AF_INET, address, bytes) == 1;
}

static bool listener(const char *text) {
    if (strncmp(text, "unix:", 5) == 0)
        return text[5] != '\0';
    const char *colon = strrchr(text, ':');
    if (!colon || !port(colon + 1))
        return false;
    size_t len = (size_t)(colon - text);
    if (text[0] == '[')
        return len > 2 && colon[-1] == ']' && numeric_address(text + 1, len - 2, true);
    return numeric_address(text, len, false);
}

static bool http_url(const char *text) {
    size_t scheme = strncmp(text, "https://", 8) == 0 ? 8 : 7;
    return (scheme == 8 || strncmp(text, "http://", 7) == 0) && text[scheme] &&
           text[scheme] != '/' && no_space(text) && !strpbrk(text, "?#@");
}

static bool api_url(const char *text) {
    return strncmp(text, "unix:", 5) == 0 ? text[5] != '\0' : http_url(text);
}

bool config_collector_ok(const char *text) {
    return !text[0] || http_url(text);
}

#define IN_CONFIG(member) HOME_CONFIG, offsetof(struct config, member)
#define IN_ENV(member) HOME_ENV, offsetof(struct config_mongo, member)
#define IN_SERVICE(member) HOME_SERVICE, offsetof(struct config_service, member)
#define IN_MODULE(member) HOME_MODULE, offsetof(struct config_module, member)
#define AGE_MAX INT64_C(3153600000000) /* a hundred years */
#define OF_COMMANDS .kinds = KEY_OF(MODULE_COMMAND) | KEY_OF(MODULE_WARM)
#define OF_WARM .kinds = KEY_OF(MODULE_WARM) | KEY_OF(MODULE_SHARED_OBJECT)

const struct config_key config_keys[] = {
    {"default_env", KEY_WORD, IN_CONFIG(env), .fallback = "TEST", .words = config_env_words,
     .help = "The environment section in use. It also names the MongoDB collection: `dev_task` for "
             "TEST, `prod_task` for STAGE and PRODUCTION."},
    {"service", KEY_SERVICES, IN_CONFIG(services), .max = 1000, .check = service_name,
     .expect = "1 to 64 letters, digits, '_', '.' or '-'",
     .help = "The services (kinds of task) that exist, in the order that `service_task` answers. "
             "Required."},
    {"source_db.<service>.source_name", KEY_TEXT, IN_SERVICE(source_name), .fallback = "",
     .help = "The data source that a module reads; handed to it as it is."},
    {"source_db.<service>.topic_name", KEY_TEXT, IN_SERVICE(topic), .check = topic_name,
     .expect = "1 to 249 letters, digits, '_', '.' or '-'",
     .help = "Kafka topic of the service. Required with `broker: kafka`."},
    {"source_db.<service>.consumer_id", KEY_TEXT, IN_SERVICE(group), .check = not_empty,
     .expect = "text that is not empty",
     .help = "Kafka consumer group of the service. Services may share one. Required with `broker: "
             "kafka`."},
    {"max_status_task", KEY_INT, IN_CONFIG(max_status_task), 1, STATUS_IDS_MAX, "10",
     .help = "Most tasks in one `status_task` request."},
    {"mq_conf.bootstrap_servers", KEY_JOINED, IN_CONFIG(mq.bootstrap_servers), .check = server,
     .expect = "HOST:PORT", .help = "Kafka servers to begin with. Required with `broker: kafka`."},
    {"mq_conf.sasl_plain_username", KEY_TEXT, IN_CONFIG(mq.username), .fallback = "",
     .help = "Login at Kafka (SASL/PLAIN); empty: none."},
    {"mq_conf.sasl_plain_password", KEY_TEXT, IN_CONFIG(mq.password), .fallback = "", .mask = "***",
     .help =
         "Password of that login. The environment variable `SASL_PLAIN_PASSWORD` overrides it."},
    {"mq_conf.security_protocol", KEY_TEXT, IN_CONFIG(mq.security_protocol),
     .words = "PLAINTEXT|SASL_PLAINTEXT|SASL_SSL|SSL",
     .help =
         "How Kafka is spoken to. Default: `SASL_PLAINTEXT` with a username, else `PLAINTEXT`."},
    {"mq_conf.ssl_ca", KEY_PATH, IN_CONFIG(mq.ssl_ca),
     .help = "File of the certificates that Kafka's own is checked against (PEM)."},
    {"mq_conf.group_instance_id", KEY_TEXT, IN_CONFIG(mq.group_instance_id), .check = topic_name,
     .expect = "1 to 249 letters, digits, '_', '.' or '-'",
     .help = "Name of the consumer process in its groups (static membership): one that comes back "
             "within `session.timeout.ms` (then 45000 unless set) has its partitions again "
             "without a rebalance. Each process needs its own, so "
             "`longhaul-consumer --group-instance-id` may say another."},
    {"mq_conf.librdkafka", KEY_PAIRS, IN_CONFIG(mq.librdkafka), .check = not_empty,
     .expect = "text that is not empty", .mask = "***",
     .help = "Any further property of librdkafka, passed through. Values are printed as `***`."},
    {"mq_conf.create_topics.partitions", KEY_INT, IN_CONFIG(mq.partitions), 1, 10000, "1",
     .help =
         "Topics that are missing are created at start when `create_topics` stands in the file, "
         "with so many partitions. Otherwise a missing topic stops the start."},
    {"mq_conf.create_topics.replication_factor", KEY_INT, IN_CONFIG(mq.replication_factor), 1, 100,
     "1", .help = "Copies of each partition of a created topic."},
    {"<env>.MONGO_HOST", KEY_TEXT, IN_ENV(host), .fallback = "", .check = host,
     .expect = "a host name or address", .help = "MongoDB server."},
    {"<env>.MONGO_PORT", KEY_INT, IN_ENV(port), 1, 65535, "27017", .help = "Its port."},
    {"<env>.MONGO_USERNAME", KEY_TEXT, IN_ENV(username), .fallback = "",
     .help = "Login at MongoDB; empty: none."},
    {"<env>.MONGO_PASSWORD", KEY_TEXT, IN_ENV(password), .fallback = "", .mask = "***",
     .help = "Password of that login. The environment variable `MONGO_PASSWORD` overrides it."},
    {"<env>.MONGO_DBNAME", KEY_TEXT, IN_ENV(dbname), .fallback = "", .check = dbname,
     .expect = "the name of a database (at most 63 bytes)",
     .help = "Database. Default: the one that `MONGO_URI` names, else `longhaul`."},
    {"<env>.MONGO_URI", KEY_TEXT, IN_ENV(uri), .check = mongo_uri,
     .expect = "mongodb://… or mongodb+srv://…", .mask = "mongodb://***",
     .help = "Connection string; used instead of host, port, username and password. One that names "
             "a user and no password takes `MONGO_PASSWORD`."},
    {"listen", KEY_TEXT, IN_CONFIG(listen), .fallback = "127.0.0.1:8080", .check = listener,
     .expect = "ADDRESS:PORT, [ADDRESS]:PORT or unix:PATH with a numeric address",
     .help = "Where the API listens. Port 0 picks a free one; the `ready` log line names it."},
    {"store", KEY_STORE, IN_CONFIG(store), .expect = "mongodb or sqlite:FILE",
     .help =
         "`sqlite:FILE` or `mongodb`. Default: `mongodb` when the `default_env` section names a "
         "host or URI, else `sqlite:data/longhaul.db`."},
    {"broker", KEY_WORD, IN_CONFIG(broker), .words = "none|kafka",
     .help =
         "Default: `kafka` when `mq_conf` stands in the file, else `none`. With `none` consumers "
         "take tasks from the API."},
    {"api_url", KEY_TEXT, IN_CONFIG(api_url), .check = api_url,
     .expect = "http://HOST[:PORT][/PREFIX], https://… or unix:PATH",
     .help = "Where consumers and the command line find the API. Default: made of `listen`."},
    {"auth_token_file", KEY_PATH, IN_CONFIG(auth_token_file),
     .help =
         "File that holds the access token; the environment variable `AUTH_TOKEN` overrides it."},
    {"consumer_token_file", KEY_PATH, IN_CONFIG(consumer_token_file),
     .help = "File that holds the token that consumers use in place of that one, so that the file "
             "of the other need not be readable by them. `AUTH_TOKEN` overrides it, too."},
    {"tokens", KEY_TOKENS, IN_CONFIG(tokens), .expect = "a list of tokens",
     .help = "Access tokens that may do less than `AUTH_TOKEN`, each with `name`, `hash` (of "
             "`longhaul-api --make-token`), `scopes` and, where it is wanted, `services`, "
             "`expires`, `rate`, `burst` and `client_cert`: [access.md](access.md). SIGHUP has "
             "them read again."},
    {"tokens_file", KEY_PATH, IN_CONFIG(tokens_file),
     .help = "YAML file that holds that list under its key `tokens`, in place of `tokens` here."},
    {"audit", KEY_BOOL, IN_CONFIG(audit), .fallback = "true",
     .help = "Write a line for every change that somebody asks for: [access.md](access.md)."},
    {"audit_file", KEY_PATH, IN_CONFIG(audit_file),
     .help = "File that those lines are appended to. Default: they stand in the log. SIGHUP has it "
             "opened again."},
    {"consumer_spool", KEY_PATH, IN_CONFIG(consumer_spool), .fallback = "data/spool",
     .expect = "a folder",
     .help =
         "Folder in which a consumer keeps what its runs print until it is shipped, and the "
         "reports that it cannot deliver until the API has taken them. Consumers of one API "
         "may share it: what one left when it ended, another delivers. Made when it is needed."},
    {"sweep_s", KEY_SECONDS, IN_CONFIG(sweep_ms), 10, 3600000, "1",
     .help = "Seconds between two looks of the sweeper, which produces messages again that were "
             "stored and never confirmed."},
    {"lease_s", KEY_SECONDS, IN_CONFIG(lease_ms), LEASE_MIN_MS, LEASE_MAX_MS, "30",
     .help =
         "Seconds that a claim holds its task without a word from the consumer, which renews it "
         "every third of that. A lease that runs out gives the task back to the queue."},
    {"max_crashes", KEY_INT, IN_CONFIG(max_crashes), 1, 1000, "3",
     .help = "Runs of a task that may end with a lost lease; the last one makes it `failed`."},
    {"on_lost_lease", KEY_WORD, IN_CONFIG(on_lost_lease), .fallback = "keep", .words = "keep|kill",
     .help = "What becomes of a run whose lease has run out because its consumer cannot reach the "
             "API. `keep`: it goes on, and is stopped when the API says that the task has gone on "
             "without it. `kill`: its supervisor kills it when the lease ends, so that no second "
             "run of the task can begin beside it."},
    {"age_s", KEY_SECONDS, IN_CONFIG(age_ms), 0, 86400000, "600",
     .help =
         "Seconds of waiting that count as one priority more, so that no task starves. 0: never."},
    {"requeue_s", KEY_SECONDS, IN_CONFIG(requeue_ms), 0, 864000000, "86400",
     .help =
         "Seconds that a task may stay queued in Kafka before its message is produced again. 0: "
         "for ever."},
    {"kill_max_s", KEY_SECONDS, IN_CONFIG(kill_max_ms), 1000, 86400000, "60",
     .help = "Seconds that a cancelled run may be out of sight before its task becomes `failed` / "
             "`kill_unconfirmed`."},
    {"legacy_timeout_s", KEY_SECONDS, IN_CONFIG(legacy_timeout_ms), 0, 864000000, "86400",
     .help = "Seconds that a claim without `run_id` holds its task where no `timeout_s` does; then "
             "the attempt has failed. 0: for ever."},
    {"drain_s", KEY_SECONDS, IN_CONFIG(drain_ms), 0, 86400000, "30",
     .help =
         "Seconds that a consumer told to stop waits for its runs to end by themselves; then it "
         "stops them and hands their tasks back to the queue."},
    {"log_wait_s", KEY_SECONDS, IN_CONFIG(log_wait_ms), 0, 86400000, "60",
     .help = "Seconds after a run's end until a log that nobody has closed counts as complete."},
    {"legacy_http_status", KEY_BOOL, IN_CONFIG(legacy_http_status), .fallback = "false",
     .help = "Answer every authorised, well-framed request with HTTP 200, for clients written to "
             "that."},
    {"metrics_listen", KEY_TEXT, IN_CONFIG(metrics_listen), .check = listener,
     .expect = "ADDRESS:PORT, [ADDRESS]:PORT or unix:PATH with a numeric address",
     .help =
         "Where a consumer serves its `/metrics`, `/healthz` and `/readyz`; port 0 picks a free "
         "one, which the `metrics` log line names. Without it, nowhere. Each process needs its "
         "own, so `longhaul-consumer --metrics-listen` may say another. The API serves them on "
         "`listen`."},
    {"metrics_public", KEY_BOOL, IN_CONFIG(metrics_public), .fallback = "false",
     .help = "`/metrics` of the API and of consumers answers without a token."},
    {"tls.cert", KEY_PATH, IN_CONFIG(tls.cert),
     .help = "File of the API's certificate and of those that lead to its CA (PEM). With it the "
             "listener speaks TLS (1.2 at least) and nothing else. SIGHUP has the files of `tls` "
             "read again."},
    {"tls.key", KEY_PATH, IN_CONFIG(tls.key), .help = "File of its private key (PEM)."},
    {"tls.client_ca", KEY_PATH, IN_CONFIG(tls.client_ca),
     .help = "File of the CA's certificates that clients' own are checked against (PEM)."},
    {"tls.client_cert", KEY_WORD, IN_CONFIG(tls.client_cert), .fallback = "off",
     .words = "off|optional|required",
     .help = "Whether clients show a certificate. One that does not stand the check ends the "
             "connection. A token with `client_cert` is named by it."},
    {"api_tls.ca", KEY_PATH, IN_CONFIG(api_tls.ca),
     .help = "File of the CA's certificates that consumers and the command line check the API's "
             "against, where `api_url` is https:// (PEM). Default: those of the system. SIGHUP has "
             "a consumer read the files of `api_tls` again."},
    {"api_tls.cert", KEY_PATH, IN_CONFIG(api_tls.cert),
     .help = "File of the certificate that they show to the API (PEM). Default: none."},
    {"api_tls.key", KEY_PATH, IN_CONFIG(api_tls.key), .help = "File of its private key (PEM)."},
    {"retention.finished_s", KEY_AGE, IN_CONFIG(retention.finished_ms), 10, AGE_MAX, "604800",
     .help = "Seconds after which a finished task is removed, with its condition, result, runs and "
             "logs; a tombstone stays. 0: never, which is the default with `store: mongodb`."},
    {"retention.failed_s", KEY_AGE, IN_CONFIG(retention.failed_ms), 10, AGE_MAX, "2592000",
     .help = "The same for a failed task, whatever its `sub_status`. 0: never, which is the "
             "default with `store: mongodb`."},
    {"retention.tombstone_s", KEY_AGE, IN_CONFIG(retention.tombstone_ms), 86400000, AGE_MAX, "0",
     .help = "Seconds after which the tombstone of a removed task goes, and with it its "
             "idempotency key; then the task never existed. 0: never."},
    {"tracing.endpoint", KEY_TEXT, IN_CONFIG(tracing.endpoint), .fallback = "",
     .check = config_collector_ok, .expect = "empty, http://HOST[:PORT]/PATH or https://…",
     .help = "Where spans go, by OTLP over HTTP (protobuf): the whole address, as "
             "`http://127.0.0.1:4318/v1/traces`. Empty: nowhere. The environment variables "
             "`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` and, with `/v1/traces` behind it, "
             "`OTEL_EXPORTER_OTLP_ENDPOINT` override it."},
    {"tracing.ca", KEY_PATH, IN_CONFIG(tracing.ca),
     .help = "File of the CA's certificates that the collector's is checked against, where the "
             "endpoint is https:// (PEM). Default: those of the system. The environment variables "
             "`OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE` and `OTEL_EXPORTER_OTLP_CERTIFICATE` "
             "override it."},
    {"tracing.sample", KEY_SHARE, IN_CONFIG(tracing.sample), 0, 1000, "1",
     .help = "Share of the `create_task` calls without `traceparent` that begin a trace, where "
             "there is an endpoint. A `traceparent` says by itself whether its trace is sampled."},
    {"tracing.service_name", KEY_TEXT, IN_CONFIG(tracing.service_name), .fallback = "",
     .help = "`service.name` of the spans; empty: `longhaul-api`, `longhaul-consumer`. The "
             "environment variable `OTEL_SERVICE_NAME` overrides it."},
    {"limits.body_kb", KEY_KB, IN_CONFIG(limits.body_bytes), 1, 65536, "1024",
     .help = "Largest request body in KiB; larger is answered 413."},
    {"limits.result_kb", KEY_KB, IN_CONFIG(limits.result_bytes), 1, 15360, "1024",
     .help =
         "Largest result of a task in KiB. It travels in a request body, which `body_kb` limits."},
    {"limits.log_kb", KEY_KB, IN_CONFIG(limits.log_bytes), 16, 1048576, "10240",
     .help = "How much is kept of what a run prints on stdout, and as much of stderr, in KiB: the "
             "first half of that and the last half."},
    {"limits.connections", KEY_INT, IN_CONFIG(limits.connections), 1, 1000000, "10000",
     .help = "Most connections at once; more wait in the kernel's queue."},
    {"limits.watchers", KEY_INT, IN_CONFIG(limits.watchers), 1, 1000000, "1000",
     .help = "Most streams of `/api/watch` at once; more are answered 503."},
    {"limits.watch_kb", KEY_KB, IN_CONFIG(limits.watch_bytes), 16, 65536, "256",
     .help =
         "How much is queued for a reader of `/api/watch` that does not keep up, in KiB; beyond "
         "it gets the newest event of each task, or a `gap`."},
    {"limits.status_cache_kb", KEY_KB, IN_CONFIG(limits.status_cache_bytes), 0, 1048576, "16384",
     .help =
         "How much memory the API may use to answer `status_task` for tasks that were asked for "
         "lately, in KiB, about 0.4 for each task; it is taken as it is needed. 0: the store is "
         "asked every time, as it is with `store: mongodb`, where other processes write."},
    {"limits.waiting_per_service", KEY_COUNT, IN_CONFIG(limits.waiting_per_service), 0,
     1000000000000, "0",
     .help = "Most waiting tasks of a service; create is answered 429 beyond. 0: no limit."},
    {"limits.header_s", KEY_SECONDS, IN_CONFIG(limits.header_ms), 100, 3600000, "10",
     .help = "Seconds that a client may take to send a request's header."},
    {"limits.body_s", KEY_SECONDS, IN_CONFIG(limits.body_ms), 100, 3600000, "30",
     .help = "Seconds that it may take to send the body."},
    {"limits.idle_s", KEY_SECONDS, IN_CONFIG(limits.idle_ms), 100, 86400000, "75",
     .help = "Seconds that a connection may stay open between two requests."},
    {"module.<service>.kind", KEY_WORD, IN_MODULE(kind), .fallback = "command",
     .words = config_kind_words,
     .help = "How the consumer runs the service: `command` is one process per task, `warm` a "
             "process that stays and is given one task after the other, `shared_object` a `.so` "
             "that is loaded into such a process."},
    {"module.<service>.command", KEY_ARGV, IN_MODULE(command), .check = not_empty,
     .expect = "text that is not empty", OF_COMMANDS,
     .help = "Program and arguments, run without a shell. A relative program path with a slash is "
             "relative to the configuration file; so is an argument with a slash that names an "
             "existing file there. Required with the kinds `command` and `warm`."},
    {"module.<service>.object", KEY_PATH, IN_MODULE(object), .kinds = KEY_OF(MODULE_SHARED_OBJECT),
     .help = "The shared object's file. Required with the kind `shared_object`."},
    {"module.<service>.max_tasks", KEY_INT, IN_MODULE(max_tasks), 0, 1000000000, "0", OF_WARM,
     .help = "Tasks that one process is given; then a new one takes its place. 0: no limit. For "
             "the kinds `warm` and `shared_object`."},
    {"module.<service>.max_rss_mb", KEY_INT, IN_MODULE(max_rss_mb), 0, 1048576, "0", OF_WARM,
     .help = "Resident memory in MiB of the process and all that it has started; with more at the "
             "end of a task a new process takes its place. 0: no limit. For the kinds `warm` and "
             "`shared_object`."},
    {"module.<service>.idle_s", KEY_SECONDS, IN_MODULE(idle_ms), 0, 86400000, "0", OF_WARM,
     .help = "Seconds without a task after which the process is ended; the next task starts one. "
             "0: it stays. For the kinds `warm` and `shared_object`."},
    {"module.<service>.slots", KEY_INT, IN_MODULE(slots), 1, 1000, "1",
     .help = "Tasks of the service that one consumer runs at a time."},
    {"module.<service>.order", KEY_WORD, IN_MODULE(order), .fallback = "queue",
     .words = "queue|priority",
     .help = "With Kafka: `queue`: each message claims its own task, so tasks begin in the topic's "
             "order. `priority`: each message makes the consumer ask for the service's best task."},
    {"module.<service>.legacy", KEY_BOOL, IN_MODULE(legacy), .fallback = "false",
     .help = "With Kafka: modules of the base contract are in the service's consumer group. Then a "
             "task is claimed by its own message only: `order: priority`, and taking work that "
             "waits in others' partitions, are off."},
    {"module.<service>.max_attempts", KEY_INT, IN_MODULE(max_attempts), 1, 1000, "1",
     .help = "Attempts of a task whose creator names no number of its own."},
    {"module.<service>.retry.kind", KEY_WORD, IN_MODULE(retry_kind), .fallback = "exponential",
     .words = "exponential|fixed",
     .help =
         "How long such a task waits after a failed attempt: twice as long each time, or always "
         "the same."},
    {"module.<service>.retry.base_s", KEY_SECONDS, IN_MODULE(retry_base_ms), 0, 864000000, "5",
     .help = "Seconds of the first wait."},
    {"module.<service>.retry.max_s", KEY_SECONDS, IN_MODULE(retry_max_ms), 0, 864000000, "600",
     .help = "Longest wait in seconds."},
    {"module.<service>.retry.jitter", KEY_SHARE, IN_MODULE(retry_jitter), 0, 1000, "0.2",
     .help = "Share by which a wait is longer or shorter, so that tasks do not come back in step."},
    {"module.<service>.env", KEY_PAIRS, IN_MODULE(env), .mask = "***",
     .help = "Environment variables of the module, a map. Values are printed as `***`."},
    {"module.<service>.timeout_s", KEY_SECONDS, IN_MODULE(timeout_ms), 0, 864000000, "0",
     .help =
         "Seconds that an attempt may take, for tasks that do not say it themselves. Then it is "
         "ended and has failed with sub_status `timeout`. 0: no limit."},
    {"module.<service>.memory_mb", KEY_INT, IN_MODULE(memory_mb), 0, 16777216, "0",
     .help = "MiB of memory that all processes of a run may use together. More ends the run, with "
             "sub_status `limit`, as do the limits below. 0: no limit."},
    {"module.<service>.nproc", KEY_INT, IN_MODULE(nproc), 0, 4194304, "0",
     .help = "Processes and threads that a run may have at a time. 0: no limit."},
    {"module.<service>.nofile", KEY_INT, IN_MODULE(nofile), 0, 1048576, "0",
     .help = "Files that each process of a run may have open; the system refuses it more. 0: as "
             "many as the consumer may."},
    {"module.<service>.user", KEY_TEXT, IN_MODULE(user), .check = not_empty,
     .expect = "text that is not empty",
     .help = "User that the module runs as, in its group alone and with its folder as `HOME`. The "
             "consumer has to run as root. Default: the consumer's own."},
    {"module.<service>.group", KEY_TEXT, IN_MODULE(group), .check = not_empty,
     .expect = "text that is not empty",
     .help = "Group that the module runs in, in place of the user's. The consumer has to run as "
             "root."},
    {"module.<service>.no_new_privileges", KEY_BOOL, IN_MODULE(no_new_privileges),
     .fallback = "true",
     .help = "No program that the module starts gets more rights than the module has: setuid and "
             "file capabilities mean nothing to it (sudo does not work)."},
    {"module.<service>.private_tmp", KEY_BOOL, IN_MODULE(private_tmp), .fallback = "false",
     .help = "The module has a `/tmp` and a `/var/tmp` of its own, empty for each process and gone "
             "with it. The consumer needs CAP_SYS_ADMIN, which root has."},
    {"module.<service>.output_kb", KEY_KB, IN_MODULE(output_bytes), 0, 1073741824, "0",
     .help = "KiB that a run may write to stdout and stderr together. 0: no limit."},
};
const size_t n_config_keys = LH_COUNT(config_keys);

/* Field i of a text whose fields are separated by one character. */
static const char *field(const char *text, char separator, size_t i, size_t *ret_len) {
    for (; i; i--) {
        text = strchr(text, separator);
        if (!text)
            return NULL;
        text++;
    }
    const char *end = strchrnul(text, separator);
    *ret_len = (size_t)(end - text);
    return text;
}

const char *config_word(const char *words, size_t i, size_t *ret_len) {
    return field(words, '|', i, ret_len);
}

const char *config_pattern_segment(const char *pattern, size_t i, size_t *ret_len) {
    return field(pattern, '.', i, ret_len);
}

static bool word_known(const char *words, const char *text) {
    size_t len;
    const char *word;
    for (size_t i = 0; (word = config_word(words, i, &len)); i++)
        if (strlen(text) == len && memcmp(word, text, len) == 0)
            return true;
    return false;
}

static bool segment_match(const char *segment, size_t len, const char *text) {
    if (len == 9 && memcmp(segment, "<service>", 9) == 0)
        return true;
    if (len == 5 && memcmp(segment, "<env>", 5) == 0)
        return word_known(config_env_words, text);
    return strlen(text) == len && memcmp(segment, text, len) == 0;
}

enum place_match config_place_match(const struct config_place *place, const char *pattern) {
    size_t len;
    for (size_t i = 0; i < place->n; i++) {
        const char *segment = config_pattern_segment(pattern, i, &len);
        if (!segment || !segment_match(segment, len, place->seg[i]))
            return PLACE_NONE;
    }
    return config_pattern_segment(pattern, place->n, &len) ? PLACE_PREFIX : PLACE_EXACT;
}

bool config_key_applies(const struct config_key *key, const struct config_module *module) {
    return !key->kinds || key->kinds & KEY_OF(module->kind);
}

/* "A, B or C". */
static void words_expect(const char *words, struct buf *to) {
    size_t len, next_len;
    const char *word;
    for (size_t i = 0; (word = config_word(words, i, &len)); i++) {
        if (i)
            buf_str(to, config_word(words, i + 1, &next_len) ? ", " : " or ");
        buf_append(to, word, len);
    }
}

static void number_expect(const struct config_key *key, struct buf *to) {
    static const char *const whats[] = {
        [KEY_SECONDS] = "seconds", [KEY_AGE] = "0, or seconds", [KEY_SHARE] = "a number"};
    const char *what = key->type <= KEY_SHARE ? whats[key->type] : NULL;
    if (what)
        buf_printf(to, "%s from %.10g to %.10g", what, (double)key->min / 1000.0,
                   (double)key->max / 1000.0);
    else
        buf_printf(to, "an integer from %" PRId64 " to %" PRId64, key->min, key->max);
}

static void list_expect(const struct config_key *key, struct buf *to) {
    buf_str(to, "a list");
    if (key->type == KEY_SERVICES)
        buf_printf(to, " of 1 to %" PRId64 " names", key->max);
    if (key->expect)
        buf_printf(to, ", each %s", key->expect);
}

void config_key_expect(const struct config_key *key, struct buf *to) {
    switch (key->type) {
    case KEY_INT:
    case KEY_COUNT:
    case KEY_KB:
    case KEY_SECONDS:
    case KEY_AGE:
    case KEY_SHARE:
        number_expect(key, to);
        break;
    case KEY_BOOL:
        buf_str(to, "true or false");
        break;
    case KEY_ARGV:
    case KEY_JOINED:
    case KEY_SERVICES:
        list_expect(key, to);
        break;
    case KEY_PAIRS:
        buf_str(to, "a map of names to texts");
        break;
    default:
        if (key->words)
            words_expect(key->words, to);
        else
            buf_str(to, key->expect ? key->expect : key->type == KEY_PATH ? "a file" : "text");
    }
}
