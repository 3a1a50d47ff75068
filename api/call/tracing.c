/* tracing.c: which spans the API keeps, and what they say. */
#include "api/call/tracing.h"

#include "api/meter/op_news.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/mem.h"
#include "base/spans.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_CAP = 300, FLUSH_MAX_MS = 2000 };

struct tracing {
    const struct api *api;
    struct spans *spans;
};

enum rc tracing_create(const struct api *api, struct tracing **ret, struct error *err) {
    const struct config_tracing *cfg = &api->cfg->tracing;
    if (!cfg->endpoint[0])
        return RC_OK;
    struct tracing *tracing = calloc(1, sizeof *tracing);
    if (!tracing)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    tracing->api = api;
    struct spans_options options = {.base = api->base,
                                    .endpoint = cfg->endpoint,
                                    .ca = cfg->ca,
                                    .service_name = cfg->service_name,
                                    .scope = "longhaul-api",
                                    .version = LH_VERSION};
    enum rc rc = spans_create(&options, &tracing->spans, err);
    if (rc == RC_OK)
        *ret = tracing;
    else
        tracing_destroy(tracing);
    return rc;
}

enum rc tracing_reload_tls(struct tracing *tracing, struct error *err) {
    return tracing ? spans_reload_tls(tracing->spans, err) : RC_OK;
}

/* --- requests --- */

static bool by_chance(int permille) {
    uint32_t chance;
    random_bytes(&chance, sizeof chance);
    return chance % 1000 < (uint32_t)permille;
}

/* Consumers ask all the time: a create alone begins a trace by itself. */
static bool begins_trace(const struct tracing *tracing, const struct call *call) {
    return strcmp(http_req_path(call->req), "/api/create_task") == 0 &&
           by_chance(tracing->api->cfg->tracing.sample);
}

void tracing_begin(struct tracing *tracing, struct call *call) {
    struct call_span *span = &call->span;
    if (!tracing)
        return;
    memcpy(span->parent, call->traceparent, sizeof span->parent);
    if (span->parent[0] && traceparent_sampled(span->parent))
        traceparent_child(span->parent, call->traceparent);
    else if (!span->parent[0] && begins_trace(tracing, call))
        traceparent_make(call->traceparent);
    else
        return;
    span->kept = true;
    span->began_us = clock_mono_us();
}

static const char *store_name(const struct tracing *tracing) {
    return tracing->api->cfg->store == STORE_SQLITE ? "sqlite" : "mongodb";
}

void tracing_commit(struct tracing *tracing, const struct call *call, const struct op *op) {
    char own[TRACEPARENT_CAP];
    if (!tracing || !call->span.kept || !op->commit_began_us)
        return;
    const struct span_attribute attributes[] = {
        {.name = "db.system.name", .text = store_name(tracing)},
        {.name = "longhaul.op", .text = op_kind_name(op->kind)},
        {.name = "longhaul.tasks", .number = (int64_t)op->n_tasks},
    };
    traceparent_child(call->traceparent, own);
    struct span span = {.traceparent = own,
                        .parent = call->traceparent,
                        .name = "commit",
                        .kind = SPAN_INTERNAL,
                        .began_us = spans_unix_us(tracing->spans, op->commit_began_us),
                        .ended_us = spans_unix_us(tracing->spans, op->commit_ended_us),
                        .error = rc_info(op->rc)->http >= 500 ? rc_info(op->rc)->word : NULL,
                        .attributes = attributes,
                        .n_attributes = LH_COUNT(attributes)};
    spans_add(tracing->spans, &span);
}

void tracing_end(struct tracing *tracing, const struct call *call) {
    char name[NAME_CAP];
    if (!tracing || !call->span.kept)
        return;
    const char *word = rc_info(call->span.rc)->word;
    const struct span_attribute attributes[] = {
        {.name = "http.request.method", .text = http_req_method_name(call->req)},
        {.name = "http.route", .text = http_req_path(call->req)},
        {.name = "http.response.status_code", .number = rc_info(call->span.rc)->http},
        {.name = "error.type", .text = call->span.rc == RC_OK ? "" : word},
        {.name = "longhaul.request_id", .text = http_req_id(call->req)},
    };
    snprintf(name, sizeof name, "%s %s", http_req_method_name(call->req), http_req_path(call->req));
    struct span span = {.traceparent = call->traceparent,
                        .parent = call->span.parent,
                        .name = name,
                        .kind = SPAN_SERVER,
                        .began_us = spans_unix_us(tracing->spans, call->span.began_us),
                        .ended_us = spans_unix_us(tracing->spans, clock_mono_us()),
                        .error = rc_info(call->span.rc)->http >= 500 ? word : NULL,
                        .attributes = attributes,
                        .n_attributes = LH_COUNT(attributes)};
    spans_add(tracing->spans, &span);
}

