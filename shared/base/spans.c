/* spans.c: the queue of spans and the call that takes them. */
#include "base/spans.h"

#include "base/clock.h"
#include "base/http_client.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/tls.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    WAITING_MAX_BYTES = 1 << 20,
    SEND_MS = 1000,
    RETRY_MAX_MS = 30000,
    CALL_TIMEOUT_MS = 10000,
    ANSWER_MAX_BYTES = 65536,
    WARN_EVERY_MS = 60000,
};

struct spans {
    struct spans_options options;
    char *endpoint, *service_name;
    const char *path; /* after the endpoint, which has one of its own or not */
    struct http_client *client;
    struct http_call *call; /* NULL: none is out */
    struct event *send;     /* pending: until the next call */
    struct buf waiting;     /* spans as entries of a request */
    int64_t n_waiting;
    struct buf out; /* what the call, or its next try, brings; empty: nothing */
    int64_t n_out;
    int retry_ms;
    int64_t n_dropped;       /* since that was logged */
    int64_t warned_at;       /* clock_mono_ms(); 0: all is well, as the log has it */
    int64_t unix_offset_us;  /* of clock_mono_us() */
    struct event *flush_end; /* while the loop runs for spans_flush() */
    bool flushing;
};

/* --- time --- */

/* The wall clock may have been set: looked at with every batch, so that the spans of one agree. */
static void set_offset(struct spans *spans) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    spans->unix_offset_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000 - clock_mono_us();
}

int64_t spans_unix_us(const struct spans *spans, int64_t mono_us) {
    return mono_us + spans->unix_offset_us;
}

/* --- calls --- */

static void send_in(struct spans *spans, int ms) {
    struct timeval wait = {ms / 1000, ms % 1000 * 1000};
    event_add(spans->send, &wait);
}

/* Once, and again after a while: a collector that is away costs no more than that. */
static void warn(struct spans *spans, const char *why) {
    int64_t now = clock_mono_ms();
    if (spans->warned_at && now - spans->warned_at < WARN_EVERY_MS)
        return;
    log_warning(.msg = "spans are not delivered", .address = spans->endpoint, .error = why,
                .count = spans->n_dropped);
    spans->warned_at = now;
    spans->n_dropped = 0;
}

static void delivered(struct spans *spans) {
    if (spans->warned_at)
        log_info(.msg = "spans are delivered again", .address = spans->endpoint,
                 .count = spans->n_dropped);
    spans->warned_at = spans->n_dropped = 0;
    spans->retry_ms = 0;
    buf_clear(&spans->out);
}

/* The collector will not take these spans at any time. */
static void refused(struct spans *spans, int status) {
    char why[64];
    snprintf(why, sizeof why, "HTTP %d", status);
    spans->n_dropped += spans->n_out;
    buf_clear(&spans->out);
    warn(spans, why);
}

static void try_again(struct spans *spans, const char *why) {
    int ms = spans->retry_ms ? spans->retry_ms * 2 : SEND_MS;
    spans->retry_ms = ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS;
    warn(spans, why);
}

/* As OTLP says which answers mean "later". */
static bool is_later(int status) {
    return status == 429 || status == 502 || status == 503 || status == 504;
}

static void on_answer(const struct http_answer *answer, void *arg) {
    struct spans *spans = arg;
    char why[64];
    spans->call = NULL;
    snprintf(why, sizeof why, "HTTP %d", answer->status);
    if (answer->rc != RC_OK)
        try_again(spans, answer->text);
    else if (answer->status >= 200 && answer->status < 300)
        delivered(spans);
    else if (is_later(answer->status))
        try_again(spans, why);
    else
        refused(spans, answer->status);
    if (spans->flushing && (spans->retry_ms || spans->waiting.len == 0))
        event_base_loopbreak(spans->options.base);
    else if (spans->out.len || spans->waiting.len)
        send_in(spans, spans->flushing ? 0 : spans->retry_ms ? spans->retry_ms : SEND_MS);
}

/* Puts what the request needs around the spans that wait. */
static void fill(struct spans *spans) {
    char host[256] = "", pid[24];
    (void)gethostname(host, sizeof host - 1);
    snprintf(pid, sizeof pid, "%s-%ld", host, (long)getpid());
    const struct span_attribute resource[] = {
        {.name = "service.name", .text = spans->service_name},
        {.name = "service.version", .text = spans->options.version},
        {.name = "service.instance.id", .text = pid},
        {.name = "host.name", .text = host},
        {.name = "process.pid", .number = getpid()},
    };
    otlp_put_request(resource, LH_COUNT(resource), spans->options.scope, spans->options.version,
                     &spans->waiting, &spans->out);
    spans->n_out = spans->n_waiting;
    if (buf_rc(&spans->out) != RC_OK) {
        spans->n_dropped += spans->n_out;
        buf_clear(&spans->out);
    }
    buf_clear(&spans->waiting);
    spans->n_waiting = 0;
}

