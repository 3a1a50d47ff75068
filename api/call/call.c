/* call.c: one API request from its parsed body to its answer. */
#include "api/call/call.h"

#include "api/call/audit.h"
#include "api/call/params.h"
#include "api/call/request_trace.h"
#include "api/call/task_fields.h"
#include "api/call/tracing.h"
#include "api/http/form.h"
#include "api/http/query_string.h"
#include "api/wait/polls.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { ANSWER_MAX_BYTES = 1 << 30 };

void call_buf_init(struct buf *buf) {
    buf_init(buf, ANSWER_MAX_BYTES);
}

void call_keep(struct call *call, void *state, void (*state_free)(void *state)) {
    call->state = state;
    call->state_free = state_free;
}

static void call_destroy(struct call *call) {
    if (call->state_free)
        call->state_free(call->state);
    json_decref(call->root);
    free(call->owned_text);
    token_drop(call->token);
    free(call->tracestate);
    free(call);
}

/* The first character that is no white space, -1 if there is none. */
static int first_char(struct json_span text) {
    const char *end = text.at + text.len, *p = json_skip_space(text.at, end);
    return p < end ? (unsigned char)*p : -1;
}

const json_t *call_holder(const struct call *call, const char *name) {
    return json_object_get(call->data, name) ? call->data : call->root;
}

enum rc call_refuse_outside(const struct call *call, const char *const *names, size_t n,
                            struct error *err) {
    for (size_t i = 0; call->data != call->root && i < n; i++)
        if (json_object_get(call->root, names[i]))
            return error_set(err, RC_INVALID_PARAMETER, "%s must stand inside data", names[i]);
    return RC_OK;
}

static bool has_type(const char *header, const char *type) {
    size_t len = strlen(type);
    return strncasecmp(header, type, len) == 0 &&
           (header[len] == '\0' || strchr("; \t", header[len]));
}

static enum rc body_from_form(struct call *call, struct error *err) {
    struct buf buf;
    buf_init(&buf, call->text.len * 6 + 16); /* an escaped byte grows to at most six */
    enum rc rc = form_to_json(call->text.at, call->text.len, &buf, err);
    if (rc == RC_OK && !(call->owned_text = buf_take(&buf, &call->text.len)))
        rc = error_set(err, RC_NO_MEMORY, "out of memory");
    call->text.at = call->owned_text;
    buf_finish(&buf);
    return rc;
}

/* Finds the JSON text of the body, whatever its form. */
static enum rc read_body(struct call *call, struct error *err) {
    call->text.at = http_req_body(call->req, &call->text.len);
    int first = first_char(call->text);
    if (first < 0) {
        call->text = (struct json_span){"{}", 2};
        return RC_OK;
    }
    const char *coding = http_req_header(call->req, "Content-Encoding");
    if (coding && strcasecmp(coding, "identity") != 0)
        return error_set(err, RC_UNSUPPORTED_MEDIA_TYPE, "Content-Encoding is not supported");
    const char *type = first == '{' ? NULL : http_req_header(call->req, "Content-Type");
    if (!type || has_type(type, "application/json"))
        return RC_OK;
    if (has_type(type, "application/x-www-form-urlencoded"))
        return body_from_form(call, err);
    return error_set(err, RC_UNSUPPORTED_MEDIA_TYPE,
                     "Content-Type must be application/json or application/x-www-form-urlencoded");
}

static enum rc parse_query(struct call *call, struct error *err) {
    call->text = call->body = (struct json_span){"{}", 2};
    enum rc rc = query_string_read(http_req_query(call->req), &call->root, err);
    call->data = call->root;
    return rc;
}

static enum rc parse_body(struct call *call, struct error *err) {
    enum rc rc = read_body(call, err);
    if (rc == RC_OK)
        rc = json_read(call->text, &call->root, err);
    if (rc != RC_OK)
        return rc;
    call->body = call->text;
    if (!json_is_object(call->root))
        return error_set(err, RC_INVALID_PARAMETER, "body must be a JSON object");
    call->data = json_object_get(call->root, "data");
    if (!call->data) {
        call->data = call->root;
        return RC_OK;
    }
    if (!json_is_object(call->data) && !json_is_array(call->data))
        return error_set(err, RC_INVALID_PARAMETER, "data must be an object or an array");
    return json_span_member(call->text, "data", &call->text) ? RC_OK : RC_INTERNAL;
}

