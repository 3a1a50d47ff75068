/* heartbeat.c: one beat at a time: all its calls are answered before the next is due. */
#include "consumer/report/heartbeat.h"

#include "base/clock.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/mem.h"
#include "consumer/backoff.h"
#include "consumer/metrics_table.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

enum {
    IDLE_MS = 10000,       /* longest time between two beats */
    SOON_MS = 1000,        /* shortest, however many runs start */
    TIMEOUT_MIN_MS = 1000, /* of a call whose lease is very short */
    WORKER_MAX_BYTES = 128 << 10,
    BODY_MAX_BYTES = 4 << 20,
    RUN_MAX_BYTES = 128, /* in a body, all but the task's id and its progress */
    GRACE_MS = 10000,    /* of a cancel that names none */
    GRACE_MAX_MS = 86400000,
};

/* One call: up to HEARTBEAT_MAX_RUNS runs of a beat. */
struct pulse {
    LIST_ENTRY(pulse) entry;
    struct heartbeat *heartbeat;
    struct api_call *call;
    struct buf body;
    struct buf run_ids; /* in the order of the body, UUID_CAP bytes each */
    size_t n;
};

struct heartbeat {
    struct heartbeat_options options;
    struct buf worker; /* JSON */
    struct event *due;
    int64_t due_ms, sent_ms;  /* clock_mono_ms() */
    struct pulse *open;       /* being filled */
    LIST_HEAD(, pulse) calls; /* that are out */
    size_t n_runs;            /* in the last beat */
    bool failed;              /* a call of it was not answered well */
    bool soon;                /* a run has started since */
    enum rc last;             /* what the last call came to, to log a refusal once */
    struct backoff backoff;
};

/* --- when --- */

static int interval_ms(const struct heartbeat *heartbeat) {
    int third = heartbeat->options.lease_ms / 3;
    return heartbeat->n_runs > 0 && third < IDLE_MS ? third : IDLE_MS;
}

static void set_due(struct heartbeat *heartbeat, int64_t at_ms) {
    int64_t wait_ms = at_ms - clock_mono_ms();
    if (wait_ms < 0)
        wait_ms = 0;
    struct timeval wait = {wait_ms / 1000, wait_ms % 1000 * 1000};
    heartbeat->due_ms = at_ms;
    event_add(heartbeat->due, &wait);
}

/* The earliest time for a run that has just started. */
static int64_t soon_at(const struct heartbeat *heartbeat) {
    int third = heartbeat->options.lease_ms / 3;
    return heartbeat->sent_ms + (third < SOON_MS ? third : SOON_MS);
}

static void plan_next(struct heartbeat *heartbeat) {
    int64_t at_ms = heartbeat->sent_ms + interval_ms(heartbeat);
    if (heartbeat->failed) {
        struct timeval wait = backoff_next(&heartbeat->backoff);
        int64_t again_ms = clock_mono_ms() + wait.tv_sec * 1000 + wait.tv_usec / 1000;
        int64_t latest_ms = clock_mono_ms() + interval_ms(heartbeat);
        at_ms = again_ms < latest_ms ? again_ms : latest_ms;
    } else {
        backoff_reset(&heartbeat->backoff);
    }
    if (heartbeat->soon && soon_at(heartbeat) < at_ms)
        at_ms = soon_at(heartbeat);
    set_due(heartbeat, at_ms);
}

void heartbeat_soon(struct heartbeat *heartbeat) {
    heartbeat->soon = true;
    if (LIST_EMPTY(&heartbeat->calls) && soon_at(heartbeat) < heartbeat->due_ms)
        set_due(heartbeat, soon_at(heartbeat));
}

/* --- answers --- */

static void pulse_destroy(struct pulse *pulse) {
    if (!pulse)
        return;
    api_cancel(pulse->call);
    buf_finish(&pulse->body);
    buf_finish(&pulse->run_ids);
    free(pulse);
}

static int grace_ms(const json_t *item) {
    const json_t *grace = json_object_get(item, "grace_s");
    double ms = json_is_number(grace) ? json_number_value(grace) * 1000 : GRACE_MS;
    return ms <= 0 ? 0 : ms < GRACE_MAX_MS ? (int)ms : GRACE_MAX_MS;
}

