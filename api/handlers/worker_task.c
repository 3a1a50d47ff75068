/* worker_task.c: POST /api/worker_task: the consumers that have been seen in the last minute. */
#include "api/handlers/worker_task.h"

#include "api/call/params.h"
#include "api/handlers/handlers.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

#include <string.h>

enum { SEEN_MS = 60000, WORKER_HOST_BYTES = 255, WORKER_MAX_BYTES = 128 * 1024 };

static bool all_strings(const json_t *list) {
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!json_is_string(json_array_get(list, i)))
            return false;
    return json_is_array(list);
}

/* The members of `worker` that are known must be what they are named for. */
static enum rc check_worker(const json_t *worker, struct error *err) {
    static const char *const ours[] = {"seen_time", "token"};
    int64_t number;
    const char *host = NULL;
    const json_t *services = json_object_get(worker, "services");
    enum rc rc = param_text(worker, "host", WORKER_HOST_BYTES, &host, err);
    if (rc == RC_OK)
        rc = param_int(worker, "pid", 1, INT32_MAX, &number, err);
    if (rc == RC_OK)
        rc = param_int(worker, "slots", 0, INT32_MAX, &number, err);
    if (rc == RC_OK && services && !all_strings(services))
        return error_set(err, RC_INVALID_PARAMETER, "services must be an array of strings");
    for (size_t i = 0; rc == RC_OK && i < LH_COUNT(ours); i++)
        if (json_object_get(worker, ours[i]))
            rc = error_set(err, RC_INVALID_PARAMETER, "%s is the answer's own", ours[i]);
    return rc;
}

static enum rc read_worker(const json_t *worker, char ret_id[WORKER_ID_CAP], struct error *err) {
    const char *id = NULL;
    if (!json_is_object(worker))
        return error_set(
            err, RC_INVALID_PARAMETER,
            "worker must be an object {\"id\",\"host\",\"pid\",\"services\",\"slots\"}");
    enum rc rc = param_string(worker, "id", PARAM_REQUIRED, WORKER_ID_CAP - 1, &id, err);
    if (rc == RC_OK)
        rc = check_worker(worker, err);
    if (rc == RC_OK)
        mem_copy_str(ret_id, WORKER_ID_CAP, id);
    return rc;
}

enum rc worker_op(const struct call *call, const json_t *worker, struct json_span text,
                  struct op **ret, struct error *err) {
    const struct task_access *access = token_access(call->token);
    struct op *op = op_create(OP_WORKER);
    if (!op)
        return error_set(err, RC_NO_MEMORY, "out of memory");
    mem_copy_str(op->worker_token, sizeof op->worker_token, access ? access->token : "");
    enum rc rc = read_worker(worker, op->worker_id, err);
    if (rc == RC_OK)
        rc = param_value(text, "worker", PARAM_REQUIRED, WORKER_MAX_BYTES, &op->value,
                         &op->value_len, err);
    if (rc == RC_OK)
        *ret = op;
    else
        op_destroy(op);
    return rc;
}

/* Takes the services out that are not for the token; false where none is left. */
static bool keep_services(const struct call *call, json_t *services) {
    for (size_t i = json_array_size(services); i > 0; i--) {
        const char *name = json_string_value(json_array_get(services, i - 1));
        if (!name || !call_allows(call, name))
            json_array_remove(services, i - 1);
    }
    return json_array_size(services) > 0;
}

/* The worker as a token with a list of services sees it; false: it does not. */
static bool narrow(const struct call *call, struct store_worker *worker) {
    LH_JSON said = NULL;
    struct error err;
    if (json_read((struct json_span){worker->value, worker->value_len}, &said, &err) != RC_OK ||
        !keep_services(call, json_object_get(said, "services")))
        return false;
    char *text = json_dumps(said, JSON_COMPACT);
    if (!text)
        return false;
    free(worker->value);
    worker->value = text;
    worker->value_len = strlen(text);
    return true;
}

static void narrow_all(const struct call *call, struct query *query) {
    const struct task_access *access = token_access(call->token);
    size_t kept = 0;
    if (!access || access->n_services == 0)
        return;
    for (size_t i = 0; i < query->n_workers; i++)
        if (narrow(call, &query->workers[i])) {
            struct store_worker worker = query->workers[i];
            query->workers[i] = query->workers[kept];
            query->workers[kept++] = worker;
        }
    while (query->n_workers > kept)
        free(query->workers[--query->n_workers].value);
}

/* What the consumer said of itself, with which token, and when. */
static void put_worker(struct buf *buf, const struct store_worker *worker) {
    buf_append(buf, worker->value, worker->value_len - 1); /* without its closing brace */
    if (worker->token[0])
        buf_printf(buf, ",\"token\":\"%s\"", worker->token);
    buf_str(buf, ",\"seen_time\":");
    call_put_time(buf, worker->seen_at);
    buf_char(buf, '}');
}

static void on_answer(struct call *call, struct query *query) {
    if (query->rc != RC_OK) {
        call_reply_query(call, query);
        return;
    }
    struct buf buf;
    call_buf_init(&buf);
    narrow_all(call, query);
    buf_printf(&buf, "{\"result\":\"ok\",\"count\":%zu,\"data\":[", query->n_workers);
    for (size_t i = 0; i < query->n_workers; i++) {
        buf_str(&buf, i ? "," : "");
        put_worker(&buf, &query->workers[i]);
    }
    buf_str(&buf, "]}");
    call_reply(call, &buf);
}

struct query *worker_query(void) {
    struct query *query = query_create(QUERY_WORKERS);
    if (query)
        query->seen_since_ms = clock_now_ms() - SEEN_MS;
    return query;
}

static void count_services(const struct store_worker *worker, const struct config *cfg,
                           size_t *counts) {
    LH_JSON said = NULL;
    struct error err;
    if (json_read((struct json_span){worker->value, worker->value_len}, &said, &err) != RC_OK)
        return;
    const json_t *services = json_object_get(said, "services");
    for (size_t i = 0; i < json_array_size(services); i++) {
        const char *name = json_string_value(json_array_get(services, i));
        const struct config_service *service = name ? config_service(cfg, name) : NULL;
        if (service)
            counts[service - cfg->services]++;
    }
}

void worker_count_all(const struct query *query, const struct config *cfg, size_t *ret) {
    for (size_t i = 0; i < query->n_workers; i++)
        count_services(&query->workers[i], cfg, ret);
}

void handle_worker_task(struct call *call) {
    struct query *query = worker_query();
    if (!query) {
        call_reply_rc(call, RC_NO_MEMORY, NULL);
        return;
    }
    call_query(call, query, on_answer);
}