bool call_allows(const struct call *call, const char *service) {
    return task_access_allows(token_access(call->token), service);
}

enum rc call_check_service(const struct call *call, const char *service, struct error *err) {
    if (call_allows(call, service))
        return RC_OK;
    return error_set(err, RC_FORBIDDEN, "the token %s is not for the service %s", call->token->name,
                     service);
}

/* A trace is worth less than the request: without memory it ends here. */
static void read_trace(struct call *call) {
    char state[TRACESTATE_CAP] = "";
    if (*request_traceparent(call->req, call->traceparent))
        request_tracestate(call->req, state);
    call->tracestate = *state ? strdup(state) : NULL;
    tracing_begin(call->api->tracing, call);
}

struct call *call_create(struct api *api, struct http_req *req, struct token *token) {
    struct call *call = calloc(1, sizeof *call);
    if (!call) {
        http_reply_error(req, RC_OVERLOADED, NULL);
        return NULL;
    }
    call->api = api;
    call->req = req;
    call->token = token;
    token_hold(token);
    read_trace(call);
    return call;
}

bool call_parse(struct call *call) {
    struct error err;
    enum rc rc =
        http_req_method(call->req) == HTTP_GET ? parse_query(call, &err) : parse_body(call, &err);
    if (rc != RC_OK)
        call_reply_rc(call, rc, err.text);
    return rc == RC_OK;
}

bool call_plain_body(const struct call *call, struct json_span *ret) {
    if (http_req_method(call->req) != HTTP_POST || http_req_header(call->req, "Content-Encoding"))
        return false;
    ret->at = http_req_body(call->req, &ret->len);
    return first_char(*ret) == '{';
}

struct http_req *call_stream(struct call *call, const struct http_reply *head,
                             const struct http_stream *stream, void *arg) {
    struct http_req *req = call->req;
    http_stream_begin(req, head, stream, arg);
    call_destroy(call);
    return req;
}

void call_reply(struct call *call, struct buf *body) {
    if (buf_rc(body) != RC_OK) {
        enum rc rc = buf_rc(body);
        buf_finish(body);
        call_reply_rc(call, rc, NULL);
        return;
    }
    struct http_reply reply = {.status = 200, .body = body->data, .len = body->len};
    tracing_end(call->api->tracing, call);
    http_reply(call->req, &reply);
    buf_finish(body);
    call_destroy(call);
}

void call_put_error(struct buf *buf, enum rc rc, const char *text) {
    static const char prefix[] = "Invalid parameter";
    const struct rc_info *info = rc_info(rc);
    if (!text || !*text)
        text = info->text;
    bool needs_prefix = (rc == RC_INVALID_PARAMETER || rc == RC_TOO_MANY || rc == RC_USE_CURSOR ||
                         rc == RC_OFFSET_GAP) &&
                        strncmp(text, prefix, sizeof prefix - 1) != 0;
    char whole[640];
    snprintf(whole, sizeof whole, "%s%s%s", needs_prefix ? prefix : "", needs_prefix ? ": " : "",
             text);
    buf_str(buf, "\"message\":");
    buf_json_str(buf, whole);
    buf_str(buf, ",\"code\":");
    buf_json_str(buf, rc_info(rc == RC_NO_MEMORY ? RC_OVERLOADED : rc)->word);
}

void call_reply_rc(struct call *call, enum rc rc, const char *text) {
    call_reply_rc_more(call, rc, text, "");
}

/* Turning a request away is no fault. */
static void log_fault(const struct call *call, enum rc rc, const char *text) {
    bool fault = rc_info(rc)->http >= 500 && rc != RC_DRAINING && rc != RC_OVERLOADED;
    if (fault)
        log_error(.msg = "request failed", .request_id = http_req_id(call->req),
                  .traceparent = call->traceparent, .path = http_req_path(call->req),
                  .code = rc_info(rc)->word, .error = text);
}