static void take_renewal(struct pulse *pulse, const char *run_id, const json_t *item) {
    const struct heartbeat_options *options = &pulse->heartbeat->options;
    options->renewed(run_id, pulse->heartbeat->sent_ms + options->lease_ms, options->arg);
    if (json_is_true(json_object_get(item, "cancel")))
        options->cancel(run_id, grace_ms(item), options->arg);
}

/* The order to stop is a refusal of the run itself, or a cancel; any other refusal may pass. */
static void take_item(struct pulse *pulse, size_t i, const json_t *item) {
    const struct heartbeat_options *options = &pulse->heartbeat->options;
    const char *run_id = pulse->run_ids.data + i * UUID_CAP;
    const char *code = json_string_value(json_object_get(item, "code"));
    const char *message = json_string_value(json_object_get(item, "message"));
    enum rc rc = code ? rc_from_word(code) : RC_OK;
    if (rc == RC_OK)
        take_renewal(pulse, run_id, item);
    else if (rc == RC_STALE_RUN || rc == RC_UNKNOWN_TASK || rc == RC_TASK_REMOVED ||
             rc == RC_FORBIDDEN)
        options->lost(run_id, rc, message ? message : code, options->arg);
}

static void take_items(struct pulse *pulse, const json_t *items) {
    size_t n = json_array_size(items);
    for (size_t i = 0; i < n && i < pulse->n; i++)
        take_item(pulse, i, json_array_get(items, i));
}

static void heartbeat_fail(struct heartbeat *heartbeat) {
    heartbeat->failed = true;
    metrics_add(heartbeat->options.metrics, METRIC_HEARTBEAT_FAILURES, 0, 1);
}

static void on_answer(const struct api_answer *answer, void *arg) {
    struct pulse *pulse = arg;
    struct heartbeat *heartbeat = pulse->heartbeat;
    pulse->call = NULL;
    LIST_REMOVE(pulse, entry);
    if (answer->rc == RC_OK)
        take_items(pulse, json_object_get(answer->answer, "data"));
    else
        heartbeat_fail(heartbeat);
    if (answer->rc != RC_OK && !answer->outage && answer->rc != heartbeat->last)
        log_error(.msg = "heartbeat refused", .code = rc_info(answer->rc)->word,
                  .error = answer->text);
    heartbeat->last = answer->rc;
    pulse_destroy(pulse);
    if (LIST_EMPTY(&heartbeat->calls))
        plan_next(heartbeat);
}

/* --- beats --- */

static bool pulse_open(struct heartbeat *heartbeat) {
    struct pulse *pulse = calloc(1, sizeof *pulse);
    if (!pulse)
        return false;
    pulse->heartbeat = heartbeat;
    buf_init(&pulse->body, BODY_MAX_BYTES);
    buf_init(&pulse->run_ids, HEARTBEAT_MAX_RUNS * UUID_CAP);
    buf_str(&pulse->body, "{\"data\":[");
    heartbeat->open = pulse;
    return true;
}

static int call_timeout_ms(const struct heartbeat *heartbeat) {
    int ms = interval_ms(heartbeat);
    return ms < TIMEOUT_MIN_MS ? TIMEOUT_MIN_MS : ms;
}

static void pulse_send(struct heartbeat *heartbeat) {
    struct pulse *pulse = TAKE(heartbeat->open);
    buf_str(&pulse->body, "],\"worker\":");
    buf_append(&pulse->body, heartbeat->worker.data, heartbeat->worker.len);
    buf_char(&pulse->body, '}');
    if (buf_rc(&pulse->body) == RC_OK && buf_rc(&pulse->run_ids) == RC_OK)
        pulse->call = api_post(heartbeat->options.api, "/api/heartbeat_task", pulse->body.data,
                               pulse->body.len, call_timeout_ms(heartbeat), on_answer, pulse);
    if (!pulse->call) {
        heartbeat_fail(heartbeat);
        pulse_destroy(pulse);
        return;
    }
    LIST_INSERT_HEAD(&heartbeat->calls, pulse, entry);
}

/* One run more might be more than the API takes in one call. */
static bool pulse_full(const struct heartbeat *heartbeat, size_t texts) {
    const struct pulse *pulse = heartbeat->open;
    size_t len = pulse->body.len + texts + RUN_MAX_BYTES + heartbeat->worker.len;
    return pulse->n == HEARTBEAT_MAX_RUNS ||
           (pulse->n > 0 && (int64_t)len > heartbeat->options.body_max);
}