/* --- tasks --- */

static bool is_kept(const struct task *task) {
    return task->traceparent && traceparent_sampled(task->traceparent);
}

/* A span below the one that created the task; its times are those that the task has. */
static void add_below(struct tracing *tracing, const struct task *task, struct span *span) {
    char own[TRACEPARENT_CAP];
    traceparent_child(task->traceparent, own);
    span->traceparent = own;
    span->parent = task->traceparent;
    spans_add(tracing->spans, span);
}

static void add_queued(struct tracing *tracing, const struct task *task) {
    char name[NAME_CAP];
    const struct task_run *run = &task->run;
    const struct span_attribute attributes[] = {
        {.name = "longhaul.task_id", .text = task->task_id},
        {.name = "longhaul.service", .text = task->service},
        {.name = "longhaul.attempt", .number = task->attempt},
        {.name = "longhaul.worker", .text = run->worker},
    };
    snprintf(name, sizeof name, "queued %s", task->service);
    add_below(tracing, task,
              &(struct span){.name = name,
                             .kind = SPAN_INTERNAL,
                             .began_us = run->queued.at * 1000,
                             .ended_us = run->claimed_at * 1000,
                             .attributes = attributes,
                             .n_attributes = LH_COUNT(attributes)});
}

/* "TOPIC/PARTITION/OFFSET". */
static void add_published(struct tracing *tracing, const struct task *task,
                          const struct task_queued *queued) {
    char name[NAME_CAP], topic[NAME_CAP];
    const char *offset = queued->place ? strrchr(queued->place, '/') : NULL;
    const char *partition =
        offset ? memrchr(queued->place, '/', (size_t)(offset - queued->place)) : NULL;
    if (!partition)
        return;
    snprintf(topic, sizeof topic, "%.*s", (int)(partition - queued->place), queued->place);
    snprintf(name, sizeof name, "publish %.250s", topic);
    const struct span_attribute attributes[] = {
        {.name = "messaging.system", .text = "kafka"},
        {.name = "messaging.destination.name", .text = topic},
        {.name = "messaging.kafka.offset", .number = strtoll(offset + 1, NULL, 10)},
        {.name = "messaging.kafka.partition", .number = strtoll(partition + 1, NULL, 10)},
        {.name = "messaging.kafka.message.key", .text = task->task_id},
        {.name = "longhaul.task_id", .text = task->task_id},
        {.name = "longhaul.service", .text = task->service},
    };
    add_below(tracing, task,
              &(struct span){.name = name,
                             .kind = SPAN_PRODUCER,
                             .began_us = queued->at * 1000,
                             .ended_us = queued->produced_at * 1000,
                             .attributes = attributes,
                             .n_attributes = LH_COUNT(attributes)});
}

static void notice_delivered(struct tracing *tracing, const struct op *op) {
    const struct task *task = op->rc == RC_OK && op->n_tasks ? &op->tasks[0] : NULL;
    if (!task || !is_kept(task))
        return;
    if (task->queued.produced_at == op->now_ms)
        add_published(tracing, task, &task->queued);
    else if (task->run.queued.produced_at == op->now_ms) /* its claim was faster */
        add_published(tracing, task, &task->run.queued);
}

void tracing_notice(struct tracing *tracing, const struct op *op) {
    if (!tracing)
        return;
    if (op->kind == OP_DELIVERED)
        notice_delivered(tracing, op);
    if (op->kind != OP_CLAIM && op->kind != OP_TAKE)
        return;
    for (size_t i = 0; i < op->n_tasks; i++)
        if (is_kept(&op->tasks[i]) && op->tasks[i].run.queued.at && op_news(op, i).claimed)
            add_queued(tracing, &op->tasks[i]);
}

void tracing_flush(struct tracing *tracing) {
    if (tracing)
        spans_flush(tracing->spans, FLUSH_MAX_MS);
}

void tracing_destroy(struct tracing *tracing) {
    if (!tracing)
        return;
    spans_destroy(tracing->spans);
    free(tracing);
}