void call_reply_rc_more(struct call *call, enum rc rc, const char *text, const char *more) {
    const struct rc_info *info = rc_info(rc);
    LH_CLEANUP_BUF struct buf buf;
    call_buf_init(&buf);
    call->span.rc = rc;
    log_fault(call, rc, text);
    if (rc == RC_FORBIDDEN)
        audit_call_forbidden(call, NULL, text);
    buf_str(&buf, "{\"result\":\"exception\",");
    call_put_error(&buf, rc, text);
    buf_str(&buf, more);
    buf_char(&buf, '}');
    char seconds[16];
    snprintf(seconds, sizeof seconds, "%d", info->retry_after_s);
    struct http_header retry = {"Retry-After", seconds};
    struct http_reply reply = {
        .status = call->api->cfg->legacy_http_status ? 200 : info->http,
        .headers = &retry,
        .n_headers = info->retry_after_s > 0 ? 1 : 0,
        .body = buf.data,
        .len = buf.len,
    };
    tracing_end(call->api->tracing, call);
    if (buf_rc(&buf) == RC_OK)
        http_reply(call->req, &reply);
    else
        http_reply_error(call->req, RC_OVERLOADED, NULL);
    call_destroy(call);
}

void call_reply_op(struct call *call, const struct op *op) {
    call_reply_rc(call, op->rc, op->text);
}

void call_reply_query(struct call *call, const struct query *query) {
    call_reply_rc(call, query->rc, query->text);
}

void call_reply_task_id(struct call *call, const char *task_id) {
    struct buf buf;
    call_buf_init(&buf);
    buf_str(&buf, "{\"result\":\"ok\",\"task_id\":");
    buf_json_str(&buf, task_id);
    buf_char(&buf, '}');
    call_reply(call, &buf);
}

void call_put_time(struct buf *buf, int64_t at_ms) {
    task_put_time(at_ms, buf);
}

struct applied {
    struct call *call;
    call_applied *done;
    size_t asked; /* polls, along with the op */
};

static void on_applied(struct op *op, void *arg) {
    struct applied applied = *(struct applied *)arg;
    struct polls *polls = applied.call->api->polls;
    free(arg);
    audit_op(applied.call, op);
    tracing_commit(applied.call->api->tracing, applied.call, op);
    applied.done(applied.call, op);
    polls_notice(polls, op, applied.asked);
}

static enum rc queue_op(struct api *api, struct op *op, struct applied *applied) {
    return op->kind == OP_CREATE
               ? polls_create_tasks(api->polls, op, on_applied, applied, &applied->asked)
               : executor_apply(api->executor, op, on_applied, applied);
}

void call_apply(struct call *call, struct op *op, call_applied *done) {
    struct applied *applied = malloc(sizeof *applied);
    if (!applied) {
        op_destroy(op);
        call_reply_rc(call, RC_NO_MEMORY, NULL);
        return;
    }
    *applied = (struct applied){.call = call, .done = done};
    op->request_id = http_req_id(call->req);
    op->access = token_access(call->token);
    enum rc rc = queue_op(call->api, op, applied);
    if (rc != RC_OK) {
        free(applied);
        call_reply_rc(call, rc, NULL);
    }
}

struct answered {
    struct call *call;
    call_answered *done;
};

/* What is not for the token's eyes does not exist. */
static void hide(const struct call *call, struct query *query) {
    bool named = query->kind == QUERY_BY_ID || query->kind == QUERY_LOG;
    for (size_t i = 0; named && i < query->n_tasks; i++)
        if (query->tasks[i].task_id[0] && !call_allows(call, query->tasks[i].service)) {
            task_finish(&query->tasks[i]);
            if (query->kind == QUERY_LOG)
                query->n_tasks = 0;
        }
}

static void on_answered(struct query *query, void *arg) {
    struct answered answered = *(struct answered *)arg;
    free(arg);
    hide(answered.call, query);
    answered.done(answered.call, query);
}

void call_query(struct call *call, struct query *query, call_answered *done) {
    struct answered *answered = malloc(sizeof *answered);
    if (!answered) {
        query_destroy(query);
        call_reply_rc(call, RC_NO_MEMORY, NULL);
        return;
    }
    *answered = (struct answered){call, done};
    enum rc rc = executor_query(call->api->executor, query, on_answered, answered);
    if (rc != RC_OK) {
        free(answered);
        call_reply_rc(call, rc, NULL);
    }
}