void heartbeat_add(struct heartbeat *heartbeat, const char *task_id, const char *run_id,
                   const char *progress) {
    heartbeat->n_runs++;
    if (heartbeat->open &&
        pulse_full(heartbeat, strlen(task_id) + (progress ? strlen(progress) : 0)))
        pulse_send(heartbeat);
    if (!heartbeat->open && !pulse_open(heartbeat)) {
        heartbeat_fail(heartbeat);
        return;
    }
    struct pulse *pulse = heartbeat->open;
    char id[UUID_CAP] = "";
    mem_copy_str(id, sizeof id, run_id);
    buf_append(&pulse->run_ids, id, sizeof id);
    buf_str(&pulse->body, pulse->n++ > 0 ? ",{\"task_id\":" : "{\"task_id\":");
    buf_json_str(&pulse->body, task_id);
    buf_printf(&pulse->body, ",\"run_id\":\"%s\"", id);
    if (progress) {
        buf_str(&pulse->body, ",\"progress\":");
        buf_str(&pulse->body, progress);
    }
    buf_char(&pulse->body, '}');
}

static void on_due(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct heartbeat *heartbeat = arg;
    heartbeat->sent_ms = clock_mono_ms();
    heartbeat->n_runs = 0;
    heartbeat->failed = heartbeat->soon = false;
    if (pulse_open(heartbeat)) {
        heartbeat->options.list(heartbeat, heartbeat->options.arg);
        if (heartbeat->open)
            pulse_send(heartbeat);
    } else {
        heartbeat_fail(heartbeat);
    }
    if (LIST_EMPTY(&heartbeat->calls))
        plan_next(heartbeat);
}

/* --- birth --- */

/* Host, process and chance: no two consumers are the same, also in containers. */
static void put_worker_id(struct buf *to, const char *host) {
    char uuid[UUID_CAP];
    char id[HOST_NAME_MAX + 64];
    uuid_make(uuid);
    snprintf(id, sizeof id, "%.*s-%ld-%s", 64, host, (long)getpid(), strrchr(uuid, '-') + 1);
    buf_json_str(to, id);
}

static enum rc describe(struct heartbeat *heartbeat) {
    const struct heartbeat_options *options = &heartbeat->options;
    struct buf *to = &heartbeat->worker;
    char host[HOST_NAME_MAX + 1] = "";
    if (gethostname(host, sizeof host - 1) != 0 || !host[0])
        mem_copy_str(host, sizeof host, "unknown");
    buf_init(to, WORKER_MAX_BYTES);
    buf_str(to, "{\"id\":");
    put_worker_id(to, host);
    buf_str(to, ",\"host\":");
    buf_json_str(to, host);
    buf_printf(to, ",\"pid\":%ld,\"services\":[", (long)getpid());
    for (size_t i = 0; i < options->n_services; i++) {
        buf_str(to, i > 0 ? "," : "");
        buf_json_str(to, options->services[i]->name);
    }
    buf_printf(to, "],\"slots\":%zu}", options->slots);
    return buf_rc(to);
}

enum rc heartbeat_create(const struct heartbeat_options *options, struct heartbeat **ret,
                         struct error *err) {
    struct heartbeat *heartbeat = calloc(1, sizeof *heartbeat);
    if (!heartbeat)
        return error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
    heartbeat->options = *options;
    heartbeat->due = event_new(options->base, -1, 0, on_due, heartbeat);
    if (!heartbeat->due || describe(heartbeat) != RC_OK) {
        heartbeat_destroy(heartbeat);
        return error_set(err, RC_NO_MEMORY, "%s", rc_info(RC_NO_MEMORY)->text);
    }
    set_due(heartbeat, 0);
    *ret = heartbeat;
    return RC_OK;
}

void heartbeat_destroy(struct heartbeat *heartbeat) {
    if (!heartbeat)
        return;
    struct pulse *pulse;
    while ((pulse = LIST_FIRST(&heartbeat->calls))) {
        LIST_REMOVE(pulse, entry);
        pulse_destroy(pulse);
    }
    if (heartbeat->due)
        event_free(heartbeat->due);
    buf_finish(&heartbeat->worker);
    free(heartbeat);
}