static void on_send(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct spans *spans = arg;
    static const struct http_field fields[] = {{"Content-Type", "application/x-protobuf"}};
    set_offset(spans);
    if (spans->call)
        return;
    if (spans->out.len == 0)
        fill(spans);
    struct http_call_options options = {.method = "POST",
                                        .path = spans->path,
                                        .fields = fields,
                                        .n_fields = LH_COUNT(fields),
                                        .body = spans->out.data,
                                        .len = spans->out.len,
                                        .timeout_ms = CALL_TIMEOUT_MS};
    if (spans->out.len > 0)
        spans->call = http_call_start(spans->client, &options, on_answer, spans);
    if (spans->out.len > 0 && !spans->call) {
        try_again(spans, "out of memory");
        send_in(spans, spans->retry_ms);
    }
}

void spans_add(struct spans *spans, const struct span *span) {
    if (!spans)
        return;
    size_t before = spans->waiting.len;
    otlp_put_span(span, &spans->waiting);
    if (buf_rc(&spans->waiting) != RC_OK) { /* what did fit of it goes again */
        spans->waiting.len = before;
        spans->waiting.rc = RC_OK;
        spans->n_dropped++;
        return;
    }
    spans->n_waiting++;
    bool resting = spans->call || spans->retry_ms;
    if (!resting && spans->waiting.len > WAITING_MAX_BYTES / 2)
        send_in(spans, 0);
    else if (!resting && !event_pending(spans->send, EV_TIMEOUT, NULL))
        send_in(spans, SEND_MS);
}

/* --- birth and death --- */

static void on_flush_end(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct spans *spans = arg;
    event_base_loopbreak(spans->options.base);
}

void spans_flush(struct spans *spans, int max_ms) {
    if (!spans || (!spans->call && spans->out.len == 0 && spans->waiting.len == 0))
        return;
    struct timeval wait = {max_ms / 1000, max_ms % 1000 * 1000};
    spans->flushing = true;
    spans->retry_ms = 0;
    if (!spans->call)
        send_in(spans, 0);
    event_add(spans->flush_end, &wait);
    event_base_dispatch(spans->options.base);
    event_del(spans->flush_end);
    int64_t left = spans->n_waiting + (spans->out.len ? spans->n_out : 0);
    if (left > 0)
        log_warning(.msg = "spans are lost", .address = spans->endpoint,
                    .count = left + spans->n_dropped);
}

static bool build(struct spans *spans, const struct spans_options *options) {
    spans->options = *options;
    buf_init(&spans->waiting, WAITING_MAX_BYTES);
    buf_init(&spans->out, 2 * WAITING_MAX_BYTES);
    spans->endpoint = strdup(options->endpoint);
    spans->service_name = strdup(options->service_name[0] ? options->service_name : options->scope);
    spans->send = event_new(options->base, -1, 0, on_send, spans);
    spans->flush_end = event_new(options->base, -1, 0, on_flush_end, spans);
    const char *authority = strstr(options->endpoint, "://");
    const char *slash = authority ? strchr(authority + 3, '/') : NULL;
    spans->path = slash && slash[1] ? "" : "/";
    set_offset(spans);
    return spans->endpoint && spans->service_name && spans->send && spans->flush_end;
}

enum rc spans_create(const struct spans_options *options, struct spans **ret, struct error *err) {
    struct spans *spans = calloc(1, sizeof *spans);
    if (!spans)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    const struct tls_options tls = {.ca = options->ca};
    struct http_client_options client = {
        .url = options->endpoint, .tls = &tls, .answer_max_bytes = ANSWER_MAX_BYTES, .idle_max = 1};
    enum rc rc = build(spans, options)
                     ? http_client_create(options->base, &client, &spans->client, err)
                     : error_set(err, RC_NO_MEMORY, "out of memory");
    if (rc == RC_OK) {
        *ret = spans;
        return RC_OK;
    }
    spans_destroy(spans);
    if (rc == RC_INVALID_PARAMETER && err)
        err->rc = RC_CONFIG;
    return rc == RC_INVALID_PARAMETER ? RC_CONFIG : rc;
}

enum rc spans_reload_tls(struct spans *spans, struct error *err) {
    if (!spans)
        return RC_OK;
    const struct tls_options tls = {.ca = spans->options.ca};
    return http_client_reload_tls(spans->client, &tls, err);
}

void spans_destroy(struct spans *spans) {
    if (!spans)
        return;
    http_call_cancel(spans->call);
    http_client_destroy(spans->client);
    if (spans->send)
        event_free(spans->send);
    if (spans->flush_end)
        event_free(spans->flush_end);
    buf_finish(&spans->waiting);
    buf_finish(&spans->out);
    free(spans->endpoint);
    free(spans->service_name);
    free(spans);
}
