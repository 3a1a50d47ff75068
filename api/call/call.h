/* call.h: one API request from its parsed body to its answer.
 *
 * A handler reads its parameters, builds an op or a query, hands it on with call_apply() or
 * call_query() and answers in the callback. Every path ends in exactly one call_reply*(), which
 * frees the call.
 */
#ifndef LH_API_CALL_H
#define LH_API_CALL_H

#include "api/api.h"
#include "api/call/tokens.h"
#include "base/json.h"
#include "base/trace.h"

/* The request's span (api/call/tracing.h). */
struct call_span {
    bool kept;
    char parent[TRACEPARENT_CAP]; /* the caller's; "": it begins the trace */
    int64_t began_us;             /* clock_mono_us() */
    enum rc rc;                   /* of the answer */
};

struct call {
    struct api *api;
    struct http_req *req;
    struct token *token;               /* that it came with; held */
    json_t *root;                      /* the parsed body, an object; NULL before call_parse() */
    json_t *data;                      /* the parameters: root's "data", or root; borrowed */
    struct json_span body;             /* the bytes of `root`; valid until the reply */
    struct json_span text;             /* those of `data` */
    char *owned_text;                  /* a body that was translated from a form */
    char traceparent[TRACEPARENT_CAP]; /* the request's span, or the caller's where it has none of
                                          its own; "": none */
    struct call_span span;
    char *tracestate; /* what travels with it; NULL: nothing */
    bool forbidden;   /* the audit log has it */
    size_t n_refused; /* items of a create that were refused before there was an op */
    void *state;      /* the handler's own, see call_keep() */
    void (*state_free)(void *state);
};

/* Of a request that nothing has been read of yet. NULL: it has been answered. */
struct call *call_create(struct api *api, struct http_req *req, struct token *token);

/* Reads the request's body as the contract says (JSON, form, empty), of a GET its query. False: it
 * has been answered. */
bool call_parse(struct call *call) LH_MUST_USE;

/* The body as it came, valid until the reply, where it can be nothing but JSON; false: call_parse()
 * finds out. */
bool call_plain_body(const struct call *call, struct json_span *ret) LH_MUST_USE;

/* True where the call's token is for tasks of the service. Those of others do not exist for it: ops
 * and queries of the call do not find them. */
bool call_allows(const struct call *call, const char *service);

/* The same, or RC_FORBIDDEN. */
enum rc call_check_service(const struct call *call, const char *service,
                           struct error *err) LH_MUST_USE;

/* Keeps the handler's own state with the call; freed with it, after the reply. */
void call_keep(struct call *call, void *state, void (*state_free)(void *state));

/* The object in which parameter `name` stands: `data`, or what is around it; `data` wins. */
const json_t *call_holder(const struct call *call, const char *name);

/* Refuses fields of the call's parameters that stand beside `data`, where nobody reads them. */
enum rc call_refuse_outside(const struct call *call, const char *const *names, size_t n,
                            struct error *err) LH_MUST_USE;

typedef void call_applied(struct call *call, struct op *op);
typedef void call_answered(struct call *call, struct query *query);

/* Hands the op (owned) to the executor; `done` is called with its outcome. Refusals of the executor
 * are answered here: `done` is not called then. */
void call_apply(struct call *call, struct op *op, call_applied *done);
void call_query(struct call *call, struct query *query, call_answered *done);

/* Begins an answer that is written piece by piece (api/http/http.h), frees the call and hands over
 * its request. */
struct http_req *call_stream(struct call *call, const struct http_reply *head,
                             const struct http_stream *stream, void *arg) LH_MUST_USE;

/* Answers 200 with the JSON text in `body` (finished here). */
void call_reply(struct call *call, struct buf *body);

/* Answers `rc` with its HTTP status; text NULL or "": the table's. */
void call_reply_rc(struct call *call, enum rc rc, const char *text);

/* The same with further members, JSON text that begins with a comma (e.g. ",\"task_id\":\"…\""). */
void call_reply_rc_more(struct call *call, enum rc rc, const char *text, const char *more);

/* Answers what an op or query that failed says. */
void call_reply_op(struct call *call, const struct op *op);
void call_reply_query(struct call *call, const struct query *query);

/* Answers {"result":"ok","task_id":…}. */
void call_reply_task_id(struct call *call, const char *task_id);

/* The text of an answer: `text`, or the table's; those of INVALID_PARAMETER, TOO_MANY and
 * USE_CURSOR, OFFSET_GAP begin with "Invalid parameter" whatever `text` says. The API has no word
 * for too little memory: that is OVERLOADED. */
void call_put_error(struct buf *buf, enum rc rc, const char *text);

/* An answer's buffer. */
void call_buf_init(struct buf *buf);

/* Appends a time as ISO-8601 or null (0). */
void call_put_time(struct buf *buf, int64_t at_ms);

#endif
